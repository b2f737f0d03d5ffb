//! The accounting law under a flood: `violations = delivered + aggregated + lost`, exactly.
//!
//! A small ring and a small table of repeats, tens of thousands of denied frames: first nobody reads, then a reader
//! runs beside the flood. At the end everything that was counted was also seen. And what is remembered is bounded: by no
//! flood of denied packets is a flow forgotten, by no flood of fragments does the table grow.

mod packet;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use bulkhead_agent::dataplane::{Dataplane, EventReader, Moment, Sizes, XdpAction};
use bulkhead_common::{
    layout::{Event, MAX_FRAGMENTED, Traffic},
    reason::Reason,
};
use bulkhead_tests::lab::Room;
use packet::{CACHE, COUNTER, Setup, gateway, lab, open, tables, text};

const SIZES: Sizes =
    Sizes { devices: 12, rules: 24, flows: 256, violations: 64, ring_bytes: 4096, cache: CACHE };
/// Denied frames of each of the two floods.
const FLOOD: u64 = 30_000;
/// Violations that repeat all the time, among those that never do.
const REPEATING: u16 = 8;

/// The `n`th frame: every other one is of a kind of its own, the rest repeat.
fn frame(base: &[u8], n: u64) -> Vec<u8> {
    let mut frame = base.to_vec();
    let port = if n.is_multiple_of(2) {
        2000 + u16::try_from(n / 2 % 30_000).expect("below 30,000")
    } else {
        1000 + u16::try_from(n / 2).unwrap_or(0) % REPEATING
    };
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    frame
}

fn flood(dataplane: &mut Dataplane, base: &[u8], mut between: impl FnMut(&mut Dataplane, u64)) {
    for n in 0..FLOOD {
        dataplane.test_run(&frame(base, n)).unwrap_or_else(|error| panic!("{error}"));
        between(dataplane, n);
    }
}

fn flow_count(dataplane: &Dataplane) -> usize {
    let reader = dataplane.flow_reader().unwrap_or_else(|error| panic!("{error}"));
    reader.count().unwrap_or_else(|error| panic!("{error}"))
}

fn repeats(dataplane: &mut Dataplane) -> u64 {
    let mut drained = Vec::new();
    dataplane.drain_repeats(&mut drained).unwrap_or_else(|error| panic!("{error}"));
    drained.iter().map(|(_, repeats)| repeats.packets).sum()
}

/// Takes events until `stop` is set and the ring is empty.
fn read(reader: &mut EventReader, stop: &AtomicBool) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut events = 0;
    loop {
        // Asked before the ring: what was written before the flood ended is then still found.
        let last = stop.load(Ordering::Acquire);
        while let Some(Event { key, .. }) = reader.next_record() {
            assert_eq!(key.reason, Reason::UnknownPeer.code());
            events += 1;
        }
        if last {
            return events;
        }
        assert!(Instant::now() < deadline, "the flood ends within a minute");
        thread::yield_now();
    }
}

#[test]
fn every_violation_is_delivered_or_aggregated_however_many_kinds_there_are() {
    let Some((namespace, room)) =
        lab("every_violation_is_delivered_or_aggregated_however_many_kinds_there_are")
    else {
        return;
    };
    namespace.run(|| {
        let (mut dataplane, mut reader) = open(&room, "flood", SIZES);
        let setup = Setup::default();
        setup.configure(&mut dataplane);
        let applied = dataplane.apply(
            tables(&[("cell.toml", &text("cell.toml"))]),
            &gateway(),
            &Setup::segments(),
            &Moment::default(),
        );
        let applied = applied.unwrap_or_else(|error| panic!("{error}"));
        let plc =
            applied.ids.devices[applied.tables.device_id("plc").expect("a device of the cell").0 as usize];
        let base = bulkhead_tests::frame::frame("internet>plc udp 50000>1").expect("it is well formed");

        // Nobody reads: half of the ring overflows, then the table.
        flood(&mut dataplane, &base, |_, _| {});
        dataplane.collect().expect("the sweep runs");
        let silent = dataplane.tally().expect("readable");
        assert_eq!(silent.violations, FLOOD);
        assert_eq!(silent.violations, silent.delivered + silent.aggregated + silent.lost);
        assert_eq!(silent.lost, 0, "those of one device and reason are counted together: {silent:?}");
        assert!(silent.delivered > 0 && silent.aggregated > 0, "{silent:?}");

        // A reader on a thread of its own, and the table drained now and then.
        let stop = AtomicBool::new(false);
        let (events, mut repeated) = thread::scope(|scope| {
            let events = scope.spawn(|| read(&mut reader, &stop));
            let mut repeated = 0;
            flood(&mut dataplane, &base, |dataplane, n| {
                if n % 3000 == 0 {
                    repeated += repeats(dataplane);
                }
            });
            stop.store(true, Ordering::Release);
            (events.join().expect("the reader does not panic"), repeated)
        });
        dataplane.collect().expect("the sweep runs");
        // Both tables: the one being filled, and the one before it.
        repeated += repeats(&mut dataplane);
        repeated += repeats(&mut dataplane);

        let tally = dataplane.tally().expect("readable");
        assert_eq!(tally.violations, 2 * FLOOD);
        assert_eq!(tally.violations, tally.delivered + tally.aggregated + tally.lost);
        assert_eq!(events, tally.delivered, "what was delivered was read");
        assert_eq!(repeated, tally.aggregated, "what was aggregated was drained");
        assert_eq!(reader.foreign(), 0);
        assert_eq!(repeats(&mut dataplane), 0, "nothing is told twice");

        // What nobody was told is in the counters all the same.
        let counts = dataplane.device_counts(plc).expect("the id is in the map");
        assert_eq!(counts[usize::from(Reason::UnknownPeer.code())], tally.violations);
        assert_eq!(counts.iter().sum::<u64>(), tally.violations);
        let interface = dataplane.interface_counts(COUNTER).expect("it is configured");
        let all = Traffic { packets: tally.violations, bytes: tally.violations * base.len() as u64 };
        assert_eq!((interface.seen, interface.dropped), (all, all));
        assert_eq!(interface.passed, Traffic::default());
        println!("{tally:?}");
    });
}

