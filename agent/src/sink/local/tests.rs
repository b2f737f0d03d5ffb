//! What a sink of this machine refused is owned up to, once and in its place.

use std::{fs, os::unix::net::UnixDatagram, path::Path};

use super::*;
use crate::record::{Cause, Heartbeat, Modes, VERSION};

const BOOT: &str = "00000000000000aa";

fn record(seq: u64, count: u64) -> Record {
    Record::Heartbeat(Heartbeat {
        v: VERSION,
        time: "2026-03-02T10:00:10.000000Z".to_owned(),
        gateway: "gw-7".to_owned(),
        boot: BOOT.to_owned(),
        seq,
        revision: None,
        modes: Modes::default(),
        violations: 0,
        warnings: Vec::new(),
        count,
    })
}

fn file(path: &Path, debt: Option<Debt>) -> Local {
    let place = Place::File { path: path.to_owned(), rotate_bytes: 64 << 20, keep: 4 };
    Local::open(place, Format::Native, debt)
}

/// The first and the last record that a gap stands for.
type Extent = Option<(String, String)>;

/// Sequence and packets of each record, and of a gap which records it stands for.
fn told(path: &Path) -> Vec<(u64, u64, Extent)> {
    let text = fs::read_to_string(path).expect("it was written");
    let records = text.lines().map(|line| serde_json::from_str::<Record>(line).expect("a record"));
    let told = records.map(|record| match &record {
        Record::Gap(gap) => {
            assert_eq!((gap.cause, gap.gateway.as_str(), gap.boot.as_str()), (Cause::Disk, "gw-7", BOOT));
            (gap.seq, gap.count, gap.first.clone().zip(gap.last.clone()))
        }
        Record::Heartbeat(_) | Record::Violation(_) | Record::Alarm(_) | Record::Inventory(_) => {
            (record.id().seq, record.count(), None)
        }
    });
    told.collect()
}

fn extent(first: u64, last: u64) -> Extent {
    Some((format!("{BOOT}-{first}"), format!("{BOOT}-{last}")))
}

/// A file where the folder of the log would be: it cannot be written.
fn blocked(folder: &Path) -> PathBuf {
    let log = folder.join("log");
    fs::write(&log, "in the way").expect("it can be written");
    log
}

#[test]
fn what_a_file_refused_is_a_gap_ahead_of_the_next_record() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let log = blocked(folder.path());
    let path = log.join("v.jsonl");
    let mut sink = file(&path, None);
    for seq in 1..=3 {
        sink.write(&record(seq, seq));
        sink.flush();
    }
    sink.write(&record(4, 4));
    sink.write(&record(5, 5));
    sink.flush();
    assert_eq!((sink.status().written, sink.status().refused, sink.status().failing), (0, 5, true));
    assert_eq!(sink.debt().map(Debt::packets), Some(15));
    fs::remove_file(&log).expect("it is there");
    sink.write(&record(6, 6));
    sink.write(&record(7, 7));
    sink.flush();
    sink.flush();
    assert_eq!(told(&path), [(5, 15, extent(1, 5)), (6, 6, None), (7, 7, None)]);
    assert_eq!((sink.status().written, sink.status().refused, sink.status().failing), (3, 5, false));
    assert_eq!(sink.debt(), None);
}

#[test]
fn what_is_owed_is_told_although_nothing_follows_and_by_the_next_agent() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let log = blocked(folder.path());
    let path = log.join("v.jsonl");
    let mut sink = file(&path, None);
    sink.write(&record(1, 3));
    sink.flush();
    let debt = sink.debt().cloned();
    fs::remove_file(&log).expect("it is there");
    sink.flush();
    assert_eq!(told(&path), [(1, 3, extent(1, 1))]);
    fs::remove_file(&path).expect("it is there");

    let mut next = file(&path, debt);
    next.write(&record(9, 1));
    next.flush();
    assert_eq!(told(&path), [(1, 3, extent(1, 1)), (9, 1, None)]);
}

#[test]
fn a_journal_that_was_away_is_told_first_what_it_missed() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("socket");
    let mut sink = Local::open(Place::Journal(path.clone()), Format::Native, None);
    sink.write(&record(1, 1));
    sink.write(&record(2, 2));
    assert_eq!((sink.status().written, sink.status().refused), (0, 2));
    let journal = UnixDatagram::bind(&path).expect("a socket can be made");
    sink.write(&record(3, 3));
    assert_eq!((sink.status().written, sink.status().refused, sink.debt()), (2, 2, None));
    let received = || {
        let mut bytes = vec![0; 1 << 16];
        let length = journal.recv(&mut bytes).expect("an entry has come");
        String::from_utf8(bytes[..length].to_vec()).expect("it is UTF-8")
    };
    let gap = received();
    for field in ["BULKHEAD_KIND=gap\n", "BULKHEAD_CAUSE=disk\n", "BULKHEAD_SEQ=2\n", "BULKHEAD_COUNT=3\n"] {
        assert!(gap.contains(field), "{gap}");
    }
    assert!(received().contains("BULKHEAD_SEQ=3\n"));
}
