//! Entries become wider, where a person asked for it. In: entries that admit what was seen. Out: the same with ranges of ports, services,
//! classes, zones, groups and networks in the place of what was seen of them, each within its price, and what was not done and why.
//!
//! Nothing becomes so wide that it admits what was left out or what a person has to decide.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bulkhead_common::wire::{EPHEMERAL_PORTS, protocol};

use super::{
    Entry, Holder, Key, Material, Term, What,
    entry::members,
    gather::Atoms,
    names,
    price::{Ends, services},
};
use crate::{
    learn::{Fate, Party, Talk},
    model::{ClassId, DeviceId, GroupId, NetworkId, Peer, Policy, Selector, ZoneId},
    policy::built_in,
};

/// How much may be admitted that nobody saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// By one rule.
    pub rule: u64,
    /// By all together.
    pub all: u64,
    /// Percent of a class, zone or group that must have been seen before it is named.
    pub share: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { rule: 256, all: 4096, share: 50 }
    }
}

/// Something wider that was not proposed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Whose rule.
    pub holder: Holder,
    /// What it would have been.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// Ports of one responder from which on they are a range.
const PORTS: usize = 4;
/// Services beyond what was seen that a name may stand for.
const MORE: u64 = 3;

pub(super) struct Widener<'a> {
    policy: &'a Policy,
    own: &'a BTreeSet<IpAddr>,
    material: &'a Material<'a>,
    bounds: Option<Bounds>,
    spent: u64,
    refused: Vec<Refused>,
    /// What must not be admitted, by the devices at its ends.
    kept_out: BTreeMap<DeviceId, Vec<(Talk, &'static str)>>,
    /// Who scanned: not each of his probes is remembered.
    scanners: BTreeSet<Party>,
    quarantined: BTreeSet<Party>,
}

