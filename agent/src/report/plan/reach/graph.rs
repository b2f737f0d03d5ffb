//! Rules as edges between sets of nodes. In: the nodes of two policies and their rules. Out: which edges both have, and
//! which only one of them: what only one has is all that can change who reaches whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::space::{Node, Nodes, Space};
use crate::model::{Layer, Peer, Policy, Rule, Selector, ServiceId};

/// A permission between two sets of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Edge {
    /// Number of a set.
    pub(super) from: u32,
    /// Number of a set.
    pub(super) to: u32,
    /// Number of a list of selectors.
    pub(super) over: u32,
}

/// The edges of two policies.
pub(super) struct Graph {
    pub(super) sets: Vec<Nodes>,
    pub(super) selectors: Vec<Vec<Selector>>,
    /// Of the old and of the new policy, each with the place of its first rule in the policy.
    pub(super) edges: [BTreeMap<Edge, usize>; 2],
}

/// Things that are numbered as they come.
struct Interned<T> {
    numbers: HashMap<T, u32>,
    list: Vec<T>,
}

impl<T: Clone + Eq + std::hash::Hash> Interned<T> {
    fn new() -> Self {
        Self { numbers: HashMap::new(), list: Vec::new() }
    }

    fn number(&mut self, one: T) -> u32 {
        if let Some(number) = self.numbers.get(&one) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).expect("there are fewer sets than ends of rules");
        self.list.push(one.clone());
        self.numbers.insert(one, number);
        number
    }
}

/// The sets behind one list of peers, by what their nodes can do.
#[derive(Clone, Copy)]
struct Ends {
    /// All that can be asked.
    answer: u32,
    /// Those that can ask.
    ask: u32,
    /// Those that frames can go to.
    framed: u32,
    /// Those that frames can come from.
    framing: u32,
}

struct Builder<'s> {
    space: &'s Space,
    sets: Interned<Nodes>,
    selectors: Interned<Vec<Selector>>,
}

impl Graph {
    /// Rules that have expired at `now` permit nothing.
    pub(super) fn of(policies: [&Policy; 2], space: &Space, now: Timestamp) -> Self {
        let mut builder = Builder { space, sets: Interned::new(), selectors: Interned::new() };
        let mut edges = [BTreeMap::new(), BTreeMap::new()];
        for (side, policy) in policies.into_iter().enumerate() {
            let mut ends: HashMap<&[Peer], Ends> = HashMap::new();
            let mut services: HashMap<&[ServiceId], [u32; 2]> = HashMap::new();
            for (index, rule) in policy.rules.iter().enumerate() {
                let Rule { initiators, responders, services: over, schedule, .. } = rule;
                if schedule.as_ref().is_some_and(|schedule| schedule.has_expired(now)) {
                    continue;
                }
                let mut sets = |peers| *ends.entry(peers).or_insert_with(|| builder.ends(side, peers));
                let (from, to) = (sets(initiators.as_slice()), sets(responders.as_slice()));
                let [network, link] =
                    *services.entry(over.as_slice()).or_insert_with(|| builder.layers(policy, over));
                // Frames have no flows: a rule between two hosts lets both speak.
                for edge in [
                    Edge { from: from.ask, to: to.answer, over: network },
                    Edge { from: from.framing, to: to.framed, over: link },
                    Edge { from: to.framing, to: from.framed, over: link },
                ] {
                    let is_empty = builder.sets.list[edge.from as usize].is_empty()
                        || builder.sets.list[edge.to as usize].is_empty()
                        || builder.selectors.list[edge.over as usize].is_empty();
                    if !is_empty {
                        edges[side].entry(edge).or_insert(index);
                    }
                }
            }
        }
        Self { sets: builder.sets.list, selectors: builder.selectors.list, edges }
    }

    /// Edges that only one side has.
    pub(super) fn only(&self, side: usize) -> impl Iterator<Item = (Edge, usize)> {
        let other = &self.edges[1 - side];
        self.edges[side]
            .iter()
            .filter(|(edge, _)| !other.contains_key(edge))
            .map(|(edge, rule)| (*edge, *rule))
    }

    /// The pairs of sets between which one side has an edge.
    pub(super) fn pairs(&self, side: usize) -> Vec<(u32, u32)> {
        let pairs: BTreeSet<(u32, u32)> = self.edges[side].keys().map(|edge| (edge.from, edge.to)).collect();
        pairs.into_iter().collect()
    }
}

impl Builder<'_> {
    fn ends(&mut self, side: usize, peers: &[Peer]) -> Ends {
        let meant = peers.iter().filter_map(|peer| self.space.meant[side].get(peer)).flatten();
        let all: Nodes = meant.copied().collect::<BTreeSet<u32>>().into_iter().collect();
        let nodes = &self.space.nodes;
        let mut with = |holds: fn(&Node) -> bool| {
            self.sets.number(all.iter().copied().filter(|id| holds(&nodes[*id as usize])).collect())
        };
        Ends {
            answer: with(|_| true),
            ask: with(Node::starts),
            framed: with(Node::has_frames),
            framing: with(|node| node.has_frames() && node.starts()),
        }
    }

    /// What services are above and below IP.
    fn layers(&mut self, policy: &Policy, services: &[ServiceId]) -> [u32; 2] {
        let all: BTreeSet<Selector> =
            services.iter().flat_map(|id| policy.services[id.0 as usize].selectors.iter().copied()).collect();
        [Layer::Network, Layer::Link]
            .map(|layer| self.selectors.number(all.iter().copied().filter(|s| s.layer() == layer).collect()))
    }
}
