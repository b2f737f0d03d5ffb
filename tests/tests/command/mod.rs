//! Runs `bulkhead` as a person would, far from any configuration of this machine.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use bulkhead_tests::lab::{agent_binary, wait::wait_for};

/// Nothing here waits for anybody.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(30);

/// What a command did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of its own for a test, empty.
pub(crate) fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(test);
    if path.exists() {
        fs::remove_dir_all(&path).expect("the last run left only files");
    }
    fs::create_dir_all(&path).expect("a writable target directory");
    path
}

pub(crate) fn file(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("a writable folder");
    path
}

/// Runs `bulkhead` with its own words on standard input, far from any configuration of this machine.
pub(crate) fn bulkhead_with(input: &str, args: &[&OsStr]) -> Ran {
    bulkhead_from(None, input, args)
}

/// The same, as if typed in an SSH session: `CLIENT PORT SERVER PORT`.
pub(crate) fn bulkhead_from(session: Option<&str>, input: &str, args: &[&OsStr]) -> Ran {
    let mut command = Command::new(agent_binary().expect("a binary"));
    if !args.iter().any(|arg| *arg == "--config") {
        command.args(["--config", "/nonexistent/bulkhead.toml"]);
    }
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match session {
        Some(session) => command.env("SSH_CONNECTION", session),
        // None, whatever the processes above this one were told.
        None => command.env("SSH_CONNECTION", ""),
    };
    let mut child = command.spawn().expect("it starts");
    let pid = child.id();
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_owned());
    let writer = thread::spawn(move || {
        // A command that reads nothing ends before it has heard all.
        drop(stdin.write_all(input.as_bytes()));
    });
    let running = thread::spawn(move || child.wait_with_output());
    let ended = wait_for(&format!("{args:?} to end"), AT_ONCE, || Ok(running.is_finished().then_some(())));
    if let Err(error) = ended {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        panic!("{error}");
    }
    let output = running.join().expect("waiting does not panic").expect("it ends");
    writer.join().expect("writing does not panic");
    let text = |bytes| String::from_utf8(bytes).expect("what is printed is text");
    Ran {
        code: output.status.code().unwrap_or_else(|| panic!("{args:?} was killed")),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

pub(crate) fn bulkhead<S: AsRef<OsStr>>(args: &[S]) -> Ran {
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    bulkhead_with("", &args)
}

pub(crate) fn check(path: &Path) -> Ran {
    bulkhead(&[OsStr::new("check"), path.as_os_str()])
}

pub(crate) fn entries(folder: &str) -> Vec<PathBuf> {
    let listing = fs::read_dir(root().join(folder)).expect("part of the checkout");
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

/// How often each code `BHnnnn` is said, in brackets as text output has it.
pub(crate) fn codes(text: &str) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for (at, _) in text.match_indices("[BH") {
        if let Some(code) = text.get(at + 1..at + 7) {
            *codes.entry(code.to_owned()).or_default() += 1;
        }
    }
    codes
}
