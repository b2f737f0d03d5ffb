//! Rules that open one zone to another where no conduit does. In: a policy. Out: a warning for each pair of zones between
//! which rules of devices or classes allow something and no conduit goes the same way. A policy without conduits does not
//! work with them.
//!
//! A permission from one named device to another is as narrow as it can be: a conduit in its place would open more. So only
//! those are doubtful that name a class, a group or a zone at one end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Findings, grouped};
use crate::{
    diagnostic::{Diagnostic, Location, quote},
    model::{Holder, Peer, Policy, Rule, ZoneId},
};

/// Zones that are joined beside the conduits.
const CROSSING: &str = "BH0513";

/// Places that are shown of the rules of one pair.
const MOST_PLACES: usize = 3;
/// Pairs of zones looked at in one run: bounds the time a hostile policy can take.
const MOST_STEPS: usize = 10_000_000;

/// The rules between two zones.
#[derive(Default)]
struct Crossing<'p> {
    rules: usize,
    places: Vec<&'p Location>,
}

pub(super) fn check(policy: &Policy, out: &mut Findings) {
    let (conduits, rules): (Vec<&Rule>, Vec<&Rule>) =
        policy.rules.iter().partition(|rule| rule.holder == Holder::Conduit);
    if conduits.is_empty() {
        return;
    }
    let zones = Zones::of(policy);
    let mut steps = 0;
    let mut pairs = |rule: &Rule| -> BTreeSet<(ZoneId, ZoneId)> {
        let (from, to) = (zones.of_peers(&rule.initiators), zones.of_peers(&rule.responders));
        steps += (from.one_by_one.len() + from.at_once.len()) * (to.one_by_one.len() + to.at_once.len());
        if steps > MOST_STEPS {
            return BTreeSet::new();
        }
        let all_to: BTreeSet<ZoneId> = to.one_by_one.union(&to.at_once).copied().collect();
        let between = |from: &BTreeSet<ZoneId>, to: &BTreeSet<ZoneId>| -> Vec<(ZoneId, ZoneId)> {
            from.iter().flat_map(|from| to.iter().map(|to| (*from, *to))).filter(|(a, b)| a != b).collect()
        };
        let mut pairs: BTreeSet<(ZoneId, ZoneId)> = between(&from.at_once, &all_to).into_iter().collect();
        pairs.extend(between(&from.one_by_one, &to.at_once));
        pairs
    };
    let joined: BTreeSet<(ZoneId, ZoneId)> = conduits.into_iter().flat_map(&mut pairs).collect();
    let mut found: BTreeMap<(ZoneId, ZoneId), Crossing<'_>> = BTreeMap::new();
    for rule in rules {
        for pair in pairs(rule).into_iter().filter(|pair| !joined.contains(pair)) {
            let crossing = found.entry(pair).or_default();
            crossing.rules += 1;
            crossing.places.push(&rule.location);
            // The first of the list of files, not of the list of holders.
            crossing.places.sort_by_key(|place| (&place.path, place.span.start));
            crossing.places.truncate(MOST_PLACES);
        }
    }
    for ((from, to), Crossing { rules, places }) in found {
        let [from, to] = [from, to].map(|id| policy.zones[id.0 as usize].name.as_str());
        let who = if rules == 1 {
            "a rule lets".to_owned()
        } else {
            format!("{} rules let", grouped(rules as u64))
        };
        let message = format!(
            "{who} zone {} reach zone {}, and no conduit joins them that way",
            quote(from),
            quote(to)
        );
        let help = format!(
            "name the devices of both ends, one by one; or add a `[[conduit]]` from `zone:{from}` to `zone:{to}` with what is \
             meant to pass, and remove the rules that it holds"
        );
        let mut places = places.into_iter().cloned();
        let Some(first) = places.next() else { continue };
        let found = Diagnostic::warning(CROSSING, message).at(first, "crosses").help(help);
        out.push(places.fold(found, |found, place| found.also(place, "crosses too")));
    }
}

/// Zones behind the names of one end.
#[derive(Default)]
struct Behind {
    /// Of devices that are named themselves.
    one_by_one: BTreeSet<ZoneId>,
    /// Of classes, groups and zones.
    at_once: BTreeSet<ZoneId>,
}

/// The zones in which the devices of each name are.
struct Zones<'p> {
    policy: &'p Policy,
    of_names: HashMap<Peer, BTreeSet<ZoneId>>,
}

impl<'p> Zones<'p> {
    fn of(policy: &'p Policy) -> Self {
        let mut of_names: HashMap<Peer, BTreeSet<ZoneId>> = HashMap::new();
        for device in &policy.devices {
            let Some(zone) = device.zone else { continue };
            for name in device.roles() {
                of_names.entry(name).or_default().insert(zone);
            }
        }
        Self { policy, of_names }
    }

    fn of_peers(&self, peers: &[Peer]) -> Behind {
        let mut all = Behind::default();
        for peer in peers {
            match peer {
                Peer::Device(id) => all.one_by_one.extend(self.policy.devices[id.0 as usize].zone),
                Peer::Zone(id) => drop(all.at_once.insert(*id)),
                Peer::Class(_) | Peer::Group(_) => {
                    all.at_once.extend(self.of_names.get(peer).into_iter().flatten().copied());
                }
                // Who is in a network by chance is not who the rule is about.
                Peer::Network(_) | Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast | Peer::Any => {}
            }
        }
        all
    }
}
