//! The decision: a packet meets the policy, a verdict comes out.
//!
//! Read [`decide`] from top to bottom: it is the order in which every frame is judged, in the kernel
//! and on the host alike. There are no deny rules; what nothing allows is denied, with the nearest reason.

use crate::{
    address::Address,
    flow,
    layout::{EndRow, Lease, SegmentRow, reading},
    lookup::{Endpoint, Rules, Unmanaged, device_flag, identity, segment_flag, shape, trust},
    mode::Mode,
    parse::{Kind, Packet},
    reason::{Grant, Reason},
    wire::{dns, mac, protocol},
};

mod binding;
mod conversation;
mod fragments;
mod infrastructure;
mod quarantine;
mod victim;

use binding::identify;
use conversation::{converse, exchange, is_about_a_device};
use infrastructure::infrastructure;
use quarantine::{is_quarantined, quarantine};
pub use victim::Victim;
use victim::{Denied, faulty, nearest};

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
    /// The strictest mode of the managed ends; for unmanaged traffic what the segment says.
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

/// Where a packet is and between whom, as the tables know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The segment on which it arrived.
    segment: SegmentRow,
    /// Device behind the source MAC, all zero when it is nobody's.
    source_mac: EndRow,
    /// Device behind the destination MAC, likewise.
    destination_mac: EndRow,
    /// Who is behind the source address.
    source: Endpoint,
    /// Who is behind the destination address.
    destination: Endpoint,
}

impl Ends {
    /// Who is behind the source address.
    #[inline(always)]
    pub const fn source(&self) -> &Endpoint {
        &self.source
    }

    /// Who is behind the destination address.
    #[inline(always)]
    pub const fn destination(&self) -> &Endpoint {
        &self.destination
    }

    /// Nobody is known yet.
    pub fn unknown() -> Self {
        let (nobody, unknown) = (EndRow::default(), Endpoint::network(identity::UNKNOWN));
        Self {
            segment: SegmentRow::default(),
            source_mac: nobody,
            destination_mac: nobody,
            source: unknown,
            destination: unknown,
        }
    }
}

/// A verdict before it is known what happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the policy says.
    pub verdict: Verdict,
    /// The rule that allows it, 0 when none did.
    pub rule: u32,
    /// Whose identity or place was misused.
    pub victim: Victim,
    /// What user space reads in the frame, see [`reading`].
    pub reading: u32,
}

/// An allowed packet: why, and by which rule.
type Granted = (Grant, u32);

/// Judges one packet: who is it, may it, what does it leave behind, and what happens to it. The kernel takes the same
/// steps, each in a function of its own.
#[inline(always)]
pub fn decide<R: Rules>(packet: &Packet, rules: &R) -> Decision {
    let mut packet = *packet;
    let mut ends = Ends::unknown();
    recognise(&mut packet, rules, &mut ends);
    let mut judgement = judge(&packet, &ends, rules);
    settle(&packet, &ends, rules, &mut judgement);
    account(&packet, &ends, rules.head().shapes, &judgement)
}

/// Who is it: each end by MAC and by address, written into `ends`, whatever was there. A later fragment gets the ports of its
/// packet here.
#[inline(always)]
pub fn recognise<R: Rules>(packet: &mut Packet, rules: &R, ends: &mut Ends) {
    ends.segment = rules.segment(packet.vlan);
    ends.source_mac = rules.mac(packet.source_mac);
    let is_group = packet.destination_mac & mac::GROUP != 0;
    ends.destination_mac = if is_group && packet.kind != Kind::Other {
        EndRow::default()
    } else {
        rules.mac(packet.destination_mac)
    };
    match packet.kind {
        Kind::Ip | Kind::Arp | Kind::Neighbor => {
            ends.source = whose(&packet.source, &ends.source_mac, rules);
            ends.destination = whose(&packet.destination, &ends.destination_mac, rules);
        }
        Kind::Other => {
            ends.source = Endpoint::from_row(&ends.source_mac);
            ends.destination = Endpoint::from_row(&ends.destination_mac);
        }
    }
    if is_group {
        ends.destination_mac = EndRow::default();
    }
    let everybody = packet.destination_mac == mac::BROADCAST || packet.destination == Address::BROADCAST;
    let is_somebody = ends.destination.device != 0 || ends.destination.is_gateway();
    if everybody && !is_somebody && packet.kind != Kind::Arp && !packet.destination.is_multicast() {
        ends.destination = Endpoint::network(identity::BROADCAST);
    }
    if packet.is_to_group() {
        ends.destination.flags |= device_flag::GROUP;
    }
    if packet.fault.is_none() && fragments::concern(packet, ends) {
        fragments::borrow_ports(packet, ends, rules);
    }
}

