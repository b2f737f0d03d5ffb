//! A flood of more kinds than can be told apart: one denial then holds for all strangers, all of them are counted, and nothing
//! else is judged by it.

mod packet;

use bulkhead_agent::dataplane::Sizes;
use bulkhead_common::{layout::Traffic, reason::Reason};
use bulkhead_tests::{
    frame::{frame, host},
    lab::Room,
};
use packet::{
    CACHE, COUNTER,
    gate::{DROP, Gate, PASS, only},
    lab,
};

const SIZES: Sizes =
    Sizes { devices: 64, rules: 128, flows: 4096, violations: 64, ring_bytes: 4096, cache: CACHE };
/// Packets until there is no room for more kinds, and some.
const FILL: u16 = 300;
const FLOOD: u16 = 1000;

/// Packets to somebody, each from another stranger and to another port. How many of them were decided.
fn flood(gate: &mut Gate, to: &str, packets: std::ops::Range<u16>) -> u64 {
    let mut frame = frame(&format!("internet>{to} udp 50000>1")).expect("it is well formed");
    let before = gate.counted();
    for n in packets {
        let [high, low] = n.to_be_bytes();
        frame[26..30].copy_from_slice(&[198, 18, high, low]);
        frame[36..38].copy_from_slice(&(20_000 + n).to_be_bytes());
        assert_eq!(gate.dataplane.test_run(&frame).unwrap_or_else(|error| panic!("{error}")), DROP, "{n}");
    }
    gate.counted() - before
}

/// A gate that strangers are denied at together.
fn flooded(room: &Room, pins: &str, policy: &str) -> Gate {
    let mut gate = Gate::of_size(room, pins, SIZES, "strict", policy);
    flood(&mut gate, "plc", 0..FILL);
    let decided = flood(&mut gate, "plc", FILL..FILL + FLOOD);
    assert!(decided < u64::from(FLOOD / 4), "{decided} of {FLOOD} were decided each for itself");
    gate.collect();
    gate
}

/// Packets that are decided of ten more.
fn decided(gate: &mut Gate, to: &str) -> u64 {
    gate.collect();
    flood(gate, to, 5000..5010)
}

#[test]
fn strangers_are_denied_together_and_all_are_counted() {
    let Some((namespace, room)) = lab("strangers_are_denied_together_and_all_are_counted") else { return };
    namespace.run(|| {
        let mut gate = flooded(&room, "counted", &only(502));
        let all = u64::from(FILL + FLOOD);
        let dropped = gate.dataplane.interface_counts(COUNTER).expect("it is configured").dropped;
        let len = frame("internet>plc udp 50000>1").expect("it is well formed").len() as u64;
        assert_eq!(dropped, Traffic { packets: all, bytes: all * len });
        assert_eq!(gate.device("plc", Reason::UnknownPeer.code()), all);
        let tally = gate.dataplane.tally().expect("readable");
        assert_eq!((tally.violations, tally.lost), (all, 0));
        assert_eq!(tally.violations, tally.delivered + tally.aggregated);
        let told = gate.repeats();
        let packets: u64 = told.iter().map(|(_, packets, _)| packets).sum();
        assert_eq!(packets, tally.aggregated);
        // By what they have in common; of the others each has a kind of its own.
        let others: Vec<_> = told.iter().filter(|(key, ..)| key.others == 1).collect();
        let [(key, packets, bytes)] = others[..] else { panic!("{others:?}") };
        assert_eq!((key.device, key.reason), (gate.stable("plc"), Reason::UnknownPeer.code()));
        assert!(*packets > u64::from(FLOOD), "{packets}");
        assert_eq!(*bytes, packets * len);
    });
}

#[test]
fn what_there_is_room_to_tell_of_is_told() {
    let Some((namespace, room)) = lab("what_there_is_room_to_tell_of_is_told") else { return };
    namespace.run(|| {
        let mut gate = flooded(&room, "ring", &only(502));
        assert_eq!(decided(&mut gate, "plc"), 0);
        // The ring has room again: the next packet is told by itself.
        while gate.events.next_record().is_some() {}
        let probe = "internet>plc udp 50000>4840";
        gate.anew(probe, DROP);
        let event = gate.events.next_record().expect("it was told");
        assert_eq!(event.key.source, host("internet").expect("it is in the list").v4.into());
        assert_eq!(event.key.port, 4840);

        // And with another table each kind is.
        let mut gate = flooded(&room, "table", &only(502));
        assert_eq!(decided(&mut gate, "plc"), 0);
        gate.repeats();
        assert_eq!(decided(&mut gate, "plc"), 10);
    });
}

#[test]
fn nothing_else_is_denied_with_strangers() {
    let Some((namespace, room)) = lab("nothing_else_is_denied_with_strangers") else { return };
    namespace.run(|| {
        let mut gate = Gate::of_size(&room, "others", SIZES, "strict", &only(502));
        gate.connect("hmi", "plc", (49_152, 502), "tcp");
        flood(&mut gate, "plc", 0..FILL);
        assert!(flood(&mut gate, "plc", FILL..FILL + FLOOD) < u64::from(FLOOD / 4));
        // A flow, a rule, an answer, and who manages the gateway.
        for line in [
            "hmi>plc tcp 49152>502 A",
            "plc>hmi tcp 502>49152 A",
            "remote>plc arp ask plc",
            "admin>gw tcp 49152>22 S",
        ] {
            assert_eq!(gate.run(line), PASS, "`{line}`");
        }
        assert_eq!(gate.run("attacker>plc udp 50000>502"), PASS);
        // From another router, to another device's address, with a tag: others that are not known.
        let before = gate.counted();
        for line in ["guest>plc udp 50000>9", "internet>plc udp 50000>9 vlan=7", "internet>plc icmp 8 1"] {
            assert_eq!(gate.run(line), DROP, "`{line}`");
        }
        assert_eq!(gate.counted() - before, 3);
        // A policy that lets strangers in does so with the next packet.
        gate.apply(&only(502).replace("10.20.1.0/24", "0.0.0.0/0"));
        assert_eq!(gate.run("internet>plc udp 50000>502"), PASS);
    });
}

#[test]
fn where_it_matters_what_a_packet_says_each_is_decided() {
    let Some((namespace, room)) = lab("where_it_matters_what_a_packet_says_each_is_decided") else { return };
    namespace.run(|| {
        // The gateway's management is open by port.
        let mut gate = Gate::of_size(&room, "gateway", SIZES, "strict unmanaged=drop", &only(502));
        flood(&mut gate, "gw", 0..FILL);
        assert_eq!(flood(&mut gate, "gw", FILL..FILL + FLOOD), u64::from(FLOOD));
        assert_eq!(gate.run("admin>gw tcp 49152>22 S"), PASS);
        // Some service is allowed.
        let anyone = only(502).replace("10.20.1.0/24", "0.0.0.0/0");
        let mut gate = Gate::of_size(&room, "service", SIZES, "strict", &anyone);
        flood(&mut gate, "plc", 0..FILL);
        assert_eq!(flood(&mut gate, "plc", FILL..FILL + FLOOD), u64::from(FLOOD));
        assert_eq!(gate.run("internet>plc udp 50000>502"), PASS);
    });
}
