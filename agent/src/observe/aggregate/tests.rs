//! What is told when, and that no packet is lost or told twice on the way.

use bulkhead_common::{address::Address, layout::ABI};
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const SUMMARY: Duration = Duration::from_secs(10);
const FIRSTS: usize = 256;

fn key(source: u32) -> ViolationKey {
    ViolationKey { source: Address::v4(source), generation: 1, ..ViolationKey::default() }
}

fn event(key: ViolationKey, time: u64) -> Event {
    Event { abi: ABI, len: 60, time, key, source_port: 4000, ..Event::default() }
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
    let expected = Aggregate {
        key: key(1),
        packets: 1,
        bytes: 60,
        first_ns: 5,
        last_ns: 5,
        source_port: 4000,
        others: false,
    };
    assert_eq!(out, [expected]);
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
        source_port: 4000,
        others: false,
    };
    assert_eq!(out, [expected]);
    assert!(aggregator.tick(60 * SECOND).is_empty());
    assert_eq!(aggregator.totals(), Totals { taken: 43, told: 43, pending: 0, evicted: 0, entries: 1 });
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
        source_port: 0,
        others: false,
    };
    assert_eq!(out, [expected]);
    // The event was read late: it is older than its repeats, and counted once.
    assert!(aggregator.event(&event(key(1), SECOND - 1)).is_empty());
    let late = aggregator.flush();
    assert_eq!(told(&late), [(1, 1)]);
    assert_eq!((late[0].first_ns, late[0].last_ns), (SECOND - 1, SECOND - 1));
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
    assert_eq!(aggregator.totals(), Totals { taken: 9, told: 4, pending: 5, evicted: 1, entries: 2 });
    assert_eq!(told(&aggregator.flush()), [(2, 5)]);
}

#[test]
fn new_violations_beyond_the_budget_are_one_record_an_interval() {
    let mut aggregator = Aggregator::new(1 << 16, SUMMARY, 3);
    let out: Vec<Aggregate> = (1..=1000).flat_map(|n| aggregator.event(&event(key(n), SECOND))).collect();
    assert_eq!(told(&out), [(1, 1), (2, 1), (3, 1), (0, 1)]);
    assert!(out[3].others && !out[2].others);
    // Another device, and what is known already, are not affected.
    let other = ViolationKey { device: 7, ..key(2000) };
    assert_eq!(told(&aggregator.event(&event(other, SECOND))), [(2000, 1)]);
    assert!(aggregator.event(&event(key(1), SECOND)).is_empty());
    let Totals { taken, told: said, pending, evicted: _, entries } = aggregator.totals();
    assert_eq!((taken, said, pending, entries), (1002, 5, 997, 5));

    let out = aggregator.tick(11 * SECOND);
    assert_eq!(told(&out), [(0, 996), (1, 1)]);
    assert_eq!((out[0].bytes, out[0].source_port), (996 * 60, 0));
    // A new interval, a new budget.
    assert_eq!(told(&aggregator.event(&event(key(3000), 11 * SECOND))), [(3000, 1)]);
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

/// One call, made by chance.
#[derive(Clone, Debug)]
enum Call {
    Event { source: u32, time: u64 },
    Repeats { source: u32, packets: u64, first: u64, last: u64 },
    Tick { time: u64 },
    Flush,
}

fn call() -> impl Strategy<Value = Call> {
    let time = 0..3000 * SECOND;
    prop_oneof![
        4 => (0..12u32, time.clone()).prop_map(|(source, time)| Call::Event { source, time }),
        4 => (0..12u32, 0..1000u64, time.clone(), time.clone())
            .prop_map(|(source, packets, first, last)| Call::Repeats { source, packets, first, last }),
        2 => time.prop_map(|time| Call::Tick { time }),
        1 => Just(Call::Flush),
    ]
}

proptest! {
    #[test]
    fn every_packet_is_told_exactly_once(
        capacity in 0..9usize,
        firsts in 0..6usize,
        summary in 0..900u64,
        calls in prop::collection::vec(call(), 0..200),
    ) {
        let mut aggregator = Aggregator::new(capacity, Duration::from_secs(summary), firsts);
        let mut expected: BTreeMap<u32, u64> = BTreeMap::new();
        let mut out = Vec::new();
        for call in calls {
            out.extend(match call {
                Call::Event { source, time } => {
                    *expected.entry(source).or_default() += 1;
                    aggregator.event(&event(key(source), time))
                }
                Call::Repeats { source, packets, first, last } => {
                    *expected.entry(source).or_default() += packets;
                    aggregator.repeats(&key(source), &repeats(packets, first, last))
                }
                Call::Tick { time } => aggregator.tick(time),
                Call::Flush => aggregator.flush(),
            });
            let totals = aggregator.totals();
            prop_assert_eq!(totals.taken, totals.told + totals.pending);
            prop_assert_eq!(totals.taken, expected.values().sum::<u64>());
            prop_assert_eq!(totals.told, out.iter().map(|a| a.packets).sum::<u64>());
            prop_assert!(totals.entries <= capacity.max(1));
            prop_assert_eq!(aggregator.recency.len(), totals.entries);
        }
        out.extend(aggregator.flush());
        prop_assert_eq!(aggregator.totals().pending, 0);
        prop_assert!(aggregator.due.is_empty());
        let mut told: BTreeMap<u32, u64> = BTreeMap::new();
        let mut folded = 0;
        for aggregate in &out {
            prop_assert!(aggregate.packets > 0 && aggregate.first_ns <= aggregate.last_ns);
            prop_assert_eq!(aggregate.bytes, aggregate.packets * 60);
            if aggregate.others {
                prop_assert_eq!(aggregate.key.source, Address::UNSPECIFIED);
                folded += aggregate.packets;
            } else {
                *told.entry(source_of(&aggregate)).or_default() += aggregate.packets;
            }
        }
        expected.retain(|_, packets| *packets > 0);
        // What is told of a violation is true; what is missing was told without its ends.
        for (source, packets) in &told {
            prop_assert!(*packets <= expected[source]);
        }
        prop_assert_eq!(told.values().sum::<u64>() + folded, expected.values().sum::<u64>());
        if firsts == 0 && summary > 0 {
            prop_assert!(told.is_empty());
        }
    }

    #[test]
    fn between_two_records_of_a_violation_an_interval_passes(
        steps in prop::collection::vec((0..4u32, 0..5 * SECOND), 0..300),
    ) {
        let mut aggregator = Aggregator::new(8, SUMMARY, FIRSTS);
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = 0;
        for (source, step) in steps {
            now += step;
            let mut out = aggregator.tick(now);
            out.extend(aggregator.event(&event(key(source), now)));
            for aggregate in out {
                if let Some(before) = last.insert(source_of(&aggregate), now) {
                    prop_assert!(now - before >= 10 * SECOND);
                }
            }
        }
    }
}
