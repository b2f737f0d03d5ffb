//! Keys and values of the kernel maps: integers and byte arrays only, every padding byte named, sizes
//! asserted. Whoever changes one raises [`ABI`], which is part of the pin directory's name.
#![allow(unsafe_code, reason = "aya's Pod marker is an unsafe trait; each type here is plain old data")]

/// Version of everything in this file. Agents of different ABIs never share maps.
pub const ABI: u32 = 1;

/// Inner tables of a policy live in one of two slots: one enforces, the other is being filled.
pub const SLOTS: u32 = 2;

/// Interfaces one gateway can enforce on, including the slot for "not configured".
pub const MAX_INTERFACES: u32 = 64;

/// The value each packet reads once: which slot decides, and under which generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// 0 or 1.
    pub slot: u32,
    /// Counts applied policies; 0 means that none was ever applied.
    pub generation: u32,
}

/// What a packet needs to know of a slot besides its tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The generation the slot was filled for.
    pub generation: u32,
    /// Which kinds of rule rows exist, see [`crate::lookup::shape`].
    pub shapes: u32,
    /// The first eight bytes of the revision, for whoever finds the maps without an agent.
    pub revision: [u8; 8],
}

/// Value of the table `MACS`, keyed by the hardware address as a number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MacRow {
    /// Stable device id, from 1.
    pub device: u32,
    /// VLAN the device must be seen on; 0 accepts any.
    pub vlan: u16,
    /// [`crate::mode::Mode`] as a byte.
    pub mode: u8,
    /// Always zero.
    pub pad: u8,
}

/// Value of the table `ADDRESSES`, keyed by the IPv4 address as a number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressRow {
    /// Stable device id; 0 for the gateway's own addresses.
    pub device: u32,
    /// Which peer rules see behind the address.
    pub identity: u32,
    /// [`crate::mode::Mode`] as a byte.
    pub mode: u8,
    /// [`crate::lookup::address_flag`] bits.
    pub flags: u8,
    /// VLAN the device must be seen on; 0 accepts any.
    pub vlan: u16,
}

/// Key of the table `RULES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleKey {
    /// Identity of who starts the conversation.
    pub initiator: u32,
    /// Identity of who answers.
    pub responder: u32,
    /// Service class, or one of the markers in [`crate::lookup::class`].
    pub class: u32,
}

/// Data of the longest-prefix table `SERVICES`: protocol, then the port in network order.
/// Prefix lengths go up to 24 bits. The value is a service class.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// IP protocol number.
    pub protocol: u8,
    /// Responder port, big-endian; for ICMP type and code.
    pub port: [u8; 2],
    /// Always zero; the value behind a trie's data must be aligned.
    pub pad: u8,
}

/// One flow, either direction: the lower (address, port) first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Lower address.
    pub low: u32,
    /// Higher address.
    pub high: u32,
    /// Port of the lower address.
    pub low_port: u16,
    /// Port of the higher address.
    pub high_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Type of the ICMP request that started it; 0 for other protocols.
    pub request: u8,
    /// Always zero.
    pub pad: [u8; 2],
}

/// What is remembered of an allowed flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Monotonic time of the last packet, ns.
    pub seen: u64,
    /// The generation under which the flow was last found allowed.
    pub generation: u32,
    /// Stable id of the rule that allows it.
    pub rule: u32,
    /// 0 when the lower address started the flow, 1 when the higher one did.
    pub initiator: u8,
    /// 1 once a FIN was seen, 2 after an RST, otherwise 0: a closing flow lives on shortly.
    pub closing: u8,
    /// Always zero.
    pub pad: [u8; 6],
}

/// How the agent runs, as far as a packet is concerned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Monotonic time in ns until which flows older than the agent are adopted in either direction.
    pub adopt_until: u64,
    /// Silence in ns after which a TCP flow is forgotten.
    pub tcp_idle: u64,
    /// Silence in ns after which a UDP flow is forgotten.
    pub udp_idle: u64,
    /// Silence in ns after which an ICMP request is forgotten.
    pub icmp_idle: u64,
    /// Silence in ns after which a TCP flow that saw FIN or RST is forgotten.
    pub closing_idle: u64,
    /// [`crate::lookup::setting`] bits.
    pub flags: u32,
    /// Always zero.
    pub pad: u32,
}

