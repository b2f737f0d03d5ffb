//! The pointer: which revision is in force, which change waits, what was taken back, which signed set was accepted.
//!
//! In: a pointer, before and after the flip. Out: the one written last, whole. It is on the disk twice
//! (`current.json` and `current.copy.json`), for nothing else knows what it knows: without it a damaged sector could bring
//! back what was taken back. What is left when both are lost is the affair of [`salvage`](super::salvage).

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Pending, Store, StoreError};
use crate::signing::{Accepted, Digest};

pub(super) const CURRENT: &str = "current.json";
pub(super) const COPY: &str = "current.copy.json";

/// Numbers of revisions that were taken back, as many as can be kept.
pub(super) const MAX_ROLLED_BACK: usize = 1000;

/// Which revision is in force, and what has to happen to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The revision in force.
    pub current: u64,
    /// The highest number that was ever in force.
    pub last: u64,
    /// [`digest`] of the configured files that were taken over last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<String>,
    /// The revision that took them over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<u64>,
    /// The newest signed set that was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedSet>,
    /// The change that waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// When a revision was last in force for good, confirmed or applied without a deadline: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
    /// Revisions that were taken back, or that lie between one that was and where it went back to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rolled_back: BTreeSet<u64>,
}

/// A signed set by its number and the hash of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedSet {
    /// The number its signer gave it.
    pub number: u64,
    /// The hash of its files, hexadecimal.
    pub digest: String,
}

impl AcceptedSet {
    /// As sets are judged. A hash that is none fits no other set.
    pub fn read(&self) -> Accepted {
        let Self { number, digest } = self;
        Accepted { number: *number, digest: Digest::parse(digest).unwrap_or_else(|| Digest::of(&[])) }
    }
}

impl Pointer {
    /// The newest signed set that was in force: an older one is refused.
    pub fn accepted(&self) -> Option<Accepted> {
        self.accepted.as_ref().map(AcceptedSet::read)
    }

    /// Remembers a signed set that comes in force.
    pub fn accept(&mut self, Accepted { number, digest }: Accepted) {
        self.accepted = Some(AcceptedSet { number, digest: digest.to_string() });
    }

    /// The same, with what is in force there for good.
    #[must_use]
    pub fn for_good(self, now: String) -> Self {
        Self { pending: None, confirmed: Some(now), ..self }
    }

    /// The same, with `number` in force for the first time.
    #[must_use]
    pub fn forward(&self, number: u64) -> Self {
        Self { current: number, last: self.last.max(number), pending: None, ..self.clone() }
    }

    /// The same, returned to `number`: everything between is taken back with what was in force. A way forward again
    /// takes nothing back. A signed set stays accepted, but one that nobody has confirmed never was.
    #[must_use]
    pub fn back(&self, number: u64) -> Self {
        let mut rolled_back = self.rolled_back.clone();
        rolled_back.extend(number + 1..=self.current);
        rolled_back.remove(&number);
        while rolled_back.len() > MAX_ROLLED_BACK {
            rolled_back.pop_first();
        }
        let undone = self.pending.as_ref().filter(|pending| pending.number == self.current);
        let accepted = match undone {
            Some(undone) => undone.accepted.clone(),
            None => self.accepted.clone(),
        };
        Self { current: number, pending: None, rolled_back, accepted, ..self.clone() }
    }
}

/// A pointer that has its place on the disk, and becomes the one in force with one rename.
#[must_use]
pub struct Prepared {
    pub(super) new: PathBuf,
    copy: PathBuf,
}

/// What is left of the pointer.
#[derive(Debug, Default)]
pub struct FoundPointer {
    /// The pointer, or its copy; `None` when neither is left, or there never was one.
    pub pointer: Option<Pointer>,
    /// What is not as it was written.
    pub damage: Vec<StoreError>,
}

impl Store {
    /// The pointer; `None` before the first revision.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when it is there, and neither it nor its copy is as it was written.
    pub fn pointer(&self) -> Result<Option<Pointer>, StoreError> {
        let FoundPointer { pointer, damage } = self.find_pointer();
        match (pointer, damage.into_iter().next()) {
            (None, Some(error)) => Err(error),
            (pointer, _) => Ok(pointer),
        }
    }

    /// The pointer or else its copy, and what is wrong with them.
    pub fn find_pointer(&self) -> FoundPointer {
        let mut found = FoundPointer::default();
        let [first, copy] = [CURRENT, COPY].map(|name| {
            self.sealed::<Pointer>(self.folder.join(name)).unwrap_or_else(|error| {
                found.damage.push(error);
                None
            })
        });
        if first.is_none() && copy.is_some() && found.damage.is_empty() {
            found.damage.push(StoreError::Broken { path: self.folder.join(CURRENT) });
        }
        found.pointer = first.or(copy);
        found
    }

    /// Writes a pointer beside the one in force: room for it is found before anything changes.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn prepare(&self, pointer: &Pointer) -> Result<Prepared, StoreError> {
        let line = self.line(pointer, &self.folder.join(CURRENT))?;
        Ok(Prepared { new: self.write_new("", CURRENT, &line)?, copy: self.write_new("", COPY, &line)? })
    }

    /// Makes a prepared pointer the one in force: after this returns, it survives a power cut, and the damage of one file.
    ///
    /// # Errors
    /// When the disk says no; which of the two is in force after a power cut is then open.
    pub fn commit(&self, prepared: Prepared) -> Result<(), StoreError> {
        self.disk.rename(&prepared.new, &self.folder.join(CURRENT))?;
        self.disk.rename(&prepared.copy, &self.folder.join(COPY))?;
        self.disk.sync_folder(&self.folder)
    }

    /// Both at once.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn point(&self, pointer: &Pointer) -> Result<(), StoreError> {
        self.commit(self.prepare(pointer)?)
    }
}
