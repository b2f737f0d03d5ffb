//! Folds repeats of the same violation, so that a flood becomes a few records with exact counts.
//!
//! In: events, drained repeats and the time, all in ns of the kernel's monotonic clock. Out: an
//! [`Aggregate`] whenever something is to be told: the first occurrence at once, repeats once a summary
//! interval, everything that waits when its place is needed or the agent ends. No packet is lost on the
//! way: `taken = told + pending` holds after every call.
//!
//! Who sends from a new address with each packet would make a record with each packet. So only so many new
//! violations of a device and reason are told one by one in an interval; further ones are folded into one
//! violation of their own, in which only the count is exact and the ends are left out.

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
    /// Whether these are violations that were too many to tell apart: `key` has no ends then.
    pub others: bool,
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

/// What an entry stands for: a violation, or (`true`) those that were too many.
type Place = (ViolationKey, bool);

/// What a budget is for: device and reason.
type Class = (u32, u8);

/// New violations of a class in an interval.
struct Budget {
    since: u64,
    used: usize,
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
    /// New violations of a class that are told one by one in a summary interval.
    firsts: usize,
    /// Bounded by the devices times the reasons there are, and in any case by `capacity`.
    budgets: BTreeMap<Class, Budget>,
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
            firsts,
            budgets: BTreeMap::new(),
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
        self.take(Aggregate {
            key,
            packets: 1,
            bytes,
            first_ns: time,
            last_ns: time,
            source_port,
            others: false,
        })
    }

    /// Takes what was drained from the table of repeats. It may come before its event, or without one
    /// when the ring was full.
    pub fn repeats(&mut self, key: &ViolationKey, repeats: &Repeats) -> Vec<Aggregate> {
        let Repeats { packets, bytes, first, last } = *repeats;
        if packets == 0 {
            return Vec::new();
        }
        let (first_ns, last_ns) = (first.min(last), last);
        self.take(Aggregate { key: *key, packets, bytes, first_ns, last_ns, source_port: 0, others: false })
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
        self.forget_budgets();
        out
    }

    /// Tells everything that waits, as when the agent ends.
    pub fn flush(&mut self) -> Vec<Aggregate> {
        let keys: Vec<Place> = self.due.iter().map(|(_, key)| *key).collect();
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
        let new = if self.table.contains_key(&new.place()) || self.may_be_new(&new.key) {
            new
        } else {
            new.without_ends()
        };
        let place = new.place();
        let Some(entry) = self.table.get_mut(&place) else { return self.first_occurrence(new) };
        self.recency.remove(&(entry.seen, place));
        entry.seen = self.now;
        self.recency.insert((entry.seen, place));
        self.due.insert((entry.told, place));
        entry.waiting = Some(entry.waiting.map_or(new, |waiting| waiting.and(&new)));
        let told = entry.told;
        // What was silent for longer than an interval is told at once when it comes back.
        if self.is_over(told, self.summary) { self.tell(&place).into_iter().collect() } else { Vec::new() }
    }

    /// Takes one out of the budget of a violation's device and reason, if something is left.
    fn may_be_new(&mut self, key: &ViolationKey) -> bool {
        let class = (key.device, key.reason);
        if !self.budgets.contains_key(&class) && self.budgets.len() >= self.capacity {
            self.forget_budgets();
            if self.budgets.len() >= self.capacity {
                return false;
            }
        }
        let (now, summary) = (self.now, self.summary);
        let budget = self.budgets.entry(class).or_insert(Budget { since: now, used: 0 });
        if now.saturating_sub(budget.since) >= summary {
            *budget = Budget { since: now, used: 0 };
        }
        if budget.used >= self.firsts {
            return false;
        }
        budget.used += 1;
        true
    }

    fn forget_budgets(&mut self) {
        let (now, summary) = (self.now, self.summary);
        self.budgets.retain(|_, budget| now.saturating_sub(budget.since) < summary);
    }

    fn first_occurrence(&mut self, new: Aggregate) -> Vec<Aggregate> {
        let mut out = Vec::new();
        if self.table.len() >= self.capacity
            && let Some((_, oldest)) = self.recency.first().copied()
        {
            self.evicted += 1;
            out.extend(self.forget(&oldest));
        }
        self.table.insert(new.place(), Entry { seen: self.now, told: self.now, waiting: None });
        self.recency.insert((self.now, new.place()));
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

impl Aggregate {
    fn place(&self) -> Place {
        (self.key, self.others)
    }

    /// Only what the violations that were too many have in common.
    fn without_ends(self) -> Self {
        let ViolationKey { device, reason, dropped, mode, generation, ifindex, .. } = self.key;
        let key =
            ViolationKey { device, reason, dropped, mode, generation, ifindex, ..ViolationKey::default() };
        Self { key, source_port: 0, others: true, ..self }
    }

    /// Both together.
    fn and(self, other: &Self) -> Self {
        Self {
            key: self.key,
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            first_ns: self.first_ns.min(other.first_ns),
            last_ns: self.last_ns.max(other.last_ns),
            source_port: if self.source_port == 0 { other.source_port } else { self.source_port },
            others: self.others,
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
