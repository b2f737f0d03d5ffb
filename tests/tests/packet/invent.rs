//! Policies that nobody thought of, from a seed: text over the hosts of the packet table.
//!
//! Only rules that can allow something are written, as `bulkhead check` demands: IP between ends with addresses, other
//! frames between ends with MACs, groups as receivers only.

use std::fmt::Write;

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
const NETWORKS: &[(&str, &str)] = &[
    ("plant", r#"["10.20.0.0/16", "fd00:20::a14:0/112"]"#),
    ("cell", r#"["10.20.1.0/24", "fd00:20::a14:100/120"]"#),
    ("half", r#""10.20.1.0/26""#),
    ("one", r#"["10.20.1.66/32", "fd00:20::a14:142/128"]"#),
    ("servers", r#"["10.20.1.2/32", "10.9.1.0/24", "fd00:9:1::/48"]"#),
    ("time-servers", r#"["10.9.0.0/23", "fd00:9::/32"]"#),
    ("world", r#""0.0.0.0/0""#),
    ("other-world", r#""::/0""#),
];
const SERVICES: &[&str] = &[
    "modbus", "ping", "ntp", "snmp", "dhcp", "dhcpv6", "any-icmp", "any-udp", "any-tcp", "any", "low",
    "high", "errors", "bacnet", "mdns", "ssdp", "gre", "sigtran",
];
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
                peers.extend(NETWORKS.iter().map(|(name, _)| (*name).to_owned()));
                peers.push("gateway".to_owned());
            }
            let (end, peer) = match (to_group, below_ip) {
                (true, true) => ("to", (*random.pick(FRAME_GROUPS)).to_owned()),
                (true, false) => ("to", (*random.pick(GROUPS)).to_owned()),
                (false, _) => (if from { "from" } else { "to" }, random.pick(&peers).clone()),
            };
            let service = *random.pick(if below_ip { FRAMES } else { SERVICES });
            if rules {
                line(format!(
                    "[[device.{prefix}{name}.allow]]\n{end} = \"{peer}\"\nservice = [\"{service}\"]"
                ));
            }
        }
    }
    for (name, cidr) in NETWORKS {
        line(format!("[network.{name}]\ncidr = {cidr}"));
    }
    line("[service.low]\ntcp = \"1-1023\"\nudp = \"60-70\"".to_owned());
    line("[service.high]\ntcp = \"1024-65535\"".to_owned());
    line("[service.errors]\nicmp = [\"3/3\", 11, 13]\nicmpv6 = [1, 2]".to_owned());
    line("[service.sigtran]\nsctp = 2905\n[service.token]\nllc = \"0xfe\"".to_owned());
    line("[quarantine]\npeers = [\"time-servers\", \"one\"]".to_owned());
    text
}
