//! What the kernel tells user space: violations, first ones and repeats, and the frames it must read in full.

use crate::address::Address;

/// What makes two denied packets the same violation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViolationKey {
    /// IP source or ARP sender.
    pub source: Address,
    /// IP destination or ARP target.
    pub destination: Address,
    /// Stable id of the device the violation is counted for; 0 when none is involved.
    pub device: u32,
    /// Stable id of the sending device; 0 when unknown.
    pub source_device: u32,
    /// Stable id of the receiving device; 0 when unknown.
    pub destination_device: u32,
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
    /// Always zero.
    pub pad: u32,
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

/// Bytes of a frame that a sample holds: a DHCP message with its usual options fits (RFC 2131 2: 576 at least), and so
/// does the largest answer that resolvers send in one datagram, 1232 bytes behind two VLAN tags and an IPv6 header
/// (RFC 9715 appendix A). Of a longer one what fits is read.
pub const SAMPLE_BYTES: usize = 1304;

/// What user space reads in a sampled frame: [`Sample::reading`], and what a judgement asks for.
pub mod reading {
    /// The frame is not sampled.
    pub const NOTHING: u32 = 0;
    /// The leases that a DHCP server's answer grants.
    pub const LEASES: u32 = 1;
    /// The addresses that a resolver's answer names.
    pub const NAMES: u32 = 2;
}

/// The start of an allowed frame that user space must read in full.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// [`ABI`]; a reader drops what it does not know, and counts it.
    pub abi: u32,
    /// How many of `bytes` are the frame's.
    pub len: u32,
    /// Monotonic time, ns.
    pub time: u64,
    /// Interface index on which the frame arrived.
    pub ifindex: u32,
    /// Stable id of the receiving device; 0 when it is nobody's.
    pub device: u32,
    /// One of [`reading`].
    pub reading: u32,
    /// Always zero.
    pub pad: u32,
    /// The frame from its first byte on.
    pub bytes: [u8; SAMPLE_BYTES],
}
