//! Bytes in, a [`Packet`] out: what the frame says of itself, and the first thing wrong with it.
//!
//! A fault does not end in an empty hand: whatever was read before it stays in the packet, so that the
//! decision still knows whose frame it was. Nothing here depends on policy.

use crate::{
    bytes::Bytes,
    reason::Reason,
    wire::{dhcp, ethertype, icmp, protocol, tcp},
};

/// What kind of frame it is, as far as it could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither IP nor ARP, or not even an EtherType.
    Other,
    /// ARP for IPv4 over Ethernet: `source` and `destination` are the sender and target addresses.
    Arp,
    /// IPv4, whatever it carries.
    Ipv4,
    /// IPv6 neighbour or router discovery (RFC 4861) with the hop limit that proves it is from the link.
    NeighborDiscovery,
    /// Any other IPv6.
    Ipv6,
}

/// The packet that an ICMP error quotes (RFC 792): IP header and the first eight octets behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quoted {
    /// Source address of the quoted packet.
    pub source: u32,
    /// Destination address of the quoted packet.
    pub destination: u32,
    /// Source port, or the identifier of an ICMP request.
    pub source_port: u16,
    /// Destination port, or the identifier of an ICMP request.
    pub destination_port: u16,
    /// For ICMP requests `type << 8 | code`, otherwise the destination port.
    pub service_port: u16,
    /// IP protocol; 0 when the message quotes nothing that can be matched.
    pub protocol: u8,
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
    /// IPv4 source, or ARP sender, as a number.
    pub source: u32,
    /// IPv4 destination, or ARP target, as a number.
    pub destination: u32,
    /// IPv6 source, in the order of the wire.
    pub source_v6: [u8; 16],
    /// IPv6 destination, in the order of the wire.
    pub destination_v6: [u8; 16],
    /// ARP sender hardware address.
    pub sender_mac: u64,
    /// IP protocol number.
    pub protocol: u8,
    /// TCP control bits.
    pub tcp_flags: u8,
    /// Type of an ICMP message.
    pub icmp_type: u8,
    /// Source port; for ICMP requests and replies the identifier.
    pub source_port: u16,
    /// Destination port; for ICMP requests and replies the identifier.
    pub destination_port: u16,
    /// The port a service is recognised by when this packet is the first of a flow: the destination
    /// port, or for ICMP `type << 8 | code`.
    pub service_port: u16,
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
        source: 0,
        destination: 0,
        source_v6: [0; 16],
        destination_v6: [0; 16],
        sender_mac: 0,
        protocol: 0,
        tcp_flags: 0,
        icmp_type: 0,
        source_port: 0,
        destination_port: 0,
        service_port: 0,
        quoted: Quoted {
            source: 0,
            destination: 0,
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

    /// DHCP from a client, before or after it has an address (RFC 2131 4.1).
    #[inline(always)]
    pub fn is_dhcp_request(&self) -> bool {
        self.protocol == protocol::UDP
            && self.source_port == dhcp::CLIENT
            && self.destination_port == dhcp::SERVER
    }

    /// DHCP from a server to a client (RFC 2131 4.1).
    #[inline(always)]
    pub fn is_dhcp_reply(&self) -> bool {
        self.protocol == protocol::UDP
            && self.source_port == dhcp::SERVER
            && self.destination_port == dhcp::CLIENT
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
    if !is_tag(packet.ethertype) {
        return network(bytes, packet, 14);
    }
    tag(bytes, packet, 14)?;
    if !is_tag(packet.ethertype) {
        return network(bytes, packet, 18);
    }
    tag(bytes, packet, 18)?;
    if is_tag(packet.ethertype) {
        return Err(Reason::VlanDepth);
    }
    network(bytes, packet, 22)
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

#[inline(always)]
fn network<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    match packet.ethertype {
        ethertype::IPV4 => ipv4(bytes, packet, at),
        ethertype::ARP => arp(bytes, packet, at),
        ethertype::IPV6 => ipv6(bytes, packet, at),
        _ => Ok(()),
    }
}

/// RFC 826, for Ethernet and IPv4 only: hardware type 1, protocol 0x0800, lengths 6 and 4.
#[inline(always)]
fn arp<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    packet.kind = Kind::Arp;
    let a: [u8; 28] = bytes.array(at).ok_or(Reason::Truncated)?;
    packet.sender_mac = u64::from_be_bytes([0, 0, a[8], a[9], a[10], a[11], a[12], a[13]]);
    packet.source = u32::from_be_bytes([a[14], a[15], a[16], a[17]]);
    packet.destination = u32::from_be_bytes([a[24], a[25], a[26], a[27]]);
    let fixed = [a[0], a[1], a[2], a[3], a[4], a[5]] == [0, 1, 8, 0, 6, 4];
    let operation = be16([a[6], a[7]]);
    if !fixed || !(operation == 1 || operation == 2) {
        return Err(Reason::ArpMalformed);
    }
    Ok(())
}

/// RFC 791 3.1. The total length, not the frame, ends the packet: Ethernet pads short frames.
#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    packet.kind = Kind::Ipv4;
    let h: [u8; 20] = bytes.array(at).ok_or(Reason::Truncated)?;
    let header = usize::from(h[0] & 0x0f) * 4;
    // IHL counts words, minimum 5.
    if h[0] >> 4 != 4 || header < 20 {
        return Err(Reason::Ipv4Header);
    }
    packet.protocol = h[9];
    packet.source = u32::from_be_bytes([h[12], h[13], h[14], h[15]]);
    packet.destination = u32::from_be_bytes([h[16], h[17], h[18], h[19]]);
    let total = usize::from(be16([h[2], h[3]]));
    if total < header || at + total > packet.len as usize {
        return Err(Reason::Ipv4Length);
    }
    if header > 20 {
        return Err(Reason::Ipv4Options);
    }
    // More-fragments flag or an offset: the ports of this packet are not, or not wholly, in it.
    if be16([h[6], h[7]]) & 0x3fff != 0 {
        return Err(Reason::Fragment);
    }
    transport(bytes, packet, at + 20, total - 20)?;
    if is_martian(packet) {
        return Err(Reason::MartianSource);
    }
    Ok(())
}

