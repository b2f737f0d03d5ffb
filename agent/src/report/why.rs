//! Why may FROM reach TO over SERVICE, or why not: the first packets of such conversations are made up and
//! given to [`decide`], the function that enforces. The answer names the rule with its file and line, or
//! what is missing.
//!
//! A service is many ports, and an interface may be one of several, so there is a packet for every range of
//! ports that can differ, and it is asked wherever it could arrive. Where both ends have addresses of both families,
//! IPv4 is asked about; an address in the question says otherwise. What is not IP is asked as a frame between
//! hardware addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bulkhead_common::{
    address::Address,
    decide::{Decision, decide},
    layout::{NamedKey, NamedRow},
    lookup::Rules,
    parse::{self, Packet},
    wire::{ethertype, icmp, protocol, pseudo, tcp},
};

use crate::{
    compile::{NEXT_HOP, NamedPermission, STRANGER, Supposed, Tables},
    model::{Layer, Policy, Selector},
};

mod answer;
mod end;
mod service;
mod world;
pub use answer::{Answer, Heard, Part};

use end::{End, Kind};
use world::{Family, World};

/// The question, in words that mean something to the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    from: End,
    to: End,
    services: Vec<Selector>,
    words: [String; 3],
    /// Whether it could be asked over IPv6 as well.
    other_family: bool,
    /// Under which name who starts has learned the address it is asked with, and for how long.
    learned: Option<Learned>,
}

