//! Who tries many. In: every row, in any order. Out: in which hours of which days a source scanned.
//!
//! A probe is a kind of flow with few conversations of few packets on its day, answered or not: an open port answers a scanner too. So
//! many probes of one source on one day are a scan, and so are as many services that fail at whatever it asks: a flood
//! that goes round the ports. A poller whose devices are switched off fails at one service, and often: it is no scan. What was
//! seen of a source in hours in which it scanned proves nothing, so a scan that comes every night is not learned either.
//! What is more than a probe on another day is a habit that was seen for a moment: on a day that was cut it makes no scan.

use std::collections::{HashMap, HashSet};

use bulkhead_common::wire::{icmp, protocol};

use super::{Party, Talk, settings::Settings};
use crate::traffic::{Day, End, Hours, Row, Seen, Service};

/// As many sources are watched, each day by itself, and as many that nobody knows: what is more is counted.
const WATCHED: usize = 500_000;
/// As many talks are known as habits, and as many probes by their talks: what is more stays a probe.
const TALKS: usize = 1_000_000;

/// Who tries: those whom nobody knows are told apart by their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// As talks name it.
    pub party: Party,
    /// Its address, where the party stands for many.
    pub end: Option<End>,
}

impl Source {
    /// Whose row it is.
    pub(super) fn of(party: Party, row: &Row) -> Self {
        let is_many = matches!(party, Party::Internet | Party::Unknown | Party::Nobody);
        Self { party, end: is_many.then_some(row.kind.from) }
    }
}

/// What a source did on a day.
#[derive(Default)]
struct Watched {
    probes: u32,
    failed: Vec<Service>,
    hours: Hours,
}

/// What one source did while it scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Probes on that day.
    pub probes: u32,
    /// In which hours they were.
    pub hours: Hours,
}

/// The scans of a time.
#[derive(Default)]
pub struct Scans {
    watched: HashMap<(Source, Day), Watched>,
    /// How many of them are known, and how many are not.
    kept: [usize; 2],
    /// Rows of known sources that found no place: of nobody it can be said then that he did not scan.
    pub unwatched: u64,
    /// Talks that came to something and were more than a probe on some day.
    habits: HashSet<Talk>,
    /// On which days each talk was a probe, in which hours, and how many days that are together.
    probes: HashMap<Talk, Vec<(Day, Hours)>>,
    noted: usize,
}

impl Scans {
    /// Looks at a row.
    pub(super) fn look(&mut self, talk: &Talk, row: &Row, settings: &Settings) {
        let from = Source::of(talk.from, row);
        let is_probe = is_probe(talk.to, row, settings);
        let fails = fails(talk.to, row);
        if !is_probe && !fails && from.end.is_none() && self.habits.len() < TALKS && is_exchange(row) {
            self.habits.insert(*talk);
        }
        if !is_probe && !fails {
            return;
        }
        let key = (from, row.day);
        // Nothing is ever learned of those whom nobody knows: however many they are, they take no room of the others.
        let of = usize::from(from.end.is_some());
        if self.kept[of] >= WATCHED && !self.watched.contains_key(&key) {
            self.unwatched += u64::from(from.end.is_none());
            return;
        }
        let watched = self.watched.entry(key).or_insert_with(|| {
            self.kept[of] += 1;
            Watched::default()
        });
        watched.probes = watched.probes.saturating_add(u32::from(is_probe));
        let is_noted = is_probe && from.end.is_none() && self.noted < TALKS;
        if is_noted {
            self.noted += 1;
            self.probes.entry(*talk).or_default().push((row.day, row.seen.hours));
        }
        // Whether the others are hours of a scan is known when all rows were looked at.
        if fails || !is_noted {
            watched.hours = watched.hours | row.seen.hours;
        }
        let service = row.kind.service;
        if fails && watched.failed.len() < settings.fan_out as usize && !watched.failed.contains(&service) {
            watched.failed.push(service);
        }
    }

    /// All rows were looked at: what was more than a probe on another day is none on any, and its hours are none of a scan.
    pub(super) fn leave_out_habits(&mut self) {
        let Self { watched, habits, probes, .. } = self;
        for (talk, days) in probes.drain() {
            let source = Source { party: talk.from, end: None };
            let is_habit = habits.contains(&talk);
            for (day, hours) in days {
                let Some(watched) = watched.get_mut(&(source, day)) else { continue };
                if is_habit {
                    watched.probes = watched.probes.saturating_sub(1);
                } else {
                    watched.hours = watched.hours | hours;
                }
            }
        }
        habits.clear();
    }

    /// What a source did on a day, if that was a scan.
    pub fn of(&self, from: Source, day: Day, settings: &Settings) -> Option<Scanned> {
        let Watched { probes, failed, hours } = self.watched.get(&(from, day))?;
        let is_scan = *probes >= settings.fan_out || failed.len() >= settings.fan_out as usize;
        let probes = (*probes).max(u32::try_from(failed.len()).unwrap_or(u32::MAX));
        is_scan.then_some(Scanned { probes, hours: *hours })
    }

    /// Every scan: who, when, how.
    pub fn all(&self, settings: &Settings) -> Vec<(Source, Day, Scanned)> {
        let keys = self.watched.keys();
        let found = keys.filter_map(|(from, day)| Some((*from, *day, self.of(*from, *day, settings)?)));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|(from, day, _)| (*from, *day));
        found
    }

    /// Whether a row is one of those that make its source a scanner on its day.
    pub(super) fn is_part(&self, from: Source, to: Party, row: &Row, settings: &Settings) -> bool {
        (is_probe(to, row, settings) || fails(to, row)) && self.of(from, row.day, settings).is_some()
    }

    /// Whether all that a row tells happened while its source scanned.
    pub(super) fn hold(&self, from: Source, row: &Row, settings: &Settings) -> bool {
        let scanned = self.of(from, row.day, settings);
        scanned.is_some_and(|scanned| row.seen.hours.bits() & !scanned.hours.bits() == 0)
    }
}

/// Whether the conversations of a row came to something.
pub(super) fn is_exchange(row: &Row) -> bool {
    row.seen.is_exchange(row.kind.service.protocol)
}

fn is_probe(to: Party, row: &Row, settings: &Settings) -> bool {
    let flows = row.seen.flows;
    asks(to, row) && flows > 0 && flows <= settings.probe_flows && {
        row.seen.packets[0] <= flows.saturating_mul(settings.probe_packets)
    }
}

/// Services differ, and whatever is asked does not answer. Of a datagram to many nobody expects it.
fn fails(to: Party, row: &Row) -> bool {
    asks(to, row) && !is_exchange(row)
}

/// Whether who is said to have begun asked for anything: whoever only refuses what he is answered to without having asked tries nobody.
fn asks(to: Party, row: &Row) -> bool {
    let Seen { opened, answered, packets: [there, back], .. } = row.seen;
    let refuses = row.kind.service.protocol == protocol::TCP && opened == 0 && answered == 0 && there <= back;
    // Not every source counts packets.
    has_targets(to, row) && (there > 0 || opened > 0) && !refuses
}

/// Whether it can be part of a scan: it asks one host for something, and no group and nobody's whole network.
fn has_targets(to: Party, row: &Row) -> bool {
    let Service { protocol, number } = row.kind.service;
    let [kind, _] = number.to_be_bytes();
    let one = !to.is_many() && row.kind.to.address.is_some_and(|address| !address.is_multicast());
    one && !(protocol::is_icmp(protocol) && icmp::is_error(protocol, kind))
}
