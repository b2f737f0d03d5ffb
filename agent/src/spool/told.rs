//! How many packets the sinks of this machine account for: they have no spool, and an agent that is killed must know all the same
//! what it owes them.
//!
//! It is written behind each batch of records, and not synced: a power cut ends the kernel's counters as well. An agent that is
//! killed between the two owns up to that one batch although it was told.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::state::{recall, replace};

const NAME: &str = "told";

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
        Self { folder: folder.to_owned(), kept, is_new, changed: true }
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
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        replace(&self.folder, NAME, &self.kept, false)?;
        self.changed = false;
        Ok(())
    }

    /// Packets.
    pub fn accounted(&self) -> u64 {
        self.kept.packets
    }

    /// Whether nothing was ever told here.
    pub fn is_new(&self) -> bool {
        self.is_new && self.kept.packets == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_known_again_and_counters_that_are_new_begin_at_zero() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("spool");
        let mut told = Told::open(&folder, "boot 1");
        assert!(told.is_new());
        told.add(7);
        told.keep().expect("written");
        let told = Told::open(&folder, "boot 1");
        assert_eq!((told.accounted(), told.is_new()), (7, false));
        let told = Told::open(&folder, "boot 2");
        assert_eq!((told.accounted(), told.is_new()), (0, false));
    }
}
