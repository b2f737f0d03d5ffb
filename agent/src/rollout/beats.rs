//! What devices do again and again: conversations that are answered, and how long each of them is silent at the most. After a change
//! they are watched: one that was steady and stops says that the change broke something.
//!
//! In: which kinds of conversation moved, and when, by a clock that nobody sets. Out: those that are steady, each with its period, and
//! later which of them have stopped. Nothing here knows whether they were allowed: what is denied and passes is as steady as the rest,
//! and the first to stop when its device is enforced.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::traffic::{End, Kind};

/// Silences that are remembered of a kind.
const REMEMBERED: usize = 16;
/// So many silences make a habit.
const SILENCES: usize = 5;
/// The longest of them is no longer than so many times the one in the middle: what is less even is no heartbeat.
const EVEN: u32 = 3;
/// A period is no longer: nobody waits for three of them within a watch.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// And no shorter: looks tell seconds.
const SHORTEST: Duration = Duration::from_secs(1);
/// Silent for so many periods it has stopped.
pub const PERIODS: u32 = 3;
/// And not before so many looks: one may have missed it (a walk through a table that changes).
pub const LOOKS: u64 = 3;
/// Kinds that are remembered.
const KINDS: usize = 16_384;
/// What was silent for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(4 * LONGEST.as_secs());

/// A moment by a clock that nobody sets, since some beginning.
pub type Moment = Duration;

/// What is known of a kind of conversation.
#[derive(Clone, Debug, Default)]
struct Beat {
    /// When who began and who answers were last heard.
    sides: [Option<Moment>; 2],
    /// Which of them were since the last beat.
    since: [bool; 2],
    /// The last beat: both sides were heard since the one before.
    last: Option<Moment>,
    /// The silences between the last beats, at most; in the order in which they came.
    silences: VecDeque<Duration>,
}

/// A conversation that was steady.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Steady {
    /// Who with whom, over what.
    pub kind: Kind,
    /// Its longest usual silence.
    pub period: Duration,
}

/// What is remembered of who talks steadily to whom, bounded.
#[derive(Debug, Default)]
pub struct Beats {
    kinds: BTreeMap<Kind, Beat>,
    looks: u64,
    /// Of the last look.
    looked: Moment,
    refused: u64,
}

impl Beats {
    /// A kind of conversation moved: so many packets of who began and of who answers, the last at a moment.
    pub fn heard(&mut self, kind: Kind, packets: [u64; 2], at: Moment) {
        if !self.kinds.contains_key(&kind) && self.kinds.len() >= KINDS {
            self.refused += 1;
            return;
        }
        let beat = self.kinds.entry(kind).or_default();
        for ((packets, heard), since) in packets.into_iter().zip(&mut beat.sides).zip(&mut beat.since) {
            if packets > 0 {
                *heard = Some(heard.map_or(at, |known| known.max(at)));
                *since = true;
            }
        }
        if beat.since != [true; 2] {
            return;
        }
        beat.since = [false; 2];
        let silence = beat.last.map(|last| at.saturating_sub(last)).filter(|silence| *silence >= SHORTEST);
        if beat.last.is_some() && silence.is_none() {
            // More of the same beat.
            return;
        }
        beat.last = Some(at);
        if let Some(silence) = silence {
            if beat.silences.len() >= REMEMBERED {
                beat.silences.pop_front();
            }
            beat.silences.push_back(silence);
        }
    }

    /// A look at everything has ended.
    pub fn looked(&mut self, at: Moment) {
        self.looks += 1;
        self.looked = at;
        self.kinds.retain(|_, beat| {
            let heard = beat.sides.into_iter().flatten().max().unwrap_or_default();
            at.saturating_sub(heard) < FORGOTTEN
        });
    }

    /// How many looks there were.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// When the last of them ended.
    pub fn looked_last(&self) -> Moment {
        self.looked
    }

    /// Kinds that found no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// What is steady now, of the kinds that somebody wants to know of. What has stopped already is not.
    pub fn steady(&self, wanted: impl Fn(&Kind) -> bool) -> Vec<Steady> {
        let steady = self.kinds.iter().filter(|(kind, _)| wanted(kind)).filter_map(|(kind, beat)| {
            let period = beat.period()?;
            let silent = self.looked.saturating_sub(beat.last?);
            (silent <= period.saturating_mul(PERIODS)).then_some(Steady { kind: *kind, period })
        });
        steady.collect()
    }

    /// For how long a conversation that was steady has been silent, if that is longer than it ever is. `since` is when the watch
    /// began, and how many looks there were then: who watches again begins anew.
    pub fn stopped(&self, steady: &Steady, since: (Moment, u64)) -> Option<Duration> {
        let (began, looks) = since;
        let last = self.kinds.get(&steady.kind).and_then(|beat| beat.last);
        let silent = self.looked.saturating_sub(last.map_or(began, |last| last.max(began)));
        let enough = self.looks >= looks.saturating_add(LOOKS);
        (enough && silent > steady.period.saturating_mul(PERIODS)).then_some(silent)
    }

    /// When each end was last heard, whomever it talked to.
    pub fn heard_last(&self) -> BTreeMap<End, Moment> {
        let mut heard: BTreeMap<End, Moment> = BTreeMap::new();
        for (kind, beat) in &self.kinds {
            for (end, at) in [kind.from, kind.to].into_iter().zip(beat.sides) {
                let Some(at) = at else { continue };
                heard.entry(end).and_modify(|known| *known = at.max(*known)).or_insert(at);
            }
        }
        heard
    }
}

impl Beat {
    /// The longest usual silence of what is even enough.
    fn period(&self) -> Option<Duration> {
        if self.silences.len() < SILENCES {
            return None;
        }
        let mut sorted: Vec<Duration> = self.silences.iter().copied().collect();
        sorted.sort_unstable();
        let (middle, longest) = (sorted[sorted.len() / 2], *sorted.last()?);
        (longest <= middle.saturating_mul(EVEN) && longest <= LONGEST).then_some(longest.max(SHORTEST))
    }
}

#[cfg(test)]
mod tests;
