//! A table of flows that is too small by far: whom a rule allows passes all the same, what none allows never does, a connection that was
//! forgotten goes on by its rule, and every packet is counted.

mod packet;

use std::time::{Duration, Instant};

use bulkhead_agent::dataplane::Sizes;
use bulkhead_common::{
    cache::LIFE,
    reason::{Grant, Reason},
};
use bulkhead_tests::{frame::frame, lab::Room};
use packet::{
    CACHE, COUNTER,
    gate::{DROP, Gate, PASS, only},
    lab,
};

/// Flows that there is room for.
const ROOM: u32 = 1024;
/// Those that begin, each with a port of its own.
const NEW: u16 = 50_000;
/// Of so many packets that begin a flow there is a denied one.
const EVERY: u16 = 100;

const SIZES: Sizes =
    Sizes { devices: 64, rules: 128, flows: ROOM, violations: 4096, ring_bytes: 4096, cache: CACHE };
/// Where a frame without VLAN tag has its source port (RFC 791 3.1 without options, RFC 8200 3).
const PORT_V4: usize = 34;
const PORT_V6: usize = 54;

/// A connection of which data went both ways.
const THERE: &str = "hmi>plc tcp 49152>502 A len=32";
const BACK: &str = "plc>hmi tcp 502>49152 A len=32";
const DENIED: &str = "hmi>plc udp 50000>503";

/// A gate with an open connection, after [`NEW`] flows of so many packets each; no verdict is remembered.
fn after_churn(room: &Room, pins: &str, words: &str, kind: &str, packets: u64) -> (Gate, Counts) {
    let mut gate = Gate::of_size(room, pins, SIZES, words, &only(502));
    let mut counts = Counts::default();
    gate.connect("hmi", "plc", (49_152, 502), "tcp");
    counts.allowed += 3;
    for line in [THERE, BACK, THERE, BACK] {
        counts.met(&mut gate, line, true);
    }
    churn(&mut gate, &mut counts, kind, packets);
    gate.set(words);
    (gate, counts)
}

/// [`NEW`] flows of so many packets each.
fn churn(gate: &mut Gate, counts: &mut Counts, kind: &str, packets: u64) {
    let at = if kind.starts_with("udp6") { PORT_V6 } else { PORT_V4 };
    let (protocol, flags) = kind.split_once(' ').unwrap_or((kind, ""));
    let mut first = frame(&format!("attacker>plc {protocol} 1024>502 {flags}")).expect("well formed");
    for n in 1..=NEW {
        first[at..at + 2].copy_from_slice(&n.to_be_bytes());
        for _ in 0..packets {
            let action = gate.dataplane.test_run(&first).expect("it runs");
            assert_eq!(action, PASS, "the flow of port {n} over {kind}");
            counts.allowed += 1;
        }
        if n.is_multiple_of(EVERY) {
            counts.met(gate, DENIED, false);
        }
    }
}

/// What was sent.
#[derive(Default)]
struct Counts {
    allowed: u64,
    denied: u64,
}

impl Counts {
    fn met(&mut self, gate: &mut Gate, line: &str, passes: bool) {
        assert_eq!(gate.run(line), if passes { PASS } else { DROP }, "`{line}`");
        *(if passes { &mut self.allowed } else { &mut self.denied }) += 1;
    }

    /// Everything that was sent is in each counter, once.
    fn assert_counted(&self, gate: &mut Gate) {
        let Self { allowed, denied } = *self;
        gate.collect();
        let interface = gate.dataplane.interface_counts(COUNTER).expect("it is configured");
        let [seen, passed, dropped] =
            [interface.seen, interface.passed, interface.dropped].map(|one| one.packets);
        assert_eq!([seen, passed, dropped], [allowed + denied, allowed, denied]);
        assert_eq!(gate.by_rules().packets, allowed);
        let tally = gate.dataplane.tally().expect("readable");
        assert_eq!((tally.violations, tally.delivered + tally.aggregated + tally.lost), (denied, denied));
    }
}

/// Flows that are remembered, and those that made room for them: of all that began.
fn assert_bounded(gate: &Gate, made: u64) {
    let tally = gate.dataplane.tally().expect("readable");
    let kept = gate.flows().len();
    assert!(kept > ROOM as usize / 2 && kept <= ROOM as usize, "{kept}");
    assert_eq!((tally.flows_made, tally.flows_refused), (made, 0));
}

