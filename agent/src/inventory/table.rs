//! What is kept of each device: a table of bounded size, with a counter for what found no room.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Change, Claim, Device, Evidence, Fact, Heard, Kind, Known, MOST_CHANGES, MOST_DEVICES, News, Of,
    device::When,
};

/// A stranger makes room for another when nothing was heard of it for so long.
const STRANGERS_STAY: SignedDuration = SignedDuration::from_hours(1);

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
    pub(super) fn mend(&self, time: &mut Timestamp) {
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
    /// When it was last asked whether an address of a device without a hardware address needs room.
    asked: BTreeMap<IpAddr, Timestamp>,
    /// As [`When::since`].
    since: Option<Timestamp>,
    /// Counts whatever is worth to be kept: new devices, facts and changes.
    news: u64,
}

impl Inventory {
    /// Goes on where another ended. What is beyond the bounds is left out, and what cannot be shown is a `?`.
    pub fn restore(devices: Vec<Device>, changes: Vec<Change>) -> Self {
        let devices = devices.into_iter().take(MOST_DEVICES).map(|device| (device.of, device.bounded()));
        let beyond = changes.len().saturating_sub(MOST_CHANGES);
        let changes = changes.into_iter().skip(beyond).filter_map(Change::bounded).collect();
        Self { devices: devices.collect(), changes, ..Self::default() }
    }

    /// Brings times that were told by a clock that was wrong to where they belong.
    pub fn shift(&mut self, shift: &Shift) {
        self.devices.values_mut().for_each(|device| device.shift(shift));
        self.changes.iter_mut().for_each(|change| shift.mend(&mut change.time));
        self.asked.values_mut().chain(&mut self.since).for_each(|time| shift.mend(time));
        self.full_until = None;
        self.news += 1;
    }

    /// Frames come from now on as they are heard, with the present time: what is kept with a later one was told by a clock that was ahead.
    /// It counts as heard at this time, since the clock may as well be behind.
    pub fn follow(&mut self, since: Timestamp) {
        self.since = Some(since);
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
        self.asked.retain(|address, _| known.name(Of::Address(*address)).is_some());
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
        // Anybody can forge a datagram, and more than one address in other protocols.
        let announces = |claim: &&&Claim| {
            claim.kind == Kind::Address && matches!(claim.evidence, Evidence::Arp | Evidence::Nd)
        };
        let shows = of_link.iter().find(announces).and_then(|claim| claim.value.parse().ok());
        let when = When { time, since: self.since };
        let Some(device) = self.device(sender, None, shows, time, &mut news) else { return news };
        device.last = when.again(device.last);
        if device.on.as_deref() != on {
            device.on = on.map(str::to_owned);
        }
        let routes = claims.iter().any(is_of_a_router);
        let turned = routes && !device.router;
        device.router |= routes;
        let is_behind = source.filter(|source| device.router && !device.owns(*source));
        for claim in of_link {
            self.put(sender, claim, None, when, &mut news);
        }
        match (is_behind, source) {
            (Some(address), _) => {
                let of = Of::Address(address);
                // An address alone is nobody's word, and every server of the Internet answers.
                let says = spoken.iter().any(|claim| claim.kind != Kind::Serves);
                if (says || self.devices.contains_key(&of))
                    && let Some(device) = self.device(of, Some(sender), None, time, &mut news)
                {
                    device.last = when.again(device.last);
                    spoken.iter().for_each(|claim| self.put(of, claim, *source, when, &mut news));
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
                used.iter().chain(spoken).for_each(|claim| self.put(sender, claim, *source, when, &mut news));
            }
            (None, None) => {}
        }
        let many = self.devices.get(&sender).is_some_and(|d| !d.router && d.sends_for_others());
        if many {
            let role = Claim::new(Kind::Role, "router", Evidence::Ip);
            self.put(sender, &role, None, when, &mut news);
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
        announced: Option<IpAddr>,
        time: Timestamp,
        news: &mut Vec<Change>,
    ) -> Option<&mut Device> {
        if !self.devices.contains_key(&of) {
            if self.devices.len() >= MOST_DEVICES && !self.make_room(of, announced, time) {
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
    fn make_room(&mut self, of: Of, announced: Option<IpAddr>, time: Timestamp) -> bool {
        let when = When { time, since: self.since };
        let is_ours = self.known.name(of).is_some() || announced.is_some_and(|ip| self.is_missing(ip, when));
        if !is_ours && self.full_until.is_some_and(|until| time < until) {
            return false;
        }
        let strangers = self.devices.values().filter(|device| self.known.name_of(device).is_none());
        let oldest = strangers.map(|device| (when.reached(device.last), device.last, device.of)).min();
        match oldest {
            Some((last, _, oldest)) if is_ours || time.duration_since(last) >= STRANGERS_STAY => {
                self.devices.remove(&oldest);
                self.counts.forgotten += 1;
                true
            }
            Some((last, ..)) => {
                self.full_until = last.checked_add(STRANGERS_STAY).ok();
                false
            }
            None => false,
        }
    }

    /// Whether an address is that of a device without a hardware address of whom nobody is kept. Anybody can announce it, and let go of it
    /// by announcing another, so each makes room once in the time that strangers stay.
    fn is_missing(&mut self, address: IpAddr, when: When) -> bool {
        let Some(name) = self.known.name(Of::Address(address)) else { return false };
        let asked = self.asked.get(&address).map(|asked| when.reached(*asked));
        if asked.is_some_and(|asked| when.time.duration_since(asked) < STRANGERS_STAY) {
            return false;
        }
        let is_there = self.devices.values().any(|device| self.known.name_of(device) == Some(name));
        self.asked.insert(address, when.time);
        !is_there
    }

    fn put(&mut self, of: Of, claim: &Claim, from: Option<IpAddr>, when: When, news: &mut Vec<Change>) {
        let Some(device) = self.devices.get_mut(&of) else { return };
        // What a protocol of the link says of an address needs no other.
        let from = from.filter(|_| claim.kind != Kind::Address);
        let before = device.facts.len();
        let (said, had_room) = device.take(claim, from, when);
        self.news += u64::from(device.facts.len() != before);
        news.extend(said.map(|news| Change { time: when.time, of, news }));
        self.counts.refused_facts += u64::from(!had_room);
    }

    /// A sender turned out to be a router: what was said from addresses that are not its own is of those behind it.
    fn part(&mut self, sender: Of, news: &mut Vec<Change>) {
        let Some(router) = self.devices.get_mut(&sender) else { return };
        router.router = true;
        router.borrowed.clear();
        let since = self.since;
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
            if let Some(device) = self.device(of, Some(sender), None, fact.last, news) {
                device.first = device.first.min(fact.first);
                let had_room = device.adopt(fact, since);
                self.counts.refused_facts += u64::from(!had_room);
            }
        }
    }
}

/// Whether a claim says that its sender passes on what others send.
fn is_of_a_router(claim: &Claim) -> bool {
    claim.kind == Kind::Role && claim.evidence.is_of_the_link() && claim.value == "router"
}
