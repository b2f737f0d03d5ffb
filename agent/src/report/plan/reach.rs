//! Who reaches whom under one policy and not under the other, directly and by way of others: a host that is taken over
//! goes on to wherever it may start a conversation. Modes are left out of account: in monitor mode everything passes.
//!
//! In: two policies and how many steps to follow. Out: what is gained and what is lost, the most critical ends first,
//! bounded.

use std::{cmp::Reverse, collections::BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Listed, said::ranges};
use crate::model::{Criticality, Policy};

mod direct;
mod graph;
mod search;
mod space;

use direct::Direct;
use graph::Graph;
use search::{Bits, NONE, Steps, WIDE, count, ones, or, without};
use space::{Nodes, Space};

/// Names told of each end.
const NAMES: usize = 8;
/// What all searches together may touch, two seconds' worth: more is not searched.
const MOST_WORK: usize = 500_000_000;

/// Some that reach others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Who starts.
    pub from: Listed<String>,
    /// Who is reached.
    pub to: Listed<String>,
    /// How much harm a stop of the most critical of `to` does; none when no device is among them.
    pub criticality: Option<String>,
    /// In how many steps; 1 is directly.
    pub hops: u32,
    /// By way of whom, one way of several; empty when it is direct.
    pub by: Vec<String>,
    /// Over what, when it is direct.
    pub services: Option<String>,
    /// `file:line` of a rule that permits it, when it is direct.
    pub place: Option<String>,
}

/// What a change does to who reaches whom.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reachability {
    /// How many steps were followed.
    pub hops: u32,
    /// Pairs that the new policy lets reach each other, and the old one did not.
    pub gained: Listed<Reach>,
    /// The other way round.
    pub lost: Listed<Reach>,
    /// Whether everything was looked at; otherwise there may be more than is told and counted.
    pub complete: bool,
}

/// A way of several steps that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    criticality: Reverse<Option<Criticality>>,
    hops: u32,
    to: u32,
    from: u32,
}

/// Compares two policies; at most `most` entries of each kind are told.
pub(super) fn compare(old: &Policy, new: &Policy, hops: u32, now: Timestamp, most: usize) -> Reachability {
    let policies = [old, new];
    let space = Space::of(policies);
    let graph = Graph::of(policies, &space, now);
    let mut out = Reachability { hops, complete: true, ..Reachability::default() };
    let differs = [0, 1].map(|side| graph.only(side).next().is_some());
    let told = [0, 1].map(|side| {
        let (direct, complete) =
            if differs[side] { direct::only(&graph, &space, side) } else { (Vec::new(), true) };
        out.complete &= complete;
        direct
    });
    let (ways, complete) = if differs == [false; 2] {
        ([(Vec::new(), 0), (Vec::new(), 0)], true)
    } else {
        ways(&graph, &space, hops, most)
    };
    out.complete &= complete;
    let [lost, gained] = [0, 1].map(|side| {
        let (found, total) = &ways[side];
        told_of(&told[side], found, *total, (&graph, &space, policies[side], side), (hops, most))
    });
    Reachability { gained, lost, ..out }
}

/// What only one side reaches in several steps, the most critical first, and how many there are.
fn ways(graph: &Graph, space: &Space, hops: u32, most: usize) -> ([(Vec<Found>, usize); 2], bool) {
    let pairs = [graph.pairs(0), graph.pairs(1)];
    let steps = |side: usize| Steps { nodes: space.nodes.len(), sets: &graph.sets, pairs: &pairs[side] };
    let starts = concerned(graph, space, &pairs, hops);
    let each = (steps(0).length() + steps(1).length()).saturating_mul(hops as usize).max(1);
    let batches = (MOST_WORK / each).max(1);
    let complete = starts.len().div_ceil(WIDE) <= batches;
    let mut found: [(BTreeSet<Found>, usize); 2] = [(BTreeSet::new(), 0), (BTreeSet::new(), 0)];
    for batch in starts.chunks(WIDE).take(batches) {
        let levels = [0, 1].map(|side| steps(side).levels(batch.iter().copied().zip(0..), hops));
        let reached = |side: usize, node: usize| {
            let mut all = NONE;
            levels[side].iter().for_each(|level: &Vec<Bits>| or(&mut all, &level[node]));
            all
        };
        for (node, there) in space.nodes.iter().enumerate().filter(|(_, node)| node.starts()) {
            let by_side = [reached(0, node), reached(1, node)];
            for (side, (found, total)) in found.iter_mut().enumerate() {
                let mut left = without(&by_side[side], &by_side[1 - side]);
                // Directly: told with its services.
                left = without(&left, &levels[side][0][node]);
                if left == NONE || side == 0 && !there.after {
                    continue;
                }
                let to = u32::try_from(node).unwrap_or(u32::MAX);
                for bit in ones(left) {
                    let from = batch[bit];
                    if from == to || side == 0 && !space.nodes[from as usize].after {
                        left[bit / 64] &= !(1 << (bit % 64));
                    }
                }
                *total += count(&left);
                for (hops, level) in (1..).zip(&levels[side]) {
                    let one = |bit: usize| Found {
                        criticality: Reverse(there.criticality),
                        hops,
                        to,
                        from: batch[bit],
                    };
                    let mut here = level[node];
                    here.iter_mut().zip(&left).for_each(|(here, left)| *here &= left);
                    for bit in ones(here) {
                        let one = one(bit);
                        if found.len() >= most && found.last().is_some_and(|last| *last < one) {
                            break;
                        }
                        found.insert(one);
                        if found.len() > most {
                            found.pop_last();
                        }
                    }
                }
            }
        }
    }
    (found.map(|(found, total)| (found.into_iter().collect(), total)), complete)
}

