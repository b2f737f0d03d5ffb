//! What would become of conversations: allowed now and then denied, and nothing else.

use std::{net::IpAddr, time::Duration};

use bulkhead_common::{
    address::Address,
    decide::{Action, Verdict},
    layout::{Lease, Settings},
    wire::mac,
};
use proptest::prelude::*;

use super::{super::*, Compiled, planned, random_policy};
use crate::{
    compile::{Host, Placed},
    report::why::Question,
};

const PLANT: &str = r#"version = 1
[device.press-plc]
mac = "00:1d:9c:c7:b0:70"
ip = "10.20.1.11"
mode = "enforce"
criticality = "safety"
[[device.press-plc.allow]]
from = ["hmi-1", "office"]
service = ["modbus", "ssh"]
[device.hmi-1]
mac = "00:1d:9c:c7:b0:71"
ip = "10.20.1.20"
[[device.hmi-1.allow]]
to = "vendor"
service = "https"
[[device.hmi-1.allow]]
to = "multicast:mdns"
service = "mdns"
[network.office]
cidr = "10.9.0.0/24"
[network.vendor]
dns = "update.vendor.example"
"#;

/// A conversation of two devices or addresses, by the old tables' ids.
fn flow(old: &Compiled, ends: [&str; 2], (protocol, service): (u8, u16), rule: &str, idle: u64) -> KnownFlow {
    let device = |address: &IpAddr| {
        let devices = old.policy.devices.iter().position(|device| device.addresses.contains(address));
        devices.map_or(0, |at| u32::try_from(at + 1).expect("a small number"))
    };
    let [from, to] = ends.map(|text| text.parse::<IpAddr>().expect("an address"));
    let rule = old.tables.rules.iter().position(|one| one.text == rule).expect("there is such a rule");
    KnownFlow {
        from,
        to,
        protocol,
        service,
        client_port: 50_000,
        devices: [device(&from), device(&to)],
        rule: u32::try_from(rule + 1).expect("a small number"),
        idle: Duration::from_secs(idle),
        live: idle < 300,
    }
}

fn world() -> World {
    let settings = Settings { tcp_idle: 300_000_000_000, ..Settings::default() };
    let placed = Placed { settings, ..Placed::default() };
    World { segments: vec![Default::default()], placed, now: 1_000_000_000_000, ..World::default() }
}

fn conversations(old: &Compiled) -> Vec<KnownFlow> {
    let plc = "hmi-1, office -> press-plc modbus, ssh";
    vec![
        flow(old, ["10.20.1.20", "10.20.1.11"], (6, 502), plc, 2),
        flow(old, ["10.9.0.7", "10.20.1.11"], (6, 22), plc, 4000),
        flow(old, ["10.20.1.20", "203.0.113.9"], (6, 443), "hmi-1 -> vendor https", 9),
        flow(old, ["10.20.1.20", "0.0.0.0"], (17, 5353), "hmi-1 -> multicast:mdns mdns", 1),
    ]
}

/// What would become of the conversations of the plant: `from -> to service dropped|reported reason`.
fn stopped_by(change: impl Fn(&str) -> String) -> Vec<String> {
    let (old, new) = (Compiled::of(PLANT), Compiled::of(&change(PLANT)));
    let flows = conversations(&old);
    let found = planned(&old, &new, Some((&flows, &world()))).conversations.expect("flows were given");
    assert_eq!((found.live, found.recent), (3, 1));
    let told = found.stop.list.iter().chain(&found.report.list).map(|one| {
        let fate = if one.dropped { "dropped" } else { "reported" };
        format!("{} -> {} {} {fate} {}", one.from_ip, one.to_ip, one.service, one.reason)
    });
    told.collect()
}

