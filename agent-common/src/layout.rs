//! Keys and values of the kernel maps: integers and byte arrays only, every padding byte named, sizes
//! asserted. Whoever changes one raises [`ABI`], which is part of the pin directory's name.
#![allow(unsafe_code, reason = "aya's Pod marker is an unsafe trait; each type here is plain old data")]

use crate::address::Address;

mod told;
pub use told::{
    Event, Repeats, SAMPLE_BYTES, START_BYTES, Sample, ViolationKey, is_answer, is_answered, reading,
};

/// Version of everything in this file. Agents of different ABIs never share maps.
pub const ABI: u32 = 5;

/// Inner tables of a policy live in one of two slots: one enforces, the other is being filled.
pub const SLOTS: u32 = 2;

/// Interfaces one gateway can enforce on, including the slot for "not configured".
pub const MAX_INTERFACES: u32 = 64;

/// Segments one gateway can enforce on: interfaces and VLANs of them.
pub const MAX_SEGMENTS: u32 = 1024;

/// DHCP servers and routers that may be named for segments where nobody else may be one.
pub const MAX_TRUSTED: u32 = 1024;

/// Schedules that the rules of one policy may have, the one that is always open included.
pub const MAX_SCHEDULES: u32 = 1024;

/// Packets whose fragments may be under way at the same time.
pub const MAX_FRAGMENTED: u32 = 4096;

/// Bytes of the ring of samples: room for some two hundred while the agent is busy with something else.
pub const SAMPLE_RING_BYTES: u32 = 262_144;

/// Bytes of them that answers of resolvers leave to those of DHCP servers.
pub const SAMPLES_FOR_LEASES: u32 = SAMPLE_RING_BYTES / 4;

/// The value each packet reads once, as one word: which slot decides, and under which generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// 0 or 1.
    pub slot: u32,
    /// Counts what user space wrote that a remembered verdict may depend on, policies included; 31 bits of it are kept.
    pub edition: u32,
    /// Counts applied policies; 0 means that none was ever applied.
    pub generation: u32,
}

impl Active {
    /// What stands in the map: the slot in bit 0, the edition up to bit 31, the generation above.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.slot & 1) as u64 | ((self.edition << 1) as u64) | (self.generation as u64) << 32
    }

    /// The value behind a word of the map.
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a word")]
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        let low = word as u32;
        Self { slot: low & 1, edition: low >> 1, generation: (word >> 32) as u32 }
    }

    /// The same with the next edition. Neither the first nor the last number is one: an entry of the verdict cache that is
    /// empty has the one, one that is taken the other.
    #[must_use]
    pub const fn next_edition(self) -> Self {
        let next = (self.edition + 1) & (u32::MAX >> 1);
        Self { edition: if next == 0 || next == u32::MAX >> 1 { 1 } else { next }, ..self }
    }
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

/// Value of the tables `MACS`, keyed by the hardware address as a number, and `ADDRESSES`, keyed by [`Address`]: who is
/// there. A group that a rule names has an identity and no device, and so have the gateway's own addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndRow {
    /// Stable device id, from 1; 0 where it is none.
    pub device: u32,
    /// Which peer rules see: behind a hardware address, where there is no IP address to ask.
    pub identity: u32,
    /// Its class as rule rows name it; 0 when no rule does.
    pub class: u32,
    /// Its zone, likewise.
    pub zone: u32,
    /// Segment the device must be seen on; 0 accepts any.
    pub segment: u16,
    /// VLAN the device must be seen on; 0 accepts any.
    pub vlan: u16,
    /// [`crate::mode::Mode`] as a byte.
    pub mode: u8,
    /// [`crate::lookup::device_flag`] bits.
    pub flags: u8,
    /// Always zero.
    pub pad: [u8; 2],
}

/// Value of the table `LEASES`, keyed by [`Address`]: whose it is until when, as a DHCP server said.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Hardware address of the client.
    pub mac: u64,
    /// Monotonic time in ns at which it ends.
    pub expires: u64,
    /// How long it was given for, ns; it is kept for as long again while it is used.
    pub length: u64,
}

