//! Rows become talks. In: every row twice, in any order. Out: what is known of each talk, what was left out on the way, and when each
//! device was seen at all.
//!
//! Twice, because what a source did while it scanned is known only when all of it was seen. What is kept is as much as there are
//! talks, not rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bulkhead_common::wire::{icmp, protocol};

use super::{
    Habit, Left, Party, Scans, Settings, Source, Talk, Who, fate::is_seldom, habit::Week, scan::is_exchange,
};
use crate::{
    model::{DeviceId, Selector},
    traffic::{Day, End, Kind, Row, Service},
};

/// As many talks are told apart.
const TALKS: usize = 1_000_000;
/// As many of them with hosts that nobody knows, or out of scans.
const STRANGE: usize = 100_000;
/// As many different probes of scans are remembered.
const PROBED: usize = 100_000;

/// The first reading: who scans, and when was anything seen.
pub struct First<'w> {
    who: &'w Who<'w>,
    settings: Settings,
    scans: Scans,
    seen: Presence,
    devices: BTreeMap<DeviceId, Presence>,
}

/// The second reading: what is habit.
pub struct Second<'w> {
    first: First<'w>,
    talks: BTreeMap<Talk, Habit>,
    in_scans: BTreeMap<Talk, Habit>,
    probed: BTreeSet<Kind>,
    more_probed: u64,
    /// What found no room and was left out row by row, though a rule could be about it.
    unkept: u64,
    strange: usize,
    left: BTreeMap<Left, Counts>,
    tried: HashMap<[Party; 2], Day>,
    untried: u64,
    /// Services that rules allow at times.
    timed: Vec<Selector>,
}

/// When somebody was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// First, seconds since 1970 (UTC).
    pub first: i64,
    /// Last.
    pub last: i64,
    /// On which days, ascending.
    pub days: Vec<Day>,
    /// In which hours of the week.
    pub week: Week,
}

/// How much it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Kinds of flow and day.
    pub rows: u64,
    /// Conversations that began.
    pub flows: u64,
}

/// What both readings gave.
pub struct Found {
    /// Each talk.
    pub talks: BTreeMap<Talk, Habit>,
    /// Talks that were answered, as far as their source scanned meanwhile.
    pub in_scans: BTreeMap<Talk, Habit>,
    /// What scans tried and came to nothing.
    pub probed: BTreeSet<Kind>,
    /// Rows of it for which there was no room, and of what was left out since there was no room for another talk.
    pub more_probed: u64,
    /// Whom each source tried while it scanned, and on which day first.
    pub tried: HashMap<[Party; 2], Day>,
    /// Probes of which that is not known: there was no room.
    pub untried: u64,
    /// What was left out row by row.
    pub left: BTreeMap<Left, Counts>,
    /// Who scanned.
    pub scans: Scans,
    /// When anything was seen.
    pub seen: Presence,
    /// When each device was.
    pub devices: BTreeMap<DeviceId, Presence>,
    /// By which thresholds.
    pub settings: Settings,
}

impl Default for Presence {
    fn default() -> Self {
        Self { first: i64::MAX, last: i64::MIN, days: Vec::new(), week: Week::default() }
    }
}

impl Presence {
    fn add(&mut self, row: &Row) {
        self.first = self.first.min(row.seen.first);
        self.last = self.last.max(row.seen.last);
        if let Err(at) = self.days.binary_search(&row.day) {
            self.days.insert(at, row.day);
        }
        self.week.add(row.day, row.seen.hours);
    }
}

impl<'w> First<'w> {
    /// Nothing read yet.
    pub fn new(who: &'w Who<'w>, settings: Settings) -> Self {
        let devices = BTreeMap::new();
        Self { who, settings, scans: Scans::default(), seen: Presence::default(), devices }
    }

    /// Reads a row.
    pub fn read(&mut self, row: &Row) {
        let [(from, _), (to, _)] = self.who.parties(&row.kind);
        let talk = Talk { from, to, service: row.kind.service.unit() };
        // A scan at the edge of the time that is looked at is one all the same.
        self.scans.look(&talk, row, &self.settings);
        if !self.settings.span.holds(row.seen.first, row.seen.last) {
            return;
        }
        self.seen.add(row);
        for party in [from, to] {
            if let Party::Device(id) = party {
                self.devices.entry(id).or_default().add(row);
            }
        }
    }

    /// All rows were read, and come again.
    pub fn again(mut self) -> Second<'w> {
        self.scans.leave_out_habits();
        let policy = self.who.policy();
        let rules = policy.rules.iter().filter(|rule| rule.schedule.is_some());
        let services = rules.flat_map(|rule| &rule.services);
        let timed = services.flat_map(|service| &policy.services[service.0 as usize].selectors);
        let timed: BTreeSet<Selector> = timed.copied().collect();
        Second {
            timed: timed.into_iter().collect(),
            tried: HashMap::new(),
            untried: 0,
            unkept: 0,
            first: self,
            talks: BTreeMap::new(),
            in_scans: BTreeMap::new(),
            probed: BTreeSet::new(),
            more_probed: 0,
            strange: 0,
            left: BTreeMap::new(),
        }
    }
}

