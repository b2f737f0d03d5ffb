//! What is kept of one device: facts within bounds, and what is new by one more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Claim, Evidence, Fact, Kind, MOST_ADDRESSES, MOST_BESIDE, MOST_BORROWED, MOST_FACTS, MOST_OF_A_KIND,
    News, Of, bytes::printable, fact::network_of, table::Shift,
};

/// A fact makes room for another of its kind when nobody said it for so long.
const FACTS_STAY: SignedDuration = SignedDuration::from_hours(24);
/// What was not said for so long is new again when it is said in the place of something else.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

/// When a frame was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) time: Timestamp,
    /// Where frames come as they are heard, since when: a time that lies beyond theirs was told by a clock that was ahead, and not since.
    /// None where they are read from captures, which may come in any order.
    pub(super) since: Option<Timestamp>,
}

impl When {
    /// When something was said last that is kept with a time.
    pub(super) fn reached(self, last: Timestamp) -> Timestamp {
        match self.since {
            Some(since) if last > self.time => since.min(self.time),
            Some(_) | None => last,
        }
    }

    /// The time of what was said before and is said again.
    pub(super) fn again(self, last: Timestamp) -> Timestamp {
        if self.since.is_some() { self.time } else { last.max(self.time) }
    }
}

/// What is known of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Whom this is about.
    pub of: Of,
    /// The router whose frames carried what it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Of>,
    /// Where it was last heard: an interface, and the VLAN if there is one; none in a capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Whether it passes on what others send, so that not every address is its own.
    pub router: bool,
    /// When it was first seen.
    pub first: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// Frames from it that were read.
    pub frames: u64,
    /// What was said, in the order in which it was first said.
    pub facts: Vec<Fact>,
    /// Claims that found no room.
    pub refused: u64,
    /// Addresses that it sent from and never announced on its link, as far as they decide whether it is a router: of IPv6 the networks
    /// of 64 bits. Counted apart from the facts, which may have no room for them.
    #[serde(skip)]
    pub(super) borrowed: BTreeSet<IpAddr>,
}

impl Device {
    pub(super) fn new(of: Of, behind: Option<Of>, time: Timestamp) -> Self {
        Self {
            of,
            behind,
            on: None,
            router: false,
            first: time,
            last: time,
            frames: 0,
            facts: Vec::new(),
            refused: 0,
            borrowed: BTreeSet::new(),
        }
    }

    /// One that was kept in a file, within the bounds of what is heard: somebody may have edited it.
    pub(super) fn bounded(mut self) -> Self {
        self.on = self.on.and_then(|on| printable(on.as_bytes()));
        let mut of_kinds: BTreeMap<Kind, usize> = BTreeMap::new();
        let facts = self.facts.into_iter().filter_map(|fact| {
            let value = printable(fact.value.as_bytes())?;
            let of_kind = of_kinds.entry(fact.kind).or_default();
            *of_kind += 1;
            (*of_kind <= MOST_OF_A_KIND).then_some(Fact { value, ..fact })
        });
        self.facts = facts.take(MOST_FACTS).collect();
        self
    }

    /// Facts of a kind, what was said last in front.
    pub fn of_kind(&self, kind: Kind) -> Vec<&Fact> {
        let mut facts: Vec<&Fact> = self.facts.iter().filter(|fact| fact.kind == kind).collect();
        facts.sort_by_key(|fact| std::cmp::Reverse(fact.last));
        facts
    }

