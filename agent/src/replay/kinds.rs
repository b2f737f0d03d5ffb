//! Which conversation a packet belongs to: who began it, who answers, over what. What is guessed is guessed as the data path does.

use std::{collections::HashMap, net::IpAddr};

use bulkhead_common::{
    flow,
    layout::{FlowKey, is_answer},
    parse::{self, Packet},
    wire::{ethertype, icmp, mac, protocol, pseudo, tcp},
};

use crate::{
    model::Mac,
    traffic::{End, Kind, Service},
};

/// Conversations that are remembered by their ports; of twice as many the older half is forgotten.
const REMEMBERED: usize = 1 << 19;
/// A datagram after so much silence begins another conversation, ns: as the agent forgets them.
const SILENCE: u64 = 600_000_000_000;

/// Of the control bits of TCP that which says that there is something to be heard (RFC 9293 3.1).
const PSH: u8 = 0x08;
/// Both sides of a key.
const BOTH: u8 = 0b11;

/// What is known of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// On which side of the key stands who began.
    initiator: u8,
    /// The service, as its first packet had it.
    service: u16,
    answered: bool,
    /// Whether who began was heard, but for resets.
    asked: bool,
    /// Which ends of it said that they are done: a bit for each side of the key.
    ended: u8,
    /// Whether a packet of it was allowed.
    passed: bool,
    last: u64,
}

/// What a packet is to its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: Kind,
    /// Whether it goes from who began to who answers.
    pub(super) forward: bool,
    /// Whether the conversation begins with it, as far as was seen.
    pub(super) begins: bool,
    /// Whether it says who began.
    pub(super) opens: bool,
    /// Whether it is the first sign that somebody answers.
    pub(super) answers: bool,
    /// Whether its conversation passed before and is not over: whoever stops it now breaks it off.
    pub(super) goes_on: bool,
}

/// Conversations under way, of which the initiator is known.
#[derive(Default)]
pub(super) struct Conversations {
    young: HashMap<FlowKey, Known>,
    old: HashMap<FlowKey, Known>,
}

impl Conversations {
    /// What a packet is part of, which is allowed or not; none where it is no conversation. Ports of a later fragment are in it by now.
    pub(super) fn part(&mut self, packet: &Packet, now: u64, allowed: bool) -> Option<Part> {
        match packet.kind {
            // A complaint about a conversation is none.
            parse::Kind::Ip if packet.is_icmp() && icmp::is_error(packet.protocol, packet.icmp_type) => None,
            parse::Kind::Ip => self.datagram(packet, now, allowed),
            parse::Kind::Other => self.frame(packet, now, allowed),
            parse::Kind::Arp | parse::Kind::Neighbor => None,
        }
    }

