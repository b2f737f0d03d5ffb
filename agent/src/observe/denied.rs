//! Denied packets as conversations: both directions of one are joined, and who began is found out.
//!
//! In: violations, as the kernel tells of them. Out: for each the kind of conversation that it belongs to, and what it adds. Who began
//! is known where the packet that opens a TCP connection came as an event; else where the other direction was met before; else
//! it is guessed from the ports, as the kernel does. Packets that are part of no conversation (broken, forged, claims of
//! addresses, errors) are left out.

use std::collections::BTreeMap;

use bulkhead_common::{
    address::Address,
    layout::{Event, Repeats, ViolationKey},
    reason::Reason,
    wire::{ethertype, icmp, mac, protocol, pseudo, tcp},
};

use super::{Clock, IDLE, Leased, conversations::end};
use crate::{
    model::Mac,
    traffic::{Day, End, Hours, Kind, Seen, Service},
};

/// Conversations whose direction is remembered.
const KINDS: usize = 32_768;

/// When there is no room, it is looked for so often, ns.
const CLEAR_EVERY: u64 = 10_000_000_000;

/// Denied packets that the kernel told of together, without what nobody asks here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What they have in common.
    pub key: ViolationKey,
    /// How many.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// Monotonic time of the first, ns.
    pub first: u64,
    /// Monotonic time of the last, ns.
    pub last: u64,
    /// Of a packet that came as an event: the port that the key leaves out, and the TCP control bits.
    pub alone: Option<(u16, u8)>,
}

impl Denial {
    /// Of a packet that came through the ring.
    pub fn event(event: &Event) -> Self {
        let Event { abi: _, len, time, key, other_port, tcp_flags, kept: _, pad: _, start: _ } = *event;
        Self {
            key,
            packets: 1,
            bytes: len.into(),
            first: time,
            last: time,
            alone: Some((other_port, tcp_flags)),
        }
    }

    /// Of what was drained from the table of repeats.
    pub fn repeats(key: &ViolationKey, repeats: &Repeats) -> Self {
        let Repeats { packets, bytes, first, last } = *repeats;
        Self { key: *key, packets, bytes, first: first.min(last), last, alone: None }
    }

    /// The conversation that its packets look like, and whether they answer in it; none of what is no conversation of two ends, or was
    /// not told apart. Nothing is remembered for it.
    pub fn looks_like(&self, leased: &Leased) -> Option<(Kind, bool)> {
        let Self { key, .. } = self;
        if self.is_untold() || key.ethertype == ethertype::ARP || is_about_others(key) {
            return None;
        }
        let [source, destination] = ends(key, leased);
        let service = service(key);
        let replies = is_ip(key) && (key.answer != 0 || icmp_request(key).is_some());
        let [from, to] = if replies { [destination, source] } else { [source, destination] };
        Some((Kind { from, to, service }, replies))
    }

    /// Whether it is of packets that were too many to be told apart.
    pub fn is_untold(&self) -> bool {
        self.key.others != 0
    }
}

/// What is remembered of a conversation.
#[derive(Clone, Copy)]
struct Known {
    /// The port of who began, of the latest packet that told it.
    client: u16,
    /// Who began sent something that is no reset, and who answers did: one of both alone may be made up.
    asked: bool,
    replied: bool,
    /// Monotonic, ns.
    last: u64,
}

/// What the control bits of a TCP segment say of who began (RFC 9293 3.5); nothing where they are not known.
#[derive(Clone, Copy)]
struct Word {
    /// SYN alone: its sender begins.
    opens: bool,
    /// SYN and ACK: its receiver began.
    accepts: bool,
    /// A reset: mostly of a port at which nobody listens.
    ends: bool,
}

/// Which packets without their other port are meant: the beginning of a key.
type Spelled = (End, End, Service, bool);

/// The directions of denied conversations.
#[derive(Default)]
pub struct Denied {
    known: BTreeMap<Kind, Known>,
    /// Packets that are told otherwise than they belong: the conversation, and whether they answer.
    told: BTreeMap<Spelled, (Kind, bool)>,
    /// When everything was last looked through for what is over: monotonic, ns.
    cleared: u64,
}

