//! How a conversation begins: its first packet, and the answer, made up of what is known of both ends. They meet the tables where the
//! packets themselves are gone: in a plan, and in a replay of a history.

use bulkhead_common::{
    address::Address,
    parse::{self, Packet},
    wire::{ethertype, icmp, protocol, pseudo, tcp},
};

/// Locally administered address of nobody: a stranger.
pub const STRANGER: u64 = 0x02_bb_00_00_00_01;
/// Another one: the router in between.
pub const NEXT_HOP: u64 = 0x02_bb_00_00_00_02;

/// One end as its packets show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    /// Its address; unspecified of frames that are not IP.
    pub address: Address,
    /// Its hardware address, as a number.
    pub mac: u64,
    /// The VLAN of its tag; 0 when it has none.
    pub vlan: u16,
}

/// A conversation that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Who begins.
    pub from: Seat,
    /// Who answers.
    pub to: Seat,
    /// IP protocol number, or one of [`pseudo`].
    pub protocol: u8,
    /// The responder's port; of ICMP `type << 8 | code`; of frames the ethertype or service access point.
    pub service: u16,
    /// The initiator's port; of ICMP the identifier.
    pub client_port: u16,
    /// Whether its datagrams are IPv4.
    pub v4: bool,
}

impl Opening {
    /// Its first packet.
    pub fn question(&self) -> Packet {
        let Self { from, to, protocol, service, client_port, v4 } = *self;
        let base = Packet {
            len: 60,
            vlan: from.vlan,
            source_mac: from.mac,
            destination_mac: to.mac,
            ..Packet::EMPTY
        };
        match protocol {
            pseudo::ETHERTYPE => Packet { kind: parse::Kind::Other, ethertype: service, ..base },
            // Of an LLC frame the field is its length (IEEE 802.3-2018 3.2.6).
            pseudo::LLC => Packet { kind: parse::Kind::Other, ethertype: 46, service_port: service, ..base },
            _ => {
                let icmp = protocol::is_icmp(protocol);
                let ported = icmp || matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
                let port = |port| if ported { port } else { 0 };
                Packet {
                    kind: parse::Kind::Ip,
                    ethertype: if v4 { ethertype::IPV4 } else { ethertype::IPV6 },
                    source: from.address,
                    destination: to.address,
                    protocol,
                    // What goes to many goes no further than its link, unless somebody says so (RFC 1112 6.1).
                    hops: if to.address.is_multicast() { 1 } else { 64 },
                    source_port: port(client_port),
                    destination_port: port(if icmp { client_port } else { service }),
                    service_port: service,
                    icmp_type: if icmp { service.to_be_bytes()[0] } else { 0 },
                    tcp_flags: if protocol == protocol::TCP { tcp::SYN } else { 0 },
                    ..base
                }
            }
        }
    }

    /// The answer to it; none to what is not answered.
    pub fn answer(&self) -> Option<Packet> {
        let question = self.question();
        let swapped = Packet {
            vlan: self.to.vlan,
            source_mac: question.destination_mac,
            destination_mac: question.source_mac,
            ..question
        };
        if question.kind == parse::Kind::Other {
            return Some(swapped);
        }
        let icmp = protocol::is_icmp(self.protocol);
        let kind = if icmp { reply(self.protocol, question.icmp_type)? } else { 0 };
        Some(Packet {
            source: question.destination,
            destination: question.source,
            source_port: question.destination_port,
            destination_port: question.source_port,
            service_port: if icmp { u16::from(kind) << 8 } else { question.source_port },
            icmp_type: kind,
            tcp_flags: if self.protocol == protocol::TCP { tcp::SYN | tcp::ACK } else { 0 },
            ..swapped
        })
    }
}

/// The type of the answer to a request.
fn reply(protocol: u8, request: u8) -> Option<u8> {
    (0..=u8::MAX).find(|kind| icmp::request_of(protocol, *kind) == Some(request))
}
