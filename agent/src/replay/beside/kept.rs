//! What differs, kept in bounded room: of each kind of conversation how much, and what both policies last said of it.

use std::collections::BTreeMap;

use bulkhead_common::decide::{Decision, Verdict};
use serde::{Deserialize, Serialize};

use super::{Compared, Way};
use crate::{
    diagnostic::Listed,
    traffic::{Kind, Seen},
};

/// Kinds that are kept of each way to differ. A full list makes room with what nobody answered.
pub const MOST_KINDS: usize = 4096;

/// A kind that differs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) seen: Seen,
    pub(super) compared: Compared,
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Kinds that were judged, each once a look.
    pub judged: u64,
    /// Kinds that differ and are not kept, each once a look.
    pub refused: u64,
    /// Kinds that are no break only because a name would allow them which a device may have learned, each once a look.
    pub by_name: u64,
    /// Kinds of which the policy in force, asked now, says something else than what happened, each once a look: they were allowed earlier, or
    /// denied for what a kind does not tell.
    pub otherwise: u64,
}

/// All that differs.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    pub(super) breaks: BTreeMap<Kind, Kept>,
    pub(super) opens: BTreeMap<Kind, Kept>,
    /// Packets by the rule of the proposed policy that would allow them, by dense id less one.
    used: Vec<u64>,
    counts: Counts,
}

impl Differences {
    /// None yet; the proposed policy has so many rules.
    pub fn new(rules: usize) -> Self {
        Self { used: vec![0; rules], ..Self::default() }
    }

    /// Takes what was seen of a kind, and what both policies say of it now.
    pub fn take(&mut self, kind: Kind, seen: &Seen, compared: &Compared) {
        self.counts.judged += 1;
        self.counts.by_name += u64::from(compared.is_by_name);
        let is_allowed = |decision: &Decision| matches!(decision.verdict, Verdict::Allow(_));
        self.counts.otherwise += u64::from(is_allowed(&compared.now) != (seen.denied == 0));
        if is_allowed(&compared.then)
            && let Some(used) =
                (compared.then.rule as usize).checked_sub(1).and_then(|at| self.used.get_mut(at))
        {
            *used = used.saturating_add((seen.packets[0].saturating_add(seen.packets[1])).max(1));
        }
        let Some(way) = compared.way() else { return };
        let list = match way {
            Way::Break => &mut self.breaks,
            Way::Open => &mut self.opens,
        };
        if let Some(kept) = list.get_mut(&kind) {
            kept.seen.add(seen);
            kept.compared = *compared;
            return;
        }
        if list.len() >= MOST_KINDS {
            self.counts.refused += 1;
            // Whoever floods is not answered: that costs no walk through the list.
            if !seen.is_answered() {
                return;
            }
            let unanswered = list.iter().filter(|(_, kept)| !kept.seen.is_answered());
            let oldest = unanswered.min_by_key(|(_, kept)| kept.seen.last).map(|(kind, _)| *kind);
            match oldest {
                Some(oldest) => drop(list.remove(&oldest)),
                None => return,
            }
        }
        list.insert(kind, Kept { seen: *seen, compared: *compared });
    }

    /// Kinds that are kept: those that would break, and those that would open.
    pub fn kinds(&self) -> [usize; 2] {
        [self.breaks.len(), self.opens.len()]
    }

    /// How much was compared.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Rules of the proposed policy that nothing would have used so far, by their dense ids.
    pub fn unused(&self, most: usize) -> Listed<u32> {
        let unused = (1..).zip(&self.used).filter(|(_, packets)| **packets == 0).map(|(id, _)| id);
        Listed::of(unused.collect(), most)
    }
}
