//! A spool is a queue on a disk: order, bounds, holes, cuts and restarts, and a receiver who accounts for every packet.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::{state::SEGMENT, *};

const RUN: u64 = 0x5f0c;

/// Room for about seven of the smallest segments.
const MOST: u64 = 7 * (64 << 10);

/// Adds `n` records from `seq` on; record `seq` accounts for `seq` packets.
fn add(spool: &mut Spool, seq: u64, n: u64, len: usize) -> usize {
    let records: Vec<(u64, String)> =
        (seq..seq + n).map(|seq| (seq, format!("{seq} {}", "x".repeat(len)))).collect();
    spool.append(records.iter().map(|(seq, text)| (Stamp { boot: RUN, seq: *seq }, *seq, text.as_str())))
}

/// Reads everything there is: numbers of the records, holes, and the place behind them.
fn read_all(reader: &mut Reader) -> (Vec<u64>, Vec<Hole>, Option<Mark>) {
    let (mut records, mut holes, mut last) = (Vec::new(), Vec::new(), None);
    loop {
        let items = reader.read(4096).expect("readable");
        if items.is_empty() {
            return (records, holes, last);
        }
        for (item, mark) in items {
            match item {
                Item::Record { text, .. } => {
                    let number = text.split(' ').next().expect("a word");
                    records.push(number.parse().expect("a number"));
                }
                Item::Hole(hole) => holes.push(hole),
            }
            last = Some(mark);
        }
    }
}

fn open(folder: &Path) -> (Spool, Reader) {
    Spool::open(folder, MOST, "boot 1").expect("it opens")
}

fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut all: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|ending| ending == SEGMENT)).collect();
    all.sort();
    all
}

#[test]
fn records_come_out_as_they_went_in_and_again_after_a_restart_until_confirmed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, mut reader) = open(dir.path());
    assert!(spool.is_new());
    add(&mut spool, 1, 10, 50);
    // It is asked when something was taken already.
    assert!(spool.is_new());
    let (records, holes, last) = read_all(&mut reader);
    assert_eq!((records, holes), ((1..=10).collect(), vec![]));
    assert_eq!(spool.accounted(), 55);
    reader.rewind();
    assert_eq!(read_all(&mut reader).0, (1..=10).collect::<Vec<_>>());
    drop((spool, reader));

    let (mut spool, mut reader) = open(dir.path());
    add(&mut spool, 11, 2, 50);
    assert_eq!(read_all(&mut reader).0, (1..=12).collect::<Vec<_>>());
    reader.confirm(last.expect("a place")).expect("written");
    assert_eq!(spool.waiting().packets, 23);
    drop((spool, reader));

    let (spool, mut reader) = open(dir.path());
    assert_eq!(read_all(&mut reader).0, [11, 12]);
    assert_eq!((spool.accounted(), spool.is_new()), (78, false));
}

#[test]
fn a_full_spool_drops_the_oldest_and_the_hole_says_how_many_packets() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, mut reader) = open(dir.path());
    for seq in 1..=5000 {
        add(&mut spool, seq, 1, 300);
    }
    let bytes: u64 = segments(dir.path()).iter().map(|path| path.metadata().expect("a file").len()).sum();
    assert!(bytes <= MOST, "{bytes}");
    let (records, holes, _) = read_all(&mut reader);
    let first = records[0];
    assert!(first > 1);
    assert_eq!(records, (first..=5000).collect::<Vec<_>>());
    let dropped = (1..first).sum();
    assert_eq!(holes, [Hole { after: None, before: Stamp { boot: RUN, seq: first }, count: dropped }]);
    assert!(spool.counts().dropped_bytes > 0);
    let waiting = spool.waiting();
    assert!(waiting.bytes <= MOST, "what was dropped does not wait: {waiting:?}");
    assert_eq!((waiting.unsent, waiting.packets), (0, (1..=5000).sum::<u64>()));
    reader.rewind();
    assert_eq!(spool.waiting().unsent, waiting.bytes);
    assert_eq!(spool.accounted(), (1..=5000).sum::<u64>());
}

