//! Frames and policies that nobody thought of, from a seed.
//!
//! Frames start as those of the packet table, because pure noise dies in the first header; then addresses, ports,
//! types and single bits change, tags appear, the frame is cut or grows. Policies are text over the same hosts.

use std::fmt::Write;

use bulkhead_common::{
    address::Address,
    lookup::{Unmanaged, infrastructure, trust},
    wire::mac,
};
use bulkhead_tests::frame::{Host, host};

use super::{
    Setup,
    rows::{self, Step},
    setup::Place,
};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("64 bits");
        usize::try_from(self.next() % end).expect("below a usize")
    }

    /// One time in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const NAMES: &[&str] = &[
    "plc",
    "oven",
    "hmi",
    "stolen",
    "tagged",
    "camera",
    "historian",
    "helpdesk",
    "remote",
    "ntp",
    "patch",
    "admin",
    "internet",
    "router",
    "attacker",
    "guest",
    "gw",
    "gw2",
    "all",
    "mdns",
    "nobody",
];
/// Hosts that a random policy may make a device; those behind the router have no MAC of their own.
const DEVICES: &[&str] = &[
    "plc",
    "oven",
    "hmi",
    "stolen",
    "tagged",
    "camera",
    "attacker",
    "historian",
    "helpdesk",
    "remote",
    "ntp",
    "gw2",
];
const WITH_MAC: usize = 7;
const NETWORKS: &[(&str, &str)] = &[
    ("plant", "10.20.0.0/16"),
    ("cell", "10.20.1.0/24"),
    ("half", "10.20.1.0/26"),
    ("one", "10.20.1.66/32"),
    ("servers", "10.9.0.0/23"),
    ("world", "0.0.0.0/0"),
];
const SERVICES: &[&str] = &[
    "modbus", "ping", "ntp", "snmp", "dhcp", "any-icmp", "any-udp", "any-tcp", "any", "low", "high", "errors",
];
const PORTS: &[u16] =
    &[0, 22, 53, 67, 68, 80, 123, 161, 500, 502, 1023, 1024, 8080, 44818, 49152, 60500, 65535];

/// A policy over the hosts of the packet table.
pub fn policy(random: &mut Random) -> String {
    let mut text = String::from("version = 1\n");
    let devices: Vec<&str> = DEVICES.iter().copied().filter(|_| !random.once_in(3)).collect();
    let devices = if devices.is_empty() { vec!["plc"] } else { devices };
    // A rule needs the address of its device, so those with a MAC alone are in none.
    let unaddressed: Vec<&str> = devices
        .iter()
        .copied()
        .filter(|name| DEVICES[..WITH_MAC].contains(name) && random.once_in(8))
        .collect();
    let mut peers: Vec<&str> = devices.iter().copied().filter(|name| !unaddressed.contains(name)).collect();
    peers.extend(NETWORKS.iter().map(|(name, _)| *name));
    peers.extend(["gateway", "any"]);
    for name in &devices {
        let Host { mac, v4, v6: _ } = host(name).expect("it is in the list");
        writeln!(text, "[device.{name}]").expect("a string grows");
        let has_address = !unaddressed.contains(&name);
        let has_mac = !has_address || (DEVICES[..WITH_MAC].contains(&name) && !random.once_in(4));
        if has_mac {
            let digits: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
            writeln!(text, "mac = \"{}\"", digits.join(":")).expect("a string grows");
        }
        if has_address {
            writeln!(text, "ip = \"{v4}\"").expect("a string grows");
        }
        if random.once_in(4) {
            writeln!(text, "vlan = {}", random.pick(&[1, 7, 9])).expect("a string grows");
        }
        writeln!(text, "mode = \"{}\"", random.pick(&["monitor", "enforce", "enforce", "quarantine"]))
            .expect("a string grows");
        for _ in 0..if has_address { random.below(4) } else { 0 } {
            let others: Vec<&str> = peers.iter().copied().filter(|peer| **peer != **name).collect();
            let peer = random.pick(&others);
            let end = random.pick(&["from", "to"]);
            writeln!(text, "[[device.{name}.allow]]\n{end} = \"{peer}\"").expect("a string grows");
            writeln!(text, "service = [\"{}\"]", random.pick(SERVICES)).expect("a string grows");
        }
    }
    for (name, cidr) in NETWORKS {
        writeln!(text, "[network.{name}]\ncidr = \"{cidr}\"").expect("a string grows");
    }
    text.push_str("[service.low]\ntcp = \"1-1023\"\nudp = \"60-70\"\n[service.high]\ntcp = \"1024-65535\"\n");
    text.push_str(
        "[service.errors]\nicmp = [\"3/3\", 11, 13]\n[quarantine]\npeers = [\"servers\", \"one\"]\n",
    );
    text
}

