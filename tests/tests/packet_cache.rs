//! The verdict cache in the kernel: what it promises of the packets that follow one that was decided.
//!
//! What a packet met is seen from outside: one that was decided moves the counters at once, one that was answered from the
//! cache only when they are collected. A verdict is remembered for a few seconds at most, so what is to be found in the cache is
//! tried until it is.

mod packet;

use std::time::{Duration, Instant};

use bulkhead_common::{
    cache::{LIFE, SILENT},
    layout::Lease,
    wire::mac,
};
use bulkhead_tests::{
    frame::{Host, frame, host},
    lab::wait::wait_for,
    skip::{Tier, skip},
};
use packet::{
    COUNTER, Setup,
    gate::{DROP, Gate, PASS, go_to, only, processors},
    lab, named,
    rows::Learned,
    setup::ENDLESS,
    text,
};

#[test]
fn policy_that_changes_decides_the_next_packet() {
    let Some((namespace, room)) = lab("policy_that_changes_decides_the_next_packet") else { return };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "policy", "strict", &only(502));
        for kind in ["", "6"] {
            gate.apply(&only(502));
            gate.connect("hmi", "plc", (49_152, 502), &format!("tcp{kind}"));
            let lines = [
                format!("hmi>plc tcp{kind} 49152>502 A"),
                format!("plc>hmi tcp{kind} 502>49152 A"),
                format!("hmi>plc udp{kind} 50000>502"),
            ];
            for line in &lines {
                gate.warm(line, PASS);
            }
            let denied = format!("hmi>plc udp{kind} 50000>503");
            gate.warm(&denied, DROP);
            gate.apply(&only(503));
            for line in &lines {
                gate.anew(line, DROP);
            }
            gate.anew(&denied, PASS);
            // The same policy again is a change too.
            gate.warm(&denied, PASS);
            gate.apply(&only(503));
            gate.anew(&denied, PASS);
        }
    });
}

/// What the words of a setup change, for a packet that neither end's policy is about.
#[test]
fn setting_or_segment_that_changes_decides_the_next_packet() {
    let Some((namespace, room)) = lab("setting_or_segment_that_changes_decides_the_next_packet") else {
        return;
    };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "settings", "", &only(502));
        for (line, passes, drops) in [
            ("guest>internet udp 1000>2000", "unmanaged=pass", "unmanaged=drop"),
            ("guest>internet udp6 1000>2000 vlan=7", "vlan7:unmanaged=pass", "vlan7:unmanaged=drop"),
            ("guest>internet udp 1000>2000 vlan=7", "unmanaged=pass", "vlan7:unmanaged=drop"),
            ("admin>gw tcp 50000>22 S", "unmanaged=drop", "unmanaged=drop no-management"),
            ("admin>gw tcp6 50000>22 A", "unmanaged=drop", "unmanaged=drop pin=10.1.0.0/16"),
            ("internet>gw tcp 6514>50000 A", "unmanaged=drop receiver=192.0.2.9:6514", "unmanaged=drop"),
        ] {
            for _ in 0..2 {
                gate.set(drops);
                gate.warm(line, DROP);
                gate.set(passes);
                gate.anew(line, PASS);
                if passes.contains("pass") {
                    gate.warm(line, PASS);
                } else {
                    // Who must always get through is asked for each time.
                    gate.always_decided(line, PASS);
                }
            }
            gate.set(drops);
            gate.anew(line, DROP);
        }
    });
}

