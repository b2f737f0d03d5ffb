//! Schedules by hand around changes of daylight saving time, and against a slow clock that is read every minute.

use proptest::prelude::*;

use super::{zone as zone_of, *};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an RFC 3339 time")
}

fn window(days: u8, from: u16, to: u16, zone: &str) -> Window {
    Window { days, from, to, zone: zone.to_owned() }
}

fn weekly(windows: &[Window]) -> Schedule {
    Schedule { expires: None, windows: windows.to_vec() }
}

const EVERY_DAY: u8 = 0x7f;
const WORKDAYS: u8 = 0x1f;
const BERLIN: &str = "Europe/Berlin";

/// What a clock shows that is not set back, minute by minute; it may have been set back shortly before the first.
fn clock_of(zone: &str, start: Timestamp, minutes: i64) -> Vec<DateTime> {
    let zone = zone_of(zone).expect("a zone of the database");
    let shown = (-180..minutes).scan(DateTime::MIN, |shown, minute| {
        *shown = (*shown).max(zone.to_datetime(start + jiff::SignedDuration::from_mins(minute)));
        Some(*shown)
    });
    shown.skip(180).collect()
}

/// Whether it is open, by a clock that is not set back: what it has shown it never shows again.
fn open_by_the_clock(window: &Window, shown: DateTime) -> bool {
    let minute =
        u16::try_from(shown.hour()).expect("0-23") * 60 + u16::try_from(shown.minute()).expect("0-59");
    let begins = |date: Date| window.days >> date.weekday().to_monday_zero_offset() & 1 == 1;
    let today = begins(shown.date());
    let yesterday = begins(shown.date().yesterday().expect("not the first day"));
    if window.to > window.from {
        today && window.from <= minute && minute < window.to
    } else {
        (today && window.from <= minute) || (yesterday && minute < window.to)
    }
}

/// For each minute from `start` on whether the schedule is open.
fn oracle(schedule: &Schedule, start: Timestamp, minutes: i64) -> Vec<bool> {
    let mut open = vec![false; usize::try_from(minutes).expect("not negative")];
    let zones: BTreeSet<&str> = schedule.windows.iter().map(|window| window.zone.as_str()).collect();
    for zone in zones {
        let windows: Vec<&Window> = schedule.windows.iter().filter(|window| window.zone == zone).collect();
        for (shown, open) in clock_of(zone, start, minutes).into_iter().zip(&mut open) {
            *open |= windows.iter().any(|window| open_by_the_clock(window, shown));
        }
    }
    for (minute, open) in (0..).zip(&mut open) {
        let now = start + jiff::SignedDuration::from_mins(minute);
        *open &= schedule.expires.is_none_or(|expires| now < expires);
    }
    open
}

#[test]
fn without_windows_it_is_open_until_it_expires() {
    let schedule = Schedule { expires: Some(at("2027-01-31T18:00:00Z")), windows: Vec::new() };
    assert_eq!(schedule.open_until(at("2026-01-01T00:00:00Z")), schedule.expires);
    assert_eq!(schedule.open_until(at("2027-01-31T18:00:00Z")), None);
    assert!(
        schedule.has_expired(at("2027-01-31T18:00:00Z")) && !schedule.has_expired(at("2027-01-31T17:59:59Z"))
    );
    assert_eq!(schedule.opens_next(at("2026-01-01T00:00:00Z")), None);
}

#[test]
fn a_night_shift_goes_over_midnight_and_the_week() {
    // 2026-11-22 is a Sunday; Berlin is one hour ahead of UTC.
    let schedule = weekly(&[window(0x40, 22 * 60, 6 * 60, BERLIN)]);
    assert_eq!(schedule.open_until(at("2026-11-22T20:59:59Z")), None);
    assert_eq!(schedule.opens_next(at("2026-11-22T20:59:59Z")), Some(at("2026-11-22T21:00:00Z")));
    assert_eq!(schedule.open_until(at("2026-11-22T21:00:00Z")), Some(at("2026-11-23T05:00:00Z")));
    assert_eq!(schedule.open_until(at("2026-11-23T05:00:00Z")), None);
    assert_eq!(schedule.opens_next(at("2026-11-22T22:00:00Z")), Some(at("2026-11-29T21:00:00Z")));
}

