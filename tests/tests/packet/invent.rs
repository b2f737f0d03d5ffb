//! Policies that nobody thought of, from a seed: text over the hosts of the packet table.
//!
//! Only rules that can allow something are written, as `bulkhead check` demands: IP between ends with addresses, other
//! frames between ends with MACs, groups as receivers only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use bulkhead_tests::frame::{Host, host};

use super::random::Random;

/// Hosts that may become devices. The last ones are behind the router and have no MAC of their own.
const DEVICES: &[&str] = &[
    "plc",
    "oven",
    "hmi",
    "stolen",
    "tagged",
    "camera",
    "drive",
    "ied",
    "roamer",
    "second",
    "welder",
    "leaser",
    "attacker",
    "bond",
    "dhcpd",
    "historian",
    "helpdesk",
    "remote",
    "ntp",
    "gw2",
];
const WITH_MAC: usize = 15;
const NETWORKS: &[(&str, &str, &str)] = &[
    (
        "plant",
        r#"["10.20.0.0/16", "fd00:20::a14:0/112"]"#,
        "\nexcept = [\"10.20.1.0/27\", \"fd00:20::a14:100/124\"]",
    ),
    ("cell", r#"["10.20.1.0/24", "fd00:20::a14:100/120"]"#, "\nexcept = \"10.20.1.20/32\""),
    ("half", r#""10.20.1.0/26""#, ""),
    ("one", r#"["10.20.1.66/32", "fd00:20::a14:142/128"]"#, ""),
    ("servers", r#"["10.20.1.2/32", "10.9.1.0/24", "fd00:9:1::/48"]"#, ""),
    ("time-servers", r#"["10.9.0.0/23", "fd00:9::/32"]"#, "\nexcept = \"10.9.1.0/24\""),
    ("world", r#""0.0.0.0/0""#, "\nexcept = [\"10.20.0.0/16\", \"203.0.113.0/24\"]"),
    ("other-world", r#""::/0""#, ""),
];
const CLASSES: [&str; 3] = ["controller", "panel", "sensor"];
const ZONES: [&str; 3] = ["floor-zone", "office-zone", "vendor-zone"];
const SERVICES: &[&str] = &[
    "modbus", "ping", "ntp", "snmp", "dhcp", "dhcpv6", "any-icmp", "any-udp", "any-tcp", "any", "low",
    "high", "errors", "bacnet", "mdns", "ssdp", "gre", "sigtran",
];
/// A network that is known by name.
const VENDOR: &str = "vendor";
const FRAMES: &[&str] = &["profinet-rt", "goose", "sampled-values", "ethercat", "lldp", "stp", "token"];
const GROUPS: &[&str] = &["multicast:mdns", "multicast:ssdp", "multicast:ptp", "multicast:cip", "broadcast"];
const FRAME_GROUPS: &[&str] =
    &["multicast:profinet-dcp", "multicast:goose", "multicast:sampled-values", "multicast:lldp", "broadcast"];

/// What a policy shall have.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Whether any rule is in it.
    pub rules: bool,
    /// The mode of every device that is not in monitor mode; `None` leaves it to chance.
    pub mode: Option<&'static str>,
    /// What stands before every device's name.
    pub prefix: &'static str,
}

/// When a rule holds, seen from a Monday morning: mostly always; else it has expired or will, its window is open or closed.
fn when(random: &mut Random) -> &'static str {
    match random.below(12) {
        0 => "\nexpires = 2026-12-28T08:59:59Z",
        1 => "\nexpires = 2030-01-01T00:00:00+01:00",
        2 => "\nwindows = [{ days = \"mon\", from = \"06:00\", to = \"18:00\", zone = \"UTC\" }]",
        3 => {
            "\nwindows = [{ days = [\"tue-sun\"], from = \"06:00\", to = \"05:00\", zone = \"Europe/Berlin\" }]"
        }
        _ => "",
    }
}

/// Everything left to chance.
pub const ANY: Shape = Shape { rules: true, mode: None, prefix: "" };

struct Device {
    name: &'static str,
    mac: bool,
    /// `ip`, if it has any.
    addresses: Option<String>,
}

fn device(random: &mut Random, at: usize) -> Device {
    let name = DEVICES[at];
    let Host { mac: _, v4, v6 } = host(name).expect("it is in the list");
    let has_mac = at < WITH_MAC;
    let addresses = match random.below(if has_mac { 8 } else { 6 }) {
        0 | 1 => Some(format!("\"{v4}\"")),
        2 => Some(format!("\"{v6}\"")),
        3..=5 => Some(format!("[\"{v4}\", \"{v6}\"]")),
        6 => Some("\"dhcp\"".to_owned()),
        _ => None,
    };
    let leased = addresses.as_deref().is_none_or(|ip| ip == "\"dhcp\"");
    Device { name, mac: has_mac && (leased || !random.once_in(4)), addresses }
}

/// A policy over the hosts of the packet table. The same seed and another [`Shape`] is the same policy otherwise.
pub fn policy(random: &mut Random, shape: Shape) -> String {
    let Shape { rules, mode, prefix } = shape;
    let mut text = String::from("version = 1\n");
    let mut line = |words: String| writeln!(text, "{words}").expect("a string grows");
    let chosen: Vec<usize> = (0..DEVICES.len()).filter(|_| !random.once_in(3)).collect();
    let chosen = if chosen.is_empty() { vec![0] } else { chosen };
    let devices: Vec<Device> = chosen.into_iter().map(|at| device(random, at)).collect();
    // Classes and zones with a device: a rule may name no other.
    let mut sets: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for Device { name, mac, addresses } in &devices {
        line(format!("[device.{prefix}{name}]"));
        if *mac {
            let own = if *name == "bond" { vec!["bond", "slave"] } else { vec![*name] };
            let own = own.into_iter().map(|name| host(name).expect("it is in the list").mac);
            let digits = own.map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":"));
            line(format!("mac = {:?}", digits.collect::<Vec<_>>()));
        }
        if let Some(addresses) = addresses {
            line(format!("ip = {addresses}"));
        }
        if random.once_in(5) {
            line(format!("vlan = {}", random.pick(&[1, 7, 9])));
        }
        if random.once_in(6) {
            line(format!("segment = \"{}\"", random.pick(&["floor", "line", "spur"])));
        }
        if addresses.is_some() {
            // Only what has addresses: their rules are about IP.
            if random.once_in(2) {
                let class = *random.pick(&CLASSES);
                line(format!("class = \"{class}\""));
                sets.entry(format!("class:{class}")).or_default().insert(name);
            }
            if random.once_in(2) {
                let zone = *random.pick(&ZONES);
                line(format!("zone = \"{zone}\""));
                sets.entry(format!("zone:{zone}")).or_default().insert(name);
            }
        }
        let drawn = *random.pick(&["monitor", "enforce", "enforce", "quarantine"]);
        let shown = if drawn == "monitor" { drawn } else { mode.unwrap_or(drawn) };
        line(format!("mode = \"{shown}\""));
        for _ in 0..random.below(4) {
            let below_ip = *mac && (addresses.is_none() || random.once_in(4));
            let (to_group, from) = (random.once_in(4), random.once_in(2));
            let fits = |peer: &&Device| {
                peer.name != *name && if below_ip { peer.mac } else { peer.addresses.is_some() }
            };
            let mut peers: Vec<String> =
                devices.iter().filter(fits).map(|peer| format!("{prefix}{}", peer.name)).collect();
            peers.push("any".to_owned());
            if !below_ip {
                peers.extend(NETWORKS.iter().map(|(name, _, _)| (*name).to_owned()));
                peers.push("gateway".to_owned());
                peers.extend([VENDOR, VENDOR].map(str::to_owned));
                let others = |members: &BTreeSet<&str>| members.iter().any(|member| member != name);
                peers.extend(sets.iter().filter(|(_, members)| others(members)).map(|(set, _)| set.clone()));
                peers.push("group:mixed".to_owned());
            }
            let (end, peer) = match (to_group, below_ip) {
                (true, true) => ("to", (*random.pick(FRAME_GROUPS)).to_owned()),
                (true, false) => ("to", (*random.pick(GROUPS)).to_owned()),
                (false, _) => {
                    let peer = random.pick(&peers).clone();
                    // A network of names only answers.
                    (if from && peer != VENDOR { "from" } else { "to" }, peer)
                }
            };
            let service = *random.pick(if below_ip { FRAMES } else { SERVICES });
            let when = when(random);
            if rules {
                line(format!(
                    "[[device.{prefix}{name}.allow]]\n{end} = \"{peer}\"\nservice = [\"{service}\"]{when}"
                ));
            }
        }
    }
    for class in CLASSES.iter().filter(|class| sets.contains_key(&format!("class:{class}"))) {
        line(format!("[class.{class}]"));
        for _ in 0..random.below(3) {
            let mut peers: Vec<&str> = NETWORKS.iter().map(|(name, _, _)| *name).collect();
            peers.extend(sets.keys().map(String::as_str));
            peers.extend(["any", "gateway", "group:mixed"]);
            let (end, peer, service, when) =
                (*random.pick(&["from", "to"]), *random.pick(&peers), *random.pick(SERVICES), when(random));
            // A class of one device that names itself is no rule.
            if rules && peer != format!("class:{class}") {
                line(format!(
                    "[[class.{class}.allow]]\n{end} = [\"{peer}\", \"one\"]\nservice = \"{service}\"{when}"
                ));
            }
        }
    }
    let zones: Vec<&String> = sets.keys().filter(|set| set.starts_with("zone:")).collect();
    if let [first, .., last] = zones.as_slice() {
        let (service, when, turned) = (*random.pick(SERVICES), when(random), random.once_in(2));
        let (from, to) = if turned { (last, first) } else { (first, last) };
        if rules {
            line(format!("[[conduit]]\nfrom = \"{from}\"\nto = \"{to}\"\nservice = \"{service}\"{when}"));
        }
    }
    let members =
        devices.iter().filter(|device| device.addresses.is_some()).map(|d| format!("{prefix}{}", d.name));
    let mut members: Vec<String> = members.filter(|_| random.once_in(3)).collect();
    members.push("half".to_owned());
    line(format!("[group.mixed]\nmembers = {members:?}"));
    for (name, cidr, except) in NETWORKS {
        let except = if random.once_in(2) { except } else { "" };
        line(format!("[network.{name}]\ncidr = {cidr}{except}"));
    }
    line("[service.low]\ntcp = \"1-1023\"\nudp = \"60-70\"".to_owned());
    line("[service.high]\ntcp = \"1024-65535\"".to_owned());
    line("[service.errors]\nicmp = [\"3/3\", 11, 13]\nicmpv6 = [1, 2]".to_owned());
    line("[service.sigtran]\nsctp = 2905\n[service.token]\nllc = \"0xfe\"".to_owned());
    line("[network.vendor]\ndns = [\"update.vendor.example\", \"*.cdn.vendor.example\"]".to_owned());
    line("[quarantine]\npeers = [\"time-servers\", \"one\"]".to_owned());
    text
}
