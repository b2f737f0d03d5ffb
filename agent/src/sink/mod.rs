//! Where records go when they leave the agent.
//!
//! In: records. Out: lines in a file or on a stream, entries of the journal, and syslog messages on the network, each in the
//! language its receiver reads ([`encode`]). A local sink ([`Local`]) never holds up the agent: what it cannot take now it
//! refuses and counts, and the next record is tried anew. A [`syslog`] connection waits for its peer, so it lives in a thread
//! of its own, behind a spool.

mod format;
mod journald;
mod lines;
mod local;
pub mod syslog;

pub use format::{LONGEST, encode, encode_within};
pub use local::{Local, Place};

/// The time of a record: RFC 3339, UTC, microseconds.
pub fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

/// How a local sink fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The file, `-` for standard output, or the journal's socket.
    pub target: String,
    /// Records that were written.
    pub written: u64,
    /// Records that could not be written.
    pub refused: u64,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// Why records were last refused, even if others were written since.
    pub last_error: Option<String>,
}

impl Status {
    /// Of a sink that has done nothing yet.
    fn of(target: String) -> Self {
        Self { target, written: 0, refused: 0, failing: false, last_error: None }
    }

    /// Counts what could not be written, and says why.
    fn refuse(&mut self, records: u64, why: String) {
        self.refused += records;
        self.failing = true;
        self.last_error = Some(why);
    }
}