impl Denied {
    /// What these packets add, and to which kind of conversation; none when they are part of no conversation.
    pub fn take(&mut self, denial: &Denial, clock: &Clock, leased: &Leased) -> Option<(Kind, Seen)> {
        let Denial { key, packets, bytes, first, last, alone } = *denial;
        let is_talk = is_conversation(Reason::from_code(key.reason)?) && !is_about_others(&key);
        if packets == 0 || denial.is_untold() || !is_talk {
            return None;
        }
        let [source, destination] = ends(&key, leased);
        let is_tcp = is_ip(&key) && key.protocol == protocol::TCP;
        let flags = alone.map(|(_, flags)| flags).filter(|_| is_tcp);
        let opens = flags.is_some_and(|flags| flags & (tcp::SYN | tcp::ACK) == tcp::SYN);
        let accepts = flags.is_some_and(|flags| flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK);
        let ends = flags.is_some_and(|flags| flags & tcp::RST != 0);
        let word = Word { opens, accepts, ends };
        let (kind, answers, client) = self.place(denial, source, destination, word);
        let is_new = self.is_new(&kind, last);
        if is_new {
            self.make_room(last);
        }
        let has_room = self.known.len() < KINDS;
        let known = self.known.get(&kind).copied().filter(|_| !is_new);
        let again = opens && known.is_some_and(|known| known.client != client);
        let begins = is_new || again;
        // Two processors tell of two packets in any order: the answer may have been first.
        let is_late = opens && known.is_some_and(|known| !known.asked);
        // A reset is no answer, and packets of which the bits are not known may be resets.
        let proves = answers && (!is_tcp || flags.is_some_and(|flags| flags & tcp::RST == 0));
        let asks = !answers && (!is_tcp || flags.is_some_and(|flags| flags & tcp::RST == 0));
        let before = known.filter(|_| !begins).map_or((false, false), |known| (known.asked, known.replied));
        let (asked, replied) = (before.0 || asks, before.1 || proves);
        let is_answered = asked && replied && !(before.0 && before.1);
        if has_room || known.is_some() {
            let client = if client == 0 { known.map_or(0, |known| known.client) } else { client };
            self.known.insert(kind, Known { client, asked, replied, last });
        }
        let side = usize::from(answers);
        let mut counts = ([0; 2], [0; 2]);
        (counts.0[side], counts.1[side]) = (packets, bytes);
        let at = |mono: u64| clock.at(mono).as_second();
        let (first, last) = (at(first), at(last));
        let seen = Seen {
            flows: u64::from(begins),
            opened: u64::from(opens && (begins || is_late)),
            answered: u64::from(is_answered),
            packets: counts.0,
            bytes: counts.1,
            denied: packets,
            dropped: if key.dropped == 0 { 0 } else { packets },
            last,
            hours: Hours::between(Day::of(first), first, last),
            ..Seen::at(first)
        };
        Some((kind, seen))
    }

    /// The conversation of a packet, whether the packet answers in it, and the port of who began (0 when it is not known).
    fn place(&mut self, denial: &Denial, source: End, destination: End, word: Word) -> (Kind, bool, u16) {
        let Denial { key, alone, .. } = *denial;
        let service = service(&key);
        let has_ports = is_ip(&key) && matches!(key.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let is_answer = has_ports && key.answer != 0;
        let asked = Kind { from: source, to: destination, service };
        let answered = Kind { from: destination, to: source, service };
        if !has_ports {
            let replies = is_ip(&key) && icmp_request(&key).is_some();
            // Nothing says who began but who was first.
            let second = !protocol::is_icmp(key.protocol)
                && !self.known.contains_key(&asked)
                && self.known.contains_key(&answered);
            return if replies || second { (answered, true, 0) } else { (asked, false, 0) };
        }
        let guess = if is_answer { (answered, true) } else { (asked, false) };
        let spelled = (source, destination, service, is_answer);
        let Some((other, _)) = alone.filter(|(other, _)| *other != 0) else {
            let (kind, answers) = self.told.get(&spelled).copied().unwrap_or(guess);
            return (kind, answers, 0);
        };
        let of = |number: u16| Service { protocol: key.protocol, number };
        // From which port to which.
        let (from, to) = if is_answer { (key.port, other) } else { (other, key.port) };
        let forward = (Kind { from: source, to: destination, service: of(to) }, false, from);
        let backward = (Kind { from: destination, to: source, service: of(from) }, true, to);
        let is_there = |(kind, _, client): &(Kind, bool, u16)| {
            self.known.get(kind).is_some_and(|known| known.client == *client)
        };
        // Whoever asks from port after port is known by the last one of those that were told by themselves.
        let refuses =
            word.ends && self.known.contains_key(&backward.0) && !self.known.contains_key(&forward.0);
        let found = match (is_there(&forward), is_there(&backward)) {
            _ if word.opens => forward,
            _ if word.accepts => backward,
            (true, false) => forward,
            (false, true) => backward,
            _ if is_answer || refuses => backward,
            _ => forward,
        };
        if (found.0, found.1) == guess {
            self.told.remove(&spelled);
        } else if self.told.len() < KINDS {
            self.told.insert(spelled, (found.0, found.1));
        }
        found
    }

    /// Whether nothing is remembered of a conversation, or it was silent for too long.
    fn is_new(&self, kind: &Kind, now: u64) -> bool {
        self.known.get(kind).is_none_or(|known| is_over(known, now))
    }

    /// Forgets what was silent for long, when there is no room for more; in a flood not with each packet.
    fn make_room(&mut self, now: u64) {
        let full = self.known.len() >= KINDS || self.told.len() >= KINDS;
        if !full || now < self.cleared.saturating_add(CLEAR_EVERY) {
            return;
        }
        self.cleared = now;
        self.known.retain(|_, known| !is_over(known, now));
        let known = &self.known;
        self.told.retain(|_, (kind, _)| known.contains_key(kind));
    }
}

fn is_over(known: &Known, now: u64) -> bool {
    u128::from(now.saturating_sub(known.last)) >= IDLE.as_nanos()
}

fn is_ip(key: &ViolationKey) -> bool {
    matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6)
}