    fn datagram(&mut self, packet: &Packet, now: u64, allowed: bool) -> Option<Part> {
        let number = packet.protocol;
        let asked = icmp::request_of(number, packet.icmp_type);
        let is_icmp = packet.is_icmp();
        let request = if is_icmp { asked.unwrap_or(packet.icmp_type) } else { 0 };
        let ported = matches!(number, protocol::TCP | protocol::UDP | protocol::SCTP) || is_icmp;
        let ports = if ported { (packet.source_port, packet.destination_port) } else { (0, 0) };
        let (key, side) = flow::key(packet.source, packet.destination, ports.0, ports.1, number, request);
        let flags = packet.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST);
        let opens = packet.is_tcp_open() || (is_icmp && icmp::is_request(number, packet.icmp_type));
        // A connection that is accepted, a server's port, or a reply: the other end began.
        let backward =
            number == protocol::TCP && flags == tcp::SYN | tcp::ACK || asked.is_some() || is_answer(packet);
        let service = match (is_icmp, asked, backward) {
            (true, Some(request), _) => u16::from(request) << 8,
            (true, None, _) => packet.service_port,
            (false, _, true) => packet.source_port,
            (false, _, false) if ported => packet.destination_port,
            (false, _, false) => 0,
        };
        let begin = Known {
            initiator: if backward { side ^ 1 } else { side },
            service,
            answered: false,
            asked: false,
            ended: 0,
            passed: false,
            last: now,
        };
        let (known, begins) = self.known(key, begin, |known| {
            let silent = number != protocol::TCP && now.saturating_sub(known.last) > SILENCE;
            let anew = packet.is_tcp_open() && (known.ended != 0 || known.initiator != side);
            // Who speaks on after a silence was heard before.
            (silent || anew).then_some(Known { passed: known.passed && silent, ..begin })
        });
        let forward = known.initiator == side;
        // Whoever goes on without having been answered would be talking to nobody.
        let established = number == protocol::TCP && forward && !begins && flags == tcp::ACK;
        let refused = flags & tcp::RST != 0;
        // An answer to a question that nobody heard may be to none: anybody can send it.
        let unasked = number == protocol::TCP && flags == tcp::SYN | tcp::ACK && !known.asked;
        let answers = !known.answered && !refused && !unasked && (!forward || established);
        known.answered |= answers;
        known.asked |= forward && !refused;
        known.last = now;
        // One end may be done and hear the other on for long (RFC 9293 3.6), who has to push what he says; the rest are acknowledgements.
        if number == protocol::TCP {
            known.ended |= match packet.tcp_flags & (tcp::RST | tcp::FIN) {
                0 => 0,
                tcp::FIN => 1 << side,
                _ => BOTH,
            };
        }
        let is_done = known.ended & 1 << side != 0;
        let speaks = known.ended == 0 || packet.tcp_flags & PSH != 0;
        let goes_on = known.passed && !is_done && speaks;
        known.passed |= allowed;
        let ends = [packet.source, packet.destination].map(|address| End::at(shown(address.into(), packet)));
        let [from, to] = if forward { ends } else { [ends[1], ends[0]] };
        let service = Service { protocol: number, number: known.service };
        let kind = Kind { from, to, service };
        Some(Part { kind, forward, begins, opens: opens && begins, answers, goes_on })
    }

    /// Of frames that are not IP nothing tells who began: it is whoever was seen first.
    fn frame(&mut self, packet: &Packet, now: u64, allowed: bool) -> Option<Part> {
        let (kind, number) = if packet.ethertype < ethertype::FIRST {
            (pseudo::LLC, packet.service_port)
        } else {
            (pseudo::ETHERTYPE, packet.ethertype)
        };
        let address = |mac: u64| bulkhead_common::address::Address { high: 0, low: mac };
        let (key, side) =
            flow::key(address(packet.source_mac), address(packet.destination_mac), number, number, kind, 0);
        let begin = Known {
            initiator: side,
            service: number,
            answered: false,
            asked: false,
            ended: 0,
            passed: false,
            last: now,
        };
        let is_silent = |known: &Known| now.saturating_sub(known.last) > SILENCE;
        let (known, begins) = self
            .known(key, begin, |known| is_silent(known).then_some(Known { passed: known.passed, ..begin }));
        let forward = known.initiator == side;
        let answers = !known.answered && !forward;
        known.answered |= answers;
        known.last = now;
        let goes_on = known.passed;
        known.passed |= allowed;
        let end = |octets: u64| End::hardware(Mac(mac::octets(octets)));
        let ends = [end(packet.source_mac), end(packet.destination_mac)];
        let [from, to] = if forward { ends } else { [ends[1], ends[0]] };
        let service = Service { protocol: kind, number };
        Some(Part { kind: Kind { from, to, service }, forward, begins, opens: false, answers, goes_on })
    }

    /// What is remembered under a key, and whether it is new.
    fn known(
        &mut self,
        key: FlowKey,
        begin: Known,
        another: impl Fn(&Known) -> Option<Known>,
    ) -> (&mut Known, bool) {
        if self.young.len() >= REMEMBERED && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let older = self.old.remove(&key);
        let mut begins = false;
        let known = self.young.entry(key).or_insert_with(|| {
            older.unwrap_or_else(|| {
                begins = true;
                begin
            })
        });
        if !begins && let Some(another) = another(known) {
            *known = another;
            begins = true;
        }
        (known, begins)
    }
}

/// The address of a packet: what stands for an IPv4 address in an IPv6 packet is one of IPv6.
fn shown(address: IpAddr, packet: &Packet) -> IpAddr {
    match address {
        IpAddr::V4(v4) if packet.ethertype == ethertype::IPV6 => v4.to_ipv6_mapped().into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}
