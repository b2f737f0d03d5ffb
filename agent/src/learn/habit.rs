//! How often, when, how: what is known of one talk. In: rows of its kinds, in any order. Out: sums that do not depend on it.

use std::collections::BTreeSet;

use super::{Party, Talk};
use crate::traffic::{Day, End, Hours, Kind, Row, Seen};

/// As many ends of those that are told of together are kept.
pub(super) const ENDS: usize = 16;

/// Hours of the week in which something was seen, from Monday 0 o'clock UTC on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Week([u32; 7]);

impl Week {
    /// Adds hours of a day.
    pub fn add(&mut self, day: Day, hours: Hours) {
        self.0[usize::from(day.weekday())] |= hours.bits();
    }

    /// All hours of both.
    pub fn join(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// How many of the 168.
    pub fn count(self) -> u32 {
        self.0.iter().map(|day| day.count_ones()).sum()
    }
}

/// When something was seen on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Which day.
    pub day: Day,
    /// First, seconds since 1970 (UTC).
    pub first: i64,
    /// Last.
    pub last: i64,
    /// In which of its hours.
    pub hours: Hours,
}

/// What is known of one talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habit {
    /// Conversations that began.
    pub flows: u64,
    /// Those of them whose first packet was seen.
    pub opened: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Packets from who began, and from who answers.
    pub packets: [u64; 2],
    /// Bytes likewise.
    pub bytes: [u64; 2],
    /// When it was seen first, seconds since 1970 (UTC).
    pub first: i64,
    /// When it was seen last.
    pub last: i64,
    /// The longest silence within one day, s.
    pub pause: u32,
    /// How often one conversation followed another of its kind on the same day,
    pub intervals: u64,
    /// and for how many seconds those days went on, from the first sign of life to the last.
    pub lasted: u64,
    /// On which days, ascending.
    pub days: Vec<Day>,
    /// Those of them on which no conversation came to something, ascending.
    pub fruitless: Vec<Day>,
    /// Those on which something went on that was counted on an earlier day, ascending.
    pub going_on: Vec<Day>,
    /// When, day by day: only of services that a rule allows at times.
    pub times: Vec<Times>,
    /// In how many hours.
    pub hours: u32,
    /// In which hours of the week.
    pub week: Week,
    /// The kinds with the lowest and the highest addresses: those that are asked about.
    pub samples: [Kind; 2],
    /// Who they are, where many are told of together: at most 16.
    pub ends: BTreeSet<End>,
}

