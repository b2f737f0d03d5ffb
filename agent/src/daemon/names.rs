//! Keeps what devices learn by name: the addresses behind the names that rules name, as the device's own resolver told it.
//!
//! The kernel hands over the answers; here they are read, and what they name becomes rows that permit the device what its
//! rules say, at once. An address is known as long as its answer is valid, for a while at least, and under a live flow; then
//! it is forgotten. What is known is kept in the state folder by the wall clock, so that a new agent goes on with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bulkhead_common::{
    address::Address,
    layout::{Sample, reading},
};
use jiff::Timestamp;

use super::Agent;
use crate::{
    compile::Tables,
    config,
    control::{NameStatus, NamesStatus},
    dataplane::{Dataplane, DataplaneError, hurry, monotonic_ns},
    report::why::Learned,
    resolver::{Resolved, ends, resolved},
    store::{NAMES, Names, Store},
};

mod book;

use book::{Book, Known, News, Rows, SECOND, is_named};

/// The longest that an answer alone keeps an address known: resolvers forget after a day at the latest (Unbound
/// `cache-max-ttl`).
const MOST_SECONDS: u32 = 24 * 60 * 60;

/// How often flows are looked at, at most: a walk over all of them takes a tenth of a second on a busy gateway.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is new is written so often at most: a disk may be an SD card.
const WRITE_NEW_EVERY: Duration = Duration::from_secs(5);
/// What is only known for longer.
const WRITE_LONGER_EVERY: Duration = Duration::from_secs(60);

/// What of the book is not in the state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unwritten {
    Nothing,
    Times,
    News,
}

/// What the agent knows of names.
pub(super) struct NameKeeper {
    config: config::Names,
    book: Book,
    looked: Option<Instant>,
    written: Option<Instant>,
    unwritten: Unwritten,
    /// Whether this thread was told to hurry: a device may connect as soon as it has heard the answer.
    hurries: bool,
    /// Answers read and addresses refused since the start; `known` is counted when it is asked for.
    counts: NamesStatus,
}

impl NameKeeper {
    /// Takes over what the state folder remembers. What is over by now stays known to a device that goes on using it.
    pub(super) fn restore(
        store: &Store,
        config: config::Names,
        dataplane: &Dataplane,
        tables: &Tables,
    ) -> Result<Self, DataplaneError> {
        let kept: Names = match store.load(NAMES) {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                // Devices ask their resolvers again in time.
                tracing::error!("addresses that devices learned by name are lost: {error}");
                Names::default()
            }
        };
        let now = monotonic_ns();
        let book = Book::from_kept(&kept, Timestamp::now(), now);
        let mut keeper = Self {
            config,
            book,
            looked: None,
            written: None,
            unwritten: Unwritten::Nothing,
            hurries: false,
            counts: NamesStatus::default(),
        };
        let ids = dataplane.ids_for(tables)?;
        keeper.hold(dataplane, tables, &ids.devices, now)?;
        keeper.book.forget_over(now);
        Ok(keeper)
    }

    /// What the rules permit at all that is known.
    pub(super) fn rows(&self, tables: &Tables, deadlines: &[u64]) -> Rows {
        self.book.rows(tables, deadlines)
    }

    /// Keeps what would soon be over and is in use. The devices and addresses of which the time changed.
    fn hold(
        &mut self,
        dataplane: &Dataplane,
        tables: &Tables,
        ids: &[u32],
        now: u64,
    ) -> Result<Vec<(String, IpAddr)>, DataplaneError> {
        let soon = now.saturating_add(2 * nanoseconds(self.look_every()));
        let due: BTreeSet<Address> = self.book.due(soon).into_iter().map(Address::from).collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let names: BTreeMap<u32, &str> =
            ids.iter().copied().zip(tables.devices.iter().map(|device| device.name.as_str())).collect();
        let until = now.saturating_add(nanoseconds(self.config.keep));
        let mut held = Vec::new();
        for (device, address) in dataplane.began_flows(&due, now)? {
            let Some(device) = names.get(&device) else { continue };
            let address = IpAddr::from(address);
            if self.book.keep(device, address, until) {
                self.unwritten = self.unwritten.max(Unwritten::Times);
                held.push(((*device).to_owned(), address));
            }
        }
        Ok(held)
    }

    /// Well below the time for which an address is known at least.
    fn look_every(&self) -> Duration {
        (self.config.keep / 8).min(LOOK_EVERY)
    }

    /// Until when an address that was named at a time is known.
    fn until(&self, time: u64, seconds: u32) -> u64 {
        let valid = u64::from(seconds.min(MOST_SECONDS)) * SECOND;
        time.saturating_add(valid.max(nanoseconds(self.config.keep)))
    }

    /// Whether the address may be known by a name at all; what it may not is counted. What is protected here is reached by
    /// its own rules, whatever somebody's name server says.
    fn may_be_known(&mut self, address: IpAddr, tables: &Tables, gateway: &BTreeSet<IpAddr>) -> bool {
        let number = Address::from(address);
        // An IPv4 address in IPv6 clothes is no address of a host (RFC 4291 2.5.5.2).
        let is_mapped = address != address.to_canonical();
        if number.is_martian_source() || is_mapped {
            self.counts.unusable += 1;
            return false;
        }
        let is_ours = gateway.contains(&address) || tables.addresses.contains_key(&number);
        if is_ours || (!self.config.private && is_private(address)) {
            if self.counts.protected == 0 {
                tracing::warn!(%address, "a name leads to what is protected; that and the like is not learned");
            }
            self.counts.protected += 1;
            return false;
        }
        true
    }

    fn refuse_full(&mut self, device: &str) {
        if self.counts.full == 0 {
            tracing::warn!(device, "there is no room for more addresses behind names");
        }
        self.counts.full += 1;
    }

    /// The same, for a question about the device.
    pub(super) fn for_question(&self, tables: &Tables, device: &str) -> Vec<Learned> {
        let now = monotonic_ns();
        let known = self.book.of_device(tables, device).into_iter().filter(|(_, until)| *until > now);
        known
            .map(|((name, address), until)| Learned {
                name: name.clone(),
                address: *address,
                seconds_left: (until - now) / SECOND,
            })
            .collect()
    }

    /// What a device has learned that its rules mean, and for how long.
    pub(super) fn of_device(&self, tables: &Tables, device: &str) -> Vec<NameStatus> {
        let known = self.for_question(tables, device).into_iter();
        known
            .map(|Learned { name, address, seconds_left }| NameStatus {
                name,
                address: address.to_string(),
                seconds_left,
            })
            .collect()
    }

    pub(super) fn status(&self, tables: &Tables) -> NamesStatus {
        NamesStatus { known: self.book.in_use(tables), ..self.counts }
    }
}

