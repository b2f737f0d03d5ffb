//! The verdict cache: what `decide` said of one packet holds for those that it cannot tell apart, for a while.
//!
//! In: a frame, and what was decided of it. Out: the key that it shares only with such packets ([`key`]), and whether and
//! for how long the verdict may be remembered for them ([`holds`]). Nothing is decided here: a packet that is not found in
//! the cache goes the whole way.
//!
//! Each CPU has a cache of its own, sets of four entries of one cache line, so that nothing is locked. An entry counts its
//! packets; they are added to the exact counters when it is looked at again, when it makes room, and when the agent asks.
//! What a remembered verdict depends on, and when it is forgotten:
//!
//! | it depends on | forgotten |
//! |---|---|
//! | the policy, segments, settings, leases and names that the agent wrote | with the next [`crate::layout::Active::edition`] |
//! | the state of a TCP connection | when one of its packets opens, closes or resets it, on whichever CPU ([`STAMPS`]) |
//! | a lease that the kernel learned | when an address goes to somebody else ([`LEASES`]), and before it expires |
//! | a flow that the table of flows had to forget | with the sweep after its next packet |
//! | time | after [`LIFE`] at most, and a quarter of a flow's idle time |

use crate::{
    decide::{Decision, Judgement, Verdict},
    flow,
    layout::reading,
    lookup::{Rules, shape},
    parse::Packet,
    reason::{Grant, Reason},
    wire::{protocol, tcp},
};

pub mod broad;
pub mod key;

/// Entries of a set.
pub const WAYS: usize = 4;

/// Groups of flows that have one stamp: what happens to the connection of one makes the others be judged anew.
pub const STAMPS: u32 = 1024;

/// Index of the stamp of all leases, behind those of flows.
pub const LEASES: u32 = STAMPS;

/// For how long a verdict is remembered, ns. The agent's sweep touches its flow and brings its packets into the counters long before; where
/// nobody sweeps, so long neither happens.
pub const LIFE: u64 = 4_000_000_000;

/// What met no packet for so long, ns, is forgotten by the next sweep.
pub const SILENT: u64 = 1_000_000_000;

/// [`crate::layout::Active::edition`] of an entry that is being emptied: it is found by nobody and taken by nobody.
pub const TAKEN: u32 = u32::MAX;

/// Bits of [`Remembered::flags`].
pub mod flag {
    /// It is denied.
    pub const DENIED: u8 = 1;
    /// It is dropped.
    pub const DROPPED: u8 = 2;
    /// It belongs to a flow.
    pub const FLOW: u8 = 4;
    /// It holds for whole networks, see [`broad`](super::broad).
    pub const BROAD: u8 = 8;
    /// It depends on leases.
    pub const LEASED: u8 = 16;
    /// What passes on its interface goes out of another one.
    pub const REDIRECTED: u8 = 32;
    /// Where the mode of a denial begins: two bits.
    pub const MODE: u8 = 6;
}

/// Where packets and bytes are in [`Remembered::counts`]: 68 GB of 268 million packets.
pub const PACKETS: u32 = 36;

/// What is known of the packets of one key on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Packets since it was last emptied, from bit [`PACKETS`] on, and their bytes below.
    pub counts: u64,
    /// The tick from which on it holds no longer.
    pub until: u32,
    /// The tick of its last packet, the lower half.
    pub last: u16,
    /// The stamp under which it holds, the lower half.
    pub stamp: u16,
    /// Stable id of the device that it counts for.
    pub device: u32,
    /// Stable id of the rule; of a denial that of the sending device.
    pub rule: u32,
    /// Of a denial the stable id of the receiving device.
    pub destination: u32,
    /// The generation of a denial, the lower half.
    pub generation: u16,
    /// The code of the grant or reason.
    pub code: u8,
    /// [`flag`] bits.
    pub flags: u8,
}

/// More ticks than [`LIFE`] has, on any kernel.
const MOST_TICKS: u32 = 8192;
const _: () = assert!(MOST_TICKS < 1 << 16, "of the tick of a last packet 16 bits are kept");

impl Remembered {
    /// Whether it still holds. Ticks begin anew after 2^32 of them, and an entry that nobody looks at does not come to life again but for
    /// its last moments.
    #[inline(always)]
    pub const fn holds_at(&self, tick: u32) -> bool {
        holds_at(self.until, tick)
    }

    /// Whether its last packet is more than so many ticks ago, while it holds.
    #[inline(always)]
    pub const fn is_silent(&self, tick: u32, ticks: u32) -> bool {
        tick.wrapping_sub(self.last_tick()) > ticks
    }

    /// The tick of its last packet: within the time for which it held.
    #[allow(clippy::cast_possible_truncation, reason = "both are cut to the half that is kept")]
    #[inline(always)]
    pub const fn last_tick(&self) -> u32 {
        let before = (self.until as u16).wrapping_sub(self.last);
        self.until.wrapping_sub(before as u32)
    }
}

/// [`Remembered::holds_at`] for its [`Remembered::until`].
#[inline(always)]
pub const fn holds_at(until: u32, tick: u32) -> bool {
    until.wrapping_sub(tick).wrapping_sub(1) < MOST_TICKS
}

/// An entry for TCP or UDP over IPv4: one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry4 {
    /// See [`key`]; the last word has [`crate::layout::Active::edition`] above the ports.
    pub key: [u64; 4],
    /// What holds for it.
    pub known: Remembered,
}

