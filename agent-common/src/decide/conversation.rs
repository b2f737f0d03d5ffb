//! May these two talk: live flows, replies, adoption, and the first packet of something a rule allows.

use super::{Denied, Ends, Granted};
use crate::{
    flow,
    layout::Flow,
    lookup::{Endpoint, Rules, class, identity, setting},
    parse::Packet,
    reason::{Grant, Reason},
    wire::{SYSTEM_PORTS_END, icmp, protocol},
};

/// IPv4 between two recognised ends: a live flow, a reply, or the first packet of something a rule allows.
#[inline(always)]
pub(super) fn converse<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<Granted, Denied> {
    match packet.protocol {
        protocol::TCP | protocol::UDP => {}
        protocol::ICMP => {
            if icmp::is_error(packet.icmp_type) {
                return related(packet, ends, rules).or_else(|denied| {
                    // A rule may name the type, like any other.
                    flow_rule(packet, ends, rules, true).map_or(Err(denied), |rule| Ok((Grant::Rule, rule)))
                });
            }
        }
        _ => return Err((Reason::IpProtocol, 0)),
    }
    // Of ICMP only a reply belongs to a flow, that of its request; a redirect with the right bits in the place of
    // the identifier does not.
    let is_icmp = packet.protocol == protocol::ICMP;
    let asked = icmp::request_of(packet.icmp_type);
    let request = if is_icmp { asked.unwrap_or(packet.icmp_type) } else { 0 };
    let (key, side) = flow::key(
        packet.source,
        packet.destination,
        packet.source_port,
        packet.destination_port,
        packet.protocol,
        request,
    );
    let now = rules.now();
    let generation = rules.head().generation;
    let settings = rules.settings();

    // A live flow. What asks for a new conversation is judged as one, whatever was there before.
    let opens = packet.is_tcp_open() || (is_icmp && asked.is_none());
    if !opens {
        let known = rules.with_flow(&key, |flow| {
            // Who asked does not answer.
            let fits = !is_icmp || flow.initiator != side;
            let live = fits && !flow::is_expired(flow, packet.protocol, now, settings);
            if live && flow.generation == generation {
                flow::touch(flow, packet, now);
            }
            (*flow, live)
        });
        if let Some((flow, true)) = known {
            if flow.generation == generation {
                return Ok((Grant::Flow, flow.rule));
            }
            // The policy changed since its last packet: the flow goes on if its start is still allowed.
            if let Some(rule) = flow_rule(packet, ends, rules, flow.initiator == side) {
                rules.with_flow(&key, |flow| {
                    flow.generation = generation;
                    flow.rule = rule;
                    flow::touch(flow, packet, now);
                });
                return Ok((Grant::Flow, rule));
            }
        }
    }

    let remember = |initiator: u8, rule: u32| {
        let mut flow = Flow { seen: now, generation, rule, initiator, closing: 0, pad: [0; 6] };
        flow::touch(&mut flow, packet, now);
        rules.remember(&key, &flow);
    };
    let adopting = now < settings.adopt_until;

    // Forward: the source starts, as a rule says.
    if let Some(rule) = flow_rule(packet, ends, rules, true) {
        if is_icmp && !icmp::is_request(packet.icmp_type) {
            // Nothing answers it.
            return Ok((Grant::Rule, rule));
        }
        let midstream = packet.protocol == protocol::TCP && !opens;
        if !midstream {
            remember(side, rule);
            return Ok((Grant::Rule, rule));
        }
        if adopting || settings.flags & setting::STRICT == 0 {
            remember(side, rule);
            return Ok((Grant::Adopted, rule));
        }
        return Err((Reason::NoFlow, 0));
    }

    // Backward: it looks like the answer to something a rule lets the destination start.
    if !opens && let Some(rule) = flow_rule(packet, ends, rules, false) {
        // A datagram to a port of a server is no answer, whatever its source port says: a device could reach
        // all of the gateway's services from the one port at which the gateway polls it.
        let answers = packet.protocol != protocol::UDP
            || packet.destination_port >= SYSTEM_PORTS_END
            || packet.destination_port == packet.source_port;
        if ends.destination.is_gateway() && answers {
            // The gateway's own requests never pass XDP, so there is no flow to find.
            return Ok((Grant::GatewayReply, rule));
        }
        if adopting {
            remember(side ^ 1, rule);
            return Ok((Grant::Adopted, rule));
        }
        return Err((Reason::NoFlow, 0));
    }
    Err((nearest(ends, rules), 0))
}

/// The rule that lets this packet's source (`forward`) or destination start the conversation.
#[inline(always)]
fn flow_rule<R: Rules>(packet: &Packet, ends: &Ends, rules: &R, forward: bool) -> Option<u32> {
    if forward {
        // A reply can be no first packet.
        if packet.protocol == protocol::ICMP && icmp::request_of(packet.icmp_type).is_some() {
            return None;
        }
        let class = rules.class(packet.protocol, packet.service_port);
        permitted(rules, &ends.source, &ends.destination, class)
    } else {
        let port = if packet.protocol == protocol::ICMP {
            u16::from(icmp::request_of(packet.icmp_type)?) << 8
        } else {
            packet.source_port
        };
        let class = rules.class(packet.protocol, port);
        permitted(rules, &ends.destination, &ends.source, class)
    }
}

/// The rule under which `initiator` may use a service of `responder`.
#[inline(always)]
fn permitted<R: Rules>(rules: &R, initiator: &Endpoint, responder: &Endpoint, class: u32) -> Option<u32> {
    match rules.permitted(initiator.identity, responder.identity, class) {
        0 => None,
        rule => Some(rule),
    }
}

/// An ICMP error passes when it is about a packet of an allowed flow and goes to that packet's sender.
#[inline(always)]
fn related<R: Rules>(packet: &Packet, ends: &Ends, rules: &R) -> Result<Granted, Denied> {
    let quoted = &packet.quoted;
    let unrelated = Err((Reason::IcmpErrorUnrelated, 0));
    if quoted.protocol == 0 || quoted.source != packet.destination {
        return unrelated;
    }
    let request = if quoted.protocol == protocol::ICMP { quoted.service_port.to_be_bytes()[0] } else { 0 };
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
        (flow.generation, flow.rule, flow.initiator, live)
    });
    let far = rules.endpoint(quoted.destination);
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
                permitted(rules, &ends.destination, &far, class)
            } else {
                permitted(rules, &far, &ends.destination, class)
            };
            allowed.map_or(unrelated, |rule| Ok((Grant::Related, rule)))
        }
        Some((_, _, _, false)) | None => {
            // The gateway's own requests leave no flow; a rule must let it make them.
            if !ends.destination.is_gateway() {
                return unrelated;
            }
            let class = rules.class(quoted.protocol, quoted.service_port);
            permitted(rules, &ends.destination, &far, class)
                .map_or(unrelated, |rule| Ok((Grant::Related, rule)))
        }
    }
}

/// Why no rule allows it, as near as the tables can tell.
#[inline(always)]
fn nearest<R: Rules>(ends: &Ends, rules: &R) -> Reason {
    if permitted(rules, &ends.source, &ends.destination, class::PAIR).is_some() {
        return Reason::ServiceNotAllowed;
    }
    if permitted(rules, &ends.destination, &ends.source, class::PAIR).is_some() {
        return Reason::WrongDirection;
    }
    let unknown = |end: &Endpoint| end.device == 0 && end.identity == identity::UNKNOWN;
    if unknown(&ends.source) || unknown(&ends.destination) {
        return Reason::UnknownPeer;
    }
    Reason::NoRule
}
