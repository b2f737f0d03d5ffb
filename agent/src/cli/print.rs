//! Words on their way out: data to standard output, messages to standard error.
//!
//! In: what a command has to say. Out: whatever can still be written. A reader that has left, as in `| head`, and a full
//! disk behind standard error never end a command: its work goes on, and its exit code tells what it found. Only data
//! that cannot be written for another reason is an error.

use std::{
    fmt::Arguments,
    io::{ErrorKind, Write, stderr, stdout},
    sync::atomic::{AtomicBool, Ordering},
};

use super::Exit;

/// `println!` for a reader that may leave: `bulkhead status | head -1` is no error.
macro_rules! out {
    ($($word:tt)*) => {
        $crate::cli::print::data(format_args!($($word)*))
    };
}

/// `eprintln!` that cannot fail: whoever does not want to hear it has nothing to do with the work.
macro_rules! say {
    ($($word:tt)*) => {
        $crate::cli::print::message(format_args!("{}\n", format_args!($($word)*)))
    };
}

/// Whether the reader of standard output is gone.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Whether nobody reads standard output any more: a command that goes on for ever ends then.
pub(super) fn reader_has_left() -> bool {
    LEFT.load(Ordering::Relaxed)
}

/// Writes one line to standard output.
pub(super) fn data(line: Arguments<'_>) {
    if reader_has_left() {
        return;
    }
    let mut out = stdout().lock();
    match out.write_fmt(line).and_then(|()| out.write_all(b"\n")) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => LEFT.store(true, Ordering::Relaxed),
        Err(error) => {
            say!("error: failed to write to standard output: {error}");
            std::process::exit(Exit::CouldNotRun as i32);
        }
    }
}

/// Writes to standard error, if it can be written to.
pub(super) fn message(text: Arguments<'_>) {
    let _ = stderr().lock().write_fmt(text);
}

/// Writes rendered text as it is to standard error.
pub(super) fn rendered(text: &str) {
    message(format_args!("{text}"));
}