#[test]
fn conversations_go_on_under_rules_that_permit_the_same() {
    assert_eq!(stopped_by(str::to_owned), [""; 0]);
    assert_eq!(stopped_by(|text| text.replace("\"ssh\"]", "\"ssh\", \"ping\"]")), [""; 0]);
    assert_eq!(stopped_by(|text| text.replace("10.9.0.0/24", "10.9.0.0/16")), [""; 0]);
    let renamed =
        |text: &str| text.replace("[network.office]", "[network.bureau]").replace("\"office\"", "\"bureau\"");
    assert_eq!(stopped_by(renamed), [""; 0]);
    assert_eq!(
        stopped_by(|text| text.replace("press-plc", "press-plc-2")),
        [""; 0],
        "another name is no other host"
    );
}

#[test]
fn what_no_rule_permits_any_more_stops_where_somebody_enforces() {
    let without = |text: &str| text.replace("from = [\"hmi-1\", \"office\"]", "from = \"office\"");
    assert_eq!(stopped_by(without), ["10.20.1.20 -> 10.20.1.11 tcp/502 dropped no-rule"]);
    let monitored = |text: &str| without(text).replace("mode = \"enforce\"", "mode = \"monitor\"");
    assert_eq!(stopped_by(monitored), ["10.20.1.20 -> 10.20.1.11 tcp/502 reported no-rule"]);
    let narrower = |text: &str| text.replace("service = [\"modbus\", \"ssh\"]", "service = \"ssh\"");
    assert_eq!(stopped_by(narrower), ["10.20.1.20 -> 10.20.1.11 tcp/502 dropped service-not-allowed"]);
    let elsewhere = |text: &str| text.replace("10.9.0.0/24", "10.9.1.0/24");
    assert_eq!(stopped_by(elsewhere), ["10.9.0.7 -> 10.20.1.11 tcp/22 dropped unknown-peer"]);
}

#[test]
fn what_a_device_is_matters_as_much_as_its_rules() {
    let held = |text: &str| text.replace("mode = \"enforce\"", "mode = \"quarantine\"");
    let both = [
        "10.20.1.20 -> 10.20.1.11 tcp/502 dropped quarantined",
        "10.9.0.7 -> 10.20.1.11 tcp/22 dropped quarantined",
    ];
    assert_eq!(stopped_by(held), both);
    let other_mac = |text: &str| text.replace("00:1d:9c:c7:b0:71", "00:1d:9c:c7:b0:99");
    let spoofed = stopped_by(other_mac);
    assert!(
        spoofed.iter().any(|one| one.starts_with("10.20.1.20 -> 10.20.1.11 tcp/502 dropped")),
        "{spoofed:?}"
    );
    let expired = |text: &str| text.replace("\"ssh\"]", "\"ssh\"]\nexpires = 2026-01-01T00:00:00Z");
    let closed = stopped_by(expired);
    assert!(
        closed.iter().all(|one| one.ends_with("dropped outside-schedule")) && closed.len() == 2,
        "{closed:?}"
    );
}

#[test]
fn names_and_groups_are_judged_by_what_was_asked() {
    let other = |text: &str| text.replace("update.vendor.example", "other.example");
    assert_eq!(stopped_by(other).len(), 1);
    let more = |text: &str| {
        text.replace("\"update.vendor.example\"", "[\"update.vendor.example\", \"other.example\"]")
    };
    assert_eq!(stopped_by(more), [""; 0]);
    for wider in ["*.vendor.example", "*.example"] {
        assert_eq!(stopped_by(|text| text.replace("update.vendor.example", wider)), [""; 0], "{wider}");
    }
    assert_eq!(stopped_by(|text| text.replace("update.vendor.example", "*.update.vendor.example")).len(), 1);
    let silent = |text: &str| text.replace("to = \"multicast:mdns\"", "to = \"multicast:ssdp\"");
    assert_eq!(stopped_by(silent), ["10.20.1.20 -> a group udp/5353 reported unknown-peer"]);
}

