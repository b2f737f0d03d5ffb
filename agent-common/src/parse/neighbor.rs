//! Who has an address: ARP and IPv6 neighbour discovery, as far as they claim something.

use super::{Kind, Packet, Parsed, be16};
use crate::{address::Address, bytes::Bytes, reason::Reason, wire::neighbor};

/// Options that are walked; messages of hosts carry one or two.
const MAX_OPTIONS: usize = 4;

/// RFC 826, for Ethernet and IPv4 only: hardware type 1, protocol 0x0800, lengths 6 and 4.
#[inline(always)]
pub(super) fn arp<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize) -> Parsed {
    packet.kind = Kind::Arp;
    let a: [u8; 28] = bytes.array(at).ok_or(Reason::Truncated)?;
    packet.source = Address::v4(u32::from_be_bytes([a[14], a[15], a[16], a[17]]));
    packet.destination = Address::v4(u32::from_be_bytes([a[24], a[25], a[26], a[27]]));
    packet.claim.mac = u64::from_be_bytes([0, 0, a[8], a[9], a[10], a[11], a[12], a[13]]);
    packet.claim.address = packet.source;
    let fixed = [a[0], a[1], a[2], a[3], a[4], a[5]] == [0, 1, 8, 0, 6, 4];
    let operation = be16([a[6], a[7]]);
    // A driver pads to 60 bytes, some to 64; more is a way to carry something else.
    let is_padded_out = packet.len > 128;
    if !fixed || !(operation == 1 || operation == 2) || is_padded_out {
        return Err(Reason::ArpMalformed);
    }
    Ok(())
}

/// RFC 4861 4, where the ICMPv6 message at `at` is one of it. What receivers must discard is a fault: a wrong hop
/// limit means that the message crossed a router (6.1, 7.1).
#[inline(always)]
pub(super) fn discovery<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, at: usize, len: usize) -> Parsed {
    let kind = packet.icmp_type;
    if !matches!(kind, neighbor::ROUTER_SOLICITATION..=neighbor::REDIRECT) {
        return Ok(());
    }
    packet.kind = Kind::Neighbor;
    if kind == neighbor::REDIRECT {
        return Err(Reason::Redirect);
    }
    let about_a_host = matches!(kind, neighbor::SOLICITATION | neighbor::ADVERTISEMENT);
    let fixed = match kind {
        neighbor::ROUTER_SOLICITATION => 8,
        neighbor::ROUTER_ADVERTISEMENT => 16,
        _ => 24,
    };
    // A fragmented one is discarded too (RFC 6980).
    let code = packet.service_port & 0xff;
    if packet.hops != neighbor::HOP_LIMIT || code != 0 || len < fixed || packet.fragment.is_some() {
        return Err(Reason::NdMalformed);
    }
    if about_a_host {
        let target: [u8; 16] = bytes.array(at + 8).ok_or(Reason::Truncated)?;
        packet.claim.address = Address::from_octets(target);
        if packet.claim.address.is_multicast() {
            return Err(Reason::NdMalformed);
        }
    }
    if kind == neighbor::ROUTER_ADVERTISEMENT {
        if !packet.source.is_link_local() {
            return Err(Reason::NdMalformed);
        }
        // Only a router that may be one gets it past the guard: what it says of itself is its own affair.
        return Ok(());
    }
    options(bytes, packet, at + fixed, len - fixed)?;
    // Who has no address yet has nothing to say of a hardware address either (RFC 4861 6.1.1, 7.1.1).
    let is_named = packet.claim.mac != 0;
    if is_named && packet.source.is_unspecified() { Err(Reason::NdMalformed) } else { Ok(()) }
}

/// The first link-layer address option; two different ones are nobody's honest message.
#[inline(always)]
fn options<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, mut at: usize, mut len: usize) -> Parsed {
    for _ in 0..MAX_OPTIONS {
        if len == 0 {
            return Ok(());
        }
        let o: [u8; 8] = bytes.array(at).ok_or(Reason::NdMalformed)?;
        let size = usize::from(o[1]) * 8;
        if size == 0 || size > len || size > 64 {
            return Err(Reason::NdMalformed);
        }
        if matches!(o[0], neighbor::SOURCE_LINK | neighbor::TARGET_LINK) {
            let mac = u64::from_be_bytes([0, 0, o[2], o[3], o[4], o[5], o[6], o[7]]);
            if size != 8 || (packet.claim.mac != 0 && packet.claim.mac != mac) {
                return Err(Reason::NdMalformed);
            }
            packet.claim.mac = mac;
        }
        at += size;
        len -= size;
    }
    if len == 0 { Ok(()) } else { Err(Reason::NdMalformed) }
}
