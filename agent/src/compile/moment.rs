//! What time does to tables: until when each of their schedules is open. The revision stays.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Tables;
use crate::model::{Schedule, Window};

impl Tables {
    /// Until when each schedule is open, on the monotonic clock in ns, at a moment that both clocks show. 0 is closed,
    /// [`u64::MAX`] is open for good.
    pub fn deadlines(&self, now: Timestamp, monotonic: u64) -> Vec<u64> {
        let until = |any: &Vec<Schedule>| {
            let Some(end) = open_until(&merged(any), now) else { return 0 };
            if end == Timestamp::MAX {
                return u64::MAX;
            }
            let left = end.duration_since(now).as_nanos();
            monotonic.saturating_add(u64::try_from(left).unwrap_or(0))
        };
        self.schedules.iter().map(until).collect()
    }

    /// The same for an answer about something that was seen `then`: what a window allowed last night it allows again, and what has
    /// expired `now` it does not. All that is open is so for good.
    pub fn deadlines_as_of(&self, then: Timestamp, now: Timestamp) -> Vec<u64> {
        let holds = |one: &Schedule| !one.has_expired(now) && one.open_until(then).is_some();
        self.schedules.iter().map(|set| if set.iter().any(holds) { u64::MAX } else { 0 }).collect()
    }
}

/// Hours that a [`Calendar`] remembers.
const MOST_HOURS: usize = 1 << 14;
/// Seconds of a minute and of an hour.
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// Which schedules were open when, for whoever asks often.
#[derive(Debug)]
pub struct Calendar<'t> {
    tables: &'t Tables,
    now: Timestamp,
    /// Of each hour the minutes at which something opens or closes, the first one of all among them.
    known: BTreeMap<i64, Vec<(i64, Vec<u64>)>>,
}

impl<'t> Calendar<'t> {
    /// Of tables; what has expired `now` was never open.
    pub fn new(tables: &'t Tables, now: Timestamp) -> Self {
        Self { tables, now, known: BTreeMap::new() }
    }

    /// [`Tables::deadlines_as_of`] each minute from one moment to another of the same hour, seconds since 1970: one of those that say the
    /// same one after the other, with its moment.
    pub fn during(&mut self, [first, last]: [i64; 2]) -> Vec<(i64, Vec<u64>)> {
        let hour = first.div_euclid(HOUR) * HOUR;
        if self.known.len() >= MOST_HOURS && !self.known.contains_key(&hour) {
            self.known.clear();
        }
        let (tables, now) = (self.tables, self.now);
        let all = self.known.entry(hour).or_insert_with(|| {
            let minutes = (0..60).map(|minute| hour.saturating_add(minute * MINUTE));
            let mut all: Vec<(i64, Vec<u64>)> = minutes
                .map(|at| {
                    let then = Timestamp::from_second(at).unwrap_or(now);
                    (at, tables.deadlines_as_of(then, now))
                })
                .collect();
            all.dedup_by(|(_, open), (_, before)| open == before);
            all
        });
        let ends = all.iter().skip(1).map(|(from, _)| *from).chain([i64::MAX]);
        let touched = all.iter().zip(ends).filter(|((from, _), end)| *from <= last && *end > first);
        touched.map(|((from, open), _)| ((*from).max(first), open.clone())).collect()
    }
}

/// How many schedules that end at different dates are followed one after the other: whoever takes turns more often is told
/// at the next one.
const JOINTS: usize = 16;

/// When none of several schedules is open any more, if one is.
fn open_until(any: &[Schedule], now: Timestamp) -> Option<Timestamp> {
    let mut end = now;
    for _ in 0..JOINTS {
        match any.iter().filter_map(|schedule| schedule.open_until(end)).max() {
            Some(later) if later > end => end = later,
            Some(_) | None => break,
        }
    }
    (end > now).then_some(end)
}

