//! Every byte of the trail is held by the chain; a power cut is healed and told of; files are turned over.

use tempfile::TempDir;

use super::*;

const BOUNDS: Bounds = Bounds { file_bytes: 1 << 20, files: 4 };

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn event(target: &str) -> Event {
    let by = Who::process(1000, Some("alice".into()), Some(77));
    Event {
        result: Outcome::Ok,
        target: Some(target.into()),
        reason: Some("CHG-7 \"quoted\"".into()),
        before: "aaaaaaaaaaaa".into(),
        after: "bbbbbbbbbbbb".into(),
        ..Event::begun(Action::Apply, by)
    }
}

fn add(trail: &Trail, target: &str) -> Entry {
    trail.append(event(target), "2026-11-22T10:00:00Z".into()).expect("there is room")
}

fn filled(folder: &TempDir, entries: usize) -> Trail {
    let trail = Trail::new(folder.path(), BOUNDS);
    for number in 0..entries {
        add(&trail, &format!("device-{number}"));
    }
    trail
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join(FILE)
}

fn broken(folder: &TempDir) -> Option<(usize, String)> {
    verify(folder.path()).expect("it can be read").broken.map(|b| (b.place.line, b.what))
}

#[test]
fn entries_follow_each_other() {
    let folder = folder();
    filled(&folder, 3);
    let chain = verify(folder.path()).expect("it can be read");
    assert_eq!(chain.broken, None);
    let entries: Vec<&Entry> = chain.entries.iter().map(|(_, entry)| entry).collect();
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(entries[0].prev, NO_ENTRY);
    assert_eq!(entries[1].event, event("device-1"));
    let text = fs::read_to_string(log(&folder)).expect("it is there");
    let last = text.lines().last().expect("three lines");
    assert!(last.ends_with(&format!("\"hash\":\"{}\"}}", chain.head)), "{last}");
    assert_eq!(last.matches("\"uid\":1000").count(), 1);
}

#[test]
fn every_changed_byte_is_found_on_its_line() {
    let folder = folder();
    filled(&folder, 3);
    let whole = fs::read(log(&folder)).expect("it is there");
    let mut line = 1;
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(log(&folder), &changed).expect("writable");
        let last_end = at == whole.len() - 1;
        match broken(&folder) {
            Some((found, what)) => {
                // A line end that is none joins two lines; the first of them is to blame.
                assert_eq!(found, line, "byte {at}: {what}");
            }
            // Nothing tells it from a power cut, and the next entry says so.
            None => assert!(last_end || line == 3, "byte {at}"),
        }
        if whole[at] == b'\n' {
            line += 1;
        }
    }
}

#[test]
fn lines_lost_added_and_exchanged_are_found() {
    let folder = folder();
    filled(&folder, 4);
    let whole = fs::read_to_string(log(&folder)).expect("it is there");
    let lines: Vec<&str> = whole.lines().collect();
    let judged = |order: &[&str]| {
        fs::write(log(&folder), order.iter().map(|line| format!("{line}\n")).collect::<String>())
            .expect("writable");
        broken(&folder)
    };
    assert_eq!(judged(&lines), None);
    let lost = judged(&[lines[0], lines[2], lines[3]]);
    assert_eq!(lost, Some((2, "1 entries are missing before entry 3".into())));
    let twice = judged(&[lines[0], lines[1], lines[1], lines[2]]);
    assert_eq!(twice, Some((3, "entry 2 stands where 3 belongs".into())));
    let exchanged = judged(&[lines[0], lines[2], lines[1], lines[3]]);
    assert_eq!(exchanged.map(|(line, _)| line), Some(2));
    // Sealed anew by somebody who knows how: it does not follow.
    let mut entry: Entry = seal::open(lines[1].as_bytes()).expect("an entry");
    entry.event.by = Who::process(0, Some("mallory".into()), None);
    let (forged, _) = seal::seal(&entry).expect("it has a JSON form");
    let (line, what) = judged(&[lines[0], &forged, lines[2], lines[3]]).expect("it is found");
    assert_eq!((line, what.contains("one of the two was replaced")), (3, true), "{what}");
    let (line, what) = judged(&[lines[0], "not an entry", lines[2], lines[3]]).expect("it is found");
    assert_eq!((line, what.contains("does not fit its own hash")), (2, true), "{what}");
}

#[test]
fn a_line_torn_anywhere_is_set_aside_and_told_of() {
    let before = folder();
    filled(&before, 2);
    let two = fs::read(log(&before)).expect("it is there");
    let start = two.iter().position(|byte| *byte == b'\n').expect("a line end") + 1;
    for end in start..two.len() {
        for zeros in [0, 5] {
            let folder = folder();
            let mut torn = two[..end].to_vec();
            torn.resize(end + zeros, 0);
            fs::write(log(&folder), &torn).expect("writable");
            let chain = verify(folder.path()).expect("it can be read");
            assert_eq!((chain.broken, chain.torn), (None, torn.len() - start), "cut at {end}");
            let trail = Trail::new(folder.path(), BOUNDS);
            let next = add(&trail, "after");
            assert_eq!(next.seq, 2);
            let expected = Torn { bytes: (torn.len() - start) as u64, sha256: sha256(&torn[start..]) };
            assert_eq!(next.torn, Some(expected).filter(|torn| torn.bytes > 0), "cut at {end}");
            assert_eq!(broken(&folder), None, "cut at {end}");
            assert_eq!(add(&trail, "later").torn, None, "it is told once");
        }
    }
}

