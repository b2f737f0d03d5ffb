//! Folds repeats of the same violation, so that a flood becomes a few records with exact counts.
//!
//! In: events, drained repeats and the time, all in ns of the kernel's monotonic clock. Out: an
//! [`Aggregate`] whenever something is to be told: the first occurrence at once, repeats once a summary
//! interval, everything that waits when its place is needed or the agent ends. No packet is lost on the
//! way: `taken = told + pending` holds after every call.
//!
//! Two things bound what a flood of new violations makes. One source that begins many of them is a scan, and all further ones
//! are one violation ([`scan`]). Who sends from a new address with each packet is no one's scan: only so many new violations
//! of a device and reason are told one by one in an interval ([`budget`]); further ones are folded into one violation, in
//! which only the count is exact and the ends are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bulkhead_common::layout::{Event, Repeats, ViolationKey};

mod budget;
mod packets;
mod scan;
mod targets;

use budget::Budgets;
pub use packets::{Aggregate, Fold, Sample, Tried};
use scan::Scans;

/// A violation that was silent for so long is forgotten: its next packet is a first occurrence again.
pub const IDLE: Duration = Duration::from_secs(10 * 60);

/// Packets in and out of an [`Aggregator`]: `taken = told + pending` always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Packets that came in.
    pub taken: u64,
    /// Packets in the aggregates that went out.
    pub told: u64,
    /// Packets that wait for the end of their summary interval.
    pub pending: u64,
    /// Violations that lost their place to a newer one before they were idle.
    pub evicted: u64,
    /// Violations that have a place.
    pub entries: usize,
    /// Sources that scan now.
    pub scans: usize,
}

/// What an entry stands for: a violation, or (`true`) those that were too many.
type Place = (ViolationKey, bool);

/// One violation that was told at least once.
struct Entry {
    /// When it was last seen.
    seen: u64,
    /// When it was last told.
    told: u64,
    /// What was counted since.
    waiting: Option<Aggregate>,
}

/// The violations of the last minutes, bounded.
///
/// A table of `capacity` entries of at most 720 bytes each, in trees of which at least a good half is filled; 4096
/// sources that are watched with 16 keys of 80 bytes; 64 scans with at most 16 KiB for ports and four times 1024 targets
/// of at most 24 bytes; and a budget of 24 bytes for each of `capacity` devices and reasons.
/// With 65,536 entries that is below 100 MiB when all of it is taken, and nothing makes it more.
pub struct Aggregator {
    capacity: usize,
    summary: u64,
    idle: u64,
    scans: Scans,
    budgets: Budgets,
    table: BTreeMap<Place, Entry>,
    /// Every entry by when it was last seen: the first one is the next to go.
    recency: BTreeSet<(u64, Place)>,
    /// Entries with something waiting, by when they were last told: the first one is the next to tell.
    due: BTreeSet<(u64, Place)>,
    /// The latest time seen. Samples arrive out of order; what is due never goes back.
    now: u64,
    taken: u64,
    told: u64,
    evicted: u64,
}

impl Aggregator {
    /// Room for `capacity` violations (at least one); repeats are told every `summary`, and in that time at
    /// most `firsts` new violations of one device and reason.
    pub fn new(capacity: usize, summary: Duration, firsts: usize) -> Self {
        let summary = nanoseconds(summary);
        Self {
            capacity: capacity.max(1),
            summary,
            // Not before the summary interval ends: an entry to be forgotten has nothing waiting.
            idle: nanoseconds(IDLE).max(summary),
            scans: Scans::new(summary),
            budgets: Budgets::new(capacity.max(1), summary, firsts),
            table: BTreeMap::new(),
            recency: BTreeSet::new(),
            due: BTreeSet::new(),
            now: 0,
            taken: 0,
            told: 0,
            evicted: 0,
        }
    }

    /// Takes one packet that came through the ring.
    pub fn event(&mut self, event: &Event) -> Vec<Aggregate> {
        self.take(Aggregate::of_event(event))
    }

    /// Takes what was drained from the table of repeats. It may come before its event, or without one
    /// when the ring was full.
    pub fn repeats(&mut self, key: &ViolationKey, repeats: &Repeats) -> Vec<Aggregate> {
        if repeats.packets == 0 {
            return Vec::new();
        }
        self.take(Aggregate::of_repeats(key, repeats))
    }

