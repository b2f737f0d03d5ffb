//! What the tests of direct forwarding share: a lab whose gateway forwards directly, frames from the HMI to the PLC, and what arrives.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{
    net::{Ipv6Addr, SocketAddrV4, UdpSocket},
    process::{Child, Command, Stdio},
};

use anyhow::{Result, bail, ensure};
use bulkhead_agent::dataplane::Pins;
use bulkhead_tests::{
    lab::{
        Agent, Lab, Mac, Sniffer, Topology, frames, link,
        topology::{DEVICE_SIDE, SWITCH_PORT, UPLINK},
        wait::wait_for,
        wire::{self, Path, RawSender},
    },
    skip::{Tier, skip},
};
use serde_json::Value;

use super::gateway::{SOON, configure, program_on, require_topology, status};

/// Where the frames of these tests go: SNMP, of which the PLC says nothing.
pub(crate) const PORT: u16 = 161;
pub(crate) const TTL: u8 = 64;

/// The lab's two networks over IPv6: the hosts, and the gateway on either side.
pub(crate) const HMI_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x20, 0, 2, 0, 0, 0, 20);
pub(crate) const PLC_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x20, 0, 1, 0, 0, 0, 11);
const GATEWAY_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0x20, 0, 1, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0x20, 0, 2, 0, 0, 0, 1)];

/// A routed lab whose hosts take what an XDP program sends them.
pub(crate) fn require_router(test: &str) -> Option<Lab> {
    let lab = require_topology(test, Topology::Routed, 1500)?;
    let plc = lab.plc();
    link::generic_receive_on(&plc.namespace, plc.interface).expect("GRO");
    link::generic_receive_on(lab.switch(), SWITCH_PORT).expect("GRO");
    Some(lab)
}

/// Lets HMI, PLC and gateway speak IPv6, and the gateway route it. They have their addresses when it returns.
pub(crate) fn speak_v6(lab: &Lab) {
    let (gateway, hmi, plc) = (&lab.gateway.namespace, lab.host("hmi"), lab.plc());
    let ends = [
        (gateway, DEVICE_SIDE, GATEWAY_V6[0]),
        (gateway, UPLINK, GATEWAY_V6[1]),
        (&hmi.namespace, hmi.interface, HMI_V6),
        (&plc.namespace, plc.interface, PLC_V6),
    ];
    for (namespace, interface, address) in ends {
        link::ipv6_on(namespace, interface).expect("IPv6");
        link::address(namespace, interface, address, 64).expect("an address");
    }
    link::set(gateway, "net/ipv6/conf/all/forwarding", "1").expect("it forwards");
    for (namespace, _, address) in ends {
        // An address that is still being checked cannot be bound.
        let bound = || Ok(namespace.run(|| UdpSocket::bind((address, 0))).is_ok().then_some(()));
        wait_for("an address", SOON, bound).expect("nobody else has it");
    }
    let everything = (Ipv6Addr::UNSPECIFIED, 0);
    link::route_v6(&hmi.namespace, everything.0, everything.1, GATEWAY_V6[1]).expect("a route");
    link::route_v6(&plc.namespace, everything.0, everything.1, GATEWAY_V6[0]).expect("a route");
}

/// The HMI, and whoever has these networks, may talk with the PLC over SNMP and Modbus.
pub(crate) fn policy(lab: &Lab, others: &[&str]) -> String {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let cidrs: Vec<String> = [format!("{}/32", hmi.ip), format!("{}/128", HMI_V6)]
        .into_iter()
        .chain(others.iter().map(|other| (*other).to_owned()))
        .map(|cidr| format!("\"{cidr}\""))
        .collect();
    format!(
        "version = 1\n\n[device.plc]\nmac = \"{}\"\nip = [\"{}\", \"{}\"]\nmode = \"enforce\"\n\n[[device.plc.allow]]\n\
         from = [\"hmi\"]\nservice = [\"modbus\", \"snmp\"]\n\n[network.hmi]\ncidr = [{}]\n",
        plc.mac,
        plc.ip,
        PLC_V6,
        cidrs.join(", ")
    )
}

/// An agent that forwards directly both ways.
pub(crate) fn started<'a>(lab: &'a Lab, others: &[&str]) -> Agent<'a> {
    let mut agent = Agent::new(lab, &policy(lab, others)).expect("an agent");
    forward_directly(lab);
    agent.start().expect("it starts");
    let said = status(&agent);
    assert_eq!(said["warnings"], serde_json::json!([]), "{said:#}");
    agent
}

/// Lets the lab's agent forward directly both ways, before it starts.
pub(crate) fn forward_directly(lab: &Lab) {
    let changes = ["device-side", "uplink"]
        .map(|role| (format!("role = \"{role}\""), format!("role = \"{role}\"\nforward = \"direct\"")));
    let changes = changes.each_ref().map(|(from, to)| (from.as_str(), to.as_str()));
    configure(&lab.gateway, "bulkhead.toml", &changes);
}

