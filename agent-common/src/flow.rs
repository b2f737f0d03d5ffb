//! Flows: one key for both directions, and what time and TCP's own words do to them.

use crate::{
    address::Address,
    layout::{Budget, Flow, FlowKey, RuleRow, Settings},
    parse::Packet,
    wire::{protocol, tcp},
};

/// The key of a conversation and on which side of it the given source stands. `request` is the type of an ICMP
/// request, 0 for other protocols.
#[inline(always)]
pub fn key(
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    request: u8,
) -> (FlowKey, u8) {
    let forward = source < destination || (source == destination && source_port <= destination_port);
    if forward {
        let key = FlowKey {
            low: source,
            high: destination,
            low_port: source_port,
            high_port: destination_port,
            protocol,
            request,
            pad: [0; 2],
        };
        (key, 0)
    } else {
        let key = FlowKey {
            low: destination,
            high: source,
            low_port: destination_port,
            high_port: source_port,
            protocol,
            request,
            pad: [0; 2],
        };
        (key, 1)
    }
}

/// Bits of [`Flow::state`].
pub mod state {
    /// The end with the lower address has no more to say.
    pub const FIN_LOW: u8 = 1;
    /// The end with the higher address has no more to say.
    pub const FIN_HIGH: u8 = 2;
    /// Both.
    pub const FINISHED: u8 = FIN_LOW | FIN_HIGH;
    /// One end, or somebody in its name, gave up.
    pub const RESET: u8 = 4;
    /// The end with the lower address went on after a reset.
    pub const LOW_GOES_ON: u8 = 8;
    /// The end with the higher address went on after a reset.
    pub const HIGH_GOES_ON: u8 = 16;
    /// Both.
    pub const BOTH_GO_ON: u8 = LOW_GOES_ON | HIGH_GOES_ON;
    /// The handshake is not complete.
    pub const OPENING: u8 = 32;
    /// The responder has answered.
    pub const ANSWERED: u8 = 64;
}

/// Whether a flow has been silent for too long to be the same conversation.
#[inline(always)]
pub fn is_expired(flow: &Flow, protocol: u8, now: u64, settings: &Settings) -> bool {
    let idle = match protocol {
        protocol::TCP if flow.state & (state::FINISHED | state::RESET) != 0 => settings.closing_idle,
        protocol::TCP if flow.state & state::OPENING != 0 => settings.opening_idle,
        protocol::TCP => settings.tcp_idle,
        protocol::ICMP | protocol::ICMPV6 => settings.icmp_idle,
        _ => settings.udp_idle,
    };
    now.saturating_sub(flow.seen) > idle
}

/// Counts a packet of a live flow that came from `side`, and notes what it says. A flow that both ends closed, or one reset, lives on for
/// [`Settings::closing_idle`] and no longer: stray packets do not keep it.
#[inline(always)]
pub fn touch(flow: &mut Flow, packet: &Packet, side: u8, now: u64) {
    let from = usize::from(side & 1);
    flow.packets[from] += 1;
    flow.bytes[from] += u64::from(packet.len);
    if packet.protocol != protocol::TCP {
        flow.seen = now;
        return;
    }
    if flow.state & state::FINISHED == state::FINISHED {
        return;
    }
    if packet.tcp_flags & tcp::RST != 0 {
        flow.state = (flow.state & !state::BOTH_GO_ON) | state::RESET;
        flow.seen = now;
        return;
    }
    if flow.state & state::RESET != 0 {
        // Sequence numbers are not checked, so the reset may be anybody's. A host that did reset answers what still
        // comes with another reset; only when both ends go on was it none of theirs.
        flow.state |= if side == 0 { state::LOW_GOES_ON } else { state::HIGH_GOES_ON };
        if flow.state & state::BOTH_GO_ON != state::BOTH_GO_ON {
            return;
        }
        flow.state &= !(state::BOTH_GO_ON | state::RESET);
    }
    if side != flow.initiator {
        flow.state |= state::ANSWERED;
    } else if flow.state & state::ANSWERED != 0 && packet.tcp_flags & tcp::SYN == 0 {
        flow.state &= !state::OPENING;
    }
    if packet.tcp_flags & tcp::FIN != 0 {
        flow.state |= if side == 0 { state::FIN_LOW } else { state::FIN_HIGH };
    }
    flow.seen = now;
}

/// Writes into a new flow, of which nothing but its ends may be known, what there is to know after the packet that began it, or
/// with which it was adopted.
#[inline(always)]
pub fn begin(
    flow: &mut Flow,
    packet: &Packet,
    side: u8,
    initiator: u8,
    row: RuleRow,
    generation: u32,
    now: u64,
) {
    (flow.seen, flow.began) = (now, now);
    (flow.generation, flow.initiator) = (generation, initiator);
    (flow.rule, flow.schedule) = (row.rule, row.schedule);
    flow.state = if packet.is_tcp_open() { state::OPENING } else { 0 };
    touch(flow, packet, side, now);
}