#[test]
fn flows_that_find_no_room_pass_and_a_forgotten_connection_goes_on_from_its_initiator() {
    let test = "flows_that_find_no_room_pass_and_a_forgotten_connection_goes_on_from_its_initiator";
    let Some((namespace, room)) = lab(test) else { return };
    namespace.run(|| {
        for (pins, kind) in [("udp", "udp"), ("tcp", "tcp S"), ("v6", "udp6")] {
            // The kernel keeps a flow that was looked up again above one that was not.
            let (mut gate, mut counts) = after_churn(&room, pins, "", kind, 2);
            let made = 1 + u64::from(NEW);
            assert_bounded(&gate, made);
            counts.assert_counted(&mut gate);
            // What opens a connection is asked of its rule each time.
            let by_rule = if kind == "tcp S" { 2 } else { 1 };
            let opened = 1 + by_rule * u64::from(NEW);
            assert_eq!(gate.device("plc", Grant::Rule.code()), opened, "{kind}");

            // Who answered may not begin, and what no rule allows is denied as before.
            counts.met(&mut gate, BACK, false);
            assert_eq!(gate.device("plc", Reason::NoFlow.code()), 1);
            counts.met(&mut gate, DENIED, false);
            counts.met(&mut gate, THERE, true);
            assert_eq!(gate.device("plc", Grant::Adopted.code()), 1);
            for line in [BACK, THERE, BACK] {
                counts.met(&mut gate, line, true);
            }
            assert_bounded(&gate, made + 1);
            counts.assert_counted(&mut gate);
        }
    });
}

#[test]
fn forgotten_connection_begins_anew_where_nothing_is_adopted() {
    let Some((namespace, room)) = lab("forgotten_connection_begins_anew_where_nothing_is_adopted") else {
        return;
    };
    namespace.run(|| {
        let (mut gate, mut counts) = after_churn(&room, "strict", "strict", "udp", 2);
        for line in [THERE, BACK] {
            counts.met(&mut gate, line, false);
        }
        assert_eq!(gate.device("plc", Reason::NoFlow.code()), 2);
        gate.connect("hmi", "plc", (49_152, 502), "tcp");
        counts.allowed += 3;
        for line in [THERE, BACK] {
            counts.met(&mut gate, line, true);
        }
        assert_bounded(&gate, u64::from(NEW) + 2);
        counts.assert_counted(&mut gate);
    });
}

#[test]
fn what_is_remembered_of_a_flow_ends_with_the_sweep_after_it_was_forgotten() {
    let test = "what_is_remembered_of_a_flow_ends_with_the_sweep_after_it_was_forgotten";
    let Some((namespace, room)) = lab(test) else { return };
    namespace.run(|| {
        let mut gate = Gate::of_size(&room, "swept", SIZES, "strict", &only(502));
        let mut counts = Counts::default();
        let (ask, answer) = ("hmi>plc udp 49152>502", "plc>hmi udp 502>49152");
        let began = Instant::now();
        for line in [ask, answer, ask, answer] {
            counts.met(&mut gate, line, true);
        }
        // What opens connections is not remembered, and takes no room from what is.
        churn(&mut gate, &mut counts, "tcp S", 2);
        // On a slow machine it has ended by time.
        if began.elapsed() < Duration::from_nanos(LIFE) * 3 / 4 {
            counts.met(&mut gate, answer, true);
        }
        gate.collect();
        counts.met(&mut gate, answer, false);
        assert_eq!(gate.device("plc", Reason::NoFlow.code()), 1);
        // Of the other direction with the sweep after its next packet.
        counts.met(&mut gate, ask, true);
        gate.collect();
        for line in [ask, answer] {
            counts.met(&mut gate, line, true);
        }
        counts.assert_counted(&mut gate);
    });
}

#[test]
fn flows_of_one_packet_take_no_room_from_a_conversation() {
    let Some((namespace, room)) = lab("flows_of_one_packet_take_no_room_from_a_conversation") else { return };
    namespace.run(|| {
        for kind in ["udp", "tcp S", "udp6"] {
            let pins = kind.replace(' ', "-");
            let (mut gate, mut counts) = after_churn(&room, &pins, "strict", kind, 1);
            for line in [BACK, THERE, BACK, THERE] {
                counts.met(&mut gate, line, true);
            }
            counts.met(&mut gate, DENIED, false);
            assert_bounded(&gate, 1 + u64::from(NEW));
            counts.assert_counted(&mut gate);
        }
    });
}
