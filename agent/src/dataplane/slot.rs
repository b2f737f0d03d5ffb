//! The inner tables of one slot, and how they become those of another revision: row by row where there is room, so that
//! a small change costs little, anew where there is none.
//!
//! In: what the tables must hold, as the kernel keys it. Out: maps that hold it. What a table holds is remembered here:
//! reading a map back costs as much as writing it.

use std::{cmp::Ordering, collections::BTreeMap, collections::BTreeSet, net::IpAddr};

use aya::{
    Pod,
    maps::{Array, lpm_trie::Key},
};
use bulkhead_common::{
    address::Address,
    flat,
    layout::{EndRow, NamedKey, NamedRow, RuleKey, RuleRow, ServiceKey},
    lookup::{class, device_flag, identity},
};

use super::{
    Addresses, DataplaneError, Flat, HashMap, LpmTrie, Macs, MapData, MapError, NamedRows, Networks,
    RuleRows, Services, StableIds,
};
use crate::compile::{self, Tables, wide};

/// `BPF_F_NO_PREALLOC`: the kernel makes no trie without it.
const NO_PREALLOC: u32 = 1;

/// Rows that a table has room for besides those it is made for, and a quarter more of these: the next changes fit.
const SPARE: usize = 64;

/// What changes while the revision stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Until when each schedule of the tables is open, monotonic ns; 0 is closed. In the order of the schedules.
    pub deadlines: Vec<u64>,
    /// What devices may do at addresses that they learned by name; devices and rules by their dense ids.
    pub named: BTreeMap<NamedKey, NamedRow>,
}

/// The rows of every inner table, sorted by key.
pub(super) struct Image {
    macs: Vec<(u64, EndRow)>,
    addresses: Vec<(Address, EndRow)>,
    networks: Vec<((u32, [u8; 16]), u32)>,
    flat: Vec<(u32, flat::Page)>,
    services: Vec<((u32, ServiceKey), u32)>,
    rules: Vec<(RuleKey, RuleRow)>,
    named: Vec<(NamedKey, NamedRow)>,
    /// Room for what is learned between two changes.
    spare_named: usize,
}

impl Image {
    /// The tables with the kernel's ids in the place of dense ones. `segments` are the configuration's numbers of the
    /// tables' segments, at their place in them plus one.
    pub(super) fn of(
        tables: &Tables,
        ids: &StableIds,
        gateway: &BTreeSet<IpAddr>,
        segments: &[u16],
        moment: &Moment,
        spare_named: usize,
    ) -> Self {
        // Row 0 names no segment; what the tables name was looked up before.
        let segment = |dense: u16| segments.get(usize::from(dense)).copied().unwrap_or(0);
        let device = |dense| ids.device(dense);
        let end = |row: &EndRow| EndRow { device: device(row.device), segment: segment(row.segment), ..*row };
        let macs = tables.macs.iter().map(|(mac, row)| (*mac, end(row)));
        let devices = tables.addresses.iter().map(|(address, row)| (*address, end(row)));
        let own = gateway.iter().map(|address| {
            let row =
                EndRow { identity: identity::GATEWAY, flags: device_flag::GATEWAY, ..EndRow::default() };
            (Address::from(*address), row)
        });
        // Where a device claims one of the gateway's addresses, the gateway's claim holds.
        let addresses: BTreeMap<Address, EndRow> = devices.chain(own).collect();
        let networks = tables.networks.iter().map(|(prefix, identity)| (wide(prefix), *identity));
        let flat = compile::flat::pages(networks.clone(), addresses.keys().copied());
        let networks = networks.map(|(prefix, identity)| {
            ((u32::from(prefix.prefix_len()), prefix.network().octets()), identity)
        });
        let services = tables.services.iter().map(|(prefix, class)| ((prefix.bits, prefix.key()), *class));
        let end = |name: u32| match name & identity::DEVICE {
            0 => name,
            _ => identity::DEVICE | device(name & !identity::DEVICE),
        };
        let row = |row: &RuleRow| RuleRow { rule: ids.rule(row.rule), ..*row };
        let permitted = tables.rows.iter().map(|(key, found)| {
            let key = RuleKey { initiator: end(key.initiator), responder: end(key.responder), ..*key };
            (key, row(found))
        });
        let leased = tables.leased.iter().map(|((initiator, responder), identity)| {
            let key = RuleKey { initiator: *initiator, responder: *responder, class: class::LEASED };
            (key, RuleRow { rule: *identity, schedule: 0 })
        });
        let named = moment.named.iter().map(|(key, found)| {
            (NamedKey { device: device(key.device), ..*key }, NamedRow { row: row(&found.row), ..*found })
        });
        Self {
            macs: macs.collect(),
            addresses: addresses.into_iter().collect(),
            networks: sorted(networks.collect()),
            flat: (0..).zip(flat).collect(),
            services: sorted(services.collect()),
            rules: sorted(permitted.chain(leased).collect()),
            named: sorted(named.collect()),
            spare_named: if tables.named.is_empty() { SPARE } else { spare_named },
        }
    }
}