/// How the agent runs.
pub fn setup(random: &mut Random) -> Setup {
    let floor = place(random);
    let vlans = [7, 9].into_iter().filter(|_| random.once_in(3)).collect::<Vec<u16>>();
    Setup {
        adopt: random.once_in(4),
        strict: random.once_in(3),
        cap: *random.pick(&[0, 0, 0, 20]),
        floor,
        vlans: vlans.into_iter().map(|vlan| (vlan, place(random))).collect(),
    }
}

fn place(random: &mut Random) -> Place {
    let mut infrastructure = infrastructure::ALL;
    for bit in 0..9 {
        if random.once_in(8) {
            infrastructure &= !(1 << bit);
        }
    }
    let addresses = ["dhcpd", "router"].map(|name| host(name).expect("it is in the list"));
    let roles = [trust::DHCP_SERVER, trust::ROUTER, trust::ROUTER_MAC];
    let hosts = roles.into_iter().filter(|_| random.once_in(3)).map(|role| {
        let [server, router] = addresses;
        let address = match role {
            trust::DHCP_SERVER => server.v4.into(),
            trust::ROUTER => router.link_local().into(),
            _ => Address { high: 0, low: mac::from_octets(router.mac) },
        };
        (address, role)
    });
    Place {
        hosts: hosts.collect(),
        unmanaged: *random.pick(&[Unmanaged::Monitor, Unmanaged::Pass, Unmanaged::Drop]),
        management: random.once_in(2),
        trusted: random.once_in(2),
        drop_fragments: random.once_in(6),
        infrastructure,
    }
}

/// Every frame of the packet table.
pub fn corpus() -> Vec<Vec<u8>> {
    let steps = rows::all().into_iter().flat_map(|row| row.steps);
    steps
        .filter_map(|step| match step {
            Step::Frame { text: _, bytes, expected: _ } => Some(bytes),
            Step::Set(_) | Step::Policy(_) | Step::Wait(_) => None,
        })
        .collect()
}

/// A frame of the corpus, changed in a few places. At least 14 bytes: BPF_PROG_TEST_RUN takes no shorter one.
pub fn frame(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = random.pick(corpus).clone();
    for _ in 0..random.below(4) {
        change(random, &mut frame);
    }
    frame.resize(frame.len().max(14), 0);
    frame
}

fn change(random: &mut Random, frame: &mut Vec<u8>) {
    // Where IP begins, if the tags are as most frames have them.
    let ip = 14 + if frame.get(12..14) == Some(&[0x81, 0]) { 4 } else { 0 };
    let name = random.pick(NAMES);
    let Host { mac, v4, v6: _ } = host(name).expect("it is in the list");
    let address = v4.octets();
    let port = random.pick(PORTS).to_be_bytes();
    match random.below(16) {
        0 => put(frame, 0, &mac),
        1 => put(frame, 6, &mac),
        2 | 3 => put(frame, ip + 12, &address),
        4 | 5 => put(frame, ip + 16, &address),
        6 => put(frame, ip + 20, &port),
        7 => put(frame, ip + 22, &port),
        // ARP sender hardware address; in IPv4 the middle of the header.
        8 => put(frame, ip + 8, &mac),
        // Both ends change places, as in an answer.
        9 if frame.len() >= ip + 24 => {
            for i in 0..6 {
                frame.swap(i, 6 + i);
            }
            for i in 0..4 {
                frame.swap(ip + 12 + i, ip + 16 + i);
            }
            for i in 0..2 {
                frame.swap(ip + 20 + i, ip + 22 + i);
            }
        }
        10 => {
            let protocol = *random.pick(&[1, 6, 17, 47, 58]);
            put(frame, ip + 9, &[protocol]);
        }
        // TCP flags, or an ICMP type.
        11 => {
            let byte = random.next().to_le_bytes()[0];
            put(frame, if random.once_in(2) { ip + 33 } else { ip + 20 }, &[byte]);
        }
        12 if frame.len() >= 12 => {
            let tpid: [u8; 2] = *random.pick(&[[0x81, 0], [0x88, 0xa8], [0x91, 0]]);
            let id = u8::try_from(*random.pick(&[0_usize, 1, 7, 9])).expect("small");
            frame.splice(12..12, [tpid[0], tpid[1], 0, id]);
        }
        13 => frame.truncate(random.below(frame.len() + 1)),
        14 => frame.resize(frame.len() + random.below(64), 0x55),
        _ => {
            let at = random.below(frame.len().clamp(1, 96));
            let bit = 1 << random.below(8);
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= bit;
            }
        }
    }
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