/// The same schedules with the windows of those that end alike together: they join as those of one schedule do.
fn merged(any: &[Schedule]) -> Vec<Schedule> {
    let mut by_end: BTreeMap<Option<Timestamp>, Vec<Window>> = BTreeMap::new();
    let always: BTreeSet<_> =
        any.iter().filter(|one| one.windows.is_empty()).map(|one| one.expires).collect();
    for schedule in any {
        let windows = by_end.entry(schedule.expires).or_default();
        if !always.contains(&schedule.expires) {
            windows.extend(schedule.windows.iter().cloned());
        }
    }
    let schedule = |(expires, mut windows): (_, Vec<Window>)| {
        windows.sort();
        windows.dedup();
        Schedule { expires, windows }
    };
    by_end.into_iter().map(schedule).collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        compile::{Limits, compile},
        policy::{SourceFile, resolve_texts},
    };

    const ROOM: Limits = Limits { devices: 16, rules: 16, rows: 1000 };

    #[test]
    fn a_row_is_open_whenever_one_of_its_rules_is() {
        let text = r#"version = 1
[device.plc]
ip = "10.1.0.1"
[[device.plc.allow]]
from = "any"
service = "ssh"
expires = 2027-01-01T00:00:00Z
[[device.plc.allow]]
from = "any"
service = ["ssh", "https"]
windows = [{ days = "mon", from = "08:00", to = "10:00", zone = "UTC" }]
[[device.plc.allow]]
from = "any"
service = "ntp"
"#;
        let files = [SourceFile { path: "p.toml".into(), text: text.into() }];
        let policy = resolve_texts(&files).policy.expect("it is valid");
        let tables = compile(&policy, &ROOM).expect("it is small");
        assert_eq!(tables.schedules.len(), 2, "the window alone, and both where both allow the same");
        let at = |time: &str| {
            let mut found = tables.deadlines(time.parse().expect("a time"), 1_000);
            found.sort();
            found
        };
        let hour = 3_600_000_000_000;
        // A Sunday; a Monday in the window; a Monday after everything.
        assert_eq!(at("2026-12-27T00:00:00Z"), [0, 1_000 + 5 * 24 * hour]);
        assert_eq!(at("2026-12-28T09:00:00Z")[0], 1_000 + hour);
        assert_eq!(at("2027-01-04T10:00:00Z"), [0, 0]);
        assert_eq!(at("2027-01-04T09:30:00Z"), [1_000 + hour / 2; 2]);
    }

    #[test]
    fn rules_that_take_turns_leave_no_gap() {
        let shift = |from: &str, to: &str, more: &str| {
            format!(
                "[[device.plc.allow]]\nfrom = \"any\"\nservice = \"ssh\"\n{more}\
                 windows = [{{ days = \"mon-sun\", from = \"{from}\", to = \"{to}\", zone = \"UTC\" }}]\n"
            )
        };
        let ends = |rules: &[String], time: &str| {
            let text = format!("version = 1\n[device.plc]\nip = \"10.1.0.1\"\n{}", rules.concat());
            let files = [SourceFile { path: "p.toml".into(), text }];
            let outcome = resolve_texts(&files);
            let tables = compile(&outcome.policy.expect("it is valid"), &ROOM).expect("it is small");
            tables.deadlines(time.parse().expect("a time"), 0)
        };
        let minute = 60_000_000_000;
        let early = shift("06:00", "14:00", "");
        let late = shift("14:00", "22:00", "");
        let night = shift("22:00", "06:00", "");
        let by_day = [early.clone(), late.clone()];
        assert_eq!(ends(&by_day, "2026-12-28T13:00:00Z"), [9 * 60 * minute], "early and late shift");
        assert_eq!(ends(&[early.clone(), late, night.clone()], "2026-12-28T13:00:00Z"), [u64::MAX]);
        let until = "expires = 2026-12-28T23:00:00Z\n";
        let ending = [early, shift("13:30", "22:30", until), night];
        assert_eq!(ends(&ending, "2026-12-28T13:00:00Z"), [25 * 60 * minute], "after another night");
    }
}