/// Value of the table `INTERFACES`, keyed by interface index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRow {
    /// Index of the interface's counters, from 1; 0 collects what is not configured.
    pub counter: u32,
    /// [`crate::lookup::Unmanaged`] as a byte.
    pub unmanaged: u8,
    /// 1 when the management pin is honoured here.
    pub management: u8,
    /// Always zero.
    pub pad: [u8; 2],
}

/// Packets and bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
}

/// Per interface: `seen = passed + dropped` always; `would_drop` is part of `passed`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Everything that arrived.
    pub seen: Traffic,
    /// What went on to the stack.
    pub passed: Traffic,
    /// What ended here.
    pub dropped: Traffic,
    /// Denied, but passed because no enforcing device was involved.
    pub would_drop: Traffic,
}

/// What makes two denied packets the same violation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViolationKey {
    /// Stable id of the device the violation is counted for; 0 when none is involved.
    pub device: u32,
    /// Stable id of the sending device; 0 when unknown.
    pub source_device: u32,
    /// Stable id of the receiving device; 0 when unknown.
    pub destination_device: u32,
    /// IPv4 source or ARP sender as a number.
    pub source: u32,
    /// IPv4 destination or ARP target as a number.
    pub destination: u32,
    /// Interface index on which the packet arrived.
    pub ifindex: u32,
    /// Source hardware address.
    pub source_mac: [u8; 6],
    /// Destination hardware address.
    pub destination_mac: [u8; 6],
    /// VLAN of the outer tag.
    pub vlan: u16,
    /// VLAN of the inner tag.
    pub inner_vlan: u16,
    /// EtherType.
    pub ethertype: u16,
    /// Destination port; for ICMP `type << 8 | code`.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// [`crate::reason::Reason`] as a byte.
    pub reason: u8,
    /// 1 when the packet was dropped, 0 when it passed.
    pub dropped: u8,
    /// [`crate::mode::Mode`] as a byte: the strictest of the ends.
    pub mode: u8,
    /// Generation that decided. Violations of two revisions are never folded together.
    pub generation: u32,
}

/// How often a violation repeated on one CPU since the table was last drained, without the packet that
/// became an event. All zero on a CPU that saw none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// Monotonic time of the first packet, ns.
    pub first: u64,
    /// Monotonic time of the last packet, ns.
    pub last: u64,
}

/// First packet of a violation since the last drain, as it travels through the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// [`ABI`]; a reader drops what it does not know, and counts it.
    pub abi: u32,
    /// Length of the frame in bytes.
    pub len: u32,
    /// Monotonic time, ns.
    pub time: u64,
    /// What happened.
    pub key: ViolationKey,
    /// Source port, or ICMP identifier.
    pub source_port: u16,
    /// TCP control bits.
    pub tcp_flags: u8,
    /// Always zero.
    pub pad: [u8; 5],
}

/// Indices of the per-CPU array `TALLY`. `violations = delivered + aggregated + lost` always.
pub mod tally {
    /// Packets with a deny verdict, dropped or not.
    pub const VIOLATIONS: u32 = 0;
    /// Violations that became an event in the ring buffer.
    pub const DELIVERED: u32 = 1;
    /// Violations counted in the table of repeats.
    pub const AGGREGATED: u32 = 2;
    /// Violations for which neither the ring nor the table had room. They are in the device counters.
    pub const LOST: u32 = 3;
    /// Flows that could not be remembered; the packet passed all the same.
    pub const FLOWS_REFUSED: u32 = 4;
    /// Length of the array.
    pub const LEN: u32 = 8;
}

macro_rules! layout {
    ($($name:ident: $size:literal,)*) => {
        $(
            const _: () = assert!(size_of::<$name>() == $size, concat!(stringify!($name), " has another size"));
            // SAFETY: repr(C), integers and byte arrays only, no implicit padding (the size is asserted
            // and equals the sum of the fields), valid for every bit pattern.
            // JUSTIFICATION: aya asks for the marker before it copies a value between user space and kernel.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $name {}
        )*
    };
}

layout! {
    Active: 8,
    Head: 16,
    MacRow: 8,
    AddressRow: 12,
    RuleKey: 12,
    ServiceKey: 4,
    FlowKey: 16,
    Flow: 24,
    Settings: 48,
    InterfaceRow: 8,
    Traffic: 16,
    InterfaceCounters: 64,
    ViolationKey: 52,
    Repeats: 32,
    Event: 80,
}
