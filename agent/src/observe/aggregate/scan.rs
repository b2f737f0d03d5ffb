//! Recognises who tries many targets, and folds what he does into one violation.
//!
//! In: violations that have no place of their own yet, and the time. Out: whether one is part of a scan, and what is to be
//! told of each scan: at once when it begins, then once a summary interval. The first violation of each device that a scan comes to
//! is no part of it: who scans one device does not hide that he goes on to another. A source is a hardware address with an address on
//! one interface, under one revision and with one outcome; so what one host does hides nothing of another.
//!
//! Bounded: so many sources are watched and so many scan at the same time. What finds no place is left to the budgets.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bulkhead_common::{address::Address, layout::ViolationKey};

use super::{
    packets::{Aggregate, Fold},
    targets::Targets,
};

/// New violations of a source in a summary interval that are told one by one; one more is a scan.
pub(super) const KINDS: usize = 16;
/// Violations of a scan in a summary interval that are told one by one, because they are the first of their device.
pub(super) const MET: usize = 16;
/// Devices that a scan is known to have come to.
pub(super) const DEVICES: usize = 1024;
/// Sources that are watched: the one watched for longest makes room.
pub(super) const WATCHED: usize = 4096;
/// Scans at the same time.
pub(super) const SCANS: usize = 64;

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Source {
    mac: [u8; 6],
    address: Address,
    ifindex: u32,
    generation: u32,
    dropped: u8,
}

/// A source that may turn out to scan.
struct Watched {
    since: u64,
    /// What it began since, at most [`KINDS`].
    kinds: Vec<ViolationKey>,
}

struct Scan {
    /// When its last packet was taken.
    seen: u64,
    /// When it was last told; never yet, when it has just begun.
    told: Option<u64>,
    /// Devices that it has come to, at most [`DEVICES`].
    devices: BTreeSet<u32>,
    /// Since when so many of them were told of, at most [`MET`] in an interval.
    met: (u64, usize),
    targets: Targets,
    waiting: Option<Aggregate>,
}

/// Those who scan, and those who may.
pub(super) struct Scans {
    interval: u64,
    /// Nothing depends on its order.
    watched: HashMap<Source, Watched>,
    /// Those that are watched by since when, and some that are not any more.
    oldest: VecDeque<(u64, Source)>,
    scans: BTreeMap<Source, Scan>,
}

impl Source {
    fn of(key: &ViolationKey) -> Self {
        let ViolationKey { source, source_mac, ifindex, generation, dropped, .. } = *key;
        Self { mac: source_mac, address: source, ifindex, generation, dropped }
    }
}

impl Scans {
    pub(super) fn new(interval: u64) -> Self {
        Self { interval, watched: HashMap::new(), oldest: VecDeque::new(), scans: BTreeMap::new() }
    }

    /// Whether a violation that has no place of its own is part of a scan. One that is none counts as begun.
    pub(super) fn folds(&mut self, key: &ViolationKey, now: u64) -> bool {
        let source = Source::of(key);
        if let Some(scan) = self.scans.get_mut(&source) {
            return !scan.meets(key, now, self.interval);
        }
        let over = self.watched.get(&source).is_some_and(|w| now.saturating_sub(w.since) >= self.interval);
        if over {
            self.watched.remove(&source);
        }
        let Some(watched) = self.watched.get_mut(&source) else {
            self.watch(source, key, now);
            return false;
        };
        if watched.kinds.contains(key) {
            return false;
        }
        if watched.kinds.len() < KINDS {
            watched.kinds.push(*key);
            return false;
        }
        self.scans.len() < SCANS && self.begin(source, now)
    }

    /// Takes packets of a violation that [`Scans::folds`]; what is to be told at once.
    pub(super) fn take(&mut self, new: Aggregate, now: u64) -> Option<Aggregate> {
        let interval = self.interval;
        let scan = self.scans.get_mut(&Source::of(&new.key))?;
        scan.targets.add(&new.key, new.packets);
        scan.seen = now;
        scan.waiting = Some(match scan.waiting.take() {
            Some(waiting) => waiting.and(new),
            None => new,
        });
        if scan.is_due(now, interval) { scan.tell(now) } else { None }
    }

