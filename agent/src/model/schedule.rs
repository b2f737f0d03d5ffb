//! When a rule holds: until a date, and within weekly windows. No clock is asked here; time is an argument.
//!
//! A window lives on the clock on a wall: it opens the first time that clock shows `from` or later on a day of
//! `days`, and closes the first time it shows `to` or later. So where a change of daylight saving time skips `from`
//! or `to`, the moment of the change counts; where the clock shows it twice, the first time counts. A window that
//! lies within a skipped hour does not open that day, and windows that touch on paper touch in every week.

use std::{collections::BTreeSet, sync::LazyLock};

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

mod words;
pub use words::{DAYS, clock};

/// When a rule holds: before it expires, and while one of its windows is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schedule {
    /// From then on it never holds again.
    pub expires: Option<Timestamp>,
    /// Sorted, without duplicates; empty means at any time of the week.
    pub windows: Vec<Window>,
}

/// A span of time that comes again every week.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The days on which it begins: bit 0 is Monday, bit 6 Sunday. Never 0.
    pub days: u8,
    /// Minute of the day at which it begins, 0-1439.
    pub from: u16,
    /// Minute of the day at which it ends, 1-1440; not after `from` means on the next day. Never `from`.
    pub to: u16,
    /// Name of the time zone in the IANA database, such as `Europe/Berlin`, in the database's own spelling.
    pub zone: String,
}

/// Minutes of a day on paper.
const DAY: u16 = 1440;

/// How many times windows are joined before the answer is "not for a long time": windows of two zones may take
/// turns for months until a change of daylight saving time parts them.
const JOINTS: usize = 1500;

/// A window comes again within a week; the hour it lies in may be skipped in one of them.
const HORIZON_DAYS: i64 = 16;

/// The database in this binary, never the system's, so that the same policy means the same on every machine.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The spelling of a time zone's name in the IANA database; `None` when it knows none of that name.
pub fn time_zone(name: &str) -> Option<String> {
    let zone = zone(name)?;
    zone.iana_name().map(str::to_owned)
}

/// The names of all time zones, sorted.
pub fn time_zones() -> Vec<String> {
    let names: BTreeSet<String> = ZONES.available().map(|name| name.as_str().to_owned()).collect();
    names.into_iter().collect()
}

fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok().filter(|zone| !zone.is_unknown())
}

impl Schedule {
    /// Whether it will never hold again because its date has passed.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// When it closes, if it is open: windows that overlap or touch are one. [`Timestamp::MAX`] is never.
    ///
    /// Where windows of several zones join for years, it is a time some years ahead at which it is still open.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = self.expires.unwrap_or(Timestamp::MAX);
        if limit <= now {
            return None;
        }
        if self.windows.is_empty() || self.fills_the_week() {
            return Some(limit);
        }
        let windows = self.located();
        let mut end = now;
        for _ in 0..JOINTS {
            let later = windows.iter().filter_map(|(window, zone)| window.end_after(zone, end)).max();
            match later {
                Some(later) => end = later,
                None => break,
            }
            if end >= limit {
                return Some(limit);
            }
        }
        (end > now).then_some(end)
    }

    /// When it next turns from closed to open, after `now`; `None` when it does not.
    pub fn opens_next(&self, now: Timestamp) -> Option<Timestamp> {
        if self.windows.is_empty() || self.has_expired(now) {
            return None;
        }
        let closed = self.open_until(now).unwrap_or(now);
        let windows = self.located();
        let next = windows.iter().filter_map(|(window, zone)| window.start_after(zone, closed)).min()?;
        self.expires.is_none_or(|expires| next < expires).then_some(next)
    }

    /// The windows with their zones. A zone the database does not know never opens.
    fn located(&self) -> Vec<(&Window, TimeZone)> {
        self.windows.iter().filter_map(|window| Some((window, zone(&window.zone)?))).collect()
    }

    /// Whether the windows of one zone leave no minute of the week closed.
    fn fills_the_week(&self) -> bool {
        let zones: BTreeSet<&str> = self.windows.iter().map(|window| window.zone.as_str()).collect();
        zones.into_iter().any(|name| {
            let windows = self.windows.iter().filter(|window| window.zone == name);
            let mut spans: Vec<(u32, u32)> = windows.flat_map(Window::spans).collect();
            spans.sort_unstable();
            let week = 7 * u32::from(DAY);
            let first = spans.first().map_or(week, |span| span.0);
            let last = spans.iter().try_fold(first, |end, span| (span.0 <= end).then(|| end.max(span.1)));
            // What runs over the end of Sunday covers the beginning of Monday.
            zone(name).is_some() && last.is_some_and(|last| last >= first + week)
        })
    }
}

impl Window {
    /// Whether it begins on this day of the week.
    fn begins_on(&self, date: Date) -> bool {
        self.days >> date.weekday().to_monday_zero_offset() & 1 == 1
    }

    /// Minutes of the week, Monday first; the last one may run over the end.
    fn spans(&self) -> impl Iterator<Item = (u32, u32)> {
        let (from, to) = (u32::from(self.from), u32::from(self.to));
        let to = if to <= from { to + u32::from(DAY) } else { to };
        let days = (0..7_u32).filter(|day| self.days >> day & 1 == 1);
        days.map(move |day| (day * u32::from(DAY) + from, day * u32::from(DAY) + to))
    }

    /// When the span that begins on `date` opens and closes.
    fn on(&self, zone: &TimeZone, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.begins_on(date) {
            return None;
        }
        let last = if self.to <= self.from { date.tomorrow().ok()? } else { date };
        Some((shows(zone, date, self.from)?, shows(zone, last, self.to)?))
    }

    /// When the span that is open at `now` closes.
    fn end_after(&self, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        let spans = around(zone, now, -2..=1).filter_map(|date| self.on(zone, date));
        spans.filter(|(start, end)| *start <= now && now < *end).map(|(_, end)| end).max()
    }

    /// When the next span opens that is not open before `now`.
    fn start_after(&self, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        let spans = around(zone, now, -1..=HORIZON_DAYS).filter_map(|date| self.on(zone, date));
        spans.filter(|(start, end)| *start > now && start < end).map(|(start, _)| start).min()
    }
}

/// The days around a moment, by the calendar of a zone.
fn around(
    zone: &TimeZone,
    now: Timestamp,
    days: std::ops::RangeInclusive<i64>,
) -> impl Iterator<Item = Date> {
    let today = zone.to_datetime(now).date();
    days.filter_map(move |days| today.checked_add(jiff::Span::new().days(days)).ok())
}

/// The first moment at which the clocks of a zone show this minute of this day, or later.
fn shows(zone: &TimeZone, date: Date, minute: u16) -> Option<Timestamp> {
    let date = if minute == DAY { date.tomorrow().ok()? } else { date };
    let minute = minute % DAY;
    let time: DateTime = date.at(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0);
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
        AmbiguousOffset::Fold { before, after: _ } => before.to_timestamp(time).ok(),
        // With the offset after the change, a time that is skipped lies just before the change.
        AmbiguousOffset::Gap { before: _, after } => {
            let earlier = after.to_timestamp(time).ok()?;
            zone.following(earlier).next().map(|change| change.timestamp())
        }
    }
}

#[cfg(test)]
mod tests;
