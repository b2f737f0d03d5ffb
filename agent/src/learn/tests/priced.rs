//! Prices are what brute force counts, and nothing is made wider than its bounds.

use std::collections::BTreeSet;

use super::*;
use crate::learn::{Party, propose::Entry};

const TEXT: &str = r#"version = 1
[class.plc]
[zone.cell]
[device.hmi-1]
ip = "10.1.0.1"
zone = "cell"
[device.hmi-2]
ip = "10.1.0.2"
zone = "cell"
[device.hmi-3]
ip = ["10.1.0.3", "10.2.0.3"]
zone = "cell"
[device.plc-1]
ip = "10.1.0.11"
class = "plc"
[device.plc-2]
ip = "10.1.0.12"
class = "plc"
[device.plc-3]
ip = "10.1.0.13"
class = "plc"
[network.office]
cidr = "10.2.0.0/29"
except = "10.2.0.6/31"
[network.far]
cidr = "10.2.0.0/16"
"#;

fn bounds() -> Bounds {
    Bounds::default()
}

/// Every combination of ends and services that a policy with one entry admits, asked one by one.
fn counted(plant: &Plant, made: &Made, entry: &Entry) -> u64 {
    let who = Who::new(&plant.policy, &plant.surroundings.placed);
    let one = Proposal { entries: vec![entry.clone()], ..Proposal::default() };
    let material = Material { who: &who, found: &made.found, fates: &made.fates };
    let mut text = plant.files[0].text.clone();
    for piece in pieces(&material, &one) {
        text = merge(&text, &piece).expect("it is TOML").after;
    }
    let policy = self::plant(&text).policy;
    let judge = Judge::new(&policy, plant.surroundings.clone(), now()).expect("it is small");
    let mut asking = judge.ask();
    let hosts: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 14]
        .map(|n| format!("10.1.0.{n}"))
        .into_iter()
        .chain((0..10).map(|n| format!("10.2.0.{n}")))
        .collect();
    let numbers = [21, 22, 23, 101, 102, 103, 160, 161, 162, 501, 502, 503, 513, 514, 515];
    let services = numbers.into_iter().flat_map(|n| [(6, n), (17, n)]);
    let services: Vec<(u8, u16)> = services.chain((49_151..49_172).map(|n| (6, n))).collect();
    let mut admitted: BTreeSet<(Party, Party, u8, u16)> = BTreeSet::new();
    for from in &hosts {
        for to in &hosts {
            for (protocol, number) in &services {
                let kind = Kind {
                    from: end(from),
                    to: end(to),
                    service: Service { protocol: *protocol, number: *number },
                };
                let parties = [who.sender(&kind.from), who.receiver(&kind.to)];
                // An address that is nobody's is its own party.
                let [from, to] = parties;
                if from != to && asking.about(&kind) == crate::learn::judge::Said::Allowed {
                    admitted.insert((from, to, *protocol, *number));
                }
            }
        }
    }
    admitted.len() as u64
}

fn checked(plant: &Plant, rows: &[Row], scope: Scope, bounds: Option<&Bounds>) -> Made {
    let made = plant.make(rows, scope, bounds);
    assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.text);
    for entry in &made.proposal.entries {
        assert_eq!(counted(plant, &made, entry), entry.admits, "{entry:?}\n{}", made.text);
        let seen: BTreeSet<_> = entry.talks.iter().collect();
        assert_eq!(entry.price, entry.admits - seen.len() as u64);
    }
    made
}

#[test]
fn exact_rules_cost_nothing() {
    let plant = plant(TEXT);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.11", 502), 20);
    rows.extend(week(tcp("10.2.0.4", "10.1.0.11", 502), 20));
    rows.extend(week(udp("10.1.0.11", "10.2.0.5", 161), 20));
    rows.extend(week(tcp("10.1.0.3", "10.1.0.11", 102), 20));
    let made = checked(&plant, &rows, Scope::All, None);
    assert_eq!(made.proposal.price(), 0);
    assert!(made.text.contains("service = [\"tcp-102\"]"), "three protocols have the port: {}", made.text);
}

