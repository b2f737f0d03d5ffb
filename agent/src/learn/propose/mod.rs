//! Talks become rules, rules become text in the policy files. In: what was found and the files. Out: entries with their reasons and
//! prices, the files with them, and the proof that they admit what was learned.

mod entry;
mod gather;
mod merge;
mod names;
mod price;
mod prove;
mod settle;
mod text;
mod widen;

use std::collections::BTreeMap;

pub use entry::{Entry, Holder, Key, Scope, Term, What};
pub use gather::{Nameless, gather, nameless};
pub use merge::{MergeError, Merged, merge};
pub use prove::{Proof, prove};
pub use settle::{Settled, settle};
pub(super) use text::day;
pub use text::minute;
pub use text::{Piece, Rule, pieces};
pub use widen::{Bounds, Refused};

use super::{Fate, Found, Habit, Talk, Who};

/// What proposals are made of.
pub struct Material<'a> {
    /// Who is who.
    pub who: &'a Who<'a>,
    /// What was found.
    pub found: &'a Found,
    /// What becomes of each talk.
    pub fates: &'a BTreeMap<Talk, Fate>,
}

impl Material<'_> {
    /// What is known of a talk.
    pub(super) fn habit(&self, talk: &Talk) -> Option<&Habit> {
        self.found.talks.get(talk).or_else(|| self.found.in_scans.get(talk))
    }
}

/// Rules to be adopted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Proposal {
    /// What was learned.
    pub entries: Vec<Entry>,
    /// What a person has to decide.
    pub decisions: Vec<Entry>,
    /// What was learned and is not proposed, as its rule would not do what it says.
    pub dropped: Vec<Refused>,
    /// Wider forms that cost too much or would have admitted what was left out.
    pub refused: Vec<Refused>,
}

impl Proposal {
    /// Combinations that the rules admit and nobody saw.
    pub fn price(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.price))
    }
}
