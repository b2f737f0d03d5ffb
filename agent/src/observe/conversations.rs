//! Allowed conversations, from what the kernel remembers of them: who began, over what, and how much is new since the last look.
//!
//! In: the table of flows, looked at every few seconds, whole. Out: for each conversation that went on what it did meanwhile. A
//! conversation is known by its ports and by when it began; what makes room for another one before it is looked at is missing
//! here, and whoever counts what the kernel made can tell how many those are.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::IpAddr,
};

use bulkhead_common::{
    address::Address,
    flow::state,
    layout::{Flow, FlowKey},
    wire::protocol,
};

use super::Clock;
use crate::{
    model::Mac,
    traffic::{Day, End, Hours, Kind, Seen, Service},
};

/// A walk through a table that changes may miss an entry: one that is not found in so many looks is gone.
const LOOKS: u64 = 4;

/// Whose an address is by lease, at this moment.
pub type Leased = BTreeMap<Address, Mac>;

/// The ends of a conversation, by who began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Who began.
    pub from: Address,
    /// Who answers; of a question to a group the address of nobody, of the family of who asks: the kernel does not remember which group.
    pub to: Address,
    /// The responder's port, or `type << 8` of an ICMP request.
    pub service: u16,
    /// The port of who began.
    pub client: u16,
}

impl Spoken {
    /// Of a flow, of which the end with the lower address began (`initiator` 0) or the other one.
    pub fn of(key: &FlowKey, initiator: u8) -> Self {
        let FlowKey { low, high, low_port, high_port, protocol: _, request, pad: _ } = *key;
        let ends = [(low, low_port), (high, high_port)];
        let [from, to] = if initiator == 0 { ends } else { [ends[1], ends[0]] };
        let nobody = to.0.is_unspecified() && from.0.is_v4();
        Self {
            from: from.0,
            to: if nobody { Address::v4(0) } else { to.0 },
            service: if request == 0 { to.1 } else { u16::from(request) << 8 },
            client: from.1,
        }
    }
}

/// An end with the hardware address that it is known by where its address is leased.
pub(super) fn end(address: Address, leased: &Leased) -> End {
    let at = IpAddr::from(address);
    leased.get(&address).map_or(End::at(at), |mac| End::leased(at, *mac))
}

/// What was known of a conversation at the last look.
#[derive(Clone, Copy)]
struct Known {
    began: u64,
    /// Of the end with the lower address and of the other one.
    packets: [u64; 2],
    bytes: [u64; 2],
    seen: u64,
    answered: bool,
    look: u64,
}

/// A look at the whole table.
#[derive(Clone, Copy, Debug)]
pub struct Look<'l> {
    /// The clocks, read when it begins.
    pub clock: Clock,
    /// Whose addresses are leased.
    pub leased: &'l Leased,
}

/// The conversations of the last look.
pub struct Conversations {
    known: HashMap<FlowKey, Known>,
    looks: u64,
    /// When the last look began, monotonic, ns.
    looked: u64,
    /// What began before this and is met for the first time was counted by somebody else: monotonic, ns.
    since: u64,
    /// Conversations met for the first time.
    met: u64,
}

impl Conversations {
    /// None is known yet. Of what began before `since` (monotonic, ns) only what is new from its first look on is counted.
    pub fn new(since: u64) -> Self {
        Self { known: HashMap::new(), looks: 0, looked: since, since, met: 0 }
    }

    /// Begins a look; [`Conversations::take`] follows for each flow, and then [`Conversations::end`].
    pub fn begin(&mut self) {
        self.looks += 1;
    }

    /// What a flow did since the last look; none when it was silent.
    pub fn take(&mut self, key: &FlowKey, flow: &Flow, look: &Look<'_>) -> Option<(Kind, Seen)> {
        let answered = is_answered(key, flow);
        let new = Known {
            began: flow.began,
            packets: flow.packets,
            bytes: flow.bytes,
            seen: flow.seen,
            answered,
            look: self.looks,
        };
        let before = match self.known.entry(*key) {
            Entry::Vacant(vacant) => {
                vacant.insert(new);
                self.met += 1;
                None
            }
            Entry::Occupied(mut there) => Some(there.insert(new)),
        };
        // The same ports again are another conversation.
        let before = before.filter(|before| before.began == flow.began);
        let (packets, bytes, was_answered, first, flows) = match before {
            Some(before) => {
                let new =
                    |now: [u64; 2], then: [u64; 2]| [0, 1].map(|side| now[side].saturating_sub(then[side]));
                let packets = new(flow.packets, before.packets);
                // Of one packet the time is known; of several only that they came after the last look.
                let first = if packets == [0, 1] || packets == [1, 0] {
                    flow.seen
                } else {
                    before.seen.max(self.looked)
                };
                (packets, new(flow.bytes, before.bytes), before.answered, first, 0)
            }
            None if flow.began < self.since => {
                // How many of its packets were counted before is not known; that it goes on is.
                if flow.seen < self.since {
                    return None;
                }
                ([0; 2], [0; 2], true, flow.seen, 0)
            }
            None => (flow.packets, flow.bytes, false, flow.began, 1),
        };
        let silent = packets == [0; 2] && flows == 0 && (before.is_some() || flow.seen < self.since);
        if silent {
            return None;
        }
        let Spoken { from, to, service, client: _ } = Spoken::of(key, flow.initiator);
        let kind = Kind {
            from: end(from, look.leased),
            to: end(to, look.leased),
            service: Service { protocol: key.protocol, number: service },
        };
        let by_began = |counts: [u64; 2]| if flow.initiator == 0 { counts } else { [counts[1], counts[0]] };
        let at = |mono: u64| look.clock.at(mono).as_second();
        let (first, last) = (at(first.min(flow.seen)), at(flow.seen));
        let seen = Seen {
            flows,
            opened: flows,
            answered: u64::from(answered && !was_answered),
            packets: by_began(packets),
            bytes: by_began(bytes),
            last,
            hours: Hours::between(Day::of(first), first, last),
            ..Seen::at(first)
        };
        Some((kind, seen))
    }

    /// Ends the look that began at `mono_ns`: what was not met for a while is forgotten.
    pub fn end(&mut self, mono_ns: u64) {
        let looks = self.looks;
        self.known.retain(|_, known| known.look + LOOKS > looks);
        self.looked = mono_ns;
    }

    /// How many conversations were met for the first time, in all looks.
    pub fn met(&self) -> u64 {
        self.met
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Whether who was asked has answered. A reset is no answer.
fn is_answered(key: &FlowKey, flow: &Flow) -> bool {
    match key.protocol {
        protocol::TCP => flow.state & state::ANSWERED != 0,
        _ => flow.packets[usize::from(flow.initiator ^ 1) & 1] > 0,
    }
}

#[cfg(test)]
mod tests;
