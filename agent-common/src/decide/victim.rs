//! Whom a denied packet harms: usually whoever it goes to, but a lie about an address harms the one it belongs to,
//! wherever it was sent.

use crate::{layout::EndRow, lookup::Endpoint, mode::Mode, parse::Packet, reason::Reason};

/// Whose identity or place a denied packet misuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// The device; 0 when it is the nearest managed end's affair.
    pub device: u32,
    /// Its mode; monitor without a device.
    pub mode: Mode,
    /// Whether the packet stands between every device and the rest: a claim on the gateway's address, a false router
    /// or DHCP server.
    pub everybody: bool,
}

/// A denied packet: why, and whom it harms.
pub(super) type Denied = (Reason, Victim);

impl Victim {
    /// The nearest managed end, whichever that is.
    pub const NEAREST: Self = Self { device: 0, mode: Mode::Monitor, everybody: false };

    /// Every device.
    pub const EVERYBODY: Self = Self { device: 0, mode: Mode::Monitor, everybody: true };

    /// The device behind a hardware address, or the nearest end when there is none.
    #[inline(always)]
    pub(super) const fn row(row: &EndRow) -> Self {
        Self { device: row.device, mode: Mode::from_code(row.mode), everybody: false }
    }

    /// The device behind an address, likewise.
    #[inline(always)]
    pub(super) const fn end(end: &Endpoint) -> Self {
        Self { device: end.device, mode: end.mode, everybody: false }
    }

    /// This one, or another when this is nobody.
    #[inline(always)]
    pub(super) const fn or(self, other: Self) -> Self {
        if self.device != 0 { self } else { other }
    }
}

/// A denial that is the nearest managed end's affair.
#[inline(always)]
pub(super) const fn nearest(reason: Reason) -> Denied {
    (reason, Victim::NEAREST)
}

/// A fault of the frame itself. IPv6 to a group that hides what it carries is how a router advertisement is brought past
/// a guard (RFC 7113); receivers are not all as strict as the guard.
#[inline(always)]
pub(super) fn faulty(packet: &Packet, reason: Reason) -> Denied {
    let hides = matches!(
        reason,
        Reason::NdMalformed
            | Reason::Redirect
            | Reason::FragmentTiny
            | Reason::Ipv6Extension
            | Reason::Ipv6Routing
    );
    let is_v6 = packet.ethertype == crate::wire::ethertype::IPV6;
    let victim = if hides && is_v6 && packet.is_to_group() { Victim::EVERYBODY } else { Victim::NEAREST };
    (reason, victim)
}