/// Source and destination. Whatever its address: a frame to everybody is for everybody, as `decide` has it.
fn ends(key: &ViolationKey, leased: &Leased) -> [End; 2] {
    if is_ip(key) {
        let for_all = key.ethertype == ethertype::IPV4 && key.destination_mac == mac::octets(mac::BROADCAST);
        let destination = if for_all { Address::BROADCAST } else { key.destination };
        return [key.source, destination].map(|address: Address| end(address, leased));
    }
    [key.source_mac, key.destination_mac].map(|mac| End::hardware(Mac(mac)))
}

/// The request that an ICMP message replies to.
fn icmp_request(key: &ViolationKey) -> Option<u8> {
    let [kind, _] = key.port.to_be_bytes();
    icmp::request_of(key.protocol, kind)
}

fn service(key: &ViolationKey) -> Service {
    if !is_ip(key) {
        return if key.ethertype < ethertype::FIRST {
            Service { protocol: pseudo::LLC, number: key.port }
        } else {
            Service { protocol: pseudo::ETHERTYPE, number: key.ethertype }
        };
    }
    let number = match (protocol::is_icmp(key.protocol), icmp_request(key)) {
        (true, Some(request)) => u16::from(request) << 8,
        (true, None) | (false, _) => key.port,
    };
    Service { protocol: key.protocol, number }
}

/// Whether it is an ICMP message about other packets or about neighbours: errors, redirects, neighbour discovery (RFC 4861 4), listeners.
fn is_about_others(key: &ViolationKey) -> bool {
    let [kind, _] = key.port.to_be_bytes();
    let of_neighbours = match key.protocol {
        protocol::ICMP => kind == 5,
        protocol::ICMPV6 => matches!(kind, 133..=137) || icmp::is_membership(kind),
        _ => false,
    };
    is_ip(key) && (of_neighbours || icmp::is_error(key.protocol, kind))
}

/// Whether packets that are denied for this reason are somebody's attempt to talk to somebody.
fn is_conversation(reason: Reason) -> bool {
    match reason {
        Reason::Quarantined
        | Reason::NoRule
        | Reason::UnknownPeer
        | Reason::ServiceNotAllowed
        | Reason::WrongDirection
        | Reason::NoFlow
        | Reason::IpProtocol
        | Reason::Ethertype
        | Reason::InfrastructureOff
        | Reason::Unmanaged
        | Reason::NoPolicy
        | Reason::FlowRate
        | Reason::OutsideSchedule => true,
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
        | Reason::SourceAddressMismatch
        | Reason::SourceMacMismatch
        | Reason::ArpSenderMismatch
        | Reason::DestinationMismatch
        | Reason::WrongVlan
        | Reason::IcmpErrorUnrelated
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
        | Reason::WrongSegment
        | Reason::SctpHeader
        | Reason::DhcpMismatch
        | Reason::LlcLength => false,
    }
}

#[cfg(test)]
mod tests;
