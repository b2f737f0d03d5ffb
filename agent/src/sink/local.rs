//! A sink on this machine: a file, standard output or the journal.
//!
//! In: records. Out: what the target takes at once; the rest is refused and counted.

use std::path::PathBuf;

use super::{
    Status, encode,
    journald::Journal,
    lines::{Lines, Target},
};
use crate::record::{Format, Record};

/// Where a local sink's records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard output, a line each.
    Stdout,
    /// A file, a line each, put aside as `NAME.1` before it grows beyond `rotate_bytes`; `keep` of these are kept.
    File {
        /// Where it is.
        path: PathBuf,
        /// Size at which it is put aside, bytes.
        rotate_bytes: u64,
        /// How many older files are kept.
        keep: u32,
    },
    /// The journal that listens on this socket.
    Journal(PathBuf),
}

/// A sink on this machine. What was written but not flushed is lost when it is dropped.
pub struct Local {
    format: Format,
    target: Way,
}

enum Way {
    Lines(Lines),
    Journal(Journal),
}

impl Local {
    /// Opens the place. A failure is in the status, and the place is tried again with every batch.
    pub fn open(place: Place, format: Format) -> Self {
        let target = match place {
            Place::Stdout => Way::Lines(Lines::open(Target::Stdout)),
            Place::File { path, rotate_bytes, keep } => {
                Way::Lines(Lines::open(Target::Path { path, rotate_bytes, keep }))
            }
            Place::Journal(socket) => Way::Journal(Journal::open(socket)),
        };
        Self { format, target }
    }

    /// Adds a record to the batch.
    pub fn write(&mut self, record: &Record) {
        match &mut self.target {
            Way::Lines(lines) => lines.write(&encode(self.format, record)),
            Way::Journal(journal) => journal.write(record, self.format),
        }
    }

    /// Writes the batch.
    pub fn flush(&mut self) {
        match &mut self.target {
            Way::Lines(lines) => lines.flush(),
            Way::Journal(_) => {}
        }
    }

    /// Writes the batch and opens the place anew, as after somebody else rotated a file.
    pub fn reopen(&mut self) {
        match &mut self.target {
            Way::Lines(lines) => lines.reopen(),
            Way::Journal(journal) => journal.reopen(),
        }
    }

    /// How it fares.
    pub fn status(&self) -> &Status {
        match &self.target {
            Way::Lines(lines) => lines.status(),
            Way::Journal(journal) => journal.status(),
        }
    }
}
