//! Groups of groups -> devices and networks. In: the members as they were written. Out: what each group holds in the
//! end; groups that hold themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::{names::Names, peers};
use crate::{
    diagnostic::{At, Collector, Diagnostic, quote},
    model::{DeviceId, Group, GroupId, NetworkId},
    policy::{
        limits::MAX_RULE_PARTS,
        raw::{RawGroup, RawPeer},
        reader::Leaf,
    },
};

/// A group and what is not a device in it; its devices are in [`super::members::Members`].
pub(super) struct NamedGroup<'r> {
    pub(super) raw: &'r RawGroup,
    /// `None` when it holds no device.
    pub(super) id: Option<GroupId>,
    pub(super) networks: Vec<NetworkId>,
    /// Whether nothing was wrong with its members: what it holds is all it should.
    pub(super) is_whole: bool,
}

/// The groups by name, and the devices of each that has a number.
pub(super) type Flattened<'r> = (BTreeMap<&'r str, NamedGroup<'r>>, Vec<Vec<DeviceId>>);

/// What a group holds, as far as it is known.
#[derive(Default)]
struct Held {
    devices: BTreeSet<DeviceId>,
    networks: BTreeSet<NetworkId>,
    is_broken: bool,
}

/// An edge of the walk: the group that is held, and where that is written.
type Edge<'r> = (usize, &'r Leaf<RawPeer>);

pub(super) fn flatten<'r>(
    names: &Names<'r>,
    raw: &BTreeMap<&'r str, &'r RawGroup>,
    out: &mut Collector<'_>,
) -> Flattened<'r> {
    let places: BTreeMap<&str, usize> = raw.keys().enumerate().map(|(at, name)| (*name, at)).collect();
    let mut walk =
        Walk { names: raw.keys().copied().collect(), held: Vec::new(), edges: Vec::new(), total: 0 };
    for group in raw.values() {
        let (held, edges) = direct(names, &places, group, out);
        walk.total += held.devices.len() + held.networks.len();
        walk.held.push(held);
        walk.edges.push(edges);
        if walk.total > MAX_RULE_PARTS {
            too_many(group.name.at, out);
            // Nobody reads on: what is left has nothing in it, and that is not its fault.
            let unread = || Held { is_broken: true, ..Held::default() };
            walk.held.resize_with(raw.len(), unread);
            walk.edges = vec![Vec::new(); raw.len()];
            break;
        }
    }
    walk.run(out);
    let mut devices = Vec::new();
    let mut groups = BTreeMap::new();
    for ((name, raw), held) in raw.iter().zip(walk.held) {
        let id =
            (!held.devices.is_empty()).then(|| GroupId(u32::try_from(devices.len()).unwrap_or(u32::MAX)));
        if id.is_some() {
            devices.push(held.devices.into_iter().collect());
        }
        let networks = held.networks.into_iter().collect();
        groups.insert(*name, NamedGroup { raw, id, networks, is_whole: !held.is_broken });
    }
    (groups, devices)
}

/// A group that holds nothing is a name without a thing.
pub(super) fn check(names: &Names<'_>, out: &mut Collector<'_>) {
    for (name, group) in &names.groups {
        if group.id.is_none() && group.networks.is_empty() && group.is_whole {
            let location = out.locate(group.raw.name.at);
            let found = Diagnostic::warning("BH0503", format!("group `{name}` holds nothing"));
            out.push(found.at(location, "").help("give it `members`, or remove the group"));
        }
    }
}

/// The groups that hold a device.
pub(super) fn of(names: &Names<'_>, out: &Collector<'_>) -> Vec<Group> {
    let with_devices = names.groups.values().filter(|group| group.id.is_some()).map(|group| group.raw);
    let group = |raw: &RawGroup| Group {
        name: raw.name.value.clone(),
        comment: raw.comment.clone(),
        location: out.locate(raw.name.at),
    };
    with_devices.map(group).collect()
}