fn sorted<K: Ord, V>(mut rows: Vec<(K, V)>) -> Vec<(K, V)> {
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    rows
}

/// The inner tables of one slot. Kept, because finding them again through the outer maps takes CAP_SYS_ADMIN (aya's
/// map-of-maps `get` goes from id to descriptor).
pub(super) struct Slot {
    pub(super) macs: Inner<Macs, u64, EndRow>,
    pub(super) addresses: Inner<Addresses, Address, EndRow>,
    pub(super) networks: Inner<Networks, (u32, [u8; 16]), u32>,
    pub(super) flat: Inner<Flat, u32, flat::Page>,
    pub(super) services: Inner<Services, (u32, ServiceKey), u32>,
    pub(super) rules: Inner<RuleRows, RuleKey, RuleRow>,
    pub(super) named: Inner<NamedRows, NamedKey, NamedRow>,
}

/// How much of a slot was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows put in, or changed.
    pub put: usize,
    /// Rows taken out.
    pub removed: usize,
    /// Tables made anew.
    pub tables: usize,
}

impl Slot {
    /// A slot that holds `image`: `kept`, changed, or one made anew. Nobody may be looking at `kept`; when this fails, what
    /// it holds is not known any more.
    pub(super) fn become_(kept: Option<Self>, image: Image) -> Result<(Self, Written), DataplaneError> {
        let Image { macs, addresses, networks, flat, services, rules, named, spare_named } = image;
        let mut written = Written::default();
        let slot = match kept {
            Some(kept) => Self {
                macs: kept.macs.become_((macs, SPARE), "MACS", &mut written)?,
                addresses: kept.addresses.become_((addresses, SPARE), "ADDRESSES", &mut written)?,
                networks: kept.networks.become_((networks, SPARE), "NETWORKS", &mut written)?,
                flat: kept.flat.become_((flat, 0), "FLAT", &mut written)?,
                services: kept.services.become_((services, SPARE), "SERVICES", &mut written)?,
                rules: kept.rules.become_((rules, SPARE), "RULES", &mut written)?,
                named: kept.named.become_((named, spare_named), "NAMED", &mut written)?,
            },
            None => Self {
                macs: Inner::new((macs, SPARE), "MACS", &mut written)?,
                addresses: Inner::new((addresses, SPARE), "ADDRESSES", &mut written)?,
                networks: Inner::new((networks, SPARE), "NETWORKS", &mut written)?,
                flat: Inner::new((flat, 0), "FLAT", &mut written)?,
                services: Inner::new((services, SPARE), "SERVICES", &mut written)?,
                rules: Inner::new((rules, SPARE), "RULES", &mut written)?,
                named: Inner::new((named, spare_named), "NAMED", &mut written)?,
            },
        };
        Ok((slot, written))
    }

    /// A slot of its own that holds the same.
    pub(super) fn copy(&self) -> Result<Self, DataplaneError> {
        let written = &mut Written::default();
        let Inner { rows, room, .. } = &self.named;
        let spare_named = room.saturating_sub(rows.len() + rows.len() / 4);
        Ok(Self {
            macs: self.macs.copy(SPARE, "MACS", written)?,
            addresses: self.addresses.copy(SPARE, "ADDRESSES", written)?,
            networks: self.networks.copy(SPARE, "NETWORKS", written)?,
            flat: self.flat.copy(0, "FLAT", written)?,
            services: self.services.copy(SPARE, "SERVICES", written)?,
            rules: self.rules.copy(SPARE, "RULES", written)?,
            named: self.named.copy(spare_named, "NAMED", written)?,
        })
    }
}

/// What makes a table another one.
#[derive(Debug, PartialEq, Eq)]
struct Steps<K, V> {
    gone: Vec<K>,
    put: Vec<(K, V)>,
}

/// The fewest steps from one table to another; both are sorted by key.
fn steps<K: Ord + Copy, V: PartialEq + Copy>(old: &[(K, V)], new: &[(K, V)]) -> Steps<K, V> {
    let mut steps = Steps { gone: Vec::new(), put: Vec::new() };
    let (mut at, mut to) = (0, 0);
    while at < old.len() || to < new.len() {
        let order = match (old.get(at), new.get(to)) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => steps.gone.push(old[at].0),
            Ordering::Greater => steps.put.push(new[to]),
            Ordering::Equal if old[at].1 != new[to].1 => steps.put.push(new[to]),
            Ordering::Equal => {}
        }
        at += usize::from(order.is_le());
        to += usize::from(order.is_ge());
    }
    steps
}

/// A kind of map that can be an inner table.
pub(super) trait Table<K, V>: Sized {
    fn make(room: u32) -> Result<Self, MapError>;
    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError>;
    fn take(&mut self, key: &K) -> Result<(), MapError>;
}

impl<K: Pod, V: Pod> Table<K, V> for HashMap<MapData, K, V> {
    fn make(room: u32) -> Result<Self, MapError> {
        Self::create(room, 0)
    }