impl Habit {
    /// Nothing yet.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            flows: 0,
            opened: 0,
            answered: 0,
            packets: [0; 2],
            bytes: [0; 2],
            first: i64::MAX,
            last: i64::MIN,
            pause: 0,
            intervals: 0,
            lasted: 0,
            days: Vec::new(),
            fruitless: Vec::new(),
            going_on: Vec::new(),
            times: Vec::new(),
            hours: 0,
            week: Week::default(),
            samples: [kind; 2],
            ends: BTreeSet::new(),
        }
    }

    /// Adds a row; of an end that stands for many, the address.
    pub(super) fn add(&mut self, row: &Row, end: Option<End>) {
        let Row { kind, day, seen } = row;
        let add = |counter: &mut u64, more: u64| *counter = counter.saturating_add(more);
        add(&mut self.flows, seen.flows);
        add(&mut self.opened, seen.opened);
        add(&mut self.answered, seen.answered);
        for side in 0..2 {
            add(&mut self.packets[side], seen.packets[side]);
            add(&mut self.bytes[side], seen.bytes[side]);
        }
        self.first = self.first.min(seen.first);
        self.last = self.last.max(seen.last);
        self.pause = self.pause.max(seen.pause);
        // One alone says nothing of when the next is due.
        if seen.flows > 1 {
            add(&mut self.intervals, seen.flows - 1);
            add(&mut self.lasted, u64::try_from(seen.last - seen.first).unwrap_or(0));
        }
        let is_exchange = seen.is_exchange(kind.service.protocol);
        if let Err(at) = self.days.binary_search(day) {
            self.days.insert(at, *day);
            if let (false, Err(at)) = (is_exchange, self.fruitless.binary_search(day)) {
                self.fruitless.insert(at, *day);
            }
        } else if let (true, Ok(at)) = (is_exchange, self.fruitless.binary_search(day)) {
            self.fruitless.remove(at);
        }
        // What a source tells as one flow of several days stands on the first of them with all that it counts.
        if let (true, Err(at)) = (seen.flows == 0 && seen.packets == [0; 2], self.going_on.binary_search(day))
        {
            self.going_on.insert(at, *day);
        }
        self.hours = self.hours.saturating_add(seen.hours.count());
        self.week.add(*day, seen.hours);
        let [low, high] = &mut self.samples;
        *low = (*low).min(*kind);
        *high = (*high).max(*kind);
        if let Some(end) = end {
            self.add_end(end);
        }
    }

    /// The lowest are kept, whatever came first.
    fn add_end(&mut self, end: End) {
        self.ends.insert(end);
        if self.ends.len() > ENDS {
            self.ends.pop_last();
        }
    }

    /// Adds what is known of the same talk from other rows.
    pub(super) fn join(&mut self, other: &Self) {
        let add = |counter: &mut u64, more: u64| *counter = counter.saturating_add(more);
        add(&mut self.flows, other.flows);
        add(&mut self.opened, other.opened);
        add(&mut self.answered, other.answered);
        for side in 0..2 {
            add(&mut self.packets[side], other.packets[side]);
            add(&mut self.bytes[side], other.bytes[side]);
        }
        add(&mut self.intervals, other.intervals);
        add(&mut self.lasted, other.lasted);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.pause = self.pause.max(other.pause);
        let came = |one: &Self, day: &Day| {
            one.days.binary_search(day).is_ok() && one.fruitless.binary_search(day).is_err()
        };
        let days = joined(&self.days, &other.days);
        self.fruitless = days.iter().copied().filter(|day| !came(self, day) && !came(other, day)).collect();
        self.going_on = joined(&self.going_on, &other.going_on);
        self.days = days;
        other.times.iter().for_each(|times| self.add_time(*times));
        self.hours = self.hours.saturating_add(other.hours);
        self.week.join(other.week);
        let [low, high] = &mut self.samples;
        *low = (*low).min(other.samples[0]);
        *high = (*high).max(other.samples[1]);
        other.ends.iter().for_each(|end| self.add_end(*end));
    }

    /// Adds when a row was seen.
    pub(super) fn add_times(&mut self, row: &Row) {
        let Seen { first, last, hours, .. } = row.seen;
        // Not every source tells hours.
        let hours = if hours.bits() == 0 { Hours::between(row.day, first, last) } else { hours };
        self.add_time(Times { day: row.day, first, last, hours });
    }

    fn add_time(&mut self, more: Times) {
        match self.times.binary_search_by_key(&more.day, |times| times.day) {
            Ok(at) => {
                let times = &mut self.times[at];
                (times.first, times.last) = (times.first.min(more.first), times.last.max(more.last));
                times.hours = times.hours | more.hours;
            }
            Err(at) => self.times.insert(at, more),
        }
    }

    /// The kind of it with one of [`Habit::ends`].
    pub(super) fn with(&self, talk: &Talk, end: End) -> Kind {
        let kind = self.samples[0];
        // Frames stand in any order.
        if kind.from.address.is_none() {
            return kind;
        }
        let is_many = |party| matches!(party, Party::Internet | Party::Unknown);
        if is_many(talk.from) { Kind { from: end, ..kind } } else { Kind { to: end, ..kind } }
    }

    /// On how many days.
    pub fn day_count(&self) -> u32 {
        u32::try_from(self.days.len()).unwrap_or(u32::MAX)
    }

    /// On how many days its conversations came to something.
    pub fn exchanges(&self) -> u32 {
        u32::try_from(self.fruitful().count()).unwrap_or(u32::MAX)
    }

    /// These days, ascending. What goes on from such a day came to something on the next as well.
    fn fruitful(&self) -> impl Iterator<Item = Day> + '_ {
        let mut before = None;
        self.days.iter().copied().filter(move |day| {
            let is_in = |list: &[Day]| list.binary_search(day).is_ok();
            let goes_on = before.is_some_and(|Day(before)| day.0 == before + 1) && is_in(&self.going_on);
            let is_fruitful = goes_on || !is_in(&self.fruitless);
            if is_fruitful {
                before = Some(*day);
            }
            is_fruitful
        })
    }

    /// The first of these days.
    pub fn first_exchange(&self) -> Option<Day> {
        self.fruitful().next()
    }

    /// Seconds from the begin of one conversation to that of the next on the same day, where there are enough to say so: ten of them, and half
    /// of them with one before. The last one of a day counts to its end.
    pub fn period(&self) -> Option<u64> {
        let is_enough = self.flows >= 10 && self.intervals >= self.flows.div_ceil(2);
        is_enough.then(|| self.lasted / self.intervals)
    }
}

/// Both, ascending.
fn joined(one: &[Day], other: &[Day]) -> Vec<Day> {
    one.iter().chain(other).copied().collect::<BTreeSet<Day>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::traffic::Service;

    /// So many conversations on each of so many days, so many seconds apart.
    fn period(days: i32, flows: u64, seconds: u64) -> Option<u64> {
        let [from, to] = [1, 2].map(|last| End::at(IpAddr::from([10, 0, 0, last])));
        let kind = Kind { from, to, service: Service { protocol: 6, number: 502 } };
        let mut habit = Habit::new(kind);
        for day in (20_780..20_780 + days).map(Day) {
            let first = day.begin();
            let last = first + i64::try_from((flows - 1) * seconds).expect("it is little");
            let seen = Seen { flows, last, ..Seen::at(first) };
            habit.add(&Row { kind, day, seen }, None);
        }
        habit.period()
    }

    #[test]
    fn period_is_from_the_begin_of_one_to_that_of_the_next() {
        for (flows, seconds) in [(48, 1800), (24, 3600), (12, 7200), (2, 7200)] {
            assert_eq!(period(21, flows, seconds), Some(seconds), "{flows} a day");
        }
        assert_eq!(period(18, 1, 0), None, "once a day says nothing of seconds");
        assert_eq!(period(1, 9, 60), None, "nine are too few");
    }
}
