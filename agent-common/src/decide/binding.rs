//! Is the sender who the packet says: addresses, MACs, VLANs and segments held against the devices they belong to;
//! and which address a device has by DHCP.

use super::{Denied, Ends, Verdict, Victim};
use crate::{
    layout::Lease,
    lookup::{Rules, device_flag},
    parse::{Claim, Kind, Packet},
    reason::{Grant, Reason},
    wire::{ethertype, neighbor},
};

/// An address is nobody's proof: it must come from its device's MAC, on its device's segment and VLAN, and a
/// device's MAC must not carry another's address.
#[inline(always)]
pub(super) fn identify<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<(), Denied> {
    let row = ends.source_mac;
    let source = &ends.source;
    if row.device != 0 {
        is_in_place(row.segment, row.vlan, packet, ends).map_err(|reason| (reason, Victim::row(&row)))?;
        if is_foreign(packet, ends) {
            // The claimed address's owner is the victim; without one it is the device's own affair.
            let victim =
                Victim { everybody: source.is_gateway(), ..Victim::end(source).or(Victim::row(&row)) };
            let reason = match packet.kind {
                Kind::Arp => Reason::ArpSenderMismatch,
                Kind::Neighbor => Reason::NdMismatch,
                Kind::Ip | Kind::Other => Reason::SourceAddressMismatch,
            };
            return Err((reason, victim));
        }
    } else if source.is_gateway() {
        // What the gateway itself says is sent, never received: a bridge would carry the lie to a device.
        return Err((claimed_by_another(packet), gateway(ends)));
    } else if source.device != 0 {
        if source.has_mac() {
            return Err((claimed_by_another(packet), Victim::end(source)));
        }
        is_in_place(source.segment, source.vlan, packet, ends)
            .map_err(|reason| (reason, Victim::end(source)))?;
    }
    match packet.kind {
        Kind::Arp => arp(packet, ends, rules),
        Kind::Neighbor => discovery(packet, ends, rules),
        Kind::Ip => {
            let row = ends.destination_mac;
            let is_elsewhere = row.device != 0 && ends.destination.device != row.device;
            // A device that asks for an address is answered at the one it will have, which no other has for good.
            let is_free = ends.destination.device == 0 || ends.destination.flags & device_flag::LEASED != 0;
            let is_offer = is_free && row.flags & device_flag::LEASED != 0 && packet.is_dhcp_reply();
            if is_elsewhere && !is_offer {
                Err((Reason::DestinationMismatch, Victim::row(&row)))
            } else {
                Ok(())
            }
        }
        Kind::Other => Ok(()),
    }
}

/// A claim on the gateway's address: counted for whoever it is told to.
#[inline(always)]
fn gateway(ends: &Ends) -> Victim {
    Victim { everybody: true, ..Victim::end(&ends.destination) }
}

/// Two MACs claim one address: in an announcement it is a conflict, on any other packet a spoof.
#[inline(always)]
fn claimed_by_another(packet: &Packet) -> Reason {
    match packet.kind {
        Kind::Arp | Kind::Neighbor => Reason::AddressConflict,
        Kind::Ip | Kind::Other => Reason::SourceMacMismatch,
    }
}

#[inline(always)]
fn is_in_place(segment: u16, vlan: u16, packet: &Packet, ends: &Ends) -> Result<(), Reason> {
    if segment != 0 && segment != ends.segment.segment {
        return Err(Reason::WrongSegment);
    }
    if vlan != 0 && (vlan != packet.vlan || packet.inner_vlan != 0) {
        return Err(Reason::WrongVlan);
    }
    Ok(())
}

/// Whether a device's MAC sends from an address that is not the device's.
#[inline(always)]
fn is_foreign(packet: &Packet, ends: &Ends) -> bool {
    let device = ends.source_mac.device;
    if ends.source.device == device {
        return false;
    }
    match packet.kind {
        Kind::Other => false,
        // What a host says while it asks for an address (RFC 2131 4.1, RFC 5227 2.1.1, RFC 4862 5.4.2).
        Kind::Ip | Kind::Arp | Kind::Neighbor if packet.source.is_unspecified() => false,
        // A device asks for its lease again from the address it has, which we may not have heard of.
        Kind::Ip if packet.is_dhcp_request() => {
            ends.source.device != 0
                || ends.source.is_gateway()
                || ends.source_mac.flags & device_flag::LEASED == 0
        }
        Kind::Ip | Kind::Arp | Kind::Neighbor => true,
    }
}

