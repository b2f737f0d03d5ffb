//! How many packets the sinks of this machine account for: they have no spool, and an agent that is killed must know all the same
//! what it owes them.
//!
//! Nor can what one of them refused wait anywhere else: it is kept with it until it is told.
//!
//! It is written behind each batch of records, and not synced: a power cut ends the kernel's counters as well. An agent that is
//! killed between the two owns up to that one batch although it was told.

use std::{collections::BTreeMap, fs::File, io, os::unix::fs::FileExt, path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::state::{private, recall, replace};
use crate::record::Debt;

/// Beside the folder of the spools, in which any name may be a sink's.
const NAME: &str = "told.json";

/// What is written.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Names the counters: others after a boot.
    counters: String,
    /// Packets.
    packets: u64,
    /// What each sink refused of them and is not told yet, by its name.
    #[serde(default)]
    debts: BTreeMap<String, Debt>,
}

/// The account.
pub struct Told {
    folder: PathBuf,
    /// Once it was written.
    file: Option<File>,
    /// Bytes of it, with what an earlier, longer account has left.
    len: usize,
    kept: Kept,
    is_new: bool,
    changed: bool,
}

impl Told {
    /// The account in a folder. `counters` names what the kernel counts with: another begins at 0.
    pub fn open(folder: &Path, counters: &str) -> Self {
        let before: Option<Kept> = recall(folder, NAME);
        let is_new = before.is_none();
        let mut kept = before.unwrap_or_default();
        if kept.counters != counters {
            // What was refused before a boot is owed all the same.
            kept = Kept { counters: counters.to_owned(), packets: 0, debts: kept.debts };
        }
        Self { folder: folder.to_owned(), file: None, len: 0, kept, is_new, changed: true }
    }

    /// Records were told that account for so many packets.
    pub fn add(&mut self, packets: u64) {
        self.kept.packets += packets;
        self.changed = true;
    }

    /// What a sink has not been told yet of what it refused.
    pub fn debt(&self, sink: &str) -> Option<&Debt> {
        self.kept.debts.get(sink)
    }

    /// Notes what a sink has refused by now and not been told.
    pub fn owe(&mut self, sink: &str, debt: Option<&Debt>) {
        if self.debt(sink) == debt {
            return;
        }
        self.changed = true;
        match debt {
            Some(debt) => drop(self.kept.debts.insert(sink.to_owned(), debt.clone())),
            None => drop(self.kept.debts.remove(sink)),
        }
    }

    /// Forgets what is owed to sinks that are not there any more.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.kept.debts.retain(|sink, _| is_there(sink));
    }

    /// Writes it down, if it has changed.
    ///
    /// # Errors
    /// When the folder cannot be written; it is tried again the next time.
    pub fn keep(&mut self) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        match &self.file {
            // It gets no shorter, and is one page, which a kill does not part: there is a batch every few records in a flood.
            Some(file) => {
                let mut text = serde_json::to_vec(&self.kept)?;
                self.len = self.len.max(text.len());
                text.resize(self.len, b' ');
                file.write_all_at(&text, 0)?;
            }
            None => {
                self.len = serde_json::to_vec(&self.kept)?.len();
                replace(&self.folder, NAME, &self.kept, false)?;
                self.file = Some(private(false).open(self.folder.join(NAME))?);
            }
        }
        self.changed = false;
        Ok(())
    }

    /// Packets.
    pub fn accounted(&self) -> u64 {
        self.kept.packets
    }

    /// Whether nothing was known of it when it was opened.
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordId;

    #[test]
    fn what_was_told_is_known_again_and_counters_that_are_new_begin_at_zero() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut told = Told::open(dir.path(), "boot 1");
        told.add(7);
        told.keep().expect("written");
        for _ in 0..3 {
            told.add(100);
            told.keep().expect("written");
        }
        // It is asked when something was told already.
        assert!(told.is_new());
        let told = Told::open(dir.path(), "boot 1");
        assert_eq!((told.accounted(), told.is_new()), (307, false));
        let told = Told::open(dir.path(), "boot 2");
        assert_eq!((told.accounted(), told.is_new()), (0, false));
    }

    #[test]
    fn what_a_sink_refused_is_known_until_it_was_told_whatever_the_counters() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut debt = None;
        let id = |seq| RecordId { boot: "00000000000000aa".to_owned(), seq };
        Debt::add(&mut debt, "gw-7", id(3), 5);
        Debt::add(&mut debt, "gw-7", id(4), 6);
        let mut told = Told::open(dir.path(), "boot 1");
        told.keep().expect("written");
        told.owe("log", debt.as_ref());
        told.owe("gone", debt.as_ref());
        told.keep().expect("written");
        let mut told = Told::open(dir.path(), "boot 2");
        assert_eq!((told.debt("log"), told.debt("other")), (debt.as_ref(), None));
        told.retain(|sink| sink == "log");
        told.keep().expect("written");
        told.owe("log", None);
        told.keep().expect("written");
        // What is left of the longer account behind it is not read.
        told.add(7);
        told.keep().expect("written");
        let told = Told::open(dir.path(), "boot 2");
        assert_eq!((told.accounted(), told.debt("log"), told.debt("gone")), (7, None, None));
    }
}