#[test]
fn address_that_goes_to_another_client_takes_the_verdicts_along() {
    let Some((namespace, room)) = lab("address_that_goes_to_another_client_takes_the_verdicts_along") else {
        return;
    };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "leases", "", &text("plant.toml"));
        let [old, answer, new] =
            ["roamer>ntp udp 123>123", "ntp>roamer udp 123>123", "second>ntp udp 123>123 sip=roamer"];
        assert_eq!(gate.run("dhcpd>roamer dhcp reply yiaddr=roamer"), PASS);
        gate.warm(old, PASS);
        gate.warm(answer, PASS);
        gate.warm(new, DROP);
        // As the kernel learns it, in the middle of everything.
        assert_eq!(gate.run("dhcpd>second dhcp reply yiaddr=roamer"), PASS);
        gate.anew(old, DROP);
        gate.anew(answer, DROP);
        let (action, decided) = gate.went(new);
        assert!(decided && action == DROP || action == PASS, "{new}");
        // As user space says it.
        let address = host("roamer").expect("it is in the list").v4.into();
        let client = |name: &str| mac::from_octets(host(name).expect("it is in the list").mac);
        let lease = Lease { mac: client("roamer"), expires: u64::MAX, length: 1 << 40 };
        gate.dataplane.set_lease(address, lease).expect("there is room");
        gate.warm(old, PASS);
        gate.dataplane.remove_lease(address).expect("it is there");
        gate.anew(old, DROP);
    });
}

#[test]
fn name_that_is_learned_opens_with_the_next_packet() {
    let Some((namespace, room)) = lab("name_that_is_learned_opens_with_the_next_packet") else { return };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "names", "", &text("named.toml"));
        let line = "plc>internet tcp 50000>443 S";
        gate.warm(line, DROP);
        let learned = Learned {
            device: "plc".into(),
            host: "internet".into(),
            name: "update.vendor.example".into(),
            time: None,
        };
        let tables = gate.dataplane.applied().expect("a policy was applied").tables.clone();
        for (key, row) in named::rows(&tables, &[], [(&learned, 0)]) {
            assert!(gate.dataplane.learn_name(key, row).expect("the map is writable"));
        }
        gate.anew(line, PASS);
    });
}

#[test]
fn rule_that_does_not_always_hold_is_asked_for_each_time() {
    let Some((namespace, room)) = lab("rule_that_does_not_always_hold_is_asked_for_each_time") else {
        return;
    };
    namespace.run(|| {
        let line = "hmi>plc udp 50000>502";
        let policy =
            only(502).replace("service = \"one\"\n", "service = \"one\"\nexpires = 2030-01-01T00:00:00Z\n");
        let mut gate = Gate::new(&room, "schedules", "", &policy);
        gate.always_decided(line, PASS);
        gate.dataplane.reschedule(&[0]).expect("the map is writable");
        gate.always_decided(line, DROP);
        gate.dataplane.reschedule(&[u64::MAX]).expect("the map is writable");
        gate.always_decided(line, PASS);
    });
}

#[test]
fn connection_that_ends_is_forgotten_in_both_directions() {
    let Some((namespace, room)) = lab("connection_that_ends_is_forgotten_in_both_directions") else { return };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "ends", "strict", &only(502));
        // What ends is over at once.
        let mut runtime = Setup::of("strict").expect("a word").runtime(&ENDLESS);
        runtime.settings.closing_idle = 0;
        let mut port = 49_152;
        for kind in ["tcp", "tcp6"] {
            for end in ["FA", "R", "RA"] {
                for by_client in [true, false] {
                    gate.dataplane.configure(&runtime).expect("settings fit");
                    port += 1;
                    gate.connect("hmi", "plc", (port, 502), kind);
                    let there = format!("hmi>plc {kind} {port}>502 A");
                    let back = format!("plc>hmi {kind} 502>{port} A");
                    gate.warm(&there, PASS);
                    gate.warm(&back, PASS);
                    let last = if by_client { &there } else { &back };
                    assert_eq!(gate.run(&last.replace(" A", &format!(" {end}"))), PASS);
                    gate.anew(&there, DROP);
                    gate.anew(&back, DROP);
                }
            }
        }
    });
}

