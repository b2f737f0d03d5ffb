//! What is told when, and that no packet is lost or told twice on the way.

use bulkhead_common::{
    address::Address,
    layout::{ABI, START_BYTES},
    wire::{ethertype, protocol},
};
use proptest::prelude::*;

use super::*;

mod flood;

const SECOND: u64 = 1_000_000_000;
const SUMMARY: Duration = Duration::from_secs(10);
const FIRSTS: usize = 256;

fn key(source: u32) -> ViolationKey {
    ViolationKey { source: Address::v4(source), generation: 1, ..ViolationKey::default() }
}

fn event(key: ViolationKey, time: u64) -> Event {
    let mut start = [0; START_BYTES];
    start[0] = u8::try_from(time % 256).expect("a byte");
    Event { abi: ABI, len: 60, time, key, other_port: 4000, kept: 60, start, ..Event::default() }
}

/// What one event makes.
fn one(key: ViolationKey, time: u64) -> Aggregate {
    Aggregate::of_event(&event(key, time))
}

fn repeats(packets: u64, first: u64, last: u64) -> Repeats {
    Repeats { packets, bytes: packets * 60, first, last }
}

/// The number that [`key`] was made of; 0 for a record of many.
fn source_of(aggregate: &Aggregate) -> u32 {
    u32::try_from(aggregate.key.source.low & 0xffff_ffff).expect("32 bits")
}

/// What was told, short: source, packets.
fn told(aggregates: &[Aggregate]) -> Vec<(u32, u64)> {
    aggregates.iter().map(|a| (source_of(a), a.packets)).collect()
}

#[test]
fn first_occurrence_is_told_at_once() {
    let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
    let out = aggregator.event(&event(key(1), 5));
    assert_eq!(out, [one(key(1), 5)]);
    let Aggregate { key: told, packets, bytes, first_ns, last_ns, sample, fold } = &out[0];
    assert_eq!((*told, *packets, *bytes, *first_ns, *last_ns), (key(1), 1, 60, 5, 5));
    let sample = sample.as_ref().expect("it came as an event");
    assert_eq!((sample.other_port, sample.bytes().len(), sample.bytes()[0]), (4000, 60, 5));
    assert_eq!(*fold, Fold::Alike);
}

#[test]
fn repeats_are_told_once_an_interval_with_their_exact_count() {
    let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
    aggregator.event(&event(key(1), SECOND));
    assert!(aggregator.repeats(&key(1), &repeats(41, 2 * SECOND, 3 * SECOND)).is_empty());
    assert!(aggregator.event(&event(key(1), 4 * SECOND)).is_empty());
    assert!(aggregator.tick(11 * SECOND - 1).is_empty());
    assert_eq!(aggregator.totals().pending, 42);

    let out = aggregator.tick(11 * SECOND);
    let expected = Aggregate {
        key: key(1),
        packets: 42,
        bytes: 42 * 60,
        first_ns: 2 * SECOND,
        last_ns: 4 * SECOND,
        sample: one(key(1), 4 * SECOND).sample,
        fold: Fold::Alike,
    };
    assert_eq!(out, [expected]);
    assert!(aggregator.tick(60 * SECOND).is_empty());
    assert_eq!(
        aggregator.totals(),
        Totals { taken: 43, told: 43, pending: 0, evicted: 0, entries: 1, scans: 0 }
    );
}

#[test]
fn violation_that_comes_back_after_an_interval_is_told_at_once() {
    let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
    aggregator.event(&event(key(1), SECOND));
    assert_eq!(told(&aggregator.event(&event(key(1), 11 * SECOND))), [(1, 1)]);
    assert!(aggregator.event(&event(key(1), 12 * SECOND)).is_empty());
}

#[test]
fn repeats_whose_event_had_no_room_in_the_ring_are_told() {
    let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
    let out = aggregator.repeats(&key(1), &repeats(7, SECOND, 2 * SECOND));
    let expected = Aggregate {
        key: key(1),
        packets: 7,
        bytes: 420,
        first_ns: SECOND,
        last_ns: 2 * SECOND,
        sample: None,
        fold: Fold::Alike,
    };
    assert_eq!(out, [expected]);
    // The event was read late: it is older than its repeats, and counted once.
    assert!(aggregator.event(&event(key(1), SECOND - 1)).is_empty());
    let late = aggregator.flush();
    assert_eq!(told(&late), [(1, 1)]);
    assert_eq!((late[0].first_ns, late[0].last_ns), (SECOND - 1, SECOND - 1));
}