impl<'a> Widener<'a> {
    pub(super) fn new(
        material: &'a Material<'a>,
        own: &'a BTreeSet<IpAddr>,
        bounds: Option<&Bounds>,
    ) -> Self {
        let mut kept_out: BTreeMap<DeviceId, Vec<(Talk, &'static str)>> = BTreeMap::new();
        for (talk, fate) in material.fates {
            let why = match fate {
                Fate::Learned | Fate::Covered => continue,
                Fate::Decide(doubts) => doubts.first().map_or("undecided", |doubt| doubt.name()),
                Fate::Left(left) => left.name(),
            };
            for party in [talk.from, talk.to] {
                if let Party::Device(id) = party {
                    kept_out.entry(id).or_default().push((*talk, why));
                }
            }
        }
        let policy = material.who.policy();
        let scans = material.found.scans.all(&material.found.settings);
        let scanners = scans.into_iter().map(|(source, ..)| source.party).collect();
        let ids = (0..).map(DeviceId).zip(&policy.devices).map(|(id, _)| Party::Device(id));
        let quarantined = ids.filter(|party| material.who.is_quarantined(*party)).collect();
        Self {
            policy,
            own,
            material,
            bounds: bounds.copied(),
            spent: 0,
            refused: Vec::new(),
            kept_out,
            scanners,
            quarantined,
        }
    }

    pub(super) fn refused(mut self) -> Vec<Refused> {
        self.refused.sort();
        self.refused.dedup();
        self.refused
    }

    /// Whether an entry may become this one; if so it is paid for.
    fn may(&mut self, before: u64, wider: &mut Entry, what: &str) -> bool {
        wider.reckon(self.policy, self.own);
        let bounds = self.bounds.unwrap_or(Bounds { rule: 0, all: 0, share: 100 });
        let more = wider.price.saturating_sub(before);
        let devices = wider.holder.devices(self.policy);
        let talks = devices.iter().filter_map(|id| self.kept_out.get(id)).flatten();
        let why = if let Some((party, why)) = self.shunned(wider).filter(|_| more > 0) {
            Some(format!("it would admit more of {}, which {why}", self.material.who.name(party)))
        } else if let Some((talk, why)) = wider.admitted(self.policy, talks) {
            let who = self.material.who;
            let [from, to] = [talk.from, talk.to].map(|party| who.name(party));
            Some(format!(
                "it would admit {from} -> {to} {}, which was left out: {why}",
                names::shown(talk.service)
            ))
        } else if wider.price > bounds.rule {
            let (price, most) = (wider.price, bounds.rule);
            Some(format!(
                "it would admit {price} combinations that nobody saw, and the bound of a rule is {most}"
            ))
        } else if self.spent.saturating_add(more) > bounds.all {
            let most = bounds.all;
            Some(format!(
                "it would admit {more} more combinations that nobody saw, and the bound of all rules is {most}"
            ))
        } else {
            None
        };
        if let Some(why) = why {
            self.refused.push(Refused { holder: wider.holder, what: what.to_owned(), why });
            return false;
        }
        self.spent += more;
        true
    }

    /// Somebody at one of its ends for whom nothing is made wider.
    fn shunned(&self, wider: &Entry) -> Option<(Party, &'static str)> {
        let (own, others) = (wider.holder.devices(self.policy), Ends::of(self.policy, &wider.terms));
        let is_own = |party: &Party| party.device().is_some_and(|id| own.contains(&id));
        let is_other = |party: &Party| others.hold(self.policy, *party);
        let begins = |party: &Party| match wider.key {
            Key::From => is_other(party),
            Key::To => is_own(party),
        };
        let scans = self.scanners.iter().find(|party| begins(party)).map(|party| (*party, "scanned"));
        let ill = || self.quarantined.iter().find(|party| is_own(party) || is_other(party));
        scans.or_else(|| ill().map(|party| (*party, "is in quarantine")))
    }

    /// What all devices of a class do becomes the class's; with bounds, what most of them do.
    pub(super) fn join_class(&mut self, class: ClassId, atoms: &mut Atoms) {
        let devices = members(self.policy, Peer::Class(class));
        if devices.len() < 2 {
            return;
        }
        let mut shared: BTreeMap<(Key, Term, What), BTreeMap<DeviceId, Vec<Talk>>> = BTreeMap::new();
        for ((holder, key), by_term) in atoms.iter() {
            let Holder::Device(id) = holder else { continue };
            for (term, by_what) in by_term {
                let is_one_of_them =
                    matches!(term, Term::Seen(Party::Device(other)) if devices.contains(other));
                for (what, talks) in by_what.iter().filter(|_| !is_one_of_them) {
                    let have = shared.entry((*key, *term, what.clone())).or_default();
                    have.insert(*id, talks.clone());
                }
            }
        }
        for ((key, term, what), have) in shared {
            let missing = devices.len() - have.len();
            let share = self.bounds.map_or(100, |bounds| bounds.share) as usize;
            if missing > 0 && (have.len() < 2 || have.len() * 100 < devices.len() * share) {
                continue;
            }
            let talks: Vec<Talk> = have.values().flatten().copied().collect();
            let holder = Holder::Class(class);
            let mut entry = Entry {
                holder,
                key,
                terms: BTreeSet::from([term]),
                whats: BTreeSet::from([what.clone()]),
                talks: talks.clone(),
                admits: 0,
                price: 0,
                widened: Vec::new(),
                doubts: Vec::new(),
            };
            let named = format!(
                "class:{} for {} of its {} devices",
                self.policy.classes[class.0 as usize].name,
                have.len(),
                devices.len()
            );
            if !self.may(0, &mut entry, &named) {
                continue;
            }
            for id in have.keys() {
                remove(atoms, (Holder::Device(*id), key), term, &what);
            }
            atoms.entry((holder, key)).or_default().entry(term).or_default().insert(what, talks);
        }
    }

    /// Names in the place of what was seen of them.
    pub(super) fn widen(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let wider = |entry| {
            let entry = self.services(entry);
            self.peers(entry)
        };
        entries.into_iter().map(wider).collect()
    }

    /// A service that is little more than what was seen of it.
    fn services(&mut self, entry: Entry) -> Entry {
        let mut entry = entry;
        let before = services(&entry.whats);
        let all = self.policy.services.iter().filter(|one| !one.built_in);
        let own: Vec<(String, Vec<Selector>)> =
            all.map(|one| (one.name.clone(), one.selectors.clone())).collect();
        let library = built_in().iter().map(|(name, selectors)| (name.clone(), selectors.clone()));
        for (name, selectors) in own.into_iter().chain(library) {
            let what = What::Named(name.clone(), selectors);
            let inside = |seen: &What| matches!(seen, What::Seen(service) if what.holds(*service));
            if !entry.whats.iter().any(inside) {
                continue;
            }
            let mut whats: BTreeSet<What> =
                entry.whats.iter().filter(|seen| !inside(seen)).cloned().collect();
            whats.insert(what.clone());
            let more = services(&whats).saturating_sub(before);
            if more == 0 || more > MORE {
                continue;
            }
            let mut wider = Entry { whats, ..entry.clone() };
            let text = format!("service `{name}` for what was seen of it");
            if self.may(entry.price, &mut wider, &text) {
                wider.widened.push(text);
                entry = wider;
            }
        }
        entry
    }

    /// Classes, zones, groups and networks around those who were seen.
    fn peers(&mut self, entry: Entry) -> Entry {
        let mut entry = entry;
        let share = self.bounds.map_or(100, |bounds| bounds.share) as usize;
        for peer in every_name(self.policy) {
            let inside: BTreeSet<Term> =
                entry.terms.iter().copied().filter(|term| is_in(self.policy, peer, term)).collect();
            if inside.len() < 2 {
                continue;
            }
            let mut holders = entry.holder.devices(self.policy);
            let all = members(self.policy, peer);
            holders.retain(|id| all.contains(id));
            let is_network = matches!(peer, Peer::Network(_));
            // A device is no partner of its own.
            let there = all.len().saturating_sub(usize::from(holders.len() == 1));
            if !is_network && inside.len() * 100 < there * share {
                continue;
            }
            let mut terms: BTreeSet<Term> = entry.terms.difference(&inside).copied().collect();
            terms.insert(Term::Around(peer));
            let mut wider = Entry { terms, ..entry.clone() };
            let text = format!("`{}` for {} seen of it", self.policy.peer_name(peer), inside.len());
            if self.may(entry.price, &mut wider, &text) {
                wider.widened.push(text);
                entry = wider;
            }
        }
        entry
    }
}

/// Everything with several members, the narrowest kinds first.
fn every_name(policy: &Policy) -> Vec<Peer> {
    let count = |len: usize| 0..u32::try_from(len).unwrap_or(u32::MAX);
    let classes = count(policy.classes.len()).map(|id| Peer::Class(ClassId(id)));
    let groups = count(policy.groups.len()).map(|id| Peer::Group(GroupId(id)));
    let zones = count(policy.zones.len()).map(|id| Peer::Zone(ZoneId(id)));
    let mut networks: Vec<u32> = count(policy.networks.len()).collect();
    networks.sort_by_key(|id| {
        let cidrs = &policy.networks[*id as usize].cidrs;
        cidrs.iter().map(crate::compile::hosts).fold(0, u64::saturating_add)
    });
    classes
        .chain(groups)
        .chain(zones)
        .chain(networks.into_iter().map(|id| Peer::Network(NetworkId(id))))
        .collect()
}

fn is_in(policy: &Policy, peer: Peer, term: &Term) -> bool {
    match (peer, term) {
        (Peer::Network(id), Term::Seen(Party::Host(address, _))) => {
            policy.networks[id.0 as usize].holds(*address)
        }
        (Peer::Network(_), _) => false,
        (_, Term::Seen(Party::Device(id))) => policy.means(peer, *id),
        _ => false,
    }
}

fn remove(atoms: &mut Atoms, place: (Holder, Key), term: Term, what: &What) {
    if let Some(by_term) = atoms.get_mut(&place) {
        if let Some(by_what) = by_term.get_mut(&term) {
            by_what.remove(what);
            if by_what.is_empty() {
                by_term.remove(&term);
            }
        }
        if by_term.is_empty() {
            atoms.remove(&place);
        }
    }
}

/// Ports that a responder took at random become the range they are from.
pub(super) fn widen_ports(atoms: &mut Atoms, widener: &mut Widener<'_>) {
    for ((holder, key), by_term) in atoms.iter_mut() {
        for (term, by_what) in by_term.iter_mut() {
            for protocol in [protocol::TCP, protocol::UDP, protocol::SCTP] {
                let is_ephemeral = |what: &&What| matches!(what, What::Seen(s) if s.protocol == protocol && s.number >= EPHEMERAL_PORTS);
                let ports: BTreeSet<What> = by_what.keys().filter(is_ephemeral).cloned().collect();
                let (Some(What::Seen(low)), Some(What::Seen(high)), PORTS..) =
                    (ports.first(), ports.last(), ports.len())
                else {
                    continue;
                };
                let range = Selector { protocol, low: low.number, high: high.number };
                let talks: Vec<Talk> =
                    ports.iter().filter_map(|port| by_what.get(port)).flatten().copied().collect();
                let mut entry = Entry {
                    holder: *holder,
                    key: *key,
                    terms: BTreeSet::from([*term]),
                    whats: BTreeSet::from([What::Range(range)]),
                    talks: talks.clone(),
                    admits: 0,
                    price: 0,
                    widened: Vec::new(),
                    doubts: Vec::new(),
                };
                let text = format!("{} for {} ports seen of it", crate::model::spelled(range), ports.len());
                if widener.may(0, &mut entry, &text) {
                    by_what.retain(|what, _| !ports.contains(what));
                    by_what.insert(What::Range(range), talks);
                }
            }
        }
    }
}
