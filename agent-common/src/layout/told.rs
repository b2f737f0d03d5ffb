//! What the kernel tells user space: violations, first ones and repeats, and the frames it must read in full.

use crate::{
    address::Address,
    parse::Packet,
    wire::{EPHEMERAL_PORTS, protocol, tcp},
};

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
    /// Destination port, of an answer the source port; for ICMP `type << 8 | code`.
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
    /// 1 when the packet is an answer, see [`is_answer`]: the client's port is left out, else every client of a server
    /// whose answers are denied would be a violation of its own.
    pub answer: u8,
    /// 1 of violations that were too many to tell apart: see [`ViolationKey::without_ends`].
    pub others: u8,
    /// Always zero.
    pub pad: [u8; 2],
}

impl ViolationKey {
    /// What violations that were too many to tell apart have in common.
    #[must_use]
    #[inline(always)]
    pub fn without_ends(&self) -> Self {
        let Self { device, reason, dropped, mode, generation, ifindex, .. } = *self;
        Self { device, reason, dropped, mode, generation, ifindex, others: 1, ..Self::default() }
    }
}

/// Whether a packet looks like the answer of a server: from a port of servers to one of clients, and it does not open a
/// connection.
#[inline(always)]
pub fn is_answer(packet: &Packet) -> bool {
    let opens = packet.protocol == protocol::TCP && packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
    matches!(packet.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
        && !opens
        && is_answered(packet.source_port, packet.destination_port)
}

/// Whether these are the ports of an answer of a server.
#[inline(always)]
pub const fn is_answered(source_port: u16, destination_port: u16) -> bool {
    // Port 0 is nobody's, and what a frame has that was not read as far as its ports.
    let from_server = source_port != 0 && is_of_servers(source_port);
    from_server && !is_of_servers(destination_port)
}

/// Whether servers are at a port: below those of clients, or where IANA has put automation among them. PROFINET, EtherCAT,
/// EtherNet/IP and BACnet/IP; many of their clients use low ports.
#[inline(always)]
const fn is_of_servers(port: u16) -> bool {
    port < EPHEMERAL_PORTS || matches!(port, 34_962..=34_964 | 34_980 | 44_818 | 47_808..=47_823)
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

/// Bytes of a denied frame that its event carries: Ethernet, two tags, IPv6, and TCP with its usual options fit.
pub const START_BYTES: usize = 96;

/// First packet of a violation since the last drain, as it travels through the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// [`ABI`]; a reader drops what it does not know, and counts it.
    pub abi: u32,
    /// Length of the frame in bytes.
    pub len: u32,
    /// Monotonic time, ns.
    pub time: u64,
    /// What happened.
    pub key: ViolationKey,
    /// The port that the key leaves out: the source's, of an answer the destination's; or the ICMP identifier.
    pub other_port: u16,
    /// TCP control bits.
    pub tcp_flags: u8,
    /// How many of `start` are the frame's.
    pub kept: u8,
    /// Always zero.
    pub pad: [u8; 4],
    /// The frame from its first byte on, then zeros.
    pub start: [u8; START_BYTES],
}

impl Default for Event {
    fn default() -> Self {
        Self {
            abi: 0,
            len: 0,
            time: 0,
            key: ViolationKey::default(),
            other_port: 0,
            tcp_flags: 0,
            kept: 0,
            pad: [0; 4],
            start: [0; START_BYTES],
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_comes_from_a_server_port_to_a_client_port_and_opens_nothing() {
        let packet = |number, source_port, destination_port, tcp_flags| Packet {
            protocol: number,
            source_port,
            destination_port,
            tcp_flags,
            ..Packet::EMPTY
        };
        for (packet, answers) in [
            (packet(protocol::TCP, 502, 49_152, tcp::ACK), true),
            (packet(protocol::TCP, 502, 49_152, tcp::SYN | tcp::ACK), true),
            (packet(protocol::UDP, 53, EPHEMERAL_PORTS, 0), true),
            (packet(protocol::SCTP, EPHEMERAL_PORTS - 1, u16::MAX, 0), true),
            (packet(protocol::TCP, 44_818, 49_152, tcp::ACK), true),
            (packet(protocol::UDP, 2356, 47_808, 0), false),
            (packet(protocol::UDP, 47_808, 47_808, 0), false),
            // Its control bits say nothing.
            (packet(protocol::UDP, 53, EPHEMERAL_PORTS, tcp::SYN), true),
            (packet(protocol::TCP, 1025, 49_664, tcp::SYN), false),
            (packet(protocol::TCP, 49_152, 502, tcp::ACK), false),
            (packet(protocol::UDP, 53, EPHEMERAL_PORTS - 1, 0), false),
            (packet(protocol::UDP, EPHEMERAL_PORTS, EPHEMERAL_PORTS, 0), false),
            (packet(protocol::UDP, 0, EPHEMERAL_PORTS, 0), false),
            (packet(protocol::ICMP, 7, 40_000, 0), false),
        ] {
            assert_eq!(is_answer(&packet), answers, "{packet:?}");
        }
    }
}
