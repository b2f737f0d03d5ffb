//! Properties of the arrow from text to tables: what changes them, and what must not.

use std::net::{IpAddr, Ipv4Addr};

use bulkhead_common::{
    decide::{Decision, Verdict, decide},
    lookup::{Endpoint, Rules, class, device_flag, identity, setting},
    parse::{Kind, Packet},
    wire::{mac, protocol},
};

use super::*;
use crate::{
    diagnostic::render_text,
    policy::{SourceFile, resolve_texts},
};

const ROOM: Limits = Limits { devices: 4096, rules: 65_536, rows: 1 << 20 };

fn compiled(texts: &[(&str, &str)]) -> Tables {
    let files: Vec<SourceFile> =
        texts.iter().map(|(path, text)| SourceFile { path: (*path).into(), text: (*text).into() }).collect();
    let outcome = resolve_texts(&files);
    let shown = render_text(&outcome.diagnostics, &outcome.sources, false);
    compile(&outcome.policy.expect(&shown), &ROOM).expect("the policies of the tests are small")
}

/// The rule that lets one end start some conversation with the other, 0 for none.
fn pair(tables: &Tables, initiator: &Endpoint, responder: &Endpoint) -> u32 {
    Host::new(tables, Placed::default()).permitted(initiator, responder, class::PAIR).rule
}

