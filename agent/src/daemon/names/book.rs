//! Which device learned which address under which name, and until when.
//!
//! In: what resolvers said, the tables, the time. Out: the rows that permit the devices what rules name by name. Pure: the
//! kernel and the state folder are written by whoever holds the book.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bulkhead_common::layout::{NamedKey, NamedRow, RuleRow};
use jiff::{SignedDuration, Timestamp};

use crate::{
    compile::{NamedPeer, Tables},
    model::covers,
    store::{KeptName, Names},
};

/// Addresses that one device may have learned: more than any device needs, less than a name that changes all the time can
/// fill the others' room with.
pub(super) const MOST_OF_A_DEVICE: usize = 256;
/// Addresses that all devices together may have learned.
pub(super) const MOST: usize = 4096;

/// In ns.
pub(super) const SECOND: u64 = 1_000_000_000;

/// Rows by key, as the data path wants them: devices and rules by their dense ids.
pub(super) type Rows = BTreeMap<NamedKey, NamedRow>;

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

/// What is known, by the device's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    /// Until when, monotonic ns.
    devices: BTreeMap<String, BTreeMap<Known, u64>>,
}

impl Book {
    /// How many addresses are known.
    pub(super) fn len(&self) -> usize {
        self.devices.values().map(BTreeMap::len).sum()
    }

    /// Notes an address. A time that is known is never shortened.
    pub(super) fn learn(&mut self, tables: &Tables, device: &str, known: Known, until: u64) -> News {
        if let Some(old) = self.devices.get_mut(device).and_then(|names| names.get_mut(&known)) {
            let longer = until > *old;
            *old = until.max(*old);
            return if longer { News::Longer } else { News::Known };
        }
        if !self.has_room(device) {
            // What no rule means any more was kept for a policy that may come back; that is worth less.
            self.devices.retain(|device, names| {
                names.retain(|(name, _), _| is_named(tables, device, name));
                !names.is_empty()
            });
            if !self.has_room(device) {
                return News::Full;
            }
        }
        self.devices.entry(device.to_owned()).or_default().insert(known, until);
        News::New
    }

    fn has_room(&self, device: &str) -> bool {
        self.devices.get(device).map_or(0, BTreeMap::len) < MOST_OF_A_DEVICE && self.len() < MOST
    }

    /// Takes one back.
    pub(super) fn forget(&mut self, device: &str, known: &Known) {
        if let Some(names) = self.devices.get_mut(device) {
            names.remove(known);
        }
        self.devices.retain(|_, names| !names.is_empty());
    }

    /// What is over: whose address it is.
    pub(super) fn over(&self, now: u64) -> BTreeSet<(String, IpAddr)> {
        let all = self.devices.iter().flat_map(|(device, names)| names.iter().map(move |one| (device, one)));
        let over = all.filter(|(_, (_, until))| **until <= now);
        over.map(|(device, ((_, address), _))| (device.clone(), *address)).collect()
    }

    /// Forgets what is over.
    pub(super) fn forget_over(&mut self, now: u64) {
        self.devices.retain(|_, names| {
            names.retain(|_, until| *until > now);
            !names.is_empty()
        });
    }

    /// The addresses that would be forgotten by a time, and that a live flow may need.
    pub(super) fn due(&self, by: u64) -> BTreeSet<IpAddr> {
        let all = self.devices.values().flatten();
        all.filter(|(_, until)| **until <= by).map(|((_, address), _)| *address).collect()
    }

    /// Keeps a device's address, under each of its names, until a time at least. Whether anything changed.
    pub(super) fn keep(&mut self, device: &str, address: IpAddr, until: u64) -> bool {
        let names = self.devices.get_mut(device).into_iter().flatten();
        let mut changed = false;
        for (_, old) in names.filter(|((_, known), _)| *known == address) {
            changed |= until > *old;
            *old = until.max(*old);
        }
        changed
    }

    /// What a device knows that a rule means, in order.
    pub(super) fn of_device(&self, tables: &Tables, device: &str) -> Vec<(&Known, u64)> {
        let names = self.devices.get(device).into_iter().flatten();
        names
            .filter(|((name, _), _)| is_named(tables, device, name))
            .map(|(known, until)| (known, *until))
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
            for ((name, address), until) in names {
                permit((tables, deadlines), device, (name, *address), *until, &mut rows);
            }
        }
        rows
    }

    /// What the rules permit a device at one address.
    pub(super) fn rows_at(&self, tables: &Tables, deadlines: &[u64], device: &str, address: IpAddr) -> Rows {
        let mut rows = Rows::new();
        let names = self.devices.get(device).into_iter().flatten();
        for ((name, _), until) in names.filter(|((_, known), _)| *known == address) {
            permit((tables, deadlines), device, (name, address), *until, &mut rows);
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
            names.iter().map(move |((name, address), at)| KeptName {
                device: device.clone(),
                name: name.clone(),
                address: *address,
                until: until(*at),
            })
        });
        Names { at: Some(wall), names: names.collect() }
    }

    /// What was written, by the kernel's clock. What is over by now is taken over as such: a flow that went on without
    /// an agent may still need it. A wall clock that went back lengthens nothing.
    pub(super) fn from_kept(kept: &Names, wall: Timestamp, now: u64) -> Self {
        let mut book = Self::default();
        for KeptName { device, name, address, until } in kept.names.iter().take(MOST) {
            let left = until.duration_since(wall);
            let left = kept.at.map_or(left, |at| left.min(until.duration_since(at)));
            let left = u64::try_from(left.as_nanos()).unwrap_or(0);
            let names = book.devices.entry(device.clone()).or_default();
            if names.len() < MOST_OF_A_DEVICE {
                names.insert((name.clone(), *address), now.saturating_add(left));
            }
        }
        book
    }
}

/// The peers by whose names a name is meant.
fn peers<'t>(tables: &'t Tables, name: &str) -> impl Iterator<Item = &'t NamedPeer> {
    tables.named.iter().filter(move |peer| peer.names.iter().any(|pattern| covers(pattern, name)))
}

/// Whether a rule lets the device use something at the addresses behind a name.
pub(super) fn is_named(tables: &Tables, device: &str, name: &str) -> bool {
    let Some(id) = dense(tables, device) else { return false };
    let mut permissions = peers(tables, name).flat_map(|peer| &peer.permissions);
    permissions.any(|permission| permission.devices.binary_search(&id).is_ok())
}

fn dense(tables: &Tables, device: &str) -> Option<u32> {
    tables.device_id(device).map(|id| id.0 + 1)
}

/// Adds what a device may do at an address under one name. Where several names or rules permit the same, the row counts that
/// holds longest from now on, and the longest time: whoever holds the book asks again when a schedule opens or closes.
fn permit(
    (tables, deadlines): (&Tables, &[u64]),
    device: &str,
    (name, address): (&str, IpAddr),
    until: u64,
    rows: &mut Rows,
) {
    let Some(device) = dense(tables, device) else { return };
    let holds_until = |row: RuleRow| match row.schedule {
        0 => u64::MAX,
        schedule => deadlines.get(schedule as usize - 1).copied().unwrap_or(0),
    };
    for permission in peers(tables, name).flat_map(|peer| &peer.permissions) {
        if permission.devices.binary_search(&device).is_err() {
            continue;
        }
        let key = NamedKey { address: address.into(), device, class: permission.class };
        let row = rows.entry(key).or_insert(NamedRow { row: permission.row, expires: until });
        row.expires = row.expires.max(until);
        if holds_until(permission.row) > holds_until(row.row) {
            row.row = permission.row;
        }
    }
}

#[cfg(test)]
mod tests;