#[test]
fn sample_is_the_earliest_event_of_what_is_told() {
    let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
    aggregator.event(&event(key(1), 1));
    aggregator.event(&event(key(1), 9));
    aggregator.repeats(&key(1), &repeats(5, 2, 3));
    aggregator.event(&event(key(1), 4));
    aggregator.event(&event(key(1), 7));
    let out = aggregator.flush();
    assert_eq!((told(&out), out[0].first_ns), (vec![(1, 8)], 2));
    assert_eq!(out[0].sample.as_ref().map(|sample| (sample.time_ns, sample.bytes()[0])), Some((4, 4)));
}

#[test]
fn empty_repeats_say_nothing() {
    let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
    assert!(aggregator.repeats(&key(1), &Repeats::default()).is_empty());
    assert_eq!(aggregator.totals(), Totals::default());
}

#[test]
fn two_revisions_are_never_folded() {
    let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
    aggregator.event(&event(key(1), SECOND));
    let newer = ViolationKey { generation: 2, ..key(1) };
    assert_eq!(aggregator.event(&event(newer, SECOND)).len(), 1);
    assert_eq!(aggregator.totals().entries, 2);
}

#[test]
fn full_table_tells_the_least_recently_seen_and_counts_it() {
    let mut aggregator = Aggregator::new(2, SUMMARY, FIRSTS);
    aggregator.event(&event(key(1), 1));
    aggregator.event(&event(key(2), 2));
    aggregator.event(&event(key(1), 3));
    aggregator.repeats(&key(2), &repeats(5, 4, 4));
    // 1 was seen before 2, though 2 is the newer entry's older sibling.
    assert_eq!(told(&aggregator.event(&event(key(3), 5))), [(1, 1), (3, 1)]);
    assert_eq!(
        aggregator.totals(),
        Totals { taken: 9, told: 4, pending: 5, evicted: 1, entries: 2, scans: 0 }
    );
    assert_eq!(told(&aggregator.flush()), [(2, 5)]);
}

#[test]
fn new_violations_beyond_the_budget_are_one_record_an_interval() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, 3);
    let out: Vec<Aggregate> = (1..=1000).flat_map(|n| aggregator.event(&event(key(n), SECOND))).collect();
    assert_eq!(told(&out), [(1, 1), (2, 1), (3, 1), (0, 1)]);
    assert_eq!((&out[3].fold, &out[2].fold), (&Fold::Others, &Fold::Alike));
    // Another device, and what is known already, are not affected.
    let other = ViolationKey { device: 7, ..key(2000) };
    assert_eq!(told(&aggregator.event(&event(other, SECOND))), [(2000, 1)]);
    assert!(aggregator.event(&event(key(1), SECOND)).is_empty());
    let Totals { taken, told: said, pending, evicted: _, entries, scans: _ } = aggregator.totals();
    assert_eq!((taken, said, pending, entries), (1002, 5, 997, 5));

    let out = aggregator.tick(11 * SECOND);
    assert_eq!(told(&out), [(0, 996), (1, 1)]);
    assert_eq!((out[0].bytes, out[0].key.source), (996 * 60, Address::UNSPECIFIED));
    // A new interval, a new budget.
    assert_eq!(told(&aggregator.event(&event(key(3000), 11 * SECOND))), [(3000, 1)]);
}

#[test]
fn what_the_kernel_could_not_tell_apart_is_one_violation_and_no_scan() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, 3);
    let others = |device| ViolationKey { device, ..key(1) }.without_ends();
    let repeats = Repeats { packets: 500, bytes: 30_000, first: SECOND, last: SECOND };
    // As many devices as would make a scan of one source.
    for device in 1..=100 {
        let out = aggregator.repeats(&others(device), &repeats);
        assert_eq!((told(&out), &out[0].fold), (vec![(0, 500)], &Fold::Others));
    }
    // With what did not fit the budget it is one.
    let flood = (1..=4).map(|n| event(ViolationKey { device: 1, ..key(n) }, SECOND));
    assert_eq!(flood.flat_map(|event| aggregator.event(&event)).count(), 3);
    assert!(aggregator.repeats(&others(1), &repeats).is_empty());
    assert_eq!(told(&aggregator.tick(11 * SECOND)), [(0, 501)]);
}