#[test]
fn what_was_dropped_before_anything_was_told_is_a_hole_after_a_restart_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, reader) = open(dir.path());
    for seq in 1..=5000 {
        add(&mut spool, seq, 1, 300);
    }
    drop((spool, reader));
    let (_spool, mut reader) = open(dir.path());
    let (records, holes, _) = read_all(&mut reader);
    let before = Stamp { boot: RUN, seq: records[0] };
    assert_eq!(holes, [Hole { after: None, before, count: (1..records[0]).sum() }]);
}

#[test]
fn what_was_sent_and_dropped_before_it_was_confirmed_is_a_hole_after_a_broken_connection_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, mut reader) = open(dir.path());
    add(&mut spool, 1, 1, 300);
    let (_, _, confirmed) = read_all(&mut reader);
    reader.confirm(confirmed.expect("a place")).expect("written");
    let mut sent = vec![1];
    for seq in 2..=5000 {
        add(&mut spool, seq, 1, 300);
        sent.extend(read_all(&mut reader).0);
    }
    assert_eq!(sent, (1..=5000).collect::<Vec<_>>());
    reader.rewind();
    let (records, holes, _) = read_all(&mut reader);
    let after = Some(Stamp { boot: RUN, seq: 1 });
    let before = Stamp { boot: RUN, seq: records[0] };
    assert_eq!(holes, [Hole { after, before, count: (2..records[0]).sum() }]);
}

#[test]
fn a_cut_at_any_byte_leaves_whole_records_and_what_is_added_next_follows_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, reader) = open(dir.path());
    add(&mut spool, 1, 4, 30);
    drop((spool, reader));
    let path = segments(dir.path()).pop().expect("a segment");
    let bytes = fs::read(&path).expect("readable");
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).expect("written");
        let (mut spool, mut reader) = open(dir.path());
        let kept = spool.accounted();
        add(&mut spool, 9, 1, 30);
        let (records, holes, _) = read_all(&mut reader);
        assert_eq!(records.iter().sum::<u64>() - 9, kept, "cut at {cut}");
        assert_eq!((records.last(), &holes[..]), (Some(&9), &[][..]), "cut at {cut}");
        drop((spool, reader));
        segments(dir.path()).iter().for_each(|path| fs::remove_file(path).expect("removed"));
    }
}

#[test]
fn frames_behind_a_torn_one_do_not_come_back_behind_others_of_the_same_length() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, reader) = open(dir.path());
    add(&mut spool, 1, 4, 30);
    drop((spool, reader));
    let path = segments(dir.path()).pop().expect("a segment");
    let mut bytes = fs::read(&path).expect("readable");
    let quarter = bytes.len() / 4;
    bytes[quarter..2 * quarter].fill(0);
    fs::write(&path, bytes).expect("written");
    let (mut spool, reader) = open(dir.path());
    add(&mut spool, 9, 1, 30);
    drop((spool, reader));
    let (spool, mut reader) = open(dir.path());
    let (records, holes, _) = read_all(&mut reader);
    assert_eq!((records, holes, spool.accounted()), (vec![1, 9], vec![], 10));
}

#[test]
fn what_a_power_cut_took_of_the_last_two_segments_hides_nothing_that_is_added_later() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, reader) = open(dir.path());
    for seq in 1..=600 {
        add(&mut spool, seq, 1, 300);
    }
    drop((spool, reader));
    let paths = segments(dir.path());
    let [.., before, last] = &paths[..] else { panic!("several segments") };
    let bytes = fs::read(before).expect("readable");
    fs::write(before, &bytes[..bytes.len() / 2]).expect("written");
    fs::write(last, "").expect("written");
    for seq in [700, 701] {
        let (mut spool, mut reader) = open(dir.path());
        let kept = spool.accounted();
        add(&mut spool, seq, 1, 300);
        let (records, holes, _) = read_all(&mut reader);
        assert_eq!((records.iter().sum::<u64>(), holes), (kept + seq, vec![]));
    }
}

