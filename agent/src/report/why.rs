//! Why may FROM reach TO over SERVICE, or why not: the first packets of such conversations are made up and
//! given to [`decide`], the function that enforces. The answer names the rule with its file and line, or
//! what is missing.
//!
//! A service is many ports, and an interface may be one of several, so there is a packet for every range of
//! ports that can differ, and it is asked wherever it could arrive.

use std::{collections::BTreeSet, net::Ipv4Addr};

use bulkhead_common::{
    decide::{Decision, decide},
    lookup::Rules,
    parse::{Kind, Packet},
    wire::{ethertype, icmp, protocol, tcp},
};

use crate::{
    compile::Tables,
    diagnostic::closest,
    model::{Policy, Selector},
    policy::built_in,
};

mod answer;
mod end;
pub use answer::{Answer, Heard, Part, RuleRef};

use end::{End, World};

/// The question, in words that mean something to the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    from: End,
    to: End,
    services: Vec<Selector>,
    words: [String; 3],
}

/// The question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// A name that means nothing here.
    #[error("`{name}` is no {kind} of this policy{}", hint.as_ref().map(|h| format!("\nhelp: did you mean `{h}`?")).unwrap_or_default())]
    Unknown {
        /// As it was asked.
        name: String,
        /// What it should have been.
        kind: &'static str,
        /// The nearest name there is.
        hint: Option<String>,
    },
    /// A device or network without an IPv4 address.
    #[error("`{name}` has no IPv4 address, so no IPv4 packet can come from it or go to it")]
    NoAddress {
        /// As it was asked.
        name: String,
    },
    /// A network in which every address is a device's, the gateway's or the other end's.
    #[error(
        "every address of network `{name}` is a device's, the gateway's own or the other end's\nhelp: ask about one of them by its name or address"
    )]
    NoHost {
        /// As it was asked.
        name: String,
    },
    /// Both ends are one.
    #[error("`{from}` and `{to}` are the same host: such traffic never crosses the gateway")]
    SameHost {
        /// As it was asked.
        from: String,
        /// As it was asked.
        to: String,
    },
}

impl Question {
    /// Understands the three words: a device, a network, `gateway`, `any` or an address on either side; a
    /// service, or `tcp/502`, `udp/161`, `icmp/8`. `own` are the gateway's addresses, as far as they are known.
    ///
    /// # Errors
    /// [`AskError`] names the word and the nearest one that would do.
    pub fn new(
        policy: &Policy,
        from: &str,
        to: &str,
        service: &str,
        own: &BTreeSet<Ipv4Addr>,
    ) -> Result<Self, AskError> {
        let world = World::new(policy, own);
        let words = [from, to, service].map(str::to_owned);
        let services = selectors(policy, service)?;
        let from = End::named(&world, from, STRANGER, None)?;
        let to = End::named(&world, to, NEXT_HOP, Some(from.address))?;
        if from.address == to.address || from.word == to.word && !from.sample {
            let [from, to, _] = words;
            return Err(AskError::SameHost { from, to });
        }
        Ok(Self { from, to, services, words })
    }

