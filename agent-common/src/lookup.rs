//! The questions a decision asks of the tables. The kernel answers them from maps, the host from
//! compiled tables; nothing else differs between the two.

use crate::{
    layout::{AddressRow, Flow, FlowKey, Head, InterfaceRow, MacRow, Settings},
    mode::Mode,
};

/// Identities that are not made by a policy.
pub mod identity {
    /// An address that is neither a device's nor in a network.
    pub const UNKNOWN: u32 = 0;
    /// In a rule row: whoever it is.
    pub const ANY: u32 = 1;
    /// The gateway's own addresses.
    pub const GATEWAY: u32 = 2;
    /// The first identity a policy may use.
    pub const FIRST: u32 = 16;
}

/// Service classes that are not made by a policy.
pub mod class {
    /// A port that no service of the policy has.
    pub const NONE: u32 = 0;
    /// In a rule row: some service is allowed between the two. Only ever used to explain a denial.
    pub const PAIR: u32 = u32::MAX;
    /// In a rule row: a quarantined device may talk with this peer.
    pub const REMEDIATION: u32 = u32::MAX - 1;
}

/// Bits of [`Head::shapes`]: which kinds of rule rows exist, so that a packet probes for no other, and
/// whether anything is enforced at all.
pub mod shape {
    /// Both ends named.
    pub const EXACT: u32 = 1;
    /// Anyone may start.
    pub const ANY_INITIATOR: u32 = 2;
    /// Anyone may answer.
    pub const ANY_RESPONDER: u32 = 4;
    /// No kind of row: some device is not in monitor mode.
    pub const ENFORCING: u32 = 8;
}

/// Bits of [`AddressRow::flags`].
pub mod address_flag {
    /// The device has a hardware address, so another one using the address is a spoof.
    pub const HAS_MAC: u8 = 1;
    /// One of the gateway's own addresses.
    pub const GATEWAY: u8 = 2;
}

/// Bits of [`Settings::flags`].
pub mod setting {
    /// A mid-stream TCP segment without a flow is denied even if a rule allows its direction.
    pub const STRICT: u32 = 1;
    /// ARP passes (after its sender was checked).
    pub const ARP: u32 = 2;
    /// DHCP client traffic passes.
    pub const DHCP: u32 = 4;
    /// IPv6 neighbour discovery passes.
    pub const NEIGHBOR_DISCOVERY: u32 = 8;
}

/// What happens to traffic of which neither end is a managed device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Unmanaged {
    /// It passes and is reported as would-drop.
    #[default]
    Monitor = 0,
    /// It passes without a word.
    Pass = 1,
    /// It is dropped and reported.
    Drop = 2,
}

impl Unmanaged {
    /// The byte stored in the maps.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The value behind a byte of a map; an unknown byte is the strictest.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Monitor,
            1 => Self::Pass,
            _ => Self::Drop,
        }
    }

    /// The word used in the configuration and in `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

/// Who is behind an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Stable device id; 0 when the address is no managed device's.
    pub device: u32,
    /// Which peer rules see.
    pub identity: u32,
    /// The device's mode; meaningless without a device.
    pub mode: Mode,
    /// [`address_flag`] bits.
    pub flags: u8,
    /// VLAN the device must be seen on; 0 accepts any.
    pub vlan: u16,
}

impl Endpoint {
    /// An address that is no device's: `identity` says in which networks it is, if in any.
    #[inline(always)]
    pub const fn network(identity: u32) -> Self {
        Self { device: 0, identity, mode: Mode::Monitor, flags: 0, vlan: 0 }
    }

    /// The endpoint behind a row of the address table.
    #[inline(always)]
    pub const fn from_row(row: &AddressRow) -> Self {
        let AddressRow { device, identity, mode, flags, vlan } = *row;
        Self { device, identity, mode: Mode::from_code(mode), flags, vlan }
    }

    /// Whether it is one of the gateway's own addresses.
    #[inline(always)]
    pub const fn is_gateway(&self) -> bool {
        self.flags & address_flag::GATEWAY != 0
    }

    /// Whether it is a device that is recognised by its hardware address as well.
    #[inline(always)]
    pub const fn has_mac(&self) -> bool {
        self.flags & address_flag::HAS_MAC != 0
    }
}

/// The tables of one slot, the flow table and the settings, as one packet sees them.
pub trait Rules {
    /// The interface on which the packet arrived.
    fn interface(&self) -> InterfaceRow;
    /// How the agent runs.
    fn settings(&self) -> &Settings;
    /// Generation and shapes of the slot.
    fn head(&self) -> &Head;
    /// Monotonic time in ns. Asked for at most once, and only when a flow is concerned.
    fn now(&self) -> u64;
    /// The device that owns a hardware address; all zero when it is nobody's. Not an `Option`: what `None`
    /// leaves undefined, the compiler may compute with, and the verifier may refuse that.
    fn mac(&self, mac: u64) -> MacRow;
    /// Who is behind an IPv4 address: a device, the gateway, a network, or nobody known.
    fn endpoint(&self, address: u32) -> Endpoint;
    /// Which device is behind an IPv6 address, if one is.
    fn endpoint_v6(&self, address: &[u8; 16]) -> Endpoint;
    /// Whether `source` may always reach this port of the gateway.
    fn is_management(&self, source: u32, protocol: u8, port: u16) -> bool;
    /// The service class of a responder port, [`class::NONE`] when no service has it.
    fn class(&self, protocol: u8, port: u16) -> u32;
    /// The stable id of the rule under which `initiator` may use a class of services of `responder`, 0 when
    /// there is none: [`probe`] over the rule rows.
    fn permitted(&self, initiator: u32, responder: u32, class: u32) -> u32;
    /// Runs `f` on a flow in place, if it is known.
    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T>;
    /// Remembers a flow, replacing what was known of it.
    fn remember(&self, key: &FlowKey, flow: &Flow);
}

/// Looks a permission up in rule rows: both ends named, or anyone on one side. `row` returns 0 for a row
/// that does not exist; `shapes` says which kinds of rows can.
#[inline(always)]
pub fn probe(
    shapes: u32,
    initiator: u32,
    responder: u32,
    class: u32,
    row: impl Fn(u32, u32, u32) -> u32,
) -> u32 {
    if class == class::NONE {
        return 0;
    }
    let mut rule = 0;
    if shapes & shape::EXACT != 0 {
        rule = row(initiator, responder, class);
    }
    if rule == 0 && shapes & shape::ANY_INITIATOR != 0 {
        rule = row(identity::ANY, responder, class);
    }
    if rule == 0 && shapes & shape::ANY_RESPONDER != 0 {
        rule = row(initiator, identity::ANY, class);
    }
    rule
}
