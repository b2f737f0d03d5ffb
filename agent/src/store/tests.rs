//! The last value or the one before it, never half of one; and one agent at a time.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use tempfile::TempDir;

use super::*;
use crate::model::Mode;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn store(folder: &TempDir) -> Store {
    Store::open(folder.path()).expect("nobody else has it")
}

fn overrides() -> Overrides {
    let quarantined = Override {
        mode: Mode::Quarantine,
        by: "alice".into(),
        at: "2026-03-02T10:00:00Z".into(),
        why: Some("beacons to 203.0.113.9".into()),
        before: None,
    };
    Overrides { devices: BTreeMap::from([("press-plc".into(), quarantined)]) }
}

#[test]
fn values_survive_the_agent() {
    let folder = folder();
    let last_good = LastGood {
        revision: "c4c4c4c4c4c4".into(),
        files: vec![PolicyFile { path: "plant.toml".into(), text: "version = 1\n".into() }],
        at: "2026-03-02T10:00:00Z".into(),
    };
    let first = store(&folder);
    assert_eq!(first.load::<Overrides>(OVERRIDES).expect("it is not there"), None);
    first.save(OVERRIDES, &overrides()).expect("there is room");
    first.save(LAST_GOOD, &last_good).expect("there is room");
    drop(first);

    let second = store(&folder);
    assert_eq!(second.load(OVERRIDES).expect("it was saved"), Some(overrides()));
    assert_eq!(second.load(LAST_GOOD).expect("it was saved"), Some(last_good));
    let text = fs::read_to_string(folder.path().join(OVERRIDES)).expect("it was saved");
    assert!(text.contains("\"mode\": \"quarantine\""), "{text}");
}

#[test]
fn second_agent_is_told_who_has_the_folder() {
    let folder = folder();
    let first = store(&folder);
    let error = Store::open(folder.path()).err().expect("it is taken");
    let expected =
        format!("the state folder `{}` is in use by process {}", folder.path().display(), process::id());
    assert_eq!(error.to_string(), expected);
    drop(first);
    store(&folder);
}

#[test]
fn nobody_else_can_read_it() {
    let outer = folder();
    let path = outer.path().join("state");
    let store = Store::open(&path).expect("it can be made");
    store.write("a", b"secret").expect("there is room");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("a")), 0o600);
    assert_eq!(mode(&path.join(LOCK)), 0o600);
}

#[test]
fn cut_in_the_middle_of_a_write_leaves_the_old_value() {
    let folder = folder();
    let store = store(&folder);
    store.write("a", b"old").expect("there is room");
    // What a cut leaves behind: the new file half written, not yet renamed.
    fs::write(folder.path().join(".a.new"), b"half of a much longer valu").expect("there is room");
    assert_eq!(store.read("a").expect("it is there").as_deref(), Some(&b"old"[..]));
    store.write("a", b"new").expect("there is room");
    assert_eq!(store.read("a").expect("it is there").as_deref(), Some(&b"new"[..]));
    assert!(!folder.path().join(".a.new").exists());
}

#[test]
fn failed_write_leaves_the_old_value() {
    let folder = folder();
    let store = store(&folder);
    store.write("a", b"old").expect("there is room");
    fs::create_dir(folder.path().join(".a.new")).expect("it can be made");
    let error = store.write("a", b"new").expect_err("something is in the way");
    let expected = format!("failed to create `{}`", folder.path().join(".a.new").display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(store.read("a").expect("it is there").as_deref(), Some(&b"old"[..]));
}

#[test]
fn file_that_is_no_value_is_an_error_and_stays() {
    let folder = folder();
    let store = store(&folder);
    store.write(OVERRIDES, b"{\"v\":1,\"value\":{\"devices\":{\"a\":{\"mode\":\"off\"}}}}").expect("room");
    assert!(matches!(store.load::<Overrides>(OVERRIDES), Err(StoreError::Unreadable { .. })));
    store.write(OVERRIDES, b"").expect("room");
    assert!(matches!(store.load::<Overrides>(OVERRIDES), Err(StoreError::Unreadable { .. })));
    assert!(folder.path().join(OVERRIDES).exists());
}

#[test]
fn value_of_another_version_is_not_guessed_at() {
    let folder = folder();
    let store = store(&folder);
    store.write(OVERRIDES, b"{\"v\":2,\"value\":7}").expect("there is room");
    let error = store.load::<Overrides>(OVERRIDES).expect_err("it is from the future");
    let expected = format!(
        "`{}` has version 2, and this agent reads version 1",
        folder.path().join(OVERRIDES).display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn link_is_not_followed() {
    let folder = folder();
    let store = store(&folder);
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "{}").expect("there is room");
    symlink(&elsewhere, folder.path().join("a")).expect("a link can be made");
    assert!(matches!(store.read("a"), Err(StoreError::Io { act: "open", .. })));
    store.write("a", b"new").expect("the link itself is replaced");
    assert_eq!(fs::read(&elsewhere).expect("it is there"), b"{}");
}

#[test]
#[should_panic(expected = "`../a` is no name of a value")]
fn name_that_leads_out_of_the_folder_is_our_bug() {
    let folder = folder();
    let _ = store(&folder).read("../a");
}
