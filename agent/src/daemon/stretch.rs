//! For how long somebody has been looking, whatever is done to the clock on the wall meanwhile.
//!
//! A gateway without a battery begins in 1970, and one whose time server lies may be in any year. How much time has passed is what the
//! monotonic clock says; the wall clock only says where that time lies, as it is set at the end.

use crate::{
    history::Watched,
    observe::Clock,
    traffic::{Day, Hours, Row},
};

/// The two clocks may drift apart by so much before the wall clock counts as set, s: a time server slews.
const SLACK: i64 = 30;

/// A time that began and has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// By the wall clock as it was set then, s since 1970.
    wall: i64,
    /// By the monotonic clock, ns.
    mono: u64,
}

/// What a stretch was, by the clock as it is set at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// Since when and until when.
    pub(super) watched: Watched,
    /// It does not begin where the one before it ended: the clock was set, or the machine slept.
    pub(super) is_apart: bool,
}

impl Stretch {
    /// It begins.
    pub(super) fn begin(clock: &Clock) -> Self {
        Self { wall: clock.wall.as_second(), mono: clock.mono_ns }
    }

    /// How far the clock was set since, s; what was told by the old one is that much off.
    pub(super) fn was_set_by(self, now: &Clock) -> i64 {
        now.at(self.mono).as_second().saturating_sub(self.wall)
    }

    /// What it is up to now.
    pub(super) fn up_to(self, now: &Clock) -> Looked {
        let to = now.wall.as_second();
        let from = now.at(self.mono).as_second().min(to);
        if from.abs_diff(self.wall) <= SLACK.unsigned_abs() {
            Looked { watched: Watched { from: self.wall.min(to), to }, is_apart: false }
        } else {
            Looked { watched: Watched { from, to }, is_apart: true }
        }
    }
}

/// A row that was told by a clock that was set since: one that lies outside of the time that was watched is brought there.
pub(super) fn moved(row: Row, watched: Watched, by: i64) -> Row {
    let Row { kind, day, mut seen } = row;
    if (watched.from.saturating_sub(SLACK)..=watched.to.saturating_add(SLACK)).contains(&seen.last) {
        return Row { kind, day, seen };
    }
    let within = |moment: i64| moment.saturating_add(by).clamp(watched.from, watched.to);
    let day = Day::of(within(seen.last));
    seen.last = within(seen.last);
    seen.first = within(seen.first).max(day.begin());
    seen.hours = Hours::between(day, seen.first, seen.last);
    Row { kind, day, seen }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn clock(wall: i64, mono: u64) -> Clock {
        Clock { wall: Timestamp::from_second(wall).expect("a time"), mono_ns: mono * 1_000_000_000 }
    }

    #[test]
    fn time_passes_as_both_clocks_say() {
        let begun = Stretch::begin(&clock(1_700_000_000, 50));
        let looked = begun.up_to(&clock(1_700_000_600, 650));
        assert_eq!(
            looked,
            Looked { watched: Watched { from: 1_700_000_000, to: 1_700_000_600 }, is_apart: false }
        );
        // Slewed, one way or the other: no second is missing between two stretches, and none is in both.
        for end in [1_700_000_590, 1_700_000_610] {
            let looked = begun.up_to(&clock(end, 650));
            assert_eq!(looked, Looked { watched: Watched { from: 1_700_000_000, to: end }, is_apart: false });
        }
    }

    #[test]
    fn clock_that_is_set_makes_no_time() {
        // It began in 1970, and a time server came along; five days of a machine that was off are in between.
        let looked = Stretch::begin(&clock(100, 50)).up_to(&clock(1_700_000_000, 350));
        assert_eq!(
            looked,
            Looked { watched: Watched { from: 1_699_999_700, to: 1_700_000_000 }, is_apart: true }
        );
        // It was ahead, and is right again.
        let looked = Stretch::begin(&clock(1_900_000_000, 50)).up_to(&clock(1_700_000_000, 350));
        assert_eq!(
            looked,
            Looked { watched: Watched { from: 1_699_999_700, to: 1_700_000_000 }, is_apart: true }
        );
    }

    #[test]
    fn rows_of_a_clock_that_was_wrong_are_moved_to_where_they_belong() {
        use crate::traffic::{End, Kind, Seen, Service};
        let end = End::at([10, 0, 0, 1].into());
        let kind = Kind { from: end, to: end, service: Service { protocol: 6, number: 502 } };
        let row = |first: i64, last: i64| {
            let day = Day::of(first);
            Row {
                kind,
                day,
                seen: Seen { last, hours: Hours::between(day, first, last), flows: 3, ..Seen::at(first) },
            }
        };
        let (begun, now) = (Stretch::begin(&clock(100, 50)), clock(1_700_000_000, 350));
        let Looked { watched, .. } = begun.up_to(&now);
        let by = begun.was_set_by(&now);
        assert_eq!(by, 1_699_999_600);
        // Of 1970, and of the time since.
        assert_eq!(moved(row(110, 200), watched, by), row(1_699_999_710, 1_699_999_800));
        assert_eq!(moved(row(1_699_999_990, 1_700_000_000), watched, by), row(1_699_999_990, 1_700_000_000));
    }

    #[test]
    fn sleep_of_the_machine_is_not_watched() {
        // The monotonic clock stands still meanwhile.
        let looked = Stretch::begin(&clock(1_700_000_000, 50)).up_to(&clock(1_700_036_000, 110));
        assert_eq!(
            looked,
            Looked { watched: Watched { from: 1_700_035_940, to: 1_700_036_000 }, is_apart: true }
        );
    }
}
