//! Signed sets that are exchanged while they are read: one version or none, never a mixture.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use bulkhead_agent::{
    files::{Access, PolicySet, ReadError, read_set},
    signing::Refusal,
};
use bulkhead_tests::minisign::Signer;

use super::{
    command::{AT_ONCE, file},
    sign, signers, trust,
};

/// Whether every file is of the version that the set's number says.
fn of_one_version(set: &PolicySet) -> bool {
    let number = set.signed.as_ref().map(|signed| signed.number).unwrap_or_default();
    set.files.len() == 2 && set.files.iter().all(|file| file.text == text_of(number, &file.path))
}

fn text_of(number: u64, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    format!("# {name} of version {number}\n").repeat(200)
}

/// Two versions of a set, signed.
fn versions(room: &Path, signer: &Signer) -> [PathBuf; 2] {
    [1, 2].map(|number| {
        let at = room.join(format!("version-{number}"));
        fs::create_dir(&at).expect("a new folder");
        for name in ["a.toml", "b.toml"] {
            file(&at, name, text_of(number, name));
        }
        sign(&at, number, signer);
        at
    })
}

/// Ends the other thread when this one ends, also by a panic.
struct Ends<'t>(&'t AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Reads sets while `write` changes them, round by round, until `enough`.
fn read_while_written(write: impl Fn(usize) + Sync, mut enough: impl FnMut() -> bool) {
    let (reads, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let deadline = Instant::now() + AT_ONCE;
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                write(round);
                // At least one reading begins and ends between two rounds.
                let seen = reads.load(Ordering::Acquire);
                while reads.load(Ordering::Acquire) < seen + 2 {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    thread::yield_now();
                }
            }
        });
        let _ends = Ends(&over);
        while !enough() {
            reads.fetch_add(1, Ordering::Release);
            assert!(Instant::now() < deadline, "it takes too long");
        }
    });
}

#[test]
fn a_signed_set_never_mixes_versions_whatever_is_renamed_meanwhile() {
    let test = "a_signed_set_never_mixes_versions_whatever_is_renamed_meanwhile";
    let Some((room, ours, _)) = signers(test) else { return };
    let versions = versions(&room, &ours);
    let trust = trust(&ours);
    let at = room.join("policy.d");
    fs::create_dir(&at).expect("a new folder");
    let install = |round: usize| {
        for name in ["a.toml", "MANIFEST", "b.toml", "MANIFEST.minisig"] {
            fs::copy(versions[round % 2].join(name), at.join("next")).expect("there is room");
            fs::rename(at.join("next"), at.join(name)).expect("one folder");
        }
    };
    install(0);
    let (mut accepted, mut refused) = (BTreeMap::new(), 0);
    read_while_written(install, || {
        match read_set(&at, &trust, Access::Enforced) {
            Ok(set) => {
                assert!(of_one_version(&set), "{set:?}");
                *accepted.entry(set.signed.map(|signed| signed.number)).or_insert(0) += 1;
            }
            Err(ReadError::Refused { refusal, .. }) => {
                assert!(matches!(*refusal, Refusal::Differs(_) | Refusal::Forged { .. }), "{refusal}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        refused >= 10 && accepted.len() == 2 && accepted.values().all(|count| *count >= 10)
    });
}

#[test]
fn a_folder_that_is_exchanged_whole_is_never_refused() {
    let Some((room, ours, _)) = signers("a_folder_that_is_exchanged_whole_is_never_refused") else { return };
    let versions = versions(&room, &ours);
    let trust = trust(&ours);
    let current = room.join("current");
    symlink(&versions[0], &current).expect("a link");
    let exchange = |round: usize| {
        symlink(&versions[round % 2], room.join("next")).expect("a link");
        fs::rename(room.join("next"), &current).expect("one folder");
    };
    let mut seen = BTreeMap::new();
    read_while_written(exchange, || {
        let set = read_set(&current, &trust, Access::Enforced).expect("always a whole set");
        assert!(of_one_version(&set), "{set:?}");
        *seen.entry(set.signed.map(|signed| signed.number)).or_insert(0) += 1;
        seen.len() == 2 && seen.values().all(|count| *count >= 50)
    });
}
