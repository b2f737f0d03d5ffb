//! Reads the audit trail back and says whether it is whole.
//!
//! In: a state folder. Out: every entry that can be read, oldest first, and the first place where the chain is broken.
//! Needs no agent. What this cannot see is that the newest entries are missing: note the last hash elsewhere.

use std::path::{Path, PathBuf};

use super::{Entry, FILE, NO_ENTRY, VERSION, files, whole};
use crate::store::{
    REVISIONS, StoreError,
    disk::{Disk as _, Real},
    seal,
};

/// Largest file of a trail that is read, bytes.
const MAX_FILE: u64 = 1 << 30;

/// The trail as it was found.
#[derive(Debug, Default)]
pub struct Chain {
    /// The entries that can be read, oldest first, each with its place.
    pub entries: Vec<(Place, Entry)>,
    /// The first place where something is wrong.
    pub broken: Option<Break>,
    /// Bytes behind the last whole line: a power cut, or somebody who cut the file. The next entry tells of them.
    pub torn: usize,
    /// Hash of the newest entry; zeros when there is none.
    pub head: String,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub path: PathBuf,
    /// Which line, from 1.
    pub line: usize,
}

/// Where the chain is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub what: String,
}

/// Reads the whole trail.
///
/// # Errors
/// When a file cannot be read.
pub fn verify(folder: &Path) -> Result<Chain, StoreError> {
    let mut chain = Chain { head: NO_ENTRY.to_owned(), ..Chain::default() };
    let files = files(folder)?;
    let mut expected: Option<u64> = None;
    for (number_of_file, path) in files.into_iter().rev() {
        let Some(bytes) = Real.read(&path, MAX_FILE)? else { continue };
        let mut end = bytes.len();
        if number_of_file == 0 {
            end = whole(&bytes);
            chain.torn = bytes.len() - end;
        }
        for (number, line) in (1..).zip(bytes[..end].split_inclusive(|byte| *byte == b'\n')) {
            let place = Place { path: path.clone(), line: number };
            let next = judge(line, &chain.head, expected, number_of_file);
            let (entry, hash, wrong) = match next {
                Ok(Judged { entry, hash, wrong }) => (entry, hash, wrong),
                Err(what) => {
                    expected = expected.map(|seq| seq + 1);
                    let hash = seal::sha256(line.strip_suffix(b"\n").unwrap_or(line));
                    chain.note(place, what, hash);
                    continue;
                }
            };
            expected = Some(entry.seq + 1);
            if let Some(what) = wrong {
                chain.note(place.clone(), what, hash.clone());
            }
            chain.head = hash;
            chain.entries.push((place, entry));
        }
    }
    let nothing = chain.entries.is_empty() && chain.broken.is_none();
    if nothing && !Real.names(&folder.join(REVISIONS))?.is_empty() {
        let place = Place { path: folder.join(FILE), line: 1 };
        let what = "no entry is left, and there was one for every revision that is kept".to_owned();
        chain.broken = Some(Break { place, what });
    }
    Ok(chain)
}

struct Judged {
    entry: Entry,
    hash: String,
    wrong: Option<String>,
}

/// An entry and whether it follows `head`; what is wrong with the line when it is none.
fn judge(line: &[u8], head: &str, expected: Option<u64>, file: u32) -> Result<Judged, String> {
    let Some(line) = line.strip_suffix(b"\n") else { return Err("the line has no end".to_owned()) };
    let Some(hash) = seal::hash_of(line) else {
        return Err("the line does not fit its own hash: it was changed".to_owned());
    };
    let entry: Entry =
        serde_json::from_slice(line).map_err(|error| format!("the line is no entry: {error}"))?;
    let wrong = if entry.v != VERSION {
        Some(format!("the entry has version {}, and this is version {VERSION}", entry.v))
    } else if let Some(expected) = expected
        && entry.seq != expected
    {
        Some(match entry.seq.checked_sub(expected) {
            Some(missing) => format!("{missing} entries are missing before entry {}", entry.seq),
            None => format!("entry {} stands where {expected} belongs", entry.seq),
        })
    } else if expected.is_some() && entry.prev != head {
        Some(format!("entry {} does not follow the one before it: one of the two was replaced", entry.seq))
    } else if expected.is_none() && entry.seq == 1 && entry.prev != NO_ENTRY {
        Some("the first entry names one before it".to_owned())
    } else if expected.is_none() && entry.seq > 1 && file == 0 {
        // Older entries go with whole files, and the one put aside last is kept.
        Some(format!("entry {} comes first, and the entries before it are gone", entry.seq))
    } else {
        None
    };
    Ok(Judged { entry, hash: hash.to_owned(), wrong })
}

impl Chain {
    fn note(&mut self, place: Place, what: String, hash: String) {
        if self.broken.is_none() {
            self.broken = Some(Break { place, what });
        }
        self.head = hash;
    }
}