/// Key of the table `TRUSTED`: who may be a DHCP server or a router on a segment where nobody else may, and who receives what the
/// agent has to tell.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustedKey {
    /// The host's address; a hardware address stands in `low`.
    pub address: Address,
    /// The segment; of a receiver its port.
    pub segment: u32,
    /// One of [`crate::lookup::trust`].
    pub role: u32,
}

/// Key of the table `RULES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleKey {
    /// A name of who starts the conversation, see [`crate::lookup::identity`].
    pub initiator: u32,
    /// A name of who answers.
    pub responder: u32,
    /// Service class, or one of the markers in [`crate::lookup::class`].
    pub class: u32,
}

/// Value of the table `RULES`, and what a lookup there finds: no rule and a schedule say that a rule is there, and closed
/// at this time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRow {
    /// Stable id of the rule; 0 for none.
    pub rule: u32,
    /// Index in `SCHEDULES` of when it holds; 0 is always.
    pub schedule: u32,
}

/// Key of the table `NAMED`: what a device may do at an address that it learned by one of the names it may use.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedKey {
    /// The address.
    pub address: Address,
    /// Stable id of the device.
    pub device: u32,
    /// Service class.
    pub class: u32,
}

/// Value of the table `NAMED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamedRow {
    /// The rule that names the name, and when it holds.
    pub row: RuleRow,
    /// Monotonic time in ns at which the address is forgotten.
    pub expires: u64,
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
    pub low: Address,
    /// Higher address.
    pub high: Address,
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
    /// Monotonic time of the last packet that kept it alive, ns.
    pub seen: u64,
    /// Monotonic time of the packet that began it, or with which it was adopted, ns.
    pub began: u64,
    /// Packets from the lower address and from the higher one. Of two CPUs that count one direction at one moment, one may be forgotten.
    pub packets: [u64; 2],
    /// Their bytes, from the first of the Ethernet header on.
    pub bytes: [u64; 2],
    /// The generation under which the flow was last found allowed.
    pub generation: u32,
    /// Stable id of the rule that allows it.
    pub rule: u32,
    /// Identity of whoever was at the lower address when it was last found allowed.
    pub low: u32,
    /// Identity of whoever was at the higher address.
    pub high: u32,
    /// 0 when the lower address started the flow, 1 when the higher one did.
    pub initiator: u8,
    /// [`crate::flow::state`] bits of a TCP flow, otherwise 0.
    pub state: u8,
    /// Always zero.
    pub pad: [u8; 2],
    /// Index in `SCHEDULES` of when its rule holds; 0 is always.
    pub schedule: u32,
}

/// Key of the table `FRAGMENTS`: the fragments of one packet share it (RFC 791 3.2, RFC 8200 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification.
    pub id: u32,
    /// IP protocol of an IPv4 packet; 0 for IPv6, where the identification alone tells.
    pub protocol: u8,
    /// Always zero.
    pub pad: [u8; 3],
}

/// What the first fragment of an allowed packet leaves for the others. Offsets count eight bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentRow {
    /// Monotonic time of the first fragment, ns.
    pub seen: u64,
    /// Source port, as in [`crate::parse::Packet`].
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Service port.
    pub service_port: u16,
    /// Everything before this was seen.
    pub end: u16,
    /// Where what was seen ahead of `end` begins; 0 when there is nothing.
    pub ahead_start: u16,
    /// Where it stops.
    pub ahead_stop: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Type of an ICMP message.
    pub icmp_type: u8,
    /// Always zero.
    pub pad: [u8; 2],
}

/// How many flows a device began in the present window.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Monotonic time in ns at which the window began.
    pub start: u64,
    /// New flows since then.
    pub count: u64,
}

/// How the agent runs, as far as a packet is concerned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Monotonic time in ns until which flows older than the agent are adopted in either direction.
    pub adopt_until: u64,
    /// Silence in ns after which a TCP flow is forgotten.
    pub tcp_idle: u64,
    /// The same while only its first SYN was seen.
    pub opening_idle: u64,
    /// The same once both ends closed it or one reset it.
    pub closing_idle: u64,
    /// Silence in ns after which a UDP flow is forgotten, or one of another protocol with or without ports.
    pub udp_idle: u64,
    /// Silence in ns after which an ICMP request is forgotten.
    pub icmp_idle: u64,
    /// Time in ns after its first fragment in which a packet must be complete.
    pub fragment_idle: u64,
    /// Time in ns for which an address that a DHCP server named is its client's, until the agent has read for how long
    /// it really is.
    pub lease_idle: u64,
    /// Length in ns of the window in which a device's new flows are counted.
    pub flow_window: u64,
    /// New flows a device may take part in within a window; 0 is no cap.
    pub flow_cap: u32,
    /// [`crate::lookup::setting`] bits.
    pub flags: u32,
}

