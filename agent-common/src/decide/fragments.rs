//! Fragments: the first one holds the ports and is judged as the whole packet; the others borrow its ports and are
//! judged as packets of the same flow. None may overlap another, so that no receiver puts together what was not judged.
//!
//! Out of order one gap is followed, as a swap on the way makes it. What comes before the first fragment, and what is
//! sent anew after the last, belongs to nothing (RFC 791 3.2 lets the sender repeat the packet).

use super::{Ends, is_managed};
use crate::{
    layout::{FragmentKey, FragmentRow},
    lookup::{Rules, segment_flag},
    parse::Packet,
    reason::Reason,
    wire::{protocol, tcp},
};

#[inline(always)]
fn key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id: packet.fragment.id,
        protocol: if packet.source.is_v4() { packet.protocol } else { 0 },
        pad: [0; 3],
    }
}

/// Whether it is a fragment of which the ports matter. Between two strangers they do not, and those must not fill the
/// table.
#[inline(always)]
pub(super) fn concern(packet: &Packet, ends: &Ends) -> bool {
    packet.fragment.is_some() && (is_managed(ends) || ends.destination.is_gateway())
}

/// Gives a later fragment the ports of its packet; without them it is an orphan.
#[inline(always)]
pub(super) fn borrow_ports<R: Rules>(packet: &mut Packet, ends: &Ends, rules: &R) {
    if ends.segment.flags & segment_flag::DROP_FRAGMENTS != 0 {
        packet.fault = Some(Reason::Fragment);
        return;
    }
    if !packet.fragment.is_later() {
        return;
    }
    let now = rules.now();
    let idle = rules.settings().fragment_idle;
    let known = rules.with_fragments(&key(packet), |row| (*row, now.saturating_sub(row.seen) <= idle));
    let Some((row, true)) = known else {
        packet.fault = Some(Reason::FragmentOrphan);
        return;
    };
    packet.source_port = row.source_port;
    packet.destination_port = row.destination_port;
    packet.service_port = row.service_port;
    packet.icmp_type = row.icmp_type;
    packet.protocol = row.protocol;
    if row.protocol == protocol::TCP {
        // It opens and closes nothing.
        packet.tcp_flags = tcp::ACK;
    }
}

/// Finds the place of an allowed fragment among the others.
#[inline(always)]
pub(super) fn place<R: Rules>(packet: &Packet, rules: &R) -> Result<(), Reason> {
    let key = key(packet);
    let fragment = packet.fragment;
    if !fragment.is_later() {
        let row = FragmentRow {
            seen: rules.now(),
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            service_port: packet.service_port,
            end: fragment.stop,
            ahead_start: 0,
            ahead_stop: 0,
            protocol: packet.protocol,
            icmp_type: packet.icmp_type,
            pad: [0; 2],
        };
        rules.remember_fragments(&key, &row);
        return Ok(());
    }
    let fits = rules.with_fragments(&key, |row| extend(row, fragment.start, fragment.stop));
    if fits == Some(true) { Ok(()) } else { Err(Reason::FragmentOverlap) }
}

/// Adds `start..stop` to what was seen, if it overlaps nothing and leaves at most one gap.
#[inline(always)]
fn extend(row: &mut FragmentRow, start: u16, stop: u16) -> bool {
    let is_ahead = row.ahead_stop != 0;
    if start == row.end {
        if is_ahead && stop > row.ahead_start {
            return false;
        }
        row.end = stop;
        if is_ahead && stop == row.ahead_start {
            row.end = row.ahead_stop;
            row.ahead_start = 0;
            row.ahead_stop = 0;
        }
        return true;
    }
    if start < row.end {
        return false;
    }
    if !is_ahead {
        row.ahead_start = start;
        row.ahead_stop = stop;
        return true;
    }
    if start == row.ahead_stop {
        row.ahead_stop = stop;
        return true;
    }
    if stop == row.ahead_start {
        row.ahead_start = start;
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these fragments fit behind a first one of 2 units.
    fn fits<const N: usize>(pieces: [(u16, u16); N]) -> [bool; N] {
        let mut row = FragmentRow { end: 2, ..FragmentRow::default() };
        pieces.map(|(start, stop)| extend(&mut row, start, stop))
    }

    #[test]
    fn fragments_in_order_fit() {
        assert_eq!(fits([(2, 4), (4, 6), (6, 7)]), [true; 3]);
    }

    #[test]
    fn a_swap_fits_and_so_does_a_gap_that_is_filled_from_either_side() {
        assert_eq!(fits([(4, 6), (2, 4), (6, 8)]), [true; 3]);
        assert_eq!(fits([(8, 10), (10, 12), (6, 8), (2, 4), (4, 6), (12, 13)]), [true; 6]);
    }

    #[test]
    fn an_overlap_never_fits_wherever_it_is() {
        assert_eq!(fits([(1, 3)]), [false], "into the first");
        assert_eq!(fits([(2, 4), (2, 4)]), [true, false], "the same again");
        assert_eq!(fits([(2, 4), (3, 5)]), [true, false], "behind the first");
        assert_eq!(fits([(6, 8), (2, 7)]), [true, false], "into what is ahead");
        assert_eq!(fits([(6, 8), (5, 7)]), [true, false], "around the start of what is ahead");
        assert_eq!(fits([(6, 8), (7, 9)]), [true, false], "around its end");
    }

    #[test]
    fn a_second_gap_is_not_followed() {
        assert_eq!(fits([(6, 8), (10, 12)]), [true, false]);
    }
}
