//! A policy change between two packets: the new tables are built beside the old, one word is flipped.
//!
//! Each packet reads the word once and stays with the slot it found, so it is decided by exactly one
//! revision. Whatever fails before the flip leaves the old revision enforcing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use aya::maps::lpm_trie::Key;
use bulkhead_common::{
    address::Address,
    layout::{Active, AddressRow, Head, InterfaceCounters, MacRow, RuleKey, SLOTS, Traffic},
    lookup::{class, device_flag, identity},
    reason::CODES,
};

use super::{
    Addresses, Applied, Dataplane, DataplaneError, HashMap, LpmTrie, MapError, RuleRows, Slot, StableIds,
    kernel, read, write,
};
use crate::compile::{Tables, wide};

/// `BPF_F_NO_PREALLOC`: the kernel makes no trie without it.
const NO_PREALLOC: u32 = 1;

impl Dataplane {
    /// Enforces `tables` from the next packet on. `gateway` are the gateway's own addresses; where a
    /// device claims one of them, the gateway's claim holds. `segments` are the numbers of the configuration's
    /// segments by their names.
    ///
    /// # Errors
    /// The old revision enforces unchanged when a table cannot be made or does not fit, or a device names a segment
    /// that there is not.
    pub fn apply(
        &mut self,
        tables: Tables,
        gateway: &BTreeSet<IpAddr>,
        segments: &BTreeMap<String, u16>,
    ) -> Result<&Applied, DataplaneError> {
        let segments = segment_ids(&tables, segments)?;
        let plan = self.ids.plan(&tables)?;
        let slot = Slot::fill(&tables, &plan.ids, gateway, &segments)?;
        let old = self.active()?;
        let next = Active {
            slot: if old.generation == 0 { 0 } else { (old.slot + 1) % SLOTS },
            generation: old.generation.checked_add(1).unwrap_or(1),
        };
        let begun = Instant::now();
        // Packets that chose this slot when it was last in force have left before anything in it changes.
        kernel::rcu_grace()?;
        self.put(next.slot, &slot)?;
        let head =
            Head { generation: next.generation, shapes: tables.shapes, revision: tables.revision.short() };
        self.heads.set(next.slot, head, 0).map_err(write("HEADS"))?;

        self.ids.commit(&plan)?;
        let ids = plan.ids;
        self.clear_reused(&ids)?;
        let word = u64::from(next.slot) | u64::from(next.generation) << 32;
        self.active.set(0, word, 0).map_err(write("ACTIVE"))?;

        let flip = begun.elapsed();
        self.slot = Some(slot);
        Ok(self.applied.insert(Applied { tables, ids, generation: next.generation, flip }))
    }

    /// Puts the inner tables into a slot that no packet looks at.
    fn put(&mut self, at: u32, slot: &Slot) -> Result<(), DataplaneError> {
        let Self { macs, addresses, networks, services, rules, .. } = self;
        let Slot {
            macs: new_macs,
            addresses: new_addresses,
            networks: new_networks,
            services: new_services,
            rules: new_rules,
        } = slot;
        // Each set waits for a grace period inside the kernel (maybe_wait_bpf_programs): five at once take as long as one.
        std::thread::scope(|scope| {
            let sets = [
                scope.spawn(|| macs.set(at, new_macs, 0).map_err(write("MACS"))),
                scope.spawn(|| addresses.set(at, new_addresses, 0).map_err(write("ADDRESSES"))),
                scope.spawn(|| networks.set(at, new_networks, 0).map_err(write("NETWORKS"))),
                scope.spawn(|| services.set(at, new_services, 0).map_err(write("SERVICES"))),
                scope.spawn(|| rules.set(at, new_rules, 0).map_err(write("RULES"))),
            ];
            sets.map(|set| set.join().expect("setting a map does not panic")).into_iter().collect()
        })
    }

    /// The slot and generation in force; generation 0 before the first policy.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn active(&self) -> Result<Active, DataplaneError> {
        let word = self.active.get(&0, 0).map_err(read("ACTIVE"))?;
        let low = word & u64::from(u32::MAX);
        Ok(Active {
            slot: u32::try_from(low).unwrap_or_default(),
            generation: u32::try_from(word >> 32).unwrap_or_default(),
        })
    }

    /// Generation and the start of the revision of each slot, as the kernel has them.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn heads(&self) -> Result<Vec<Head>, DataplaneError> {
        (0..SLOTS).map(|slot| self.heads.get(&slot, 0).map_err(read("HEADS"))).collect()
    }

    /// Which counters each interface has, in the order of `names`: the same ones for as long as the maps live.
    ///
    /// # Errors
    /// When more than 63 interfaces are configured, or a map cannot be written.
    pub fn interface_counters(&mut self, names: &[String]) -> Result<Vec<u32>, DataplaneError> {
        let (ids, reused) = self.ids.interfaces(names)?;
        for id in reused {
            zero(&mut self.port_counts, id, InterfaceCounters::default()).map_err(write("PORT_COUNTS"))?;
        }
        Ok(ids)
    }

    /// A number taken over from a forgotten name starts counting at zero.
    fn clear_reused(&mut self, ids: &StableIds) -> Result<(), DataplaneError> {
        for id in &ids.reused_devices {
            zero(&mut self.device_counts, *id, [0; CODES as usize]).map_err(write("DEVICE_COUNTS"))?;
        }
        for id in &ids.reused_rules {
            zero(&mut self.rule_counts, *id, Traffic::default()).map_err(write("RULE_COUNTS"))?;
        }
        Ok(())
    }
}

