//! What is kept of each device: a table of bounded size, with a counter for what found no room.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    Change, Claim, Evidence, Fact, Heard, Kind, MOST_ADDRESSES, MOST_BESIDE, MOST_CHANGES, MOST_DEVICES,
    MOST_FACTS, MOST_OF_A_KIND, News, Of,
};
use crate::model::{Mac, Policy};

/// A stranger makes room for another when nothing was heard of it for so long.
const STRANGERS_STAY: SignedDuration = SignedDuration::from_hours(1);
/// A fact makes room for another of its kind when nobody said it for so long.
const FACTS_STAY: SignedDuration = SignedDuration::from_hours(24);
/// What was not said for so long is new again when it is said in the place of something else.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

/// What is known of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Whom this is about.
    pub of: Of,
    /// The router whose frames carried what it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Of>,
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
}

impl Device {
    fn new(of: Of, behind: Option<Of>, time: Timestamp) -> Self {
        Self { of, behind, router: false, first: time, last: time, frames: 0, facts: Vec::new(), refused: 0 }
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
    fn owns(&self, address: IpAddr) -> bool {
        let is_on_link = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let value = address.to_string();
        is_on_link
            || self.facts.iter().any(|fact| {
                fact.kind == Kind::Address && fact.evidence.is_of_the_link() && fact.value == value
            })
    }

    /// Whether it sends from more IPv4 addresses than a host does that did not say on its link that they are its own.
    fn sends_for_others(&self) -> bool {
        let is_v4 = |fact: &&Fact| fact.value.parse().is_ok_and(|address: IpAddr| address.is_ipv4());
        let all = || self.facts.iter().filter(|fact| fact.kind == Kind::Address).filter(is_v4);
        let claimed = all().any(|fact| fact.evidence.is_of_the_link());
        let borrowed = all().filter(|fact| fact.evidence == Evidence::Ip).count();
        borrowed > if claimed { MOST_BESIDE } else { MOST_ADDRESSES }
    }

    /// Takes a claim; what is new by it, and whether it found room.
    fn take(&mut self, claim: &Claim, from: Option<IpAddr>, time: Timestamp) -> (Option<News>, bool) {
        let Claim { kind, value, evidence } = claim;
        if *kind == Kind::Address && evidence.is_of_the_link() {
            // Better evidence for the same.
            self.facts.retain(|fact| {
                (fact.kind, fact.evidence, &fact.value) != (Kind::Address, Evidence::Ip, value)
            });
        }
        let alike = |fact: &Fact| (fact.kind, fact.evidence) == (*kind, *evidence);
        let said_now = self.facts.iter().filter(|fact| alike(fact)).max_by_key(|fact| fact.last);
        let before = said_now.filter(|fact| fact.value != *value && fact.last < time).cloned();
        let had_address = self.facts.iter().any(|fact| fact.kind == Kind::Address);
        let place =
            self.facts.iter().position(|fact| alike(fact) && fact.value == *value && fact.from == from);
        let known = match place {
            Some(place) => {
                let fact = &mut self.facts[place];
                let last = fact.last;
                fact.first = fact.first.min(time);
                fact.last = last.max(time);
                fact.count += 1;
                Some(last)
            }
            None if self.has_room(*kind, time) => {
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
            (Kind::Address, None, _) if had_address => {
                Some(News::NewAddress { address: value.clone(), evidence: *evidence })
            }
            // Services of one host have versions of their own.
            (kind, last, Some(before))
                if kind.is_told()
                    && (*evidence != Evidence::Mdns || *kind == Kind::Name)
                    && last.is_none_or(|last| before.last.duration_since(last) >= FORGOTTEN) =>
            {
                Some(News::Changed {
                    fact: *kind,
                    before: before.value,
                    now: value.clone(),
                    evidence: *evidence,
                })
            }
            _ => None,
        };
        (news, true)
    }

    /// Takes over what was known of another; whether it found room.
    fn adopt(&mut self, fact: Fact) -> bool {
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
        let has_room = self.has_room(fact.kind, fact.last);
        if has_room {
            self.facts.push(fact);
        } else {
            self.refused += 1;
        }
        has_room
    }

    /// Makes room for one more fact of a kind, in the place of one that nobody says any more.
    fn has_room(&mut self, kind: Kind, time: Timestamp) -> bool {
        let of_kind = self.facts.iter().filter(|fact| fact.kind == kind).count();
        if of_kind < MOST_OF_A_KIND && self.facts.len() < MOST_FACTS {
            return true;
        }
        let of_kind = self.facts.iter().enumerate().filter(|(_, fact)| fact.kind == kind);
        let oldest = of_kind.min_by_key(|(_, fact)| fact.last).map(|(at, fact)| (at, fact.last));
        match oldest {
            Some((at, last)) if time.duration_since(last) >= FACTS_STAY => {
                self.facts.remove(at);
                true
            }
            Some(_) | None => false,
        }
    }
}

/// Who is in the policy.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Known {
    macs: BTreeMap<Mac, String>,
    /// Of devices without a hardware address.
    addresses: BTreeMap<IpAddr, String>,
}

impl Known {
    /// The devices of a policy.
    pub fn of(policy: &Policy) -> Self {
        let mut known = Self::default();
        for device in &policy.devices {
            known.macs.extend(device.macs.iter().map(|mac| (*mac, device.name.clone())));
            if device.macs.is_empty() {
                known
                    .addresses
                    .extend(device.addresses.iter().map(|address| (*address, device.name.clone())));
            }
        }
        known
    }

