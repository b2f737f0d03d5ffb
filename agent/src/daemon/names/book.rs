//! Which device learned which address under which name, and until when.
//!
//! In: what resolvers said, the tables, the time. Out: the rows that permit the devices what rules name by name. Pure: the
//! kernel and the state folder are written by whoever holds the book. A full book lets go of what was found to be unused when
//! somebody last looked; it never looks through itself for an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use jiff::{SignedDuration, Timestamp};

use super::meaning::{Rows, dense, is_meant, permit};
use crate::{
    compile::Tables,
    store::{KeptName, Names},
};

/// Addresses that one device may have learned: more than any device needs, less than a name that changes all the time can
/// fill the others' room with.
pub(super) const MOST_OF_A_DEVICE: usize = 256;

/// In ns.
pub(super) const SECOND: u64 = 1_000_000_000;

/// A name and an address behind it.
pub(super) type Known = (String, IpAddr);

/// What became of an address that a resolver named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It was not known.
    New,
    /// It is known for longer now.
    Longer,
    /// Nothing changed.
    Known,
    /// There is no room.
    Full,
}

/// How long something is known, monotonic ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Until when at least.
    until: u64,
    /// Until when the resolver's answer is valid.
    valid: u64,
    /// Whether it was found to be of no use when somebody last looked.
    spare: bool,
}

/// What is known, by the device's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Book {
    /// How many addresses all devices together may have learned.
    most: usize,
    devices: BTreeMap<String, BTreeMap<Known, Entry>>,
    /// How many addresses are known.
    len: usize,
    /// What may be let go of where there is no room: by when its answer ended, 0 for what no rule means.
    spare: BTreeSet<(u64, String, Known)>,
}

impl Book {
    /// An empty one.
    pub(super) fn new(most: usize) -> Self {
        Self { most, devices: BTreeMap::new(), len: 0, spare: BTreeSet::new() }
    }

    /// Notes an address and until when the answer that named it is valid. A time that is known is never shortened.
    pub(super) fn learn(&mut self, device: &str, known: Known, until: u64, valid: u64) -> News {
        let names = self.devices.get_mut(device);
        if let Some(old) = names.and_then(|names| names.get_mut(&known)) {
            let before = *old;
            let (until, valid) = (until.max(before.until), valid.max(before.valid));
            *old = Entry { until, valid, spare: false };
            self.unnote(device, &known, before);
            return if until > before.until { News::Longer } else { News::Known };
        }
        if !self.has_room(device) {
            return News::Full;
        }
        let entry = Entry { until, valid, spare: false };
        self.devices.entry(device.to_owned()).or_default().insert(known, entry);
        self.len += 1;
        News::New
    }

    fn has_room(&self, device: &str) -> bool {
        self.len_of(device) < MOST_OF_A_DEVICE && self.len < self.most
    }

    fn len_of(&self, device: &str) -> usize {
        self.devices.get(device).map_or(0, BTreeMap::len)
    }

    /// Whether somebody should look for what may be let go of, before there is no room.
    pub(super) fn is_filling(&self) -> bool {
        self.len * 2 > self.most || self.devices.values().any(|names| names.len() * 2 > MOST_OF_A_DEVICE)
    }

    /// What makes room for one more address of a device: of what was found spare, what was so first.
    pub(super) fn spare_for(&self, device: &str) -> Option<(String, Known)> {
        if self.len_of(device) < MOST_OF_A_DEVICE {
            return self.spare.first().map(|(_, device, known)| (device.clone(), known.clone()));
        }
        let own = self.devices.get(device).into_iter().flatten().filter(|(_, entry)| entry.spare);
        let oldest = own.min_by_key(|(_, entry)| entry.valid);
        oldest.map(|(known, _)| (device.to_owned(), known.clone()))
    }

    /// Notes what may be let go of: what no rule means any more, which was kept for a policy that may come back, and what
    /// outlived its answer and is not used.
    pub(super) fn note_spare(&mut self, tables: &Tables, now: u64, is_used: impl Fn(&str, IpAddr) -> bool) {
        self.spare.clear();
        for (device, names) in &mut self.devices {
            let id = dense(tables, device);
            for (known, entry) in names {
                let meant = id.is_some_and(|id| is_meant(tables, id, known));
                entry.spare = !meant || (entry.valid <= now && !is_used(device, known.1));
                if entry.spare {
                    let since = if meant { entry.valid } else { 0 };
                    self.spare.insert((since, device.clone(), known.clone()));
                }
            }
        }
    }

    /// What outlived its answer and may be used nevertheless.
    pub(super) fn outlived(&self, now: u64) -> BTreeSet<IpAddr> {
        let all = self.devices.values().flatten();
        all.filter(|(_, entry)| entry.valid <= now).map(|((_, address), _)| *address).collect()
    }

    /// Takes one back.
    pub(super) fn forget(&mut self, device: &str, known: &Known) {
        let Some(names) = self.devices.get_mut(device) else { return };
        let Some(entry) = names.remove(known) else { return };
        self.len -= 1;
        if names.is_empty() {
            self.devices.remove(device);
        }
        self.unnote(device, known, entry);
    }

