//! The history by itself: what goes in comes out, in order, added up, and no more of it than may be.

use std::{collections::BTreeMap, net::IpAddr, ops::ControlFlow, path::Path};

use proptest::prelude::*;

use super::{Added, Gone, History, HistoryError, Limits, Reader, Watched, is_worth_writing};
use crate::{
    model::Mac,
    traffic::{Day, End, Hours, Kind, Row, Seen, Service, Unseen, Why},
};

const LARGE: Limits = Limits { bytes: 1 << 30, days: 400 };

fn kind(last: u8) -> Kind {
    Kind {
        from: End::at(IpAddr::from([10, 0, 0, 1])),
        to: End::at(IpAddr::from([192, 168, 1, last])),
        service: Service { protocol: 6, number: 502 },
    }
}

fn row(last: u8, day: i32) -> Row {
    let day = Day(day);
    let seen =
        Seen { flows: 2, answered: 1, packets: [7, 5], last: day.begin() + 90, ..Seen::at(day.begin() + 60) };
    Row { kind: kind(last), day, seen }
}

fn all(path: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    let reader = Reader::open(path).expect("a history");
    let took = reader.rows(.., |row| {
        rows.push(row);
        ControlFlow::Continue(())
    });
    took.expect("rows");
    rows
}

fn begin(limits: Limits) -> (tempfile::TempDir, std::path::PathBuf, History) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.db");
    let history = History::open(&path, limits).expect("a history");
    (folder, path, history)
}

fn ends() -> impl Strategy<Value = End> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(|four| Some(IpAddr::from(four))),
        any::<[u8; 16]>().prop_map(|sixteen| Some(IpAddr::from(sixteen))),
        (0_u8..4).prop_map(|few| Some(IpAddr::from([10, 0, 0, few]))),
        Just(None),
    ];
    let mac = proptest::option::of(prop_oneof![any::<[u8; 6]>(), Just([0; 6]), Just([255; 6])]);
    (address, mac).prop_map(|(address, mac)| End { address, mac: mac.map(Mac) })
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let counter = || prop_oneof![0_u64..5, any::<u64>().prop_map(|n| n >> 1), Just(i64::MAX.unsigned_abs())];
    let one = (
        (ends(), ends(), any::<(u8, u16)>(), -3..3_i32),
        proptest::array::uniform9(counter()),
        (0..86_400_i64, 0..86_400_i64, any::<u32>(), any::<u32>()),
    );
    let one = one.prop_map(|((from, to, (protocol, number), day), counters, (a, b, pause, hours))| {
        let [flows, opened, answered, p, q, r, s, denied, dropped] = counters;
        let day = Day(day);
        let seen = Seen {
            flows,
            opened,
            answered,
            packets: [p, q],
            bytes: [r, s],
            denied,
            dropped,
            first: day.begin() + a.min(b),
            last: day.begin() + a.max(b),
            pause,
            hours: Hours::from_bits(hours),
        };
        Row { kind: Kind { from, to, service: Service { protocol, number } }, day, seen }
    });
    proptest::collection::vec(one, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_added_comes_out_added_up_and_in_order(batches in proptest::collection::vec(rows(), 1..4), again in any::<bool>()) {
        let (_folder, path, mut history) = begin(LARGE);
        let mut wanted: BTreeMap<(Kind, Day), Seen> = BTreeMap::new();
        for batch in batches.iter().chain(batches.first().filter(|_| again)) {
            history.add(batch, &[], None).expect("room");
            for row in batch {
                wanted.entry((row.kind, row.day)).and_modify(|seen| seen.add(&row.seen)).or_insert(row.seen);
            }
        }
        // SQLite counts no further.
        let most = |n: u64| n.min(i64::MAX.unsigned_abs());
        let wanted: Vec<Row> = wanted.into_iter().map(|((kind, day), seen)| {
            let Seen { flows, opened, answered, packets, bytes, denied, dropped, .. } = seen;
            let seen = Seen {
                flows: most(flows),
                opened: most(opened),
                answered: most(answered),
                packets: packets.map(most),
                bytes: bytes.map(most),
                denied: most(denied),
                dropped: most(dropped),
                ..seen
            };
            Row { kind, day, seen }
        }).collect();
        prop_assert_eq!(&all(&path), &wanted);
        prop_assert_eq!(history.rows().expect("a number"), wanted.len() as u64);
        drop(history);
        prop_assert_eq!(all(&path), wanted, "closed");
    }
}

