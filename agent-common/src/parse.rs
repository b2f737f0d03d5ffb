//! Bytes in, a [`Packet`] out: what the frame says of itself, and the first thing wrong with it.
//!
//! A fault does not end in an empty hand: whatever was read before it stays in the packet, so that the
//! decision still knows whose frame it was. Nothing here depends on policy. This file is the packet and its first
//! layer; [`ip`] reads both families of IP, [`transport`] what they carry, [`neighbor`] ARP and neighbour discovery.

use crate::{
    address::Address,
    bytes::Bytes,
    reason::Reason,
    wire::{dhcp, ethertype, mac, protocol, tcp},
};

mod ip;
mod neighbor;
mod transport;

/// What kind of frame it is, as far as it could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither IP nor ARP, or not even an EtherType.
    Other,
    /// ARP for IPv4 over Ethernet: `source` and `destination` are the sender and target addresses.
    Arp,
    /// IPv4 or IPv6, whatever it carries.
    Ip,
    /// IPv6 neighbour or router discovery (RFC 4861).
    Neighbor,
}

/// The packet that an ICMP error quotes (RFC 792, RFC 4443): IP header and the first eight octets behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quoted {
    /// Source address of the quoted packet.
    pub source: Address,
    /// Destination address of the quoted packet.
    pub destination: Address,
    /// Source port, or the identifier of an ICMP request.
    pub source_port: u16,
    /// Destination port, or the identifier of an ICMP request.
    pub destination_port: u16,
    /// For ICMP requests `type << 8 | code`, otherwise the destination port.
    pub service_port: u16,
    /// IP protocol; 0 when the message quotes nothing that can be matched.
    pub protocol: u8,
}

/// What a frame says of an address and a hardware address in its payload: the sender of ARP, the target and link-layer
/// option of neighbour discovery, the client and its address in the answer of a DHCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Claim {
    /// The address; unspecified when the frame claims none.
    pub address: Address,
    /// The hardware address; 0 when the frame claims none.
    pub mac: u64,
}

/// Where a fragment lies in its packet. Offsets count eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fragment {
    /// Identification that the fragments of one packet share.
    pub id: u32,
    /// Where it begins.
    pub start: u16,
    /// Where it stops, rounded up; 0 when the packet is whole.
    pub stop: u16,
}

impl Fragment {
    /// Whether the packet is one of several fragments.
    #[inline(always)]
    pub const fn is_some(&self) -> bool {
        self.stop != 0
    }

    /// Whether the ports of its packet are in another fragment.
    #[inline(always)]
    pub const fn is_later(&self) -> bool {
        self.start != 0
    }
}

/// One frame, flat. Fields that the frame does not have are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Length of the frame in bytes.
    pub len: u32,
    /// Destination hardware address, see [`crate::wire::mac`].
    pub destination_mac: u64,
    /// Source hardware address.
    pub source_mac: u64,
    /// VLAN of the outer tag; 0 when untagged or only priority-tagged.
    pub vlan: u16,
    /// VLAN of the inner tag, 0 when there is none.
    pub inner_vlan: u16,
    /// EtherType behind the tags; a value below 1536 is an IEEE 802.3 length.
    pub ethertype: u16,
    /// What it is.
    pub kind: Kind,
    /// The first thing wrong with the frame.
    pub fault: Option<Reason>,
    /// IP source, or ARP sender.
    pub source: Address,
    /// IP destination, or ARP target.
    pub destination: Address,
    /// What the payload says of addresses.
    pub claim: Claim,
    /// IP protocol number behind the extension headers.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// TCP control bits.
    pub tcp_flags: u8,
    /// Type of an ICMP or ICMPv6 message.
    pub icmp_type: u8,
    /// Source port; for ICMP requests and replies the identifier.
    pub source_port: u16,
    /// Destination port; for ICMP requests and replies the identifier.
    pub destination_port: u16,
    /// The port a service is recognised by when this packet is the first of a flow: the destination port, for
    /// ICMP `type << 8 | code`; of an LLC frame the destination service access point.
    pub service_port: u16,
    /// Its place among fragments.
    pub fragment: Fragment,
    /// What an ICMP error is about.
    pub quoted: Quoted,
}

impl Packet {
    /// A frame of which nothing was read.
    pub const EMPTY: Self = Self {
        len: 0,
        destination_mac: 0,
        source_mac: 0,
        vlan: 0,
        inner_vlan: 0,
        ethertype: 0,
        kind: Kind::Other,
        fault: None,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        claim: Claim { address: Address::UNSPECIFIED, mac: 0 },
        protocol: 0,
        hops: 0,
        tcp_flags: 0,
        icmp_type: 0,
        source_port: 0,
        destination_port: 0,
        service_port: 0,
        fragment: Fragment { id: 0, start: 0, stop: 0 },
        quoted: Quoted {
            source: Address::UNSPECIFIED,
            destination: Address::UNSPECIFIED,
            source_port: 0,
            destination_port: 0,
            service_port: 0,
            protocol: 0,
        },
    };