impl Agent {
    /// Reads the frames that the data path allowed and handed over.
    pub(super) fn take_samples(&mut self, samples: &[Sample]) {
        for sample in samples {
            let len = usize::try_from(sample.len).unwrap_or(usize::MAX).min(sample.bytes.len());
            let frame = &sample.bytes[..len];
            match sample.reading {
                reading::LEASES => self.take_leases(frame, sample.time),
                reading::NAMES => {
                    if let Some(resolved) = resolved(frame)
                        && let Err(error) = self.take_names(&resolved, sample.device, sample.time)
                    {
                        tracing::error!("{error}");
                    }
                }
                // A kind of reading that only a later agent knows.
                _ => {}
            }
        }
    }

    /// Whether the policy in force names peers by name.
    pub(super) fn learns_names(&self) -> bool {
        self.dataplane.applied().is_some_and(|applied| !applied.tables.named.is_empty())
    }

    /// Reads what a resolver on this machine said: the data path sees what arrives, and its answers only leave. What others
    /// said leaves as well, and was read when it arrived.
    pub(super) fn take_overheard(&mut self, frames: &[Vec<u8>]) {
        let now = monotonic_ns();
        for frame in frames {
            let Some(ends) = ends(frame).filter(|[from, _]| self.nics.addresses.contains(&from.ip())) else {
                continue;
            };
            let Some(resolved) = resolved(frame) else { continue };
            let learned = self.dataplane.began_datagrams(ends, now);
            let learned =
                learned.and_then(|device| device.map_or(Ok(()), |id| self.take_names(&resolved, id, now)));
            if let Err(error) = learned {
                tracing::error!("{error}");
            }
        }
    }