#[test]
fn connection_that_opens_again_is_decided_until_it_is_open() {
    let Some((namespace, room)) = lab("connection_that_opens_again_is_decided_until_it_is_open") else {
        return;
    };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "opens", "strict", &only(502));
        gate.connect("hmi", "plc", (49_152, 502), "tcp");
        let (there, back) = ("hmi>plc tcp 49152>502 A", "plc>hmi tcp 502>49152 A");
        gate.warm(there, PASS);
        gate.warm(back, PASS);
        assert_eq!(gate.run("hmi>plc tcp 49152>502 S"), PASS);
        gate.always_decided(there, PASS);
        gate.always_decided("hmi>plc tcp 49152>502 S", PASS);
        gate.always_decided("plc>hmi tcp 502>49152 SA", PASS);
        gate.warm(there, PASS);
        gate.warm(back, PASS);
    });
}

#[test]
fn what_ends_on_one_processor_is_forgotten_on_the_other() {
    let test = "what_ends_on_one_processor_is_forgotten_on_the_other";
    let Some((namespace, room)) = lab(test) else { return };
    namespace.run(|| {
        let [one, other, ..] = processors()[..] else {
            return skip(Tier::Packet, test, "there is one processor");
        };
        let mut gate = Gate::new(&room, "processors", "strict", &only(502));
        let mut runtime = Setup::of("strict").expect("a word").runtime(&ENDLESS);
        runtime.settings.closing_idle = 0;
        gate.dataplane.configure(&runtime).expect("settings fit");
        let (there, back) = ("hmi>plc tcp 49152>502 A len=64", "plc>hmi tcp 502>49152 A len=32");
        for end in ["FA", "R"] {
            for (a, b) in [(one, other), (other, one)] {
                gate.connect("hmi", "plc", (49_152, 502), "tcp");
                // As receive-side scaling has it: each direction on a processor of its own.
                go_to(a);
                gate.warm(there, PASS);
                go_to(b);
                gate.warm(back, PASS);
                gate.collect();
                let before = gate.dataplane.interface_counts(COUNTER).expect("it is configured").seen;
                let flow = gate.flows()[0].1;
                for _ in 0..50 {
                    go_to(a);
                    assert_eq!(gate.run(there), PASS);
                    assert_eq!(gate.run(there), PASS);
                    go_to(b);
                    assert_eq!(gate.run(back), PASS);
                }
                gate.collect();
                let seen = gate.dataplane.interface_counts(COUNTER).expect("it is configured").seen;
                let sizes = [there, back].map(|line| frame(line).expect("well formed").len() as u64);
                assert_eq!(seen.packets, before.packets + 150);
                assert_eq!(seen.bytes, before.bytes + 100 * sizes[0] + 50 * sizes[1]);
                let now = gate.flows()[0].1;
                let more = [now.packets[0] - flow.packets[0], now.packets[1] - flow.packets[1]];
                assert_eq!(more, [50, 100], "the plc has the lower address");
                // The end is seen where the other direction is not.
                assert_eq!(gate.run(&back.replace(" A ", &format!(" {end} "))), PASS);
                go_to(a);
                gate.anew(there, DROP);
                go_to(b);
                gate.anew(back, DROP);
            }
        }
        // A policy is everywhere at once.
        go_to(one);
        gate.connect("hmi", "plc", (49_152, 502), "tcp");
        gate.warm(there, PASS);
        go_to(other);
        gate.warm(back, PASS);
        gate.apply(&only(503));
        gate.anew(back, DROP);
        go_to(one);
        gate.anew(there, DROP);
    });
}

#[test]
fn flood_of_denied_kinds_takes_no_room_from_a_flow() {
    let Some((namespace, room)) = lab("flood_of_denied_kinds_takes_no_room_from_a_flow") else { return };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "flood", "strict", &only(502));
        for (kind, ports) in [("udp", 1000..1500_u16), ("udp6", 1000..1300)] {
            let line = format!("hmi>plc {kind} 50000>502");
            let flood: Vec<Vec<u8>> = ports
                .map(|port| frame(&format!("internet>plc {kind} 50000>{port}")).expect("well formed"))
                .collect();
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                gate.warm(&line, PASS);
                gate.collect();
                let before = gate.counted();
                for frame in &flood {
                    for _ in 0..4 {
                        assert_eq!(gate.dataplane.test_run(frame).expect("it runs"), DROP);
                    }
                }
                let decided = gate.counted() - before;
                if !gate.went(&line).1 {
                    assert!(decided < 4 * flood.len() as u64, "denials are answered from the cache too");
                    break;
                }
                assert!(Instant::now() < deadline, "a flood of `{kind}` always pushes the flow out");
            }
        }
    });
}

