//! What a record says of a packet, and what it does not say when the packet did not.

use std::{collections::BTreeMap, fs, path::PathBuf};

use bulkhead_common::layout::ViolationKey;
use serde_json::Value;

use super::{super::names::tests::plant, *};
use crate::record::Record;

const DOCUMENT: &str = "docs/violations.md";

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
        pad: 0,
    };
    Aggregate {
        key,
        packets: 3,
        bytes: 180,
        first_ns: 1_000_000_000,
        last_ns: 8_250_001_999,
        source_port: 49_152,
        others: false,
    }
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

#[test]
fn documentation_shows_what_is_written() {
    let line = Record::Violation(Box::new(example())).to_json();
    assert!(document().lines().any(|shown| shown == line), "`{DOCUMENT}` must show this line:\n{line}");
}

#[test]
fn documentation_explains_every_field() {
    fn fields(value: &Value, prefix: &str, out: &mut Vec<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            out.push(format!("{prefix}{name}"));
            fields(value, &format!("{prefix}{name}."), out);
        }
    }
    let ping = ViolationKey { protocol: protocol::ICMP, ..aggregate().key };
    let mut names = Vec::new();
    fields(&serde_json::to_value(rendered(ping)).expect("a record is JSON"), "", &mut names);
    let document = document();
    for name in names {
        // Both ends have the same fields, explained once.
        let row = format!("| `{}` |", name.replace("destination.", "source."));
        assert!(document.contains(&row), "`{DOCUMENT}` has no row {row}");
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
    let record = example();
    let record = Record::Violation(Box::new(record));
    assert_eq!(serde_json::from_str::<Record>(&record.to_json()).expect("it was written by us"), record);
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
