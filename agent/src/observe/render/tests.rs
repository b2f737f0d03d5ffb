//! What a record says of a packet, and what it does not say when the packet did not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use bulkhead_common::layout::{Event, START_BYTES, ViolationKey};
use serde_json::Value;

use super::{super::names::tests::plant, *};
use crate::record::{
    self, Alarm, Cause, End, Gap, Heartbeat, Modes, Novelty, Record, Severity, Sighting, Trigger,
};

const DOCUMENT: &str = "docs/violations.md";

/// The start of a TCP SYN from 10.9.8.66 to port 502 of 10.20.1.11, padded to the shortest frame (IEEE 802.3-2018 4A.4.2).
const FRAME: [u8; 60] = [
    0x00, 0x1d, 0x9c, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x66, 0x08, 0x00, 0x45, 0x00, 0x00,
    0x28, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x00, 0x00, 0x0a, 0x09, 0x08, 0x42, 0x0a, 0x14, 0x01, 0x0b,
    0xc0, 0x00, 0x01, 0xf6, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x50, 0x02, 0xfa, 0xf0, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
];

fn event(key: ViolationKey) -> Event {
    let mut start = [0; START_BYTES];
    start[..FRAME.len()].copy_from_slice(&FRAME);
    Event { key, other_port: 49_152, kept: 60, start, ..Event::default() }
}

/// An attacker in the office writes to the press: denied and dropped 3 times.
fn aggregate() -> Aggregate {
    let key = ViolationKey {
        device: 3,
        source_device: 0,
        destination_device: 3,
        source: IpAddr::from([10, 9, 8, 66]).into(),
        destination: IpAddr::from([10, 20, 1, 11]).into(),
        ifindex: 4,
        source_mac: [2, 0, 0, 0, 0, 0x66],
        destination_mac: [0, 0x1d, 0x9c, 0, 0, 1],
        vlan: 0,
        inner_vlan: 0,
        ethertype: ethertype::IPV4,
        port: 502,
        protocol: protocol::TCP,
        reason: Reason::NoRule.code(),
        dropped: 1,
        mode: Mode::Enforce.code(),
        generation: 1,
        answer: 0,
        others: 0,
        pad: [0; 2],
    };
    let one = Aggregate::of_event(&event(key));
    Aggregate { packets: 3, bytes: 180, first_ns: 1_000_000_000, last_ns: 8_250_001_999, ..one }
}

fn clock() -> Clock {
    Clock { wall: "2026-03-02T10:00:10Z".parse().expect("a time"), mono_ns: 11_000_000_000 }
}

fn rendered(key: ViolationKey) -> Violation {
    let mut names = plant();
    names.set_interfaces(BTreeMap::from([(4, "eth1".into())]));
    render(&Aggregate { key, ..aggregate() }, &names, &clock(), &teller(), 42)
}

/// The record in the documentation.
fn teller() -> Teller {
    Teller { gateway: "gw-7".to_owned(), boot: "5f0c2b9a41d84c6e".to_owned() }
}

pub(in crate::observe) fn example() -> Violation {
    rendered(aggregate().key)
}

fn document() -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(DOCUMENT)).expect("the documentation is in the repository")
}

fn gap() -> Gap {
    Gap {
        v: VERSION,
        time: rfc3339(clock().wall),
        gateway: teller().gateway,
        boot: teller().boot,
        seq: 20,
        cause: Cause::Spool,
        explanation: "the spool was full, and the oldest records went".to_owned(),
        first: Some("5f0c2b9a41d84c6e-7".to_owned()),
        last: Some("5f0c2b9a41d84c6e-19".to_owned()),
        count: 1204,
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        v: VERSION,
        time: rfc3339(clock().wall),
        gateway: teller().gateway,
        boot: teller().boot,
        seq: 44,
        revision: Some("c4c4c4c4c4c4".to_owned()),
        modes: Modes { monitor: 3, enforce: 12, quarantine: 1 },
        violations: 88_123,
        warnings: vec!["`eth2` is missing".to_owned()],
        count: 1,
    }
}

fn alarm() -> Alarm {
    let end = |name: &str, ip: [u8; 4], port| End {
        name: Some(name.to_owned()),
        mac: None,
        ip: Some(ip.into()),
        port,
    };
    Alarm {
        v: VERSION,
        time: rfc3339(clock().wall),
        gateway: teller().gateway,
        boot: teller().boot,
        seq: 45,
        severity: Severity::High,
        revision: Some("d5d5d5d5d5d5".to_owned()),
        alarm: record::Event::WentBack,
        device: Some("press-plc".to_owned()),
        criticality: Some("high".to_owned()),
        trigger: Trigger::Denied,
        source: end("hmi", [10, 20, 2, 20], None),
        destination: end("press-plc", [10, 20, 1, 11], Some(502)),
        protocol: "tcp".to_owned(),
        explanation: "`press-plc` alone is back at what revision 7 says of it".to_owned(),
        count: 0,
    }
}

