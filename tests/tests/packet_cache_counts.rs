//! What was answered from the verdict cache is counted and told as if it had been decided: for the same device, rule, interface,
//! flow and violation, once, whenever it comes into the counters.

mod packet;

use std::{
    cell::Cell,
    hint,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use bulkhead_agent::dataplane::{DataplaneError, Sizes};
use bulkhead_common::{
    layout::{SegmentKey, SegmentRow, Traffic},
    lookup::ANY_VLAN,
    reason::{Grant, Reason},
};
use bulkhead_tests::{
    frame::frame,
    lab::napi,
    skip::{Tier, skip},
};
use packet::{
    COUNTER, LO, SIZES,
    gate::{DROP, Gate, PASS, go_to, only, processors},
    lab, text,
};

#[test]
fn packets_of_a_flow_are_answered_from_the_cache_and_all_are_counted() {
    let Some((namespace, room)) = lab("packets_of_a_flow_are_answered_from_the_cache_and_all_are_counted")
    else {
        return;
    };
    namespace.run(|| {
        for (pins, kind) in [("v4", ""), ("v6", "6")] {
            for tag in ["", " vlan=7", " vlan=0", " vlan=7 tpid=88a8"] {
                let name = format!("{pins}{}", tag.replace([' ', '=', ','], "-"));
                let mut gate = Gate::new(&room, &name, "strict", &only(502));
                let (there, back) = (
                    format!("attacker>plc udp{kind} 50000>502 len=70{tag}"),
                    format!("plc>attacker udp{kind} 502>50000 len=41{tag}"),
                );
                gate.warm(&there, PASS);
                gate.warm(&back, PASS);
                for _ in 0..100 {
                    assert_eq!(gate.run(&there), PASS);
                    assert_eq!(gate.run(&there), PASS);
                    assert_eq!(gate.run(&back), PASS);
                }
                gate.collect();
                let interface = gate.dataplane.interface_counts(COUNTER).expect("it is configured");
                let [(_, flow)] = gate.flows().try_into().expect("one flow");
                assert_eq!(flow.packets.iter().sum::<u64>(), interface.seen.packets);
                assert_eq!(flow.bytes.iter().sum::<u64>(), interface.seen.bytes);
                assert!(flow.packets[1] > flow.packets[0] + 90 && flow.packets[0] > 100, "{flow:?}");
                let sizes = [&back, &there].map(|line| frame(line).expect("well formed").len() as u64);
                let bytes = [flow.packets[0] * sizes[0], flow.packets[1] * sizes[1]];
                assert_eq!(flow.bytes, bytes, "the plc has the lower address");
                assert_eq!(interface.passed, interface.seen);
                assert_eq!((interface.dropped, interface.would_drop), Default::default());
                assert_eq!(gate.by_rules(), interface.seen);
                let of_flow = gate.device("plc", Grant::Flow.code());
                assert_eq!(gate.device("plc", Grant::Rule.code()) + of_flow, interface.seen.packets);
                assert_eq!(gate.dataplane.tally().expect("readable").violations, 0);
                // Nothing is told twice.
                gate.collect();
                assert_eq!(gate.by_rules(), interface.seen);
            }
        }
    });
}

#[test]
fn more_flows_than_there_is_room_for_are_all_counted() {
    let Some((namespace, room)) = lab("more_flows_than_there_is_room_for_are_all_counted") else { return };
    namespace.run(|| {
        const FLOWS: u16 = 600;
        const TURNS: u64 = 6;
        let mut gate = Gate::new(&room, "many", "strict", &only(502));
        let mut bytes = 0;
        for kind in ["udp", "udp6"] {
            let lines: Vec<Vec<u8>> = (0..FLOWS)
                .map(|n| {
                    let line = format!("hmi>plc {kind} {}>502 len={}", 40_000 + n, 40 + n);
                    frame(&line).expect("well formed")
                })
                .collect();
            for _ in 0..TURNS {
                for (n, frame) in lines.iter().enumerate() {
                    // Twice: the second one finds what the first one left.
                    for _ in 0..2 {
                        assert_eq!(gate.dataplane.test_run(frame).expect("it runs"), PASS, "{kind} {n}");
                        bytes += frame.len() as u64;
                    }
                }
            }
        }
        assert!(gate.counted() < 4 * u64::from(FLOWS) * TURNS, "some are answered from the cache");
        gate.collect();
        let all = Traffic { packets: 4 * u64::from(FLOWS) * TURNS, bytes };
        assert_eq!(gate.by_rules(), all);
        assert_eq!(gate.dataplane.interface_counts(COUNTER).expect("it is configured").passed, all);
        let flows = gate.flows();
        assert_eq!(flows.len(), 2 * usize::from(FLOWS));
        for (key, flow) in flows {
            assert_eq!(flow.packets, [0, 2 * TURNS], "{key:?}");
            let len = flow.bytes[1] / (2 * TURNS);
            assert_eq!(flow.bytes[1], len * 2 * TURNS, "{key:?}");
        }
    });
}

#[test]
fn how_many_were_answered_from_the_cache_is_counted_to_the_packet() {
    let Some((namespace, room)) = lab("how_many_were_answered_from_the_cache_is_counted_to_the_packet")
    else {
        return;
    };
    namespace.run(|| {
        const TURNS: u64 = 60;
        let mut gate = Gate::new(&room, "answered", "strict", &only(502));
        let lines = [
            ("hmi>plc udp 50000>502", PASS),
            ("plc>hmi udp 502>50000", PASS),
            ("hmi>plc udp6 50000>502", PASS),
            ("hmi>plc udp 50000>503", DROP),
            ("hmi>plc tcp 50001>502 S", PASS),
        ];
        let mut answered = 0;
        for n in 0..TURNS {
            for (line, action) in lines {
                let (found, decided) = gate.went(line);
                assert_eq!(found, action, "{line}");
                answered += u64::from(!decided);
            }
            if n % 20 == 19 {
                gate.apply(&only(502));
            }
        }
        gate.collect();
        let interface = gate.dataplane.interface_counts(COUNTER).expect("it is configured");
        let sent = TURNS * lines.len() as u64;
        assert_eq!((interface.seen.packets, interface.remembered), (sent, answered));
        // What opens a connection is never remembered.
        assert!(answered > sent / 2 && answered <= sent - TURNS, "{answered} of {sent}");
    });
}

#[test]
fn what_was_counted_before_a_change_is_counted_after_it() {
    let Some((namespace, room)) = lab("what_was_counted_before_a_change_is_counted_after_it") else { return };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "changes", "strict", &only(502));
        let (allowed, denied) = ("hmi>plc udp 50000>502", "hmi>plc udp 50000>503");
        let mut sent = 0;
        for n in 0..20 {
            for _ in 0..25 {
                assert_eq!((gate.run(allowed), gate.run(denied)), (PASS, DROP));
                sent += 1;
            }
            match n % 3 {
                0 => gate.apply(&only(502)),
                1 => gate.set("strict"),
                _ => gate.collect(),
            }
        }
        assert!(gate.counted() < 2 * sent, "some are answered from the cache");
        gate.collect();
        assert_eq!(gate.by_rules().packets, sent);
        assert_eq!(gate.device("plc", Reason::ServiceNotAllowed.code()), sent);
        let interface = gate.dataplane.interface_counts(COUNTER).expect("it is configured");
        assert_eq!((interface.passed.packets, interface.dropped.packets), (sent, sent));
        let tally = gate.dataplane.tally().expect("readable");
        assert_eq!((tally.violations, tally.delivered + tally.aggregated + tally.lost), (sent, sent));
    });
}

