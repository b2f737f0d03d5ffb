//! IPv4 and IPv6: header, extension headers, fragments.

use super::{Fragment, Kind, Packet, Parsed, be16, neighbor, transport};
use crate::{
    address::Address,
    bytes::Bytes,
    reason::Reason,
    wire::{ethertype, mac, protocol},
};

/// Extension headers that are walked; no stack sends more than one of each kind.
const MAX_EXTENSIONS: usize = 4;
/// Bytes that one of them may take. Options of real use need 8 or 16.
const MAX_EXTENSION: usize = 64;
/// The IPv4 option that IGMP carries (RFC 2113): router alert, value 0.
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];

/// RFC 791 3.1. The total length, not the frame, ends the packet: Ethernet pads short frames.
#[inline(always)]
pub(super) fn v4<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    packet.kind = Kind::Ip;
    let h: [u8; 20] = bytes.array(at).ok_or(Reason::Truncated)?;
    let header = usize::from(h[0] & 0x0f) * 4;
    // IHL counts words, minimum 5.
    if h[0] >> 4 != 4 || header < 20 {
        return Err(Reason::Ipv4Header);
    }
    packet.hops = h[8];
    packet.protocol = h[9];
    packet.source = Address::v4(u32::from_be_bytes([h[12], h[13], h[14], h[15]]));
    packet.destination = Address::v4(u32::from_be_bytes([h[16], h[17], h[18], h[19]]));
    let total = usize::from(be16([h[2], h[3]]));
    if total < header || at + total > packet.len as usize {
        return Err(Reason::Ipv4Length);
    }
    if header > 20 {
        // Options can reroute a packet, and nothing that is used needs them but IGMP (RFC 3376 4), which routers
        // are to look at.
        let options: [u8; 4] = bytes.array(at + 20).ok_or(Reason::Truncated)?;
        if packet.protocol != protocol::IGMP || header != 24 || options != ROUTER_ALERT {
            return Err(Reason::Ipv4Options);
        }
        return martian(packet);
    }
    if packet.protocol == protocol::ICMPV6 {
        // Each family has its own; a stack knows the other's as a stranger.
        return Err(Reason::IpProtocol);
    }
    let flags = be16([h[6], h[7]]);
    let more = flags & 0x2000 != 0;
    let offset = flags & 0x1fff;
    let len = total - 20;
    if more || offset != 0 {
        let id = u32::from(be16([h[4], h[5]]));
        fragment(packet, id, offset, more, len)?;
        if offset != 0 {
            return martian(packet);
        }
    }
    transport::read(bytes, packet, at + 20, len)?;
    martian(packet)
}

/// RFC 8200 3 and 4: the header, then a bounded walk over extension headers.
#[inline(always)]
pub(super) fn v6<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    packet.kind = Kind::Ip;
    let h: [u8; 40] = bytes.array(at).ok_or(Reason::Truncated)?;
    let payload = usize::from(be16([h[4], h[5]]));
    // A jumbogram (RFC 2675) says that its payload is empty, and ends here too.
    if h[0] >> 4 != 6 || at + 40 + payload > packet.len as usize {
        return Err(Reason::Ipv6Header);
    }
    packet.hops = h[7];
    packet.source = Address {
        high: u64::from_be_bytes([h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]]),
        low: u64::from_be_bytes([h[16], h[17], h[18], h[19], h[20], h[21], h[22], h[23]]),
    };
    packet.destination = Address {
        high: u64::from_be_bytes([h[24], h[25], h[26], h[27], h[28], h[29], h[30], h[31]]),
        low: u64::from_be_bytes([h[32], h[33], h[34], h[35], h[36], h[37], h[38], h[39]]),
    };
    packet.protocol = h[6];
    let (at, len, in_fragments) = extensions(bytes, packet, at + 40, payload)?;
    if packet.fragment.is_later() {
        return martian(packet);
    }
    if matches!(packet.protocol, protocol::ICMP | protocol::IGMP) {
        return Err(Reason::IpProtocol);
    }
    if packet.protocol == protocol::ICMPV6 {
        transport::icmp_v6(bytes, packet, at, len)?;
        neighbor::discovery(bytes, packet, at, len)?;
        // Not even an atomic one (RFC 6980 5).
        if in_fragments && packet.kind == Kind::Neighbor {
            return Err(Reason::NdMalformed);
        }
    } else {
        transport::read(bytes, packet, at, len)?;
    }
    martian(packet)
}

