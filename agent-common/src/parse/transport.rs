//! What IP carries: ports, flags, and what an ICMP error is about.

use super::{Packet, Parsed, Quoted, be16};
use crate::{
    address::Address,
    bytes::Bytes,
    reason::Reason,
    wire::{ethertype, icmp, protocol, tcp},
};

/// Reads `len` bytes behind the IP headers. A first fragment must hold the whole header: its verdict covers the others.
#[inline(always)]
pub(super) fn read<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) -> Parsed {
    match packet.protocol {
        protocol::TCP => tcp(bytes, packet, at, len),
        protocol::UDP => udp(bytes, packet, at, len),
        protocol::SCTP => {
            if len < 12 {
                return Err(short(packet, Reason::SctpHeader));
            }
            let s: [u8; 4] = bytes.array(at).ok_or(Reason::Truncated)?;
            ports(packet, [s[0], s[1]], [s[2], s[3]]);
            Ok(())
        }
        protocol::ICMP => {
            if len < 8 {
                return Err(short(packet, Reason::IcmpHeader));
            }
            message(bytes, packet, at)?;
            if packet.icmp_type == icmp::REDIRECT {
                return Err(Reason::Redirect);
            }
            if icmp::is_error(protocol::ICMP, packet.icmp_type) {
                quoted_v4(bytes, packet, at + 8, len - 8);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a header that does not fit means: in a fragment somebody cut it there on purpose.
#[inline(always)]
fn short(packet: &Packet, reason: Reason) -> Reason {
    if packet.fragment.is_some() { Reason::FragmentTiny } else { reason }
}

#[inline(always)]
fn ports(packet: &mut Packet, source: [u8; 2], destination: [u8; 2]) {
    packet.source_port = be16(source);
    packet.destination_port = be16(destination);
    packet.service_port = packet.destination_port;
}

#[inline(always)]
fn tcp<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) -> Parsed {
    if len < 20 {
        return Err(short(packet, Reason::TcpHeader));
    }
    let t: [u8; 14] = bytes.array(at).ok_or(Reason::Truncated)?;
    ports(packet, [t[0], t[1]], [t[2], t[3]]);
    packet.tcp_flags = t[13];
    let header = usize::from(t[12] >> 4) * 4;
    if header < 20 {
        return Err(Reason::TcpHeader);
    }
    if header > len {
        return Err(short(packet, Reason::TcpHeader));
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

#[inline(always)]
fn udp<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) -> Parsed {
    if len < 8 {
        return Err(short(packet, Reason::UdpLength));
    }
    let u: [u8; 8] = bytes.array(at).ok_or(Reason::Truncated)?;
    ports(packet, [u[0], u[1]], [u[2], u[3]]);
    let total = usize::from(be16([u[4], u[5]]));
    // The first of several fragments holds the length of them all.
    if total < 8 || (total > len && !packet.fragment.is_some()) {
        return Err(Reason::UdpLength);
    }
    if packet.ethertype == ethertype::IPV4 && (packet.is_dhcp_reply() || packet.is_dhcp_request()) {
        dhcp(bytes, packet, at + 8, total - 8)?;
    }
    Ok(())
}

/// The fixed part of a message (RFC 2131 2): in an answer your address at 16, in both the client's hardware address at
/// 28. Ethernet clients only: hardware type 1, length 6.
#[inline(always)]
fn dhcp<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) -> Parsed {
    if len < 236 {
        return Ok(());
    }
    let b: [u8; 34] = bytes.array(at).ok_or(Reason::Truncated)?;
    let is_answer = packet.is_dhcp_reply();
    if b[0] != if is_answer { 2 } else { 1 } || b[1] != 1 || b[2] != 6 {
        return Ok(());
    }
    let address = u32::from_be_bytes([b[16], b[17], b[18], b[19]]);
    if is_answer && address == 0 {
        return Ok(());
    }
    packet.claim.mac = u64::from_be_bytes([0, 0, b[28], b[29], b[30], b[31], b[32], b[33]]);
    if is_answer {
        packet.claim.address = Address::v4(address);
    }
    Ok(())
}

/// Type, code and identifier of an ICMP message of either family.
#[inline(always)]
fn message<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    let i: [u8; 8] = bytes.array(at).ok_or(Reason::Truncated)?;
    packet.icmp_type = i[0];
    packet.service_port = be16([i[0], i[1]]);
    let protocol = packet.protocol;
    if icmp::is_request(protocol, i[0]) || icmp::request_of(protocol, i[0]).is_some() {
        let identifier = be16([i[4], i[5]]);
        packet.source_port = identifier;
        packet.destination_port = identifier;
    }
    Ok(())
}

/// RFC 4443 2.1, up to what an error quotes.
#[inline(always)]
pub(super) fn icmp_v6<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) -> Parsed {
    if len < 8 {
        return Err(short(packet, Reason::IcmpHeader));
    }
    message(bytes, packet, at)?;
    if icmp::is_error(protocol::ICMPV6, packet.icmp_type) {
        quoted_v6(bytes, packet, at + 8, len - 8);
    }
    Ok(())
}

/// The start of the packet an ICMP error complains about. What cannot be read stays zero: such an
/// error belongs to no flow.
#[inline(always)]
fn quoted_v4<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) {
    if len < 28 {
        return;
    }
    let Some(q) = bytes.array::<20>(at) else { return };
    // Version 4 without options, and not a later fragment: then ports follow at once.
    if q[0] != 0x45 || be16([q[6], q[7]]) & 0x1fff != 0 {
        return;
    }
    let source = Address::v4(u32::from_be_bytes([q[12], q[13], q[14], q[15]]));
    let destination = Address::v4(u32::from_be_bytes([q[16], q[17], q[18], q[19]]));
    quoted_ports(bytes, packet, at + 20, q[9], source, destination);
}

