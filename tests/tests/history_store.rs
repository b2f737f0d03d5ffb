//! The history's file among processes: a writer that is killed in the middle, a log that a power cut shortened, a file that the disk
//! spoiled, and a reader of another process.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader},
    net::IpAddr,
    ops::ControlFlow,
    path::Path,
    process::{Command, Stdio},
};

use bulkhead_agent::{
    history::{History, HistoryError, Limits, Reader},
    traffic::{Day, End, Kind, Row, Seen, Service, Unseen, Why},
};
use bulkhead_tests::lab::agent_binary;
use proptest::{prelude::*, sample::Index};
use serde_json::Value;
use tempfile::TempDir;

const LIMITS: Limits = Limits { bytes: 64 << 20, days: 400 };
const DAY: Day = Day(20_780);
/// Kinds that each portion adds to, and new ones that it begins.
const ALWAYS: u32 = 300;
const NEW: u32 = 40;
/// In this environment the test is the process that is killed.
const WRITER: &str = "BULKHEAD_TEST_WRITES_HISTORY";

fn row(number: u32, day: Day) -> Row {
    let [a, b, c, d] = number.to_be_bytes();
    let kind = Kind {
        from: End::at(IpAddr::from([10, b, c, d])),
        to: End::at(IpAddr::from([192, 168, a, 9])),
        service: Service { protocol: 6, number: 502 },
    };
    let seen = Seen { flows: 1, packets: [3, 2], ..Seen::at(day.begin() + 60) };
    Row { kind, day, seen }
}

/// The portion with this number, from 1. Whatever is there of it must be there whole.
fn portion(number: u32) -> Vec<Row> {
    let new = 1_000_000 + number * NEW;
    (0..ALWAYS).chain(new..new + NEW).map(|one| row(one, DAY)).collect()
}

