//! Denials that hold for whole networks: what is said of one stranger is said of all of them.
//!
//! In a flood no packet comes twice, and each would go the whole way. But where nothing at all is allowed between two ends, the verdict
//! depends on who they are, and an address of which no more is known than its networks ([`crate::flat`]) is as good as any
//! other there. So such a verdict has one key for all of them, whatever the ports: an end's address in it is replaced by
//! its identity.
//!
//! It tells less than the kernel otherwise does: its packets are counted with those that are too many to tell apart, see
//! [`crate::layout::ViolationKey::without_ends`]. So it is made only once the table of repeats is full, for a
//! packet that was counted so, and ends with that table: the key has its number. And it answers only while the ring has no room
//! for any packet but the first of its device and reason: what could be told by itself still is.

use super::key::{Seeds, has_state, place};
use crate::{
    decide::{Action, Decision, Ends, Verdict},
    lookup::device_flag,
    parse::Packet,
    reason::Reason,
    wire::dhcp,
};

/// Where it is in the upper half of a key's second word, above the interface: an end's address is replaced.
const SOURCE: u32 = 1 << 13;
const DESTINATION: u32 = 1 << 14;

/// The same bits of any key.
pub(super) const ENDS: u32 = SOURCE | DESTINATION;

/// The ports of a DHCP message, as they are loaded: what it says of addresses changes the verdict.
const ASKED: u32 = dhcp::CLIENT.swap_bytes() as u32 | (dhcp::SERVER.swap_bytes() as u32) << 16;
const ANSWERED: u32 = dhcp::SERVER.swap_bytes() as u32 | (dhcp::CLIENT.swap_bytes() as u32) << 16;

/// The key for all packets of which the same is known as of one with the key `words`, and its place. `known` has the identity of the
/// source (0) or destination (1) by its address, if nothing else is known of it; `table` is the number of the table of repeats.
/// `None` when both ends are somebody's, or it may matter what the packet says.
#[allow(clippy::cast_possible_truncation, reason = "fields are cut out of words")]
#[inline(always)]
pub fn key(
    seeds: &Seeds,
    words: &[u64; 4],
    table: u32,
    known: impl Fn(usize, u32) -> Option<u32>,
) -> Option<([u64; 4], u32)> {
    let [first, second, ends, ports] = *words;
    if !has_state(second) && matches!(ports as u32, ASKED | ANSWERED) {
        return None;
    }
    let (mut source, mut destination) = (ends as u32, (ends >> 32) as u32);
    // From a host to itself is a fault, which two strangers would share.
    if source == destination {
        return None;
    }
    let mut replaced = 0;
    if let Some(identity) = known(0, source.swap_bytes()) {
        (source, replaced) = (identity, SOURCE);
    }
    if let Some(identity) = known(1, destination.swap_bytes()) {
        (destination, replaced) = (identity, replaced | DESTINATION);
    }
    if replaced == 0 {
        return None;
    }
    let second = second | u64::from(replaced) << 32;
    let ends = u64::from(source) | u64::from(destination) << 32;
    let set = place(seeds, ends, u64::from(table), second >> 32).set;
    Some(([first, second, ends, u64::from(table) | ports >> 32 << 32], set))
}

/// Whether a denial holds for all packets of its [`key`]: nothing is allowed between its ends, by any service and in neither
/// direction, or its sender is not who it says. What passes all the same, in monitor mode, is there to be told apart.
#[inline(always)]
pub fn holds(packet: &Packet, ends: &Ends, decision: &Decision) -> bool {
    let Verdict::Deny(reason) = decision.verdict else { return false };
    let (source, destination) = (ends.source(), ends.destination());
    // The gateway's management is open by port, and so are connections of the agent.
    if decision.action == Action::Pass || packet.is_to_group() || destination.is_gateway() {
        return false;
    }
    match reason {
        // Said only where no service is allowed. What was learned by name is of one address.
        Reason::NoRule | Reason::UnknownPeer => {
            (source.flags | destination.flags) & device_flag::BY_NAME == 0
        }
        // Found before ports are looked at.
        Reason::SourceAddressMismatch
        | Reason::SourceMacMismatch
        | Reason::DestinationMismatch
        | Reason::WrongVlan
        | Reason::WrongSegment
        | Reason::Quarantined
        | Reason::Unmanaged => true,
        // They depend on ports, on what the packet says, on flows, rates or time.
        Reason::ServiceNotAllowed
        | Reason::WrongDirection
        | Reason::OutsideSchedule
        | Reason::NoFlow
        | Reason::FlowRate
        | Reason::InfrastructureOff
        | Reason::NoPolicy
        | Reason::IcmpErrorUnrelated
        | Reason::RogueRouter
        | Reason::RogueDhcp
        | Reason::DhcpMismatch
        | Reason::ArpSenderMismatch
        | Reason::AddressConflict
        | Reason::NdMismatch
        | Reason::MartianSource
        | Reason::MartianDestination
        | Reason::Truncated
        | Reason::VlanDepth
        | Reason::LlcLength
        | Reason::Ethertype
        | Reason::IpProtocol
        | Reason::Ipv4Header
        | Reason::Ipv4Length
        | Reason::Ipv4Options
        | Reason::Ipv6Header
        | Reason::Ipv6Extension
        | Reason::Ipv6Routing
        | Reason::Fragment
        | Reason::FragmentHeader
        | Reason::FragmentTiny
        | Reason::FragmentOrphan
        | Reason::FragmentOverlap
        | Reason::TcpHeader
        | Reason::TcpFlags
        | Reason::UdpLength
        | Reason::SctpHeader
        | Reason::IcmpHeader
        | Reason::ArpMalformed
        | Reason::NdMalformed
        | Reason::Redirect => false,
    }
}
