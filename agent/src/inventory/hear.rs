//! A frame -> what it says of its sender.

use std::net::IpAddr;

use bulkhead_common::wire::{dhcp as ports, ethertype, neighbor};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::{
    Claim, Evidence, Kind, MOST_CLAIMS, arp, bacnet, dhcp, enip, fact::is_of_a_host, lldp, mdns, modbus,
    profinet, s7, ssdp,
};
use crate::model::Mac;

/// What one frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it, or passed it on.
    pub mac: Mac,
    /// The address it is from; none if it is no IP, or from nobody yet.
    pub source: Option<IpAddr>,
    /// What it says of its sender, at most [`MOST_CLAIMS`].
    pub claims: Vec<Claim>,
}

/// Reads a frame, which may be cut. None if it is from nobody: a group is no sender.
pub fn hear(frame: &[u8]) -> Option<Heard> {
    let mac = Mac(*frame.get(6..)?.first_chunk()?);
    if mac.is_group() || mac == Mac([0; 6]) {
        return None;
    }
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let source = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => Some(ip.header().source_addr().into()),
        Some(LaxNetSlice::Ipv6(ip)) => Some(ip.header().source_addr().into()),
        Some(LaxNetSlice::Arp(_)) | None => None,
    };
    // Only what was not passed on still has every hop (RFC 4861 7.1).
    let is_from_link =
        matches!(&packet.net, Some(LaxNetSlice::Ipv6(ip)) if ip.header().hop_limit() == neighbor::HOP_LIMIT);
    let mut claims = match (&packet.transport, source) {
        (Some(TransportSlice::Icmpv6(message)), Some(source)) if is_from_link => {
            arp::neighbour(message.slice(), source, mac)
        }
        (Some(transport), Some(source)) => spoken(transport, source, mac),
        (Some(_) | None, _) => packet.ether_payload().map_or_else(Vec::new, |link| match link.ether_type.0 {
            ethertype::ARP => arp::arp(link.payload, mac),
            ethertype::LLDP => lldp::lldp(link.payload),
            profinet::ETHERTYPE => profinet::dcp(link.payload),
            _ => Vec::new(),
        }),
    };
    claims.truncate(MOST_CLAIMS);
    Some(Heard { mac, source: source.filter(|source| is_of_a_host(*source)), claims })
}

/// What a host says over UDP, TCP and ICMPv6.
fn spoken(transport: &TransportSlice<'_>, source: IpAddr, mac: Mac) -> Vec<Claim> {
    match transport {
        TransportSlice::Udp(udp) => {
            let payload = udp.payload();
            match (udp.source_port(), udp.destination_port()) {
                (ports::CLIENT, ports::SERVER) => dhcp::dhcp(payload, mac),
                (mdns::PORT, _) => mdns::mdns(payload, source),
                (ssdp::PORT, _) | (_, ssdp::PORT) => ssdp::ssdp(payload),
                (bacnet::PORT, _) => bacnet::bacnet(payload),
                (enip::PORT, _) => enip::list_identity(payload),
                _ => Vec::new(),
            }
        }
        TransportSlice::Tcp(segment) => {
            if segment.syn() && segment.ack() && !segment.rst() {
                let port = format!("tcp/{}", segment.source_port());
                return vec![Claim::new(Kind::Serves, port, Evidence::Tcp)];
            }
            match segment.source_port() {
                modbus::PORT => modbus::modbus(segment.payload()),
                s7::PORT => s7::s7(segment.payload()),
                enip::PORT => enip::list_identity(segment.payload()),
                _ => Vec::new(),
            }
        }
        TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => Vec::new(),
    }
}