#[test]
fn denial_from_the_cache_is_told_as_the_one_that_was_decided() {
    let Some((namespace, room)) = lab("denial_from_the_cache_is_told_as_the_one_that_was_decided") else {
        return;
    };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "told", "strict", &text("cell.toml"));
        for (line, action) in [
            ("internet>plc udp 50000>1", DROP),
            ("internet>plc udp6 50000>1", DROP),
            ("internet>plc tcp 50000>1 S", DROP),
            ("internet>plc tcp6 50000>1 S", DROP),
            ("internet>plc tcp 443>50000 A", DROP),
            ("internet>plc tcp6 443>50000 SA", DROP),
            ("plc>internet udp 44818>50000", DROP),
            ("internet>oven udp 50000>2 vlan=7", PASS),
            ("internet>oven udp6 50000>2 vlan=9 tpid=88a8", PASS),
            ("tagged>hmi tcp 50000>502 A vlan=8", DROP),
            ("guest>internet udp 1000>2000", PASS),
            ("stolen>hmi udp 50000>2", DROP),
            ("attacker>hmi udp 50000>2 sip=plc", DROP),
        ] {
            while gate.events.next_record().is_some() {}
            gate.collect();
            let _ = gate.repeats();
            let _ = gate.repeats();
            gate.warm(line, action);
            for _ in 0..10 {
                assert_eq!(gate.run(line), action, "{line}");
            }
            gate.collect();
            let event = gate.events.next_record().unwrap_or_else(|| panic!("`{line}` is told"));
            let told = gate.repeats();
            let [(key, packets, bytes)] = told[..] else { panic!("`{line}`: {told:?}") };
            assert_eq!(key, event.key, "`{line}`");
            assert!(packets >= 11, "`{line}`: {packets}");
            assert_eq!(bytes, packets * u64::from(event.len), "`{line}`");
            assert!(gate.events.next_record().is_none(), "`{line}` is told once");
        }
        let tally = gate.dataplane.tally().expect("readable");
        assert_eq!(tally.violations, tally.delivered + tally.aggregated);
    });
}