/// Who is behind an address on a packet that names `row`'s hardware address for that end.
#[inline(always)]
fn whose<R: Rules>(address: &Address, row: &EndRow, rules: &R) -> Endpoint {
    let found = rules.endpoint(address);
    if found.device != 0 || found.is_gateway() || address.is_unspecified() {
        return found;
    }
    // Many IPv6 hosts make their addresses of their hardware address.
    let maker = address.eui64_maker();
    if maker != 0 {
        let maker = rules.mac(maker);
        if maker.device != 0 {
            return Endpoint::from_row(&maker);
        }
    }
    // And every one has an address for the link, however it is made.
    if address.is_link_local() {
        return if row.device != 0 { Endpoint::from_row(row) } else { found };
    }
    if rules.head().shapes & shape::LEASED == 0 {
        return found;
    }
    let Lease { mac, expires, length: _ } = rules.lease(address);
    if mac == 0 || expires <= rules.now() {
        return found;
    }
    let client = rules.mac(mac);
    if client.flags & device_flag::LEASED == 0 {
        return found;
    }
    // The address carries its networks' names besides the device's own.
    let identity = rules.leased(client.identity, found.identity);
    let end = Endpoint::from_row(&client);
    if identity == 0 { end } else { Endpoint { identity, ..end } }
}

/// May it: the verdict, with its rule or its victim.
#[inline(always)]
pub fn judge<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Judgement {
    match verdict(packet, ends, rules) {
        Ok((grant, rule)) => Judgement {
            verdict: Verdict::Allow(grant),
            rule,
            victim: Victim::NEAREST,
            reading: reading::NOTHING,
        },
        Err((reason, victim)) => {
            Judgement { verdict: Verdict::Deny(reason), rule: 0, victim, reading: reading::NOTHING }
        }
    }
}

/// The order in which a frame is judged.
#[inline(always)]
fn verdict<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<Granted, Denied> {
    if let Some(reason) = packet.fault {
        return Err(faulty(packet, reason));
    }
    if is_management(packet, ends, rules) {
        return Ok((Grant::Management, 0));
    }
    identify(packet, ends, rules)?;
    let switched_off = match infrastructure(packet, ends, rules) {
        // A rule may allow it all the same.
        Some(Err((Reason::InfrastructureOff, _))) => true,
        // A quarantined device needs an address, and to find its remediation peers.
        Some(Ok((grant, _)))
            if is_quarantined(ends)
                && !matches!(grant, Grant::Arp | Grant::NeighborDiscovery | Grant::Dhcp) =>
        {
            return Err(nearest(Reason::Quarantined));
        }
        Some(verdict) => return verdict,
        None => false,
    };
    // A router's complaint to somebody about what he sent to a device is the device's affair too: without "packet too
    // big" his session with it hangs.
    if !is_managed(ends) && !is_about_a_device(packet, rules) {
        return match Unmanaged::from_code(ends.segment.unmanaged) {
            Unmanaged::Pass => Ok((Grant::Unmanaged, 0)),
            Unmanaged::Monitor | Unmanaged::Drop if is_receiver(packet, ends, rules) => {
                Ok((Grant::Receiver, 0))
            }
            Unmanaged::Monitor | Unmanaged::Drop => Err(nearest(Reason::Unmanaged)),
        };
    }
    if is_quarantined(ends)
        && let Some(granted) = quarantine(packet, ends, rules)?
    {
        return Ok(granted);
    }
    let verdict = match packet.kind {
        Kind::Ip => converse(packet, ends, rules),
        Kind::Other => exchange(packet, ends, rules),
        Kind::Arp | Kind::Neighbor => Err(nearest(Reason::InfrastructureOff)),
    };
    if switched_off { verdict.map_err(|_| nearest(Reason::InfrastructureOff)) } else { verdict }
}

/// The management pin: no policy can close it.
#[inline(always)]
fn is_management<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> bool {
    let honoured = ends.segment.flags & segment_flag::MANAGEMENT != 0;
    if packet.kind != Kind::Ip || !ends.destination.is_gateway() || !honoured {
        return false;
    }
    // An ICMP error about such traffic belongs to it: without "fragmentation needed" a session hangs.
    let quoted = &packet.quoted;
    let (peer, protocol, port) = if packet.is_icmp() && quoted.protocol != 0 {
        (&quoted.destination, quoted.protocol, quoted.source_port)
    } else {
        (&packet.source, packet.protocol, packet.destination_port)
    };
    rules.is_management(peer, protocol, port)
}

