//! Revisions kept whole: which policy was in force when, by whom, from where, and its every file.
//!
//! A policy file is kept once, under the name of its content (`objects/<sha256>`), so a change of one file writes one
//! file. A revision is one sealed record beside them (`revisions/<number>.json`); the pointer names the one in force.
//! Everything is written, synced, renamed and synced again before anything refers to it; what does not fit its
//! hash is named and not used.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{AcceptedSet, MAX_VALUE, Pointer, REVISIONS, Store, StoreError, Who, seal, seal::sha256};
use crate::policy::SourceFile;

const OBJECTS: &str = "objects";
/// Version of records and of the pointer.
const VERSION: u32 = 1;
/// Largest record or pointer, bytes: the names of all files of the largest policy.
const MAX_RECORD: u64 = 16 << 20;

/// A value with its version, as it is in the file.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    value: T,
}

/// A revision that was in force, or is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts revisions; never used twice.
    pub number: u64,
    /// The content hash it had in force, twelve hexadecimal digits.
    pub revision: String,
    /// When it was made: RFC 3339, UTC.
    pub at: String,
    /// Who made it.
    pub by: Who,
    /// `files` for the configured ones, `pushed` for others.
    pub origin: String,
    /// The path its files were read from.
    pub from: String,
    /// In that user's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who signed its files: key, number and comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// What it changed, in a line.
    pub changes: String,
    /// The revision before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Whether it was made to be undone unless somebody confirms it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// The newest signed set that was in force with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedSet>,
    /// Its files: one layer, and one more for each change that only some devices got.
    pub layers: Vec<KeptLayer>,
}

/// Policy files that are in force together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLayer {
    /// The devices that these files are for; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// The files, sorted by path.
    pub files: Vec<KeptFile>,
}

/// A file and the name of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// How it was named when it was read.
    pub path: String,
    /// Of its text.
    pub sha256: String,
}

/// Policy texts that are in force together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLayer {
    /// As [`KeptLayer::only`].
    pub only: Vec<String>,
    /// The files, sorted by path.
    pub files: Vec<SourceFile>,
}

impl TextLayer {
    /// The layer as a record has it.
    pub fn kept(&self) -> KeptLayer {
        let files = self.files.iter();
        let files = files.map(|f| KeptFile { path: f.path.clone(), sha256: sha256(f.text.as_bytes()) });
        KeptLayer { only: self.only.clone(), files: files.collect() }
    }
}

/// One hash over the names and contents of files.
pub fn digest(files: &[KeptFile]) -> String {
    let mut text = String::new();
    for KeptFile { path, sha256 } in files {
        text += &format!("{} {path} {sha256}\n", path.len());
    }
    sha256(text.as_bytes())
}

/// What the store knows of revisions.
#[derive(Debug, Default)]
pub struct Revisions {
    /// The records, by number.
    pub records: BTreeMap<u64, Record>,
    /// What is there and cannot be used.
    pub broken: Vec<StoreError>,
}

impl Record {
    fn objects(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().flat_map(|layer| &layer.files).map(|file| file.sha256.as_str())
    }
}