    /// Takes back that something is spare.
    fn unnote(&mut self, device: &str, known: &Known, entry: Entry) {
        if entry.spare {
            for since in [0, entry.valid] {
                self.spare.remove(&(since, device.to_owned(), known.clone()));
            }
        }
    }

    /// What is over: whose address it is.
    pub(super) fn over(&self, now: u64) -> BTreeSet<(String, IpAddr)> {
        let all = self.devices.iter().flat_map(|(device, names)| names.iter().map(move |one| (device, one)));
        let over = all.filter(|(_, (_, entry))| entry.until <= now);
        over.map(|(device, ((_, address), _))| (device.clone(), *address)).collect()
    }

    /// Forgets what is over.
    pub(super) fn forget_over(&mut self, now: u64) {
        self.devices.retain(|_, names| {
            names.retain(|_, entry| entry.until > now);
            !names.is_empty()
        });
        self.len = self.devices.values().map(BTreeMap::len).sum();
        let Self { spare, devices, .. } = self;
        spare.retain(|(_, device, known)| devices.get(device).is_some_and(|names| names.contains_key(known)));
    }

    /// The addresses that would be forgotten by a time, and that a live flow may need.
    pub(super) fn due(&self, by: u64) -> BTreeSet<IpAddr> {
        let all = self.devices.values().flatten();
        all.filter(|(_, entry)| entry.until <= by).map(|((_, address), _)| *address).collect()
    }

    /// Keeps a device's address, under each of its names, until a time at least. Whether anything changed.
    pub(super) fn keep(&mut self, device: &str, address: IpAddr, until: u64) -> bool {
        let names = self.devices.get_mut(device).into_iter().flatten();
        let mut changed = false;
        for (_, entry) in names.filter(|((_, known), _)| *known == address) {
            changed |= until > entry.until;
            entry.until = until.max(entry.until);
        }
        changed
    }

    /// What a device knows that a rule means, in order.
    pub(super) fn of_device(&self, tables: &Tables, device: &str) -> Vec<(&Known, u64)> {
        let Some(id) = dense(tables, device) else { return Vec::new() };
        let names = self.devices.get(device).into_iter().flatten();
        names
            .filter(|(known, _)| is_meant(tables, id, known))
            .map(|(known, entry)| (known, entry.until))
            .collect()
    }

    /// How many addresses are known that a rule means.
    pub(super) fn in_use(&self, tables: &Tables) -> usize {
        self.devices.keys().map(|device| self.of_device(tables, device).len()).sum()
    }

    /// What the rules permit at all that is known; `deadlines` says until when each schedule is open, monotonic ns.
    pub(super) fn rows(&self, tables: &Tables, deadlines: &[u64]) -> Rows {
        let mut rows = Rows::new();
        for (device, names) in &self.devices {
            let Some(id) = dense(tables, device) else { continue };
            for (known, entry) in names {
                permit((tables, deadlines), id, known, entry.until, &mut rows);
            }
        }
        rows
    }

    /// What the rules permit a device at one address.
    pub(super) fn rows_at(&self, tables: &Tables, deadlines: &[u64], device: &str, address: IpAddr) -> Rows {
        let mut rows = Rows::new();
        let Some(id) = dense(tables, device) else { return rows };
        let names = self.devices.get(device).into_iter().flatten();
        for (known, entry) in names.filter(|((_, known), _)| *known == address) {
            permit((tables, deadlines), id, known, entry.until, &mut rows);
        }
        rows
    }

    /// What is known, by the wall clock.
    pub(super) fn to_kept(&self, wall: Timestamp, now: u64) -> Names {
        let until = |until: u64| {
            let left =
                SignedDuration::from_nanos(i64::try_from(until.saturating_sub(now)).unwrap_or(i64::MAX));
            wall.saturating_add(left).unwrap_or(Timestamp::MAX)
        };
        let names = self.devices.iter().flat_map(|(device, names)| {
            names.iter().map(move |((name, address), entry)| KeptName {
                device: device.clone(),
                name: name.clone(),
                address: *address,
                until: until(entry.until),
            })
        });
        Names { at: Some(wall), names: names.collect() }
    }

    /// What was written, by the kernel's clock. What is over by now is taken over as such: a flow that went on without
    /// an agent may still need it. A wall clock that went back lengthens nothing.
    pub(super) fn from_kept(kept: &Names, most: usize, wall: Timestamp, now: u64) -> Self {
        let mut book = Self::new(most);
        for KeptName { device, name, address, until } in &kept.names {
            let left = until.duration_since(wall);
            let left = kept.at.map_or(left, |at| left.min(until.duration_since(at)));
            let until = now.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(0));
            // How long the answer itself was valid is not written: as long as it may have been.
            let _ = book.learn(device, (name.clone(), *address), until, until);
        }
        book
    }
}

#[cfg(test)]
mod tests;