    /// The name of a device in the policy.
    pub fn name(&self, of: Of) -> Option<&str> {
        match of {
            Of::Mac(mac) => self.macs.get(&mac),
            Of::Address(address) => self.addresses.get(&address),
        }
        .map(String::as_str)
    }

    /// The same; of a stranger whose address is that of a device without a hardware address, the name of that.
    pub fn name_of(&self, device: &Device) -> Option<&str> {
        let by_address = || device.addresses().iter().find_map(|address| self.addresses.get(address));
        self.name(device.of).or_else(|| by_address().map(String::as_str))
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.macs.values().chain(self.addresses.values()).map(String::as_str)
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Frames that were read.
    pub frames: u64,
    /// Claims in them.
    pub claims: u64,
    /// Strangers that were forgotten to make room.
    pub forgotten: u64,
    /// Frames of devices for which there was no room.
    pub refused_devices: u64,
    /// Claims for which there was no room.
    pub refused_facts: u64,
}

/// All devices.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    devices: BTreeMap<Of, Device>,
    known: Known,
    changes: VecDeque<Change>,
    counts: Counts,
    /// While the table is full: no stranger makes room before this time.
    full_until: Option<Timestamp>,
}

impl Inventory {
    /// Says who is in the policy: these are never forgotten for the sake of strangers.
    pub fn know(&mut self, known: Known) {
        self.known = known;
        self.full_until = None;
    }

    /// Who is in the policy.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The devices, by hardware address, then those behind routers.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// The last changes, the oldest first.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes what a frame says, and returns what is new by it.
    pub fn take(&mut self, heard: &Heard, time: Timestamp) -> Vec<Change> {
        let Heard { mac, source, claims } = heard;
        self.counts.frames += 1;
        self.counts.claims += claims.len() as u64;
        let sender = Of::Mac(*mac);
        let (of_link, spoken): (Vec<&Claim>, Vec<&Claim>) =
            claims.iter().partition(|claim| claim.evidence.is_of_the_link());
        let mut news = Vec::new();
        let Some(device) = self.device(sender, None, time, &mut news) else { return news };
        let routes = claims.iter().any(is_of_a_router);
        let turned = routes && !device.router;
        device.router |= routes;
        let is_behind = source.filter(|source| device.router && !device.owns(*source));
        for claim in of_link {
            self.put(sender, claim, None, time, &mut news);
        }
        match (is_behind, source) {
            (Some(address), _) => {
                let of = Of::Address(address);
                // An address alone is nobody's word, and every server of the Internet answers.
                let says = spoken.iter().any(|claim| claim.kind != Kind::Serves);
                if (says || self.devices.contains_key(&of))
                    && self.device(of, Some(sender), time, &mut news).is_some()
                {
                    spoken.iter().for_each(|claim| self.put(of, claim, *source, time, &mut news));
                }
            }
            (None, Some(address)) => {
                let owned = self.devices.get(&sender).is_some_and(|device| device.owns(*address));
                let used = Claim::address(*address, Evidence::Ip).filter(|_| !owned);
                used.iter().chain(spoken).for_each(|claim| self.put(sender, claim, *source, time, &mut news));
            }
            (None, None) => {}
        }
        let many = self.devices.get(&sender).is_some_and(|d| !d.router && d.sends_for_others());
        if many {
            let role = Claim::new(Kind::Role, "router", Evidence::Ip);
            self.put(sender, &role, None, time, &mut news);
        }
        if many || turned {
            self.part(sender, &mut news);
        }
        for change in &news {
            if self.changes.len() == MOST_CHANGES {
                self.changes.pop_front();
            }
            self.changes.push_back(change.clone());
        }
        news
    }