/// The sender field, not the frame, is what a neighbour's table believes (RFC 826).
#[inline(always)]
fn arp<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<(), Denied> {
    if packet.claim.mac == packet.source_mac {
        return Ok(());
    }
    let named = rules.mac(packet.claim.mac);
    if named.device != 0 && named.device == ends.source_mac.device {
        // One of the device's other MACs, as a bond announces them.
        return Ok(());
    }
    let named = Victim::row(&named);
    let victim = Victim::end(&ends.source).or(Victim::row(&ends.source_mac)).or(named);
    if victim.device != 0 { Err((Reason::ArpSenderMismatch, victim)) } else { Ok(()) }
}

/// An advertisement claims its target, and any message with a link-layer option claims that address for its sender
/// (RFC 4861 7.2.3, 7.2.5). A question about a target claims nothing of it, unless it comes from no address: then its
/// sender is about to take the target for itself, and whoever has it would give it up (RFC 4862 5.4.3).
#[inline(always)]
fn discovery<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<(), Denied> {
    let device = ends.source_mac.device;
    let claims = packet.icmp_type == neighbor::ADVERTISEMENT;
    let probes = packet.icmp_type == neighbor::SOLICITATION && packet.source.is_unspecified();
    let is_about = claims || probes;
    // On the link every host has an address of its own making.
    let target =
        if is_about { super::whose(&packet.claim.address, &ends.source_mac, rules) } else { ends.source };
    if is_about && target.device != device {
        if target.device != 0 && target.has_mac() {
            return Err((Reason::AddressConflict, Victim::end(&target)));
        }
        if claims && device != 0 {
            let victim = Victim { everybody: target.is_gateway(), ..Victim::row(&ends.source_mac) };
            return Err((Reason::NdMismatch, victim));
        }
    }
    if is_about && target.is_gateway() {
        return Err((Reason::AddressConflict, gateway(ends)));
    }
    let mac = packet.claim.mac;
    if mac != 0 && mac != packet.source_mac {
        let named = rules.mac(mac);
        if named.device != 0 && named.device == device {
            return Ok(());
        }
        let named = Victim::row(&named);
        let victim = Victim::row(&ends.source_mac).or(Victim::end(&target)).or(named);
        if victim.device != 0 {
            return Err((Reason::NdMismatch, victim));
        }
    }
    Ok(())
}

/// Notes that a device has an address: because a server that may serve says so to it, or because it goes on using one.
/// Returns whether a server said something that user space should read.
#[inline(always)]
pub(super) fn learn<R: Rules>(packet: &Packet, ends: &Ends, verdict: Verdict, rules: &R) -> bool {
    let now = rules.now();
    if packet.kind == Kind::Ip && packet.is_dhcp_reply() {
        let Claim { address, mac } = packet.claim;
        let client = rules.mac(mac);
        let is_client = client.flags & device_flag::LEASED != 0;
        // Elsewhere than in the infrastructure set it is the renewal of an address, sent to that address.
        let renews = address == packet.destination
            && ends.destination.device == client.device
            && ends.source.device != client.device;
        if verdict != Verdict::Allow(Grant::Dhcp) && !(is_client && renews) {
            return false;
        }
        if packet.ethertype == ethertype::IPV6 {
            // Its addresses stand in options, which only user space reads.
            return true;
        }
        let known = rules.lease(&address);
        // A group or everybody is no client's address, whoever says so.
        if mac == 0 || address.is_martian_source() || (!is_client && known.mac == 0) {
            return false;
        }
        let length = rules.settings().lease_idle;
        let expires = now.saturating_add(length);
        // What user space has read of the lease holds as long as it is the same one; an address that goes to somebody
        // else is the device's no longer.
        if known.mac != mac || known.expires < expires {
            rules.bind(&address, &Lease { mac, expires, length });
        }
        return is_client;
    }
    // A renewal may take a way that does not lead past here: an address in use is not taken away.
    if ends.source_mac.flags & device_flag::LEASED != 0 && ends.source.device == ends.source_mac.device {
        let known = rules.lease(&packet.source);
        if known.mac == packet.source_mac && known.expires < now.saturating_add(known.length / 2) {
            rules.bind(&packet.source, &Lease { expires: now.saturating_add(known.length), ..known });
        }
    }
    false
}
