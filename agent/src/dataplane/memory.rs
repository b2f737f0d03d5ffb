//! What the maps take of the kernel's memory, before they are made.

use std::collections::BTreeMap;

use aya::maps::MapType;
use bulkhead_common::forward::{self, Hop};

use super::{
    Sizes,
    cache::cpus,
    pins::{Entries, MapSpec, maps},
};

/// The key under which [`Sizes::memory`] has what no limit changes.
pub const FIXED: &str = "";

/// What stands before the key of an entry: `struct htab_elem` (kernel/bpf/hashtab.c).
const ELEMENT: u64 = 48;
/// A bucket of a hash table: `struct bucket`, as there.
const BUCKET: u64 = 16;
/// From an entry to its values of all CPUs.
const POINTER: u64 = 8;

impl Sizes {
    /// Bytes of the kernel's memory that the maps of the object take, by the key of `[limits]` that they grow with; [`FIXED`] has
    /// the others. All of it is taken when the maps are made. The tables of a policy, as large as that needs, come on top.
    pub fn memory(mut self) -> BTreeMap<&'static str, u64> {
        let mut sum = BTreeMap::new();
        for spec in maps() {
            let (limit, entries) = match spec.entries {
                Entries::Fixed(entries) => (FIXED, entries),
                Entries::Chosen(limit, size) => (limit, *size(&mut self)),
            };
            *sum.entry(limit).or_default() += taken(&spec, entries.into(), cpus() as u64);
        }
        // Ways of packets are no pinned map: they end with the program.
        let ways = u64::from(self.cache.hops) * (forward::WAYS * size_of::<Hop>()) as u64;
        *sum.entry("verdicts").or_default() += ways;
        sum
    }
}

/// What a map of so many entries takes. Values are as long as a multiple of eight bytes, hash tables have a bucket for each entry, and a
/// power of two of them.
#[expect(clippy::wildcard_enum_match_arm, reason = "the object has few of the kernel's kinds")]
fn taken(spec: &MapSpec, entries: u64, cpus: u64) -> u64 {
    let (key, value) = (spec.key.next_multiple_of(8) as u64, spec.value.next_multiple_of(8) as u64);
    let hashed = |each: u64| entries * (ELEMENT + key + each) + entries.next_power_of_two() * BUCKET;
    match spec.kind {
        MapType::PerCpuArray => entries * (POINTER + value * cpus),
        MapType::Hash | MapType::LruHash => hashed(value),
        MapType::PerCpuHash => hashed(POINTER + value * cpus),
        // Nothing but its bytes.
        MapType::RingBuf => entries,
        // Arrays, and what grows with its rows: those are few, and of no limit.
        _ => entries * value,
    }
}