#[test]
fn idle_violation_is_forgotten() {
    let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
    aggregator.event(&event(key(1), 0));
    aggregator.event(&event(key(2), SECOND));
    aggregator.tick(600 * SECOND);
    let Totals { evicted, entries, .. } = aggregator.totals();
    assert_eq!((evicted, entries), (0, 1));
}

#[test]
fn interval_longer_than_the_idle_time_is_waited_for() {
    let mut aggregator = Aggregator::new(8, Duration::from_secs(3600), FIRSTS);
    aggregator.event(&event(key(1), 0));
    aggregator.event(&event(key(1), SECOND));
    assert!(aggregator.tick(3599 * SECOND).is_empty());
    assert_eq!(aggregator.totals().pending, 1);
    assert_eq!(told(&aggregator.tick(3600 * SECOND)), [(1, 1)]);
}

/// A TCP packet of a host to a port of another, counted for a device.
fn aimed(source: u32, destination: u32, port: u16) -> ViolationKey {
    ViolationKey {
        destination: Address::v4(destination),
        port,
        device: destination,
        ethertype: ethertype::IPV4,
        protocol: protocol::TCP,
        ..key(source)
    }
}

fn tried(aggregate: &Aggregate) -> Option<(u64, u64, usize)> {
    match &aggregate.fold {
        Fold::Scan(tried) => Some((tried.hosts, tried.ports, tried.devices.len())),
        Fold::Alike | Fold::Others => None,
    }
}

#[test]
fn scan_is_one_record_at_once_and_then_one_an_interval() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, FIRSTS);
    let begun = |aggregator: &mut Aggregator, ports: std::ops::RangeInclusive<u16>, time| {
        ports.flat_map(|port| aggregator.event(&event(aimed(1, 2, port), time))).collect::<Vec<_>>()
    };
    let out = begun(&mut aggregator, 1..=100, SECOND);
    assert_eq!(out.len(), 17);
    assert!(out[..16].iter().all(|one| one.fold == Fold::Alike && one.packets == 1));
    // What it tried before it was a scan counts as tried, not as told again.
    assert_eq!((tried(&out[16]), out[16].packets), (Some((1, 17, 1)), 1));
    assert_eq!((out[16].key.destination, out[16].key.device, out[16].key.port), (Address::v4(2), 2, 0));

    // What has a place keeps it; what was folded stays folded, with its repeats.
    assert!(aggregator.repeats(&aimed(1, 2, 5), &repeats(7, SECOND, SECOND)).is_empty());
    assert!(aggregator.repeats(&aimed(1, 2, 90), &repeats(3, SECOND, SECOND)).is_empty());
    assert_eq!(aggregator.totals().scans, 1);
    let out = aggregator.tick(11 * SECOND);
    assert_eq!(out.len(), 2);
    assert_eq!((tried(&out[0]), out[0].packets, out[0].bytes), (Some((1, 83, 1)), 86, 86 * 60));
    assert_eq!((out[1].key, out[1].packets), (aimed(1, 2, 5), 7));

    // Who was silent for an interval does not scan any more.
    assert_eq!((aggregator.tick(20 * SECOND), aggregator.totals().scans), (vec![], 1));
    assert_eq!((aggregator.tick(21 * SECOND), aggregator.totals().scans), (vec![], 0));
    assert_eq!(begun(&mut aggregator, 200..=200, 21 * SECOND).len(), 1);
}

#[test]
fn sweep_over_hosts_has_no_destination_and_names_its_port() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, FIRSTS);
    let sweep = (10..=100).flat_map(|host| aggregator.event(&event(aimed(1, host, 502), SECOND)));
    let out: Vec<Aggregate> = sweep.collect();
    // The scan, and the first of as many devices before it as after.
    assert_eq!((out.len(), tried(&out[16])), (2 * 16 + 1, Some((17, 1, 17))));
    assert_eq!(
        (out[16].key.destination, out[16].key.device, out[16].key.port),
        (Address::UNSPECIFIED, 0, 502)
    );
}

