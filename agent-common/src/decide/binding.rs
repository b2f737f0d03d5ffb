//! Is the sender who the packet says: addresses, MACs and VLANs held against the devices they belong to.

use super::{Denied, Ends};
use crate::{
    lookup::Rules,
    parse::{Kind, Packet},
    reason::Reason,
};

/// An address is nobody's proof: it must come from its device's MAC, on its device's VLAN, and a
/// device's MAC must not carry another's address.
#[inline(always)]
pub(super) fn identify<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<(), Denied> {
    let mismatch = |other: Reason| match packet.kind {
        Kind::Arp => Reason::ArpSenderMismatch,
        Kind::Ipv4 | Kind::Ipv6 | Kind::NeighborDiscovery | Kind::Other => other,
    };
    let row = ends.source_mac;
    if row.device != 0 {
        if !is_on_vlan(row.vlan, packet) {
            return Err((Reason::WrongVlan, row.device));
        }
        let foreign = match packet.kind {
            // 0.0.0.0 is what a host says while it asks for an address (RFC 2131 4.1, RFC 5227 2.1.1).
            Kind::Ipv4 | Kind::Arp => packet.source != 0 && ends.source.device != row.device,
            // A device's IPv6 addresses need not all be declared (RFC 4862 makes some), but another's are not its own.
            Kind::Ipv6 | Kind::NeighborDiscovery | Kind::Other => {
                ends.source.device != 0 && ends.source.device != row.device
            }
        };
        if foreign {
            // The claimed address's owner is the victim; without one it is the device's own affair.
            let victim = if ends.source.device != 0 { ends.source.device } else { row.device };
            return Err((mismatch(Reason::SourceAddressMismatch), victim));
        }
    } else if ends.source.is_gateway() {
        // What the gateway itself says is sent, never received: a bridge would carry the lie to a device.
        return Err((mismatch(Reason::SourceMacMismatch), ends.destination.device));
    } else if ends.source.device != 0 {
        if ends.source.has_mac() {
            return Err((mismatch(Reason::SourceMacMismatch), ends.source.device));
        }
        if !is_on_vlan(ends.source.vlan, packet) {
            return Err((Reason::WrongVlan, ends.source.device));
        }
    }
    if packet.kind == Kind::Arp {
        // The sender field, not the frame, is what a neighbour's table believes (RFC 826).
        if packet.sender_mac != packet.source_mac {
            let named = rules.mac(packet.sender_mac).device;
            let victim = if ends.source.device != 0 { ends.source.device } else { row.device };
            let victim = if victim != 0 { victim } else { named };
            if victim != 0 {
                return Err((Reason::ArpSenderMismatch, victim));
            }
        }
        return Ok(());
    }
    let row = ends.destination_mac;
    if row.device != 0 && packet.kind == Kind::Ipv4 && ends.destination.device != row.device {
        return Err((Reason::DestinationMismatch, row.device));
    }
    Ok(())
}

#[inline(always)]
fn is_on_vlan(vlan: u16, packet: &Packet) -> bool {
    vlan == 0 || (vlan == packet.vlan && packet.inner_vlan == 0)
}
