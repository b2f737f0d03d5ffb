//! Talks become entries. In: fates, and for whom. Out: entries that admit what was seen and nothing else, before any is made wider.
//!
//! A talk stands with the device that answers, if it is one for whom rules are asked, else with the one that begins. Partners with whom a device
//! talks over the same services share an entry, so that each combination of an entry was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Bounds, Entry, Holder, Key, Material, Proposal, Scope, Term, What,
    widen::{Widener, widen_ports},
};
use crate::{
    learn::{Doubt, Fate, Left, Party, Talk},
    model::{DeviceId, Policy, spelled},
};

/// Talks by holder, way, other end and service.
pub(super) type Atoms = BTreeMap<(Holder, Key), BTreeMap<Term, BTreeMap<What, Vec<Talk>>>>;

/// Makes rules of what was learned; with bounds, wider ones.
pub fn gather(
    material: &Material<'_>,
    scope: Scope,
    own: &BTreeSet<IpAddr>,
    bounds: Option<&Bounds>,
) -> Proposal {
    let policy = material.who.policy();
    let mut learned = Atoms::new();
    let mut undecided: BTreeMap<Vec<Doubt>, Atoms> = BTreeMap::new();
    for (talk, fate) in material.fates {
        let Some((holder, key, other)) = place(policy, scope, talk) else { continue };
        let atoms = match fate {
            Fate::Learned => &mut learned,
            Fate::Decide(doubts) => undecided.entry(doubts.clone()).or_default(),
            Fate::Covered | Fate::Left(_) => continue,
        };
        let by_term = atoms.entry((Holder::Device(holder), key)).or_default();
        let by_what = by_term.entry(Term::Seen(other)).or_default();
        by_what.entry(What::Seen(talk.service.unit())).or_default().push(*talk);
    }
    let mut widener = Widener::new(material, own, bounds);
    if bounds.is_some() {
        widen_ports(&mut learned, &mut widener);
    }
    if let Scope::Class(class) = scope {
        widener.join_class(class, &mut learned);
    }
    let mut entries = entries(policy, own, learned, &[]);
    if let Some(bounds) = bounds {
        let parts = entries.into_iter().flat_map(|entry| within(policy, own, entry, bounds));
        entries = widener.widen(parts.collect());
    }
    let decisions =
        undecided.into_iter().flat_map(|(doubts, atoms)| self::entries(policy, own, atoms, &doubts));
    let mut decisions: Vec<Entry> = decisions.collect();
    let order = |entry: &Entry| (entry.holder, entry.key, entry.terms.clone(), entry.whats.clone());
    entries.sort_by_cached_key(order);
    decisions.sort_by_cached_key(order);
    Proposal { entries, decisions, dropped: Vec::new(), refused: widener.refused() }
}

/// With whom a talk is written down, which way it runs, and who the other end is.
pub(super) fn place(policy: &Policy, scope: Scope, talk: &Talk) -> Option<(DeviceId, Key, Party)> {
    let is_meant = |id: DeviceId| match scope {
        Scope::All => true,
        Scope::Device(device) => device == id,
        Scope::Class(class) => policy.devices[id.0 as usize].class == Some(class),
    };
    match (talk.from, talk.to) {
        (from, Party::Device(to)) if is_meant(to) => Some((to, Key::From, from)),
        (Party::Device(from), to) if is_meant(from) => Some((from, Key::To, to)),
        _ => None,
    }
}

/// What cannot be proposed, as one end is nobody that the policy can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameless {
    /// Talks.
    pub talks: u64,
    /// Their conversations.
    pub flows: u64,
    /// The talk with most of them.
    pub biggest: Talk,
    /// The addresses of that other end: at most 16.
    pub ends: Vec<String>,
}