/// An address behind a name, as the one who starts has learned it from its resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The name.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// For how many seconds more it is known.
    pub seconds_left: u64,
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
    /// A name for several ends.
    #[error("`{name}` may stand for several ends, and a question is about one\nhelp: ask about {}", member.as_ref().map_or_else(|| "one of its members by name".to_owned(), |m| format!("one of them by name, such as `{m}`")))]
    Several {
        /// As it was asked.
        name: String,
        /// One of them, where there is any.
        member: Option<String>,
    },
    /// Ends between which no packet of the service can go.
    #[error(
        "`{from}` and `{to}` have no addresses of one kind for `{service}`\nhelp: IP needs an address of one family at both ends, other frames a hardware address"
    )]
    Apart {
        /// As it was asked.
        from: String,
        /// As it was asked.
        to: String,
        /// As it was asked.
        service: String,
    },
    /// A group that is said to start a conversation.
    #[error("`{name}` is only ever the end that answers: nobody sends from it")]
    Many {
        /// As it was asked.
        name: String,
    },
    /// What the gateway sends to many.
    #[error("what the gateway sends to `{name}` is not judged: only what arrives is")]
    Sent {
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
    /// An address that no packet may have at that end.
    #[error("no packet may {verb} `{address}`: it is a martian, denied before any rule is asked")]
    Martian {
        /// What a packet would do: come from it, or go to it.
        verb: &'static str,
        /// The address.
        address: IpAddr,
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
    /// Understands the three words: a device, a network, a group, `gateway`, `broadcast`, `any` or an address on
    /// either side; a service, or one by its number. `own` are the gateway's addresses, as far as they are known.
    ///
    /// # Errors
    /// [`AskError`] names the word and the nearest one that would do.
    pub fn new(
        policy: &Policy,
        from: &str,
        to: &str,
        service: &str,
        own: &BTreeSet<IpAddr>,
    ) -> Result<Self, AskError> {
        Self::knowing(policy, from, to, service, own, &[])
    }

    /// The same about a device of which it is known what it has `learned` by name.
    ///
    /// # Errors
    /// As [`Question::new`].
    pub fn knowing(
        policy: &Policy,
        from: &str,
        to: &str,
        service: &str,
        own: &BTreeSet<IpAddr>,
        learned: &[Learned],
    ) -> Result<Self, AskError> {
        let world = World::new(policy, own, learned);
        let words = [from, to, service].map(str::to_owned);
        let selectors = service::selectors(policy, service)?;
        let mut first_error = None;
        let mut found: Option<Self> = None;
        for family in [Family::V4, Family::V6] {
            let ends = End::named(&world, from, STRANGER, family, None).and_then(|from| {
                let to = End::named(&world, to, NEXT_HOP, family, from.address)?;
                Ok((from, to))
            });
            match ends {
                Ok((from, to)) => {
                    let learned = learned.iter().find(|learned| Some(learned.address) == to.address).cloned();
                    let services = Vec::new();
                    let words = words.clone();
                    let question = Self { from, to, services, words, other_family: false, learned };
                    question.check()?;
                    let services: Vec<Selector> =
                        selectors.iter().copied().filter(|s| question.carries(s)).collect();
                    match &mut found {
                        None if !services.is_empty() => found = Some(Self { services, ..question }),
                        Some(asked) => {
                            asked.other_family = services.iter().any(|s| s.layer() == Layer::Network);
                        }
                        None => {}
                    }
                }
                Err(error @ (AskError::Unknown { .. } | AskError::Several { .. })) => return Err(error),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
        let [from, to, service] = words;
        Err(first_error.unwrap_or(AskError::Apart { from, to, service }))
    }

    /// Whether such a question makes sense at all.
    fn check(&self) -> Result<(), AskError> {
        let Self { from, to, services: _, words: [asked_from, asked_to, _], .. } = self;
        if from.kind == Kind::Many {
            return Err(AskError::Many { name: asked_from.clone() });
        }
        if from.kind == Kind::Gateway && to.kind == Kind::Many {
            return Err(AskError::Sent { name: asked_to.clone() });
        }
        if let Some(address) = from.address.filter(|ip| Address::from(*ip).is_martian_source()) {
            return Err(AskError::Martian { verb: "come from", address });
        }
        if let Some(address) = to.address.filter(|ip| Address::from(*ip).is_martian_destination()) {
            return Err(AskError::Martian { verb: "go to", address });
        }
        let same_address = from.address.is_some() && from.address == to.address;
        if same_address || from.word == to.word && !from.sample {
            return Err(AskError::SameHost { from: asked_from.clone(), to: asked_to.clone() });
        }
        Ok(())
    }

    /// Whether packets of a selector can go between the two ends.
    fn carries(&self, selector: &Selector) -> bool {
        let (from, to) = (&self.from, &self.to);
        match (selector.layer(), from.address, to.address) {
            (Layer::Link, _, _) => from.framed && to.framed,
            (Layer::Network, Some(from), Some(_)) => match selector.protocol {
                protocol::ICMP => from.is_ipv4(),
                protocol::ICMPV6 => from.is_ipv6(),
                _ => true,
            },
            (Layer::Network, Some(_) | None, Some(_) | None) => false,
        }
    }

    /// The gateway's address in the question, if it is in it.
    pub fn gateway(&self) -> Option<IpAddr> {
        [&self.from, &self.to].into_iter().find(|end| end.kind == Kind::Gateway).and_then(|end| end.address)
    }

    /// The rows of `tables` for an address that is made up for one behind a name: none when there is no such. The kernel
    /// has none of them, and need not be asked.
    pub fn supposed(&self, tables: &Tables) -> BTreeMap<NamedKey, NamedRow> {
        let (Some(names), Some(address), Some(device)) =
            (&self.to.supposed, self.to.address, tables.device_id(&self.from.word))
        else {
            return BTreeMap::new();
        };
        let device = device.0 + 1;
        let peers = tables.named.iter().filter(|peer| peer.names == *names);
        let permissions = peers.flat_map(|peer| peer.of_device(device));
        let mut rows = BTreeMap::new();
        for NamedPermission { device, class, row } in permissions.copied() {
            let key = NamedKey { address: address.into(), device, class };
            let there = rows.entry(key).or_insert(NamedRow { row, expires: u64::MAX });
            // A rule that always holds counts before one that holds at times.
            if there.row.schedule != 0 && row.schedule == 0 {
                there.row = row;
            }
        }
        rows
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
        for protocol in [protocol::ICMP, protocol::ICMPV6] {
            cuts.extend((0..=255).map(|kind| (protocol, kind << 8)));
        }
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
            let is_opening = if self.is_answered() {
                icmp::is_request(s.protocol, kind)
            } else {
                icmp::request_of(s.protocol, kind).is_none()
            };
            !protocol::is_icmp(s.protocol) || is_opening
        };
        if parts.iter().any(|s| starts(&s)) {
            return parts.iter().filter(starts).copied().collect();
        }
        parts
    }

    /// Asks tables of any kind about one part. Ids in the decision are those of the tables asked.
    pub fn ask<R: Rules>(&self, part: Selector, rules: &R) -> Decision {
        let lease = |end: &End| end.address.filter(|_| end.leased).map(|address| (address.into(), end.mac));
        let leases = [lease(&self.from), lease(&self.to)];
        let packet = self.packet(part);
        let row = rules.mac(packet.source_mac);
        let segment = if row.device != 0 { row.segment } else { rules.endpoint(&packet.source).segment };
        decide(&packet, &Supposed { rules, segment, leases })
    }

    /// Whether the question is judged by the answer: what the gateway itself sends never passes XDP.
    fn is_answered(&self) -> bool {
        self.from.kind == Kind::Gateway
    }

    /// The first packet of the conversation; for the gateway it is the answer to its request.
    fn packet(&self, part: Selector) -> Packet {
        match (part.layer(), self.from.address, self.to.address) {
            (Layer::Network, Some(from), Some(to)) => {
                let (asked, Selector { protocol, low, high: _ }) = (self.datagram(part, from, to), part);
                if self.is_answered() { self.answer_to(asked, protocol, low) } else { asked }
            }
            (Layer::Link | Layer::Network, _, _) => self.frame(part),
        }
    }

    /// A frame that is not IP.
    fn frame(&self, part: Selector) -> Packet {
        let Selector { protocol, low, high: _ } = part;
        let is_llc = protocol == pseudo::LLC;
        Packet {
            len: 60,
            kind: parse::Kind::Other,
            // Of an LLC frame the field is its length (IEEE 802.3-2018 3.2.6).
            ethertype: if is_llc { 46 } else { low },
            service_port: if is_llc { low } else { 0 },
            vlan: self.from.vlan,
            source_mac: self.from.mac,
            destination_mac: self.to.mac,
            ..Packet::EMPTY
        }
    }

    fn datagram(&self, part: Selector, from: IpAddr, to: IpAddr) -> Packet {
        let Selector { protocol, low, high: _ } = part;
        let (source_port, destination_port) = match protocol {
            protocol::ICMP | protocol::ICMPV6 => (EPHEMERAL, EPHEMERAL),
            protocol::TCP | protocol::UDP | protocol::SCTP => (EPHEMERAL, low),
            _ => (0, 0),
        };
        Packet {
            len: 60,
            kind: parse::Kind::Ip,
            ethertype: if from.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 },
            vlan: self.from.vlan,
            source_mac: self.from.mac,
            destination_mac: self.to.receiver(),
            source: Address::from(from),
            destination: Address::from(to),
            protocol,
            hops: 64,
            source_port,
            destination_port,
            service_port: low,
            icmp_type: if protocol::is_icmp(protocol) { low.to_be_bytes()[0] } else { 0 },
            tcp_flags: if protocol == protocol::TCP { tcp::SYN } else { 0 },
            ..Packet::EMPTY
        }
    }

    /// The answer that the gateway gets to a packet of its own.
    fn answer_to(&self, asked: Packet, protocol: u8, low: u16) -> Packet {
        let mut answer = Packet {
            source: asked.destination,
            destination: asked.source,
            source_mac: self.to.mac,
            destination_mac: NEXT_HOP,
            vlan: self.to.vlan,
            ..asked
        };
        match protocol {
            protocol::ICMP | protocol::ICMPV6 => {
                let is_reply = |reply: &u8| icmp::request_of(protocol, *reply) == Some(asked.icmp_type);
                answer.icmp_type = (0..=u8::MAX).find(is_reply).unwrap_or(asked.icmp_type);
                answer.service_port = u16::from(answer.icmp_type) << 8;
            }
            protocol::TCP | protocol::UDP | protocol::SCTP => {
                (answer.source_port, answer.destination_port) = (low, ANSWERED);
                answer.service_port = ANSWERED;
                answer.tcp_flags = if protocol == protocol::TCP { tcp::SYN | tcp::ACK } else { 0 };
            }
            _ => {}
        }
        answer
    }
}

/// A source port that no service has: the question must not meet a live flow.
const EPHEMERAL: u16 = 1;
/// A port from which the gateway asks; answers to the ports of servers are none.
const ANSWERED: u16 = 60_999;

#[cfg(test)]
mod tests;