    /// The gateway's address in the question, if it is in it.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        [&self.from, &self.to].into_iter().find(|end| end.gateway).map(|end| end.address)
    }

    /// The ranges of ports within which no answer can change: cut where a class of `tables` or a service of the
    /// management pin begins or ends.
    pub fn parts(&self, tables: &Tables, management: &[Selector]) -> Vec<Selector> {
        let mut cuts: BTreeSet<(u8, u32)> = BTreeSet::new();
        for prefix in tables.services.keys() {
            let size = 1_u32 << 24_u32.saturating_sub(prefix.bits).min(16);
            let start = u32::from(prefix.port);
            cuts.extend([(prefix.protocol, start), (prefix.protocol, start + size)]);
        }
        for s in management {
            cuts.extend([(s.protocol, u32::from(s.low)), (s.protocol, u32::from(s.high) + 1)]);
        }
        // Types differ in whether they ask, answer or complain.
        cuts.extend((0..=255).map(|kind| (protocol::ICMP, kind << 8)));
        let services: BTreeSet<(u8, u16, u16)> =
            self.services.iter().map(|s| (s.protocol, s.low, s.high)).collect();
        let cut = services.into_iter().flat_map(|(protocol, low, high)| {
            let (low, end) = (u32::from(low), u32::from(high) + 1);
            let inside = cuts.range((protocol, low + 1)..(protocol, end.max(low + 1))).map(|(_, at)| *at);
            let ends: Vec<u32> = [low].into_iter().chain(inside).chain([end]).collect();
            let port = |value: u32| u16::try_from(value).expect("it lies within a range of 16-bit numbers");
            let ranges = ends.windows(2).map(|pair| (port(pair[0]), port(pair[1] - 1)));
            ranges.map(|(low, high)| Selector { protocol, low, high }).collect::<Vec<_>>()
        });
        let parts: Vec<Selector> = cut.collect();
        // A reply starts nothing, and the gateway is judged by the answers it gets: only requests get one.
        let starts = |s: &&Selector| {
            let [kind, _] = s.low.to_be_bytes();
            let is_opening =
                if self.from.gateway { icmp::is_request(kind) } else { icmp::request_of(kind).is_none() };
            s.protocol != protocol::ICMP || is_opening
        };
        if parts.iter().any(|s| starts(&s)) {
            return parts.iter().filter(starts).copied().collect();
        }
        parts
    }

    /// Asks tables of any kind about one part. Ids in the decision are those of the tables asked.
    pub fn ask<R: Rules>(&self, part: Selector, rules: &R) -> Decision {
        decide(&self.packet(part), rules)
    }

    /// The first packet of the conversation. What the gateway itself sends never passes XDP, so for the
    /// gateway it is the answer to its request.
    fn packet(&self, part: Selector) -> Packet {
        let Selector { protocol, low, high: _ } = part;
        let mut packet = Packet {
            len: 60,
            kind: Kind::Ipv4,
            ethertype: ethertype::IPV4,
            vlan: self.from.vlan,
            source_mac: self.from.mac,
            destination_mac: self.to.mac,
            source: u32::from(self.from.address),
            destination: u32::from(self.to.address),
            protocol,
            source_port: EPHEMERAL,
            destination_port: low,
            service_port: low,
            tcp_flags: if protocol == protocol::TCP { tcp::SYN } else { 0 },
            ..Packet::EMPTY
        };
        if protocol == protocol::ICMP {
            packet.icmp_type = low.to_be_bytes()[0];
            packet.source_port = EPHEMERAL;
            packet.destination_port = EPHEMERAL;
        }
        if self.from.gateway {
            (packet.source, packet.destination) = (packet.destination, packet.source);
            (packet.source_mac, packet.destination_mac) = (self.to.mac, NEXT_HOP);
            packet.vlan = self.to.vlan;
            if protocol == protocol::ICMP {
                let reply = (0..=u8::MAX).find(|reply| icmp::request_of(*reply) == Some(packet.icmp_type));
                packet.icmp_type = reply.unwrap_or(packet.icmp_type);
                packet.service_port = u16::from(packet.icmp_type) << 8;
            } else {
                (packet.source_port, packet.destination_port) = (low, ANSWERED);
                packet.service_port = ANSWERED;
                packet.tcp_flags = if protocol == protocol::TCP { tcp::SYN | tcp::ACK } else { 0 };
            }
        }
        packet
    }
}

/// A source port that no service has: the question must not meet a live flow.
const EPHEMERAL: u16 = 1;
/// A port from which the gateway asks; answers to the ports of servers are none.
const ANSWERED: u16 = 60_999;
/// Locally administered addresses of nobody: a stranger, and the router in between.
const STRANGER: u64 = 0x02_bb_00_00_00_01;
const NEXT_HOP: u64 = 0x02_bb_00_00_00_02;

fn selectors(policy: &Policy, name: &str) -> Result<Vec<Selector>, AskError> {
    let known = policy.service(name).map(|(_, service)| service.selectors.clone());
    if let Some(selectors) = known.or_else(|| built_in().get(name).cloned()) {
        return Ok(selectors);
    }
    if let Some(selector) = numeric(name) {
        return Ok(vec![selector]);
    }
    let names = policy.services.iter().map(|s| s.name.as_str()).chain(built_in().keys().map(String::as_str));
    let hint = match name.parse::<u16>() {
        Ok(port) => Some(format!("tcp/{port}")),
        Err(_) => closest(name, names).map(str::to_owned),
    };
    Err(AskError::Unknown { name: name.to_owned(), kind: "service (nor of the form `tcp/502`)", hint })
}

fn numeric(text: &str) -> Option<Selector> {
    let (word, number) = text.split_once('/')?;
    let (protocol, low) = match word {
        "tcp" => (protocol::TCP, number.parse().ok()?),
        "udp" => (protocol::UDP, number.parse().ok()?),
        "icmp" => (protocol::ICMP, u16::from(number.parse::<u8>().ok()?) << 8),
        _ => return None,
    };
    Some(Selector { protocol, low, high: low })
}

#[cfg(test)]
mod tests;