#[test]
fn a_damaged_segment_is_a_hole_of_known_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, reader) = open(dir.path());
    for seq in 1..=600 {
        add(&mut spool, seq, 1, 300);
    }
    drop((spool, reader));
    let second = segments(dir.path()).swap_remove(1);
    let mut bytes = fs::read(&second).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&second, &bytes).expect("written");
    let (spool, mut reader) = open(dir.path());
    let (records, holes, _) = read_all(&mut reader);
    assert_eq!(holes.len(), 1);
    assert_eq!(records.iter().sum::<u64>() + holes[0].count, (1..=600).sum::<u64>());
    assert_eq!(spool.accounted(), (1..=600).sum::<u64>());
}

#[test]
fn a_file_taken_away_while_it_is_read_is_a_hole_and_no_endless_loop() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, mut reader) = open(dir.path());
    for seq in 1..=600 {
        add(&mut spool, seq, 1, 300);
    }
    fs::remove_file(&segments(dir.path())[0]).expect("removed");
    let (records, holes, _) = read_all(&mut reader);
    assert_eq!(records.iter().sum::<u64>() + holes[0].count, (1..=600).sum::<u64>());
}

#[test]
fn a_segment_that_is_shorter_than_its_name_says_is_a_hole() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, reader) = open(dir.path());
    for seq in 1..=600 {
        add(&mut spool, seq, 1, 300);
    }
    drop((spool, reader));
    let second = segments(dir.path()).swap_remove(1);
    let bytes = fs::read(&second).expect("readable");
    for len in [bytes.len() / 2, 0] {
        fs::write(&second, &bytes[..len]).expect("written");
        let (_spool, mut reader) = open(dir.path());
        let (records, holes, _) = read_all(&mut reader);
        assert_eq!(holes.len(), 1);
        assert_eq!(records.iter().sum::<u64>() + holes[0].count, (1..=600).sum::<u64>());
    }
}

#[test]
fn what_the_disk_does_not_give_is_tried_a_few_times_and_then_a_hole() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, mut reader) = open(dir.path());
    for seq in 1..=600 {
        add(&mut spool, seq, 1, 300);
    }
    let second = segments(dir.path()).swap_remove(1);
    fs::remove_file(&second).expect("removed");
    // Nobody reads a folder.
    fs::create_dir(&second).expect("made");
    let (mut sum, mut holes, mut failures) = (0, Vec::new(), 0);
    loop {
        match reader.read(4096) {
            Ok(items) if items.is_empty() => break,
            Ok(items) => items.into_iter().for_each(|(item, _)| match item {
                Item::Record { count, .. } => sum += count,
                Item::Hole(hole) => holes.push(hole),
            }),
            Err(_) => failures += 1,
        }
    }
    assert_eq!((holes.len(), failures), (1, 4));
    assert_eq!(sum + holes[0].count, (1..=600).sum::<u64>());
    // What was given up is not waited for again.
    reader.rewind();
    assert_eq!(read_all(&mut reader).1, holes);
}

#[test]
fn what_was_told_and_could_not_be_removed_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, mut reader) = open(dir.path());
    for seq in 1..=600 {
        add(&mut spool, seq, 1, 300);
    }
    let paths = segments(dir.path());
    let oldest = fs::read(&paths[0]).expect("readable");
    let (_, _, last) = read_all(&mut reader);
    reader.confirm(last.expect("a place")).expect("written");
    drop((spool, reader));
    assert_eq!(segments(dir.path()), paths[paths.len() - 1..]);
    fs::write(&paths[0], oldest).expect("written");
    let (_spool, mut reader) = open(dir.path());
    assert_eq!(read_all(&mut reader), (vec![], vec![], None));
    assert_eq!(segments(dir.path()), paths[paths.len() - 1..]);
}