/// What became of packets that could leave directly, by its word.
pub(crate) fn counted(agent: &Agent<'_>, word: &str) -> u64 {
    let forwarded = status(agent)["forwarded"].clone();
    match word {
        "direct" | "route_news" => forwarded[word].as_u64().expect("a number"),
        other => forwarded["kernel"][other].as_u64().unwrap_or(0),
    }
}

/// The same, of a gateway without an agent.
pub(crate) fn counted_without_agent(lab: &Lab, fate: u32) -> u64 {
    let pins = Pins::below(&lab.gateway.room.pin_outside("bulkhead"));
    let data = aya::maps::MapData::from_pin(pins.map("FORWARDS")).expect("it is pinned");
    let map = aya::maps::Map::from_map_data(data).expect("aya knows its kind");
    let counts: aya::maps::PerCpuArray<_, u64> = map.try_into().expect("an array");
    counts.get(&fate, 0).expect("it is readable").iter().sum()
}

/// A map of the program on the gateway, which need not be pinned.
fn map_of_the_program(lab: &Lab, name: &str) -> aya::maps::Map {
    let (_, id) = program_on(lab, DEVICE_SIDE).expect("one runs");
    let mut programs = aya::programs::loaded_programs().map(|program| program.expect("it is told"));
    let program = programs.find(|program| program.id() == id).expect("it is loaded");
    let ids = program.map_ids().expect("they are told").expect("it has some");
    let mut maps = ids.into_iter().map(|id| aya::maps::MapData::from_id(id).expect("it is there"));
    let is_it = |map: &aya::maps::MapData| map.info().is_ok_and(|info| info.name_as_str() == Some(name));
    aya::maps::Map::from_map_data(maps.find(is_it).expect("it is used")).expect("aya knows its kind")
}

/// The edition under which packets remember ways.
pub(crate) fn edition(lab: &Lab) -> u64 {
    let editions: aya::maps::Array<_, u64> = map_of_the_program(lab, "ROUTES").try_into().expect("an array");
    editions.get(&0, 0).expect("it is readable")
}

/// Waits until so many are counted under a word, and says how many are.
pub(crate) fn wait_counted(agent: &Agent<'_>, word: &str, at_least: u64) -> u64 {
    wait_for(word, SOON, || Ok(Some(counted(agent, word)).filter(|count| *count >= at_least)))
        .unwrap_or_else(|error| panic!("{error}: {:#}", told(agent)))
}

/// Waits until the agent has done whatever the kernel's news ask for, those of what was changed until now among them: news of other things
/// come all the time.
pub(crate) fn wait_heard(lab: &Lab, agent: &Agent<'_>) {
    let waiting = || lab.gateway.namespace.run(unread);
    wait_for("the news to be read", SOON, || Ok((waiting()? == 0).then_some(())))
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    // What it has read it does before it answers.
    status(agent);
}

/// Bytes of news that nobody has read in this network namespace (`/proc/net/netlink`): of sockets that listen to groups, whichever they are.
fn unread() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/netlink")?;
    let mut waiting = Vec::new();
    for line in text.lines().skip(1) {
        // Address, family, sender, groups, and what waits to be read.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, groups, bytes, ..] = fields[..] else { bail!("`{line}` is no socket") };
        if u32::from_str_radix(groups, 16)? != 0 {
            waiting.push(bytes.parse::<u64>()?);
        }
    }
    ensure!(!waiting.is_empty(), "nobody listens: {text}");
    Ok(waiting.into_iter().sum())
}

