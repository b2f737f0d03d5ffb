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
    compile::{Revision, Tables},
    config,
    control::{NameStatus, NamesStatus},
    dataplane::{Dataplane, DataplaneError, hurry, monotonic_ns, probe},
    report::why::Learned,
    resolver::{Resolved, ends, resolved},
    store::{NAMES, Names, Store},
};

mod address;
mod book;
mod meaning;

use address::{Places, Refusal};
use book::{Book, Known, News, SECOND};
use meaning::{Rows, is_meant, is_named};

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
    /// For which revision it was last looked through for what may be let go of.
    looked_for: Option<Revision>,
    /// Where everybody on one of the gateway's networks is.
    broadcasts: BTreeSet<IpAddr>,
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
        most: u32,
        dataplane: &Dataplane,
        (tables, gateway): (&Tables, &BTreeSet<IpAddr>),
    ) -> Result<Self, DataplaneError> {
        let mut kept: Names = match store.load(NAMES) {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                // Devices ask their resolvers again in time.
                tracing::error!("addresses that devices learned by name are lost: {error}");
                Names::default()
            }
        };
        // The configuration, the gateway or the policy may be others than when it was written.
        let broadcasts = probe::own_broadcasts()?;
        let places = Places { private: config.private, gateway, broadcasts: &broadcasts, tables };
        let before = kept.names.len();
        kept.names.retain(|one| places.refusal(one.address).is_none());
        let unwritten = if kept.names.len() == before { Unwritten::Nothing } else { Unwritten::News };
        let now = monotonic_ns();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let book = Book::from_kept(&kept, most, Timestamp::now(), now);
        let mut keeper = Self {
            config,
            book,
            looked_for: None,
            broadcasts,
            looked: None,
            written: None,
            unwritten,
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

    /// Where everybody on one of the gateway's networks is.
    pub(super) fn broadcasts(&self) -> &BTreeSet<IpAddr> {
        &self.broadcasts
    }

    /// Keeps what would soon be over and is in use, and notes what may be let go of. The devices and addresses of which
    /// the time changed.
    fn hold(
        &mut self,
        dataplane: &Dataplane,
        tables: &Tables,
        ids: &[u32],
        now: u64,
    ) -> Result<Vec<(String, IpAddr)>, DataplaneError> {
        let soon = now.saturating_add(2 * nanoseconds(self.look_every()));
        let due = self.book.due(soon);
        let is_filling = self.book.is_filling();
        let outlived = if is_filling { self.book.outlived(now) } else { BTreeSet::new() };
        let asked: BTreeSet<Address> = due.union(&outlived).copied().map(Address::from).collect();
        let mut used: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut held = Vec::new();
        if !asked.is_empty() {
            let names: BTreeMap<u32, &str> =
                ids.iter().copied().zip(tables.devices.iter().map(|device| device.name.as_str())).collect();
            let until = now.saturating_add(nanoseconds(self.config.keep));
            for (device, address) in dataplane.began_flows(&asked, now)? {
                let Some(device) = names.get(&device) else { continue };
                let address = IpAddr::from(address);
                used.entry(device).or_default().insert(address);
                if due.contains(&address) && self.book.keep(device, address, until) {
                    self.unwritten = self.unwritten.max(Unwritten::Times);
                    held.push(((*device).to_owned(), address));
                }
            }
        }
        let is_used = |device: &str, address: IpAddr| {
            !is_filling || used.get(device).is_some_and(|used| used.contains(&address))
        };
        self.book.note_spare(tables, now, is_used);
        self.looked_for = Some(tables.revision);
        Ok(held)
    }

    /// Well below the time for which an address is known at least.
    fn look_every(&self) -> Duration {
        (self.config.keep / 8).min(LOOK_EVERY)
    }

    /// Until when an address that was named at a time is known, and until when the answer is valid.
    fn until(&self, time: u64, seconds: u32) -> (u64, u64) {
        let valid = u64::from(seconds.min(MOST_SECONDS)) * SECOND;
        (time.saturating_add(valid.max(nanoseconds(self.config.keep))), time.saturating_add(valid))
    }

    /// Whether the address may be known by a name at all; what it may not is counted.
    fn may_be_known(&mut self, address: IpAddr, tables: &Tables, gateway: &BTreeSet<IpAddr>) -> bool {
        let Self { config: config::Names { private, .. }, broadcasts, counts, .. } = self;
        match (Places { private: *private, gateway, broadcasts, tables }).refusal(address) {
            None => true,
            Some(Refusal::Unusable) => {
                counts.unusable += 1;
                false
            }
            Some(Refusal::Protected) => {
                if counts.protected == 0 {
                    tracing::warn!(%address, "a name leads to what is protected; that and the like is not learned");
                }
                counts.protected += 1;
                false
            }
        }
    }

    /// What may be let go of for a device. Where the policy changed since the last look, what it no longer means is.
    fn spare_for(&mut self, tables: &Tables, device: &str) -> Option<(String, Known)> {
        let spare = self.book.spare_for(device);
        if spare.is_some() || self.looked_for == Some(tables.revision) {
            return spare;
        }
        self.looked_for = Some(tables.revision);
        self.book.note_spare(tables, monotonic_ns(), |_, _| true);
        self.book.spare_for(device)
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
            // Most of what leaves answers no device, and costs one look at the flows.
            let learned = match self.dataplane.began_datagrams(ends, now) {
                Ok(Some(id)) => resolved(frame).map_or(Ok(()), |answer| self.take_names(&answer, id, now)),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
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
        let dense = u32::try_from(at + 1).unwrap_or(0);
        if !is_named(&tables, dense, name) {
            return Ok(());
        }
        for (address, seconds) in &resolved.addresses {
            if !self.names.may_be_known(*address, &tables, &self.nics.addresses) {
                continue;
            }
            let known: Known = (name.clone(), *address);
            // The network may except it.
            if !is_meant(&tables, dense, &known) {
                continue;
            }
            let (until, valid) = self.names.until(time, *seconds);
            let mut learned = self.names.book.learn(device, known.clone(), until, valid);
            if learned == News::Full && self.make_room(&tables, device)? {
                learned = self.names.book.learn(device, known.clone(), until, valid);
            }
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
                // What did go in would be half of what the rules say.
                let place = BTreeSet::from([(device.to_owned(), *address)]);
                self.forget_names(&tables, &place, |book| book.forget(device, &known))?;
                self.names.refuse_full(device);
            }
        }
        Ok(())
    }

    /// Lets go of one address for another of a device. `false` when there is none to spare.
    fn make_room(&mut self, tables: &Tables, device: &str) -> Result<bool, DataplaneError> {
        let Some((device, known)) = self.names.spare_for(tables, device) else { return Ok(false) };
        let place = BTreeSet::from([(device.clone(), known.1)]);
        self.forget_names(tables, &place, |book| book.forget(&device, &known))?;
        Ok(true)
    }

    /// Forgets something at some places of devices, in the book and in the kernel.
    fn forget_names(
        &mut self,
        tables: &Tables,
        places: &BTreeSet<(String, IpAddr)>,
        forget: impl FnOnce(&mut Book),
    ) -> Result<(), DataplaneError> {
        let rows = |book: &Book, deadlines: &[u64]| {
            let rows = places.iter().map(|(device, at)| book.rows_at(tables, deadlines, device, *at));
            rows.flatten().collect::<Rows>()
        };
        let before = rows(&self.names.book, self.calendar.deadlines());
        forget(&mut self.names.book);
        let left = rows(&self.names.book, self.calendar.deadlines());
        for key in before.keys().filter(|key| !left.contains_key(key)) {
            self.dataplane.forget_name(*key)?;
        }
        // They are there: only their times may be others.
        self.permit(left)?;
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
        self.names.broadcasts = probe::own_broadcasts()?;
        for (device, address) in self.names.hold(&self.dataplane, &tables, &ids, now)? {
            let rows = self.names.book.rows_at(&tables, self.calendar.deadlines(), &device, address);
            self.permit(rows)?;
        }
        let over = self.names.book.over(now);
        self.forget_names(&tables, &over, |book| book.forget_over(now))?;
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
