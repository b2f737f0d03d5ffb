//! Where the agent's messages go: its standard error.
//!
//! In: one message at a time. Out: the message, or a count of those that a full disk or a reader that has left refused:
//! an agent that cannot tell what it does must go on doing it.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

/// One standard error a process, and so one count.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Messages that could not be written since the start.
pub(super) fn refused() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

/// Writes messages to standard error, and never fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        if io::stderr().write_all(message).is_err() {
            REFUSED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