/// Key of the table `SEGMENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    /// Interface index.
    pub ifindex: u32,
    /// VLAN of the outer tag, or [`crate::lookup::ANY_VLAN`].
    pub vlan: u16,
    /// Always zero.
    pub pad: u16,
}

/// Value of the table `SEGMENTS`: an interface, or one VLAN of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentRow {
    /// Index of the interface's counters, from 1; 0 collects what is not configured.
    pub counter: u32,
    /// Interface index of the other side of an inline pair: there goes what passes. 0 hands it to the stack;
    /// [`crate::lookup::NOWHERE`], [`crate::lookup::DIRECTLY`] and [`crate::lookup::DIRECTLY_V4`] are no indexes.
    pub redirect: u32,
    /// [`crate::lookup::infrastructure`] bits.
    pub infrastructure: u32,
    /// The segment, from 1; 0 is what is not configured.
    pub segment: u16,
    /// [`crate::lookup::Unmanaged`] as a byte.
    pub unmanaged: u8,
    /// [`crate::lookup::segment_flag`] bits.
    pub flags: u8,
}

/// Value of the per-CPU array `SWEEP`: whether a CPU's part of the verdict cache has anything to tell. Packets write the first word,
/// the sweep the others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Counts the entries that were made.
    pub made: u32,
    /// How many there had been when the sweep began.
    pub begun: u32,
    /// 1 when an entry stays behind it.
    pub stays: u32,
    /// Of how many all are gone.
    pub gone: u32,
}

impl Sweep {
    /// Sets that one run of the sweep looks at: as many as a verifier follows without effort. It begins with the one that the first
    /// four bytes of its frame say.
    pub const STRIDE: u32 = 256;

    /// Whether there may be an entry.
    pub const fn is_needed(self) -> bool {
        self.made != self.gone
    }
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

/// Per interface: `seen = passed + dropped` always; `would_drop` is part of `passed`, `remembered` of `seen`.
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
    /// Packets that a remembered verdict answered. All others were decided.
    pub remembered: u64,
}

/// Indices of the per-CPU array `TALLY`. `violations = delivered + aggregated + lost` always.
pub mod tally {
    /// Packets with a deny verdict, dropped or not.
    pub const VIOLATIONS: u32 = 0;
    /// Violations that became an event in the ring buffer.
    pub const DELIVERED: u32 = 1;
    /// Violations counted in the tables of repeats and of others.
    pub const AGGREGATED: u32 = 2;
    /// Violations for which neither the ring nor a table had room. They are in the device counters.
    pub const LOST: u32 = 3;
    /// Flows that could not be remembered; the packet passed all the same.
    pub const FLOWS_REFUSED: u32 = 4;
    /// First fragments that could not be remembered; the others will be orphans.
    pub const FRAGMENTS_REFUSED: u32 = 5;
    /// Leases that could not be remembered.
    pub const LEASES_REFUSED: u32 = 6;
    /// Samples for which the ring had no room.
    pub const SAMPLES_LOST: u32 = 7;
    /// Flows that were remembered anew. Those that are not there any more made room for others.
    pub const FLOWS_MADE: u32 = 8;
    /// Length of the array.
    pub const LEN: u32 = 16;
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
    Address: 16,
    Head: 16,
    EndRow: 24,
    Lease: 24,
    TrustedKey: 24,
    RuleKey: 12,
    RuleRow: 8,
    NamedKey: 24,
    NamedRow: 16,
    ServiceKey: 4,
    FlowKey: 40,
    Flow: 72,
    FragmentKey: 40,
    FragmentRow: 24,
    Budget: 16,
    Settings: 80,
    SegmentKey: 8,
    SegmentRow: 16,
    Sweep: 16,
    Traffic: 16,
    InterfaceCounters: 72,
    ViolationKey: 80,
    Repeats: 32,
    Event: 200,
    Sample: 1336,
}