/// An entry for TCP or UDP over IPv6: two cache lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry6 {
    /// See [`key`]; the last word but one has [`crate::layout::Active::edition`] above the ports, the last one is 0.
    pub key: [u64; 8],
    /// What holds for it.
    pub known: Remembered,
    /// Always zero.
    pub pad: [u64; 4],
}

const _: () = assert!(size_of::<Entry4>() == 64 && size_of::<Entry6>() == 128);

/// For how long a verdict holds for all packets of its key, and what it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// In ns.
    pub life: u64,
    /// Bits of [`flag`].
    pub flags: u8,
}

/// Whether what was decided of a packet may be remembered for others of its key; `None` when it holds for this one only.
#[inline(always)]
pub fn holds<R: Rules>(
    packet: &Packet,
    judgement: &Judgement,
    decision: &Decision,
    rules: &R,
) -> Option<Holds> {
    let is_read = judgement.reading != reading::NOTHING;
    // What a DHCP message says of addresses is in no key.
    if is_read || packet.fault.is_some() || packet.is_dhcp_request() || packet.is_dhcp_reply() {
        return None;
    }
    let mut found = match decision.verdict {
        Verdict::Allow(Grant::Flow) => steady(packet, rules)?,
        Verdict::Allow(Grant::Unmanaged) => Holds { life: LIFE, flags: 0 },
        Verdict::Allow(_) => return None,
        Verdict::Deny(reason) if lasts(reason, rules.head().shapes) => {
            let mode = decision.mode.code() << flag::MODE;
            Holds { life: LIFE, flags: flag::DENIED | mode }
        }
        Verdict::Deny(_) => return None,
    };
    if rules.head().shapes & shape::LEASED != 0 {
        found.flags |= flag::LEASED;
        for address in [&packet.source, &packet.destination] {
            let left = rules.lease(address).expires.saturating_sub(rules.now());
            // Its second half is extended by packets that are decided.
            if left != 0 && left / 2 < found.life {
                found.life = left / 2;
            }
        }
    }
    Some(found)
}

/// A flow of which each further packet does nothing but keep it alive.
#[inline(always)]
fn steady<R: Rules>(packet: &Packet, rules: &R) -> Option<Holds> {
    const CHANGES: u8 = tcp::SYN | tcp::FIN | tcp::RST;
    let is_tcp = packet.protocol == protocol::TCP;
    if is_tcp && packet.tcp_flags & CHANGES != 0 {
        return None;
    }
    let ports = (packet.source_port, packet.destination_port);
    let (key, _) = flow::key(packet.source, packet.destination, ports.0, ports.1, packet.protocol, 0);
    // A closed schedule ends a flow with its next packet.
    let is_steady =
        rules.with_flow(&key, |flow| flow.schedule == 0 && flow.state & !flow::state::ANSWERED == 0);
    if is_steady != Some(true) {
        return None;
    }
    let settings = rules.settings();
    let idle = if is_tcp { settings.tcp_idle } else { settings.udp_idle };
    let life = if idle / 4 < LIFE { idle / 4 } else { LIFE };
    Some(Holds { life, flags: flag::FLOW })
}

/// Whether a denial depends on nothing but the ends of a packet, its service and the tables: no flow, no rate, no time.
#[inline(always)]
fn lasts(reason: Reason, shapes: u32) -> bool {
    match reason {
        Reason::SourceAddressMismatch
        | Reason::SourceMacMismatch
        | Reason::DestinationMismatch
        | Reason::WrongVlan
        | Reason::WrongSegment
        | Reason::Quarantined
        | Reason::NoRule
        | Reason::UnknownPeer
        | Reason::Unmanaged => true,
        // What was learned by name expires.
        Reason::ServiceNotAllowed | Reason::WrongDirection => shapes & shape::NAMED == 0,
        Reason::Truncated
        | Reason::VlanDepth
        | Reason::Ipv4Header
        | Reason::Ipv4Length
        | Reason::Ipv4Options
        | Reason::Fragment
        | Reason::TcpHeader
        | Reason::TcpFlags
        | Reason::UdpLength
        | Reason::IcmpHeader
        | Reason::ArpMalformed
        | Reason::Ipv6Header
        | Reason::MartianSource
        | Reason::ArpSenderMismatch
        | Reason::NoFlow
        | Reason::IcmpErrorUnrelated
        | Reason::IpProtocol
        | Reason::Ethertype
        | Reason::InfrastructureOff
        | Reason::NoPolicy
        | Reason::Ipv6Extension
        | Reason::Ipv6Routing
        | Reason::MartianDestination
        | Reason::FragmentHeader
        | Reason::FragmentTiny
        | Reason::FragmentOrphan
        | Reason::FragmentOverlap
        | Reason::NdMalformed
        | Reason::NdMismatch
        | Reason::AddressConflict
        | Reason::RogueRouter
        | Reason::RogueDhcp
        | Reason::Redirect
        | Reason::FlowRate
        | Reason::SctpHeader
        | Reason::DhcpMismatch
        | Reason::LlcLength
        | Reason::OutsideSchedule => false,
    }
}

/// Whether a packet that passed changes the state of its connection, for all who remember a verdict about it.
#[inline(always)]
pub fn changes_a_flow(packet: &Packet) -> bool {
    packet.protocol == protocol::TCP && packet.tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) != 0
}

#[cfg(test)]
mod tests;
