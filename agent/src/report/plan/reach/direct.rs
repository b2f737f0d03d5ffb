//! Who may newly start a conversation with whom, and over what. In: the edges of two policies. Out: pairs of nodes with
//! the services that only one policy permits, folded where many are alike.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    graph::{Edge, Graph},
    space::{Nodes, Space},
};
use crate::model::Selector;

/// Pairs of nodes that are looked at, most critical first: a change of everything is not told pair by pair.
pub(super) const MOST_PAIRS: usize = 200_000;
/// Edges of the other policy that are looked at for them.
const MOST_STEPS: usize = 20_000_000;

/// Everybody of `from` may start with everybody of `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Direct {
    pub(super) to: Nodes,
    pub(super) over: Vec<Selector>,
    /// Place of the rule in its policy.
    pub(super) rule: usize,
    pub(super) from: Nodes,
}

/// What one policy (`side`) permits and the other does not, and whether all was looked at.
pub(super) fn only(graph: &Graph, space: &Space, side: usize) -> (Vec<Direct>, bool) {
    let worst = |edge: &Edge| {
        let nodes = graph.sets[edge.to as usize].iter();
        nodes.filter_map(|id| space.nodes[*id as usize].criticality).max()
    };
    let mut mine: Vec<(Edge, usize)> = graph.only(side).collect();
    mine.sort_by_key(|(edge, rule)| (std::cmp::Reverse(worst(edge)), *rule, *edge));
    let mut theirs: BTreeMap<u32, Vec<Edge>> = BTreeMap::new();
    for edge in graph.edges[1 - side].keys() {
        theirs.entry(edge.to).or_default().push(*edge);
    }
    let known = |node: u32| {
        let node = &space.nodes[node as usize];
        node.before && node.after
    };
    // A device that goes loses all it had: that it goes is said elsewhere.
    let is_told = |node: u32| side == 1 || known(node);
    let mut pairs: BTreeMap<(u32, u32), (Vec<Selector>, usize)> = BTreeMap::new();
    let (mut looked, mut steps) = (0, 0);
    for (edge, rule) in mine {
        for to in graph.sets[edge.to as usize].iter().copied().filter(|node| is_told(*node)) {
            let there: Vec<&Edge> = theirs
                .iter()
                .filter(|(set, _)| graph.sets[**set as usize].binary_search(&to).is_ok())
                .flat_map(|(_, edges)| edges)
                .collect();
            steps += theirs.len();
            for from in graph.sets[edge.from as usize].iter().copied().filter(|node| is_told(*node)) {
                let is_itself = from == to && space.nodes[to as usize].devices < 2;
                if is_itself {
                    continue;
                }
                looked += 1;
                steps += there.len();
                if looked > MOST_PAIRS || steps > MOST_STEPS {
                    return (folded(pairs), false);
                }
                let mut left = graph.selectors[edge.over as usize].clone();
                for other in &there {
                    if graph.sets[other.from as usize].binary_search(&from).is_ok() {
                        left = subtract(&left, &graph.selectors[other.over as usize]);
                    }
                }
                if !left.is_empty() {
                    let (over, _) = pairs.entry((from, to)).or_insert((Vec::new(), rule));
                    *over = union(over, &left);
                }
            }
        }
    }
    (folded(pairs), true)
}

/// Pairs with the same services by the same rule as one: first those of one start, then the starts with the same ends.
fn folded(pairs: BTreeMap<(u32, u32), (Vec<Selector>, usize)>) -> Vec<Direct> {
    let mut by_start: BTreeMap<(u32, Vec<Selector>, usize), Nodes> = BTreeMap::new();
    for ((from, to), (over, rule)) in pairs {
        by_start.entry((from, over, rule)).or_default().push(to);
    }
    let mut by_ends: BTreeMap<(Nodes, Vec<Selector>, usize), Nodes> = BTreeMap::new();
    for ((from, over, rule), to) in by_start {
        by_ends.entry((to, over, rule)).or_default().push(from);
    }
    by_ends.into_iter().map(|((to, over, rule), from)| Direct { to, over, rule, from }).collect()
}

/// What of `these` is not in `those`.
fn subtract(these: &[Selector], those: &[Selector]) -> Vec<Selector> {
    let mut left = these.to_vec();
    for cut in those {
        let pieces = left.into_iter().flat_map(|s| {
            let meets = s.protocol == cut.protocol && s.low <= cut.high && cut.low <= s.high;
            let below = (meets && s.low < cut.low).then(|| Selector { high: cut.low - 1, ..s });
            let above = (meets && s.high > cut.high).then(|| Selector { low: cut.high + 1, ..s });
            [(!meets).then_some(s), below, above].into_iter().flatten()
        });
        left = pieces.collect();
    }
    left
}

/// Both together, sorted, ranges that touch folded.
fn union(these: &[Selector], those: &[Selector]) -> Vec<Selector> {
    let all: BTreeSet<Selector> = these.iter().chain(those).copied().collect();
    let mut folded: Vec<Selector> = Vec::new();
    for selector in all {
        match folded.last_mut() {
            Some(last)
                if last.protocol == selector.protocol
                    && u32::from(selector.low) <= u32::from(last.high) + 1 =>
            {
                last.high = last.high.max(selector.high);
            }
            Some(_) | None => folded.push(selector),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(low: u16, high: u16) -> Selector {
        Selector { protocol: 6, low, high }
    }

    #[test]
    fn ranges_are_cut_and_joined_at_their_edges() {
        assert_eq!(subtract(&[tcp(1, 9)], &[tcp(3, 4), tcp(9, 9)]), [tcp(1, 2), tcp(5, 8)]);
        assert_eq!(subtract(&[tcp(0, u16::MAX)], &[tcp(0, 0), tcp(u16::MAX, u16::MAX)]), [tcp(1, 65_534)]);
        assert_eq!(subtract(&[tcp(5, 5)], &[Selector { protocol: 17, low: 0, high: 9 }]), [tcp(5, 5)]);
        assert_eq!(union(&[tcp(1, 2)], &[tcp(3, 4), tcp(7, 7)]), [tcp(1, 4), tcp(7, 7)]);
        assert_eq!(union(&[tcp(2, u16::MAX)], &[tcp(1, 9)]), [tcp(1, u16::MAX)]);
    }
}
