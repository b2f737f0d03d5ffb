//! What was denied and passed all the same, because no end of it enforces: what would be dropped if one did. It is kept for
//! much longer than an [`Aggregator`](super::Aggregator) keeps repeats, and for whoever plans to enforce.
//!
//! In: events and drained repeats as the kernel wrote them. Out: each kind of packet with its count and times. Bounded, and
//! so is the part of each device and reason, so that a scan pushes out its like and nothing else; of what was pushed out the
//! count and the last time stay. `taken = kept + forgotten` for each device and reason, unless even these are too many.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_common::layout::{Event, Repeats, ViolationKey};

/// Kinds of packets in all.
const KINDS: usize = 8192;
/// Kinds of packets of one device and reason.
const ALIKE: usize = 128;
/// Devices and reasons of which what was forgotten is counted.
const PARTS: usize = 8192;

/// Packets that passed although nothing allows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What they have in common. Generation and mode are zero: they may have passed under several.
    pub key: ViolationKey,
    /// The latest generation that decided.
    pub generation: u32,
    /// How many.
    pub packets: u64,
    /// Monotonic time of the first, ns.
    pub first_ns: u64,
    /// Monotonic time of the last, ns.
    pub last_ns: u64,
    /// The port that the key leaves out, of the latest packet that came as an event; 0 when none did.
    pub other_port: u16,
}

/// Packets of a device and reason of which nothing else is known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Stable id of the device they were counted for; 0 when no end was managed.
    pub device: u32,
    /// [`bulkhead_common::reason::Reason`] as a byte.
    pub reason: u8,
    /// How many.
    pub packets: u64,
    /// Monotonic time of the last, ns.
    pub last_ns: u64,
}

/// Device and reason.
type Part = (u32, u8);

/// What passed, bounded.
#[derive(Default)]
pub struct Tolerated {
    kinds: BTreeMap<ViolationKey, Passed>,
    /// Every kind by when it was last seen.
    oldest: BTreeSet<(u64, ViolationKey)>,
    /// The same for each device and reason.
    oldest_alike: BTreeMap<Part, BTreeSet<(u64, ViolationKey)>>,
    /// Packets and the time of the last.
    forgotten: BTreeMap<Part, (u64, u64)>,
    /// Packets that are not even counted for a device: how many, and when the last was seen.
    beyond: (u64, u64),
}

impl Tolerated {
    /// Takes one packet that came through the ring.
    pub fn event(&mut self, event: &Event) {
        let Event { abi: _, len: _, time, key, other_port, tcp_flags: _, kept: _, pad: _, start: _ } = *event;
        self.take(&key, (1, time, time), other_port);
    }

    /// Takes what was drained from the table of repeats.
    pub fn repeats(&mut self, key: &ViolationKey, repeats: &Repeats) {
        let Repeats { packets, bytes: _, first, last } = *repeats;
        if key.others != 0 && key.dropped == 0 {
            return self.count(part(key), packets, last);
        }
        self.take(key, (packets, first.min(last), last), 0);
    }

    /// What passed, each kind once.
    pub fn passed(&self) -> impl Iterator<Item = &Passed> {
        self.kinds.values()
    }

    /// What passed and was pushed out by newer kinds; how many packets were not even counted for a device, and when the last
    /// of them was seen.
    pub fn forgotten(&self) -> (impl Iterator<Item = Forgotten>, (u64, u64)) {
        let one = |(part, said): (&Part, &(u64, u64))| {
            let ((device, reason), (packets, last_ns)) = (*part, *said);
            Forgotten { device, reason, packets, last_ns }
        };
        (self.forgotten.iter().map(one), self.beyond)
    }

    fn take(&mut self, key: &ViolationKey, (packets, first_ns, last_ns): (u64, u64, u64), other_port: u16) {
        if packets == 0 || key.dropped != 0 {
            return;
        }
        let generation = key.generation;
        let key = ViolationKey { generation: 0, mode: 0, ..*key };
        let new = Passed { key, generation, packets, first_ns, last_ns, other_port };
        let together = match self.remove(&key) {
            Some(known) => Passed {
                packets: known.packets + packets,
                first_ns: known.first_ns.min(first_ns),
                last_ns: known.last_ns.max(last_ns),
                generation: known.generation.max(generation),
                other_port: if other_port == 0 { known.other_port } else { other_port },
                key,
            },
            None => {
                self.make_room(part(&key));
                new
            }
        };
        self.kinds.insert(key, together);
        self.oldest.insert((together.last_ns, key));
        self.oldest_alike.entry(part(&key)).or_default().insert((together.last_ns, key));
    }

    fn make_room(&mut self, part: Part) {
        let alike = self.oldest_alike.get(&part).filter(|alike| alike.len() >= ALIKE);
        let full = (self.kinds.len() >= KINDS).then_some(&self.oldest);
        let Some((_, key)) = alike.or(full).and_then(BTreeSet::first).copied() else { return };
        if let Some(gone) = self.remove(&key) {
            self.forget(&gone);
        }
    }

