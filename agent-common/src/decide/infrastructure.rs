//! What devices cannot live without, each a switch of the segment: address resolution, DHCP, and the protocols by
//! which switches keep a network together. And who may answer: DHCP servers and routers only where they may be.

use super::{Denied, Ends, Granted, Victim, nearest};
use crate::{
    address::Address,
    lookup::{Endpoint, Rules, infrastructure as set, segment_flag, trust},
    parse::{Kind, Packet},
    reason::{Grant, Reason},
    wire::{dhcp, ethertype, icmp, llc, mac, neighbor, protocol, ptp},
};

/// The verdict for a packet that belongs to the infrastructure set, `None` for any other.
#[inline(always)]
pub(super) fn infrastructure<R: Rules>(
    packet: &Packet,
    ends: &Ends,
    rules: &R,
) -> Option<Result<Granted, Denied>> {
    let (grant, bit) = match packet.kind {
        Kind::Arp => (Grant::Arp, set::ARP),
        Kind::Neighbor => {
            let from_router = packet.icmp_type == neighbor::ROUTER_ADVERTISEMENT;
            if from_router && !is_router(packet, ends, rules) {
                return Some(Err((Reason::RogueRouter, rogue(ends))));
            }
            (Grant::NeighborDiscovery, set::NEIGHBOR_DISCOVERY)
        }
        Kind::Ip => match packet.protocol {
            protocol::UDP if packet.is_dhcp_request() || packet.is_dhcp_reply() => {
                match dynamic_address(packet, ends, rules)? {
                    Ok(()) => (Grant::Dhcp, set::DHCP),
                    Err(denied) => return Some(Err(denied)),
                }
            }
            protocol::UDP if is_time(packet) => (Grant::Ptp, set::PTP),
            protocol::IGMP if stays_on_the_link(packet) => (Grant::Membership, set::MEMBERSHIP),
            protocol::ICMPV6 if icmp::is_membership(packet.icmp_type) && stays_on_the_link(packet) => {
                (Grant::Membership, set::MEMBERSHIP)
            }
            _ => return None,
        },
        Kind::Other => of_the_link(packet)?,
    };
    let is_on = ends.segment.infrastructure & bit != 0;
    Some(if is_on { Ok((grant, 0)) } else { Err(nearest(Reason::InfrastructureOff)) })
}

/// To a group, and no farther than the next router (RFC 3376 4, RFC 3810 5).
#[inline(always)]
fn stays_on_the_link(packet: &Packet) -> bool {
    packet.destination.is_multicast() && packet.hops == 1
}

/// Who plays router or DHCP server stands between every device and the rest; a device that does is named.
#[inline(always)]
fn rogue(ends: &Ends) -> Victim {
    Victim { everybody: true, ..Victim::row(&ends.source_mac) }
}

/// DHCP between a client and whoever may serve it; `None` when rules decide.
#[inline(always)]
fn dynamic_address<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Option<Result<(), Denied>> {
    if packet.is_dhcp_request() {
        // A client asks everybody, the gateway or a listed server. Asking another by its address needs a rule: anybody could
        // be behind it. A client whose renewal is denied asks everybody in time (RFC 2131 4.4.5, REBINDING).
        let everybody = (packet.destination == Address::BROADCAST
            && packet.destination_mac == mac::BROADCAST)
            || (packet.destination == Address::DHCP_SERVERS && packet.destination_mac & mac::GROUP != 0);
        let listed = is_listed_server(&packet.destination, packet.destination_mac, ends, rules);
        let asks = ends.source_mac.device != 0 && (everybody || listed || ends.destination.is_gateway());
        // Who asks in the name of invented hardware addresses takes every address there is.
        if asks && packet.claim.mac != 0 && packet.claim.mac != packet.source_mac {
            return Some(Err((Reason::DhcpMismatch, Victim::row(&ends.source_mac))));
        }
        return asks.then_some(Ok(()));
    }
    // An answer comes from the client's own segment, so it is sent to the client's MAC or to everybody; one that was
    // routed would be a way to every device.
    let to_client = ends.destination_mac.device != 0
        || packet.destination_mac & mac::GROUP != 0
        || ends.destination.is_gateway();
    if !to_client {
        return None;
    }
    let is_device = ends.source_mac.device != 0 || ends.source.device != 0;
    if (ends.segment.flags & segment_flag::TRUSTED != 0 && !is_device)
        || is_listed_server(&packet.source, packet.source_mac, ends, rules)
    {
        return Some(Ok(()));
    }
    // A device that serves others is one by its rule, and by its MAC: an address alone can be anybody's.
    let port = if packet.destination_port == dhcp::CLIENT { dhcp::SERVER } else { dhcp::SERVER_V6 };
    let class = rules.class(protocol::UDP, port);
    // An answer to everybody names its client in the message; any other goes to its client's MAC, whoever had the address
    // before.
    let named = Endpoint::from_row(&rules.mac(packet.claim.mac));
    let behind = if ends.destination_mac.device != 0 {
        Endpoint::from_row(&ends.destination_mac)
    } else {
        ends.destination
    };
    let client = if packet.claim.mac != 0 { named } else { behind };
    if rules.permitted(&client, &ends.source, class).rule != 0 {
        if ends.source_mac.device != 0 {
            return Some(Ok(()));
        }
        if packet.destination_mac & mac::GROUP == 0 {
            // The answer of a server farther away: a live flow lets it pass, nothing else.
            return None;
        }
    }
    Some(Err((Reason::RogueDhcp, rogue(ends))))
}