/// What a group holds by itself, and the groups it holds.
fn direct<'r>(
    names: &Names<'r>,
    places: &BTreeMap<&str, usize>,
    group: &'r RawGroup,
    out: &mut Collector<'_>,
) -> (Held, Vec<Edge<'r>>) {
    let (mut held, mut edges) = (Held::default(), Vec::new());
    let mut seen = BTreeSet::new();
    for member in group.members.iter().filter(|member| seen.insert(&member.value)) {
        if let RawPeer::Group(name) = &member.value {
            match places.get(name.as_str()) {
                Some(place) => edges.push((*place, member)),
                None => {
                    held.is_broken = true;
                    peers::unknown_group(member, name, places.keys().copied(), out);
                }
            }
            continue;
        }
        let peers = peers::expand(names, member, out);
        held.is_broken |= peers.is_empty();
        for peer in peers {
            held.devices.extend(names.members.of(peer));
            held.networks.extend(peer.network());
        }
    }
    (held, edges)
}

fn too_many(at: At, out: &mut Collector<'_>) {
    let location = out.locate(at);
    let message = format!("the groups have more than {MAX_RULE_PARTS} members together");
    let found = Diagnostic::error("BH0416", message).at(location, "from here on no group is read");
    out.push(found.help("name zones, classes and inner groups in the rules, rather than groups of them"));
}

/// A walk in depth over all groups. Its stack is its own, for a file may nest groups deeper than a thread's stack goes.
struct Walk<'r> {
    names: Vec<&'r str>,
    held: Vec<Held>,
    edges: Vec<Vec<Edge<'r>>>,
    /// Members over all groups so far.
    total: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

impl<'r> Walk<'r> {
    fn run(&mut self, out: &mut Collector<'_>) {
        let mut states = vec![State::New; self.held.len()];
        for start in 0..self.held.len() {
            if states[start] != State::New {
                continue;
            }
            states[start] = State::Open;
            let mut path: Vec<(usize, usize)> = vec![(start, 0)];
            while let Some((group, next)) = path.last_mut() {
                let group = *group;
                let Some((child, leaf)) = self.edges[group].get(*next).copied() else {
                    states[group] = State::Done;
                    path.pop();
                    continue;
                };
                match states[child] {
                    State::New => {
                        states[child] = State::Open;
                        path.push((child, 0));
                    }
                    State::Open => {
                        *next += 1;
                        let open: Vec<(usize, usize)> = path.clone();
                        self.cycle(&open, child, leaf, out);
                    }
                    State::Done => {
                        *next += 1;
                        if !self.join(group, child, leaf, out) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Adds what `child` holds to `group`, within the bound.
    fn join(&mut self, group: usize, child: usize, leaf: &Leaf<RawPeer>, out: &mut Collector<'_>) -> bool {
        let inner = std::mem::take(&mut self.held[child]);
        let held = &mut self.held[group];
        let before = held.devices.len() + held.networks.len();
        held.devices.extend(&inner.devices);
        held.networks.extend(&inner.networks);
        held.is_broken |= inner.is_broken;
        self.total += held.devices.len() + held.networks.len() - before;
        self.held[child] = inner;
        if self.total <= MAX_RULE_PARTS {
            return true;
        }
        too_many(leaf.at, out);
        self.held.iter_mut().for_each(|held| held.is_broken = true);
        false
    }

    /// Reports the way from a group back to it. Each edge is walked once, so each way is reported once.
    fn cycle(
        &mut self,
        path: &[(usize, usize)],
        first: usize,
        leaf: &Leaf<RawPeer>,
        out: &mut Collector<'_>,
    ) {
        let start = path.iter().position(|(group, _)| *group == first).unwrap_or_default();
        let round = &path[start..];
        let mut way: Vec<String> = round.iter().map(|(group, _)| quote(self.names[*group])).collect();
        way.push(quote(self.names[first]));
        let message = format!("group {} holds itself: {}", quote(self.names[first]), way.join(" -> "));
        let mut found = Diagnostic::error("BH0327", message).at(out.locate(leaf.at), "and back again");
        for (group, next) in &round[..round.len() - 1] {
            if let Some((child, leaf)) = self.edges[*group].get(*next) {
                let text = format!("holds {}", quote(self.names[*child]));
                found = found.also(out.locate(leaf.at), text);
            }
        }
        out.push(found.help("take one of these members out"));
        for (group, _) in round {
            self.held[*group].is_broken = true;
        }
    }
}
