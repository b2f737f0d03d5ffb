//! Flows: one key for both directions, and what time does to them.

use crate::{
    layout::{Flow, FlowKey, Settings},
    parse::Packet,
    wire::{protocol, tcp},
};

/// The key of a conversation and on which side of it the given source stands. `request` is the type of an ICMP
/// request, 0 for other protocols.
#[inline(always)]
pub fn key(
    source: u32,
    destination: u32,
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

/// [`Flow::closing`]: one end has no more to say.
const FIN_SEEN: u8 = 1;
/// [`Flow::closing`]: one end, or somebody in its name, gave up.
const RST_SEEN: u8 = 2;

/// Whether a flow has been silent for too long to be the same conversation.
#[inline(always)]
pub fn is_expired(flow: &Flow, protocol: u8, now: u64, settings: &Settings) -> bool {
    let idle = if flow.closing != 0 {
        settings.closing_idle
    } else if protocol == protocol::TCP {
        settings.tcp_idle
    } else if protocol == protocol::UDP {
        settings.udp_idle
    } else {
        settings.icmp_idle
    };
    now.saturating_sub(flow.seen) > idle
}

/// Notes a packet of a live flow: it was seen now, and FIN or RST begin its end.
#[inline(always)]
pub fn touch(flow: &mut Flow, packet: &Packet, now: u64) {
    flow.seen = now;
    if packet.protocol != protocol::TCP {
        return;
    }
    if packet.tcp_flags & tcp::FIN != 0 {
        flow.closing = FIN_SEEN;
    } else if packet.tcp_flags & tcp::RST != 0 {
        flow.closing = RST_SEEN;
    } else if flow.closing == RST_SEEN {
        // Both ends go on, so the reset was none of theirs (its sequence number is not checked here).
        flow.closing = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flow: &mut Flow, flags: u8) -> u8 {
        let packet = Packet { protocol: protocol::TCP, tcp_flags: flags, ..Packet::EMPTY };
        touch(flow, &packet, 7);
        flow.closing
    }

    #[test]
    fn a_reset_in_somebodys_name_does_not_end_a_session_that_goes_on() {
        let mut flow = Flow::default();
        assert_eq!(segment(&mut flow, tcp::RST), RST_SEEN);
        assert_eq!(segment(&mut flow, tcp::ACK), 0);
    }

    #[test]
    fn what_follows_a_fin_does_not_reopen_the_flow() {
        let mut flow = Flow::default();
        assert_eq!(segment(&mut flow, tcp::FIN | tcp::ACK), FIN_SEEN);
        assert_eq!(segment(&mut flow, tcp::ACK), FIN_SEEN);
        assert_eq!(flow.seen, 7);
    }
}
