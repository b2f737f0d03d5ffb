//! How many packets the sinks of this machine account for: they have no spool, and an agent that is killed must know all the same
//! what it owes them.
//!
//! It is written behind each batch of records, and not synced: a power cut ends the kernel's counters as well. An agent that is
//! killed between the two owns up to that one batch although it was told.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::state::{private, recall, replace};

/// Beside the folder of the spools, in which any name may be a sink's.
const NAME: &str = "told.json";

/// What is written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Names the counters: others after a boot.
    counters: String,
    /// Packets.
    packets: u64,
}

/// The account.
pub struct Told {
    folder: PathBuf,
    /// Once it was written.
    file: Option<File>,
    kept: Kept,
    is_new: bool,
    changed: bool,
}

impl Told {
    /// The account in a folder. `counters` names what the kernel counts with: another begins at 0.
    pub fn open(folder: &Path, counters: &str) -> Self {
        let before: Option<Kept> = recall(folder, NAME);
        let is_new = before.is_none();
        let kept = before.filter(|kept| kept.counters == counters);
        let kept = kept.unwrap_or(Kept { counters: counters.to_owned(), packets: 0 });
        Self { folder: folder.to_owned(), file: None, kept, is_new, changed: true }
    }

    /// Records were told that account for so many packets.
    pub fn add(&mut self, packets: u64) {
        self.kept.packets += packets;
        self.changed = true;
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
            Some(file) => file.write_all_at(&serde_json::to_vec(&self.kept)?, 0)?,
            None => {
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
}
