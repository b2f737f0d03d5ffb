//! A conversation begins again: what is known of it becomes its first packet and the answer. In: a conversation and who
//! its ends are under both policies. Out: the packets, and the segments on which their senders must be seen.

use std::net::{IpAddr, Ipv6Addr};

use bulkhead_common::{address::Address, parse::Packet, wire::mac};

use super::{KnownFlow, Side, World};
use crate::{
    compile::{self, NEXT_HOP, STRANGER, Seat},
    diagnostic::Location,
    model::{Device, Mac, Peer, Rule},
};

/// How a conversation begins, each packet with the segment on which its sender must be seen.
pub(super) struct Opening {
    pub(super) question: (Packet, u16),
    /// None when nobody in particular answers.
    pub(super) answer: Option<(Packet, u16)>,
}

/// How a conversation begins, between the devices at its ends under both policies. A question to a group begins once
/// for every group that the rule names.
pub(super) fn openings(
    flow: &KnownFlow,
    [from, to]: [[Option<&Device>; 2]; 2],
    old: &Side<'_>,
    world: &World,
) -> Vec<Opening> {
    let address = Address::from(flow.to);
    let asked: Vec<(Address, u64)> = if address.is_unspecified() {
        groups(flow, old)
    } else {
        vec![(address, hardware(to, address, world, NEXT_HOP))]
    };
    let source = Address::from(flow.from);
    let seat = Seat { address: source, mac: hardware(from, source, world, STRANGER), vlan: vlan(from) };
    let opening = |(destination, mac)| {
        let begun = compile::Opening {
            from: seat,
            to: Seat { address: destination, mac, vlan: vlan(to) },
            protocol: flow.protocol,
            service: flow.service,
            client_port: flow.client_port,
            v4: flow.from.is_ipv4(),
        };
        let answer = begun.answer().filter(|_| !address.is_unspecified());
        Opening {
            question: (begun.question(), segment(from, world)),
            answer: answer.map(|packet| (packet, segment(to, world))),
        }
    };
    asked.into_iter().map(opening).collect()
}

/// Where a host is: as the policy in force says, or else the one to come.
fn segment(device: [Option<&Device>; 2], world: &World) -> u16 {
    let name = device.iter().flatten().find_map(|device| device.segment.as_ref());
    name.and_then(|name| world.placed.segments.get(name)).copied().unwrap_or(0)
}

fn vlan(device: [Option<&Device>; 2]) -> u16 {
    device.iter().flatten().find_map(|device| device.vlan).unwrap_or(0)
}

/// Under which hardware address a host is seen: the one that leased its address, one that both policies give it, or that
/// of the only policy that gives it one.
fn hardware(device: [Option<&Device>; 2], address: Address, world: &World, nobody: u64) -> u64 {
    let macs = device.map(|device| device.map(|device| device.macs.as_slice()).unwrap_or_default());
    let leased = world.leases.get(&address).map(|lease| lease.mac);
    if let Some(leased) = leased.filter(|mac| macs[0].iter().any(|m| mac::from_octets(m.0) == *mac)) {
        return leased;
    }
    let both = macs[0].iter().find(|m| macs[1].contains(m));
    let chosen = both.or(macs[0].first()).or(macs[1].first());
    chosen.map_or(nobody, |m| mac::from_octets(m.0))
}

/// Every IPv6 host of a link (RFC 4291 2.7.1).
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

/// An address of each group that the rule of a question names.
fn groups(flow: &KnownFlow, old: &Side<'_>) -> Vec<(Address, u64)> {
    let responders = rule_of(flow, old).map(|rule| rule.responders.as_slice()).unwrap_or_default();
    let of_family = |address: &IpAddr| address.is_ipv4() == flow.from.is_ipv4();
    let groups = responders.iter().filter_map(|peer| match peer {
        Peer::Multicast(id) => {
            let mut cidrs = old.policy.multicasts[id.0 as usize].cidrs.iter().map(ipnet::IpNet::addr);
            let address = cidrs.find(of_family)?;
            Some((Address::from(address), mac::from_octets(Mac::of_group(address).0)))
        }
        Peer::Broadcast | Peer::Any if flow.from.is_ipv4() => Some((Address::BROADCAST, mac::BROADCAST)),
        Peer::Any => Some((Address::from(ALL_NODES), mac::from_octets(Mac::of_group(ALL_NODES).0))),
        Peer::Broadcast => None,
        Peer::Device(_)
        | Peer::Class(_)
        | Peer::Zone(_)
        | Peer::Group(_)
        | Peer::Network(_)
        | Peer::Gateway => None,
    });
    groups.collect()
}

fn rule_of<'p>(flow: &KnownFlow, old: &Side<'p>) -> Option<&'p Rule> {
    let place: &Location = &old.tables.rule(flow.rule)?.location;
    old.policy.rules.iter().find(|rule| rule.location == *place)
}