#[test]
fn the_same_packet_meets_the_same_fate_as_in_the_data_path() {
    // What the plan says of a conversation is what `why` says of it under the new policy.
    let (old, new) = (Compiled::of(PLANT), Compiled::of(&PLANT.replace("\"hmi-1\", ", "")));
    let flows = conversations(&old);
    let found = planned(&old, &new, Some((&flows, &world()))).conversations.expect("flows were given");
    let question =
        crate::report::why::Question::new(&new.policy, "hmi-1", "press-plc", "tcp/502", &Default::default());
    let question = question.expect("it can be asked");
    let part = question.parts(&new.tables, &[])[0];
    let decision = question.ask(part, &Host::new(&new.tables, Placed::default()));
    let Verdict::Deny(reason) = decision.verdict else { panic!("{decision:?}") };
    let [stop] = &found.stop.list[..] else { panic!("{found:?}") };
    assert_eq!((stop.reason.as_str(), decision.action), (reason.name(), Action::Drop));
}

#[test]
fn what_a_window_allowed_last_night_is_missed_when_its_rule_goes() {
    // It is noon; the conversation ended at four in the morning.
    let rule = |windows: &str| {
        format!(
            "version = 1\n[device.plc]\nip = \"10.20.1.11\"\nmode = \"enforce\"\n[device.historian]\nip = \"10.20.1.20\"\n\
             [[device.plc.allow]]\nfrom = \"historian\"\nservice = \"modbus\"\n{windows}\n"
        )
    };
    let night = |more: &str| {
        rule(&format!(
            "windows = [{{ days = [\"mon-sun\"], from = \"22:00\", to = \"06:00\", zone = \"UTC\" }}]{more}"
        ))
    };
    let broken = |before: &str, after: &str| {
        let (old, new) = (Compiled::of(before), Compiled::of(after));
        let mut flow =
            flow(&old, ["10.20.1.20", "10.20.1.11"], (6, 502), "historian -> plc modbus", 8 * 3600);
        flow.devices = ["historian", "plc"].map(|name| old.policy.device(name).map_or(0, |(id, _)| id.0 + 1));
        planned(&old, &new, Some((&[flow], &world()))).breaks
    };
    let without = rule("").replace("modbus", "ssh");
    assert_eq!(broken(&night(""), &night("")), 0, "it is open again tonight");
    assert_eq!(broken(&night(""), &without), 1);
    assert_eq!(broken(&night(""), &night("").replace("22:00", "05:00")), 1, "the new window opens after it");
    assert_eq!(broken(&night(""), &rule("")), 0);
    let expired = night("\nexpires = 2026-07-01T11:00:00Z");
    assert_eq!(broken(&expired, &without), 0, "what has expired is missed by nobody");
    assert_eq!(broken(&night(""), &expired), 1);
}

/// One conversation of two hosts, of which the policy says `before`, and then `after`; why it would be denied.
fn one(before: &str, after: &str, world: &World) -> Option<String> {
    let plant = |panel: &str| {
        format!(
            "version = 1\n[device.plc]\nip = \"10.20.1.11\"\nmode = \"enforce\"\n[[device.plc.allow]]\n\
             from = \"panel\"\nservice = \"modbus\"\n[device.panel]\n{panel}\n"
        )
    };
    let (old, new) = (Compiled::of(&plant(before)), Compiled::of(&plant(after)));
    let mut flow = flow(&old, ["10.20.1.20", "10.20.1.11"], (6, 502), "panel -> plc modbus", 1);
    flow.devices[0] = old.policy.device("panel").map_or(0, |(id, _)| id.0 + 1);
    let found = planned(&old, &new, Some((&[flow], world))).conversations.expect("flows were given");
    found.stop.list.first().map(|stop| stop.reason.clone())
}