fn sighting() -> Sighting {
    let word = |word: &str| Some(word.to_owned());
    Sighting {
        v: VERSION,
        time: rfc3339(clock().wall),
        gateway: teller().gateway,
        boot: teller().boot,
        seq: 46,
        severity: Severity::Medium,
        change: Novelty::Changed,
        device: word("press-plc"),
        source: End { name: word("press-plc"), mac: word("00:80:f4:0e:11:5a"), ip: None, port: None },
        interface: word("eth1 vlan 10"),
        fact: word("firmware"),
        before: word("v2.60"),
        now: word("v2.70"),
        evidence: word("modbus"),
        explanation: "`press-plc`: 00:80:f4:0e:11:5a changed its firmware from `v2.60` to `v2.70` (modbus)"
            .to_owned(),
        more: 0,
        count: 0,
    }
}

/// One record of each kind, with the heading below which it is explained.
pub(in crate::observe) fn every_kind() -> [(&'static str, Record); 5] {
    [
        ("## Violations", Record::Violation(Box::new(example()))),
        ("## Gaps", Record::Gap(gap())),
        ("## Heartbeats", Record::Heartbeat(heartbeat())),
        ("## Alarms", Record::Alarm(Box::new(alarm()))),
        ("## Inventory", Record::Inventory(Box::new(sighting()))),
    ]
}

/// What the documentation says below a heading.
fn section(heading: &str) -> String {
    let document = document();
    let below = document.split_once(&format!("{heading}\n")).map(|(_, below)| below);
    let below = below.unwrap_or_else(|| panic!("`{DOCUMENT}` has no {heading}"));
    below.split("\n## ").next().unwrap_or_default().to_owned()
}

#[test]
fn documentation_shows_what_is_written() {
    for (heading, record) in every_kind() {
        let line = record.to_json();
        assert!(
            section(heading).lines().any(|shown| shown == line),
            "{heading} must show this line:\n{line}"
        );
    }
}

#[test]
fn documentation_explains_every_field() {
    fn fields(value: &Value, prefix: &str, out: &mut Vec<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            out.push(format!("{prefix}{name}"));
            fields(value, &format!("{prefix}{name}."), out);
        }
    }
    let ping = rendered(ViolationKey { protocol: protocol::ICMP, ..aggregate().key });
    let scan = Some(Scan { hosts: 1, ports: 2, devices: 3, at_least: false });
    let full = Record::Violation(Box::new(Violation { scan, ..ping }));
    for (heading, record) in every_kind().into_iter().chain([("## Violations", full)]) {
        let mut names = Vec::new();
        fields(&serde_json::to_value(record).expect("a record is JSON"), "", &mut names);
        let section = section(heading);
        for name in names {
            // Both ends have the same fields, explained once.
            let row = format!("| `{}` |", name.replace("destination.", "source."));
            assert!(section.contains(&row), "{heading} has no row {row}");
        }
    }
}

#[test]
fn documentation_lists_every_cause() {
    let section = section("## Gaps");
    for cause in [Cause::Before, Cause::Restart, Cause::Ring, Cause::Spool, Cause::Disk, Cause::Unsendable] {
        let word = serde_json::to_value(cause).expect("a word");
        let word = format!("`{}`:", word.as_str().expect("a word"));
        assert!(section.contains(&word), "no {word}");
    }
}

#[test]
fn documentation_lists_every_reason() {
    let document = document();
    for reason in Reason::ALL {
        let row = format!("| `{}` | {} |", reason.name(), reason.text());
        assert!(document.contains(&row), "`{DOCUMENT}` must list\n{row}");
    }
}

#[test]
fn record_survives_being_written_and_read() {
    for (_, record) in every_kind() {
        let json = record.to_json();
        assert_eq!(serde_json::from_str::<Record>(&json).expect("it was written by us"), record, "{json}");
    }
}

#[test]
fn device_that_the_packet_came_from_is_named() {
    let record = rendered(ViolationKey { source_device: 7, vlan: 20, inner_vlan: 3, ..aggregate().key });
    assert_eq!(record.source.name.as_deref(), Some("hmi-1"));
    assert_eq!(record.destination.name.as_deref(), Some("press-plc"));
    assert_eq!((record.vlan, record.inner_vlan), (Some(20), Some(3)));
}