    /// Whether it asks for a new TCP connection: SYN without ACK (RFC 9293 3.5).
    #[inline(always)]
    pub fn is_tcp_open(&self) -> bool {
        self.protocol == protocol::TCP && self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// Whether it is ICMP of either family.
    #[inline(always)]
    pub fn is_icmp(&self) -> bool {
        self.protocol == protocol::ICMP || self.protocol == protocol::ICMPV6
    }

    /// Whether it goes to a group or to every host, by hardware address or by IP address.
    #[inline(always)]
    pub fn is_to_group(&self) -> bool {
        self.destination_mac & crate::wire::mac::GROUP != 0
            || self.destination.is_multicast()
            || self.destination == Address::BROADCAST
    }

    /// DHCP from a client, before or after it has an address (RFC 2131 4.1, RFC 8415 7.2).
    #[inline(always)]
    pub fn is_dhcp_request(&self) -> bool {
        self.is_udp_between(dhcp::CLIENT, dhcp::SERVER, dhcp::CLIENT_V6, dhcp::SERVER_V6)
    }

    /// DHCP from a server to a client.
    #[inline(always)]
    pub fn is_dhcp_reply(&self) -> bool {
        self.is_udp_between(dhcp::SERVER, dhcp::CLIENT, dhcp::SERVER_V6, dhcp::CLIENT_V6)
    }

    /// UDP between two ports, those of the packet's family.
    #[inline(always)]
    fn is_udp_between(&self, from_v4: u16, to_v4: u16, from_v6: u16, to_v6: u16) -> bool {
        let (from, to) = if self.ethertype == ethertype::IPV4 { (from_v4, to_v4) } else { (from_v6, to_v6) };
        self.kind == Kind::Ip
            && self.protocol == protocol::UDP
            && self.source_port == from
            && self.destination_port == to
    }
}

/// Reads one frame. Never fails: what is wrong is in [`Packet::fault`].
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(bytes: &B) -> Packet {
    let mut packet = Packet::EMPTY;
    parse_into(bytes, &mut packet);
    packet
}

/// Reads one frame into `packet`, whatever was there. The kernel's stack is 512 bytes: there the packet
/// lives elsewhere.
#[inline(always)]
pub fn parse_into<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet) {
    *packet = Packet::EMPTY;
    packet.len = bytes.len();
    if let Err(reason) = link(bytes, packet) {
        packet.fault = Some(reason);
    } else if packet.source_mac & mac::GROUP != 0 {
        // A group listens and does not speak (IEEE 802.3-2018 3.2.3); said last, so that it is known whom it was for.
        packet.fault = Some(Reason::MartianSource);
    }
}

type Parsed = Result<(), Reason>;

#[inline(always)]
fn be16(b: [u8; 2]) -> u16 {
    u16::from_be_bytes(b)
}

/// Ethernet and at most two VLAN tags (IEEE 802.1Q-2018 9).
#[inline(always)]
fn link<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet) -> Parsed {
    let h: [u8; 14] = bytes.array(0).ok_or(Reason::Truncated)?;
    packet.destination_mac = u64::from_be_bytes([0, 0, h[0], h[1], h[2], h[3], h[4], h[5]]);
    packet.source_mac = u64::from_be_bytes([0, 0, h[6], h[7], h[8], h[9], h[10], h[11]]);
    packet.ethertype = be16([h[12], h[13]]);
    let mut at = 14;
    if is_tag(packet.ethertype) {
        tag(bytes, packet, 14)?;
        at = 18;
        if is_tag(packet.ethertype) {
            tag(bytes, packet, 18)?;
            at = 22;
            if is_tag(packet.ethertype) {
                return Err(Reason::VlanDepth);
            }
        }
    }
    match packet.ethertype {
        ethertype::IPV4 => ip::v4(bytes, packet, at),
        ethertype::ARP => neighbor::arp(bytes, packet, at),
        ethertype::IPV6 => ip::v6(bytes, packet, at),
        length if length < ethertype::FIRST => llc(bytes, packet, at),
        _ => Ok(()),
    }
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_LEGACY)
}

#[inline(always)]
fn tag<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    let t: [u8; 4] = bytes.array(at).ok_or(Reason::Truncated)?;
    // A tag of VLAN 0 carries a priority only (IEEE 802.1Q-2018 9.6): receivers treat it as absent.
    let id = be16([t[0], t[1]]) & 0x0fff;
    if id != 0 {
        if packet.vlan == 0 {
            packet.vlan = id;
        } else {
            packet.inner_vlan = id;
        }
    }
    packet.ethertype = be16([t[2], t[3]]);
    Ok(())
}

/// IEEE 802.2 behind a length: destination and source service access point, control.
#[inline(always)]
fn llc<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    let l: [u8; 3] = bytes.array(at).ok_or(Reason::Truncated)?;
    packet.service_port = u16::from(l[0]);
    // 1501 to 1535 is neither a length nor a type (IEEE 802.3-2018 3.2.6).
    let len = usize::from(packet.ethertype);
    if len > 1500 || at + len > packet.len as usize { Err(Reason::LlcLength) } else { Ok(()) }
}