    fn put(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        self.insert(key, value, 0)
    }

    fn take(&mut self, key: &K) -> Result<(), MapError> {
        gone(self.remove(key))
    }
}

impl<K: Pod, V: Pod> Table<(u32, K), V> for LpmTrie<MapData, K, V> {
    fn make(room: u32) -> Result<Self, MapError> {
        Self::create(room, NO_PREALLOC)
    }

    fn put(&mut self, (bits, data): &(u32, K), value: &V) -> Result<(), MapError> {
        self.insert(&Key::new(*bits, *data), value, 0)
    }

    fn take(&mut self, (bits, data): &(u32, K)) -> Result<(), MapError> {
        gone(self.remove(&Key::new(*bits, *data)))
    }
}

/// An array has all its rows for as long as it lives.
impl<V: Pod> Table<u32, V> for Array<MapData, V> {
    fn make(_: u32) -> Result<Self, MapError> {
        Self::create(flat::PAGES, 0)
    }

    fn put(&mut self, index: &u32, value: &V) -> Result<(), MapError> {
        self.set(*index, *value, 0)
    }

    fn take(&mut self, index: &u32) -> Result<(), MapError> {
        Err(MapError::OutOfBounds { index: *index, max_entries: flat::PAGES })
    }
}

/// A row that somebody else has taken out is as gone as it should be.
fn gone(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Ok(()) | Err(_) => removed,
    }
}

/// A map and what it holds.
pub(super) struct Inner<M, K, V> {
    pub(super) map: M,
    /// Sorted by key.
    rows: Vec<(K, V)>,
    room: usize,
    /// Whether the outer map does not know it yet.
    pub(super) is_new: bool,
}

impl<M: Table<K, V>, K: Ord + Copy, V: PartialEq + Copy> Inner<M, K, V> {
    fn new(
        (rows, spare): (Vec<(K, V)>, usize),
        name: &'static str,
        written: &mut Written,
    ) -> Result<Self, DataplaneError> {
        let room = rows.len() + rows.len() / 4 + spare;
        let make = |source| DataplaneError::Map { act: "make a table for", map: name, source };
        let mut map = M::make(u32::try_from(room).unwrap_or(u32::MAX)).map_err(make)?;
        for (key, value) in &rows {
            map.put(key, value).map_err(super::write(name))?;
        }
        written.put += rows.len();
        written.tables += 1;
        Ok(Self { map, rows, room, is_new: true })
    }

    fn become_(
        mut self,
        (rows, spare): (Vec<(K, V)>, usize),
        name: &'static str,
        written: &mut Written,
    ) -> Result<Self, DataplaneError> {
        // A table that is far too large is made anew as well: what left it should not cost for ever.
        if rows.len() + spare / 2 > self.room || self.room > 4 * (rows.len() + spare) {
            return Self::new((rows, spare), name, written);
        }
        let Steps { gone, put } = steps(&self.rows, &rows);
        // First what makes room.
        for key in &gone {
            self.map.take(key).map_err(super::write(name))?;
        }
        for (key, value) in &put {
            self.map.put(key, value).map_err(super::write(name))?;
        }
        written.put += put.len();
        written.removed += gone.len();
        Ok(Self { rows, is_new: false, ..self })
    }

    /// A table of its own that holds the same.
    fn copy(&self, spare: usize, name: &'static str, written: &mut Written) -> Result<Self, DataplaneError> {
        Self::new((self.rows.clone(), spare), name, written)
    }

    /// Puts one row into the table while packets look at it. `false` when it has no room.
    pub(super) fn insert(&mut self, key: K, value: V, name: &'static str) -> Result<bool, DataplaneError> {
        let found = self.rows.binary_search_by(|(known, _)| known.cmp(&key));
        match found {
            Ok(at) if self.rows[at].1 == value => return Ok(true),
            Err(_) if self.rows.len() >= self.room => return Ok(false),
            Ok(_) | Err(_) => {}
        }
        self.map.put(&key, &value).map_err(super::write(name))?;
        match found {
            Ok(at) => self.rows[at].1 = value,
            Err(at) => self.rows.insert(at, (key, value)),
        }
        Ok(true)
    }

    /// Takes one row out of the table while packets look at it, if it is there.
    pub(super) fn remove(&mut self, key: &K, name: &'static str) -> Result<(), DataplaneError> {
        let Ok(at) = self.rows.binary_search_by(|(known, _)| known.cmp(key)) else { return Ok(()) };
        self.map.take(key).map_err(super::write(name))?;
        self.rows.remove(at);
        Ok(())
    }

    /// One row, if it is there.
    pub(super) fn row(&self, key: &K) -> Option<&V> {
        let at = self.rows.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
        Some(&self.rows[at].1)
    }

    /// What the table was made to hold, sorted by key.
    pub(super) fn rows(&self) -> &[(K, V)] {
        &self.rows
    }
}

#[cfg(test)]
mod tests;