#[test]
fn a_changed_last_line_stays_broken_whatever_follows() {
    let folder = folder();
    let trail = filled(&folder, 2);
    let text = fs::read_to_string(log(&folder)).expect("it is there").replace("device-1", "device-9");
    fs::write(log(&folder), text).expect("writable");
    let next = add(&trail, "after");
    assert_eq!((next.seq, next.torn), (3, None));
    let (line, what) = broken(&folder).expect("it is found");
    assert_eq!((line, what.as_str()), (2, "the line does not fit its own hash: it was changed"));
}

#[test]
fn files_are_turned_over_and_the_chain_goes_on() {
    let folder = folder();
    let trail = Trail::new(folder.path(), Bounds { file_bytes: 1500, files: 3 });
    for number in 0..40 {
        add(&trail, &format!("device-{number}"));
    }
    let found: Vec<u32> = files(folder.path()).expect("listed").into_iter().map(|(n, _)| n).collect();
    assert_eq!(found, [0, 1, 2]);
    let chain = verify(folder.path()).expect("it can be read");
    assert_eq!(chain.broken, None);
    let first = chain.entries.first().expect("there are some").1.seq;
    assert!(first > 20, "{first}");
    assert_eq!(chain.entries.last().expect("there are some").1.seq, 40);
    // The middle file without its last line, then gone.
    let middle = numbered(folder.path(), 1);
    let text = fs::read_to_string(&middle).expect("it is there");
    let shorter: String =
        text.lines().rev().skip(1).collect::<Vec<_>>().into_iter().rev().map(|l| format!("{l}\n")).collect();
    fs::write(&middle, shorter).expect("writable");
    let found = verify(folder.path()).expect("it can be read").broken.expect("it is found");
    assert_eq!((found.place.path, found.place.line), (folder.path().join(FILE), 1));
    fs::remove_file(&middle).expect("it is there");
    assert!(broken(&folder).is_some_and(|(_, what)| what.contains("are missing before entry")));
}

#[test]
fn one_file_is_too_few_for_a_chain() {
    let folder = folder();
    let trail = Trail::new(folder.path(), Bounds { file_bytes: 1, files: 1 });
    for number in 1..=5 {
        assert_eq!(add(&trail, "device").seq, number);
    }
    let chain = verify(folder.path()).expect("it can be read");
    assert_eq!(chain.broken, None);
    assert_eq!(chain.entries.iter().map(|(_, entry)| entry.seq).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn a_trail_that_is_gone_is_missed_where_revisions_are_kept() {
    let folder = folder();
    assert_eq!(broken(&folder), None);
    fs::create_dir(folder.path().join("revisions")).expect("room");
    assert_eq!(broken(&folder), None);
    fs::write(folder.path().join("revisions/1.json"), "").expect("room");
    let (line, what) = broken(&folder).expect("it is missed");
    assert_eq!((line, what.starts_with("no entry is left")), (1, true), "{what}");
    filled(&folder, 1);
    assert_eq!(broken(&folder), None);
}

#[test]
fn two_processes_write_one_chain() {
    let folder = folder();
    let bounds = Bounds { file_bytes: 4000, files: 100 };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let trail = Trail::new(folder.path(), bounds);
            scope.spawn(move || {
                for number in 0..20 {
                    add(&trail, &format!("{thread}-{number}"));
                }
            });
        }
    });
    let chain = verify(folder.path()).expect("it can be read");
    assert_eq!((chain.broken, chain.entries.len()), (None, 80));
}

#[test]
fn texts_are_bounded() {
    let folder = folder();
    let trail = Trail::new(folder.path(), BOUNDS);
    let mut long = event(&"ü".repeat(5000));
    long.message = Some("\u{1}".repeat(5000));
    long.reason = Some("x".repeat(5000));
    let entry = trail.append(long, String::new()).expect("there is room");
    assert!(entry.event.target.is_some_and(|target| target.len() <= MAX_TEXT + 3 && target.ends_with('…')));
    assert!(size(&log(&folder)).expect("it is there") < MAX_ENTRY);
    assert_eq!(add(&trail, "next").seq, 2);
}

#[test]
fn no_text_commands_a_terminal() {
    let folder = folder();
    let trail = Trail::new(folder.path(), BOUNDS);
    let mut evil = event("a\u{1b}[2J\nb");
    evil.reason = Some("c\rd".into());
    evil.message = Some("first\n\u{9b}second".into());
    let Event { target, reason, message, .. } = trail.append(evil, String::new()).expect("room").event;
    let expected = ["a\u{fffd}[2J\u{fffd}b", "c\u{fffd}d", "first\n\u{fffd}second"];
    assert_eq!([target, reason, message].map(Option::unwrap_or_default), expected);
}

#[test]
fn a_trail_that_cannot_be_written_is_an_error_and_as_it_was() {
    let folder = folder();
    let trail = filled(&folder, 1);
    fs::rename(log(&folder), folder.path().join("elsewhere")).expect("it is there");
    fs::create_dir(log(&folder)).expect("room");
    let error = trail.append(event("x"), String::new()).expect_err("a folder is in the way").to_string();
    assert!(error.starts_with("failed to ") && error.contains("audit.log"), "{error}");
}
