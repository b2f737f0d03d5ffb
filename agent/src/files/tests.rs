//! Folders with links, pipes and strangers in them, and folders that change under the reader.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::*;
use crate::signing::{Key, KeySource, Requirement, Trust};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("there is room");
    mode(&folder.join(name), 0o644);
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn refused(path: &Path) -> ReadError {
    read_set(path, &Trust::default(), Access::Enforced).expect_err("it is refused")
}

#[test]
fn policy_files_are_read_in_the_order_of_their_names_and_nothing_else_is() {
    let folder =
        folder(&[("b.toml", "2"), ("a.toml", "1"), (".c.toml", "x"), ("d.toml~", "x"), ("e.txt", "x")]);
    let set = read_set(folder.path(), &Trust::default(), Access::Enforced).expect("a set");
    let texts: Vec<&str> = set.files.iter().map(|file| file.text.as_str()).collect();
    assert_eq!((texts, set.signed, set.notes), (vec!["1", "2"], None, Vec::new()));
    assert!(set.files[0].path.ends_with("/a.toml"));
}

#[test]
fn the_path_may_be_a_link_and_nothing_inside_it() {
    let real = folder(&[("a.toml", "1")]);
    let links = folder(&[]);
    let link = links.path().join("policy.d");
    symlink(real.path(), &link).expect("a link");
    assert!(read_policy(&link).is_ok());
    symlink("a.toml", real.path().join("b.toml")).expect("a link");
    let said = refused(&link).to_string();
    assert!(said.contains("/policy.d/b.toml` is a symbolic link"), "{said}");
    fs::remove_file(real.path().join("b.toml")).expect("it is there");
    symlink("/etc/hostname", real.path().join("MANIFEST")).expect("a link");
    assert!(matches!(refused(&link), ReadError::Link { path } if path == link.join("MANIFEST")));
}

#[test]
fn names_of_files_do_not_steer_a_terminal() {
    let found = folder(&[("a.toml", "1")]);
    symlink("a.toml", found.path().join("\u{1b}[2J.toml")).expect("a link");
    let said = refused(found.path()).to_string();
    assert!(said.contains("/\\u{1b}[2J.toml` is a symbolic link"), "{said}");
}

#[test]
fn pipes_and_folders_are_no_policy_files() {
    let found = folder(&[("a.toml", "1")]);
    mkfifo(&found.path().join("b.toml"), Mode::S_IRWXU).expect("a pipe");
    assert!(matches!(refused(found.path()), ReadError::NotRegular { .. }));
    let found = folder(&[("a.toml", "1")]);
    fs::create_dir(found.path().join("b.toml")).expect("a folder");
    let said = refused(found.path()).to_string();
    assert!(said.contains("b.toml`: Is a directory"), "{said}");
}

#[test]
fn sizes_are_bounded_before_anything_is_understood() {
    let found = folder(&[("a.toml", "1")]);
    let large = fs::File::create(found.path().join("MANIFEST")).expect("a file");
    mode(&found.path().join("MANIFEST"), 0o644);
    large.set_len(crate::signing::MAX_MANIFEST_BYTES as u64 + 1).expect("a sparse file");
    assert!(matches!(refused(found.path()), ReadError::TooLarge { unit: "bytes", .. }));
    fs::remove_file(found.path().join("MANIFEST")).expect("it is there");
    for n in 0..17 {
        let path = found.path().join(format!("{n}.toml"));
        let file = fs::File::create(&path).expect("a file");
        mode(&path, 0o644);
        file.set_len(4 << 20).expect("a sparse file");
    }
    assert!(matches!(refused(found.path()), ReadError::TooLarge { unit: "bytes together", .. }));
}