/// Sends frames from the HMI, and sees what arrives at the PLC, octet by octet.
pub(crate) struct Line<'a> {
    lab: &'a Lab,
    sender: RawSender,
    sniffer: Sniffer<Vec<u8>>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Self {
        let (hmi, plc) = (lab.host("hmi"), lab.plc());
        let sender = RawSender::new(&hmi.namespace, hmi.interface).expect("a sender");
        // UDP to the port, over IPv4 or IPv6.
        let is_ours = |bytes: &[u8]| {
            let at = match bytes.get(12..14) {
                Some([0x08, 0x00]) if bytes.get(23) == Some(&17) => 36,
                Some([0x86, 0xdd]) if bytes.get(20) == Some(&17) => 56,
                _ => return false,
            };
            bytes.get(at..at + 2) == Some(&PORT.to_be_bytes())
        };
        let sniffer = Sniffer::start(&plc.namespace, plc.interface, move |seen| {
            (!seen.outgoing && is_ours(&seen.bytes)).then(|| seen.bytes.clone())
        });
        Self { lab, sender, sniffer: sniffer.expect("a sniffer") }
    }

    /// A datagram of one of the HMI's ports over IPv4.
    pub(crate) fn frame(&self, port: u16) -> Vec<u8> {
        self.frame_of(port, TTL, b"twenty octets and so")
    }

    pub(crate) fn frame_of(&self, port: u16, ttl: u8, payload: &[u8]) -> Vec<u8> {
        let (hmi, plc) = (self.lab.host("hmi"), self.lab.plc());
        let src = SocketAddrV4::new(hmi.ip, port);
        let dst = SocketAddrV4::new(plc.ip, PORT);
        let path = Path { src_mac: hmi.mac, dst_mac: self.lab.gateway.plant_mac, src, dst, ttl };
        wire::udp(path, payload)
    }

    /// The same over IPv6.
    pub(crate) fn frame_v6(&self, port: u16) -> Vec<u8> {
        self.frame_v6_of(port, b"twenty octets and so")
    }

    pub(crate) fn frame_v6_of(&self, port: u16, payload: &[u8]) -> Vec<u8> {
        let (hmi, plant_mac) = (self.lab.host("hmi").mac, self.lab.gateway.plant_mac);
        frames::datagram_v6((hmi, HMI_V6), (plant_mac, PLC_V6), (port, PORT), payload)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.sender.send(frame).expect("it is sent");
    }

    /// Sends a frame, and waits until it has arrived as a router makes it: for the PLC's address, one hop older, and otherwise as it was.
    pub(crate) fn arrives(&self, frame: &[u8]) {
        self.arrives_at(frame, self.lab.plc().mac);
    }

    pub(crate) fn arrives_at(&self, frame: &[u8], mac: Mac) {
        let expected = routed(frame, self.lab.gateway.cell_mac, mac);
        let before = self.sniffer.count(&expected);
        self.send(frame);
        let counts =
            self.sniffer.wait_until("the frame", SOON, |counts| counts.get(&expected) == Some(&(before + 1)));
        counts.unwrap_or_else(|error| {
            let seen = self.sniffer.counts();
            panic!("{error}\nexpected {expected:02x?}\nof {seen:02x?}")
        });
    }

    /// Sends frames of a port until one has left directly, each of which arrives.
    pub(crate) fn becomes_direct(&self, agent: &Agent<'_>, frame: &[u8]) {
        let before = counted(agent, "direct");
        wait_for("a frame to leave directly", SOON, || {
            self.arrives(frame);
            Ok((counted(agent, "direct") > before).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: {:#}\n{}", status(agent)["forwarded"], agent.log()));
    }

    /// How many frames have arrived that end with these octets, whatever else is in them.
    pub(crate) fn arrived_with(&self, payload: &[u8]) -> u64 {
        let counts = self.sniffer.counts().expect("nothing is lost");
        counts.iter().filter(|(seen, _)| seen.ends_with(payload)).map(|(_, count)| count).sum()
    }

    /// How often this frame has arrived, to whichever hardware address.
    pub(crate) fn arrived(&self, frame: &[u8]) -> u64 {
        let counts = self.sniffer.counts().expect("nothing is lost");
        let expected = routed(frame, self.lab.gateway.cell_mac, self.lab.plc().mac);
        counts.iter().filter(|(seen, _)| seen[6..] == expected[6..]).map(|(_, count)| count).sum()
    }
}

/// Sends frames until one leaves directly, and then one hundred: each arrives as the kernel would send it, none by the kernel but those that keep
/// its neighbours fresh.
pub(crate) fn leaves_directly(agent: &Agent<'_>, line: &Line<'_>, frame: &[u8]) {
    line.becomes_direct(agent, frame);
    let counts = || ["direct", "refresh"].map(|word| counted(agent, word));
    let [direct, refresh] = counts();
    for _ in 0..100 {
        line.arrives(frame);
    }
    let [direct, refresh] = [counts()[0] - direct, counts()[1] - refresh];
    assert!(direct + refresh >= 100 && direct >= 50, "{direct} direct, {refresh} besides: {:#}", told(agent));
}

/// A frame behind a router.
fn routed(frame: &[u8], from: Mac, to: Mac) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    if frame[12] == 0x08 {
        frame[22] -= 1;
        wire::set_ipv4_checksum(&mut frame);
    } else {
        frame[21] -= 1;
    }
    frame
}

/// All words and numbers, for a message.
pub(crate) fn told(agent: &Agent<'_>) -> Value {
    status(agent)["forwarded"].clone()
}

/// Runs a command on the gateway.
pub(crate) fn run(lab: &Lab, words: &[&str]) -> std::result::Result<(), String> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let ended = lab.gateway.namespace.spawn_child(command).and_then(Child::wait_with_output);
    let ended = ended.map_err(|error| format!("`{}` does not run: {error}", words[0]))?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    if ended.status.success() { Ok(()) } else { Err(format!("{words:?}: {said}")) }
}

/// The same lab, where there are tools to change what the kernel forwards.
pub(crate) fn require_changes(test: &str) -> Option<Lab> {
    let lab = require_router(test)?;
    match [["nft", "--version"], ["ip", "-Version"], ["tc", "-Version"]]
        .iter()
        .find_map(|tool| run(&lab, tool).err())
    {
        Some(reason) => {
            skip(Tier::Netns, test, &reason);
            None
        }
        None => Some(lab),
    }
}