#[test]
fn what_a_failed_attempt_left_behind_the_last_record_stays_dead() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, reader) = open(dir.path());
    add(&mut spool, 1, 1, 30);
    let path = segments(dir.path()).pop().expect("a segment");
    let one = fs::metadata(&path).expect("a file").len();
    add(&mut spool, 2, 2, 30);
    let three = fs::read(&path).expect("readable");
    drop((spool, reader));
    // Both were refused, and their bytes could not be taken away: another of the same length is written over the first.
    fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(one)).expect("cut");
    let (mut spool, reader) = open(dir.path());
    add(&mut spool, 5, 1, 30);
    drop((spool, reader));
    let mut bytes = fs::read(&path).expect("readable");
    bytes.extend(&three[bytes.len()..]);
    fs::write(&path, bytes).expect("written");
    let (spool, mut reader) = open(dir.path());
    assert_eq!(read_all(&mut reader).0, [1, 5]);
    assert_eq!(spool.accounted(), 6);
}

#[test]
fn other_counters_begin_at_zero() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, reader) = open(dir.path());
    add(&mut spool, 5, 1, 10);
    assert_eq!(spool.accounted(), 5);
    drop((spool, reader));
    let (mut spool, reader) = Spool::open(dir.path(), MOST, "boot 2").expect("it opens");
    assert_eq!(spool.accounted(), 0);
    add(&mut spool, 6, 1, 10);
    drop((spool, reader));
    let (spool, _reader) = Spool::open(dir.path(), MOST, "boot 2").expect("it opens");
    assert_eq!(spool.accounted(), 6);
}

#[test]
fn what_cannot_be_written_accounts_for_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spool, mut reader) = open(dir.path());
    add(&mut spool, 1, 1, 10);
    assert_eq!(add(&mut spool, 2, 1, MAX_RECORD), 1);
    assert_eq!((add(&mut spool, 3, 1, 10), spool.accounted()), (0, 4));
    assert_eq!(read_all(&mut reader).0, [1, 3]);
}

/// What may happen to a spool.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u64, usize),
    Read,
    Confirm,
    Rewind,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..40_u64, 0..2000_usize).prop_map(|(n, len)| Step::Add(n, len)),
        3 => Just(Step::Read),
        2 => Just(Step::Confirm),
        1 => Just(Step::Rewind),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A receiver that takes a hole for everything in its place has accounted for every packet.
    #[test]
    fn received_and_holes_are_what_was_added(steps in prop::collection::vec(step(), 1..80)) {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut spool, mut reader) = open(dir.path());
        let mut next = 1;
        // Packets of each record by its number, as the receiver has them.
        let mut received = std::collections::BTreeMap::new();
        let mut last = None;
        for step in steps.into_iter().chain([Step::Rewind, Step::Read]) {
            match step {
                Step::Add(n, len) => {
                    add(&mut spool, next, n, len);
                    next += n;
                }
                Step::Read => {
                    for (item, mark) in std::iter::from_fn(|| reader.read(4096).ok().filter(|some| !some.is_empty())).flatten() {
                        match item {
                            Item::Record { text, .. } => {
                                let number: u64 = text.split(' ').next().expect("a word").parse().expect("a number");
                                received.insert(number, number);
                            }
                            Item::Hole(Hole { after, before, count }) => {
                                let first = after.map_or(1, |stamp| stamp.seq + 1);
                                received.retain(|number, _| *number < first || *number >= before.seq);
                                received.insert(first, count);
                            }
                        }
                        last = Some(mark);
                    }
                }
                Step::Confirm => if let Some(mark) = last { reader.confirm(mark).expect("written") },
                Step::Rewind => reader.rewind(),
                Step::Restart => {
                    drop((spool, reader));
                    (spool, reader) = open(dir.path());
                }
            }
        }
        prop_assert_eq!(received.values().sum::<u64>(), (1..next).sum::<u64>());
        prop_assert_eq!(spool.accounted(), (1..next).sum::<u64>());
        let bytes: u64 = segments(dir.path()).iter().map(|path| path.metadata().expect("a file").len()).sum();
        prop_assert!(bytes <= MOST);
    }
}