#[test]
fn some_days_are_read_and_no_more_than_are_wanted() {
    let (_folder, path, mut history) = begin(LARGE);
    let rows: Vec<Row> = (1..=5).flat_map(|day| [row(1, day), row(2, day)]).collect();
    history.add(&rows, &[], None).expect("room");
    let reader = Reader::open(&path).expect("a history");
    let mut seen = Vec::new();
    let took = reader.rows(Day(2)..Day(5), |row| {
        seen.push((row.kind, row.day.0));
        if seen.len() == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    took.expect("rows");
    assert_eq!(seen, [(kind(1), 2), (kind(1), 3), (kind(1), 4), (kind(2), 2)]);
    assert_eq!(
        reader.days().expect("days").iter().map(|kept| (kept.day.0, kept.rows)).collect::<Vec<_>>(),
        [(1, 2), (2, 2), (3, 2), (4, 2), (5, 2)]
    );
}

#[test]
fn readings_of_one_moment_are_of_the_same_rows() {
    let (_folder, path, mut history) = begin(LARGE);
    history.add(&[row(1, 1)], &[], None).expect("room");
    let reader = Reader::open(&path).expect("a history");
    let count = || {
        let mut count = 0;
        let counted = reader.rows(.., |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        counted.expect("rows");
        (count, reader.days().expect("days").len())
    };
    let moment = reader.moment().expect("a moment");
    assert_eq!(count(), (1, 1));
    history.add(&[row(2, 1), row(2, 2)], &[], None).expect("room");
    assert_eq!(count(), (1, 1));
    drop(moment);
    assert_eq!(count(), (3, 2));
}

#[test]
fn reader_sees_one_moment_whatever_is_added_meanwhile() {
    let (_folder, path, mut history) = begin(LARGE);
    history.add(&[row(1, 1), row(3, 1)], &[], None).expect("room");
    let reader = Reader::open(&path).expect("a history");
    let mut seen = Vec::new();
    let took = reader.rows(.., |found| {
        history.add(&[row(2, 1), row(3, 1)], &[], None).expect("readers are in nobody's way");
        seen.push(found);
        ControlFlow::Continue(())
    });
    took.expect("rows");
    assert_eq!(seen, [row(1, 1), row(3, 1)]);
    assert_eq!(all(&path).len(), 3);
}

#[test]
fn oldest_days_go_when_there_are_too_many() {
    let (_folder, path, mut history) = begin(Limits { days: 3, ..LARGE });
    let gap = |from, to| Unseen { from, to, why: Why::Stopped, count: 0 };
    let gaps = [gap(Day(1).begin(), Day(1).begin() + 9), gap(Day(2).begin() + 5, Day(3).begin() + 5)];
    history.add(&[row(1, 1), row(2, 1), row(1, 2)], &gaps, None).expect("room");
    // A clock that was wrong for a moment makes one day, and not all others old.
    history.add(&[row(1, 3), row(1, 20_000)], &[], None).expect("room");
    assert_eq!(all(&path).iter().map(|row| row.day.0).collect::<Vec<_>>(), [2, 3, 20_000]);
    assert_eq!(history.gone().expect("counted"), Gone { days: 1, rows: 2 });
    assert_eq!(Reader::open(&path).and_then(|reader| reader.unseen()).expect("gaps"), gaps[1..]);
}

#[test]
fn oldest_days_go_when_the_file_is_too_large_and_it_becomes_smaller() {
    let (_folder, path, mut history) = begin(LARGE);
    let many = |day: i32| {
        (0..=255)
            .flat_map(move |low| {
                (0..16).map(move |high| {
                    let mut row = row(low, day);
                    row.kind.service.number = high;
                    row
                })
            })
            .collect::<Vec<Row>>()
    };
    for day in 1..=4 {
        history.add(&many(day), &[], None).expect("room");
    }
    let four = history.bytes().expect("a size");
    drop(history);
    let mut history = History::open(&path, Limits { bytes: four / 2, days: 400 }).expect("a history");
    history.add(&[], &[], None).expect("room");
    assert!(history.bytes().expect("a size") <= four / 2);
    let days: Vec<i32> = Reader::open(&path)
        .and_then(|reader| reader.days())
        .expect("days")
        .iter()
        .map(|kept| kept.day.0)
        .collect();
    assert!(days == [3, 4] || days == [4], "{days:?}");
    drop(history);
    assert!(std::fs::metadata(&path).expect("a file").len() <= four / 2);
}

#[test]
fn a_scan_takes_a_part_of_its_day_and_no_day_all_of_the_file() {
    // 64 rows a day, of which 8 may be of what was tried and denied.
    let limits = Limits { bytes: 8 * 96 * 64, days: 400 };
    let (_folder, path, mut history) = begin(limits);
    let scan: Vec<Row> = (0..100)
        .map(|last| {
            let mut row = row(last, 1);
            row.seen = Seen { answered: 0, denied: 3, flows: 3, ..row.seen };
            row
        })
        .collect();
    let added = history.add(&scan, &[], None).expect("room");
    assert_eq!(added, Added { rows: 8, refused: 3 * 92 });
    let rest: Vec<Row> = (100..200).map(|last| row(last, 1)).collect();
    assert_eq!(history.add(&rest, &[], None).expect("room"), Added { rows: 56, refused: 2 * 44 });
    // What is there goes on being counted.
    assert_eq!(history.add(&rest[..10], &[], None).expect("room"), Added { rows: 10, refused: 0 });
    let gaps = Reader::open(&path).and_then(|reader| reader.unseen()).expect("gaps");
    let (from, to) = (row(0, 1).seen.first, row(0, 1).seen.last);
    assert_eq!(gaps, [Unseen { from, to, why: Why::Full, count: 3 * 92 + 2 * 44 }]);
}

#[test]
fn gaps_that_are_close_are_one_and_those_without_the_agent_stay_as_they_were() {
    let (_folder, path, mut history) = begin(LARGE);
    let gap = |why, from, to, count| Unseen { from, to, why, count };
    let told = [
        gap(Why::Untold, 0, 60, 3),
        gap(Why::Untold, 3_000, 3_060, 5),
        gap(Why::Stopped, 100, 200, 0),
        gap(Why::Stopped, 201, 300, 0),
        // Brings both together.
        gap(Why::Untold, 900, 2_200, 7),
    ];
    for one in told {
        history.add(&[], &[one], None).expect("room");
    }
    let gaps = Reader::open(&path).and_then(|reader| reader.unseen()).expect("gaps");
    assert_eq!(gaps, [gap(Why::Untold, 0, 3_060, 15), told[2], told[3]]);
}

#[test]
fn observation_is_noted_on_each_of_its_days() {
    let (_folder, path, mut history) = begin(LARGE);
    let (noon, next) = (Day(5).begin() + 43_200, Day(6).begin() + 60);
    history.add(&[], &[], Some(Watched { from: noon, to: noon + 60 })).expect("room");
    history.add(&[row(1, 5)], &[], Some(Watched { from: noon + 60, to: next })).expect("room");
    let until = |before| history.watched_until(before).expect("a time");
    assert_eq!(until(i64::MAX), Some(next));
    // Of a clock that was ahead nothing is known before its time.
    assert_eq!((until(next - 30), until(noon + 9), until(noon - 1)), (Some(next - 30), Some(noon + 9), None));
    let days = Reader::open(&path).and_then(|reader| reader.days()).expect("days");
    let told: Vec<_> = days.iter().map(|kept| (kept.day.0, kept.rows, kept.watched)).collect();
    assert_eq!(
        told,
        [
            (5, 1, Some(Watched { from: noon, to: Day(6).begin() - 1 })),
            (6, 0, Some(Watched { from: Day(6).begin(), to: next }))
        ]
    );
}

#[test]
fn file_of_somebody_else_or_of_another_version_is_left_alone() {
    let (folder, path, history) = begin(LARGE);
    drop(history);
    let foreign = folder.path().join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).expect("a file");
    connection.execute_batch("CREATE TABLE recipes (name TEXT)").expect("a table");
    drop(connection);
    assert!(matches!(History::open(&foreign, LARGE), Err(HistoryError::Foreign { .. })));
    assert!(matches!(Reader::open(&foreign), Err(HistoryError::Foreign { .. })));
    let connection = rusqlite::Connection::open(&path).expect("a file");
    connection.pragma_update(None, "user_version", 7).expect("a version");
    drop(connection);
    let Err(error) = History::open(&path, LARGE) else { panic!("version 7") };
    assert!(
        error.to_string().ends_with("history.db` has version 7, and this agent reads version 1"),
        "{error}"
    );
    assert!(matches!(Reader::open(&path), Err(HistoryError::Version { found: 7, .. })));
    assert!(matches!(Reader::open(&folder.path().join("none")), Err(HistoryError::Missing { .. })));
}

#[test]
fn damaged_file_gives_way_and_is_kept() {
    let (folder, path, history) = begin(LARGE);
    drop(history);
    std::fs::write(&path, [0xa5; 8192]).expect("a write");
    assert!(matches!(Reader::open(&path), Err(HistoryError::Damaged { .. })));
    let mut history = History::open(&path, LARGE).expect("a new one");
    assert_eq!(history.set_aside(), 1);
    history.add(&[row(1, 1)], &[], None).expect("room");
    assert_eq!(all(&path), [row(1, 1)]);
    drop(history);
    let aside = |ending: &str| std::fs::read(folder.path().join(format!("history.db.damaged{ending}")));
    assert_eq!(aside("").expect("the old one"), [0xa5; 8192]);
    // The first one may hold a year; of those after it the last gives way when there are too many.
    let spoilt = [(0x5a, ".2"), (0x55, ".3"), (0x33, ".4"), (0x3c, ".4")];
    for (filled, ending) in spoilt {
        let spoiled = [filled; 4096];
        std::fs::write(&path, spoiled).expect("a write");
        // Who only brings rows touches nothing.
        assert!(matches!(History::join(&path, LARGE), Err(HistoryError::Damaged { .. })));
        assert_eq!(std::fs::read(&path).expect("the same"), spoiled);
        drop(History::open(&path, LARGE).expect("a new one"));
        assert_eq!(aside("").expect("the old one"), [0xa5; 8192]);
        assert_eq!(aside(ending).expect("the last one"), spoiled);
    }
    for (filled, ending) in [spoilt[0], spoilt[1], spoilt[3]] {
        assert_eq!(aside(ending).expect("it stays"), [filled; 4096]);
    }
}

#[test]
fn file_that_is_whole_stays_whatever_is_refused() {
    let (folder, path, mut history) = begin(LARGE);
    history.add(&[row(1, 1)], &[], None).expect("room");
    let other = rusqlite::Connection::open(&path).expect("a file");
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON flow BEGIN SELECT RAISE(ABORT, 'no'); END";
    other.execute_batch(refuse).expect("a trigger");
    // A constraint, which a file that is damaged breaks as well.
    let refused = history.add(&[row(2, 2)], &[], None);
    assert!(matches!(&refused, Err(HistoryError::Refused { .. })), "{refused:?}");
    assert_eq!(all(&path), [row(1, 1)]);
    other.execute_batch("DROP TRIGGER refuse").expect("gone");
    history.add(&[row(2, 2)], &[], None).expect("room");
    assert_eq!((all(&path).len(), history.set_aside()), (2, 0));
    assert!(!folder.path().join("history.db.damaged").exists());
}

#[test]
fn file_that_is_spoiled_while_it_is_open_gives_way_with_its_log() {
    let (_folder, path, mut history) = begin(LARGE);
    for day in 1..=20 {
        history.add(&(0..200).map(|last| row(last, day)).collect::<Vec<Row>>(), &[], None).expect("room");
    }
    drop(history);
    let mut history = History::open(&path, LARGE).expect("a history");
    // Every page but the first, behind the agent's back.
    let length = std::fs::metadata(&path).expect("a file").len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("writable");
    let spoiled = vec![0xa5; usize::try_from(length).expect("small") - 4096];
    std::os::unix::fs::FileExt::write_all_at(&file, &spoiled, 4096).expect("spoiled");
    let rows: Vec<Row> = (0..200).map(|last| row(last, 30)).collect();
    for times in 1..=2_u64 {
        history.add(&rows, &[], None).expect("a new one");
        let found = all(&path);
        assert_eq!((found.len(), history.set_aside()), (200, 1));
        assert!(found.iter().all(|row| row.seen.flows == 2 * times));
    }
    drop(history);
    assert_eq!(all(&path).len(), 200, "closed");
}

#[test]
fn few_rows_of_many_wait_for_others_and_not_for_ever() {
    for (waiting, there, times, wanted) in [
        (0, 0, 0, false),
        (1, 0, 1, true),
        (100, 100, 1, true),
        (75, 100, 1, true),
        (1000, 10_000, 1, false),
        (1000, 10_000, 9, false),
        (7499, 10_000, 7, false),
        (7500, 10_000, 8, true),
        (1000, 10_000, 10, true),
        (0, 10_000, 10, true),
    ] {
        assert_eq!(is_worth_writing(waiting, there, times), wanted, "{waiting} of {there} after {times}");
    }
}

#[test]
fn few_rows_cost_few_bytes() {
    let (_folder, path, mut history) = begin(LARGE);
    let minutes = 100;
    // The log is shorter than what puts it into the file: all that was written is there.
    for minute in 0..minutes {
        let rows: Vec<Row> = (0..100).map(|n| row(n, 20_780)).collect();
        let day = Day(20_780).begin();
        let watched = Watched { from: day, to: day + 60 * (minute + 1) };
        history.add(&rows, &[], Some(watched)).expect("it can be written");
    }
    let log = std::fs::metadata(super::log_of(&path)).expect("a log").len();
    assert!(log > 0 && log <= 100 * 100 * minutes.unsigned_abs(), "{log}");
}

#[test]
fn history_that_begins_says_since_when_it_is_watched() {
    let (_folder, path, mut history) = begin(LARGE);
    assert_eq!(history.watched_until(1_700_000_000).expect("read"), None);
    // Under a clock that was wrong, and under the right one.
    history.begin(100).expect("written");
    history.begin(1_700_000_000).expect("written");
    drop(history);
    let mut history = History::open(&path, LARGE).expect("a history");
    assert_eq!(history.watched_until(1_700_000_010).expect("read"), Some(1_700_000_000));
    let days = || Reader::open(&path).expect("a history").days().expect("days");
    let watched = |from, to| Some(Watched { from, to });
    assert_eq!(
        days().iter().map(|kept| kept.watched).collect::<Vec<_>>(),
        [watched(1_700_000_000, 1_700_000_000)]
    );
    // What is written later begins there.
    let later = Watched { from: 1_700_000_000, to: 1_700_000_060 };
    history.add(&[row(1, Day::of(1_700_000_000).0)], &[], Some(later)).expect("written");
    assert_eq!(days().iter().map(|kept| kept.watched).collect::<Vec<_>>(), [Some(later)]);
}

#[test]
fn clock_that_was_ahead_makes_nothing_count_again() {
    let (_folder, _path, mut history) = begin(LARGE);
    let begun = Day(20_000).begin();
    assert_eq!(history.unwatched(begun).expect("read"), None);
    let watched = |from, to| Some(Watched { from, to });
    history.add(&[], &[], watched(begun, begun + 600)).expect("written");
    assert_eq!(history.unwatched(begun + 660).expect("read"), Some(60));
    assert_eq!(history.unwatched(begun - 5).expect("read"), None, "the clock is behind all of it");
    // Ten days ahead for an hour, and right again: the last agent has not ended ten minutes after it began.
    let ahead = Day(20_010).begin();
    history.add(&[], &[], watched(ahead, ahead + 3600)).expect("written");
    assert_eq!(history.unwatched(begun + 4260).expect("read"), Some(0));
    assert_eq!(history.unwatched(ahead + 3700).expect("read"), Some(100));
}