#[test]
fn windows_that_touch_or_overlap_are_one() {
    let parts = [window(1, 360, 720, BERLIN), window(1, 720, 1440, BERLIN), window(2, 0, 60, BERLIN)];
    assert_eq!(weekly(&parts).open_until(at("2026-11-23T08:00:00Z")), Some(at("2026-11-24T00:00:00Z")));
    let whole = weekly(&[window(EVERY_DAY, 0, 1440, BERLIN)]);
    assert_eq!(whole.open_until(at("2026-11-23T08:00:00Z")), Some(Timestamp::MAX));
    assert_eq!(whole.opens_next(at("2026-11-23T08:00:00Z")), None);
    let shifts = [window(EVERY_DAY, 360, 1080, "UTC"), window(EVERY_DAY, 1080, 360, "UTC")];
    assert_eq!(weekly(&shifts).open_until(at("2026-11-23T08:00:00Z")), Some(Timestamp::MAX));
}

#[test]
fn windows_of_two_zones_join_until_summer_parts_them() {
    // Together the day is whole in winter; from the end of March Berlin's part ends an hour earlier.
    let parts = [window(EVERY_DAY, 60, 720, BERLIN), window(EVERY_DAY, 660, 0, "UTC")];
    let parts = [parts[0].clone(), Window { to: 1440, ..parts[1].clone() }];
    let closes = weekly(&parts).open_until(at("2026-11-23T08:00:00Z"));
    assert_eq!(closes, Some(at("2027-03-28T10:00:00Z")));
}

