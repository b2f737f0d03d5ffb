//! May these two talk: live flows, replies, adoption, and the first packet of something a rule allows.

use super::{Denied, Ends, Granted, Victim, nearest as denied};
use crate::{
    address::Address,
    flow,
    layout::{EndRow, FlowKey, RuleRow},
    lookup::{Endpoint, Rules, class, device_flag, identity, setting, shape},
    parse::{Kind, Packet},
    reason::{Grant, Reason},
    wire::{EPHEMERAL_PORTS, ethertype, icmp, protocol, pseudo},
};

/// No rule, and none that is closed.
const NOTHING: RuleRow = RuleRow { rule: 0, schedule: 0 };

/// IP between two recognised ends: a live flow, a reply, or the first packet of something a rule allows.
#[inline(always)]
pub(super) fn converse<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<Granted, Denied> {
    let protocol = packet.protocol;
    if protocol >= protocol::PSEUDO {
        return Err(denied(Reason::IpProtocol));
    }
    let is_icmp = packet.is_icmp();
    if is_icmp && icmp::is_error(protocol, packet.icmp_type) {
        return related(packet, ends, rules).or_else(|denied| {
            // A rule may name the type, like any other.
            flow_rule(packet, ends, rules, true).map_or(Err(denied), |row| Ok((Grant::Rule, row.rule)))
        });
    }
    // Of ICMP only a reply belongs to a flow, that of its request; a redirect with the right bits in the place of
    // the identifier does not.
    let asked = icmp::request_of(protocol, packet.icmp_type);
    let request = if is_icmp { asked.unwrap_or(packet.icmp_type) } else { 0 };
    let (key, side) = flow::key(
        packet.source,
        packet.destination,
        packet.source_port,
        packet.destination_port,
        protocol,
        request,
    );
    let now = rules.now();
    let generation = rules.head().generation;
    let settings = rules.settings();
    let to_group = packet.is_to_group();

    // A live flow. What asks for a new conversation is judged as one, whatever was there before; and what goes to a
    // group has nobody on the other side.
    let asks = is_icmp && icmp::is_request(protocol, packet.icmp_type);
    let opens = packet.is_tcp_open() || (is_icmp && asked.is_none() && !asks) || to_group;
    let between = identities(ends, side);
    if !opens {
        let known = rules.with_flow(&key, |flow| {
            // Who asked does not answer, and who answers does not ask.
            let fits = !is_icmp || (flow.initiator == side) == asks;
            let live = fits && !flow::is_expired(flow, protocol, now, settings);
            // An address that any MAC can make itself, or that a lease moves, may be somebody else's by now.
            let current = flow.generation == generation
                && (flow.low, flow.high) == between
                && (flow.schedule == 0 || rules.is_open(flow.schedule));
            if live && current {
                flow::touch(flow, packet, side, now);
            }
            (flow.rule, flow.initiator, live, current)
        });
        if let Some((rule, initiator, true, current)) = known {
            if current {
                return Ok((Grant::Flow, rule));
            }
            // The policy changed since its last packet, or one end did, or its rule's time is over: the flow goes on if its
            // start is still allowed.
            if let Some(row) = flow_rule(packet, ends, rules, initiator == side) {
                rules.with_flow(&key, |flow| {
                    flow.generation = generation;
                    (flow.rule, flow.schedule) = (row.rule, row.schedule);
                    (flow.low, flow.high) = between;
                    flow::touch(flow, packet, side, now);
                });
                return Ok((Grant::Flow, row.rule));
            }
        }
    }

    let remember = |key: &FlowKey, initiator: u8, row: RuleRow| {
        rules.remember(key, |flow| {
            (flow.low, flow.high) = between;
            flow::begin(flow, packet, side, initiator, row, generation, now);
        });
    };
    let adopting = now < settings.adopt_until;

    // Forward: the source starts, as a rule says.
    let forward = looked_up(packet, ends, rules, true);
    if forward.rule != 0 {
        let rule = forward.rule;
        if is_icmp && !asks {
            // Nothing answers it.
            return Ok((Grant::Rule, rule));
        }
        let midstream = protocol == protocol::TCP && !opens;
        if midstream && !adopting && settings.flags & setting::STRICT != 0 {
            return Err(denied(Reason::NoFlow));
        }
        if to_group {
            // Whoever answers answers for itself: the question waits without a name on the other side.
            let (question, asker) =
                question(packet.source, packet.source_port, packet, packet.destination_port);
            let known = rules.with_flow(&question, |flow| flow::touch(flow, packet, asker, now));
            if known.is_none() {
                may_open(ends, true, rules)?;
                rules.remember(&question, |flow| {
                    flow::begin(flow, packet, asker, asker, forward, generation, now);
                });
            }
            return Ok((Grant::Rule, rule));
        }
        may_open(ends, true, rules)?;
        remember(&key, side, forward);
        return Ok((if midstream { Grant::Adopted } else { Grant::Rule }, rule));
    }

    // Backward: it looks like the answer to something a rule lets the destination start.
    let backward = if opens { NOTHING } else { looked_up(packet, ends, rules, false) };
    if backward.rule != 0 {
        let rule = backward.rule;
        // A datagram to a port that no client has is no answer, whatever its source port says: a device could reach
        // all of the gateway's services from the one port at which the gateway polls it.
        let answers = !matches!(protocol, protocol::UDP | protocol::SCTP)
            || packet.destination_port >= EPHEMERAL_PORTS
            || packet.destination_port == packet.source_port;
        if ends.destination.is_gateway() && answers {
            // The gateway's own requests never pass XDP, so there is no flow to find.
            return Ok((Grant::GatewayReply, rule));
        }
        if protocol == protocol::UDP {
            let (question, _) =
                question(packet.destination, packet.destination_port, packet, packet.source_port);
            let asked = rules.with_flow(&question, |flow| !flow::is_expired(flow, protocol, now, settings));
            if asked == Some(true) {
                may_open(ends, false, rules)?;
                remember(&key, side ^ 1, backward);
                return Ok((Grant::Flow, rule));
            }
        }
        if adopting {
            may_open(ends, false, rules)?;
            remember(&key, side ^ 1, backward);
            return Ok((Grant::Adopted, rule));
        }
        return Err(denied(Reason::NoFlow));
    }
    let named = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP) || is_icmp;
    let reason = if named { nearest(packet, ends, rules) } else { Reason::IpProtocol };
    Err(denied(unless_closed(unless_closed(reason, forward), backward)))
}