/// Sources no host may use on a wire (RFC 1122 3.2.1.3): this network except while asking for an
/// address, loopback, multicast, reserved, broadcast; and a packet from a host to itself.
#[inline(always)]
fn is_martian(packet: &Packet) -> bool {
    let first = packet.source >> 24;
    if packet.source == 0 && packet.is_dhcp_request() {
        return false;
    }
    first == 0 || first == 127 || first >= 224 || packet.source == packet.destination
}

/// What follows the IPv4 header, `len` bytes of it.
#[inline(always)]
fn transport<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) -> Parsed {
    match packet.protocol {
        protocol::TCP => {
            if len < 20 {
                return Err(Reason::TcpHeader);
            }
            let t: [u8; 14] = bytes.array(at).ok_or(Reason::Truncated)?;
            packet.source_port = be16([t[0], t[1]]);
            packet.destination_port = be16([t[2], t[3]]);
            packet.service_port = packet.destination_port;
            packet.tcp_flags = t[13];
            let header = usize::from(t[12] >> 4) * 4;
            if header < 20 || header > len {
                return Err(Reason::TcpHeader);
            }
            let control = packet.tcp_flags & tcp::CONTROL;
            // No stack sends two of SYN, FIN and RST, nor FIN without ACK, nor none of the four; scanners do
            // (RFC 9293 3.10.7.4: a segment of a connection carries ACK, unless it opens or resets it).
            let lone = matches!(control & !tcp::ACK, 0 | tcp::SYN | tcp::FIN | tcp::RST);
            if control == 0 || control == tcp::FIN || !lone {
                return Err(Reason::TcpFlags);
            }
            Ok(())
        }
        protocol::UDP => {
            if len < 8 {
                return Err(Reason::UdpLength);
            }
            let u: [u8; 8] = bytes.array(at).ok_or(Reason::Truncated)?;
            packet.source_port = be16([u[0], u[1]]);
            packet.destination_port = be16([u[2], u[3]]);
            packet.service_port = packet.destination_port;
            let total = usize::from(be16([u[4], u[5]]));
            if total < 8 || total > len {
                return Err(Reason::UdpLength);
            }
            Ok(())
        }
        protocol::ICMP => {
            if len < 8 {
                return Err(Reason::IcmpHeader);
            }
            let i: [u8; 8] = bytes.array(at).ok_or(Reason::Truncated)?;
            packet.icmp_type = i[0];
            packet.service_port = be16([i[0], i[1]]);
            if icmp::is_error(i[0]) {
                quoted(bytes, packet, at + 8, len - 8);
            } else {
                let identifier = be16([i[4], i[5]]);
                packet.source_port = identifier;
                packet.destination_port = identifier;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The start of the packet an ICMP error complains about. What cannot be read stays zero: such an
/// error belongs to no flow.
#[inline(always)]
fn quoted<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) {
    if len < 28 {
        return;
    }
    let Some(q) = bytes.array::<28>(at) else { return };
    // Version 4 without options, and not a later fragment: then ports follow at once.
    if q[0] != 0x45 || be16([q[6], q[7]]) & 0x1fff != 0 {
        return;
    }
    let mut quoted = Quoted {
        source: u32::from_be_bytes([q[12], q[13], q[14], q[15]]),
        destination: u32::from_be_bytes([q[16], q[17], q[18], q[19]]),
        source_port: be16([q[20], q[21]]),
        destination_port: be16([q[22], q[23]]),
        service_port: be16([q[22], q[23]]),
        protocol: q[9],
    };
    match q[9] {
        protocol::TCP | protocol::UDP => {}
        protocol::ICMP if icmp::is_request(q[20]) => {
            quoted.service_port = be16([q[20], q[21]]);
            quoted.source_port = be16([q[24], q[25]]);
            quoted.destination_port = quoted.source_port;
        }
        _ => return,
    }
    packet.quoted = quoted;
}

/// RFC 8200 3, far enough to recognise neighbour discovery (RFC 4861 4: types 133-136, hop limit 255). Type 137,
/// redirect, is left out: it rewrites routes, and nobody needs it.
#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    packet.kind = Kind::Ipv6;
    let h: [u8; 40] = bytes.array(at).ok_or(Reason::Truncated)?;
    let payload = usize::from(be16([h[4], h[5]]));
    if h[0] >> 4 != 6 || at + 40 + payload > packet.len as usize {
        return Err(Reason::Ipv6Header);
    }
    packet.protocol = h[6];
    packet.source_v6 = bytes.array(at + 8).ok_or(Reason::Truncated)?;
    packet.destination_v6 = bytes.array(at + 24).ok_or(Reason::Truncated)?;
    if h[6] == protocol::ICMPV6 && h[7] == 255 && payload >= 8 {
        let i: [u8; 2] = bytes.array(at + 40).ok_or(Reason::Truncated)?;
        packet.icmp_type = i[0];
        if matches!(i[0], 133..=136) && i[1] == 0 {
            packet.kind = Kind::NeighborDiscovery;
        }
    }
    Ok(())
}