/// Looks for it; `None` when everybody is known.
pub fn nameless(material: &Material<'_>, scope: Scope) -> Option<Nameless> {
    let policy = material.who.policy();
    let mut all: Option<(u64, Nameless)> = None;
    for (talk, fate) in material.fates {
        let is_meant = *fate == Fate::Left(Left::Unknown) && place(policy, scope, talk).is_some();
        let (true, Some(habit)) = (is_meant, material.habit(talk)) else { continue };
        let new = || (0, Nameless { talks: 0, flows: 0, biggest: *talk, ends: Vec::new() });
        let (most, found) = all.get_or_insert_with(new);
        found.talks += 1;
        found.flows = found.flows.saturating_add(habit.flows);
        if found.talks == 1 || habit.flows > *most {
            (*most, found.biggest) = (habit.flows, *talk);
            found.ends = habit.ends.iter().map(ToString::to_string).collect();
        }
    }
    all.map(|(_, found)| found)
}

/// An entry, or its parts where together they cost more than one may.
fn within(policy: &Policy, own: &BTreeSet<IpAddr>, entry: Entry, bounds: &Bounds) -> Vec<Entry> {
    if entry.price <= bounds.rule {
        return vec![entry];
    }
    let other = |talk: &Talk| if entry.key == Key::From { talk.from } else { talk.to };
    let parts = entry.terms.iter().flat_map(|term| entry.whats.iter().map(move |what| (term, what)));
    let parts = parts.map(|(term, what)| {
        let is_its = |talk: &&Talk| *term == Term::Seen(other(talk)) && what.holds(talk.service.unit());
        let talks: Vec<Talk> = entry.talks.iter().filter(is_its).copied().collect();
        let (terms, whats) = (BTreeSet::from([*term]), BTreeSet::from([what.clone()]));
        let widened = already_wider(policy, entry.holder, entry.key, &whats, &talks);
        let mut part = Entry { terms, whats, talks, widened, ..entry.clone() };
        part.reckon(policy, own);
        part
    });
    parts.collect()
}

fn entries(policy: &Policy, own: &BTreeSet<IpAddr>, atoms: Atoms, doubts: &[Doubt]) -> Vec<Entry> {
    let mut all = Vec::new();
    for ((holder, key), by_term) in atoms {
        let mut alike: BTreeMap<BTreeSet<What>, (BTreeSet<Term>, Vec<Talk>)> = BTreeMap::new();
        for (term, by_what) in by_term {
            let whats = by_what.keys().cloned().collect();
            let (terms, talks) = alike.entry(whats).or_default();
            terms.insert(term);
            talks.extend(by_what.into_values().flatten());
        }
        for (whats, (terms, mut talks)) in alike {
            talks.sort_unstable();
            let (admits, price, doubts) = (0, 0, doubts.to_vec());
            let widened = already_wider(policy, holder, key, &whats, &talks);
            let mut entry = Entry { holder, key, terms, whats, talks, admits, price, widened, doubts };
            entry.reckon(policy, own);
            all.push(entry);
        }
    }
    all
}

/// What was made wider before entries were, in words.
fn already_wider(
    policy: &Policy,
    holder: Holder,
    key: Key,
    whats: &BTreeSet<What>,
    talks: &[Talk],
) -> Vec<String> {
    let mut words = Vec::new();
    for what in whats {
        if let What::Range(range) = what {
            let ports: BTreeSet<u16> = talks
                .iter()
                .map(|talk| talk.service)
                .filter(|service| what.holds(*service))
                .map(|s| s.number)
                .collect();
            words.push(format!("`{}` for {} ports seen of it", spelled(*range), ports.len()));
        }
    }
    if let Holder::Class(class) = holder {
        let own = |talk: &Talk| if key == Key::From { talk.to } else { talk.from };
        let seen: BTreeSet<Party> = talks.iter().map(own).collect();
        let (name, all) = (&policy.classes[class.0 as usize].name, holder.devices(policy).len());
        if seen.len() < all {
            words.push(format!("`class:{name}` for {} of its {all} devices", seen.len()));
        }
    }
    words
}