    /// Learns what a resolver told a device, by its stable id.
    fn take_names(&mut self, resolved: &Resolved, id: u32, time: u64) -> Result<(), DataplaneError> {
        self.names.counts.read += 1;
        let Some(applied) = self.dataplane.applied() else { return Ok(()) };
        let Some(at) = applied.ids.devices.iter().position(|known| *known == id) else { return Ok(()) };
        let tables = Arc::clone(&applied.tables);
        let (device, name) = (tables.devices[at].name.as_str(), &resolved.name);
        if !is_named(&tables, device, name) {
            return Ok(());
        }
        for (address, seconds) in &resolved.addresses {
            if !self.names.may_be_known(*address, &tables, &self.nics.addresses) {
                continue;
            }
            let known: Known = (name.clone(), *address);
            let until = self.names.until(time, *seconds);
            let learned = self.names.book.learn(&tables, device, known.clone(), until);
            match learned {
                News::Known => continue,
                News::Full => {
                    self.names.refuse_full(device);
                    continue;
                }
                News::Longer => self.names.unwritten = self.names.unwritten.max(Unwritten::Times),
                News::New => self.names.unwritten = Unwritten::News,
            }
            let rows = self.names.book.rows_at(&tables, self.calendar.deadlines(), device, *address);
            if self.permit(rows)? {
                if learned == News::New {
                    // From the data path's look at the answer to the rows in the kernel.
                    let took_us = monotonic_ns().saturating_sub(time) / 1000;
                    tracing::info!(device, name, %address, seconds, took_us, "learned by name");
                }
            } else {
                self.names.book.forget(device, &known);
                self.names.refuse_full(device);
            }
        }
        Ok(())
    }

    /// Puts rows into the kernel's table. `false` when they do not fit.
    pub(super) fn permit(&mut self, rows: Rows) -> Result<bool, DataplaneError> {
        for (key, row) in rows {
            if !self.dataplane.learn_name(key, row)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps what is in use, forgets what is over, and writes down what has changed.
    pub(super) fn look_after_names(&mut self) {
        if self.learns_names() && !self.names.hurries {
            self.names.hurries = true;
            if let Err(error) = hurry() {
                tracing::warn!(
                    "addresses behind names may be learned late: failed to raise the priority: {error}"
                );
            }
        }
        if self.names.looked.is_none_or(|looked| looked.elapsed() >= self.names.look_every()) {
            self.names.looked = Some(Instant::now());
            if let Err(error) = self.age_names() {
                tracing::error!("{error}");
            }
        }
        let written = self.names.written.map_or(Duration::MAX, |written| written.elapsed());
        let is_time = match self.names.unwritten {
            Unwritten::Nothing => false,
            Unwritten::Times => written >= WRITE_LONGER_EVERY,
            Unwritten::News => written >= WRITE_NEW_EVERY,
        };
        if is_time {
            self.keep_names();
        }
    }

    fn age_names(&mut self) -> Result<(), DataplaneError> {
        let Some(applied) = self.dataplane.applied() else { return Ok(()) };
        let tables = Arc::clone(&applied.tables);
        let ids = applied.ids.devices.clone();
        let now = monotonic_ns();
        for (device, address) in self.names.hold(&self.dataplane, &tables, &ids, now)? {
            let rows = self.names.book.rows_at(&tables, self.calendar.deadlines(), &device, address);
            self.permit(rows)?;
        }
        let over = self.names.book.over(now);
        let deadlines = self.calendar.deadlines();
        let rows = |book: &Book| {
            let rows =
                over.iter().map(|(device, address)| book.rows_at(&tables, deadlines, device, *address));
            rows.flatten().collect::<Rows>()
        };
        let before = rows(&self.names.book);
        self.names.book.forget_over(now);
        let left = rows(&self.names.book);
        for key in before.keys().filter(|key| !left.contains_key(key)) {
            self.dataplane.forget_name(*key)?;
        }
        self.permit(left)?;
        if !over.is_empty() {
            tracing::info!(addresses = over.len(), "known by name no longer");
            self.names.unwritten = self.names.unwritten.max(Unwritten::Times);
        }
        Ok(())
    }

    /// Writes what is known to the state folder, if it is other than what is there.
    pub(super) fn keep_names(&mut self) {
        if self.names.unwritten == Unwritten::Nothing {
            return;
        }
        self.names.written = Some(Instant::now());
        match self.store.save(NAMES, &self.names.book.to_kept(Timestamp::now(), monotonic_ns())) {
            Ok(()) => self.names.unwritten = Unwritten::Nothing,
            Err(error) => {
                tracing::error!("addresses learned by name could not be written, and will be lost: {error}");
            }
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Addresses for use inside: private (RFC 1918), shared (RFC 6598), unique local (RFC 4193), of the link (RFC 3927, RFC 4291).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_those_for_use_inside() {
        for (address, private) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.1.1", true),
            ("169.254.7.7", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("172.32.0.1", false),
            ("203.0.113.9", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().expect("an address")), private, "{address}");
        }
    }
}