#[test]
fn who_begins_few_violations_an_interval_does_not_scan() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, FIRSTS);
    for (port, time) in (1..=200).zip((0..).step_by(10_000_000_000 / 16)) {
        let out = aggregator.event(&event(aimed(1, 2, port), time));
        assert_eq!((out.len(), tried(&out[0])), (1, None), "{port}");
    }
}

#[test]
fn host_that_scans_hides_nothing_of_another() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, FIRSTS);
    for port in 1..=5000 {
        aggregator.event(&event(aimed(1, 2, port), SECOND));
    }
    let quiet = aimed(3, 2, 502);
    assert_eq!(aggregator.event(&event(quiet, SECOND)), [one(quiet, SECOND)]);
    // The same address on another interface, from another hardware address, with another outcome: another source.
    let forged = ViolationKey { source_mac: [2; 6], ..aimed(1, 2, 502) };
    let elsewhere = ViolationKey { ifindex: 9, ..aimed(1, 2, 502) };
    let dropped = ViolationKey { dropped: 1, ..aimed(1, 2, 502) };
    for other in [forged, elsewhere, dropped] {
        assert_eq!(aggregator.event(&event(other, SECOND)), [one(other, SECOND)]);
    }
}

#[test]
fn who_scans_one_device_does_not_hide_that_he_goes_on_to_another() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, FIRSTS);
    let at = |device: u32, port| event(ViolationKey { device, ..aimed(1, 2, port) }, SECOND);
    for port in 1..=5000 {
        aggregator.event(&at(1, port));
    }
    let [first, second] = [at(2, 502), at(2, 503)];
    assert_eq!(aggregator.event(&first), [Aggregate::of_event(&first)]);
    // What he does to that device from now on is part of the scan.
    assert_eq!(aggregator.event(&second), []);
    // A sweep over many devices is one scan all the same.
    let told: usize = (3..=500).map(|device| aggregator.event(&at(device, 502)).len()).sum();
    assert_eq!(told, scan::MET - 1);
}

#[test]
fn two_revisions_are_not_one_scan() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, FIRSTS);
    (1..=50).for_each(|port| drop(aggregator.event(&event(aimed(1, 2, port), SECOND))));
    let newer = ViolationKey { generation: 2, ..aimed(1, 2, 60) };
    assert_eq!(aggregator.event(&event(newer, SECOND)), [one(newer, SECOND)]);
}

#[test]
fn one_violation_seen_often_is_no_scan_even_where_nothing_new_is_told() {
    let mut aggregator = Aggregator::new(8, SUMMARY, 0);
    for time in 0..100 {
        aggregator.event(&event(key(1), time));
    }
    assert_eq!(aggregator.totals().scans, 0);
    assert!(aggregator.flush().iter().all(|one| one.fold == Fold::Others));
}

/// One call, made by chance.
#[derive(Clone, Debug)]
enum Call {
    Event { source: u32, target: u16, time: u64 },
    Repeats { source: u32, target: u16, packets: u64, first: u64, last: u64 },
    Tick { time: u64 },
    Flush,
}

fn call() -> impl Strategy<Value = Call> {
    let time = 0..3000 * SECOND;
    // Few targets and many calls: sources scan now and then.
    let target = || prop_oneof![Just(0..1u16), Just(0..60u16)].prop_flat_map(|range| range);
    prop_oneof![
        8 => (0..12u32, target(), time.clone())
            .prop_map(|(source, target, time)| Call::Event { source, target, time }),
        8 => (0..12u32, target(), 0..1000u64, time.clone(), time.clone())
            .prop_map(|(source, target, packets, first, last)| Call::Repeats { source, target, packets, first, last }),
        2 => time.prop_map(|time| Call::Tick { time }),
        1 => Just(Call::Flush),
    ]
}

