//! The questions a decision asks of the tables. The kernel answers them from maps, the host from
//! compiled tables; nothing else differs between the two.

use crate::{
    address::Address,
    layout::{EndRow, Flow, FlowKey, FragmentKey, FragmentRow, Head, Lease, RuleRow, SegmentRow, Settings},
    mode::Mode,
};

/// How rule rows name an end: as the device it is, as its class, as its zone, or by its identity, which stands for all
/// the groups, networks and multicast groups it is in. Here are the identities that are not made by a policy, and the
/// bits that keep the kinds of names apart.
pub mod identity {
    /// An address that is in no network, and of no device that is in a group.
    pub const UNKNOWN: u32 = 0;
    /// In a rule row: whoever it is.
    pub const ANY: u32 = 1;
    /// The gateway's own addresses.
    pub const GATEWAY: u32 = 2;
    /// Every host of the link: the broadcast hardware address, or 255.255.255.255.
    pub const BROADCAST: u32 = 3;
    /// The first identity a policy may use.
    pub const FIRST: u32 = 16;
    /// In a rule row: one device, whose stable id the other bits are.
    pub const DEVICE: u32 = 1 << 31;
    /// In a rule row: every device of a class.
    pub const CLASS: u32 = 1 << 30;
    /// In a rule row: every device in a zone.
    pub const ZONE: u32 = 1 << 29;
}

/// Service classes that are not made by a policy.
pub mod class {
    /// A port that no service of the policy has.
    pub const NONE: u32 = 0;
    /// In a rule row: some service is allowed between the two. Only ever used to explain a denial.
    pub const PAIR: u32 = u32::MAX;
    /// In a rule row: a quarantined device may talk with this peer.
    pub const REMEDIATION: u32 = u32::MAX - 1;
    /// In a rule row between the identity of a device's hardware address and that of a network: the rule's number is
    /// the identity of such a device at a leased address of that network.
    pub const LEASED: u32 = u32::MAX - 2;
}

/// Bits of [`Head::shapes`]: which kinds of rule rows exist, so that a packet probes for no other, and what else there
/// is that most policies do without.
pub mod shape {
    /// How a row names an end: as one device.
    pub const OWN: u32 = 0;
    /// As a class.
    pub const CLASS: u32 = 1;
    /// As a zone.
    pub const ZONE: u32 = 2;
    /// By an identity.
    pub const IDENTITY: u32 = 3;
    /// As anyone.
    pub const ANYONE: u32 = 4;
    /// Bits of kinds of rows; there is none for the last one, from anyone to anyone.
    pub const KINDS: u32 = 24;

    /// The bit of rows that name their ends so.
    pub const fn of(initiator: u32, responder: u32) -> u32 {
        1 << (initiator * 5 + responder)
    }

    /// No kind of row: some device is not in monitor mode.
    pub const ENFORCING: u32 = 1 << 28;
    /// No kind of row: some device gets its address by DHCP.
    pub const LEASED: u32 = 1 << 29;
    /// No kind of row: some rule names a peer by its DNS name.
    pub const NAMED: u32 = 1 << 30;
    /// No kind of row: some rule does not hold all the time.
    pub const SCHEDULED: u32 = 1 << 31;
}

/// Bits of [`EndRow::flags`].
pub mod device_flag {
    /// The device has a hardware address, so another one using the address is a spoof.
    pub const HAS_MAC: u8 = 1;
    /// One of the gateway's own addresses.
    pub const GATEWAY: u8 = 2;
    /// The device gets its address by DHCP.
    pub const LEASED: u8 = 4;
    /// Some rule names the device itself.
    pub const NAMED: u8 = 8;
    /// In no row: the packet goes to a group or to everybody, whosever its address is.
    pub const GROUP: u8 = 16;
    /// Some rule names a peer by its DNS name for the device.
    pub const BY_NAME: u8 = 32;
}

/// Bits of [`SegmentRow::flags`].
pub mod segment_flag {
    /// The management pin is honoured here.
    pub const MANAGEMENT: u8 = 1;
    /// DHCP servers and routers may be here.
    pub const TRUSTED: u8 = 2;
    /// Fragments are dropped, whatever they belong to.
    pub const DROP_FRAGMENTS: u8 = 4;
    /// Some VLANs of the interface are segments of their own.
    pub const HAS_VLANS: u8 = 8;
}

/// [`crate::layout::SegmentRow::redirect`] while the other side of a pair is missing: nothing passes.
pub const NOWHERE: u32 = u32::MAX;

