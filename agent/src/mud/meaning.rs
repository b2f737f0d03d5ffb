//! Entries of access lists -> who may begin to talk to whom. Access lists have an entry for each direction of a conversation; of these
//! one is the permission, and the other is what a policy implies.
//!
//! Over TCP `direction-initiated` says who begins (RFC 8520 8.3). Where nothing says so, the port of the end that answers does: an entry that names only
//! the port of its sender is the way back.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_common::wire::protocol;
use ipnet::IpNet;

use super::{Begins, Effect, Note, Party, ports::Ranges};
use crate::{
    model::{Selector, pseudo},
    policy::whole,
};

/// One entry of an access list.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Who sends what it matches.
    pub(super) begins: Begins,
    pub(super) party: Party,
    pub(super) transport: Transport,
    /// Who begins the conversation that it is part of, where it says so.
    pub(super) initiated: Option<Begins>,
}

/// Over what.
#[derive(Debug)]
pub(super) enum Transport {
    /// Any protocol over IP.
    Any,
    /// TCP or UDP, with ports of the device and of the other end.
    Ports { protocol: u8, own: Option<Ranges>, peer: Option<Ranges> },
    /// ICMP or ICMPv6, all of it or one type, with or without a code.
    Icmp { protocol: u8, kind: Option<(u8, Option<u8>)> },
    /// Another IP protocol.
    Other(u8),
    /// Frames that are not IP.
    Frames(u16),
}

/// Permissions with the names of the entries that give them.
pub(super) type Permissions = BTreeMap<(Begins, Party, Selector), Vec<String>>;

/// Who may begin to talk to whom over what.
pub(super) fn permissions(entries: Vec<Entry>, notes: &mut Vec<Note>) -> Permissions {
    let mut found = Permissions::new();
    let mut answers = Vec::new();
    for entry in entries {
        let Entry { name, begins, party, transport, initiated } = entry;
        let note = |effect, why: &str| Note { about: name.clone(), effect, why: why.to_owned() };
        if begins == Begins::Peer && only_answers(&party) {
            notes.push(note(Effect::LeftOut, "nobody sends from a group or a broadcast address"));
            continue;
        }
        let is_nameless =
            |permits: bool| !(permits && begins == Begins::Peer && matches!(party, Party::Dns(_)));
        let (permits, selectors) = match transport {
            Transport::Any => {
                notes.push(note(
                    Effect::LeftOut,
                    "of all protocols over IP only ICMP, TCP, UDP and SCTP can be said",
                ));
                (true, any())
            }
            Transport::Ports { protocol, own, peer } => {
                // Of what the device sends, the other end's port; of what it receives its own.
                let (sender, receiver) = match begins {
                    Begins::Device => (own, peer),
                    Begins::Peer => (peer, own),
                };
                let is_answer = match initiated {
                    Some(initiated) => initiated != begins,
                    None => sender.is_some() && receiver.is_none(),
                };
                let (answering, asking) = if is_answer { (sender, receiver) } else { (receiver, sender) };
                if asking.is_some() && !is_answer {
                    notes.push(note(Effect::Wider, "the port of whoever begins is not looked at"));
                }
                let ranges = answering.unwrap_or_else(|| vec![(0, u16::MAX)]);
                // Port 0 is no port (RFC 6335 6).
                let ranges = ranges.into_iter().filter(|(_, high)| *high > 0);
                (!is_answer, ranges.map(|(low, high)| Selector { protocol, low: low.max(1), high }).collect())
            }
            Transport::Icmp { protocol, kind } => {
                let range = match kind {
                    None => (0, u16::MAX),
                    Some((kind, None)) => {
                        (u16::from_be_bytes([kind, 0]), u16::from_be_bytes([kind, u8::MAX]))
                    }
                    Some((kind, Some(code))) => {
                        (u16::from_be_bytes([kind, code]), u16::from_be_bytes([kind, code]))
                    }
                };
                (true, vec![Selector { protocol, low: range.0, high: range.1 }])
            }
            Transport::Other(protocol::SCTP) => {
                (true, vec![Selector { protocol: protocol::SCTP, low: 1, high: u16::MAX }])
            }
            Transport::Other(protocol) => {
                if whole(protocol).is_err() {
                    let why = format!("IP protocol {protocol} is no service by itself");
                    notes.push(note(Effect::LeftOut, &why));
                    continue;
                }
                (true, vec![Selector { protocol, low: 0, high: u16::MAX }])
            }
            Transport::Frames(ethertype) => {
                (true, vec![Selector { protocol: pseudo::ETHERTYPE, low: ethertype, high: ethertype }])
            }
        };
        if !is_nameless(permits) {
            notes.push(note(Effect::LeftOut, "who begins is known by its address, and not by a name"));
            continue;
        }
        for selector in selectors {
            if permits {
                found.entry((begins, party.clone(), selector)).or_default().push(name.clone());
            } else {
                answers.push((begins.other(), party.clone(), selector, name.clone()));
            }
        }
    }
    let mut alone: BTreeSet<String> = BTreeSet::new();
    for (begins, party, selector, name) in answers {
        match found.get_mut(&(begins, party, selector)) {
            Some(names) => names.push(name),
            None => drop(alone.insert(name)),
        }
    }
    let why = "it is the answer to what no entry lets anybody begin";
    notes.extend(alone.into_iter().map(|about| Note { about, effect: Effect::LeftOut, why: why.to_owned() }));
    found
}

impl Begins {
    fn other(self) -> Self {
        match self {
            Self::Device => Self::Peer,
            Self::Peer => Self::Device,
        }
    }
}

/// Whether nobody can send from there.
pub(super) fn only_answers(party: &Party) -> bool {
    match party {
        Party::Broadcast | Party::Group(_) => true,
        Party::Prefix(prefix) => is_multicast(prefix),
        Party::Dns(_) | Party::Anybody | Party::Gateway | Party::Abstract(_) => false,
    }
}

/// Whether all of it are groups (RFC 5771 3, RFC 4291 2.7).
pub(super) fn is_multicast(prefix: &IpNet) -> bool {
    let bits = if prefix.addr().is_ipv4() { 4 } else { 8 };
    prefix.addr().is_multicast() && prefix.prefix_len() >= bits
}

/// Every protocol that the language knows by ports or types.
fn any() -> Vec<Selector> {
    let ports = [protocol::TCP, protocol::UDP, protocol::SCTP].map(|protocol| (protocol, 1));
    let types = [protocol::ICMP, protocol::ICMPV6].map(|protocol| (protocol, 0));
    ports.into_iter().chain(types).map(|(protocol, low)| Selector { protocol, low, high: u16::MAX }).collect()
}