/// Takes one new flow out of a device's budget; `false` when the window's cap is reached.
#[inline(always)]
pub fn take(budget: &mut Budget, now: u64, settings: &Settings) -> bool {
    if settings.flow_cap == 0 {
        return true;
    }
    if now.saturating_sub(budget.start) >= settings.flow_window {
        *budget = Budget { start: now, count: 0 };
    }
    budget.count += 1;
    budget.count <= u64::from(settings.flow_cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a flow that the lower end began is after these segments, each a side and its flags.
    fn after(segments: &[(u8, u8)]) -> Flow {
        let mut flow: Option<Flow> = None;
        for ((side, flags), now) in segments.iter().zip(1..) {
            let packet = Packet { protocol: protocol::TCP, tcp_flags: *flags, ..Packet::EMPTY };
            match &mut flow {
                None => {
                    let new = flow.insert(Flow::default());
                    begin(new, &packet, *side, 0, RuleRow { rule: 1, schedule: 0 }, 1, now);
                }
                Some(flow) => touch(flow, &packet, *side, now),
            }
        }
        flow.expect("there is a segment")
    }

    const OPEN: [(u8, u8); 3] = [(0, tcp::SYN), (1, tcp::SYN | tcp::ACK), (0, tcp::ACK)];

    #[test]
    fn a_handshake_is_complete_with_its_third_segment_and_not_before() {
        assert_ne!(after(&OPEN[..1]).state & state::OPENING, 0);
        assert_ne!(after(&OPEN[..2]).state & state::OPENING, 0);
        assert_eq!(after(&OPEN).state & state::OPENING, 0);
        // Nobody answers: the initiator's own segments do not complete it.
        assert_ne!(after(&[(0, tcp::SYN), (0, tcp::ACK)]).state & state::OPENING, 0);
    }

    #[test]
    fn a_reset_in_somebodys_name_does_not_end_a_session_that_goes_on() {
        let mut segments = OPEN.to_vec();
        segments.extend([(1, tcp::RST), (0, tcp::ACK)]);
        let flow = after(&segments);
        assert_eq!((flow.state & state::RESET, flow.seen), (state::RESET, 4), "one end proves nothing");
        segments.push((1, tcp::ACK));
        let flow = after(&segments);
        assert_eq!((flow.state & (state::RESET | state::BOTH_GO_ON), flow.seen), (0, 6));
    }

    #[test]
    fn what_is_answered_by_resets_stays_reset() {
        let mut segments = OPEN.to_vec();
        segments.extend([(1, tcp::RST), (0, tcp::ACK), (1, tcp::RST), (0, tcp::ACK)]);
        assert_ne!(after(&segments).state & state::RESET, 0);
    }

    #[test]
    fn stray_packets_do_not_keep_a_closed_flow() {
        let mut segments = OPEN.to_vec();
        segments.extend([(0, tcp::FIN | tcp::ACK), (1, tcp::FIN | tcp::ACK), (0, tcp::ACK), (1, tcp::ACK)]);
        let flow = after(&segments);
        assert_eq!((flow.state & state::FINISHED, flow.seen), (state::FINISHED, 5));
    }

    #[test]
    fn half_a_closed_flow_still_carries_data_the_other_way() {
        let mut segments = OPEN.to_vec();
        segments.extend([(0, tcp::FIN | tcp::ACK), (1, tcp::ACK)]);
        assert_eq!(after(&segments).seen, 5);
    }

    #[test]
    fn idle_times_follow_protocol_and_state() {
        let settings = Settings {
            tcp_idle: 100,
            opening_idle: 50,
            closing_idle: 10,
            udp_idle: 30,
            icmp_idle: 5,
            ..Settings::default()
        };
        let lives = |protocol: u8, state: u8, idle: u64| {
            let flow = Flow { seen: 1000, state, ..Flow::default() };
            assert!(!is_expired(&flow, protocol, 1000 + idle, &settings));
            assert!(is_expired(&flow, protocol, 1001 + idle, &settings));
        };
        lives(protocol::TCP, 0, 100);
        lives(protocol::TCP, state::OPENING | state::ANSWERED, 50);
        lives(protocol::TCP, state::FIN_HIGH, 10);
        lives(protocol::TCP, state::RESET, 10);
        lives(protocol::UDP, 0, 30);
        lives(protocol::SCTP, 0, 30);
        lives(protocol::ICMP, 0, 5);
        lives(protocol::ICMPV6, 0, 5);
    }

    #[test]
    fn a_budget_is_new_with_each_window_and_no_cap_is_none() {
        let settings = Settings { flow_cap: 2, flow_window: 10, ..Settings::default() };
        let mut budget = Budget::default();
        let taken = [100, 101, 102, 109, 110, 111].map(|now| take(&mut budget, now, &settings));
        assert_eq!(taken, [true, true, false, false, true, true]);
        let unlimited = Settings { flow_cap: 0, ..settings };
        assert!((0..1000).all(|now| take(&mut budget, now, &unlimited)));
    }
}