#[test]
fn a_time_that_is_skipped_is_the_moment_of_the_change() {
    // On 2026-03-29 clocks in Berlin go from 02:00 to 03:00 at 01:00 UTC.
    let from = weekly(&[window(0x40, 150, 240, BERLIN)]);
    assert_eq!(from.opens_next(at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
    assert_eq!(from.open_until(at("2026-03-29T01:00:00Z")), Some(at("2026-03-29T02:00:00Z")));
    let to = weekly(&[window(0x40, 60, 150, BERLIN)]);
    assert_eq!(to.open_until(at("2026-03-29T00:30:00Z")), Some(at("2026-03-29T01:00:00Z")));
    let within = weekly(&[window(0x40, 130, 170, BERLIN)]);
    assert_eq!(within.open_until(at("2026-03-29T01:00:00Z")), None);
    assert_eq!(within.opens_next(at("2026-03-28T12:00:00Z")), Some(at("2026-04-05T00:10:00Z")));
}

#[test]
fn a_time_that_is_shown_twice_counts_the_first_time() {
    // On 2026-10-25 clocks in Berlin go from 03:00 to 02:00 at 01:00 UTC.
    let to = weekly(&[window(0x40, 60, 150, BERLIN)]);
    assert_eq!(to.open_until(at("2026-10-24T23:30:00Z")), Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(to.opens_next(at("2026-10-25T00:30:00Z")), Some(at("2026-11-01T00:00:00Z")));
    let from = weekly(&[window(0x40, 150, 240, BERLIN)]);
    assert_eq!(from.opens_next(at("2026-10-24T23:30:00Z")), Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(from.open_until(at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T03:00:00Z")));
}

#[test]
fn a_day_that_a_zone_left_out_has_no_window() {
    // Samoa went from 2011-12-29 to 2011-12-31 (tz database, file australasia).
    let friday = weekly(&[window(0x10, 480, 1020, "Pacific/Apia")]);
    assert_eq!(friday.opens_next(at("2011-12-30T00:00:00Z")), Some(at("2012-01-05T18:00:00Z")));
}

#[test]
fn the_ends_of_time_do_no_harm() {
    let schedule = weekly(&[window(EVERY_DAY, 600, 540, BERLIN)]);
    for now in [Timestamp::MIN, Timestamp::MAX] {
        let _ = (schedule.open_until(now), schedule.opens_next(now), schedule.has_expired(now));
    }
}

#[test]
fn the_database_knows_zones_by_their_own_spelling() {
    assert_eq!(time_zone("europe/berlin").as_deref(), Some(BERLIN));
    assert_eq!([time_zone("CET+1"), time_zone("Etc/Unknown"), time_zone("")], [None, None, None]);
    assert!(time_zones().len() > 400 && time_zones().iter().any(|name| name == BERLIN));
    assert_eq!(
        weekly(&[window(EVERY_DAY, 0, 60, "Nowhere/Land")]).open_until(at("2026-01-01T00:30:00Z")),
        None
    );
}

#[test]
fn words_are_those_of_the_author() {
    let schedule = Schedule {
        expires: Some(at("2027-01-31T18:00:00Z")),
        windows: vec![window(WORKDAYS, 360, 1080, BERLIN), window(0x61, 1320, 1440, "UTC")],
    };
    let words =
        "until 2027-01-31 18:00 UTC, mon-fri 06:00-18:00 Europe/Berlin or mon,sat,sun 22:00-24:00 UTC";
    assert_eq!(schedule.to_string(), words);
    let expires = Schedule { expires: Some(at("2027-01-31T18:00:05.5Z")), windows: Vec::new() };
    assert_eq!(expires.to_string(), "until 2027-01-31 18:00:05.5 UTC");
}

/// Fortnights around changes of daylight saving time, with the zones they happen in.
const CHANGES: &[(&str, &str)] = &[
    ("2026-03-22T00:00:00Z", BERLIN),
    ("2026-10-18T00:00:00Z", BERLIN),
    ("2026-03-01T00:00:00Z", "America/New_York"),
    ("2026-10-25T00:00:00Z", "America/New_York"),
    ("2026-09-27T00:00:00Z", "Australia/Lord_Howe"),
    ("2026-03-29T00:00:00Z", "Australia/Lord_Howe"),
    ("2026-08-30T00:00:00Z", "America/Santiago"),
    ("2026-03-29T00:00:00Z", "America/Santiago"),
    ("2011-12-23T00:00:00Z", "Pacific/Apia"),
    ("2026-10-18T00:00:00Z", "Asia/Kathmandu"),
];

fn windows(zone: &'static str) -> impl Strategy<Value = Window> {
    let minute = prop_oneof![0_u16..1440, 0_u16..240, 1380_u16..1440];
    let zones = prop::sample::select(vec![zone, zone, "UTC"]);
    (1_u8..0x80, minute.clone(), minute, zones)
        .prop_filter("a window has two ends", |(_, from, to, _)| from != to)
        .prop_map(|(days, from, to, zone)| window(days, from, if to == 0 { 1440 } else { to }, zone))
}

fn cases() -> impl Strategy<Value = (Timestamp, Schedule)> {
    prop::sample::select(CHANGES.to_vec()).prop_flat_map(|(start, zone)| {
        let start = at(start);
        let expires =
            prop::option::of((0_i64..20160).prop_map(move |m| start + jiff::SignedDuration::from_mins(m)));
        let windows = prop::collection::vec(windows(zone), 1..5);
        (Just(start), expires, windows).prop_map(|(start, expires, mut windows)| {
            windows.sort();
            windows.dedup();
            (start, Schedule { expires, windows })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fortnight_is_what_the_clock_shows_minute_by_minute((start, schedule) in cases()) {
        // Three weeks: the last one only answers what happens after the first two.
        let open = oracle(&schedule, start, 3 * 7 * 1440);
        let fortnight = 2 * 7 * 1440_usize;
        let minutes = |time: Timestamp| {
            usize::try_from(time.duration_since(start).as_mins()).unwrap_or(usize::MAX).min(open.len())
        };
        let stop = |from: usize, state: bool| (from..open.len()).find(|m| open[*m] == state);
        for minute in (0..fortnight).step_by(37) {
            let now = start + jiff::SignedDuration::from_mins(i64::try_from(minute).expect("small"));
            let closes = schedule.open_until(now);
            prop_assert_eq!(closes.is_some(), open[minute], "{} at {}", &schedule, now);
            let after = stop(minute, false).unwrap_or(open.len());
            if let Some(closes) = closes {
                prop_assert_eq!(minutes(closes), after, "{} closes at {}, asked at {}", &schedule, closes, now);
            }
            let next = stop(after, true);
            let found = schedule.opens_next(now).map(minutes).filter(|m| *m < open.len());
            prop_assert_eq!(found, next, "{} asked at {}", &schedule, now);
        }
    }
}