/// Walks over the extension headers and notes what is behind them in `packet.protocol`. Returns where that begins,
/// how long it is, and whether there was a fragment header.
#[inline(always)]
fn extensions<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet,
    mut at: usize,
    mut len: usize,
) -> Result<(usize, usize, bool), Reason> {
    let mut seen_fragment = false;
    for n in 0..MAX_EXTENSIONS {
        let kind = packet.protocol;
        if !is_extension(kind) {
            return Ok((at, len, seen_fragment));
        }
        if len < 8 {
            return Err(Reason::Ipv6Header);
        }
        let e: [u8; 8] = bytes.array(at).ok_or(Reason::Truncated)?;
        let mut size = 8;
        if kind == protocol::FRAGMENT {
            if seen_fragment {
                return Err(Reason::Ipv6Extension);
            }
            seen_fragment = true;
            let place = be16([e[2], e[3]]);
            let more = place & 1 != 0;
            let offset = place >> 3;
            // Without another fragment it is atomic, and as good as none (RFC 6946).
            if more || offset != 0 {
                let id = u32::from_be_bytes([e[4], e[5], e[6], e[7]]);
                fragment(packet, id, offset, more, len - 8)?;
                if offset != 0 {
                    packet.protocol = e[0];
                    return Ok((at + 8, len - 8, true));
                }
            }
        } else {
            size = (usize::from(e[1]) + 1) * 8;
            // Hop-by-hop options come first or not at all (RFC 8200 4.1).
            if size > MAX_EXTENSION || (kind == protocol::HOP_BY_HOP && n != 0) {
                return Err(Reason::Ipv6Extension);
            }
            if kind == protocol::ROUTING && e[3] != 0 {
                return Err(Reason::Ipv6Routing);
            }
            if size > len {
                return Err(Reason::Ipv6Header);
            }
        }
        packet.protocol = e[0];
        at += size;
        len -= size;
    }
    if is_extension(packet.protocol) {
        return Err(Reason::Ipv6Extension);
    }
    Ok((at, len, seen_fragment))
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS
    )
}

/// Notes a fragment of `len` bytes at `offset` times eight. All but the last are a multiple of eight bytes long, none
/// is empty, and no packet is longer than 65,535 bytes (RFC 791 3.2, RFC 8200 4.5).
#[inline(always)]
fn fragment(packet: &mut Packet, id: u32, offset: u16, more: bool, len: usize) -> Parsed {
    let Ok(units) = u16::try_from(len.div_ceil(8)) else { return Err(Reason::FragmentHeader) };
    let too_long = usize::from(offset) * 8 + len > usize::from(u16::MAX);
    if len == 0 || (more && !len.is_multiple_of(8)) || too_long {
        return Err(Reason::FragmentHeader);
    }
    packet.fragment = Fragment { id, start: offset, stop: offset + units };
    Ok(())
}

/// Addresses that no host may use on a wire: RFC 1122 3.2.1.3, RFC 4291 2.5; and a packet from a host to itself.
#[inline(always)]
fn martian(packet: &Packet) -> Parsed {
    let asks = packet.source.is_unspecified()
        && match packet.protocol {
            protocol::UDP => packet.is_dhcp_request(),
            // Before it has an address a host asks whether somebody else has it (RFC 4862 5.4.2) and joins the
            // group behind it (RFC 3590); a snooping switch queries from no address (RFC 4541 2.1.1).
            protocol::ICMPV6 => packet.destination_mac & mac::GROUP != 0,
            protocol::IGMP => true,
            _ => false,
        };
    // Behind the parser a mapped address is an IPv4 host's; no IPv6 packet may speak for one (RFC 4291 2.5.5.2).
    let is_v6 = packet.ethertype == ethertype::IPV6;
    let source = packet.source.is_martian_source() || (is_v6 && packet.source.is_v4());
    if (source && !asks) || packet.source == packet.destination {
        return Err(Reason::MartianSource);
    }
    if packet.destination.is_martian_destination() || (is_v6 && packet.destination.is_v4()) {
        return Err(Reason::MartianDestination);
    }
    Ok(())
}
