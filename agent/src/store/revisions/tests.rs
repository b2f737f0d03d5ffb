//! A revision is whole or it is named; what nobody needs any more goes; and no power cut loses what was acknowledged.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::store::{Clocks, Deadline, Pending, pointer::MAX_ROLLED_BACK};

mod cut;

pub(super) fn layers(texts: &[(&str, &str)]) -> Vec<TextLayer> {
    let file =
        |(path, text): &(&str, &str)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() };
    vec![TextLayer { only: Vec::new(), files: texts.iter().map(file).collect() }]
}

pub(super) fn record(number: u64, before: Option<u64>, layers: &[TextLayer]) -> Record {
    Record {
        number,
        revision: format!("{number:012x}"),
        at: "2026-11-22T10:00:00Z".into(),
        by: Who::process(0, Some("root".into()), Some(77)),
        origin: "files".into(),
        from: "/etc/bulkhead/policy.d".into(),
        reason: Some("CHG-1".into()),
        signed: None,
        changes: "a.toml".into(),
        before,
        waits: false,
        accepted: None,
        layers: layers.iter().map(TextLayer::kept).collect(),
    }
}

pub(super) fn pending(number: u64, back_to: u64) -> Pending {
    let wall = "2026-11-22T10:00:00Z".parse().expect("a time");
    let now = Clocks { boot: "a".into(), up: std::time::Duration::from_secs(100), wall };
    let deadline = Deadline::after(std::time::Duration::from_secs(600), &now);
    Pending { number, back_to, deadline, by: Who::agent("start"), accepted: None }
}

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let store = Store::open(folder.path()).expect("nobody else has it");
    (folder, store)
}

/// Keeps a revision and brings it in force.
pub(super) fn apply(store: &Store, pointer: &Pointer, texts: &[(&str, &str)]) -> Result<Pointer, StoreError> {
    let number = store.next_number(pointer)?;
    let layers = layers(texts);
    store.keep(&record(number, Some(pointer.current).filter(|n| *n != 0), &layers), &layers)?;
    let next = pointer.forward(number);
    store.point(&next)?;
    Ok(next)
}

fn names(folder: &TempDir, inside: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join(inside)).expect("it is there");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("readable").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("writable");
}

#[test]
fn a_revision_comes_back_as_it_was_kept() {
    let (_folder, store) = store();
    assert_eq!(store.pointer().expect("nothing is wrong"), None);
    let texts = [("a.toml", "version = 1\n"), ("b.toml", "# nothing\n")];
    let mut pointer = apply(&store, &Pointer::default(), &texts).expect("there is room");
    pointer.configured = Some("c".into());
    pointer.pending = Some(pending(1, 0));
    pointer.rolled_back.insert(3);
    store.point(&pointer).expect("there is room");
    assert_eq!(store.pointer().expect("it is whole"), Some(pointer));
    let kept = store.record(1).expect("it is whole").expect("it is there");
    assert_eq!(kept, record(1, None, &layers(&texts)));
    assert_eq!(store.texts(&kept).expect("they are whole"), layers(&texts));
}

#[test]
fn only_a_changed_file_is_written() {
    let (folder, store) = store();
    let first = apply(&store, &Pointer::default(), &[("a.toml", "one"), ("b.toml", "two")]).expect("room");
    assert_eq!(names(&folder, "objects").len(), 2);
    let unchanged = folder.path().join("objects").join(sha256(b"one"));
    let written = || fs::metadata(&unchanged).and_then(|found| found.modified()).expect("a time");
    let before = written();
    apply(&store, &first, &[("a.toml", "one"), ("b.toml", "three")]).expect("room");
    assert_eq!(names(&folder, "objects").len(), 3);
    assert_eq!(written(), before);
}

