//! What becomes of a command when nobody reads what it says: its work and its exit code stay the same.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use bulkhead_tests::lab::agent_binary;

mod command;
use command::{file, folder};

const WRONG: &str = "version = 1\n[device.plc]\nip = \"10.20.1.300\"\n";

/// A place to write to whose reader has left.
fn left() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// A disk without room.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("every Linux has it").into()
}

fn code(args: &[&str], out: Stdio, err: Stdio) -> Option<i32> {
    let mut command = Command::new(agent_binary().expect("a binary"));
    command.args(["--config", "/nonexistent/bulkhead.toml"]).args(args);
    command.stdin(Stdio::null()).stdout(out).stderr(err).status().expect("it starts").code()
}

#[test]
fn exit_codes_do_not_depend_on_a_reader() {
    let folder = folder("unread");
    let wrong = file(&folder, "wrong.toml", WRONG);
    let wrong = wrong.to_str().expect("a path of this checkout");
    for place in [left, full] {
        assert_eq!(code(&["check", wrong], Stdio::null(), place()), Some(1));
        assert_eq!(code(&["status", "--socket", "/nonexistent/api.sock"], Stdio::null(), place()), Some(2));
        assert_eq!(code(&["run"], Stdio::null(), place()), Some(2));
    }
    assert_eq!(code(&["check", "--json", wrong], left(), left()), Some(1));
    assert_eq!(code(&["check", "--format", "sarif", wrong], left(), Stdio::null()), Some(1));
    assert_eq!(code(&["explain"], left(), Stdio::null()), Some(0));
    // A report that is cut off by a full disk is not whole.
    assert_eq!(code(&["check", "--json", wrong], full(), Stdio::null()), Some(2));
}
