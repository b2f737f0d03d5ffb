//! A million violations of which no two are alike: nothing grows beyond its bound, and no packet is lost count of.

use super::{super::*, FIRSTS, SUMMARY, aimed, event};

/// What the agent allows itself.
const DISTINCT: usize = 65_536;

fn assert_bounded(aggregator: &Aggregator) {
    let [watched, oldest, scans, targets] = aggregator.scans.sizes();
    assert!(aggregator.table.len() <= DISTINCT, "{}", aggregator.table.len());
    assert_eq!(aggregator.recency.len(), aggregator.table.len());
    assert!(aggregator.due.len() <= aggregator.table.len());
    assert!(aggregator.budgets.len() <= DISTINCT);
    assert!(watched <= scan::WATCHED && oldest <= 2 * scan::WATCHED, "{watched} {oldest}");
    assert!(scans <= scan::SCANS && targets <= targets::DISTINCT, "{scans} {targets}");
}

/// A flood of violations.
const MILLION: u32 = 1_000_000;

/// Floods with so many violations of which no two are alike, and says how many records that made.
fn flooded(count: u32, kind: impl Fn(u32) -> ViolationKey) -> (usize, Aggregator) {
    let mut aggregator = Aggregator::new(DISTINCT, SUMMARY, FIRSTS);
    let mut records = 0;
    for n in 0..count {
        // A second of the flood is a hundred thousand packets.
        records += aggregator.event(&event(kind(n), u64::from(n) * 10_000)).len();
        if n % 50_000 == 0 {
            assert_bounded(&aggregator);
        }
    }
    assert_bounded(&aggregator);
    let totals = aggregator.totals();
    assert_eq!((totals.taken, totals.taken), (u64::from(count), totals.told + totals.pending));
    (records, aggregator)
}

#[test]
fn flood_from_one_source_fills_nothing() {
    let port = |n: u32| u16::try_from(n % 65_536).expect("a port");
    let (records, aggregator) = flooded(MILLION, |n| aimed(1, 1 + n / 65_536, port(n)));
    // Sixteen firsts, the beginning of the scan, the first of each of fifteen more devices, and no interval is over.
    assert_eq!((records, aggregator.totals().entries, aggregator.totals().scans), (32, 31, 1));
}

#[test]
fn flood_from_sources_of_which_each_speaks_once_fills_nothing() {
    let (records, aggregator) = flooded(MILLION, |n| aimed(n, 2, 502));
    assert_eq!((records, aggregator.totals().entries, aggregator.totals().scans), (257, 257, 0));
}

#[test]
fn flood_over_many_devices_has_one_budget() {
    // Each of 40 devices has a budget of 256; together they would have 10,240.
    let (records, _) = flooded(MILLION, |n| aimed(n, 1 + n % 40, 502));
    assert_eq!(records, 40 + budget::OF_ALL + 40);
}

#[test]
fn flood_from_everybody_to_everything_fills_no_table_beyond_its_bound() {
    // 200 sources scan 5000 devices each, and there are more sources than may scan.
    let (records, aggregator) = flooded(MILLION, |n| aimed(n % 200, 1 + n / 200, 502));
    assert_eq!(aggregator.totals().scans, scan::SCANS);
    // The first of each device and the others of each, what is for all, and each scan.
    assert!(records <= 2 * 5000 + budget::OF_ALL + scan::SCANS, "{records}");
    // Each of 150,000 sources sends to two devices of its own: every entry is new, and few have a budget to share.
    let (_, aggregator) = flooded(300_000, |n| aimed(n / 2, 1 + n / 4, 502));
    assert_eq!((aggregator.totals().entries, aggregator.totals().scans), (DISTINCT, 0));
}

/// As the documentation of [`Aggregator`] says: three keys, and an aggregate with its sample.
const ENTRY_BYTES: usize = 720;

#[test]
fn memory_is_what_the_documentation_says() {
    let keys = 3 * size_of::<Place>() + 2 * size_of::<u64>() + size_of::<Entry>();
    assert!(keys + size_of::<Sample>() <= ENTRY_BYTES, "{keys} {}", size_of::<Sample>());
}