#[test]
fn impostor_does_not_get_its_victims_name() {
    let spoof = ViolationKey {
        device: 7,
        source_device: 7,
        source: IpAddr::from([10, 20, 1, 12]).into(),
        reason: Reason::SourceMacMismatch.code(),
        ..aggregate().key
    };
    let record = rendered(spoof);
    assert_eq!(record.device.as_deref(), Some("hmi-1"));
    assert_eq!(record.source.name, None);
    // An impostor that is itself a device is named by its own hardware address.
    let arp = ViolationKey {
        ethertype: ethertype::ARP,
        source_mac: [0, 0x1d, 0x9c, 0, 0, 1],
        reason: Reason::ArpSenderMismatch.code(),
        ..spoof
    };
    assert_eq!(rendered(arp).source.name.as_deref(), Some("press-plc"));
}

#[test]
fn what_monitor_mode_lets_pass_is_a_denial_that_passed() {
    let record = rendered(ViolationKey { dropped: 0, mode: Mode::Monitor.code(), ..aggregate().key });
    assert_eq!((record.verdict, record.action, record.mode), (Verdict::Deny, Action::Passed, Mode::Monitor));
}

#[test]
fn ping_has_type_and_code_and_no_ports() {
    let record = rendered(ViolationKey { protocol: protocol::ICMP, port: 8 << 8, ..aggregate().key });
    assert_eq!(record.icmp, Some(Icmp { r#type: 8, code: 0 }));
    assert_eq!((record.source.port, record.destination.port), (None, None));
    assert_eq!(record.protocol, "icmp");
}

#[test]
fn port_zero_is_a_port_and_an_unread_port_is_none() {
    let zero = ViolationKey { port: 0, ..aggregate().key };
    assert_eq!(rendered(zero).destination.port, Some(0));
    for reason in [Reason::Fragment, Reason::Truncated, Reason::TcpHeader] {
        let record = rendered(ViolationKey { reason: reason.code(), ..zero });
        assert_eq!((record.destination.port, record.icmp), (None, None), "{}", reason.name());
    }
    let behind = ViolationKey { reason: Reason::TcpHeader.code(), ..aggregate().key };
    assert_eq!(rendered(behind).destination.port, Some(502));
}

#[test]
fn answer_is_told_with_the_port_of_the_server() {
    let from_server = ViolationKey { answer: 1, ..aggregate().key };
    let record = rendered(from_server);
    assert!(record.answer);
    assert_eq!((record.source.port, record.destination.port), (Some(502), Some(49_152)));
    // Nobody told of the client's port.
    let names = plant();
    let repeats = Aggregate { sample: None, ..Aggregate { key: from_server, ..aggregate() } };
    let record = render(&repeats, &names, &clock(), &teller(), 1);
    assert_eq!((record.source.port, record.destination.port, record.packet), (Some(502), None, None));
}

#[test]
fn packet_is_the_start_of_a_frame_and_no_padding_behind_it() {
    let shown = |kept| {
        let aggregate = Aggregate::of_event(&Event { kept, ..event(aggregate().key) });
        render(&aggregate, &plant(), &clock(), &teller(), 1).packet
    };
    assert_eq!(shown(14).as_deref(), Some("001d9c0000010200000000660800"));
    assert_eq!(shown(96).map(|hex| hex.len()), Some(192));
    assert_eq!(shown(255).map(|hex| hex.len()), Some(192), "no longer than it is kept");
    assert_eq!(shown(0), None);
}

/// A scan as it is told.
fn scan(key: ViolationKey, tried: Tried) -> Violation {
    let aggregate = Aggregate { key, fold: Fold::Scan(Box::new(tried)), ..aggregate() };
    render(&aggregate, &plant(), &clock(), &teller(), 1)
}

fn no_rule() -> BTreeSet<u8> {
    BTreeSet::from([Reason::NoRule.code()])
}

#[test]
fn scan_of_one_host_names_it_and_counts_its_ports() {
    let key = ViolationKey { port: 0, ..aggregate().key };
    let tried =
        Tried { hosts: 1, ports: 1000, devices: BTreeSet::from([3]), reasons: no_rule(), ..Tried::default() };
    let record = scan(key, tried);
    assert_eq!(record.scan, Some(Scan { hosts: 1, ports: 1000, devices: 1, at_least: false }));
    assert_eq!((record.source.name.as_deref(), record.source.port), (Some("office"), None));
    assert_eq!((record.destination.name.as_deref(), record.destination.port), (Some("press-plc"), None));
    assert_eq!((record.protocol.as_str(), record.device.as_deref()), ("tcp", Some("press-plc")));
    assert!(record.explanation.ends_with(Reason::NoRule.text()), "{}", record.explanation);
    assert!(!record.others && record.packet.is_some());
}

#[test]
fn sweep_over_hosts_leaves_their_end_out_and_names_the_port() {
    let key = ViolationKey {
        device: 0,
        destination_device: 0,
        destination: Address::UNSPECIFIED,
        destination_mac: [0; 6],
        ..aggregate().key
    };
    let tried = Tried {
        hosts: 1024,
        ports: 1,
        devices: BTreeSet::from([3, 7]),
        reasons: no_rule(),
        at_least: true,
        mixed: false,
    };
    let record = scan(key, tried);
    let End { name, mac, ip, port } = record.destination;
    assert_eq!((name, mac, ip, port), (None, None, None, Some(502)));
    assert_eq!((record.device, record.criticality), (None, None));
    assert_eq!(record.severity, Severity::Medium, "that of the worst device");
    assert_eq!(record.source.ip, Some(IpAddr::from([10, 9, 8, 66])));
}

#[test]
fn scan_over_several_protocols_is_mixed_and_keeps_its_source() {
    let key = ViolationKey { port: 0, ..aggregate().key };
    let reasons = BTreeSet::from([Reason::NoRule.code(), Reason::SourceMacMismatch.code()]);
    let tried =
        Tried { hosts: 1, ports: 2, devices: BTreeSet::from([3]), reasons, mixed: true, ..Tried::default() };
    let record = scan(ViolationKey { source_device: 7, ..key }, tried);
    assert_eq!((record.protocol.as_str(), record.destination.port, record.icmp), ("mixed", None, None));
    assert_eq!(record.source.ip, Some(IpAddr::from([10, 9, 8, 66])));
    assert_eq!(record.source.name, None, "some of its packets had another's address");
}

#[test]
fn frame_without_addresses_has_none_in_its_record() {
    let profinet = ViolationKey {
        ethertype: 0x8892,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        device: 0,
        destination_device: 0,
        protocol: 0,
        port: 0,
        reason: Reason::Ethertype.code(),
        generation: 0,
        ..aggregate().key
    };
    let Violation { revision, device, source, destination, protocol, .. } = rendered(profinet);
    assert_eq!((revision, device), (None, None));
    assert_eq!((source.ip, source.name, source.port), (None, None, None));
    assert_eq!((destination.ip, destination.name, destination.port), (None, None, None));
    assert_eq!(protocol, "0x8892");
}

#[test]
fn source_of_a_host_without_an_address_is_shown() {
    let probe = ViolationKey {
        ethertype: ethertype::ARP,
        source: Address::UNSPECIFIED_V4,
        protocol: 0,
        ..aggregate().key
    };
    let record = rendered(probe);
    assert_eq!(record.source.ip, Some(IpAddr::from([0, 0, 0, 0])));
    assert_eq!(record.protocol, "arp");
}

#[test]
fn protocols_have_words_or_numbers() {
    for (kind, number, word) in [
        (ethertype::IPV4, 6, "tcp"),
        (ethertype::IPV4, 132, "sctp"),
        (ethertype::IPV4, 200, "ip/200"),
        (ethertype::IPV4, 0, "ipv4"),
        (ethertype::IPV6, 6, "tcp"),
        (ethertype::IPV6, 58, "icmpv6"),
        (ethertype::IPV6, 0, "ipv6"),
        (ethertype::LLDP, 0, "lldp"),
        (0x0026, 0, "802.3"),
        (0x0600, 0, "0x0600"),
    ] {
        assert_eq!(protocol_word(kind, number), word);
    }
}

#[test]
fn code_of_a_newer_data_path_is_shown_as_a_number() {
    let record = rendered(ViolationKey { reason: 127, ..aggregate().key });
    assert_eq!(record.reason, "code-127");
}

#[test]
fn monotonic_time_becomes_wall_clock_time_in_both_directions() {
    let clock = clock();
    assert_eq!(rfc3339(clock.at(0)), "2026-03-02T09:59:59.000000Z");
    assert_eq!(rfc3339(clock.at(11_000_001_500)), "2026-03-02T10:00:10.000001Z");
    // Half of what 64 bits of ns can say is 292 years.
    assert_eq!(rfc3339(clock.at(u64::MAX)), "2610-09-21T09:34:32.709551Z");
}