    /// Tells what waited a whole summary interval, and forgets what is idle.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Aggregate> {
        self.now = self.now.max(now_ns);
        let mut out = self.scans.tick(self.now);
        self.told += packets(&out);
        while let Some((told, key)) = self.due.first().copied()
            && self.is_over(told, self.summary)
        {
            out.extend(self.tell(&key));
        }
        while let Some((seen, key)) = self.recency.first().copied()
            && self.is_over(seen, self.idle)
        {
            out.extend(self.forget(&key));
        }
        self.budgets.forget(self.now);
        out
    }

    /// Tells everything that waits, as when the agent ends.
    pub fn flush(&mut self) -> Vec<Aggregate> {
        let mut out = self.scans.flush(self.now);
        self.told += packets(&out);
        let keys: Vec<Place> = self.due.iter().map(|(_, key)| *key).collect();
        out.extend(keys.iter().filter_map(|key| self.tell(key)));
        out
    }

    /// Packets that wait for the end of their summary interval.
    pub fn pending(&self) -> u64 {
        self.taken - self.told
    }

    /// Packets in and out so far. Walks the table: for status, not for every packet.
    pub fn totals(&self) -> Totals {
        let waiting = self.table.values().filter_map(|entry| entry.waiting.as_ref());
        Totals {
            taken: self.taken,
            told: self.told,
            pending: waiting.map(|aggregate| aggregate.packets).sum::<u64>() + self.scans.pending(),
            evicted: self.evicted,
            entries: self.table.len(),
            scans: self.scans.len(),
        }
    }

    fn take(&mut self, new: Aggregate) -> Vec<Aggregate> {
        self.now = self.now.max(new.last_ns);
        self.taken += new.packets;
        let known = self.table.contains_key(&place(&new));
        let apart = new.fold == Fold::Alike;
        if apart && !known && self.scans.folds(&new.key, self.now) {
            let told = self.scans.take(new, self.now);
            self.told += packets(told.as_slice());
            return told.into_iter().collect();
        }
        let new =
            if known || !apart || self.budgets.allows(&new.key, self.now) { new } else { new.without_ends() };
        let place = place(&new);
        let Some(entry) = self.table.get_mut(&place) else { return self.first_occurrence(new) };
        self.recency.remove(&(entry.seen, place));
        entry.seen = self.now;
        self.recency.insert((entry.seen, place));
        self.due.insert((entry.told, place));
        entry.waiting = Some(match entry.waiting.take() {
            Some(waiting) => waiting.and(new),
            None => new,
        });
        let told = entry.told;
        // What was silent for longer than an interval is told at once when it comes back.
        if self.is_over(told, self.summary) { self.tell(&place).into_iter().collect() } else { Vec::new() }
    }

    fn first_occurrence(&mut self, new: Aggregate) -> Vec<Aggregate> {
        let mut out = Vec::new();
        if self.table.len() >= self.capacity
            && let Some((_, oldest)) = self.recency.first().copied()
        {
            self.evicted += 1;
            out.extend(self.forget(&oldest));
        }
        self.table.insert(place(&new), Entry { seen: self.now, told: self.now, waiting: None });
        self.recency.insert((self.now, place(&new)));
        self.told += new.packets;
        out.push(new);
        out
    }

    /// Takes what waits out of an entry.
    fn tell(&mut self, key: &Place) -> Option<Aggregate> {
        let entry = self.table.get_mut(key)?;
        let aggregate = entry.waiting.take()?;
        self.due.remove(&(entry.told, *key));
        entry.told = self.now;
        self.told += aggregate.packets;
        Some(aggregate)
    }

    /// Removes an entry; what waits in it is told.
    fn forget(&mut self, key: &Place) -> Option<Aggregate> {
        let last = self.tell(key);
        if let Some(entry) = self.table.remove(key) {
            self.recency.remove(&(entry.seen, *key));
        }
        last
    }

    fn is_over(&self, since: u64, interval: u64) -> bool {
        self.now.saturating_sub(since) >= interval
    }
}

fn packets(aggregates: &[Aggregate]) -> u64 {
    aggregates.iter().map(|aggregate| aggregate.packets).sum()
}

/// What an entry stands for.
fn place(aggregate: &Aggregate) -> Place {
    (aggregate.key, aggregate.fold == Fold::Others)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