#[test]
fn what_was_left_open_about_a_host_is_as_the_new_policy_says() {
    let fixed = "ip = \"10.20.1.20\"";
    let mut world = world();
    world.placed.segments = [("cell0", 1), ("cell1", 2)].map(|(name, id)| (name.to_owned(), id)).into();
    for (key, other) in [
        ("mac = \"00:1d:9c:00:00:01\"", "mac = \"00:1d:9c:00:00:02\""),
        ("vlan = 5", "vlan = 6"),
        ("segment = \"cell0\"", "segment = \"cell1\""),
    ] {
        let (with, moved) = (format!("{fixed}\n{key}"), format!("{fixed}\n{other}"));
        assert_eq!(one(fixed, &with, &world), None, "{key}");
        assert_eq!(one(&with, &with, &world), None, "{key}");
        assert_eq!(one(&with, fixed, &world), None, "{key}");
        assert!(one(&with, &moved, &world).is_some(), "{key} -> {other}");
    }
}

#[test]
fn leased_address_is_its_devices_as_long_as_both_policies_know_it() {
    let panel = "mac = \"00:1d:9c:00:00:01\"\nip = \"dhcp\"";
    let mut world = world();
    assert_eq!(
        one(panel, "mac = \"00:1d:9c:00:00:01\"\nip = \"10.20.1.99\"", &world),
        None,
        "not allowed before"
    );
    let lease =
        Lease { mac: mac::from_octets([0, 0x1d, 0x9c, 0, 0, 1]), expires: u64::MAX, length: u64::MAX };
    world.leases = BTreeMap::from([(Address::from(IpAddr::from([10, 20, 1, 20])), lease)]);
    assert_eq!(one(panel, panel, &world), None);
    assert_eq!(one(panel, &format!("{panel}\ncriticality = \"high\""), &world), None);
    assert!(one(panel, "mac = \"00:1d:9c:00:00:02\"\nip = \"dhcp\"", &world).is_some(), "another device");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// What the plan says of the conversations of any two policies is what a packet would meet.
    #[test]
    fn conversations_stop_as_the_new_tables_say(a in random_policy(), b in random_policy()) {
        let (a, b) = (Compiled::of(&a), Compiled::of(&b));
        let hosts = [&a, &b].map(|one| Host::new(&one.tables, Placed::default()));
        let mut flows = Vec::new();
        let mut expected = Vec::new();
        for from in &a.policy.devices {
            for to in &a.policy.devices {
                let alike = |device: &crate::model::Device| {
                    b.policy.device(&device.name).is_some_and(|(_, now)| now.macs == device.macs)
                };
                if from.name == to.name || !alike(from) || !alike(to) {
                    continue;
                }
                let decisions = [&a, &b].into_iter().zip(&hosts).map(|(one, host)| {
                    let asked = Question::new(&one.policy, &from.name, &to.name, "tcp/502", &Default::default());
                    let asked = asked.expect("both have addresses");
                    asked.ask(asked.parts(&one.tables, &[])[0], host)
                });
                let decisions: Vec<_> = decisions.collect();
                let id = |device: &crate::model::Device| a.policy.device(&device.name).map_or(0, |(id, _)| id.0 + 1);
                flows.push(KnownFlow {
                    from: from.addresses[0],
                    to: to.addresses[0],
                    protocol: 6,
                    service: 502,
                    client_port: 50_000,
                    devices: [id(from), id(to)],
                    rule: decisions[0].rule,
                    idle: Duration::from_secs(1),
                    live: true,
                });
                let was = matches!(decisions[0].verdict, Verdict::Allow(_));
                if let (true, Verdict::Deny(reason)) = (was, decisions[1].verdict) {
                    let dropped = decisions[1].action == Action::Drop;
                    expected.push((from.name.clone(), to.name.clone(), dropped, reason.name().to_owned()));
                }
            }
        }
        let found = planned(&a, &b, Some((&flows, &world()))).conversations.expect("flows were given");
        let told = found.stop.list.into_iter().chain(found.report.list);
        let mut told: Vec<_> = told
            .map(|one| (one.from.unwrap_or_default(), one.to.unwrap_or_default(), one.dropped, one.reason))
            .collect();
        told.sort();
        expected.sort();
        prop_assert_eq!(told, expected);
    }
}