/// [`crate::layout::SegmentRow::redirect`] of an interface that forwards directly: what passes leaves by the way that the kernel would
/// take, if that leads out of another such interface, see [`crate::forward`].
pub const DIRECTLY: u32 = u32::MAX - 1;

/// The same of an interface where only IPv4 leaves so: the kernel does not forward IPv6 (`net.ipv6.conf.all.forwarding`).
pub const DIRECTLY_V4: u32 = u32::MAX - 2;

/// Whether what passes may leave directly: a [`crate::layout::SegmentRow::redirect`] that is [`DIRECTLY`] or [`DIRECTLY_V4`].
#[inline(always)]
#[must_use]
pub const fn is_direct(redirect: u32) -> bool {
    redirect == DIRECTLY || redirect == DIRECTLY_V4
}

/// [`crate::layout::SegmentKey::vlan`] of every frame whose VLAN is no segment of its own.
pub const ANY_VLAN: u16 = u16::MAX;

/// Bits of [`SegmentRow::infrastructure`]: what passes without a rule.
pub mod infrastructure {
    /// ARP, after its sender was checked.
    pub const ARP: u32 = 1;
    /// DHCP and DHCPv6 of clients, answered by servers that may be where they are.
    pub const DHCP: u32 = 2;
    /// IPv6 neighbour and router discovery, after its claims were checked.
    pub const NEIGHBOR_DISCOVERY: u32 = 4;
    /// IGMP and MLD.
    pub const MEMBERSHIP: u32 = 8;
    /// LLDP.
    pub const LLDP: u32 = 16;
    /// Spanning tree.
    pub const STP: u32 = 32;
    /// MRP, supervision of PRP and HSR, LACP.
    pub const REDUNDANCY: u32 = 64;
    /// EAP over LAN.
    pub const EAPOL: u32 = 128;
    /// Precision time to its groups.
    pub const PTP: u32 = 256;
    /// Everything.
    pub const ALL: u32 = 511;
}

/// Roles of [`crate::layout::TrustedKey`].
pub mod trust {
    /// A DHCP server, by its IP address.
    pub const DHCP_SERVER: u32 = 1;
    /// A router, by its IP address.
    pub const ROUTER: u32 = 2;
    /// A router, by its hardware address.
    pub const ROUTER_MAC: u32 = 3;
    /// A DHCP server, by its hardware address.
    pub const DHCP_SERVER_MAC: u32 = 4;
    /// A receiver of the agent's records over TCP, by its IP address and, where the others have a segment, its port.
    pub const RECEIVER: u32 = 5;
}

/// Bits of [`Settings::flags`].
pub mod setting {
    /// A mid-stream TCP segment without a flow is denied even if a rule allows its direction.
    pub const STRICT: u32 = 1;
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

/// Who is at one end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Stable device id; 0 when it is no managed device.
    pub device: u32,
    /// Which peer rules see, besides the three others.
    pub identity: u32,
    /// Its class as rule rows name it; 0 when no rule does.
    pub class: u32,
    /// Its zone, likewise.
    pub zone: u32,
    /// The device's mode; meaningless without a device.
    pub mode: Mode,
    /// [`device_flag`] bits.
    pub flags: u8,
    /// Segment the device must be seen on; 0 accepts any.
    pub segment: u16,
    /// VLAN the device must be seen on; 0 accepts any.
    pub vlan: u16,
}

impl Endpoint {
    /// An address that is no device's: `identity` says in which networks it is, if in any.
    #[inline(always)]
    pub const fn network(identity: u32) -> Self {
        Self { device: 0, identity, class: 0, zone: 0, mode: Mode::Monitor, flags: 0, segment: 0, vlan: 0 }
    }

    /// The endpoint behind a row of the tables of hardware and of IP addresses.
    #[inline(always)]
    pub const fn from_row(row: &EndRow) -> Self {
        let EndRow { device, identity, class, zone, segment, vlan, mode, flags, pad: _ } = *row;
        Self { device, identity, class, zone, mode: Mode::from_code(mode), flags, segment, vlan }
    }

    /// Who it is, as far as a flow must know: a device or, where it is none, the networks around it.
    #[inline(always)]
    pub const fn who(&self) -> u32 {
        if self.device != 0 { identity::DEVICE | self.device } else { self.identity }
    }

    /// All the names that rule rows may have for it, 0 where there is none: in the order of the kinds in [`shape`].
    #[inline(always)]
    pub const fn names(&self) -> [u32; 5] {
        let own = if self.flags & device_flag::NAMED != 0 { identity::DEVICE | self.device } else { 0 };
        [own, self.class, self.zone, self.identity, identity::ANY]
    }

