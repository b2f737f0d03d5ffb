//! A conversation begins again: what is known of it becomes its first packet. In: a conversation and both policies. Out:
//! the packet, and the segment on which its sender must be seen.

use std::net::{IpAddr, Ipv6Addr};

use bulkhead_common::{
    address::Address,
    parse::{self, Packet},
    wire::{ethertype, mac, protocol, tcp},
};

use super::{KnownFlow, Side, World};
use crate::{
    diagnostic::Location,
    model::{Device, Mac, Peer, Rule},
};

/// The first packets of a conversation, each with the segment on which its sender must be seen. Of a question to a
/// group, one for every group that the rule names.
pub(super) fn packets(flow: &KnownFlow, old: &Side<'_>, new: &Side<'_>, world: &World) -> Vec<(Packet, u16)> {
    let [from, to] = flow.devices.map(|id| {
        let name = old.tables.device(id).map(|device| device.name.as_str());
        [old.policy, new.policy].map(|policy| name.and_then(|name| policy.device(name)).map(|found| found.1))
    });
    let segment = from.iter().flatten().find_map(|device| device.segment.as_ref());
    let segment = segment.and_then(|name| world.placed.segments.get(name)).copied().unwrap_or(0);
    let address = Address::from(flow.to);
    let asked: Vec<(Address, u64)> = if address.is_unspecified() {
        groups(flow, old)
    } else {
        vec![(address, hardware(to, address, world, NEXT_HOP))]
    };
    let source = Address::from(flow.from);
    let packet = |(destination, destination_mac)| Packet {
        len: 60,
        kind: parse::Kind::Ip,
        ethertype: if flow.from.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 },
        vlan: from.iter().flatten().find_map(|device| device.vlan).unwrap_or(0),
        source_mac: hardware(from, source, world, STRANGER),
        destination_mac,
        source,
        destination,
        protocol: flow.protocol,
        hops: 64,
        source_port: flow.client_port,
        destination_port: if is_icmp(flow.protocol) { flow.client_port } else { flow.service },
        service_port: flow.service,
        icmp_type: if is_icmp(flow.protocol) { flow.service.to_be_bytes()[0] } else { 0 },
        tcp_flags: if flow.protocol == protocol::TCP { tcp::SYN } else { 0 },
        ..Packet::EMPTY
    };
    asked.into_iter().map(|end| (packet(end), segment)).collect()
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

/// Locally administered addresses of nobody: a stranger, and the router in between.
const STRANGER: u64 = 0x02_bb_00_00_00_01;
const NEXT_HOP: u64 = 0x02_bb_00_00_00_02;

/// Every IPv6 host of a link (RFC 4291 2.7.1).
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, protocol::ICMP | protocol::ICMPV6)
}

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
