//! A quarantined device talks with its remediation peers and nobody else.

use super::{Denied, Ends, Granted, nearest, strictest};
use crate::{
    layout::EndRow,
    lookup::{Endpoint, Rules, class, identity},
    mode::Mode,
    parse::{Kind, Packet},
    reason::{Grant, Reason},
};

#[inline(always)]
pub(super) fn is_quarantined(ends: &Ends) -> bool {
    strictest(ends) == Some(Mode::Quarantine)
}

/// `None` leaves it to the rules: a peer that is itself a device, or the gateway, keeps its own allow list, and
/// quarantine never lets a device reach more than before.
#[inline(always)]
pub(super) fn quarantine<R: Rules>(
    packet: &Packet,
    ends: &Ends,
    rules: &R,
) -> Result<Option<Granted>, Denied> {
    if packet.kind != Kind::Ip {
        return Err(nearest(Reason::Quarantined));
    }
    // Each quarantined end needs the other one to be a peer: that it is one itself opens nothing.
    let source = is_held(&ends.source_mac, &ends.source);
    let anyone = Endpoint::network(identity::UNKNOWN);
    let serves = |from, to| rules.permitted(from, to, class::REMEDIATION).rule != 0;
    if source && !serves(&anyone, &ends.destination) {
        return Err(nearest(Reason::Quarantined));
    }
    let destination = is_held(&ends.destination_mac, &ends.destination);
    if destination && !serves(&ends.source, &anyone) {
        return Err(nearest(Reason::Quarantined));
    }
    let is_protected = |end: &Endpoint| end.device != 0 || end.is_gateway();
    let other_is_protected = (source && destination)
        || (!source && is_protected(&ends.source))
        || (!destination && is_protected(&ends.destination));
    Ok(if other_is_protected { None } else { Some((Grant::Remediation, 0)) })
}

/// Whether the device at this end is quarantined.
#[inline(always)]
fn is_held(by_mac: &EndRow, by_address: &Endpoint) -> bool {
    (by_mac.device != 0 && Mode::from_code(by_mac.mode) == Mode::Quarantine)
        || (by_address.device != 0 && by_address.mode == Mode::Quarantine)
}