    /// Tells what waited a whole interval, and forgets who was silent for one.
    pub(super) fn tick(&mut self, now: u64) -> Vec<Aggregate> {
        let interval = self.interval;
        let due = self.scans.values_mut().filter(|scan| scan.is_due(now, interval));
        let told = due.filter_map(|scan| scan.tell(now)).collect();
        // Nor before it may be told again: who begins anew would be told twice in an interval.
        let lately = |then: u64| now.saturating_sub(then) < interval;
        self.scans
            .retain(|_, scan| scan.waiting.is_some() || lately(scan.seen) || scan.told.is_some_and(lately));
        while self.oldest.front().is_some_and(|(since, _)| now.saturating_sub(*since) >= interval) {
            self.unwatch_oldest();
        }
        told
    }

    /// Tells everything that waits.
    pub(super) fn flush(&mut self, now: u64) -> Vec<Aggregate> {
        self.scans.values_mut().filter_map(|scan| scan.tell(now)).collect()
    }

    /// Packets that wait.
    pub(super) fn pending(&self) -> u64 {
        self.scans.values().filter_map(|scan| scan.waiting.as_ref()).map(|waiting| waiting.packets).sum()
    }

    /// Who scans now.
    pub(super) fn len(&self) -> usize {
        self.scans.len()
    }

    fn watch(&mut self, source: Source, key: &ViolationKey, now: u64) {
        while self.watched.len() >= WATCHED || self.oldest.len() >= 2 * WATCHED {
            self.unwatch_oldest();
        }
        self.watched.insert(source, Watched { since: now, kinds: vec![*key] });
        self.oldest.push_back((now, source));
    }

    fn unwatch_oldest(&mut self) {
        let Some((since, source)) = self.oldest.pop_front() else { return };
        // It may have scanned meanwhile, or be watched anew.
        if self.watched.get(&source).is_some_and(|watched| watched.since == since) {
            self.watched.remove(&source);
        }
    }

    /// What was told one by one counts as tried: the first record says at once what the scan is after.
    fn begin(&mut self, source: Source, now: u64) -> bool {
        let mut targets = Targets::default();
        let known = self.watched.remove(&source).map(|watched| watched.kinds).unwrap_or_default();
        known.iter().for_each(|key| targets.add(key, 1));
        let devices = known.iter().map(|key| key.device).collect();
        self.scans
            .insert(source, Scan { seen: now, told: None, devices, met: (now, 0), targets, waiting: None });
        true
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        let targets = self.scans.values().flat_map(|scan| scan.targets.sizes()).max().unwrap_or_default();
        [self.watched.len(), self.oldest.len(), self.scans.len(), targets]
    }
}

impl Scan {
    /// Whether a violation is the first of a device that may be told by itself.
    fn meets(&mut self, key: &ViolationKey, now: u64, interval: u64) -> bool {
        if now.saturating_sub(self.met.0) >= interval {
            self.met = (now, 0);
        }
        let room = self.met.1 < MET && self.devices.len() < DEVICES;
        if key.device == 0 || !room || !self.devices.insert(key.device) {
            return false;
        }
        self.met.1 += 1;
        self.seen = now;
        self.targets.add(key, 1);
        true
    }

    fn is_due(&self, now: u64, interval: u64) -> bool {
        self.waiting.is_some() && self.told.is_none_or(|told| now.saturating_sub(told) >= interval)
    }

    fn tell(&mut self, now: u64) -> Option<Aggregate> {
        let waiting = self.waiting.take()?;
        self.told = Some(now);
        let (key, tried) = std::mem::take(&mut self.targets).tried();
        Some(Aggregate { key, fold: Fold::Scan(Box::new(tried)), ..waiting })
    }
}