#[test]
fn zones_networks_services_and_ranges_cost_what_they_admit() {
    let plant = plant(TEXT);
    let mut rows = Vec::new();
    for hmi in ["10.1.0.1", "10.1.0.2"] {
        rows.extend(week(tcp(hmi, "10.1.0.11", 502), 20));
    }
    for host in ["10.2.0.1", "10.2.0.2", "10.2.0.4"] {
        rows.extend(week(tcp(host, "10.1.0.12", 502), 20));
    }
    rows.extend(week(udp("10.1.0.11", "10.1.0.1", 161), 20));
    for port in [49_152, 49_160, 49_161, 49_170] {
        rows.extend(week(tcp("10.1.0.2", "10.1.0.13", port), 20));
    }
    let made = checked(&plant, &rows, Scope::All, Some(&bounds()));
    let prices: Vec<u64> = made.proposal.entries.iter().map(|entry| entry.price).collect();
    // SNMP over TCP; the third HMI; three more hosts of the office, the HMI there among them; fifteen ports.
    assert_eq!(prices, [1, 1, 3, 15], "{}", made.text);
    insta::assert_snapshot!(made.text);
}

#[test]
fn nothing_becomes_wider_than_its_bounds_or_than_what_was_left_out() {
    let plant = plant(TEXT);
    let mut rows = Vec::new();
    for hmi in ["10.1.0.1", "10.1.0.2"] {
        rows.extend(week(tcp(hmi, "10.1.0.11", 502), 20));
    }
    // The third one did it once.
    rows.push(seen(tcp("10.1.0.3", "10.1.0.11", 502), MONDAY, 1));
    for host in ["10.2.0.1", "10.2.0.2", "10.2.0.4"] {
        rows.extend(week(tcp(host, "10.1.0.12", 502), 20));
    }
    let made = checked(&plant, &rows, Scope::All, Some(&Bounds { rule: 2, ..bounds() }));
    assert_eq!(made.proposal.price(), 0, "{}", made.text);
    let refused: Vec<&str> = made.proposal.refused.iter().map(|one| one.why.as_str()).collect();
    assert!(
        refused.iter().any(|why| why.contains("hmi-3 -> plc-1 tcp/502, which was left out: one-off")),
        "{refused:?}"
    );
    assert!(
        refused
            .iter()
            .any(|why| why.contains("3 combinations that nobody saw, and the bound of a rule is 2")),
        "{refused:?}"
    );
    let all = checked(&plant, &rows, Scope::All, Some(&Bounds { all: 2, ..bounds() }));
    assert!(all.proposal.price() <= 2);
}

#[test]
fn rules_that_cost_too_much_together_stay_apart() {
    let plant = plant(TEXT);
    let mut rows = Vec::new();
    for hmi in ["10.1.0.1", "10.1.0.2"] {
        for port in [49_152, 49_160, 49_161, 49_170] {
            rows.extend(week(tcp(hmi, "10.1.0.13", port), 20));
        }
    }
    let made = checked(&plant, &rows, Scope::All, Some(&Bounds { rule: 20, ..bounds() }));
    let prices: Vec<u64> = made.proposal.entries.iter().map(|entry| entry.price).collect();
    assert_eq!(prices, [15, 15], "{}", made.text);
}

#[test]
fn nothing_is_made_wider_for_who_scanned_or_is_in_quarantine() {
    let rows = |scan: bool| {
        let mut rows = Vec::new();
        for hmi in ["10.1.0.1", "10.1.0.2"] {
            rows.extend(week(tcp(hmi, "10.1.0.11", 502), 20));
        }
        // Its probes are answered once, as by every open port.
        let ports = if scan { 495..510 } else { 0..0 };
        rows.extend(ports.map(|port| probe(tcp("10.1.0.3", "10.1.0.11", port), MONDAY, 3, true)));
        rows
    };
    let wider = |text: &str, rows: &[Row]| {
        let made = checked(&plant(text), rows, Scope::All, Some(&bounds()));
        let why = made.proposal.refused.first().map(|one| one.why.clone()).unwrap_or_default();
        (made.text.contains("zone:cell"), why)
    };
    assert_eq!(wider(TEXT, &rows(false)), (true, String::new()));
    assert_eq!(wider(TEXT, &rows(true)), (false, "it would admit more of hmi-3, which scanned".into()));
    let ill = TEXT.replace("[device.hmi-3]", "[device.hmi-3]\nmode = \"quarantine\"");
    assert_eq!(
        wider(&ill, &rows(false)),
        (false, "it would admit more of hmi-3, which is in quarantine".into())
    );
}