/// Who is at the lower address of a flow and who at the higher, when its packet comes from `side`.
#[inline(always)]
fn identities(ends: &Ends, side: u8) -> (u32, u32) {
    let (source, destination) = (ends.source.who(), ends.destination.who());
    if side == 0 { (source, destination) } else { (destination, source) }
}

/// The key of a datagram to a group, under which its answers are found: who asks, from which port, which service.
#[inline(always)]
fn question(asker: Address, port: u16, packet: &Packet, service: u16) -> (FlowKey, u8) {
    flow::key(asker, Address::UNSPECIFIED, port, service, packet.protocol, 0)
}

/// A new flow counts for the device that starts it (`forward`: the source), or for the one it is started with.
#[inline(always)]
fn may_open<R: Rules>(ends: &Ends, forward: bool, rules: &R) -> Result<(), Denied> {
    let (initiator, responder) =
        if forward { (&ends.source, &ends.destination) } else { (&ends.destination, &ends.source) };
    let device = Victim::end(initiator).or(Victim::end(responder));
    if rules.may_open(device.device) { Ok(()) } else { Err((Reason::FlowRate, device)) }
}

/// Frames that are neither IP nor ARP: no flow holds them together, so a rule between two hosts lets both speak. To a
/// group only the initiator does.
#[inline(always)]
pub(super) fn exchange<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<Granted, Denied> {
    let class = if packet.ethertype < ethertype::FIRST {
        rules.class(pseudo::LLC, packet.service_port)
    } else {
        rules.class(pseudo::ETHERTYPE, packet.ethertype)
    };
    let forward = rules.permitted(&ends.source, &ends.destination, class);
    if forward.rule != 0 {
        return Ok((Grant::Rule, forward.rule));
    }
    if packet.is_to_group() {
        return Err(denied(unless_closed(Reason::Ethertype, forward)));
    }
    let backward = rules.permitted(&ends.destination, &ends.source, class);
    if backward.rule != 0 {
        return Ok((Grant::Rule, backward.rule));
    }
    Err(denied(unless_closed(unless_closed(Reason::Ethertype, forward), backward)))
}

/// The reason, unless a rule that is closed now would have allowed it.
#[inline(always)]
fn unless_closed(reason: Reason, row: RuleRow) -> Reason {
    if row.rule == 0 && row.schedule != 0 { Reason::OutsideSchedule } else { reason }
}

/// The rule that lets this packet's source (`forward`) or destination start the conversation.
#[inline(always)]
fn flow_rule<R: Rules>(packet: &Packet, ends: &Ends, rules: &R, forward: bool) -> Option<RuleRow> {
    let row = looked_up(packet, ends, rules, forward);
    if row.rule == 0 { None } else { Some(row) }
}

