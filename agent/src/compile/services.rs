//! Services as classes: every port belongs to at most one class, and a class to a set of services.
//!
//! Services may overlap and span ranges. Cutting each protocol's ports where any service begins or ends
//! gives intervals whose ports are all in the same services; intervals with the same set share a class,
//! and each interval is written as prefixes for the kernel's longest-prefix table. Ethertypes and LLC addresses are
//! protocols of their own among the others.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_common::{layout::ServiceKey, lookup::class};

use super::numbers::numbered;
use crate::model::{Policy, Selector, ServiceId};

/// A range of ports of one protocol whose size is a power of two and which is aligned to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePrefix {
    /// IP protocol number, or a kind of frame as in [`Selector::protocol`].
    pub protocol: u8,
    /// First port.
    pub port: u16,
    /// Bits that must match: 8 for the protocol alone, 24 for one port.
    pub bits: u32,
}

impl ServicePrefix {
    /// The prefix as the kernel's table stores it.
    pub fn key(&self) -> ServiceKey {
        ServiceKey { protocol: self.protocol, port: self.port.to_be_bytes(), pad: 0 }
    }

    /// The prefix of `bits` bits around one port.
    pub fn around(protocol: u8, port: u16, bits: u32) -> Self {
        let keep = bits.saturating_sub(8).min(16);
        let mask = u16::MAX.checked_shl(16 - keep).unwrap_or(0);
        Self { protocol, port: port & mask, bits }
    }
}

/// The classes of a policy's services.
pub(super) struct Services {
    /// Class of each set of services, made of their names.
    numbers: BTreeMap<BTreeSet<ServiceId>, u32>,
    /// The intervals with their sets.
    intervals: Vec<(Selector, BTreeSet<ServiceId>)>,
    /// The classes that contain each service.
    of_service: BTreeMap<ServiceId, Vec<u32>>,
}

impl Services {
    pub(super) fn of(policy: &Policy) -> Self {
        // Only what a rule names: an unused service must not cut anything, or the revision would change with it.
        let used: BTreeSet<ServiceId> =
            policy.rules.iter().flat_map(|r| r.services.iter().copied()).collect();
        let mut cuts: BTreeMap<u8, BTreeSet<u32>> = BTreeMap::new();
        let selectors: Vec<(ServiceId, Selector)> = used
            .iter()
            .flat_map(|id| policy.services[id.0 as usize].selectors.iter().map(|s| (*id, *s)))
            .collect();
        for (_, selector) in &selectors {
            let ends = cuts.entry(selector.protocol).or_default();
            ends.insert(u32::from(selector.low));
            ends.insert(u32::from(selector.high) + 1);
        }
        let mut intervals = Vec::new();
        for (protocol, ends) in cuts {
            let ends: Vec<u32> = ends.into_iter().collect();
            for pair in ends.windows(2) {
                let (low, high) = (port(pair[0]), port(pair[1] - 1));
                let set: BTreeSet<ServiceId> = selectors
                    .iter()
                    .filter(|(_, s)| s.protocol == protocol && s.low <= low && high <= s.high)
                    .map(|(id, _)| *id)
                    .collect();
                if !set.is_empty() {
                    intervals.push((Selector { protocol, low, high }, set));
                }
            }
        }
        let sets: BTreeSet<BTreeSet<ServiceId>> = intervals.iter().map(|(_, set)| set.clone()).collect();
        let name = |id: &ServiceId| policy.services[id.0 as usize].name.as_str();
        let text = |set: &BTreeSet<ServiceId>| set.iter().map(name).collect::<Vec<_>>().join(" ");
        // Far from the markers at the upper end.
        let numbers: BTreeMap<BTreeSet<ServiceId>, u32> =
            numbered(sets.into_iter().map(|set| (text(&set), set)), class::NONE + 1..1 << 31);
        let mut of_service: BTreeMap<ServiceId, Vec<u32>> = BTreeMap::new();
        for (set, number) in &numbers {
            for service in set {
                of_service.entry(*service).or_default().push(*number);
            }
        }
        Self { numbers, intervals, of_service }
    }

    /// Every class that contains a service.
    pub(super) fn classes_of(&self, service: ServiceId) -> &[u32] {
        self.of_service.get(&service).map_or(&[], Vec::as_slice)
    }

    /// The kernel's longest-prefix table.
    pub(super) fn prefixes(&self) -> BTreeMap<ServicePrefix, u32> {
        let rows = self.intervals.iter().flat_map(|(interval, set)| {
            let class = self.numbers[set];
            prefixes_of(*interval).into_iter().map(move |p| (p, class))
        });
        rows.collect()
    }
}

/// Cut points go up to 65536; the ports between them do not.
fn port(value: u32) -> u16 {
    u16::try_from(value).expect("an interval ends at a cut minus one")
}

/// The fewest aligned blocks that make up a range.
pub fn prefixes_of(range: Selector) -> Vec<ServicePrefix> {
    let mut blocks = Vec::new();
    let (mut low, end) = (u32::from(range.low), u32::from(range.high) + 1);
    while low < end {
        let aligned = if low == 0 { 16 } else { low.trailing_zeros() };
        let fits = (end - low).ilog2();
        let size = aligned.min(fits);
        blocks.push(ServicePrefix { protocol: range.protocol, port: port(low), bits: 24 - size });
        low += 1 << size;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_fewest_aligned_blocks() {
        let blocks = |low, high| {
            let range = Selector { protocol: 6, low, high };
            prefixes_of(range).into_iter().map(|p| (p.port, p.bits)).collect::<Vec<_>>()
        };
        assert_eq!(blocks(502, 502), [(502, 24)]);
        assert_eq!(blocks(0, 65535), [(0, 8)]);
        assert_eq!(blocks(1000, 1023), [(1000, 21), (1008, 20)]);
        assert_eq!(blocks(65535, 65535), [(65535, 24)]);
    }

    #[test]
    fn every_port_of_a_range_and_no_other_is_in_its_blocks() {
        for (low, high) in [(0, 0), (1, 6), (1024, 65535), (49152, 65535), (2, 65534), (7, 4096)] {
            let blocks = prefixes_of(Selector { protocol: 17, low, high });
            for port in 0..=u16::MAX {
                let inside = blocks.iter().any(|b| ServicePrefix::around(17, port, b.bits) == *b);
                assert_eq!(inside, (low..=high).contains(&port), "{port} in {low}-{high}");
            }
        }
    }
}
