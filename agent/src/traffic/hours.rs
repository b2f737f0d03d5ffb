//! Days, and the hours of a day in which something was seen. All of it is UTC: a local clock has days of 23 and 25 hours.

use std::{fmt, ops::BitOr};

/// Seconds of an hour and of a day.
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// The day of a moment, seconds since 1970.
    pub fn of(moment: i64) -> Self {
        let days = moment.div_euclid(DAY).clamp(i32::MIN.into(), i32::MAX.into());
        Self(i32::try_from(days).expect("it is within the bounds"))
    }

    /// When it begins, seconds since 1970.
    pub fn begin(self) -> i64 {
        i64::from(self.0) * DAY
    }

    /// When the next one begins.
    pub fn end(self) -> i64 {
        self.begin() + DAY
    }

    /// 0 is Monday, 6 is Sunday.
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        u8::try_from((self.0.rem_euclid(7) + 3) % 7).expect("it is below seven")
    }
}

impl fmt::Display for Day {
    /// As `2026-11-23`; as a number of days since 1970 where the calendar ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.begin()) {
            Ok(begin) => write!(f, "{}", begin.strftime("%F")),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

/// Hours of one day.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hours(u32);

impl Hours {
    /// All hours of a day.
    pub const ALL: Self = Self((1 << 24) - 1);

    /// The hour of a moment, seconds since 1970.
    pub fn of(moment: i64) -> Self {
        Self(1 << (moment.rem_euclid(DAY) / HOUR))
    }

    /// The hours of `day` that a time touches: from one moment to another, both included.
    pub fn between(day: Day, first: i64, last: i64) -> Self {
        let (first, last) = (first.max(day.begin()), last.min(day.end() - 1));
        if first > last {
            return Self(0);
        }
        let hour = |moment: i64| (moment - day.begin()) / HOUR;
        let below = |hour: i64| (1_u32 << hour) - 1;
        Self(below(hour(last) + 1) & !below(hour(first)))
    }

    /// The first and the last moment of each of these hours of `day` in which something may have been seen that was seen from `first` to
    /// `last`.
    pub fn edges(self, day: Day, first: i64, last: i64) -> impl Iterator<Item = [i64; 2]> {
        self.each().map(move |hour| {
            let begin = day.begin() + i64::from(hour) * HOUR;
            let end = begin + HOUR - 1;
            let within = [begin.max(first), end.min(last)];
            // Whoever says that it was in an hour in which it was not knows no better.
            if within[0] <= within[1] { within } else { [begin, end] }
        })
    }

    /// As bits, that of the first hour lowest.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Of bits; those beyond a day are left out.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// How many they are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Each of them, 0 to 23.
    pub fn each(self) -> impl Iterator<Item = u8> {
        (0..24).filter(move |hour| self.0 >> hour & 1 == 1)
    }
}

impl BitOr for Hours {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.each()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_before_1970_too() {
        assert_eq!([-1, 0, DAY - 1, DAY].map(Day::of), [Day(-1), Day(0), Day(0), Day(1)]);
        assert_eq!((Day(1).begin(), Day(1).end()), (DAY, 2 * DAY));
        // 2026-11-23 is a Monday.
        assert_eq!([20_780, 20_786].map(|day| Day(day).weekday()), [0, 6]);
        assert_eq!(Day(-3).weekday(), 0);
        assert_eq!(Day::of(i64::MAX), Day(i32::MAX));
    }

    #[test]
    fn hours_are_those_that_a_time_touches() {
        let hours = |first, last| Hours::between(Day(1), first, last).each().collect::<Vec<u8>>();
        let none: [u8; 0] = [];
        assert_eq!(hours(DAY + 2 * HOUR, DAY + 4 * HOUR), [2, 3, 4]);
        assert_eq!(hours(DAY + HOUR - 1, DAY + HOUR), [0, 1]);
        assert_eq!(hours(0, DAY), [0]);
        assert_eq!(Hours::between(Day(1), 0, 3 * DAY), Hours::ALL);
        assert_eq!(hours(0, DAY - 1), none);
        assert_eq!(hours(2 * DAY, 3 * DAY), none);
        assert_eq!(Hours::of(DAY + 5 * HOUR).each().collect::<Vec<u8>>(), [5]);
        assert_eq!(Hours::from_bits(u32::MAX), Hours::ALL);
        let edges = |first, last| Hours::from_bits(0b111).edges(Day(1), first, last).collect::<Vec<_>>();
        let (one, two) = (DAY + HOUR, DAY + 2 * HOUR);
        assert_eq!(edges(i64::MIN, i64::MAX), [[DAY, one - 1], [one, two - 1], [two, two + HOUR - 1]]);
        assert_eq!(edges(DAY + 9, two + 7), [[DAY + 9, one - 1], [one, two - 1], [two, two + 7]]);
        assert_eq!(edges(DAY + 9, DAY + 9)[1], [one, two - 1], "the hours are not those of the moments");
    }
}