fn zero<V: aya::Pod>(
    map: &mut super::PerCpuArray<super::MapData, V>,
    index: u32,
    zero: V,
) -> Result<(), MapError> {
    let cpus = map.get(&index, 0)?.len();
    let values = aya::maps::PerCpuValues::try_from(vec![zero; cpus])?;
    map.set(index, values, 0)
}

impl Slot {
    /// Makes the inner tables in the size the policy needs.
    fn fill(
        tables: &Tables,
        ids: &StableIds,
        gateway: &BTreeSet<IpAddr>,
        segments: &[u16],
    ) -> Result<Self, DataplaneError> {
        // Row 0 names no segment; what the tables name was looked up before.
        let segment = |dense: u16| segments.get(usize::from(dense)).copied().unwrap_or(0);
        let mut macs = HashMap::create(size(tables.macs.len()), 0).map_err(make("MACS"))?;
        for (mac, row) in &tables.macs {
            let row = MacRow { device: ids.device(row.device), segment: segment(row.segment), ..*row };
            macs.insert(mac, row, 0).map_err(write("MACS"))?;
        }
        let mut addresses: Addresses =
            HashMap::create(size(tables.addresses.len() + gateway.len()), 0).map_err(make("ADDRESSES"))?;
        for (address, row) in &tables.addresses {
            let row = AddressRow { device: ids.device(row.device), segment: segment(row.segment), ..*row };
            addresses.insert(address, row, 0).map_err(write("ADDRESSES"))?;
        }
        for address in gateway {
            let flags = device_flag::GATEWAY;
            let row = AddressRow { identity: identity::GATEWAY, flags, ..AddressRow::default() };
            addresses.insert(Address::from(*address), row, 0).map_err(write("ADDRESSES"))?;
        }
        let mut networks =
            LpmTrie::create(size(tables.networks.len()), NO_PREALLOC).map_err(make("NETWORKS"))?;
        for (prefix, identity) in &tables.networks {
            let prefix = wide(prefix);
            let key = Key::new(u32::from(prefix.prefix_len()), prefix.network().octets());
            networks.insert(&key, identity, 0).map_err(write("NETWORKS"))?;
        }
        let mut services =
            LpmTrie::create(size(tables.services.len()), NO_PREALLOC).map_err(make("SERVICES"))?;
        for (prefix, class) in &tables.services {
            services.insert(&Key::new(prefix.bits, prefix.key()), class, 0).map_err(write("SERVICES"))?;
        }
        let rows = tables.rows.len() + tables.leased.len();
        let mut rules: RuleRows = HashMap::create(size(rows), 0).map_err(make("RULES"))?;
        for (key, rule) in &tables.rows {
            rules.insert(key, ids.rule(*rule), 0).map_err(write("RULES"))?;
        }
        for ((initiator, responder), identity) in &tables.leased {
            let key = RuleKey { initiator: *initiator, responder: *responder, class: class::LEASED };
            rules.insert(key, identity, 0).map_err(write("RULES"))?;
        }
        Ok(Self { macs, addresses, networks, services, rules })
    }
}

/// The configuration's number of each segment of the tables, at its place in them plus one.
fn segment_ids(tables: &Tables, known: &BTreeMap<String, u16>) -> Result<Vec<u16>, DataplaneError> {
    let mut ids = vec![0];
    for name in &tables.segments {
        let unknown = || DataplaneError::NoSegment {
            name: name.clone(),
            known: known.keys().cloned().collect::<Vec<_>>().join("`, `"),
        };
        ids.push(known.get(name).copied().ok_or_else(unknown)?);
    }
    Ok(ids)
}

/// Entries of a table: the kernel makes none with zero.
fn size(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX).max(1)
}

fn make(map: &'static str) -> impl FnOnce(MapError) -> DataplaneError {
    move |source| DataplaneError::Map { act: "make a table for", map, source }
}