    /// The entry of a device, made if there is room.
    fn device(
        &mut self,
        of: Of,
        behind: Option<Of>,
        time: Timestamp,
        news: &mut Vec<Change>,
    ) -> Option<&mut Device> {
        if !self.devices.contains_key(&of) {
            if self.devices.len() >= MOST_DEVICES && !self.make_room(of, time) {
                self.counts.refused_devices += 1;
                return None;
            }
            news.push(Change { time, of, news: News::NewDevice });
        }
        let device = self.devices.entry(of).or_insert_with(|| Device::new(of, behind, time));
        device.first = device.first.min(time);
        device.last = device.last.max(time);
        device.frames += 1;
        Some(device)
    }

    /// Forgets the stranger of whom nothing was heard for longest. One of the policy need not wait for its place.
    fn make_room(&mut self, of: Of, time: Timestamp) -> bool {
        let is_ours = self.known.name(of).is_some();
        if !is_ours && self.full_until.is_some_and(|until| time < until) {
            return false;
        }
        let strangers = self.devices.values().filter(|device| self.known.name(device.of).is_none());
        let oldest = strangers.min_by_key(|device| device.last).map(|device| (device.of, device.last));
        match oldest {
            Some((oldest, last)) if is_ours || time.duration_since(last) >= STRANGERS_STAY => {
                self.devices.remove(&oldest);
                self.counts.forgotten += 1;
                true
            }
            Some((_, last)) => {
                self.full_until = last.checked_add(STRANGERS_STAY).ok();
                false
            }
            None => false,
        }
    }

    fn put(&mut self, of: Of, claim: &Claim, from: Option<IpAddr>, time: Timestamp, news: &mut Vec<Change>) {
        let Some(device) = self.devices.get_mut(&of) else { return };
        // What a protocol of the link says of an address needs no other.
        let from = from.filter(|_| claim.kind != Kind::Address);
        let (said, had_room) = device.take(claim, from, time);
        news.extend(said.map(|news| Change { time, of, news }));
        self.counts.refused_facts += u64::from(!had_room);
    }

    /// A sender turned out to be a router: what was said from addresses that are not its own is of those behind it.
    fn part(&mut self, sender: Of, news: &mut Vec<Change>) {
        let Some(router) = self.devices.get_mut(&sender) else { return };
        router.router = true;
        let own: Vec<bool> =
            router.facts.iter().map(|fact| fact.from.is_none_or(|from| router.owns(from))).collect();
        let mut own = own.into_iter();
        let others: Vec<Fact> = router.facts.extract_if(.., |_| !own.next().unwrap_or(true)).collect();
        router.facts.retain(|fact| (fact.kind, fact.evidence) != (Kind::Address, Evidence::Ip));
        // An open port alone makes no device.
        let (ports, others): (Vec<Fact>, Vec<Fact>) =
            others.into_iter().partition(|fact| fact.kind == Kind::Serves);
        for fact in others.into_iter().chain(ports) {
            let Some(from) = fact.from else { continue };
            let of = Of::Address(from);
            if fact.kind == Kind::Serves && !self.devices.contains_key(&of) {
                continue;
            }
            if let Some(device) = self.device(of, Some(sender), fact.last, news) {
                device.first = device.first.min(fact.first);
                let had_room = device.adopt(fact);
                self.counts.refused_facts += u64::from(!had_room);
            }
        }
    }
}

/// Whether a claim says that its sender passes on what others send.
fn is_of_a_router(claim: &Claim) -> bool {
    claim.kind == Kind::Role && claim.evidence.is_of_the_link() && claim.value == "router"
}