    /// Its addresses as far as they are known, in order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let own = if let Of::Address(address) = self.of { Some(address) } else { None };
        let facts = self.facts.iter().filter(|fact| fact.kind == Kind::Address);
        let mut all: Vec<IpAddr> = facts.filter_map(|fact| fact.value.parse().ok()).chain(own).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether it said on its link that an address is its own.
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        let is_on_link = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let value = address.to_string();
        is_on_link
            || self.facts.iter().any(|fact| {
                fact.kind == Kind::Address && fact.evidence.is_of_the_link() && fact.value == value
            })
    }

    /// Notes an address that it sent from.
    pub(super) fn borrows(&mut self, address: IpAddr) {
        if !self.router && self.borrowed.len() <= MOST_BORROWED {
            self.borrowed.insert(network_of(address));
        }
    }

    /// Whether it sends from more addresses than a host does that did not say on its link that they are its own: of IPv4 addresses, of
    /// IPv6 networks of 64 bits, since a host makes itself many addresses in each.
    pub(super) fn sends_for_others(&self) -> bool {
        let links =
            self.facts.iter().filter(|fact| fact.kind == Kind::Address && fact.evidence.is_of_the_link());
        let own: BTreeSet<IpAddr> =
            links.filter_map(|fact| fact.value.parse().ok()).map(network_of).collect();
        let beyond = |is_v4: bool| {
            let claimed = own.iter().any(|address| address.is_ipv4() == is_v4);
            let borrowed = self.borrowed.iter().filter(|address| address.is_ipv4() == is_v4);
            borrowed.filter(|address| !own.contains(address)).count()
                > if claimed && is_v4 { MOST_BESIDE } else { MOST_ADDRESSES }
        };
        beyond(true) || beyond(false)
    }

    /// Takes a claim; what is new by it, and whether it found room.
    pub(super) fn take(&mut self, claim: &Claim, from: Option<IpAddr>, when: When) -> (Option<News>, bool) {
        let time = when.time;
        let Claim { kind, value, evidence } = claim;
        // Another protocol that says the same is no news.
        let had_this = self.facts.iter().any(|fact| (fact.kind, &fact.value) == (*kind, value));
        if *kind == Kind::Address && evidence.is_of_the_link() {
            // Better evidence for the same.
            self.facts.retain(|fact| {
                (fact.kind, fact.evidence, &fact.value) != (Kind::Address, Evidence::Ip, value)
            });
        }
        let alike = |fact: &Fact| (fact.kind, fact.evidence) == (*kind, *evidence);
        let said = self.facts.iter().filter(|fact| alike(fact)).map(|fact| (when.reached(fact.last), fact));
        let said_now = said.max_by_key(|(reached, fact)| (*reached, fact.last));
        let before = said_now.filter(|(reached, fact)| fact.value != *value && *reached < time);
        let before = before.map(|(reached, fact)| (reached, fact.value.clone()));
        let had_address = self.facts.iter().any(|fact| fact.kind == Kind::Address);
        let place =
            self.facts.iter().position(|fact| alike(fact) && fact.value == *value && fact.from == from);
        let known = match place {
            Some(place) => {
                let fact = &mut self.facts[place];
                let last = when.reached(fact.last);
                fact.first = fact.first.min(time);
                fact.last = when.again(fact.last);
                fact.count += 1;
                Some(last)
            }
            None if self.has_room(*kind, when) => {
                let (kind, evidence, value) = (*kind, *evidence, value.clone());
                self.facts.push(Fact { kind, value, evidence, from, first: time, last: time, count: 1 });
                None
            }
            None => {
                self.refused += 1;
                return (None, false);
            }
        };
        let news = match (kind, known, before) {
            (Kind::Address, None, _) if had_address && !had_this => {
                Some(News::NewAddress { address: value.clone(), evidence: *evidence })
            }
            // Services of one host have versions of their own.
            (kind, last, Some((said, before)))
                if kind.is_told()
                    && (*evidence != Evidence::Mdns || *kind == Kind::Name)
                    && last.is_none_or(|last| said.duration_since(last) >= FORGOTTEN) =>
            {
                Some(News::Changed { fact: *kind, before, now: value.clone(), evidence: *evidence })
            }
            _ => None,
        };
        (news, true)
    }

    /// Takes over what was known of another; whether it found room.
    pub(super) fn adopt(&mut self, fact: Fact, since: Option<Timestamp>) -> bool {
        let is_same = |own: &&mut Fact| {
            (own.kind, own.evidence, &own.value, own.from)
                == (fact.kind, fact.evidence, &fact.value, fact.from)
        };
        if let Some(own) = self.facts.iter_mut().find(is_same) {
            own.first = own.first.min(fact.first);
            own.last = own.last.max(fact.last);
            own.count += fact.count;
            return true;
        }
        let has_room = self.has_room(fact.kind, When { time: fact.last, since });
        if has_room {
            self.facts.push(fact);
        } else {
            self.refused += 1;
        }
        has_room
    }

    /// Brings times that were told by a clock that was wrong to where they belong.
    pub(super) fn shift(&mut self, shift: &Shift) {
        let facts = self.facts.iter_mut().flat_map(|fact| [&mut fact.first, &mut fact.last]);
        facts.chain([&mut self.first, &mut self.last]).for_each(|time| shift.mend(time));
    }

    /// Makes room for one more fact of a kind, in the place of one that nobody says any more.
    fn has_room(&mut self, kind: Kind, when: When) -> bool {
        let of_kind = self.facts.iter().filter(|fact| fact.kind == kind).count();
        if of_kind < MOST_OF_A_KIND && self.facts.len() < MOST_FACTS {
            return true;
        }
        let of_kind = self.facts.iter().enumerate().filter(|(_, fact)| fact.kind == kind);
        let oldest = of_kind.map(|(at, fact)| (at, when.reached(fact.last))).min_by_key(|(_, last)| *last);
        match oldest {
            Some((at, last)) if when.time.duration_since(last) >= FACTS_STAY => {
                self.facts.remove(at);
                true
            }
            Some(_) | None => false,
        }
    }
}