    /// Whether it is one of the gateway's own addresses.
    #[inline(always)]
    pub const fn is_gateway(&self) -> bool {
        self.flags & device_flag::GATEWAY != 0
    }

    /// Whether it is a device that is recognised by its hardware address as well.
    #[inline(always)]
    pub const fn has_mac(&self) -> bool {
        self.flags & device_flag::HAS_MAC != 0
    }
}

/// The tables of one slot, the state tables and the settings, as one packet sees them.
pub trait Rules {
    /// The segment of a frame whose outer tag says `vlan` (0: untagged), on the interface where it arrived.
    fn segment(&self, vlan: u16) -> SegmentRow;
    /// How the agent runs.
    fn settings(&self) -> &Settings;
    /// Generation and shapes of the slot.
    fn head(&self) -> &Head;
    /// Monotonic time in ns.
    fn now(&self) -> u64;
    /// The device that owns a hardware address, or the group behind it; all zero when it is nobody's. Not an `Option`:
    /// what `None` leaves undefined, the compiler may compute with, and the verifier may refuse that.
    fn mac(&self, mac: u64) -> EndRow;
    /// Who is behind an address by the policy: a device, the gateway, a network, or nobody known.
    fn endpoint(&self, address: &Address) -> Endpoint;
    /// Who has leased an address; all zero when nobody has.
    fn lease(&self, address: &Address) -> Lease;
    /// Remembers a lease, replacing what was known of the address.
    fn bind(&self, address: &Address, lease: &Lease);
    /// Whether `source` may always reach this port of the gateway.
    fn is_management(&self, source: &Address, protocol: u8, port: u16) -> bool;
    /// Whether a host may have a role (see [`trust`]) on a segment where not everybody may; a receiver has it at a port.
    fn is_trusted(&self, address: &Address, segment: u16, role: u32) -> bool;
    /// The service class of a responder port, [`class::NONE`] when no service has it.
    fn class(&self, protocol: u8, port: u16) -> u32;
    /// The rule under which `initiator` may use a class of services of `responder`: [`probe`] over the rule rows.
    fn permitted(&self, initiator: &Endpoint, responder: &Endpoint, class: u32) -> RuleRow;
    /// The rule under which a device may use a class of services at an address that it learned by name. No rule when
    /// the address is forgotten.
    fn named(&self, device: u32, address: &Address, class: u32) -> RuleRow;
    /// The identity of a leased address, by that of its device's hardware address and that of the networks around it;
    /// 0 when it is the former.
    fn leased(&self, device: u32, networks: u32) -> u32;
    /// Whether rules of a schedule hold now; those of schedule 0 always do.
    fn is_open(&self, schedule: u32) -> bool;
    /// Runs `f` on a flow in place, if it is known.
    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T>;
    /// Remembers a flow that `begin` fills from all zero, replacing what was known of it.
    fn remember(&self, key: &FlowKey, begin: impl FnOnce(&mut Flow));
    /// Counts a new flow of a device; `false` when it has had too many of late, see [`crate::flow::take`].
    fn may_open(&self, device: u32) -> bool;
    /// Runs `f` in place on what is remembered of a fragmented packet, if anything is.
    fn with_fragments<T>(&self, key: &FragmentKey, f: impl FnOnce(&mut FragmentRow) -> T) -> Option<T>;
    /// Remembers the first fragment of a packet.
    fn remember_fragments(&self, key: &FragmentKey, row: &FragmentRow);
}

/// Looks a permission up in rule rows, for every pair of names that rows have for the two ends (see
/// [`Endpoint::names`]). `shapes` says which pairs occur; `row` finds no rule where there is no row. If the only rows are
/// those of closed schedules, one of these is the answer, without its rule.
#[inline(always)]
pub fn probe(
    shapes: u32,
    initiator: &[u32; 5],
    responder: &[u32; 5],
    class: u32,
    mut row: impl FnMut(u32, u32) -> RuleRow,
    is_open: impl Fn(u32) -> bool,
) -> RuleRow {
    let mut found = RuleRow { rule: 0, schedule: 0 };
    if class == class::NONE {
        return found;
    }
    let mut kind = 0;
    while kind < shape::KINDS {
        if shapes & (1 << kind) != 0 {
            let (from, to) = (initiator[kind as usize / 5], responder[kind as usize % 5]);
            if from != 0 && to != 0 {
                let one = row(from, to);
                if one.rule != 0 {
                    if is_open(one.schedule) {
                        return one;
                    }
                    found.schedule = one.schedule;
                }
            }
        }
        kind += 1;
    }
    found
}