const DEVICES: &str = r#"version = 1
[device.plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.1.0.1"
mode = "enforce"
[[device.plc.allow]]
from = ["hmi", "plant"]
service = "poll"
[device.hmi]
ip = "10.1.0.2"
vlan = 7
"#;

const NAMES: &str = r#"version = 1
[network.plant]
cidr = "10.1.0.0/16"
[network.cell]
cidr = ["10.1.0.0/24", "10.9.0.0/24"]
[[device.oven.allow]]
to = "cell"
service = ["poll", "ntp"]
[device.oven]
ip = "10.2.0.3"
[service.poll]
tcp = ["502", "1000-1023"]
"#;

#[test]
fn the_order_of_files_does_not_matter() {
    let one = compiled(&[("a.toml", DEVICES), ("b.toml", NAMES)]);
    assert_eq!(one, compiled(&[("b.toml", NAMES), ("a.toml", DEVICES)]));
}

#[test]
fn the_same_content_has_the_same_revision_wherever_it_stands() {
    let one = compiled(&[("a.toml", DEVICES), ("b.toml", NAMES)]);
    let joined = format!("{DEVICES}{}", NAMES.trim_start_matches("version = 1"));
    let other = compiled(&[("policy.toml", &joined)]);
    assert_eq!(one.revision, other.revision);
    assert_eq!(one.rows, other.rows);
    assert_ne!(one.rules[0].location, other.rules[0].location);
}

#[test]
fn comments_and_blanks_do_not_change_the_revision() {
    let one = compiled(&[("a.toml", DEVICES), ("b.toml", NAMES)]);
    let spaced = DEVICES.replace('\n', "  # why\n\n").replace(" = ", "   =   ");
    let commented = NAMES.replace("[device.oven]", "[device.oven]\ncomment = \"hall 2\"");
    assert_eq!(one.revision, compiled(&[("a.toml", &spaced), ("b.toml", &commented)]).revision);
}

#[test]
fn rules_that_differ_in_when_they_hold_may_stand_in_any_order() {
    let rule = |when: &str| format!("[[device.plc.allow]]\nfrom = \"any\"\nservice = \"ssh\"\n{when}");
    let rules = [
        rule(""),
        rule("expires = 2030-01-01T00:00:00Z\n"),
        rule("windows = [{ days = \"mon\", from = \"08:00\", to = \"10:00\", zone = \"UTC\" }]\n"),
    ];
    let revision = |order: [usize; 3]| {
        let rules = order.map(|place| rules[place].clone()).concat();
        compiled(&[("a.toml", &format!("version = 1\n[device.plc]\nip = \"10.1.0.1\"\n{rules}"))]).revision
    };
    let first = revision([0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(revision(order), first, "{order:?}");
    }
}

#[test]
fn many_dates_for_the_same_make_one_schedule() {
    let rules: String = (0..2000)
        .map(|n| {
            let (day, hour, minute) = (1 + n / 1440, n / 60 % 24, n % 60);
            format!(
                "[[device.plc.allow]]\nfrom = \"any\"\nservice = \"ssh\"\n\
                 expires = 2030-01-{day:02}T{hour:02}:{minute:02}:00Z\n"
            )
        })
        .collect();
    let text = format!("version = 1\n[device.plc]\nip = \"10.1.0.1\"\n{rules}");
    let tables = compiled(&[("a.toml", &text)]);
    let [schedule] = &tables.schedules[..] else { panic!("{} schedules", tables.schedules.len()) };
    assert_eq!((tables.rules.len(), schedule.len()), (2000, 2000));
}

#[test]
fn what_a_packet_can_notice_changes_the_revision() {
    let one = compiled(&[("a.toml", DEVICES), ("b.toml", NAMES)]).revision;
    for (from, to) in [
        ("mode = \"enforce\"", "mode = \"monitor\""),
        ("vlan = 7", "vlan = 8"),
        ("10.1.0.2", "10.1.0.4"),
        ("b0:70", "b0:71"),
        ("from = [\"hmi\", \"plant\"]", "from = [\"hmi\"]"),
    ] {
        let changed = DEVICES.replace(from, to);
        assert_ne!(changed, DEVICES);
        assert_ne!(one, compiled(&[("a.toml", &changed), ("b.toml", NAMES)]).revision, "{from} -> {to}");
    }
    for (from, to) in
        [("1000-1023", "1000-1024"), ("10.9.0.0/24", "10.9.0.0/25"), ("to = \"cell\"", "to = \"plant\"")]
    {
        let changed = NAMES.replace(from, to);
        assert_ne!(one, compiled(&[("a.toml", DEVICES), ("b.toml", &changed)]).revision, "{from} -> {to}");
    }
}

#[test]
fn a_service_and_a_network_that_no_rule_names_permit_nothing() {
    let one = compiled(&[("a.toml", DEVICES), ("b.toml", NAMES)]);
    let more = format!("{NAMES}[service.idle]\ntcp = \"500-600\"\n");
    let other = compiled(&[("a.toml", DEVICES), ("b.toml", &more)]);
    assert_eq!(one.revision, other.revision, "an unused service cuts no ports");
}

#[test]
fn an_address_carries_every_name_by_which_a_rule_may_mean_it() {
    let tables = compiled(&[("a.toml", DEVICES), ("b.toml", NAMES)]);
    let networks: Vec<(String, u32)> = tables.networks.iter().map(|(p, i)| (p.to_string(), *i)).collect();
    let of = |prefix: &str| networks.iter().find(|(p, _)| p == prefix).expect("it is a row").1;
    let of_device = |ip: [u8; 4]| Endpoint::from_row(&tables.addresses[&Address::from(Ipv4Addr::from(ip))]);
    // In both networks, in the outer one only, in the inner one's other prefix only.
    let (inner, outer, apart) = (of("10.1.0.0/24"), of("10.1.0.0/16"), of("10.9.0.0/24"));
    let (plc, hmi, oven) = (of_device([10, 1, 0, 1]), of_device([10, 1, 0, 2]), of_device([10, 2, 0, 3]));
    assert_eq!(BTreeSet::from([inner, outer, apart]).len(), 3, "three sets of networks, three identities");
    assert_eq!((plc.identity, hmi.identity, oven.identity), (inner, inner, identity::UNKNOWN));
    assert_eq!([plc, hmi, oven].map(|end| end.names()[0] != 0), [true; 3], "rules name each of them");
    let [inner, outer, apart] = [inner, outer, apart].map(Endpoint::network);

    let pair = |initiator: &Endpoint, responder: &Endpoint| pair(&tables, initiator, responder);
    let from_plant =
        tables.rules.iter().position(|rule| rule.holder == "device plc").expect("it has one") + 1;
    for initiator in [inner, outer, hmi] {
        assert_eq!(Some(pair(&initiator, &plc)), u32::try_from(from_plant).ok(), "{initiator:?}");
    }
    assert_eq!(pair(&apart, &plc), 0);
    for responder in [inner, apart, plc, hmi] {
        assert!(pair(&oven, &responder) != 0, "{responder:?}");
    }
    assert_eq!(pair(&oven, &outer), 0);
}

#[test]
fn a_row_knows_its_rule_and_the_rule_its_line() {
    let tables = compiled(&[("a.toml", DEVICES), ("b.toml", NAMES)]);
    let places: Vec<String> = tables
        .rules
        .iter()
        .map(|rule| format!("{}:{} {}: {}", rule.location.path, rule.location.line, rule.holder, rule.text))
        .collect();
    assert_eq!(
        places,
        ["b.toml:6 device oven: oven -> cell ntp, poll", "a.toml:6 device plc: hmi, plant -> plc poll"],
        "by holder, then by text"
    );
    assert!(tables.rows.values().all(|row| tables.rule(row.rule).is_some()));
    assert_eq!(tables.rule(0), None);
    assert_eq!(tables.rule(NO_RULE), None);
}

#[test]
fn a_row_of_an_address_says_how_its_device_is_recognised() {
    let tables = compiled(&[("a.toml", DEVICES), ("b.toml", NAMES)]);
    let row = |ip: [u8; 4]| tables.addresses[&Address::from(Ipv4Addr::from(ip))];
    assert_eq!(
        (row([10, 1, 0, 1]).flags, row([10, 1, 0, 1]).vlan),
        (device_flag::HAS_MAC | device_flag::NAMED, 0)
    );
    assert_eq!((row([10, 1, 0, 2]).flags, row([10, 1, 0, 2]).vlan), (device_flag::NAMED, 7));
    let plc = tables.macs[&mac::from_octets([0, 0x1d, 0x9c, 0xc7, 0xb0, 0x70])];
    assert_eq!(tables.device(plc.device).map(|device| device.name.as_str()), Some("plc"));
    assert_eq!(Mode::from_code(plc.mode), Mode::Enforce);
}

/// The hosts of the random policies and packets: devices of the policy, members of networks, strangers.
const HOSTS: &[[u8; 4]] = &[
    [10, 0, 0, 1],
    [10, 0, 0, 2],
    [10, 0, 1, 3],
    [10, 0, 0, 9],
    [10, 0, 1, 9],
    [192, 0, 2, 9],
    [10, 0, 0, 254],
];
const PORTS: &[u16] = &[22, 80, 502, 503, 1000, 40_000];

fn decided(tables: &Tables, source: usize, destination: usize, ports: (u16, u16), flags: u8) -> Decision {
    let settings = bulkhead_common::layout::Settings { flags: setting::STRICT, ..Default::default() };
    let gateway = BTreeSet::from([IpAddr::from(HOSTS[6])]);
    let host = Host::new(tables, Placed { settings, gateway, ..Placed::default() });
    let packet = Packet {
        kind: Kind::Ip,
        ethertype: 0x0800,
        source: Ipv4Addr::from(HOSTS[source]).into(),
        destination: Ipv4Addr::from(HOSTS[destination]).into(),
        protocol: protocol::TCP,
        tcp_flags: flags,
        source_port: ports.0,
        destination_port: ports.1,
        service_port: ports.1,
        ..Packet::EMPTY
    };
    decide(&packet, &host)
}

/// A policy of three devices, two nested networks and the given rules: (device, peer, whether `from`, service).
fn policy(rules: &[(usize, usize, bool, usize)]) -> String {
    const DEVICES: [&str; 3] = ["a", "b", "c"];
    const PEERS: [&str; 7] = ["a", "b", "c", "inner", "outer", "any", "gateway"];
    const SERVICES: [&str; 4] = ["one", "range", "modbus", "ssh"];
    let mut text = "version = 1\n".to_owned();
    for (name, [w, x, y, z]) in DEVICES.iter().zip(HOSTS) {
        text += &format!("[device.{name}]\nip = \"{w}.{x}.{y}.{z}\"\nmode = \"enforce\"\n");
    }
    text += "[network.inner]\ncidr = \"10.0.0.0/24\"\n[network.outer]\ncidr = \"10.0.0.0/16\"\n";
    text += "[service.one]\ntcp = \"502\"\n[service.range]\ntcp = \"500-1000\"\n";
    for (device, peer, from, service) in rules {
        if DEVICES[*device] == PEERS[*peer] {
            continue;
        }
        let end = if *from { "from" } else { "to" };
        text += &format!("[[device.{}.allow]]\n{end} = \"{}\"\n", DEVICES[*device], PEERS[*peer]);
        text += &format!("service = \"{}\"\n", SERVICES[*service]);
    }
    text
}

mod kinds;
mod named;

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> impl Strategy<Value = (usize, usize, bool, usize)> {
        (0..3_usize, 0..7_usize, any::<bool>(), 0..4_usize)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn adding_a_rule_never_removes_an_allow(
            rules in proptest::collection::vec(rule(), 0..6),
            more in rule(),
        ) {
            let before = compiled(&[("p.toml", &policy(&rules))]);
            let after = [rules.as_slice(), &[more]].concat();
            let after = compiled(&[("p.toml", &policy(&after))]);
            for source in 0..HOSTS.len() {
                for destination in (0..HOSTS.len()).filter(|d| *d != source) {
                    for port in PORTS {
                        let old = decided(&before, source, destination, (40_000, *port), 2);
                        let new = decided(&after, source, destination, (40_000, *port), 2);
                        if let Verdict::Allow(grant) = old.verdict {
                            prop_assert_eq!(new.verdict, Verdict::Allow(grant));
                        }
                    }
                }
            }
        }

        #[test]
        fn the_order_of_rules_changes_no_verdict(rules in proptest::collection::vec(rule(), 0..6)) {
            let mut turned = rules.clone();
            turned.reverse();
            let (one, other) =
                (compiled(&[("p.toml", &policy(&rules))]), compiled(&[("p.toml", &policy(&turned))]));
            for source in 0..HOSTS.len() {
                for destination in (0..HOSTS.len()).filter(|d| *d != source) {
                    for port in PORTS {
                        let (a, b) = (
                            decided(&one, source, destination, (40_000, *port), 2).verdict,
                            decided(&other, source, destination, (40_000, *port), 2).verdict,
                        );
                        prop_assert_eq!(a, b);
                    }
                }
            }
        }

        #[test]
        fn the_order_of_rules_changes_neither_revision_nor_rows(
            (rules, shuffled) in proptest::collection::vec(rule(), 0..8)
                .prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        ) {
            let (one, other) =
                (compiled(&[("p.toml", &policy(&rules))]), compiled(&[("p.toml", &policy(&shuffled))]));
            prop_assert_eq!(one.revision, other.revision);
            prop_assert_eq!(one.rows, other.rows);
        }

        #[test]
        fn the_order_of_files_changes_neither_revision_nor_rows(
            (rules, shuffled) in proptest::collection::vec(rule(), 0..8)
                .prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
            names in Just(["1.toml", "2.toml", "3.toml", "4.toml"]).prop_shuffle(),
        ) {
            let one = compiled(&[("p.toml", &policy(&rules))]);
            let mut texts = ["a", "b", "c", "rest"].map(|_| "version = 1\n".to_owned());
            for table in policy(&shuffled).trim_start_matches("version = 1\n[").split("\n[") {
                let of = ["device.a", "device.b", "device.c"].iter().position(|device| table.contains(device));
                texts[of.unwrap_or(3)] += &format!("[{table}\n");
            }
            let files: Vec<(&str, &str)> = names.iter().copied().zip(texts.iter().map(String::as_str)).collect();
            let other = compiled(&files);
            prop_assert_eq!(one.revision, other.revision);
            prop_assert_eq!(one.rows, other.rows);
        }

        /// The tables say what the rules say, taken literally.
        #[test]
        fn a_connection_is_allowed_exactly_when_a_rule_says_so(rules in proptest::collection::vec(rule(), 0..6)) {
            let tables = compiled(&[("p.toml", &policy(&rules))]);
            let named = |peer: usize, host: usize| match peer {
                0..=2 => host == peer,
                3 => host != 6 && HOSTS[host][..3] == [10, 0, 0],
                4 => host != 6 && HOSTS[host][..2] == [10, 0],
                5 => true,
                _ => host == 6,
            };
            let covers = |service: usize, port: u16| match service {
                0 | 2 => port == 502,
                1 => (500..=1000).contains(&port),
                _ => port == 22,
            };
            for source in 0..6 {
                for destination in (0..HOSTS.len()).filter(|d| *d != source) {
                    if source > 2 && destination > 2 {
                        continue;
                    }
                    for port in PORTS {
                        let said = rules.iter().any(|(device, peer, from, service)| {
                            let (initiator, responder) = if *from { (*peer, *device) } else { (*device, *peer) };
                            device != peer
                                && named(initiator, source)
                                && named(responder, destination)
                                && covers(*service, *port)
                        });
                        let found = decided(&tables, source, destination, (40_000, *port), 2).verdict;
                        prop_assert_eq!(said, matches!(found, Verdict::Allow(_)), "{} {} {}", source, destination, port);
                    }
                }
            }
        }
    }
}