#[test]
fn number_taken_over_begins_with_nothing_that_was_remembered() {
    let Some((namespace, room)) = lab("number_taken_over_begins_with_nothing_that_was_remembered") else {
        return;
    };
    namespace.run(|| {
        let of = |device: &str, address: &str| {
            format!(
                "version = 1\n[device.{device}]\nip = \"{address}\"\nmode = \"enforce\"\n\
                 [[device.{device}.allow]]\nfrom = \"any\"\nservice = \"one\"\n[service.one]\nudp = 502\n"
            )
        };
        // There is one number for devices, and one for rules.
        let sizes = Sizes { devices: 2, rules: 2, ..SIZES };
        let mut gate = Gate::of_size(&room, "numbers", sizes, "strict", &of("a", "10.20.1.11"));
        for line in ["hmi>plc udp 50000>502", "hmi>plc udp 50000>503"] {
            for _ in 0..50 {
                gate.run(line);
            }
        }
        gate.apply(&of("b", "10.20.1.12"));
        gate.collect();
        let counts = gate.dataplane.device_counts(gate.stable("b")).expect("the id is in the map");
        assert_eq!((counts.iter().sum::<u64>(), gate.by_rules()), (0, Traffic::default()));
        let interface = gate.dataplane.interface_counts(COUNTER).expect("it is configured");
        assert_eq!(interface.seen.packets, 100);
    });
}

#[test]
fn what_an_interface_saw_stays_its_own() {
    let Some((namespace, room)) = lab("what_an_interface_saw_stays_its_own") else { return };
    namespace.run(|| {
        let mut gate = Gate::new(&room, "interfaces", "unmanaged=pass", &only(502));
        let key = SegmentKey { ifindex: LO, vlan: ANY_VLAN, pad: 0 };
        let send = |gate: &mut Gate| {
            for _ in 0..50 {
                assert_eq!(gate.run("guest>internet udp 1000>2000"), PASS);
            }
        };
        let seen = |gate: &Gate, counter: u32| {
            gate.dataplane.interface_counts(counter).expect("it is in the map").seen.packets
        };
        let row = |counter| SegmentRow { counter, unmanaged: 1, segment: 1, ..SegmentRow::default() };
        send(&mut gate);
        gate.dataplane.set_segment(key, row(2)).expect("there is room");
        send(&mut gate);
        gate.dataplane.retain_segments(&Default::default()).expect("it can be forgotten");
        send(&mut gate);
        gate.collect();
        assert_eq!([1, 2, 0].map(|counter| seen(&gate, counter)), [50, 50, 50]);
    });
}

/// A processor on which something runs that leaves no time to others holds up nobody who counts, and takes nothing from the counters of
/// the others.
#[test]
fn processor_that_lets_nobody_run_is_not_waited_for() {
    let test = "processor_that_lets_nobody_run_is_not_waited_for";
    let Some((namespace, room)) = lab(test) else { return };
    namespace.run(|| {
        const MOST: Duration = Duration::from_millis(20);
        const EACH: u64 = 100;
        let [own, taken, ..] = processors()[..] else {
            return skip(Tier::Packet, test, "there is one processor");
        };
        let line = "hmi>plc udp 50000>502";
        let mut gate = Gate::new(&room, "taken", "strict", &only(502));
        let sent = Cell::new(0);
        let send_on = |gate: &mut Gate, processor: usize| {
            go_to(processor);
            (0..EACH).for_each(|_| assert_eq!(gate.run(line), PASS));
            go_to(own);
            sent.set(sent.get() + EACH);
        };
        // Whoever counts is there before, as an ordinary thread.
        send_on(&mut gate, taken);
        gate.collect();
        assert_eq!(gate.dataplane.counters_behind(), Duration::ZERO);
        // This thread gets its turn all the same.
        napi::first_in_turn(0, 2).expect("root may");
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                go_to(taken);
                napi::first_in_turn(0, 1).expect("root may");
                while !stop.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
            let deadline = Instant::now() + Duration::from_secs(30);
            // The kernel leaves a twentieth of each second to others, and the thread has to begin.
            let age = loop {
                send_on(&mut gate, taken);
                send_on(&mut gate, own);
                let begun = Instant::now();
                let counted = gate.dataplane.collect_within(MOST);
                let took = begun.elapsed();
                if let Err(DataplaneError::Late { cpu, age }) = counted {
                    assert_eq!(cpu, taken);
                    assert!(took < 10 * MOST, "{took:?}");
                    break age;
                }
                assert!(Instant::now() < deadline, "{counted:?}");
            };
            assert!(gate.dataplane.counters_behind() >= age);
            // What is missing is of the one processor: it was swept no longer ago than that.
            assert!(gate.counted() >= sent.get() - EACH, "{} of {}", gate.counted(), sent.get());
            stop.store(true, Ordering::Relaxed);
        });
        gate.collect();
        assert_eq!((gate.counted(), gate.dataplane.counters_behind()), (sent.get(), Duration::ZERO));
    });
}
