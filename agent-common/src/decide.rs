//! The decision: a packet meets the policy, a verdict comes out.
//!
//! Read [`decide`] from top to bottom: it is the order in which every frame is judged, in the kernel
//! and on the host alike. There are no deny rules; what nothing allows is denied, with the nearest reason.

use crate::{
    layout::{InterfaceRow, MacRow},
    lookup::{Endpoint, Rules, Unmanaged, class, identity, setting, shape},
    mode::Mode,
    parse::{Kind, Packet},
    reason::{Grant, Reason},
    wire::{mac, protocol},
};

mod binding;
mod conversation;

use binding::identify;
use conversation::converse;

/// What the policy says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is legitimate.
    Allow(Grant),
    /// It is not.
    Deny(Reason),
}

/// What happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Pass,
    /// It ends here.
    Drop,
}

/// A verdict with everything that is counted or told about it. Ids are 0 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the policy says.
    pub verdict: Verdict,
    /// What XDP does: a denied packet passes while no enforcing device is involved.
    pub action: Action,
    /// The strictest mode of the managed ends; for unmanaged traffic what the interface says.
    pub mode: Mode,
    /// The device the packet is counted for.
    pub device: u32,
    /// The sending device.
    pub source: u32,
    /// The receiving device.
    pub destination: u32,
    /// The rule that allowed it.
    pub rule: u32,
}

/// The two ends of a packet, as the tables know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Device behind the source MAC, all zero when it is nobody's.
    source_mac: MacRow,
    /// Device behind the destination MAC, likewise.
    destination_mac: MacRow,
    /// Who is behind the source address.
    source: Endpoint,
    /// Who is behind the destination address.
    destination: Endpoint,
}

/// A verdict before it is known what happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the policy says.
    pub verdict: Verdict,
    /// The rule that allows it, 0 when none did.
    pub rule: u32,
    /// The device whose identity or place was misused; 0 when it is the nearest managed end's affair.
    pub victim: u32,
}

/// An allowed packet: why, and by which rule.
type Granted = (Grant, u32);
/// A denied packet: why, and the device to count it for (0: the nearest managed end).
type Denied = (Reason, u32);

/// Judges one packet: who is it, may it, and what happens to it. The kernel takes the same three steps,
/// each in a function of its own.
#[inline(always)]
pub fn decide<R: Rules>(packet: &Packet, rules: &R) -> Decision {
    let ends = recognise(packet, rules);
    let judgement = judge(packet, &ends, rules);
    account(packet, &ends, &rules.interface(), rules.head().shapes, &judgement)
}

/// Who is it: each end by MAC and by address.
#[inline(always)]
pub fn recognise<R: Rules>(packet: &Packet, rules: &R) -> Ends {
    let nobody = Endpoint::network(identity::UNKNOWN);
    let group = packet.destination_mac & mac::GROUP != 0;
    let (source, destination) = match packet.kind {
        Kind::Ipv4 | Kind::Arp => (rules.endpoint(packet.source), rules.endpoint(packet.destination)),
        Kind::Ipv6 | Kind::NeighborDiscovery => {
            (rules.endpoint_v6(&packet.source_v6), rules.endpoint_v6(&packet.destination_v6))
        }
        Kind::Other => (nobody, nobody),
    };
    Ends {
        source_mac: rules.mac(packet.source_mac),
        destination_mac: if group { MacRow::default() } else { rules.mac(packet.destination_mac) },
        source,
        destination,
    }
}

/// May it: the verdict, with its rule or its victim.
#[inline(always)]
pub fn judge<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Judgement {
    match verdict(packet, ends, rules) {
        Ok((grant, rule)) => Judgement { verdict: Verdict::Allow(grant), rule, victim: 0 },
        Err((reason, victim)) => Judgement { verdict: Verdict::Deny(reason), rule: 0, victim },
    }
}

/// The order in which a frame is judged.
#[inline(always)]
fn verdict<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<Granted, Denied> {
    if let Some(reason) = packet.fault {
        return Err((reason, 0));
    }
    if is_management(packet, ends, rules) {
        return Ok((Grant::Management, 0));
    }
    identify(packet, ends, rules)?;
    if let Some(verdict) = infrastructure(packet, ends, rules) {
        return verdict;
    }
    if !is_managed(ends) {
        return match Unmanaged::from_code(rules.interface().unmanaged) {
            Unmanaged::Pass => Ok((Grant::Unmanaged, 0)),
            Unmanaged::Monitor | Unmanaged::Drop => Err((Reason::Unmanaged, 0)),
        };
    }
    if is_quarantined(ends) {
        return quarantine(packet, ends, rules);
    }
    match packet.kind {
        Kind::Ipv4 => converse(packet, ends, rules),
        Kind::Ipv6 | Kind::NeighborDiscovery => Err((Reason::Ipv6, 0)),
        Kind::Arp | Kind::Other => Err((Reason::Ethertype, 0)),
    }
}

/// The management pin: no policy can close it.
#[inline(always)]
fn is_management<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> bool {
    if packet.kind != Kind::Ipv4 || !ends.destination.is_gateway() || rules.interface().management == 0 {
        return false;
    }
    // An ICMP error about such traffic belongs to it: without "fragmentation needed" a session hangs.
    let quoted = &packet.quoted;
    let (peer, protocol, port) = if packet.protocol == protocol::ICMP && quoted.protocol != 0 {
        (quoted.destination, quoted.protocol, quoted.source_port)
    } else {
        (packet.source, packet.protocol, packet.destination_port)
    };
    rules.is_management(peer, protocol, port)
}

#[inline(always)]
fn is_managed(ends: &Ends) -> bool {
    ends.source_mac.device != 0
        || ends.destination_mac.device != 0
        || ends.source.device != 0
        || ends.destination.device != 0
}