#[test]
fn what_others_can_write_is_refused_by_the_agent_and_noted_by_a_person() {
    let found = folder(&[("a.toml", "1"), ("b.toml", "2")]);
    mode(&found.path().join("b.toml"), 0o666);
    assert!(matches!(refused(found.path()), ReadError::Writable { mode: 0o666, .. }));
    mode(found.path(), 0o770);
    assert!(
        matches!(refused(found.path()), ReadError::Writable { mode: 0o770, path } if path == found.path())
    );
    let set = read_set(found.path(), &Trust::default(), Access::Noted).expect("a set");
    assert_eq!(set.notes.len(), 2, "{:?}", set.notes);
    assert!(
        set.notes[1].contains("b.toml` has mode 0666: everybody can change the policy\nhint: chmod go-w")
    );
}

#[test]
fn a_key_file_is_guarded_like_a_policy() {
    let key = "RWSc6TgAxnfTevjeUv/YcEhJE53BWVsgkHUFS7/z2gVZC3XCoWbidfwV";
    let found = folder(&[("plant.pub", &format!("untrusted comment: plant\n{key}\n")), ("none.pub", "RW")]);
    let trust = |name: &str| {
        let keys = vec![KeySource::File(found.path().join(name))];
        read_trust(&Requirement { keys, required: true })
    };
    let read = trust("plant.pub").expect("a key");
    assert_eq!((read.keys, read.required), (vec![Key::parse(key).expect("a key")], true));
    assert!(matches!(trust("none.pub"), Err(ReadError::Key { .. })));
    assert!(matches!(trust("missing.pub"), Err(ReadError::Io { .. })));
    mode(&found.path().join("plant.pub"), 0o646);
    assert!(matches!(trust("plant.pub"), Err(ReadError::Writable { .. })));
}

/// Ends the writer when the reader ends, also by a panic.
struct Ends<'t>(&'t AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_file_that_is_exchanged_is_read_whole_old_or_new() {
    let texts = ["1".repeat(1 << 16), "2".repeat(1 << 15)];
    let found = folder(&[("a.toml", &texts[0])]);
    let path = found.path();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for text in texts.iter().cycle() {
                write(path, "next", text);
                fs::rename(path.join("next"), path.join("a.toml")).expect("one folder");
                if over.load(Ordering::Acquire) {
                    return;
                }
            }
        });
        let _ends = Ends(&over);
        let mut seen = [0, 0];
        let deadline = Instant::now() + Duration::from_secs(30);
        while seen[0] < 50 || seen[1] < 50 {
            let files = read_policy(path).expect("there is always one");
            let version = texts.iter().position(|text| *text == files[0].text);
            seen[version.expect("one of the two, whole")] += 1;
            assert!(Instant::now() < deadline, "both are seen: {seen:?}");
        }
    });
}

#[test]
fn a_file_that_is_written_in_place_is_not_read_half() {
    let found = folder(&[("a.toml", "version = 1\n")]);
    let path = found.path().join("a.toml");
    let opened = open::Opened::at(&path).expect("it opens");
    write(found.path(), "a.toml", "version = 1\n# more\n");
    assert!(matches!(opened.bytes(&path, 100), Err(ReadError::Changed { .. })));
    let opened = open::Opened::at(&path).expect("it opens");
    fs::remove_file(&path).expect("it is there");
    assert_eq!(opened.bytes(&path, 100).expect("a file that is gone is whole"), b"version = 1\n# more\n");
}

#[test]
fn pushed_files_are_judged_by_their_names_in_one_folder() {
    let source = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
    let files = vec![source("d/b.toml", "2"), source("d/MANIFEST", "m"), source("d/a.toml", "1")];
    let set = pushed_set(files.clone(), &Trust::default()).expect("nobody has to sign");
    assert_eq!(set.files, [source("d/a.toml", "1"), source("d/b.toml", "2")]);
    assert!(set.notes[0].starts_with("the policy set has a signature that nobody checks"));
    let read = pushed_set(files[1..2].to_vec(), &Trust::default());
    assert!(matches!(read, Err(ReadError::NoPolicy { .. })));
    let strict = Trust { required: true, ..Trust::default() };
    let said = pushed_set(files, &strict).expect_err("no key").to_string();
    assert!(said.starts_with("`d`: `[signing]` requires a signature and names no key"), "{said}");
}