/// What the rules say of the packet's source (`forward`) or destination starting the conversation.
#[inline(always)]
fn looked_up<R: Rules>(packet: &Packet, ends: &Ends, rules: &R, forward: bool) -> RuleRow {
    let answered = icmp::request_of(packet.protocol, packet.icmp_type);
    if forward {
        // A reply can be no first packet.
        if answered.is_some() {
            return NOTHING;
        }
        let class = rules.class(packet.protocol, packet.service_port);
        permitted(rules, &ends.source, (&ends.destination, &packet.destination), class)
    } else {
        let port = match (packet.is_icmp(), answered) {
            (true, Some(request)) => u16::from(request) << 8,
            (true, None) => return NOTHING,
            (false, _) => packet.source_port,
        };
        let class = rules.class(packet.protocol, port);
        permitted(rules, &ends.destination, (&ends.source, &packet.source), class)
    }
}

/// The rule under which `initiator` may use a service of whoever is at an address, by who that is or by the name under
/// which the initiator learned it.
#[inline(always)]
fn permitted<R: Rules>(
    rules: &R,
    initiator: &Endpoint,
    (responder, address): (&Endpoint, &Address),
    class: u32,
) -> RuleRow {
    let row = rules.permitted(initiator, responder, class);
    if row.rule != 0 || rules.head().shapes & shape::NAMED == 0 {
        return row;
    }
    // Whoever owns a name says where it points: to nothing that is protected here (DNS rebinding), and not to everybody.
    let protected =
        responder.device != 0 || responder.flags & (device_flag::GATEWAY | device_flag::GROUP) != 0;
    if initiator.device == 0 || protected || class == class::NONE {
        return row;
    }
    let named = rules.named(initiator.device, address, class);
    if named.rule != 0 || named.schedule != 0 { named } else { row }
}

/// An ICMP error passes when it is about a packet of an allowed flow and goes to that packet's sender.
#[inline(always)]
fn related<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<Granted, Denied> {
    let quoted = &packet.quoted;
    let unrelated = Err(denied(Reason::IcmpErrorUnrelated));
    if quoted.protocol == 0 || quoted.source != packet.destination {
        return unrelated;
    }
    // A router on the way may complain about anybody's packet; a device is none, and speaks for itself.
    if ends.source.device != 0 && packet.source != quoted.destination {
        return unrelated;
    }
    let is_icmp = protocol::is_icmp(quoted.protocol);
    let request = if is_icmp { quoted.service_port.to_be_bytes()[0] } else { 0 };
    let (key, side) = flow::key(
        quoted.source,
        quoted.destination,
        quoted.source_port,
        quoted.destination_port,
        quoted.protocol,
        request,
    );
    let settings = rules.settings();
    let now = rules.now();
    let known = rules.with_flow(&key, |flow| {
        let live = !flow::is_expired(flow, quoted.protocol, now, settings);
        let open = flow.schedule == 0 || rules.is_open(flow.schedule);
        (if open { flow.generation } else { 0 }, flow.rule, flow.initiator, live)
    });
    let far = super::whose(&quoted.destination, &EndRow::default(), rules);
    match known {
        Some((generation, rule, _, true)) if generation == rules.head().generation => {
            Ok((Grant::Related, rule))
        }
        Some((_, _, initiator, true)) => {
            // The policy changed since the flow's last packet: ask again who may start it.
            let started = initiator == side;
            let port = if started { quoted.service_port } else { quoted.source_port };
            let class = rules.class(quoted.protocol, port);
            let allowed = if started {
                permitted(rules, &ends.destination, (&far, &quoted.destination), class)
            } else {
                permitted(rules, &far, (&ends.destination, &quoted.source), class)
            };
            if allowed.rule == 0 { unrelated } else { Ok((Grant::Related, allowed.rule)) }
        }
        Some((_, _, _, false)) | None => {
            // The gateway's own requests leave no flow; a rule must let it make them.
            if !ends.destination.is_gateway() {
                return unrelated;
            }
            let class = rules.class(quoted.protocol, quoted.service_port);
            let row = rules.permitted(&ends.destination, &far, class);
            if row.rule == 0 { unrelated } else { Ok((Grant::Related, row.rule)) }
        }
    }
}

/// Whether an ICMP error complains about a packet to a device.
#[inline(always)]
pub(super) fn is_about_a_device<R: Rules>(packet: &Packet, rules: &R) -> bool {
    packet.kind == Kind::Ip
        && packet.quoted.protocol != 0
        && rules.endpoint(&packet.quoted.destination).device != 0
}

/// Why no rule allows it, as near as the tables can tell.
#[inline(always)]
fn nearest<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Reason {
    let (source, destination) = ((&ends.source, &packet.source), (&ends.destination, &packet.destination));
    if permitted(rules, source.0, destination, class::PAIR).rule != 0 {
        return Reason::ServiceNotAllowed;
    }
    if permitted(rules, destination.0, source, class::PAIR).rule != 0 {
        return Reason::WrongDirection;
    }
    let unknown = |end: &Endpoint| end.device == 0 && end.identity == identity::UNKNOWN;
    if unknown(&ends.source) || unknown(&ends.destination) {
        return Reason::UnknownPeer;
    }
    Reason::NoRule
}