/// What devices cannot live without, each a switch in the configuration.
#[inline(always)]
fn infrastructure<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Option<Result<Granted, Denied>> {
    let (grant, bit) = match packet.kind {
        Kind::Arp => (Grant::Arp, setting::ARP),
        Kind::NeighborDiscovery => (Grant::NeighborDiscovery, setting::NEIGHBOR_DISCOVERY),
        Kind::Ipv4 => {
            // A client asks everybody or the gateway. Asking one other server by its address needs a rule:
            // anybody could be behind it. A client whose renewal is denied asks everybody in time
            // (RFC 2131 4.4.5, REBINDING).
            let everybody = packet.destination == u32::MAX && packet.destination_mac == mac::BROADCAST;
            let asks = packet.is_dhcp_request()
                && ends.source_mac.device != 0
                && (everybody || ends.destination.is_gateway());
            // A server is never a managed device here; one that is needs a rule.
            // An answer comes from the client's own segment, so it is sent to the client's MAC or to everybody;
            // one that was routed would be a way to every device.
            let to_client = ends.destination_mac.device != 0
                || packet.destination_mac & mac::GROUP != 0
                || ends.destination.is_gateway();
            let from_server = ends.source_mac.device == 0 && ends.source.device == 0;
            let answers = packet.is_dhcp_reply() && from_server && to_client;
            if !asks && !answers {
                return None;
            }
            (Grant::Dhcp, setting::DHCP)
        }
        Kind::Ipv6 | Kind::Other => return None,
    };
    if rules.settings().flags & bit != 0 {
        return Some(Ok((grant, 0)));
    }
    Some(Err((Reason::InfrastructureOff, 0)))
}

#[inline(always)]
fn is_quarantined(ends: &Ends) -> bool {
    strictest(ends) == Some(Mode::Quarantine)
}

/// A quarantined device talks with its remediation peers and nobody else. A peer that is itself a device, or
/// the gateway, keeps its own allow list: quarantine never lets a device reach more than before.
#[inline(always)]
fn quarantine<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<Granted, Denied> {
    if packet.kind != Kind::Ipv4 {
        return Err((Reason::Quarantined, 0));
    }
    // Each quarantined end needs the other one to be a peer: that it is one itself opens nothing.
    let source = is_held(&ends.source_mac, &ends.source);
    if source && rules.permitted(identity::ANY, ends.destination.identity, class::REMEDIATION) == 0 {
        return Err((Reason::Quarantined, 0));
    }
    let destination = is_held(&ends.destination_mac, &ends.destination);
    if destination && rules.permitted(ends.source.identity, identity::ANY, class::REMEDIATION) == 0 {
        return Err((Reason::Quarantined, 0));
    }
    let is_protected = |end: &Endpoint| end.device != 0 || end.is_gateway();
    let other_is_protected = (source && destination)
        || (!source && is_protected(&ends.source))
        || (!destination && is_protected(&ends.destination));
    if other_is_protected { converse(packet, ends, rules) } else { Ok((Grant::Remediation, 0)) }
}

/// Whether the device at this end is quarantined.
#[inline(always)]
fn is_held(by_mac: &MacRow, by_address: &Endpoint) -> bool {
    (by_mac.device != 0 && Mode::from_code(by_mac.mode) == Mode::Quarantine)
        || (by_address.device != 0 && by_address.mode == Mode::Quarantine)
}

/// The strictest mode among the managed ends, `None` when there is no managed end.
#[inline(always)]
fn strictest(ends: &Ends) -> Option<Mode> {
    let mut mode = None;
    let mut raise = |candidate: Mode| {
        if mode.is_none_or(|m| m < candidate) {
            mode = Some(candidate);
        }
    };
    if ends.source_mac.device != 0 {
        raise(Mode::from_code(ends.source_mac.mode));
    }
    if ends.destination_mac.device != 0 {
        raise(Mode::from_code(ends.destination_mac.mode));
    }
    if ends.source.device != 0 {
        raise(ends.source.mode);
    }
    if ends.destination.device != 0 {
        raise(ends.destination.mode);
    }
    mode
}

/// What happens to it: a denied packet is dropped if any managed end enforces.
#[inline(always)]
pub fn account(
    packet: &Packet,
    ends: &Ends,
    interface: &InterfaceRow,
    shapes: u32,
    judgement: &Judgement,
) -> Decision {
    let Judgement { verdict, rule, victim } = *judgement;
    let by_mac = ends.source_mac.device;
    let source = if by_mac != 0 { by_mac } else { ends.source.device };
    let by_mac = ends.destination_mac.device;
    let destination = if by_mac != 0 && packet.kind != Kind::Arp { by_mac } else { ends.destination.device };
    // Who claims the gateway's address stands between every device and the rest, whoever the packet is for.
    let claims_gateway = matches!(verdict, Verdict::Deny(_)) && ends.source.is_gateway();
    let mode = strictest(ends).unwrap_or(match Unmanaged::from_code(interface.unmanaged) {
        Unmanaged::Monitor | Unmanaged::Pass if claims_gateway && shapes & shape::ENFORCING != 0 => {
            Mode::Enforce
        }
        Unmanaged::Monitor | Unmanaged::Pass => Mode::Monitor,
        Unmanaged::Drop => Mode::Enforce,
    });
    // The protected end is where the packet was going; a packet to nobody managed is its sender's affair.
    let nearest = if destination != 0 { destination } else { source };
    let action = match verdict {
        Verdict::Deny(_) if mode != Mode::Monitor => Action::Drop,
        Verdict::Deny(_) | Verdict::Allow(_) => Action::Pass,
    };
    let device = if victim != 0 { victim } else { nearest };
    Decision { verdict, action, mode, device, source, destination, rule }
}
