//! What is denied and passes today: whether it would be dropped.

use std::{net::IpAddr, time::Duration};

use bulkhead_common::{
    address::Address,
    layout::ViolationKey,
    reason::Reason,
    wire::{ethertype, mac},
};

use super::{super::*, Compiled, ROOM, now};

const PLANT: &str = r#"version = 1
[device.plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.20.1.11"
criticality = "safety"
[[device.plc.allow]]
from = "hmi"
service = "modbus"
[device.hmi]
mac = "00:1d:9c:c7:b0:71"
ip = "10.20.1.20"
"#;

const PLC: (&str, u64) = ("10.20.1.11", 0x00_1d_9c_c7_b0_70);
const HMI: (&str, u64) = ("10.20.1.20", 0x00_1d_9c_c7_b0_71);
const STRANGER: (&str, u64) = ("10.9.0.66", 0x02_00_00_00_00_66);

/// Packets from one to another, from a port to a port of TCP.
fn denied(from: (&str, u64), to: (&str, u64), ports: (u16, u16), reason: Reason) -> KnownDenial {
    let address = |end: (&str, u64)| Address::from(end.0.parse::<IpAddr>().expect("an address"));
    let device = |end: (&str, u64)| match end {
        PLC => Some("plc".to_owned()),
        HMI => Some("hmi".to_owned()),
        _ => None,
    };
    KnownDenial {
        key: ViolationKey {
            source: address(from),
            destination: address(to),
            source_mac: mac::octets(from.1),
            destination_mac: mac::octets(to.1),
            ethertype: ethertype::IPV4,
            protocol: 6,
            port: ports.1,
            reason: reason.code(),
            ..ViolationKey::default()
        },
        ends: [device(to).or(device(from)), device(from), device(to)],
        names: [device(from), device(to)],
        segment: Default::default(),
        other_port: ports.0,
        packets: 76,
        idle: Duration::from_secs(3),
        age: Duration::from_secs(3603),
    }
}

fn enforced(text: &str) -> String {
    text.replace("criticality = \"safety\"", "criticality = \"safety\"\nmode = \"enforce\"")
}

fn judged(old: &str, new: &str, past: &Past) -> Plan {
    let (old, new) = (Compiled::of(old), Compiled::of(new));
    let world = World { segments: vec![Default::default()], now: 1 << 50, ..World::default() };
    let asked = Asked { hops: HOPS, now: now(), limits: ROOM, flows: Some((&[], &world)), past };
    plan(old.side(), new.side(), &asked)
}

fn dropped(old: &str, new: &str, passed: Vec<KnownDenial>) -> Vec<String> {
    let past = Past { passed, ..Past::default() };
    let plan = judged(old, new, &past);
    let found = plan.denials.as_ref().expect("an agent was asked");
    assert_eq!((plan.drops, plan.hurts()), (found.drop.list.len(), !found.drop.list.is_empty()));
    assert!(!plan.text().contains("nothing would stop"), "{}", plan.text());
    let told =
        |one: &Drops| format!("{} -> {} {} {}", one.from_address, one.to_address, one.service, one.reason);
    found.drop.list.iter().map(told).collect()
}

#[test]
fn what_monitor_mode_lets_pass_is_dropped_once_the_device_enforces() {
    let passed = || vec![denied(STRANGER, PLC, (40_000, 502), Reason::UnknownPeer)];
    assert_eq!(dropped(PLANT, &enforced(PLANT), passed()), ["10.9.0.66 -> 10.20.1.11 tcp/502 unknown-peer"]);
    let held = enforced(PLANT).replace("\"enforce\"", "\"quarantine\"");
    assert_eq!(dropped(PLANT, &held, passed()), ["10.9.0.66 -> 10.20.1.11 tcp/502 quarantined"]);
    let plan = judged(
        &enforced(PLANT),
        &format!("{}[network.n]\ncidr = \"10.8.0.0/16\"\n", enforced(PLANT)),
        &Past { passed: passed(), ..Past::default() },
    );
    assert_eq!(plan.drops, 0, "it is dropped today: {}", plan.text());
}

#[test]
fn what_the_new_rules_allow_is_not_dropped_nor_are_its_answers() {
    let network = "[network.office]\ncidr = \"10.9.0.0/24\"\n";
    let opened = enforced(PLANT).replace("from = \"hmi\"", "from = [\"hmi\", \"office\"]") + network;
    let passed = vec![
        denied(STRANGER, PLC, (40_000, 502), Reason::UnknownPeer),
        denied(PLC, STRANGER, (502, 40_000), Reason::UnknownPeer),
        denied(STRANGER, PLC, (40_001, 22), Reason::UnknownPeer),
    ];
    assert_eq!(
        dropped(PLANT, &opened, passed),
        ["10.9.0.66 -> 10.20.1.11 tcp/22 service-not-allowed"],
        "by what the new policy knows of both ends"
    );
}

/// As the kernel tells of an answer: by the server's port, and perhaps the client's.
fn answer(from: (&str, u64), to: (&str, u64), server: u16, client: u16, reason: Reason) -> KnownDenial {
    let told = denied(from, to, (client, server), reason);
    KnownDenial { key: ViolationKey { answer: 1, ..told.key }, ..told }
}

#[test]
fn answer_is_judged_by_the_port_of_its_server() {
    let network = "[network.office]\ncidr = \"10.9.0.0/24\"\n";
    let opened = enforced(PLANT).replace("from = \"hmi\"", "from = [\"hmi\", \"office\"]") + network;
    // Nobody may have told of the client's port.
    for client in [40_000, 0] {
        let passed = vec![
            answer(PLC, STRANGER, 502, client, Reason::UnknownPeer),
            answer(PLC, STRANGER, 22, client, Reason::UnknownPeer),
        ];
        assert_eq!(
            dropped(PLANT, &opened, passed),
            ["10.20.1.11 -> 10.9.0.66 answer from tcp/22 wrong-direction"],
            "the other comes with the question that the new rule allows"
        );
    }
}

#[test]
fn what_is_wrong_with_a_packet_by_itself_stays_wrong() {
    let passed = || vec![denied(HMI, PLC, (0, 0), Reason::TcpFlags)];
    assert_eq!(dropped(PLANT, &enforced(PLANT), passed()), ["10.20.1.20 -> 10.20.1.11 tcp/0 tcp-flags"]);
    let other = PLANT.replace("00:1d:9c:c7:b0:71\"", "00:1d:9c:c7:b0:71\"\nmode = \"enforce\"");
    assert_eq!(dropped(PLANT, &other, passed()).len(), 1, "either end");
    let rate = vec![denied(HMI, PLC, (40_000, 502), Reason::FlowRate)];
    assert_eq!(dropped(PLANT, &enforced(PLANT), rate), ["10.20.1.20 -> 10.20.1.11 tcp/502 flow-rate"]);
}

#[test]
fn a_device_to_come_is_judged_by_what_its_address_said() {
    let (before, _) = PLANT.split_once("[device.hmi]").expect("there is one");
    let before = before.replace("from = \"hmi\"", "from = \"any\"");
    let after = before.clone() + "[device.hmi]\nip = \"10.20.1.20\"\nmode = \"enforce\"\n";
    let passed = vec![denied(("10.20.1.20", 1), STRANGER, (40_000, 443), Reason::Unmanaged)];
    assert_eq!(dropped(&before, &after, passed), ["10.20.1.20 -> 10.9.0.66 tcp/443 unknown-peer"]);
}

#[test]
fn what_only_counters_know_is_told_for_the_devices_that_newly_enforce() {
    let count = |device: &str, reason: Reason, packets| KnownCount {
        device: device.to_owned(),
        reason: reason.code(),
        packets,
    };
    let uncounted = vec![
        count("plc", Reason::NoRule, 12),
        count("plc", Reason::NoRule, 3),
        count("hmi", Reason::UnknownPeer, 1),
    ];
    let past = Past { uncounted, remembered: Duration::from_secs(90), lost: 2, ..Past::default() };
    let plan = judged(PLANT, &enforced(PLANT), &past);
    assert!(plan.hurts());
    let told = "MAY BE DROPPED FROM NOW ON: 1 device of whose denied packets only the count is known\n  plc: 15 no-rule\n\n\
                looked at: 0 kinds of denied packets that passed; the agent remembers the last 90 s; 2 packets told to nobody\n";
    assert!(plan.text().contains(told), "{}", plan.text());
    assert!(
        plan.text().contains("\n1 device with denied packets that only counters know; "),
        "{}",
        plan.text()
    );
}

#[test]
fn a_person_reads_what_who_and_since_when() {
    let passed = vec![denied(STRANGER, PLC, (40_000, 502), Reason::UnknownPeer)];
    let past = Past { passed, remembered: Duration::from_secs(86_400), ..Past::default() };
    let text = judged(PLANT, &enforced(PLANT), &past).text();
    let told = "WOULD BE DROPPED FROM NOW ON: 1 kind of packets that are denied today, and pass\n  \
                safety  10.9.0.66 -> plc (10.20.1.11) tcp/502\n      76 packets in 60 min, last seen 3 s ago\n      \
                then dropped, unknown-peer: one end is neither a device nor in a network of the policy\n\n\
                looked at: 1 kind of denied packets that passed; the agent remembers the last 24 h\n";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("\n1 kind of denied packets WOULD BE DROPPED FROM NOW ON; "), "{text}");
    let quiet = judged(PLANT, &enforced(PLANT), &Past::default());
    assert!(quiet.text().contains("nothing that is remembered would stop"), "{}", quiet.text());
}
