//! Folds repeats of the same violation, so that a flood becomes a few records with exact counts.
//!
//! In: events, drained repeats and the time, all in ns of the kernel's monotonic clock. Out: an
//! [`Aggregate`] whenever something is to be told: the first occurrence at once, repeats once a summary
//! interval, everything that waits when its place is needed or the agent ends. No packet is lost on the
//! way: `taken = told + pending` holds after every call.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bulkhead_common::layout::{Event, Repeats, ViolationKey};

/// A violation that was silent for so long is forgotten: its next packet is a first occurrence again.
pub const IDLE: Duration = Duration::from_secs(10 * 60);

/// Packets of one violation that are told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// What they have in common.
    pub key: ViolationKey,
    /// How many, never 0.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// Monotonic time of the first, ns. Never later than `last_ns`.
    pub first_ns: u64,
    /// Monotonic time of the last, ns.
    pub last_ns: u64,
    /// Source port of the earliest packet that came as an event; 0 when none did.
    pub source_port: u16,
}

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
}

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
pub struct Aggregator {
    capacity: usize,
    summary: u64,
    idle: u64,
    table: BTreeMap<ViolationKey, Entry>,
    /// Every entry by when it was last seen: the first one is the next to go.
    recency: BTreeSet<(u64, ViolationKey)>,
    /// Entries with something waiting, by when they were last told: the first one is the next to tell.
    due: BTreeSet<(u64, ViolationKey)>,
    /// The latest time seen. Samples arrive out of order; what is due never goes back.
    now: u64,
    taken: u64,
    told: u64,
    evicted: u64,
}

impl Aggregator {
    /// Room for `capacity` violations (at least one); repeats are told every `summary`.
    pub fn new(capacity: usize, summary: Duration) -> Self {
        let summary = nanoseconds(summary);
        Self {
            capacity: capacity.max(1),
            summary,
            // Not before the summary interval ends: an entry to be forgotten has nothing waiting.
            idle: nanoseconds(IDLE).max(summary),
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
        let Event { abi: _, len, time, key, source_port, tcp_flags: _, pad: _ } = *event;
        let bytes = u64::from(len);
        self.take(Aggregate { key, packets: 1, bytes, first_ns: time, last_ns: time, source_port })
    }

    /// Takes what was drained from the table of repeats. It may come before its event, or without one
    /// when the ring was full.
    pub fn repeats(&mut self, key: &ViolationKey, repeats: &Repeats) -> Vec<Aggregate> {
        let Repeats { packets, bytes, first, last } = *repeats;
        if packets == 0 {
            return Vec::new();
        }
        let (first_ns, last_ns) = (first.min(last), last);
        self.take(Aggregate { key: *key, packets, bytes, first_ns, last_ns, source_port: 0 })
    }

    /// Tells what waited a whole summary interval, and forgets what is idle.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Aggregate> {
        self.now = self.now.max(now_ns);
        let mut out = Vec::new();
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
        out
    }

    /// Tells everything that waits, as when the agent ends.
    pub fn flush(&mut self) -> Vec<Aggregate> {
        let keys: Vec<ViolationKey> = self.due.iter().map(|(_, key)| *key).collect();
        keys.iter().filter_map(|key| self.tell(key)).collect()
    }

    /// Packets in and out so far. Walks the table: for status, not for every packet.
    pub fn totals(&self) -> Totals {
        let waiting = self.table.values().filter_map(|entry| entry.waiting);
        Totals {
            taken: self.taken,
            told: self.told,
            pending: waiting.map(|aggregate| aggregate.packets).sum(),
            evicted: self.evicted,
            entries: self.table.len(),
        }
    }

    fn take(&mut self, new: Aggregate) -> Vec<Aggregate> {
        self.now = self.now.max(new.last_ns);
        self.taken += new.packets;
        let Some(entry) = self.table.get_mut(&new.key) else { return self.first_occurrence(new) };
        self.recency.remove(&(entry.seen, new.key));
        entry.seen = self.now;
        self.recency.insert((entry.seen, new.key));
        self.due.insert((entry.told, new.key));
        entry.waiting = Some(entry.waiting.map_or(new, |waiting| waiting.and(&new)));
        let told = entry.told;
        // What was silent for longer than an interval is told at once when it comes back.
        if self.is_over(told, self.summary) { self.tell(&new.key).into_iter().collect() } else { Vec::new() }
    }

    fn first_occurrence(&mut self, new: Aggregate) -> Vec<Aggregate> {
        let mut out = Vec::new();
        if self.table.len() >= self.capacity
            && let Some((_, oldest)) = self.recency.first().copied()
        {
            self.evicted += 1;
            out.extend(self.forget(&oldest));
        }
        self.table.insert(new.key, Entry { seen: self.now, told: self.now, waiting: None });
        self.recency.insert((self.now, new.key));
        self.told += new.packets;
        out.push(new);
        out
    }

    /// Takes what waits out of an entry.
    fn tell(&mut self, key: &ViolationKey) -> Option<Aggregate> {
        let entry = self.table.get_mut(key)?;
        let aggregate = entry.waiting.take()?;
        self.due.remove(&(entry.told, *key));
        entry.told = self.now;
        self.told += aggregate.packets;
        Some(aggregate)
    }

    /// Removes an entry; what waits in it is told.
    fn forget(&mut self, key: &ViolationKey) -> Option<Aggregate> {
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

impl Aggregate {
    /// Both together.
    fn and(self, other: &Self) -> Self {
        Self {
            key: self.key,
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            first_ns: self.first_ns.min(other.first_ns),
            last_ns: self.last_ns.max(other.last_ns),
            source_port: if self.source_port == 0 { other.source_port } else { self.source_port },
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