impl Second<'_> {
    /// Reads a row.
    pub fn read(&mut self, row: &Row) {
        let First { who, settings, scans, .. } = &self.first;
        let [(from, first), (to, second)] = who.parties(&row.kind);
        let service = row.kind.service.unit();
        let [kind, _] = service.number.to_be_bytes();
        let is_device = |party| matches!(party, Party::Device(_));
        let left = if !settings.span.holds(row.seen.first, row.seen.last) {
            Some(Left::Outside)
        } else if from == Party::Nobody || to == Party::Nobody {
            Some(Left::NoAddress)
        } else if from == to || !(is_device(from) || is_device(to)) {
            Some(Left::Apart)
        } else if who.is_quarantined(from) || who.is_quarantined(to) {
            Some(Left::Quarantined)
        } else if protocol::is_icmp(service.protocol) && icmp::is_error(service.protocol, kind) {
            Some(Left::Error)
        } else {
            None
        };
        if let Some(left) = left {
            return self.leave(left, row);
        }
        let talk = Talk { from, to, service };
        let source = Source::of(from, row);
        if source.end.is_none() && scans.is_part(source, to, row, settings) {
            if self.tried.len() < TALKS || self.tried.contains_key(&[from, to]) {
                let first = self.tried.entry([from, to]).or_insert(row.day);
                *first = row.day.min(*first);
            } else {
                self.untried += 1;
            }
        }
        let end = |party, end: End| matches!(party, Party::Internet | Party::Unknown).then_some(end);
        let end = end(from, first).or(end(to, second));
        let is_strange = end.is_some();
        let Service { protocol, number } = row.kind.service;
        let holds = |one: &Selector| one.protocol == protocol && (one.low..=one.high).contains(&number);
        let is_timed = self.timed.iter().any(holds);
        let in_scan = scans.hold(source, row, settings);
        if in_scan {
            // What failed is no more than the scan; what was answered may be a habit that only a person can tell from it.
            if is_exchange(row) && !is_strange && self.in_scans.len() < STRANGE {
                let habit = self.in_scans.entry(talk).or_insert_with(|| Habit::new(row.kind));
                habit.add(row, end);
                if is_timed {
                    habit.add_times(row);
                }
            } else if self.probed.len() < PROBED || self.probed.contains(&row.kind) {
                self.probed.insert(row.kind);
            } else {
                self.more_probed += 1;
            }
            return self.leave(Left::Scan, row);
        }
        let is_new = !self.talks.contains_key(&talk);
        if is_new && (self.talks.len() >= TALKS || is_strange && self.strange >= STRANGE) {
            self.unkept += 1;
            return self.leave(if is_strange { Left::Unknown } else { Left::NoRoom }, row);
        }
        self.strange += usize::from(is_new && is_strange);
        let habit = self.talks.entry(talk).or_insert_with(|| Habit::new(row.kind));
        habit.add(row, end);
        if is_timed {
            habit.add_times(row);
        }
    }

    fn leave(&mut self, left: Left, row: &Row) {
        let Counts { rows, flows } = self.left.entry(left).or_default();
        *rows += 1;
        *flows = flows.saturating_add(row.seen.flows);
    }

    /// All rows were read.
    pub fn found(self) -> Found {
        let Self {
            first,
            mut talks,
            mut in_scans,
            mut probed,
            more_probed,
            unkept,
            left,
            tried,
            untried,
            ..
        } = self;
        let more_probed = more_probed.saturating_add(unkept);
        let First { who, settings, scans, seen, devices } = first;
        // What other hours alone make no habit of is judged by both: a person has to say.
        for (talk, in_scan) in &mut in_scans {
            let Some(alone) = talks.get(talk).filter(|alone| is_seldom(alone, &settings)) else { continue };
            let mut both = in_scan.clone();
            both.join(alone);
            if !is_seldom(&both, &settings) {
                *in_scan = both;
                talks.remove(talk);
            }
        }
        // What they do make one of, by these alone.
        in_scans.retain(|talk, _| !talks.contains_key(talk));
        probed.retain(|kind| {
            let talk = Talk::of(who, kind);
            !talks.contains_key(&talk) && !in_scans.contains_key(&talk)
        });
        Found { talks, in_scans, probed, more_probed, tried, untried, left, scans, seen, devices, settings }
    }
}

impl Habit {
    /// Whether its conversations came to something on any day.
    pub fn is_exchange(&self) -> bool {
        self.exchanges() > 0
    }
}
