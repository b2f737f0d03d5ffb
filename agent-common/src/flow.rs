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
    if packet.protocol == protocol::TCP && packet.tcp_flags & (tcp::FIN | tcp::RST) != 0 {
        flow.closing = 1;
    }
}