    fn remove(&mut self, key: &ViolationKey) -> Option<Passed> {
        let gone = self.kinds.remove(key)?;
        self.oldest.remove(&(gone.last_ns, *key));
        if let Some(alike) = self.oldest_alike.get_mut(&part(key)) {
            alike.remove(&(gone.last_ns, *key));
            if alike.is_empty() {
                self.oldest_alike.remove(&part(key));
            }
        }
        Some(gone)
    }

    fn forget(&mut self, gone: &Passed) {
        self.count(part(&gone.key), gone.packets, gone.last_ns);
    }

    /// Counts what nothing else is known of.
    fn count(&mut self, part: Part, more: u64, last_ns: u64) {
        let known = self.forgotten.contains_key(&part) || self.forgotten.len() < PARTS;
        let said = if known { self.forgotten.entry(part).or_default() } else { &mut self.beyond };
        let (packets, last) = said;
        *packets += more;
        *last = (*last).max(last_ns);
    }
}

fn part(key: &ViolationKey) -> Part {
    (key.device, key.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(device: u32, port: u16, time: u64) -> Event {
        let key = ViolationKey { device, port, reason: 51, generation: 3, ..ViolationKey::default() };
        Event { time, key, other_port: 40_000, ..Event::default() }
    }

    fn ports(tolerated: &Tolerated, device: u32) -> Vec<u16> {
        tolerated.passed().filter(|one| one.key.device == device).map(|one| one.key.port).collect()
    }

    #[test]
    fn repeats_count_with_the_packet_that_was_told() {
        let mut tolerated = Tolerated::default();
        tolerated.event(&seen(1, 502, 10));
        let key = ViolationKey { generation: 4, ..seen(1, 502, 0).key };
        tolerated.repeats(&key, &Repeats { packets: 9, bytes: 0, first: 11, last: 30 });
        let all: Vec<Passed> = tolerated.passed().copied().collect();
        let key = ViolationKey { generation: 0, ..key };
        let one = Passed { key, generation: 4, packets: 10, first_ns: 10, last_ns: 30, other_port: 40_000 };
        assert_eq!(all, [one], "another generation is the same kind");
    }

    #[test]
    fn what_the_kernel_could_not_tell_apart_is_counted_and_nothing_else_is_known() {
        let mut tolerated = Tolerated::default();
        let key = seen(1, 502, 0).key.without_ends();
        let repeats = Repeats { packets: 9, bytes: 0, first: 11, last: 30 };
        tolerated.repeats(&key, &repeats);
        tolerated.repeats(&ViolationKey { dropped: 1, ..key }, &repeats);
        let forgotten: Vec<Forgotten> = tolerated.forgotten().0.collect();
        assert_eq!((forgotten.len(), forgotten[0].packets, forgotten[0].last_ns), (1, 9, 30));
        assert_eq!(tolerated.passed().count(), 0);
    }

    #[test]
    fn what_was_dropped_does_not_pass() {
        let mut tolerated = Tolerated::default();
        let event = seen(1, 502, 10);
        tolerated.event(&Event { key: ViolationKey { dropped: 1, ..event.key }, ..event });
        assert_eq!(tolerated.passed().count(), 0);
    }

    #[test]
    fn a_scan_pushes_out_its_like_and_is_counted() {
        let mut tolerated = Tolerated::default();
        tolerated.event(&seen(2, 502, 1));
        let ports_of_scan = 1..=u16::try_from(ALIKE + 10).expect("a small number");
        ports_of_scan.for_each(|port| tolerated.event(&seen(1, port, 10 + u64::from(port))));
        assert_eq!(ports(&tolerated, 2), [502]);
        assert_eq!((ports(&tolerated, 1).len(), ports(&tolerated, 1)[0]), (ALIKE, 11));
        let (forgotten, beyond) = tolerated.forgotten();
        let wanted = Forgotten { device: 1, reason: 51, packets: 10, last_ns: 20 };
        assert_eq!((forgotten.collect::<Vec<_>>(), beyond), (vec![wanted], (0, 0)));
    }

    #[test]
    fn nothing_grows_without_end_and_no_packet_is_lost_count_of() {
        let mut tolerated = Tolerated::default();
        let devices = u32::try_from(3 * KINDS).expect("a small number");
        (1..=devices).for_each(|device| tolerated.event(&seen(device, 502, u64::from(device))));
        let kept: u64 = tolerated.passed().map(|one| one.packets).sum();
        let (forgotten, beyond) = tolerated.forgotten();
        let forgotten: Vec<Forgotten> = forgotten.collect();
        assert_eq!((tolerated.passed().count(), forgotten.len()), (KINDS, PARTS));
        let counted: u64 = forgotten.iter().map(|one| one.packets).sum();
        assert_eq!(kept + counted + beyond.0, u64::from(devices));
        assert_eq!(tolerated.oldest_alike.len(), KINDS);
    }
}
