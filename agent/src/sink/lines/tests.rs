//! Whole lines or none, bounded files, and a count for everything that was refused.

use std::os::unix::{
    fs::{PermissionsExt, symlink},
    net::UnixStream,
};

use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn file(path: &Path, rotate_bytes: u64) -> Target {
    Target::Path { path: path.to_owned(), rotate_bytes, keep: 4 }
}

fn sink_at(path: &Path) -> Lines {
    Lines::open(file(path, 64 << 20))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("the file was written")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

fn put(sink: &mut Lines, lines: &[&str]) {
    lines.iter().for_each(|line| sink.write(line));
    sink.flush();
}

#[test]
fn lines_are_appended_and_counted() {
    let folder = folder();
    let path = folder.path().join("violations.jsonl");
    put(&mut sink_at(&path), &["{\"a\":1}", "{\"a\":2}"]);
    let mut sink = sink_at(&path);
    put(&mut sink, &["{\"a\":3}"]);
    assert_eq!(text(&path), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    let expected = Status {
        target: path.display().to_string(),
        written: 1,
        refused: 0,
        failing: false,
        last_error: None,
    };
    assert_eq!(*sink.status(), expected);
}

#[test]
fn missing_folder_is_made_and_nobody_else_reads_it() {
    let folder = folder();
    let path = folder.path().join("log/bulkhead/violations.jsonl");
    put(&mut sink_at(&path), &["{}"]);
    assert_eq!(mode(&path) & 0o137, 0, "the file is at most 0640");
    assert_eq!(mode(path.parent().expect("it has a folder")) & 0o027, 0, "the folder is at most 0750");
}

#[test]
fn symbolic_link_is_refused() {
    let folder = folder();
    let (path, elsewhere) = (folder.path().join("v.jsonl"), folder.path().join("elsewhere"));
    fs::write(&elsewhere, "").expect("it can be written");
    symlink(&elsewhere, &path).expect("a link can be made");
    let mut sink = sink_at(&path);
    put(&mut sink, &["{}"]);
    assert_eq!(text(&elsewhere), "");
    assert_eq!((sink.status().written, sink.status().refused), (0, 1));
    let error = sink.status().last_error.clone().expect("it failed");
    assert_eq!(
        error,
        format!("failed to open `{}`: it is a symbolic link, which is not followed", path.display())
    );
}

#[test]
fn full_disk_refuses_and_counts() {
    let mut sink = Lines::open(file(Path::new("/dev/full"), 64 << 20));
    assert!(!sink.status().failing);
    put(&mut sink, &["{}", "{}"]);
    put(&mut sink, &["{}"]);
    assert_eq!((sink.status().written, sink.status().refused), (0, 3));
    assert!(sink.status().failing);
    let error = sink.status().last_error.clone().expect("it failed");
    assert!(error.starts_with("failed to write to `/dev/full`: No space left on device"), "{error}");
}

#[test]
fn target_that_comes_back_is_used_again() {
    let folder = folder();
    let log = folder.path().join("log");
    fs::write(&log, "in the way").expect("it can be written");
    let path = log.join("v.jsonl");
    let mut sink = sink_at(&path);
    assert!(sink.status().failing);
    put(&mut sink, &["{\"a\":1}"]);
    fs::remove_file(&log).expect("it is there");
    put(&mut sink, &["{\"a\":2}"]);
    assert_eq!(text(&path), "{\"a\":2}\n");
    let Status { target: _, written, refused, failing, last_error } = sink.status();
    assert_eq!((*written, *refused, *failing), (1, 1, false));
    assert!(last_error.is_some(), "the last failure stays visible");
}

#[test]
fn half_a_line_of_a_full_disk_is_taken_back() {
    let folder = folder();
    let path = folder.path().join("v.jsonl");
    put(&mut sink_at(&path), &["{\"a\":1}"]);
    let mut file = OpenOptions::new().append(true).open(&path).expect("it is there");
    let batch = b"{\"a\":2}\n{\"a\"";
    file.write_all(batch).expect("it can be written");
    assert_eq!(keep_whole_lines(&file, batch), 8);
    assert_eq!(text(&path), "{\"a\":1}\n{\"a\":2}\n");
    file.write_all(b"{\"a").expect("it can be written");
    assert_eq!(keep_whole_lines(&file, b"{\"a"), 0);
    assert_eq!(text(&path), "{\"a\":1}\n{\"a\":2}\n");
}

#[test]
fn half_a_line_of_a_power_cut_spoils_no_other() {
    let folder = folder();
    let path = folder.path().join("v.jsonl");
    fs::write(&path, "{\"a\":1}\n{\"a\":").expect("it can be written");
    put(&mut sink_at(&path), &["{\"a\":2}"]);
    assert_eq!(text(&path), "{\"a\":1}\n{\"a\":\n{\"a\":2}\n");
}

#[test]
fn full_file_is_put_aside_and_only_some_are_kept() {
    let folder = folder();
    let path = folder.path().join("v.jsonl");
    let mut sink = Lines::open(file(&path, 20));
    for number in 0..14 {
        put(&mut sink, &[&format!("{{\"a\":{number:02}}}")]);
    }
    // Two lines of nine bytes fit.
    assert_eq!(text(&path), "{\"a\":12}\n{\"a\":13}\n");
    let aside = |number: u32| text(&folder.path().join(format!("v.jsonl.{number}")));
    assert_eq!(aside(1), "{\"a\":10}\n{\"a\":11}\n");
    assert_eq!(aside(4), "{\"a\":04}\n{\"a\":05}\n");
    assert!(!folder.path().join("v.jsonl.5").exists());
    assert_eq!((sink.status().written, sink.status().refused), (14, 0));
}

#[test]
fn file_that_cannot_be_rotated_does_not_grow() {
    let folder = folder();
    let path = folder.path().join("v.jsonl");
    let mut sink = Lines::open(file(&path, 10));
    put(&mut sink, &["{\"a\":1}"]);
    // A folder that is not empty cannot be replaced.
    fs::create_dir_all(folder.path().join("v.jsonl.3/x")).expect("it can be made");
    fs::create_dir_all(folder.path().join("v.jsonl.4/x")).expect("it can be made");
    put(&mut sink, &["{\"a\":2}"]);
    put(&mut sink, &["{\"a\":3}"]);
    assert_eq!(text(&path), "{\"a\":1}\n");
    assert_eq!((sink.status().written, sink.status().refused), (1, 2));
    let error = sink.status().last_error.clone().expect("it failed");
    assert!(error.starts_with("failed to rotate `"), "{error}");
}

#[test]
fn after_reopening_lines_go_to_the_new_file() {
    let folder = folder();
    let (path, aside) = (folder.path().join("v.jsonl"), folder.path().join("v.jsonl-2026"));
    let mut sink = sink_at(&path);
    put(&mut sink, &["{\"a\":1}"]);
    fs::rename(&path, &aside).expect("it is there");
    sink.write("{\"a\":2}");
    sink.reopen();
    put(&mut sink, &["{\"a\":3}"]);
    assert_eq!((text(&aside), text(&path)), ("{\"a\":1}\n{\"a\":2}\n".into(), "{\"a\":3}\n".into()));
}

#[test]
fn deleted_file_is_made_anew() {
    let folder = folder();
    let path = folder.path().join("v.jsonl");
    let mut sink = sink_at(&path);
    fs::remove_file(&path).expect("it is there");
    put(&mut sink, &["{}"]);
    assert_eq!(text(&path), "{}\n");
}

#[test]
fn line_that_is_no_line_is_refused() {
    let folder = folder();
    let path = folder.path().join("v.jsonl");
    let mut sink = sink_at(&path);
    put(&mut sink, &["{}\n{}", &"x".repeat(MAX_LINE), &"x".repeat(MAX_LINE - 1)]);
    assert_eq!((sink.status().written, sink.status().refused), (1, 2));
}

#[test]
fn large_batch_is_written_without_being_asked() {
    let folder = folder();
    let path = folder.path().join("v.jsonl");
    let mut sink = sink_at(&path);
    (0..17).for_each(|_| sink.write(&"x".repeat(MAX_LINE - 1)));
    assert_eq!(sink.status().written, 16);
}

#[test]
fn slow_reader_of_a_stream_holds_nobody_up() {
    let folder = folder();
    let (near, far) = UnixStream::pair().expect("a pair can be made");
    let file = File::from(std::os::fd::OwnedFd::from(near));
    let mut sink = sink_at(&folder.path().join("v.jsonl"));
    sink.output = Some(Output::Stream { file, torn: false });
    // Nobody reads: sooner or later its buffer is full.
    for _ in 0..1000 {
        put(&mut sink, &[&"x".repeat(1000)]);
    }
    let refused = sink.status().refused;
    assert!(refused > 0 && sink.status().written > 0);
    assert_eq!(sink.status().written + refused, 1000);
    assert!(sink.status().last_error.as_ref().is_some_and(|e| e.ends_with("its reader does not keep up")));

    // Somebody reads: it goes on.
    let mut drain = vec![0; 1 << 20];
    far.set_nonblocking(true).expect("it can be set");
    while (&far).read(&mut drain).is_ok_and(|bytes| bytes > 0) {}
    put(&mut sink, &["{}"]);
    assert!(!sink.status().failing);

    // Nobody is there any more: an error, not an end of the agent.
    drop(far);
    put(&mut sink, &["{}"]);
    assert_eq!(sink.status().refused, refused + 1);
}