#[test]
fn class_gets_what_all_of_its_devices_do() {
    let plant = plant(TEXT);
    let mut rows = Vec::new();
    for plc in ["10.1.0.11", "10.1.0.12", "10.1.0.13"] {
        rows.extend(week(tcp("10.1.0.1", plc, 502), 20));
    }
    rows.extend(week(tcp("10.1.0.2", "10.1.0.12", 102), 20));
    rows.extend(week(tcp("10.1.0.2", "10.1.0.13", 102), 20));
    let class = Scope::Class(crate::model::ClassId(0));
    let made = checked(&plant, &rows, class, None);
    assert_eq!((made.proposal.price(), made.proposal.entries.len()), (0, 3), "{}", made.text);
    assert!(made.text.contains("[[class.plc.allow]]"), "{}", made.text);
    // Two of three have the other one as well.
    let made = checked(&plant, &rows, class, Some(&bounds()));
    assert_eq!((made.proposal.price(), made.proposal.entries.len()), (1, 2), "{}", made.text);
}

mod any {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn row() -> impl Strategy<Value = Row> {
        let hosts: Vec<String> = (1..4)
            .map(|n| format!("10.1.0.{n}"))
            .chain((11..15).map(|n| format!("10.1.0.{n}")))
            .chain((0..9).map(|n| format!("10.2.0.{n}")))
            .collect();
        let service = select(vec![
            (6_u8, 502_u16),
            (6, 102),
            (17, 161),
            (6, 22),
            (6, 49_152),
            (6, 49_153),
            (6, 49_160),
            (6, 49_161),
            (17, 514),
        ]);
        (select(hosts.clone()), select(hosts), service, 0..4_i32, 0..30_u64, 0..12_u64, 0..4_u64).prop_map(
            |(from, to, (protocol, number), day, flows, hour, packets)| {
                let kind = Kind { from: end(&from), to: end(&to), service: Service { protocol, number } };
                let first = Day(MONDAY + day).begin() + i64::try_from(hour).expect("small") * 3600;
                let seen = Seen {
                    flows,
                    opened: flows / 2,
                    answered: if packets == 0 { 0 } else { flows },
                    packets: [flows * 5, flows * packets],
                    last: first + 4000,
                    hours: Hours::between(Day(MONDAY + day), first, first + 4000),
                    ..Seen::at(first)
                };
                Row { kind, day: Day(MONDAY + day), seen }
            },
        )
    }

    /// What stands in no network, has no address or no port, or holds at times.
    const MORE: &str = r#"
[device.drive]
mac = "02:00:00:00:00:05"
ip = "fd00:1::5"
[device.roamer]
mac = "02:00:00:00:00:06"
ip = "dhcp"
[[device.plc-1.allow]]
from = "hmi-1"
service = "modbus"
windows = [{ days = "mon-tue", from = "06:00", to = "10:00", zone = "UTC" }]
[multicast.line]
ip = ["239.1.1.0/31"]
[multicast.pair]
ip = ["239.9.9.9", "ff05::9"]
[multicast.stations]
mac = ["01:0c:cd:01:00:01", "01:0c:cd:01:00:02"]
"#;

    fn kind_of_any_kind() -> impl Strategy<Value = Kind> {
        let service = |protocol, number| Service { protocol, number };
        let make = move |ends: Vec<&'static str>, to: Vec<&'static str>, services: Vec<Service>| {
            (select(ends), select(to), select(services)).prop_map(|(from, to, service)| {
                let leased = |text: &str| match text {
                    "10.1.0.77" => {
                        End::leased(IpAddr::from([10, 1, 0, 77]), "02:00:00:00:00:06".parse().expect("a MAC"))
                    }
                    other => end(other),
                };
                Kind { from: leased(from), to: leased(to), service }
            })
        };
        let v4 = vec![
            "10.1.0.1",
            "10.1.0.2",
            "10.1.0.11",
            "10.1.0.12",
            "10.1.0.77",
            "10.2.0.7",
            "172.16.0.9",
            "93.184.216.34",
        ];
        let groups = vec!["239.1.1.0", "239.1.1.1", "239.9.9.9", "239.77.1.2", "255.255.255.255", "10.2.0.7"];
        let v6 = vec!["fd00:1::5", "fe80::ff:fe00:5", "fe80::1234", "fd00:2::7"];
        let macs = vec!["02:00:00:00:00:05", "02:00:00:00:00:06", "02:00:00:00:00:99"];
        let to_macs = vec![
            "02:00:00:00:00:05",
            "02:00:00:00:00:06",
            "01:0c:cd:01:00:01",
            "01:0c:cd:01:00:02",
            "ff:ff:ff:ff:ff:ff",
        ];
        let ports: Vec<Service> =
            [(6, 502), (6, 8080), (17, 161), (17, 123), (17, 2222), (132, 2905), (47, 0)]
                .map(|(p, n)| service(p, n))
                .into();
        let pings: Vec<Service> =
            [(1, 8 << 8), (1, (8 << 8) + 1), (1, 13 << 8), (1, 3 << 8)].map(|(p, n)| service(p, n)).into();
        let frames: Vec<Service> =
            [(255, 0x8892), (255, 0x88b8), (254, 0x82)].map(|(p, n)| service(p, n)).into();
        prop_oneof![
            4 => make(v4.clone(), v4.clone(), ports.clone()),
            2 => make(v4.clone(), v4.clone(), pings),
            2 => make(v4, groups, ports.clone()),
            2 => make(v6.clone(), [v6, vec!["ff05::9"]].concat(), ports),
            3 => make(macs, to_macs, frames),
        ]
    }