proptest! {
    #[test]
    fn every_packet_is_told_exactly_once(
        capacity in 0..60usize,
        firsts in 0..60usize,
        summary in 0..9000u64,
        sources in 1..12u32,
        calls in prop::collection::vec(call(), 0..300),
    ) {
        let mut aggregator = Aggregator::new(capacity, Duration::from_secs(summary), firsts);
        let mut expected: BTreeMap<ViolationKey, u64> = BTreeMap::new();
        let mut out = Vec::new();
        for call in calls {
            out.extend(match call {
                Call::Event { source, target, time } => {
                    let key = aimed(source % sources, 1, target);
                    *expected.entry(key).or_default() += 1;
                    aggregator.event(&event(key, time))
                }
                Call::Repeats { source, target, packets, first, last } => {
                    let key = aimed(source % sources, 1, target);
                    *expected.entry(key).or_default() += packets;
                    aggregator.repeats(&key, &repeats(packets, first, last))
                }
                Call::Tick { time } => aggregator.tick(time),
                Call::Flush => aggregator.flush(),
            });
            let totals = aggregator.totals();
            prop_assert_eq!(totals.pending, aggregator.pending());
            prop_assert_eq!(totals.taken, totals.told + totals.pending);
            prop_assert_eq!(totals.taken, expected.values().sum::<u64>());
            prop_assert_eq!(totals.told, out.iter().map(|a| a.packets).sum::<u64>());
            prop_assert!(totals.entries <= capacity.max(1));
            prop_assert_eq!(aggregator.recency.len(), totals.entries);
        }
        out.extend(aggregator.flush());
        prop_assert_eq!(aggregator.totals().pending, 0);
        prop_assert!(aggregator.due.is_empty());
        let mut told: BTreeMap<ViolationKey, u64> = BTreeMap::new();
        let mut of_source: BTreeMap<u32, u64> = BTreeMap::new();
        let mut folded = 0;
        for aggregate in &out {
            prop_assert!(aggregate.packets > 0 && aggregate.first_ns <= aggregate.last_ns);
            prop_assert_eq!(aggregate.bytes, aggregate.packets * 60);
            match &aggregate.fold {
                Fold::Others => {
                    prop_assert_eq!(aggregate.key.source, Address::UNSPECIFIED);
                    folded += aggregate.packets;
                }
                Fold::Scan(tried) => {
                    prop_assert!(tried.ports >= 1 && tried.hosts == 1 && !tried.at_least);
                    *of_source.entry(source_of(aggregate)).or_default() += aggregate.packets;
                }
                Fold::Alike => {
                    *told.entry(aggregate.key).or_default() += aggregate.packets;
                    *of_source.entry(source_of(aggregate)).or_default() += aggregate.packets;
                }
            }
        }
        expected.retain(|_, packets| *packets > 0);
        // What is told of a violation or a source is true; what is missing was told without its ends.
        for (key, packets) in &told {
            prop_assert!(*packets <= expected[key]);
        }
        for (source, packets) in &of_source {
            let sent = expected.iter().filter(|(key, _)| key.source == Address::v4(*source));
            prop_assert!(*packets <= sent.map(|(_, packets)| packets).sum::<u64>());
        }
        prop_assert_eq!(of_source.values().sum::<u64>() + folded, expected.values().sum::<u64>());
        if firsts == 0 && summary > 0 {
            prop_assert!(told.is_empty());
        }
    }

    #[test]
    fn between_two_records_of_a_violation_an_interval_passes(
        steps in prop::collection::vec((0..4u32, 0..40u16, 0..5 * SECOND), 0..300),
    ) {
        let mut aggregator = Aggregator::new(1 << 10, SUMMARY, FIRSTS);
        let mut last: BTreeMap<(ViolationKey, bool), u64> = BTreeMap::new();
        let mut now = 0;
        for (source, target, step) in steps {
            // Now and then everything happens at once, as in a scan.
            now += if step < 4 * SECOND { step / 100 } else { step };
            let mut out = aggregator.tick(now);
            out.extend(aggregator.event(&event(aimed(source, 1, target), now)));
            for aggregate in out {
                let place = match aggregate.fold {
                    Fold::Alike => (aggregate.key, false),
                    Fold::Scan(_) => (key(source_of(&aggregate)), true),
                    Fold::Others => (ViolationKey::default(), true),
                };
                if let Some(before) = last.insert(place, now) {
                    prop_assert!(now - before >= 10 * SECOND, "{place:?}");
                }
            }
        }
    }
}
