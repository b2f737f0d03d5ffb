//! What is learned, and how it reads.

use super::*;

const TEXT: &str = r#"version = 1

[device.hmi]
ip = "10.1.0.1"

# The press.
[device.plc]
ip = "10.1.0.2"

[network.office]
cidr = "10.2.0.0/24"
"#;

#[test]
fn rows_become_rules_that_admit_them() {
    let plant = plant(TEXT);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    rows.extend(week(tcp("10.2.0.7", "10.1.0.1", 443), 20));
    rows.extend(week(udp("10.1.0.2", "10.2.0.5", 161), 20));
    let made = plant.learn(&rows);
    assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.merged[0].after);
    assert_eq!(made.proposal.price(), 0);
    insta::assert_snapshot!(made.merged[0].after);
}

#[test]
fn every_kind_of_partner_can_be_named() {
    let mut plant = plant(
        r#"version = 1
[device.hmi]
mac = "02:00:00:00:00:01"
ip = ["10.1.0.1", "fd00:1::1"]
[device.mobile]
mac = "02:00:00:00:00:02"
ip = "dhcp"
segment = "cell"
vlan = 7
[device.drive]
mac = "02:00:00:00:00:03"
[network.office]
cidr = ["10.2.0.0/24", "fd00:2::/64"]
"#,
    );
    plant.surroundings.placed.gateway = [IpAddr::from([10, 1, 0, 254])].into();
    plant.surroundings.placed.broadcasts = [IpAddr::from([10, 2, 0, 255])].into();
    let mobile = End::leased(IpAddr::from([10, 1, 0, 77]), "02:00:00:00:00:02".parse().expect("a MAC"));
    let drive = end("02:00:00:00:00:03");
    let ping = |from, to| Kind { service: Service { protocol: 1, number: 8 << 8 }, ..tcp(from, to, 0) };
    let frame = |to: &str, number| Kind {
        from: end("02:00:00:00:00:01"),
        to: end(to),
        service: Service { protocol: 255, number },
    };
    let kinds = [
        tcp("10.1.0.1", "10.1.0.254", 8080),
        tcp("10.1.0.254", "10.1.0.1", 4840),
        udp("10.1.0.254", "10.1.0.1", 161),
        ping("10.1.0.254", "10.1.0.1"),
        ping("10.1.0.1", "10.2.0.3"),
        tcp("fd00:1::1", "fd00:2::9", 443),
        tcp("fd00:2::8", "fd00:1::1", 443),
        Kind { from: mobile, ..tcp("10.1.0.77", "10.1.0.1", 1883) },
        Kind { to: mobile, ..tcp("10.2.0.3", "10.1.0.77", 1883) },
        udp("10.1.0.1", "224.0.0.251", 5353),
        udp("10.1.0.1", "239.77.1.2", 7777),
        udp("10.1.0.1", "255.255.255.255", 47_808),
        udp("10.2.0.3", "10.2.0.255", 47_808),
        udp("10.1.0.1", "10.2.0.255", 47_808),
        Kind { service: Service { protocol: 47, number: 0 }, ..tcp("10.1.0.1", "10.2.0.3", 0) },
        Kind { service: Service { protocol: 132, number: 2905 }, ..tcp("10.1.0.1", "10.2.0.3", 0) },
        frame("02:00:00:00:00:03", 0x8892),
        frame("01:0e:cf:00:00:00", 0x8892),
        frame("01:0c:cd:01:00:07", 0x88b8),
        frame("01:aa:bb:cc:dd:ee", 0x9999),
        frame("ff:ff:ff:ff:ff:ff", 0x88cb),
        Kind { from: drive, ..frame("02:00:00:00:00:01", 0x8893) },
        Kind { service: Service { protocol: 254, number: 0x82 }, ..frame("02:00:00:00:00:03", 0) },
    ];
    let rows: Vec<Row> = kinds.iter().flat_map(|kind| week(*kind, 20)).collect();
    let made = plant.learn(&rows);
    assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.text);
    assert_eq!((made.proposal.decisions.len(), made.proposal.price()), (0, 0), "{}", made.text);
    let learned = made.fates.values().filter(|fate| **fate == Fate::Learned).count();
    // What the office sends to everybody there concerns no device, and the two broadcasts of the HMI are one.
    assert_eq!(learned, kinds.len() - 2, "{:?}\n{}", made.fates, made.text);
    insta::assert_snapshot!(made.text);
}

#[test]
fn what_a_rule_of_any_kind_allows_is_not_proposed() {
    let rules = r#"
[[device.hmi.allow]]
from = "office"
service = "https"
windows = [{ days = "mon", from = "08:00", to = "10:00", zone = "UTC" }]
[[device.plc.allow]]
from = "hmi"
service = "modbus"
expires = 2026-11-24T00:00:00Z
"#;
    let plant = plant(&format!("{TEXT}{rules}"));
    let mut rows = week(tcp("10.2.0.7", "10.1.0.1", 443), 20);
    rows.extend(week(tcp("10.1.0.1", "10.1.0.2", 502), 20));
    let made = plant.learn(&rows);
    assert_eq!(
        made.fate(&plant, "10.2.0.7 (office) -> hmi tcp/443"),
        "outside-window",
        "somebody chose the hours"
    );
    assert_eq!(made.fate(&plant, "hmi -> plc tcp/502"), "expired", "somebody chose an end");
    assert!(made.proposal.entries.is_empty());
}