/// What a receiver of the agent's records says in a connection that the agent has opened. Denied, it would be a violation that the
/// agent tells the receiver, which acknowledges it, and so on for ever.
#[inline(always)]
fn is_receiver<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> bool {
    if packet.kind != Kind::Ip || !ends.destination.is_gateway() {
        return false;
    }
    let quoted = &packet.quoted;
    let (peer, protocol, port) = if packet.is_icmp() && quoted.protocol != 0 {
        (&quoted.destination, quoted.protocol, quoted.destination_port)
    } else if packet.is_tcp_open() {
        return false;
    } else {
        (&packet.source, packet.protocol, packet.source_port)
    };
    protocol == protocol::TCP && rules.is_trusted(peer, port, trust::RECEIVER)
}

#[inline(always)]
fn is_managed(ends: &Ends) -> bool {
    ends.source_mac.device != 0
        || ends.destination_mac.device != 0
        || ends.source.device != 0
        || ends.destination.device != 0
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

/// What an allowed packet leaves behind: the place of a fragment, the lease that a server's answer names, the addresses
/// that a resolver's does. A fragment that contradicts the others turns out to be denied here.
#[inline(always)]
pub fn settle<R: Rules>(packet: &Packet, ends: &Ends, rules: &R, judgement: &mut Judgement) {
    if !matches!(judgement.verdict, Verdict::Allow(_)) {
        return;
    }
    if fragments::concern(packet, ends)
        && let Err(reason) = fragments::place(packet, rules)
    {
        judgement.verdict = Verdict::Deny(reason);
        judgement.rule = 0;
        return;
    }
    let shapes = rules.head().shapes;
    if shapes & shape::LEASED != 0 && binding::learn(packet, ends, judgement.verdict, rules) {
        judgement.reading = reading::LEASES;
    } else if shapes & shape::NAMED != 0 && resolves(packet, ends, judgement.verdict, rules) {
        judgement.reading = reading::NAMES;
    }
}

/// Whether a resolver answers a question in it of a device that some rule lets use names: a datagram of a flow that the
/// device began. What somebody else began, or is older than the agent, may be anybody's word.
#[inline(always)]
fn resolves<R: Rules>(packet: &Packet, ends: &Ends, verdict: Verdict, rules: &R) -> bool {
    if packet.kind != Kind::Ip
        || packet.protocol != protocol::UDP
        || packet.source_port != dns::SERVER
        || packet.fragment.is_some()
        || verdict != Verdict::Allow(Grant::Flow)
        || ends.destination.flags & device_flag::BY_NAME == 0
    {
        return false;
    }
    let ports = (packet.source_port, packet.destination_port);
    let (key, side) = flow::key(packet.source, packet.destination, ports.0, ports.1, protocol::UDP, 0);
    rules.with_flow(&key, |flow| flow.initiator != side) == Some(true)
}

/// What happens to it: a denied packet is dropped if any managed end enforces.
#[inline(always)]
pub fn account(packet: &Packet, ends: &Ends, shapes: u32, judgement: &Judgement) -> Decision {
    let Judgement { verdict, rule, victim, reading: _ } = *judgement;
    let by_mac = ends.source_mac.device;
    let source = if by_mac != 0 { by_mac } else { ends.source.device };
    let by_mac = ends.destination_mac.device;
    let destination = if by_mac != 0 && packet.kind != Kind::Arp { by_mac } else { ends.destination.device };
    // A lie about a device is that device's affair, whoever hears it.
    let concerned = if victim.device != 0 { Some(victim.mode) } else { None };
    let mut mode = match (strictest(ends), concerned) {
        (Some(end), Some(victim)) if victim > end => victim,
        (Some(mode), _) | (None, Some(mode)) => mode,
        (None, None) => match Unmanaged::from_code(ends.segment.unmanaged) {
            Unmanaged::Monitor | Unmanaged::Pass => Mode::Monitor,
            Unmanaged::Drop => Mode::Enforce,
        },
    };
    // What stands between every device and the rest does so whoever the packet is for.
    let reaches_all = !is_managed(ends) || packet.destination_mac & mac::GROUP != 0;
    if victim.everybody && reaches_all && shapes & shape::ENFORCING != 0 && !mode.enforces() {
        mode = Mode::Enforce;
    }
    // The protected end is where the packet was going; a packet to nobody managed is its sender's affair.
    let nearest = if destination != 0 { destination } else { source };
    let action = match verdict {
        Verdict::Deny(_) if mode.enforces() => Action::Drop,
        Verdict::Deny(_) | Verdict::Allow(_) => Action::Pass,
    };
    let device = if victim.device != 0 { victim.device } else { nearest };
    Decision { verdict, action, mode, device, source, destination, rule }
}
