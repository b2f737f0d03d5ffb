//! Remembers what each rule has allowed and when last, over agents, policies and boots: a rule that nothing has needed for
//! months is one to take away, and the kernel's counters end with the boot.
//!
//! In: the kernel's counters, a part of the rules at each tick, and the wall clock. Out: totals, and a file in the state
//! folder, written once a minute at most.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Agent, clock::counters};
use crate::{
    compile::Revision,
    dataplane::{Dataplane, DataplaneError},
    store::{HITS, KeptHits, RuleHits, Store},
};

mod book;
use book::{Book, Name, name_of};

/// How often all rules are looked at: as exact is the time of a last hit.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Rules looked at in one tick: some microseconds each.
const AT_ONCE: usize = 2048;
/// A disk may be an SD card.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// With so many rules more, the file is written a minute later.
const PER_MINUTE: usize = 4096;
/// Rules that are remembered beside those of the policy: it may come back.
const MOST_GONE: usize = 4096;

/// What the agent knows of hits.
pub(super) struct HitKeeper {
    book: Book,
    /// Names the kernel's counters.
    counters: String,
    /// The rules of the policy in force, and of which revision these are.
    rules: Vec<(Name, u32)>,
    placed_for: Option<Revision>,
    /// How many of them this round has looked at.
    looked: usize,
    began: Option<Instant>,
    written: Instant,
    unwritten: bool,
}

impl HitKeeper {
    /// Takes over what the state folder remembers.
    pub(super) fn restore(store: &Store, dataplane: &Dataplane) -> Self {
        let kept = store.load(HITS).unwrap_or_else(|error| {
            tracing::error!("what rules have allowed before is lost: {error}");
            None
        });
        let RuleHits { counters: before, rules } = kept.unwrap_or_default();
        let counters = counters(dataplane, "RULE_COUNTS").unwrap_or_else(|error| {
            // As if they began at nothing: what was counted twice is told of, what never was is not.
            tracing::error!("what rules have allowed may be counted twice: {error}");
            String::new()
        });
        let mut book = Book::from(rules);
        if before != counters || counters.is_empty() {
            book.begin_anew();
        }
        Self {
            book,
            counters,
            rules: Vec::new(),
            placed_for: None,
            looked: 0,
            began: None,
            written: Instant::now(),
            unwritten: false,
        }
    }

    /// What is known of the rule at a place in the tables.
    pub(super) fn of(&self, at: usize) -> Option<KeptHits> {
        self.rules.get(at).and_then(|(name, _)| self.book.get(name))
    }

    /// Learns the rules in force, if they are others.
    fn place(&mut self, dataplane: &Dataplane, now: Timestamp) {
        let Some(applied) = dataplane.applied() else { return };
        if self.placed_for == Some(applied.tables.revision) {
            return;
        }
        self.placed_for = Some(applied.tables.revision);
        self.looked = 0;
        let mut nth = 0;
        let rules = &applied.tables.rules;
        let names = rules.iter().enumerate().map(|(at, rule)| {
            let before = at.checked_sub(1).map(|before| &rules[before]);
            let alike = before.is_some_and(|one| one.text == rule.text && one.holder == rule.holder);
            // Rules that differ in when they hold alone are next to each other.
            nth = if alike { nth + 1 } else { 0 };
            name_of(&rule.holder, &rule.text, nth)
        });
        self.rules = names.zip(applied.ids.rules.iter().copied()).collect();
        self.unwritten |= self.book.place(&self.rules, MOST_GONE, now);
    }

    /// Looks at so many rules, where the last look ended.
    fn look(&mut self, dataplane: &Dataplane, most: usize, now: Timestamp) -> Result<(), DataplaneError> {
        for (name, id) in self.rules.iter().skip(self.looked).take(most) {
            let counted = dataplane.rule_counts(*id)?;
            self.unwritten |= self.book.note(name, *id, [counted.packets, counted.bytes], now);
            self.looked += 1;
        }
        Ok(())
    }

    fn write_every(&self) -> Duration {
        let more = u32::try_from(self.book.len() / PER_MINUTE).unwrap_or(u32::MAX);
        WRITE_EVERY.saturating_mul(more.saturating_add(1))
    }
}

impl Agent {
    /// Looks at a part of the rules, and writes down what has changed when it is time to.
    pub(super) fn look_after_hits(&mut self) {
        let now = Timestamp::now();
        let hits = &mut self.hits;
        hits.place(&self.dataplane, now);
        if hits.looked >= hits.rules.len() && hits.began.is_none_or(|began| began.elapsed() >= LOOK_EVERY) {
            (hits.looked, hits.began) = (0, Some(Instant::now()));
        }
        if let Err(error) = hits.look(&self.dataplane, AT_ONCE, now) {
            tracing::error!("{error}");
        }
        if hits.unwritten && hits.written.elapsed() >= hits.write_every() {
            self.keep_hits();
        }
    }

    /// Looks at every rule now.
    pub(super) fn look_at_hits(&mut self) -> Result<(), DataplaneError> {
        let now = Timestamp::now();
        self.hits.place(&self.dataplane, now);
        self.hits.looked = 0;
        self.hits.look(&self.dataplane, usize::MAX, now)
    }

    /// Looks at every rule for the last time, and writes all down.
    pub(super) fn keep_all_hits(&mut self) {
        if let Err(error) = self.look_at_hits() {
            tracing::error!("{error}");
        }
        if self.hits.unwritten {
            self.keep_hits();
        }
    }

    fn keep_hits(&mut self) {
        self.hits.written = Instant::now();
        let hits = RuleHits { counters: self.hits.counters.clone(), rules: self.hits.book.kept() };
        match self.store.save(HITS, &hits) {
            Ok(()) => self.hits.unwritten = false,
            Err(error) => {
                tracing::error!("what rules have allowed could not be written, and may be lost: {error}");
            }
        }
    }
}