    /// Rows as recorders write them: of what is refused, of what goes on without having begun, of whom nobody heard.
    fn row_of_any_kind() -> impl Strategy<Value = Row> {
        (kind_of_any_kind(), 0..4_i32, 0..30_u64, 0..20_i64, 0..5_u8, any::<bool>()).prop_map(
            |(kind, day, flows, hour, answer, was_seen)| {
                let day = Day(MONDAY + day);
                let first = day.begin() + hour * 3600;
                let (answered, packets) = match answer {
                    0 => (0, [flows, 0]),
                    1 => (0, [flows.max(1), flows.max(1)]),
                    2 => (flows, [flows.max(2) * 3, flows]),
                    _ => (flows, [flows.max(3) * 9, flows.max(3) * 9]),
                };
                let seen = Seen {
                    flows,
                    opened: if was_seen { flows } else { 0 },
                    answered,
                    packets,
                    last: first + 4000,
                    hours: Hours::between(day, first, first + 4000),
                    ..Seen::at(first)
                };
                Row { kind, day, seen }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// The same of all that there is: no odd row keeps anything from being proposed, whatever else was seen.
        #[test]
        fn nothing_odd_spoils_a_proposal(
            rows in vec(row_of_any_kind(), 0..160),
            generalise in any::<bool>(),
        ) {
            let mut plant = plant(&format!("{TEXT}{MORE}"));
            plant.settings.days = 1;
            plant.surroundings.placed.gateway = [IpAddr::from([10, 1, 0, 254])].into();
            let bounds = generalise.then(bounds);
            let made = plant.make(&rows, Scope::All, bounds.as_ref());
            prop_assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.text);
            prop_assert!(generalise || made.proposal.price() == 0, "{}", made.text);
            // No connection is learned of which nothing came back.
            let who = Who::new(&plant.policy, &plant.surroundings.placed);
            let back = rows.iter().filter(|row| row.seen.packets[1] > 0);
            let back: BTreeSet<Talk> = back.map(|row| Talk::of(&who, &row.kind)).collect();
            let mut learned = made.fates.iter().filter(|(_, fate)| **fate == Fate::Learned).map(|(talk, _)| talk);
            prop_assert!(learned.all(|talk| talk.service.protocol != 6 || back.contains(talk)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        /// Whatever was seen: what is proposed admits all that was learned and nothing that was left out, within its bounds, in any order of rows.
        #[test]
        fn proposal_admits_its_baseline_and_nothing_that_was_left_out(
            rows in vec(row(), 0..120),
            generalise in any::<bool>(),
            in_class in any::<bool>(),
            most in 0..40_u64,
        ) {
            let mut plant = plant(TEXT);
            plant.settings.days = 1;
            let scope = if in_class { Scope::Class(crate::model::ClassId(0)) } else { Scope::All };
            let bounds = Bounds { rule: most, all: most * 2, ..Bounds::default() };
            let bounds = generalise.then_some(&bounds);
            let made = plant.make(&rows, scope, bounds);
            prop_assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.text);
            let bound = if generalise { most * 2 } else { 0 };
            prop_assert!(made.proposal.price() <= bound);
            prop_assert!(made.proposal.entries.iter().all(|entry| entry.price <= most));
            let mut turned = rows.clone();
            turned.reverse();
            let other = plant.make(&turned, scope, bounds);
            prop_assert_eq!(&other.text, &made.text);
            prop_assert_eq!(other.fates, made.fates);
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// The same, and each price is what asking about every combination counts.
        #[test]
        fn price_is_what_brute_force_counts(rows in vec(row(), 0..60)) {
            let mut plant = plant(TEXT);
            plant.settings.days = 1;
            let made = plant.make(&rows, Scope::All, Some(&bounds()));
            for entry in made.proposal.entries.iter().take(3) {
                prop_assert_eq!(counted(&plant, &made, entry), entry.admits, "{:?}\n{}", entry, made.text);
            }
        }
    }
}