#[test]
fn what_is_damaged_is_named_and_not_used() {
    let (folder, store) = store();
    let first = apply(&store, &Pointer::default(), &[("a.toml", "one")]).expect("room");
    let second = apply(&store, &first, &[("a.toml", "two")]).expect("room");
    let two = record(2, Some(1), &layers(&[("a.toml", "two")]));
    let object = folder.path().join("objects").join(sha256(b"two"));
    damage(&object);
    let error = store.texts(&two).expect_err("it is damaged").to_string();
    assert_eq!(error, format!("`{}` is damaged: it is not what was written", object.display()));
    fs::remove_file(&object).expect("it is there");
    assert!(store.texts(&two).expect_err("it is gone").to_string().contains("is damaged"));
    // The same content kept again mends it.
    damage(&folder.path().join("objects").join(sha256(b"one")));
    let third = apply(&store, &second, &[("a.toml", "one"), ("b.toml", "two")]).expect("room");
    assert!(store.texts(&record(1, None, &layers(&[("a.toml", "one")]))).is_ok());

    damage(&folder.path().join("revisions/2.json"));
    let found = store.revisions().expect("it can be listed");
    assert_eq!(found.records.keys().copied().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(found.broken.len(), 1);
    assert!(found.broken[0].to_string().contains("revisions/2.json` is damaged"), "{:?}", found.broken);
    assert_eq!(store.next_number(&third).expect("it can be listed"), 4);

    for name in ["current.json", "current.copy.json"] {
        store.point(&third).expect("room");
        damage(&folder.path().join(name));
        let found = store.find_pointer();
        assert_eq!((found.pointer.as_ref(), found.damage.len()), (Some(&third), 1), "{name}");
        assert!(found.damage[0].to_string().contains(&format!("{name}` is damaged")), "{:?}", found.damage);
    }
    fs::remove_file(folder.path().join("current.json")).expect("it is there");
    assert!(matches!(store.pointer(), Err(StoreError::Broken { .. })));
    store.point(&third).expect("room");
    fs::remove_file(folder.path().join("current.json")).expect("it is there");
    let found = store.find_pointer();
    assert_eq!((found.pointer, found.damage.len()), (Some(third), 1));
    // A record under another number is a damage as well.
    fs::copy(folder.path().join("revisions/3.json"), folder.path().join("revisions/9.json")).expect("room");
    assert!(matches!(store.record(9), Err(StoreError::Broken { .. })));
}

#[test]
fn old_revisions_go_and_those_that_may_come_back_stay() {
    let (folder, store) = store();
    let mut pointer = Pointer::default();
    for text in ["one", "two", "three", "four", "five", "six"] {
        pointer = apply(&store, &pointer, &[("a.toml", text), ("b.toml", "same")]).expect("room");
    }
    // Back to an old one, with a change that waits on top.
    let back = pointer.back(2);
    store.point(&back).expect("room");
    let mut next = apply(&store, &back, &[("a.toml", "seven")]).expect("room");
    next.pending = Some(pending(7, 2));
    store.point(&next).expect("room");
    assert_eq!(next.rolled_back, BTreeSet::from([3, 4, 5, 6]));
    fs::write(folder.path().join("objects/.half.new"), "ha").expect("room");
    // A change that never came in force.
    let cut = layers(&[("a.toml", "eight")]);
    store.keep(&record(8, Some(7), &cut), &cut).expect("room");

    // What a watch may bring back stays, too.
    store.prune(3, &next, &BTreeSet::from([4])).expect("it can be removed");
    assert_eq!(names(&folder, "revisions"), ["2.json", "4.json", "6.json", "7.json"]);
    let mut left: Vec<String> =
        ["two", "same", "four", "six", "seven"].iter().map(|text| sha256(text.as_bytes())).collect();
    left.sort();
    assert_eq!(names(&folder, "objects"), left);
    for number in [2, 4, 6, 7] {
        let record = store.record(number).expect("it is whole").expect("it is there");
        store.texts(&record).expect("they are whole");
    }
}

#[test]
fn a_way_forward_takes_nothing_back() {
    let at = |current| Pointer { current, last: 5, ..Pointer::default() };
    let back = at(5).back(2);
    assert_eq!((back.current, back.last, back.rolled_back.clone()), (2, 5, BTreeSet::from([3, 4, 5])));
    let forward = back.back(4);
    assert_eq!((forward.current, forward.rolled_back), (4, BTreeSet::from([3, 5])));
    assert_eq!(back.forward(6).rolled_back, BTreeSet::from([3, 4, 5]));
    assert_eq!(at(3000).back(1).rolled_back.len(), MAX_ROLLED_BACK);
}

#[test]
fn room_that_is_missing_changes_nothing() {
    let (folder, store) = store();
    let first = apply(&store, &Pointer::default(), &[("a.toml", "one")]).expect("room");
    // Something is where the new file would be written.
    fs::create_dir(folder.path().join("revisions/.2.json.new")).expect("room");
    let error = apply(&store, &first, &[("a.toml", "two")]).expect_err("it cannot be written").to_string();
    assert!(error.starts_with("failed to create `") && error.contains("revisions/.2.json.new"), "{error}");
    assert_eq!(store.pointer().expect("it is whole"), Some(first));
    assert!(store.record(2).expect("nothing is wrong").is_none());
}

#[test]
fn a_set_that_nobody_confirmed_was_never_accepted() {
    let set = |number| Some(AcceptedSet { number, digest: String::new() });
    let before = Pointer { current: 1, last: 1, accepted: set(7), ..Pointer::default() };
    let waits = Pending { accepted: before.accepted.clone(), ..pending(2, 1) };
    let after = Pointer { accepted: set(8), pending: Some(waits), ..before.forward(2) };
    assert_eq!(after.back(1).accepted, set(7), "undone");
    let confirmed = Pointer { pending: None, ..after };
    assert_eq!(confirmed.back(1).accepted, set(8), "an older one is not signed anew by a rollback");
}
