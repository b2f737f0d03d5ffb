//! A sink on this machine: a file, standard output or the journal.
//!
//! In: records. Out: what the target takes at once; the rest is refused and counted, and a `disk` gap stands for it as soon as
//! the target takes records again.

use std::{collections::VecDeque, path::PathBuf};

use super::{
    Status, encode,
    journald::Journal,
    lines::{Lines, Target},
    now,
};
use crate::record::{Debt, Format, Record, RecordId};

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
    /// What the target was given and has neither written nor refused yet, oldest first.
    given: VecDeque<Given>,
    /// What the target had written and refused when that was last known.
    known: (u64, u64),
    /// What was refused and is not told yet.
    debt: Option<Debt>,
    status: Status,
}

enum Way {
    Lines(Lines),
    Journal(Journal),
}

/// What a target was given.
enum Given {
    /// A record, with the packets that it accounts for.
    Record { gateway: String, id: RecordId, packets: u64 },
    /// The gap that stands for what was refused.
    Gap,
}

impl Local {
    /// Opens the place. A failure is in the status, and the place is tried again with every batch. `debt` is what an earlier
    /// agent owes it.
    pub fn open(place: Place, format: Format, debt: Option<Debt>) -> Self {
        let target = match place {
            Place::Stdout => Way::Lines(Lines::open(Target::Stdout)),
            Place::File { path, rotate_bytes, keep } => {
                Way::Lines(Lines::open(Target::Path { path, rotate_bytes, keep }))
            }
            Place::Journal(socket) => Way::Journal(Journal::open(socket)),
        };
        let status = target.status().clone();
        Self { format, target, given: VecDeque::new(), known: (0, 0), debt, status }
    }

    /// Adds a record to the batch, behind the gap for what was refused before it.
    pub fn write(&mut self, record: &Record) {
        self.own_up();
        let (gateway, id, packets) = (record.gateway().to_owned(), record.id(), record.count());
        if self.debt.is_some() && self.given.is_empty() {
            // The gap was refused at once: what follows it must not come before it.
            self.status.refused += 1;
            return Debt::add(&mut self.debt, &gateway, id, packets);
        }
        self.give(record, Given::Record { gateway, id, packets });
    }

    /// Writes the batch. What is owed is tried although there is nothing else to write.
    pub fn flush(&mut self) {
        self.own_up();
        match &mut self.target {
            Way::Lines(lines) => lines.flush(),
            Way::Journal(_) => {}
        }
        self.settle();
    }

    /// Writes the batch and opens the place anew, as after somebody else rotated a file.
    pub fn reopen(&mut self) {
        match &mut self.target {
            Way::Lines(lines) => lines.reopen(),
            Way::Journal(journal) => journal.reopen(),
        }
        self.settle();
    }

    /// How it fares.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What was refused and is not told yet.
    pub fn debt(&self) -> Option<&Debt> {
        self.debt.as_ref()
    }

    /// Gives the target the gap for what was refused, unless it has something already: that was given behind the gap.
    fn own_up(&mut self) {
        if self.given.is_empty()
            && let Some(debt) = &self.debt
        {
            let gap = debt.gap(now());
            self.give(&gap, Given::Gap);
        }
    }

    fn give(&mut self, record: &Record, given: Given) {
        self.given.push_back(given);
        match &mut self.target {
            Way::Lines(lines) => lines.write(&encode(self.format, record)),
            Way::Journal(journal) => journal.write(record, self.format),
        }
        self.settle();
    }

    /// Learns what became of what the target was given: it refuses the last part of a batch.
    fn settle(&mut self) {
        let now = self.target.status();
        let written = now.written - self.known.0;
        let refused = now.refused - self.known.1;
        self.known = (now.written, now.refused);
        let (failing, last_error) = (now.failing, now.last_error.clone());
        for _ in 0..written {
            if let Some(Given::Gap) = self.given.pop_front() {
                self.debt = None;
            }
            self.status.written += 1;
        }
        for _ in 0..refused {
            // A gap that is refused is owed as before.
            if let Some(Given::Record { gateway, id, packets }) = self.given.pop_front() {
                self.status.refused += 1;
                Debt::add(&mut self.debt, &gateway, id, packets);
            }
        }
        self.status.failing = failing;
        self.status.last_error = last_error;
    }
}

impl Way {
    fn status(&self) -> &Status {
        match self {
            Self::Lines(lines) => lines.status(),
            Self::Journal(journal) => journal.status(),
        }
    }
}

#[cfg(test)]
mod tests;