#[test]
fn what_was_silent_for_a_while_makes_room_for_a_denial() {
    let Some((namespace, room)) = lab("what_was_silent_for_a_while_makes_room_for_a_denial") else { return };
    namespace.run(|| {
        let (silent, life) = (Duration::from_nanos(SILENT), Duration::from_nanos(LIFE));
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut gate = Gate::new(&room, "silent", "strict", &only(502));
        let flows: Vec<Vec<u8>> = (50_000..52_400)
            .map(|port| frame(&format!("hmi>plc udp {port}>502")).expect("well formed"))
            .collect();
        let denied = "internet>plc udp 50000>502";
        loop {
            // Nothing of an earlier try.
            gate.apply(&only(502));
            let began = Instant::now();
            for frame in flows.iter().flat_map(|frame| [frame; 2]) {
                assert_eq!(gate.dataplane.test_run(frame).expect("it runs"), PASS);
            }
            let remembered = |gate: &mut Gate| (0..6).any(|_| !gate.went(denied).1);
            let at_once = remembered(&mut gate);
            let is_early = began.elapsed() < silent;
            let later = wait_for("room for a denial", life * 2, || {
                gate.collect();
                Ok(remembered(&mut gate).then(|| began.elapsed()))
            });
            let later = later.unwrap_or_else(|error| panic!("{error:#}"));
            // A machine that was busy tries again.
            if is_early && later < life {
                assert!(!at_once && later >= silent, "only a sweep after a while makes room: {later:?}");
                break;
            }
            assert!(Instant::now() < deadline, "no try was in time");
        }
    });
}

#[test]
fn what_has_no_key_is_decided_each_time() {
    let Some((namespace, room)) = lab("what_has_no_key_is_decided_each_time") else { return };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "keyless", "", &text("cell.toml"));
        for (line, action) in [
            ("hmi>plc icmp 8 7", PASS),
            ("hmi>plc icmp6 128 7", PASS),
            ("internet>plc icmp 8 7", DROP),
            ("hmi>all arp ask plc", PASS),
            ("hmi>plc udp 50000>44818 vlan=3,4", PASS),
            ("hmi>plc udp 50000>44818 opts", DROP),
            ("hmi>plc udp6 50000>44818 dst", PASS),
            ("hmi>plc udp 50000>44818 udplen=+1", DROP),
            ("hmi>plc udp 50000>44818 totlen=+1", DROP),
            ("hmi>plc tcp 50000>502 -", DROP),
            ("hmi>plc tcp 50000>502 SF", DROP),
            ("hmi>plc udp 50000>44818 frag=0+/7 len=16", PASS),
            ("hmi>plc sctp 50000>2905", DROP),
            ("hmi>plc ether 88b5", DROP),
        ] {
            gate.always_decided(line, action);
        }
    });
}

#[test]
fn lease_that_begins_again_gives_its_client_the_next_packet() {
    let Some((namespace, room)) = lab("lease_that_begins_again_gives_its_client_the_next_packet") else {
        return;
    };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "again", "", &text("plant.toml"));
        let Host { mac, v4, v6: _ } = host("roamer").expect("it is in the list");
        let over = Lease { mac: mac::from_octets(mac), expires: 1, length: 1 << 40 };
        for line in ["roamer>ntp udp 123>123", "hmi>roamer tcp 49152>502 S"] {
            gate.dataplane.set_lease(v4.into(), over).expect("there is room");
            gate.warm(line, DROP);
            assert_eq!(gate.run("dhcpd>roamer dhcp reply yiaddr=roamer"), PASS);
            gate.anew(line, PASS);
        }
    });
}
