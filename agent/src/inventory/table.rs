//! What is kept of each device: a table of bounded size, with a counter for what found no room.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Change, Claim, Evidence, Fact, Heard, Kind, Known, MOST_ADDRESSES, MOST_BESIDE, MOST_BORROWED,
    MOST_CHANGES, MOST_DEVICES, MOST_FACTS, MOST_OF_A_KIND, News, Of, fact::network_of,
};

/// A stranger makes room for another when nothing was heard of it for so long.
const STRANGERS_STAY: SignedDuration = SignedDuration::from_hours(1);
/// A fact makes room for another of its kind when nobody said it for so long.
const FACTS_STAY: SignedDuration = SignedDuration::from_hours(24);
/// What was not said for so long is new again when it is said in the place of something else.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

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
    borrowed: BTreeSet<IpAddr>,
}

impl Device {
    fn new(of: Of, behind: Option<Of>, time: Timestamp) -> Self {
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

    /// Notes an address that it sent from.
    fn borrows(&mut self, address: IpAddr) {
        if !self.router && self.borrowed.len() <= MOST_BORROWED {
            self.borrowed.insert(network_of(address));
        }
    }

    /// Whether it sends from more addresses than a host does that did not say on its link that they are its own: of IPv4 addresses, of
    /// IPv6 networks of 64 bits, since a host makes itself many addresses in each.
    fn sends_for_others(&self) -> bool {
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

    /// Brings times that were told by a clock that was wrong to where they belong.
    fn shift(&mut self, shift: &Shift) {
        let facts = self.facts.iter_mut().flat_map(|fact| [&mut fact.first, &mut fact.last]);
        facts.chain([&mut self.first, &mut self.last]).for_each(|time| shift.mend(time));
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

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// Times that were told by a clock that was wrong: those in a stretch of that clock, and by how much it was.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// The earliest of them.
    pub from: Timestamp,
    /// The latest of them.
    pub to: Timestamp,
    /// What is added to them.
    pub by: SignedDuration,
}

impl Shift {
    fn mend(&self, time: &mut Timestamp) {
        if (self.from..=self.to).contains(time) {
            *time = time.checked_add(self.by).unwrap_or(*time);
        }
    }
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
    /// Counts whatever is worth to be kept: new devices, facts and changes.
    news: u64,
}

impl Inventory {
    /// Goes on where another ended. What is beyond the bounds is left out.
    pub fn restore(devices: Vec<Device>, changes: Vec<Change>) -> Self {
        let devices = devices.into_iter().take(MOST_DEVICES).map(|mut device| {
            device.facts.truncate(MOST_FACTS);
            (device.of, device)
        });
        let beyond = changes.len().saturating_sub(MOST_CHANGES);
        let changes = changes.into_iter().skip(beyond).collect();
        Self { devices: devices.collect(), changes, ..Self::default() }
    }

    /// Brings times that were told by a clock that was wrong to where they belong.
    pub fn shift(&mut self, shift: &Shift) {
        self.devices.values_mut().for_each(|device| device.shift(shift));
        self.changes.iter_mut().for_each(|change| shift.mend(&mut change.time));
        self.full_until = None;
        self.news += 1;
    }

    /// A number that is another one when there is something new: a device, a fact, a change.
    pub fn edition(&self) -> u64 {
        self.news
    }

    /// A device that is kept.
    pub fn get(&self, of: Of) -> Option<&Device> {
        self.devices.get(&of)
    }

    /// The name in the policy of a device that is kept.
    pub fn name_of(&self, of: Of) -> Option<&str> {
        self.known.name_of(self.devices.get(&of)?)
    }

    /// Devices that are in the policy, and those that are not.
    pub fn known_and_unknown(&self) -> [u64; 2] {
        let known =
            self.devices.values().filter(|device| self.known.name_of(device).is_some()).count() as u64;
        [known, self.devices.len() as u64 - known]
    }

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
        self.take_on(heard, time, None)
    }

    /// The same of a frame that was heard somewhere.
    pub fn take_on(&mut self, heard: &Heard, time: Timestamp, on: Option<&str>) -> Vec<Change> {
        let Heard { mac, source, claims } = heard;
        self.counts.frames += 1;
        self.counts.claims += claims.len() as u64;
        let sender = Of::Mac(*mac);
        let (of_link, spoken): (Vec<&Claim>, Vec<&Claim>) =
            claims.iter().partition(|claim| claim.evidence.is_of_the_link());
        let mut news = Vec::new();
        let announced = of_link.iter().filter(|claim| claim.kind == Kind::Address);
        let shows = source.or_else(|| announced.filter_map(|claim| claim.value.parse().ok()).next());
        let Some(device) = self.device(sender, None, shows, time, &mut news) else { return news };
        if device.on.as_deref() != on {
            device.on = on.map(str::to_owned);
        }
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
                    && self.device(of, Some(sender), *source, time, &mut news).is_some()
                {
                    spoken.iter().for_each(|claim| self.put(of, claim, *source, time, &mut news));
                }
            }
            (None, Some(address)) => {
                let owned = self.devices.get_mut(&sender).is_some_and(|device| {
                    let owned = device.owns(*address);
                    if !owned {
                        device.borrows(*address);
                    }
                    owned
                });
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
        self.news += news.len() as u64;
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
        source: Option<IpAddr>,
        time: Timestamp,
        news: &mut Vec<Change>,
    ) -> Option<&mut Device> {
        if !self.devices.contains_key(&of) {
            if self.devices.len() >= MOST_DEVICES && !self.make_room(of, source, time) {
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
    fn make_room(&mut self, of: Of, source: Option<IpAddr>, time: Timestamp) -> bool {
        let by_address = source.is_some_and(|source| self.known.name(Of::Address(source)).is_some());
        // A device without a hardware address in the policy is known by its address alone; anybody could use it, so it waits as others do
        // while one of that name is there.
        let is_ours = self.known.name(of).is_some() || by_address && !self.has_name_of(source);
        if !is_ours && self.full_until.is_some_and(|until| time < until) {
            return false;
        }
        let strangers = self.devices.values().filter(|device| self.known.name_of(device).is_none());
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

    /// Whether a device is kept that has the name of an address.
    fn has_name_of(&self, source: Option<IpAddr>) -> bool {
        let name = source.and_then(|source| self.known.name(Of::Address(source)));
        name.is_some() && self.devices.values().any(|device| self.known.name_of(device) == name)
    }

    fn put(&mut self, of: Of, claim: &Claim, from: Option<IpAddr>, time: Timestamp, news: &mut Vec<Change>) {
        let Some(device) = self.devices.get_mut(&of) else { return };
        // What a protocol of the link says of an address needs no other.
        let from = from.filter(|_| claim.kind != Kind::Address);
        let before = device.facts.len();
        let (said, had_room) = device.take(claim, from, time);
        self.news += u64::from(device.facts.len() != before);
        news.extend(said.map(|news| Change { time, of, news }));
        self.counts.refused_facts += u64::from(!had_room);
    }

    /// A sender turned out to be a router: what was said from addresses that are not its own is of those behind it.
    fn part(&mut self, sender: Of, news: &mut Vec<Change>) {
        let Some(router) = self.devices.get_mut(&sender) else { return };
        router.router = true;
        router.borrowed.clear();
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
            if let Some(device) = self.device(of, Some(sender), Some(from), fact.last, news) {
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
