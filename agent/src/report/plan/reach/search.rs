//! Who reaches whom in so many steps. In: sets of nodes, and pairs of sets between which one may start a conversation. Out:
//! for many starts at once the step at which each node is reached; for one start and one end, the way.
//!
//! Each node has a bit for each start, and a set the bits of all its nodes: a step costs as much as all sets are long,
//! for hundreds of starts together.

use std::collections::{BTreeMap, BTreeSet};

use super::space::Nodes;

/// Starts that are looked at together.
pub(super) const WIDE: usize = 256;

/// A bit for each start.
pub(super) type Bits = [u64; WIDE / 64];

pub(super) const NONE: Bits = [0; WIDE / 64];

pub(super) fn or(a: &mut Bits, b: &Bits) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
}

pub(super) fn without(a: &Bits, b: &Bits) -> Bits {
    let mut left = *a;
    left.iter_mut().zip(b).for_each(|(a, b)| *a &= !b);
    left
}

/// The numbers of the bits that are set.
pub(super) fn ones(bits: Bits) -> impl Iterator<Item = usize> {
    (0..WIDE).filter(move |at| bits[at / 64] >> (at % 64) & 1 == 1)
}

pub(super) fn count(bits: &Bits) -> usize {
    bits.iter().map(|word| word.count_ones() as usize).sum()
}

/// A graph as the search sees it.
pub(super) struct Steps<'a> {
    pub(super) nodes: usize,
    pub(super) sets: &'a [Nodes],
    /// From each node of the first set to each of the second. Sorted.
    pub(super) pairs: &'a [(u32, u32)],
}

impl Steps<'_> {
    /// How much one step costs: everything that is touched.
    pub(super) fn length(&self) -> usize {
        let mut ends: BTreeSet<(bool, u32)> = BTreeSet::new();
        for (from, to) in self.pairs {
            ends.extend([(false, *from), (true, *to)]);
        }
        let sets: usize = ends.iter().map(|(_, set)| self.sets[*set as usize].len()).sum();
        self.nodes + self.sets.len() + self.pairs.len() + sets
    }

    /// For each step the nodes that are reached with it and were not before. A start can be reached, too.
    pub(super) fn levels(&self, starts: impl Iterator<Item = (u32, usize)>, steps: u32) -> Vec<Vec<Bits>> {
        let mut frontier = vec![NONE; self.nodes];
        for (node, bit) in starts {
            frontier[node as usize][bit / 64] |= 1 << (bit % 64);
        }
        let mut seen = vec![NONE; self.nodes];
        let mut levels = Vec::new();
        for _ in 0..steps {
            let mut leaving = NONE;
            let mut left = u32::MAX;
            let mut arriving = vec![NONE; self.sets.len()];
            for (from, to) in self.pairs {
                if *from != left {
                    left = *from;
                    leaving = NONE;
                    self.sets[*from as usize]
                        .iter()
                        .for_each(|node| or(&mut leaving, &frontier[*node as usize]));
                }
                if leaving != NONE {
                    or(&mut arriving[*to as usize], &leaving);
                }
            }
            let mut next = vec![NONE; self.nodes];
            for (set, bits) in self.sets.iter().zip(&arriving).filter(|(_, bits)| **bits != NONE) {
                set.iter().for_each(|node| or(&mut next[*node as usize], bits));
            }
            for (next, seen) in next.iter_mut().zip(&mut seen) {
                *next = without(next, seen);
                or(seen, next);
            }
            levels.push(next.clone());
            frontier = next;
        }
        levels
    }

    /// The nodes between `from` and `to` on a shortest way of at most `steps`; of several ways the first by number.
    pub(super) fn way(&self, from: u32, to: u32, steps: u32) -> Option<Vec<u32>> {
        let mut came_from: Vec<Option<u32>> = vec![None; self.nodes];
        let mut frontier = vec![false; self.nodes];
        frontier[from as usize] = true;
        for _ in 0..steps {
            // Of each set that can be left, the first node of it that was reached with the last step.
            let mut arriving: BTreeMap<u32, u32> = BTreeMap::new();
            let (mut left, mut at) = (u32::MAX, None);
            for (set, other) in self.pairs {
                if *set != left {
                    left = *set;
                    at = self.sets[*set as usize].iter().copied().find(|node| frontier[*node as usize]);
                }
                if let Some(at) = at {
                    arriving.entry(*other).and_modify(|first| *first = at.min(*first)).or_insert(at);
                }
            }
            let mut next = vec![false; self.nodes];
            for (set, at) in arriving {
                for node in &self.sets[set as usize] {
                    if came_from[*node as usize].is_none() && *node != from {
                        came_from[*node as usize] = Some(at);
                        next[*node as usize] = true;
                    }
                }
            }
            if next[to as usize] {
                let mut way = Vec::new();
                let mut node = came_from[to as usize];
                while let Some(between) = node.filter(|node| *node != from) {
                    way.push(between);
                    node = came_from[between as usize];
                }
                way.reverse();
                return Some(way);
            }
            frontier = next;
        }
        None
    }
}
