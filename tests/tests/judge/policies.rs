//! Policies that nobody thought of: text over a small plant of both families, from chance.
//!
//! In: chance and the number of the plant, which is in every address, so that no flow of one policy is another's. Out:
//! policy text that the reader accepts.

use std::fmt::Write as _;

use super::{herald, random::Random, read};

/// Devices of the west and of the east, with the last part of their addresses.
const DEVICES: &[(&str, u8, u8)] = &[
    ("plc", 1, 11),
    ("drive", 1, 12),
    ("robot", 1, 13),
    ("panel", 1, 14),
    ("historian", 2, 5),
    ("laptop", 2, 130),
    ("scanner", 2, 64),
];
const ZONES: &[&str] = &["zone:cell", "zone:office"];
const CLASSES: &[&str] = &["class:simple", "class:rich"];
const NETWORKS: &[&str] = &["n0", "n1", "n2", "n3", "n4"];
const OWN_SERVICES: &[&str] = &["s0", "s1", "s2", "s3", "s4"];
const BUILT_IN: &[&str] = &[
    "any", "any-tcp", "any-udp", "any-icmp", "any-sctp", "modbus", "dns", "ntp", "ping", "snmp", "gre", "esp",
];

/// A policy's text.
pub(crate) fn policy(random: &mut Random, plant: u8) -> String {
    // Chance may name nobody (a zone without devices): then it is thrown again.
    for _ in 0..100 {
        let text = draft(random, plant);
        if read(&text).is_ok() {
            return text;
        }
    }
    let text = draft(random, plant);
    panic!("a hundred policies in a row are refused: {}\n{text}", read(&text).err().unwrap_or_default());
}

fn draft(random: &mut Random, plant: u8) -> String {
    let mut text = format!("version = 1\n\n{}", herald(plant));
    let quarantine = random.percent(25);
    let mut devices = Vec::new();
    for (name, net, host) in DEVICES {
        if random.percent(80) {
            devices.push(*name);
            device(random, &mut text, (name, *net, plant, *host), quarantine);
        }
    }
    for name in NETWORKS {
        let cidrs: Vec<String> = (0..random.within(1, 2)).map(|_| cidr(random, plant)).collect();
        writeln!(text, "[network.{name}]\ncidr = {cidrs:?}\n").expect("to a string");
    }
    for name in OWN_SERVICES {
        service(random, &mut text, name);
    }
    for class in CLASSES {
        let name = class.trim_start_matches("class:");
        writeln!(text, "[class.{name}]\n").expect("to a string");
        for _ in 0..random.within(1, 2) {
            allow(random, &mut text, &format!("class.{name}"), &devices);
        }
    }
    for name in &devices {
        for _ in 0..random.within(0, 3) {
            allow(random, &mut text, &format!("device.{name}"), &devices);
        }
    }
    if quarantine {
        let peers: Vec<String> = (0..random.within(1, 3)).map(|_| peer(random, &devices)).collect();
        writeln!(text, "[quarantine]\npeers = {peers:?}\n").expect("to a string");
    }
    text
}

fn device(random: &mut Random, text: &mut String, who: (&str, u8, u8, u8), quarantine: bool) {
    let (name, net, plant, host) = who;
    let (v4, v6) = (format!("10.{net}.{plant}.{host}"), format!("fd00:{net}:{plant:x}::{host:x}"));
    let addresses = match random.within(0, 3) {
        0 => vec![v4],
        1 => vec![v6],
        _ => vec![v4, v6],
    };
    let mode = if quarantine && random.percent(30) { "quarantine" } else { "enforce" };
    writeln!(text, "[device.{name}]\nip = {addresses:?}\nmode = \"{mode}\"").expect("to a string");
    if random.percent(70) {
        writeln!(text, "mac = \"02:00:00:00:{net:02x}:{host:02x}\"").expect("to a string");
    }
    for (key, names) in [("zone", ZONES), ("class", CLASSES)] {
        if random.percent(50) {
            let name = random.pick(names).split_once(':').map_or("", |(_, name)| name);
            writeln!(text, "{key} = \"{name}\"").expect("to a string");
        }
    }
    text.push('\n');
}

/// Prefixes that contain each other, devices and nothing at all.
fn cidr(random: &mut Random, plant: u8) -> String {
    let v4 =
        ["2.P.0/24", "2.P.0/25", "2.P.128/25", "2.P.5/32", "2.P.4/30", "2.P.64/26", "1.P.0/24", "3.P.0/24"];
    let v6 = ["2:P::/48", "2:P:1::/64", "2:P::5/128", "2:P::80/121", "1:P::/48", "3:P::/48", "2:P::/64"];
    let wide = ["0.0.0.0/0", "::/0", "10.0.0.0/8", "fd00::/16", "203.0.113.0/24", "2001:db8::/32"];
    match random.within(0, 9) {
        0..=3 => format!("10.{}", random.pick(&v4).replace('P', &plant.to_string())),
        4..=7 => format!("fd00:{}", random.pick(&v6).replace('P', &format!("{plant:x}"))),
        8.. => (*random.pick(&wide)).to_owned(),
    }
}

fn service(random: &mut Random, text: &mut String, name: &str) {
    writeln!(text, "[service.{name}]").expect("to a string");
    let keys = ["tcp", "udp", "sctp", "icmp", "icmpv6", "protocol"];
    let chosen = random.within(0, 5);
    for (key, place) in keys.into_iter().zip(0..) {
        if place != chosen && !random.percent(20) {
            continue;
        }
        let values: Vec<String> = (0..random.within(1, 3)).map(|_| value(random, key)).collect();
        if key == "protocol" {
            writeln!(text, "protocol = [{}]", values.join(", ")).expect("to a string");
        } else {
            writeln!(text, "{key} = {values:?}").expect("to a string");
        }
    }
    text.push('\n');
}

fn value(random: &mut Random, key: &str) -> String {
    match key {
        "icmp" => (*random.pick(&["8", "13", "8/0", "3", "3/4", "9-12", "0-20", "5", "40", "17"])).to_owned(),
        "icmpv6" => (*random.pick(&["128", "128/0", "1-4", "2/0", "100-129", "138-140", "200"])).to_owned(),
        "protocol" => (*random.pick(&["47", "50", "89", "103", "112"])).to_owned(),
        _ => {
            // Close together, so that services overlap.
            let low =
                *random.pick(&[1, 53, 80, 500, 502, 1000, 1020, 4000, 4096, 10_000]) + random.within(0, 3);
            if random.percent(50) { low.to_string() } else { format!("{low}-{}", low + random.within(0, 40)) }
        }
    }
}

fn allow(random: &mut Random, text: &mut String, of: &str, devices: &[&str]) {
    let direction = random.pick(&["from", "to"]);
    let peers: Vec<String> = (0..random.within(1, 2)).map(|_| peer(random, devices)).collect();
    let services: Vec<&str> = (0..random.within(1, 3))
        .map(|_| if random.percent(75) { *random.pick(OWN_SERVICES) } else { *random.pick(BUILT_IN) })
        .collect();
    writeln!(text, "[[{of}.allow]]\n{direction} = {peers:?}\nservice = {services:?}\n").expect("to a string");
}

fn peer(random: &mut Random, devices: &[&str]) -> String {
    let name = match random.within(0, 9) {
        0..=2 if !devices.is_empty() => random.pick(devices),
        3 => random.pick(ZONES),
        4 => random.pick(CLASSES),
        5 => &"any",
        0..=2 | 6.. => random.pick(NETWORKS),
    };
    (*name).to_owned()
}