/// A data path that enforces the cell, and no more.
fn cell(room: &Room, pins: &str, sizes: Sizes, setup: &Setup) -> Dataplane {
    let (mut dataplane, _) = open(room, pins, sizes);
    setup.configure(&mut dataplane);
    let tables = tables(&[("cell.toml", &text("cell.toml"))]);
    dataplane
        .apply(tables, &gateway(), &Setup::segments(), &Moment::default())
        .map(|_| ())
        .unwrap_or_else(|error| panic!("{error}"));
    dataplane
}

fn run(dataplane: &mut Dataplane, line: &str) -> XdpAction {
    let bytes = bulkhead_tests::frame::frame(line).expect("it is well formed");
    dataplane.test_run(&bytes).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_flood_of_denied_packets_evicts_no_flow() {
    let Some((namespace, room)) = lab("a_flood_of_denied_packets_evicts_no_flow") else { return };
    namespace.run(|| {
        // Strict, so that a forgotten flow is not adopted again.
        let setup = Setup { strict: true, ..Setup::default() };
        let mut dataplane = cell(&room, "denied", SIZES, &setup);
        let flows: Vec<u16> = (49_152..49_252).collect();
        for port in &flows {
            assert_eq!(run(&mut dataplane, &format!("hmi>plc tcp {port}>502 S")), XdpAction::Pass);
        }
        let before = flow_count(&dataplane);
        assert_eq!(before, flows.len());
        for lines in ["internet>plc udp 50000>1", "internet>plc udp6 50000>1"] {
            let base = bulkhead_tests::frame::frame(lines).expect("it is well formed");
            flood(&mut dataplane, &base, |_, _| {});
        }
        assert_eq!(flow_count(&dataplane), before);
        for port in &flows {
            assert_eq!(
                run(&mut dataplane, &format!("plc>hmi tcp 502>{port} SA")),
                XdpAction::Pass,
                "port {port}"
            );
        }
        assert_eq!(dataplane.tally().expect("readable").flows_refused, 0);
    });
}

#[test]
fn a_device_over_its_budget_makes_no_flow() {
    let Some((namespace, room)) = lab("a_device_over_its_budget_makes_no_flow") else { return };
    namespace.run(|| {
        let setup = Setup { cap: 50, ..Setup::default() };
        let mut dataplane = cell(&room, "budget", SIZES, &setup);
        let passed = (0..2000)
            .filter(|n| run(&mut dataplane, &format!("hmi>plc tcp {}>502 S", 40_000 + n)) == XdpAction::Pass)
            .count();
        assert_eq!((passed, flow_count(&dataplane)), (50, 50));
        // Another device has a budget of its own.
        assert_eq!(run(&mut dataplane, "historian>plc tcp 49152>502 S"), XdpAction::Pass);
    });
}

#[test]
fn fragments_of_more_packets_than_there_is_room_for_push_out_the_oldest() {
    let Some((namespace, room)) = lab("fragments_of_more_packets_than_there_is_room_for_push_out_the_oldest")
    else {
        return;
    };
    namespace.run(|| {
        let mut dataplane = cell(&room, "fragments", SIZES, &Setup::default());
        let packets = 3 * MAX_FRAGMENTED;
        for id in 0..packets {
            let line = format!("hmi>plc udp 50000>44818 frag=0+/{id} len=16");
            assert_eq!(run(&mut dataplane, &line), XdpAction::Pass, "{line}");
        }
        let known = dataplane.fragmented_count().expect("readable");
        assert!(known <= MAX_FRAGMENTED as usize, "{known}");
        let rest = |dataplane: &mut Dataplane, id: u32| {
            run(dataplane, &format!("hmi>plc proto 17 frag=2/{id} len=8"))
        };
        assert_eq!(rest(&mut dataplane, packets - 1), XdpAction::Pass, "the last one is complete");
        assert_eq!(rest(&mut dataplane, 0), XdpAction::Drop, "the first one was pushed out");
        assert_eq!(dataplane.tally().expect("readable").fragments_refused, 0);
    });
}