fn all(path: &Path) -> Result<Vec<Row>, HistoryError> {
    let mut rows = Vec::new();
    Reader::open(path)?.rows(.., |row| {
        rows.push(row);
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

/// How many portions are there, each whole.
fn portions(rows: &[Row]) -> u32 {
    let counts: BTreeSet<u64> = rows.iter().map(|row| row.seen.flows).filter(|flows| *flows > 1).collect();
    let always = rows.iter().filter(|row| row.kind.from < row_end(1_000_000)).count();
    if always == 0 {
        assert!(rows.is_empty(), "{} rows of no portion", rows.len());
        return 0;
    }
    assert_eq!(always, ALWAYS as usize);
    let new = rows.len() - always;
    assert_eq!(new % NEW as usize, 0, "a portion is there in part");
    let number = u32::try_from(new).expect("a number") / NEW;
    let wanted: BTreeSet<u64> = [u64::from(number)].into_iter().filter(|flows| *flows > 1).collect();
    assert_eq!(counts, wanted, "of {number} portions");
    number
}

fn row_end(number: u32) -> End {
    row(number, DAY).kind.from
}

#[test]
fn writer_that_is_killed_leaves_whole_portions_and_all_that_it_was_told_are_written() {
    if let Some(path) = env::var_os(WRITER) {
        let path = Path::new(&path);
        let first = all(path).map_or(0, |rows| portions(&rows)) + 1;
        let mut history = History::open(path, LIMITS).expect("a history");
        for number in first.. {
            history.add(&portion(number), &[], None).expect("added");
            println!("written {number}");
        }
    }
    let name = "writer_that_is_killed_leaves_whole_portions_and_all_that_it_was_told_are_written";
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("history.db");
    let mut before = 0;
    for goal in [3, 20, 50, 51, 90, 130] {
        let mut command = Command::new(env::current_exe().expect("this test"));
        command.args(["--exact", name, "--nocapture"]).env(WRITER, &path);
        let mut writer = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a writer");
        let told = BufReader::new(writer.stdout.take().expect("its words")).lines();
        let mut numbers =
            told.map_while(Result::ok).filter_map(|line| line.strip_prefix("written ")?.parse::<u32>().ok());
        let last = numbers.find(|number| *number >= goal).expect("it writes");
        writer.kill().expect("killed");
        writer.wait().expect("it is gone");
        let rows = all(&path).expect("readable as it was left");
        let found = portions(&rows);
        assert!(found >= last && found > before, "{found} of {last}");
        before = found;
    }
    let history = History::open(&path, LIMITS).expect("it goes on");
    assert_eq!((history.set_aside(), portions(&all(&path).expect("rows"))), (0, before));
}

/// A history of so many portions whose log was not yet put into the file.
fn with_log(folder: &Path, count: u32) -> (Vec<u8>, Vec<u8>) {
    let path = folder.join("written.db");
    let mut history = History::open(&path, LIMITS).expect("a history");
    for number in 1..=count {
        history.add(&portion(number), &[], None).expect("added");
    }
    (fs::read(&path).expect("the file"), fs::read(folder.join("written.db-wal")).expect("the log"))
}

#[test]
fn log_that_a_power_cut_shortened_or_spoiled_leaves_whole_portions() {
    let folder = TempDir::new().expect("a folder");
    let (file, log) = with_log(folder.path(), 12);
    let path = folder.path().join("history.db");
    let mut seen = BTreeSet::new();
    for part in 0..=60 {
        for spoiled in [false, true] {
            let at = log.len() * part / 60;
            let mut left = log.clone();
            if spoiled {
                left.iter_mut().skip(at).take(700).for_each(|byte| *byte ^= 0x5a);
            } else {
                left.truncate(at);
            }
            fs::write(&path, &file).expect("a file");
            fs::write(folder.path().join("history.db-wal"), &left).expect("a log");
            drop(fs::remove_file(folder.path().join("history.db-shm")));
            let mut history = History::open(&path, LIMITS).expect("a history");
            let found = portions(&all(&path).expect("rows"));
            seen.insert(found);
            history.add(&portion(found + 1), &[], None).expect("it goes on");
            assert_eq!((portions(&all(&path).expect("rows")), history.set_aside()), (found + 1, 0));
        }
    }
    assert!(seen.len() > 6 && seen.contains(&12), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever the disk did to the file: a reader says so or reads, and an agent has a history again.
    #[test]
    fn file_that_the_disk_spoiled_stops_nobody(at in any::<Index>(), length in 1_usize..5000, cut in any::<bool>(), mask in 1_u8..) {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("history.db");
        let mut history = History::open(&path, LIMITS).expect("a history");
        history.add(&portion(1), &[Unseen { from: 1, to: 2, why: Why::Stopped, count: 0 }], None).expect("added");
        drop(history);
        let mut bytes = fs::read(&path).expect("the file");
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte ^= mask);
        }
        fs::write(&path, &bytes).expect("spoiled");
        match all(&path) {
            // Nobody vouches for the numbers in it; that they are numbers is looked at.
            Ok(rows) => prop_assert!(rows.len() <= 1000),
            Err(HistoryError::Damaged { .. } | HistoryError::Version { .. } | HistoryError::Foreign { .. } | HistoryError::Missing { .. }) => {}
            Err(error) => prop_assert!(false, "{}", error.caused()),
        }
        match History::open(&path, LIMITS) {
            Ok(mut history) => {
                history.add(&portion(2), &[], None).expect("it goes on");
                prop_assert!(history.set_aside() <= 1);
                prop_assert_eq!(folder.path().join("history.db.damaged").exists(), history.set_aside() == 1);
            }
            Err(HistoryError::Version { .. } | HistoryError::Foreign { .. }) => {}
            Err(error) => prop_assert!(false, "{}", error.caused()),
        }
    }
}

#[test]
fn command_reads_while_another_process_writes() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("history.db");
    let mut history = History::open(&path, LIMITS).expect("a history");
    let bulkhead = agent_binary().expect("the binary");
    let ask = |more: &[&str]| {
        let mut command = Command::new(&bulkhead);
        // A configuration that is not there: the file alone must do.
        command
            .args(["--config", "/nonexistent/bulkhead.toml", "history"])
            .args(more)
            .arg("--file")
            .arg(&path);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    for number in 1..=5 {
        history.add(&portion(number), &[], None).expect("added");
        let told = ask(&["--json"]);
        let rows = u64::from(ALWAYS + NEW * number);
        assert_eq!((told["rows"].as_u64(), told["kinds"].as_u64()), (Some(rows), Some(rows)));
        assert_eq!(told["since"], "2026-11-23");
    }
    let flows = ask(&["flows", "--json", "--address", "10.0.0.7", "--since", "2026-11-01"]);
    let [one] = flows.as_array().expect("a list").as_slice() else { panic!("{flows}") };
    assert_eq!(
        (&one["flows"], &one["selector"], &one["hours"]),
        (&5.into(), &"tcp/502".into(), &serde_json::json!([0]))
    );
    // The agent puts nothing in the way of who reads, and readers nothing in its.
    history.add(&portion(6), &[], None).expect("added");
}

#[test]
fn command_says_what_is_not_there_and_what_is_no_history() {
    let folder = TempDir::new().expect("a folder");
    let bulkhead = agent_binary().expect("the binary");
    let refused = |name: &str| {
        let file = folder.path().join(name);
        let output =
            Command::new(&bulkhead).args(["history", "--file"]).arg(&file).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).replace(&folder.path().display().to_string(), "")
    };
    fs::write(
        folder.path().join("text.db"),
        "no history at all, and long enough to be read as one ".repeat(40),
    )
    .expect("written");
    assert!(
        refused("none.db").starts_with("error: there is no history at `/none.db`\nhint: "),
        "{}",
        refused("none.db")
    );
    assert!(refused("text.db").starts_with("error: `/text.db` is damaged: "), "{}", refused("text.db"));
}