/// The starts for which anything can change: those that come to an edge which only one side has.
fn concerned(graph: &Graph, space: &Space, pairs: &[Vec<(u32, u32)>; 2], hops: u32) -> Nodes {
    let backward: BTreeSet<(u32, u32)> = pairs.iter().flatten().map(|(from, to)| (*to, *from)).collect();
    let backward: Vec<(u32, u32)> = backward.into_iter().collect();
    let steps = Steps { nodes: space.nodes.len(), sets: &graph.sets, pairs: &backward };
    let changed = [0, 1].into_iter().flat_map(|side| graph.only(side)).map(|(edge, _)| edge.from);
    let changed: BTreeSet<u32> = changed.collect();
    let seeds: BTreeSet<u32> =
        changed.into_iter().flat_map(|set| graph.sets[set as usize].iter().copied()).collect();
    let levels = steps.levels(seeds.iter().map(|node| (*node, 0)), hops.saturating_sub(1));
    let nodes = (0..).zip(&space.nodes).filter(|(_, node)| node.starts()).map(|(id, _)| id);
    let comes = |id: &u32| seeds.contains(id) || levels.iter().any(|level| level[*id as usize] != NONE);
    nodes.filter(comes).collect()
}

fn told_of(
    direct: &[Direct],
    found: &[Found],
    total: usize,
    (graph, space, policy, side): (&Graph, &Space, &Policy, usize),
    (hops, most): (u32, usize),
) -> Listed<Reach> {
    let labels = |nodes: &[u32]| {
        let all = nodes.iter().map(|id| space.nodes[*id as usize].label());
        Listed { more: nodes.len().saturating_sub(NAMES), list: all.take(NAMES).collect() }
    };
    let worst = |nodes: &[u32]| nodes.iter().filter_map(|id| space.nodes[*id as usize].criticality).max();
    let word = |criticality: Option<Criticality>| criticality.map(|c| c.name().to_owned());
    let mut direct: Vec<(Reverse<Option<Criticality>>, &Direct)> =
        direct.iter().map(|one| (Reverse(worst(&one.to)), one)).collect();
    direct.sort();
    let pairs = graph.pairs(side);
    let steps = Steps { nodes: space.nodes.len(), sets: &graph.sets, pairs: &pairs };
    let mut entries: Vec<(Reverse<Option<Criticality>>, Reach)> = Vec::new();
    for (criticality, one) in direct.iter().take(most) {
        let Direct { to, over, rule, from } = one;
        let location = &policy.rules[*rule].location;
        let reach = Reach {
            // The most critical names first, as far as there is room.
            from: labels(from),
            to: labels(&by_criticality(to, space)),
            criticality: word(criticality.0),
            hops: 1,
            by: Vec::new(),
            services: Some(ranges(over)),
            place: Some(format!("{}:{}", location.path, location.line)),
        };
        entries.push((*criticality, reach));
    }
    // Ways that differ in their start alone are told together.
    let mut ways: Vec<(Found, Vec<u32>, Nodes)> = Vec::new();
    for one in found {
        let by = steps.way(one.from, one.to, hops).unwrap_or_default();
        let alike = ways
            .iter_mut()
            .find(|(other, way, _)| (other.to, other.hops, &**way) == (one.to, one.hops, &*by));
        match alike {
            Some((_, _, starts)) => starts.push(one.from),
            None => ways.push((*one, by, vec![one.from])),
        }
    }
    for (one, by, starts) in ways {
        let reach = Reach {
            from: labels(&starts),
            to: labels(&[one.to]),
            criticality: word(one.criticality.0),
            hops: one.hops,
            by: by.iter().map(|id| space.nodes[*id as usize].label()).collect(),
            services: None,
            place: None,
        };
        entries.push((one.criticality, reach));
    }
    entries.sort_by(|(a, one), (b, other)| (a, one.hops).cmp(&(b, other.hops)));
    let unsaid = direct.len().saturating_sub(most) + total.saturating_sub(found.len());
    let mut listed = Listed::of(entries.into_iter().map(|(_, reach)| reach).collect(), most);
    listed.more += unsaid;
    listed
}

fn by_criticality(nodes: &[u32], space: &Space) -> Nodes {
    let mut nodes = nodes.to_vec();
    nodes.sort_by_key(|id| (Reverse(space.nodes[*id as usize].criticality), *id));
    nodes
}

#[cfg(test)]
mod tests;