impl Store {
    /// Every record there is.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn revisions(&self) -> Result<Revisions, StoreError> {
        let mut found = Revisions::default();
        for number in self.numbers()? {
            match self.record(number) {
                Ok(Some(record)) => drop(found.records.insert(number, record)),
                Ok(None) => {}
                Err(error) => found.broken.push(error),
            }
        }
        Ok(found)
    }

    /// A number that no revision ever had.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn next_number(&self, pointer: &Pointer) -> Result<u64, StoreError> {
        let there = self.numbers()?.last().copied().unwrap_or(0);
        Ok(there.max(pointer.last) + 1)
    }

    /// One record; `None` when there is none of this number.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when it is not as it was written.
    pub fn record(&self, number: u64) -> Result<Option<Record>, StoreError> {
        let path = self.record_path(number);
        let Some(record) = self.sealed::<Record>(path.clone())? else { return Ok(None) };
        if record.number != number {
            return Err(StoreError::Broken { path });
        }
        Ok(Some(record))
    }

    /// The texts of a revision.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when one of them is missing or not as it was written.
    pub fn texts(&self, record: &Record) -> Result<Vec<TextLayer>, StoreError> {
        let mut layers = Vec::new();
        for KeptLayer { only, files } in &record.layers {
            let mut texts = Vec::new();
            for KeptFile { path, sha256 } in files {
                let object = self.object_path(sha256);
                let text = self.object(sha256)?.ok_or(StoreError::Broken { path: object })?;
                texts.push(SourceFile { path: path.clone(), text });
            }
            layers.push(TextLayer { only: only.clone(), files: texts });
        }
        Ok(layers)
    }

    /// Keeps a revision whole: its files first, those that the record has, then its record. Nothing refers to it yet.
    ///
    /// # Errors
    /// When the disk says no; what was in force is not touched.
    pub fn keep(&self, record: &Record, layers: &[TextLayer]) -> Result<(), StoreError> {
        for folder in [OBJECTS, REVISIONS] {
            self.disk.make_folder(&self.folder.join(folder))?;
        }
        self.disk.sync_folder(&self.folder)?;
        let mut fresh = false;
        let mut seen = BTreeSet::new();
        for (file, name) in layers.iter().flat_map(|layer| &layer.files).zip(record.objects()) {
            // One that was damaged is written again.
            if !seen.insert(name) || matches!(self.object(name), Ok(Some(_))) {
                continue;
            }
            let new = self.write_new(OBJECTS, name, file.text.as_bytes())?;
            self.disk.rename(&new, &self.object_path(name))?;
            fresh = true;
        }
        if fresh {
            self.disk.sync_folder(&self.folder.join(OBJECTS))?;
        }
        let path = self.record_path(record.number);
        let new =
            self.write_new(REVISIONS, &format!("{}.json", record.number), &self.line(record, &path)?)?;
        self.disk.rename(&new, &path)?;
        self.disk.sync_folder(&self.folder.join(REVISIONS))
    }

    /// Forgets a revision that never came in force.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn forget(&self, number: u64) -> Result<(), StoreError> {
        self.disk.remove(&self.record_path(number))?;
        self.disk.sync_folder(&self.folder.join(REVISIONS))
    }

    /// Removes what is too old: all but the newest `most` revisions and the ones that may be returned to, those that are `needed` among
    /// them, and files that no revision has any more.
    ///
    /// # Errors
    /// When the disk says no; what is left is removed the next time.
    pub fn prune(&self, most: usize, pointer: &Pointer, needed: &BTreeSet<u64>) -> Result<(), StoreError> {
        let revisions = self.revisions()?;
        let numbers = self.numbers()?;
        let mut stay: BTreeSet<u64> = numbers.iter().rev().take(most).copied().collect();
        stay.insert(pointer.current);
        stay.extend(needed);
        stay.extend(revisions.records.get(&pointer.current).and_then(|record| record.before));
        stay.extend(pointer.pending.iter().flat_map(|pending| [pending.number, pending.back_to]));
        // What came to the disk and never in force: an apply that was cut off.
        stay.retain(|number| *number <= pointer.last);
        let folder = self.folder.join(REVISIONS);
        // Half written when the power went.
        for name in self.disk.names(&folder)?.iter().filter(|name| name.starts_with('.')) {
            self.disk.remove(&folder.join(name))?;
        }
        let mut gone = false;
        for number in numbers.iter().filter(|number| !stay.contains(number)) {
            self.disk.remove(&self.record_path(*number))?;
            gone = true;
        }
        if gone {
            // No record on the disk may name a file that is not there.
            self.disk.sync_folder(&self.folder.join(REVISIONS))?;
        }
        let records = revisions.records.values().filter(|record| stay.contains(&record.number));
        let used: BTreeSet<&str> = records.flat_map(Record::objects).collect();
        let folder = self.folder.join(OBJECTS);
        for name in self.disk.names(&folder)? {
            if !used.contains(name.as_str()) {
                self.disk.remove(&folder.join(&name))?;
            }
        }
        Ok(())
    }

    fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let names = self.disk.names(&self.folder.join(REVISIONS))?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The text of an object; `None` when it is not there.
    fn object(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.object_path(name);
        let Some(bytes) = self.disk.read(&path, MAX_VALUE)? else { return Ok(None) };
        if sha256(&bytes) != name {
            return Err(StoreError::Broken { path });
        }
        String::from_utf8(bytes).map(Some).map_err(|_| StoreError::Broken { path })
    }

    pub(super) fn sealed<T: serde::de::DeserializeOwned>(
        &self,
        path: PathBuf,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.disk.read(&path, MAX_RECORD)? else { return Ok(None) };
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let Some(Versioned { v, value }) = seal::open::<Versioned<T>>(line) else {
            return Err(StoreError::Broken { path });
        };
        if v != VERSION {
            return Err(StoreError::Version { path, found: v });
        }
        Ok(Some(value))
    }

    pub(super) fn line<T: Serialize>(
        &self,
        value: &T,
        path: &std::path::Path,
    ) -> Result<Vec<u8>, StoreError> {
        let unreadable = |source| StoreError::Unreadable { path: path.to_owned(), source };
        let (mut line, _) = seal::seal(&Versioned { v: VERSION, value }).map_err(unreadable)?;
        line.push('\n');
        Ok(line.into_bytes())
    }

    fn record_path(&self, number: u64) -> PathBuf {
        self.folder.join(REVISIONS).join(format!("{number}.json"))
    }

    fn object_path(&self, name: &str) -> PathBuf {
        self.folder.join(OBJECTS).join(name)
    }
}

#[cfg(test)]
mod tests;