/// The same for IPv6. A packet with other extension headers than that of a first fragment is matched to nothing.
#[inline(always)]
fn quoted_v6<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) {
    if len < 48 {
        return;
    }
    let Some(q) = bytes.array::<40>(at) else { return };
    if q[0] >> 4 != 6 {
        return;
    }
    let source = Address {
        high: u64::from_be_bytes([q[8], q[9], q[10], q[11], q[12], q[13], q[14], q[15]]),
        low: u64::from_be_bytes([q[16], q[17], q[18], q[19], q[20], q[21], q[22], q[23]]),
    };
    let destination = Address {
        high: u64::from_be_bytes([q[24], q[25], q[26], q[27], q[28], q[29], q[30], q[31]]),
        low: u64::from_be_bytes([q[32], q[33], q[34], q[35], q[36], q[37], q[38], q[39]]),
    };
    if q[6] != protocol::FRAGMENT {
        return quoted_ports(bytes, packet, at + 40, q[6], source, destination);
    }
    // A packet too big for the way may have been a fragment already: the first one has the ports.
    let Some(f) = bytes.array::<8>(at + 40) else { return };
    if be16([f[2], f[3]]) >> 3 == 0 {
        quoted_ports(bytes, packet, at + 48, f[0], source, destination);
    }
}

#[inline(always)]
fn quoted_ports<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    at: usize,
    protocol: u8,
    source: Address,
    destination: Address,
) {
    let Some(p) = bytes.array::<8>(at) else { return };
    let mut quoted = Quoted {
        source,
        destination,
        source_port: be16([p[0], p[1]]),
        destination_port: be16([p[2], p[3]]),
        service_port: be16([p[2], p[3]]),
        protocol,
    };
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {}
        protocol::ICMP | protocol::ICMPV6 if icmp::is_request(protocol, p[0]) => {
            quoted.service_port = be16([p[0], p[1]]);
            quoted.source_port = be16([p[4], p[5]]);
            quoted.destination_port = quoted.source_port;
        }
        _ => return,
    }
    packet.quoted = quoted;
}