/// Whether a DHCP server is named for the segment, by its address or its MAC.
#[inline(always)]
fn is_listed_server<R: Rules>(address: &Address, mac: u64, ends: &Ends, rules: &R) -> bool {
    is_named([trust::DHCP_SERVER, trust::DHCP_SERVER_MAC], (address, mac), ends, rules)
}

/// Whether a host may be what others must not be on the segment: by its address or its MAC.
#[inline(always)]
fn is_named<R: Rules>(roles: [u32; 2], (address, mac): (&Address, u64), ends: &Ends, rules: &R) -> bool {
    let [by_address, by_mac] = roles;
    let segment = ends.segment.segment;
    rules.is_trusted(address, segment, by_address)
        || rules.is_trusted(&Address { high: 0, low: mac }, segment, by_mac)
}

/// Whether a router advertisement comes from where a router may be.
#[inline(always)]
fn is_router<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> bool {
    // A device is no router, wherever it is, unless it is named as one.
    let is_device = ends.source_mac.device != 0 || ends.source.device != 0;
    let who = (&packet.source, packet.source_mac);
    (ends.segment.flags & segment_flag::TRUSTED != 0 && !is_device)
        || is_named([trust::ROUTER, trust::ROUTER_MAC], who, ends, rules)
}

/// Precision time over UDP to its groups: 224.0.1.129-132, 224.0.0.107, ff0x::181-184 and ff02::6b
/// (IEEE 1588-2019 annexes C and D).
#[inline(always)]
fn is_time(packet: &Packet) -> bool {
    if !matches!(packet.destination_port, ptp::EVENT | ptp::GENERAL) {
        return false;
    }
    let Address { high, low } = packet.destination;
    if packet.destination.is_v4() {
        return matches!(low & 0xffff_ffff, 0xe000_0181..=0xe000_0184 | 0xe000_006b);
    }
    // Any scope.
    high & !(0xf << 48) == 0xff00 << 48 && matches!(low, 0x181..=0x184 | 0x6b)
}

/// The protocols below IP by which a network keeps itself together, each to its own group only: a frame to a host is
/// no part of them, but for port authentication, where switch and host talk to each other.
#[inline(always)]
fn of_the_link(packet: &Packet) -> Option<(Grant, u32)> {
    let to = packet.destination_mac;
    let found = match packet.ethertype {
        ethertype::LLDP if matches!(to, mac::NEAREST_BRIDGE | mac::NEAREST_NON_TPMR | mac::BRIDGE) => {
            (Grant::Lldp, set::LLDP)
        }
        ethertype::EAPOL if to == mac::NEAREST_NON_TPMR || to & mac::GROUP == 0 => (Grant::Eapol, set::EAPOL),
        ethertype::PTP if matches!(to, mac::PTP | mac::NEAREST_BRIDGE) => (Grant::Ptp, set::PTP),
        ethertype::MRP if to & !0xff == mac::MRP => (Grant::Redundancy, set::REDUNDANCY),
        ethertype::SUPERVISION if to & !0xff == mac::SUPERVISION => (Grant::Redundancy, set::REDUNDANCY),
        ethertype::SLOW if to == mac::SLOW => (Grant::Redundancy, set::REDUNDANCY),
        length if length < ethertype::FIRST => {
            let is_stp = packet.service_port == llc::STP && matches!(to, mac::BRIDGE | mac::PROVIDER_BRIDGE);
            let is_per_vlan = packet.service_port == llc::SNAP && to == mac::PER_VLAN_STP;
            if !is_stp && !is_per_vlan {
                return None;
            }
            (Grant::Stp, set::STP)
        }
        _ => return None,
    };
    Some(found)
}
