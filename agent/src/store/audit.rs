//! The audit trail: who changed what, when, why, and what became of it, in a file that is only ever added to.
//!
//! In: what somebody is about to do, and later how it ended. Out: sealed JSON lines in `audit.log` of the state folder,
//! each of which names the hash of the one before, over as many older files as configured. [`verify`] reads them back.
//! A change is written down as `begun` before it happens and once more with its result: a trail that cannot be written
//! stops the change, and a power cut in between leaves the beginning.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Disk as _, StoreError, Who,
    disk::{Real, private},
    io_error,
    seal::{self, sha256},
};

mod verify;

pub use verify::{Break, Chain, Place, verify};

const FILE: &str = "audit.log";
const LOCK: &str = "audit.lock";
const TORN: &str = "audit.torn";
/// Version of an entry.
const VERSION: u32 = 1;
/// Longest text of an entry that somebody else chose, bytes.
const MAX_TEXT: usize = 2048;
/// Longest line, bytes: every text of it at its longest, with each byte escaped.
const MAX_ENTRY: u64 = 64 << 10;

/// How the first entry of all refers to the one before.
pub const NO_ENTRY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One thing that was done, or begun, or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of this entry.
    pub v: u32,
    /// Counts entries, from 1.
    pub seq: u64,
    /// When: RFC 3339, UTC.
    pub at: String,
    /// Everything that is not about the chain.
    #[serde(flatten)]
    pub event: Event,
    /// A line that a power cut left unfinished before this entry, taken out of the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<Torn>,
    /// Hash of the entry before.
    pub prev: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What was done.
    pub action: Action,
    /// How far it got.
    pub result: Outcome,
    /// Who did it.
    pub by: Who,
    /// To what: a device, a revision, a path, an interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// In that user's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the answer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The revision in force before; empty when there was none.
    pub before: String,
    /// The revision in force after, or the one that it should become.
    pub after: String,
    /// The number of the entry that says that this began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<u64>,
    /// Entries before this one that could not be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// Refused requests of the same user since his entry before, which were too many to be written down one by one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The agent started.
    Start,
    /// A policy was brought in force.
    Apply,
    /// SIGHUP: the configured policy was brought in force.
    Reload,
    /// Tables that somebody had changed by hand were written anew.
    Repair,
    /// A change was confirmed.
    Confirm,
    /// An older revision was brought back.
    Rollback,
    /// The same, by the agent: nobody had confirmed the change.
    AutoRollback,
    /// A device, or a whole revision, was taken back by the agent, because legitimate traffic suffered.
    TrafficRollback,
    /// Somebody took note of that.
    Acknowledge,
    /// A policy was proposed, to be judged beside the one in force.
    ShadowSet,
    /// It is judged no longer.
    ShadowClear,
    /// A device went one stage on.
    StageAdvance,
    /// A device was brought back to the first stage.
    StageBack,
    /// A break was accepted, so that it holds up no device.
    StageAccept,
    /// A break that was accepted is not any more.
    StageWithdraw,
    /// At the start another revision took the place of one that is damaged.
    Fallback,
    /// A device's mode was changed beside its policy.
    Mode,
    /// A device was cut off.
    Quarantine,
    /// A device was returned to its policy's mode.
    Release,
    /// Enforcement was ended.
    Detach,
}

/// How far something got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is about to happen; another entry says how it ended.
    Begun,
    /// It happened.
    Ok,
    /// It did not, because of what was asked.
    Refused,
    /// It did not, because of the world.
    Failed,
}

/// A line without its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Torn {
    /// How many bytes there were; the last ones are in `audit.torn`.
    pub bytes: u64,
    /// Their hash.
    pub sha256: String,
}

/// How much of the trail is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A file is not added to beyond this, bytes.
    pub file_bytes: u64,
    /// Files, the one that is written included; never less than two.
    pub files: u32,
}

/// The trail of a state folder.
#[derive(Clone, Debug)]
pub struct Trail {
    folder: PathBuf,
    bounds: Bounds,
}

/// The end of the trail: what the next entry follows.
struct End {
    seq: u64,
    hash: String,
}

impl Action {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Apply => "apply",
            Self::Reload => "reload",
            Self::Confirm => "confirm",
            Self::Rollback => "rollback",
            Self::AutoRollback => "auto-rollback",
            Self::TrafficRollback => "traffic-rollback",
            Self::Acknowledge => "acknowledge",
            Self::ShadowSet => "shadow-set",
            Self::ShadowClear => "shadow-clear",
            Self::StageAdvance => "stage-advance",
            Self::StageBack => "stage-back",
            Self::StageAccept => "stage-accept",
            Self::StageWithdraw => "stage-withdraw",
            Self::Fallback => "fallback",
            Self::Repair => "repair",
            Self::Mode => "mode",
            Self::Quarantine => "quarantine",
            Self::Release => "release",
            Self::Detach => "detach",
        }
    }
}

impl Outcome {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Trail {
    /// The trail of a state folder, which exists.
    pub fn new(folder: &Path, bounds: Bounds) -> Self {
        // The next entry follows the last of the file before.
        Self { folder: folder.to_owned(), bounds: Bounds { files: bounds.files.max(2), ..bounds } }
    }

    /// Writes an entry: after this returns, it survives a power cut. Waits for another process that writes.
    ///
    /// # Errors
    /// When the disk says no; the trail is as it was.
    pub fn append(&self, event: Event, at: String) -> Result<Entry, StoreError> {
        let _lock = lock(&self.folder)?;
        let path = self.folder.join(FILE);
        let torn = self.set_aside(&path)?;
        let mut old = size(&path)?;
        if old >= self.bounds.file_bytes {
            self.rotate()?;
            old = 0;
        }
        let end = self.end()?;
        let entry = Entry { v: VERSION, seq: end.seq + 1, at, event: event.bounded(), torn, prev: end.hash };
        let unreadable = |source| StoreError::Unreadable { path: path.clone(), source };
        let (mut line, _) = seal::seal(&entry).map_err(unreadable)?;
        line.push('\n');
        let fresh = !path.exists();
        let mut file = private().append(true).open(&path).map_err(io_error("open", &path))?;
        let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
        if let Err(source) = written {
            // A part of a line would be taken for the work of a power cut.
            let _ = file.set_len(old);
            return Err(io_error("write", &path)(source));
        }
        if fresh {
            Real.sync_folder(&self.folder)?;
        }
        Ok(entry)
    }

    /// Takes a last line without its end out of the file: a power cut in the middle of a write. It was never
    /// acknowledged.
    fn set_aside(&self, path: &Path) -> Result<Option<Torn>, StoreError> {
        let Some((start, tail)) = tail(path)? else { return Ok(None) };
        let whole = whole(&tail);
        if whole == tail.len() {
            return Ok(None);
        }
        let torn = &tail[whole..];
        Real.write(&self.folder.join(TORN), torn)?;
        let file = private().open(path).map_err(io_error("open", path))?;
        file.set_len(start + whole as u64).and_then(|()| file.sync_all()).map_err(io_error("write", path))?;
        Ok(Some(Torn { bytes: torn.len() as u64, sha256: sha256(torn) }))
    }

    /// `audit.log` becomes `audit.log.1`, and so on; the oldest is gone.
    fn rotate(&self) -> Result<(), StoreError> {
        for number in (1..self.bounds.files).rev() {
            let from = numbered(&self.folder, number - 1);
            if from.exists() {
                Real.rename(&from, &numbered(&self.folder, number))?;
            }
        }
        // A smaller number than before is configured.
        for (number, path) in files(&self.folder)? {
            if number >= self.bounds.files {
                Real.remove(&path)?;
            }
        }
        Real.sync_folder(&self.folder)
    }

    /// What the next entry follows. A last line that is no entry any more is followed all the same, by the hash of its
    /// bytes: [`verify`] names it for ever.
    fn end(&self) -> Result<End, StoreError> {
        for number in [0, 1] {
            let Some((_, tail)) = tail(&numbered(&self.folder, number))? else { continue };
            let text = tail.strip_suffix(b"\n").unwrap_or(&tail);
            let mut after = 0;
            for line in text.rsplit(|byte| *byte == b'\n') {
                if let (Some(entry), Some(hash)) = (seal::open::<Entry>(line), seal::hash_of(line)) {
                    let hash = if after == 0 { hash.to_owned() } else { sha256(last_line(text)) };
                    return Ok(End { seq: entry.seq + after, hash });
                }
                after += 1;
            }
            return Ok(End { seq: after, hash: sha256(last_line(text)) });
        }
        Ok(End { seq: 0, hash: NO_ENTRY.to_owned() })
    }
}

impl Event {
    /// Somebody's act before it is known how it ends.
    pub fn begun(action: Action, by: Who) -> Self {
        Self {
            action,
            result: Outcome::Begun,
            by,
            target: None,
            reason: None,
            message: None,
            before: String::new(),
            after: String::new(),
            began: None,
            missed: 0,
            left_out: 0,
        }
    }

    /// With every text at most as long as an entry bears, and nothing in it that a terminal obeys: what was refused for
    /// that is written down as well.
    fn bounded(mut self) -> Self {
        for (text, lines) in [(&mut self.target, false), (&mut self.reason, false), (&mut self.message, true)]
        {
            let Some(text) = text else { continue };
            let obeyed = |c: char| c.is_control() && !(lines && c == '\n');
            if text.contains(obeyed) {
                *text = text.replace(obeyed, "\u{fffd}");
            }
            if text.len() > MAX_TEXT {
                let end = text.floor_char_boundary(MAX_TEXT);
                text.truncate(end);
                text.push('…');
            }
        }
        self
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Keeps other writers away until dropped.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let file = private().open(&path).map_err(io_error("open", &path))?;
    file.lock().map_err(io_error("lock", &path))?;
    Ok(file)
}

/// `audit.log` for 0, `audit.log.1` for the one before, and so on.
fn numbered(folder: &Path, number: u32) -> PathBuf {
    folder.join(if number == 0 { FILE.to_owned() } else { format!("{FILE}.{number}") })
}

/// The files of the trail, newest first.
fn files(folder: &Path) -> Result<Vec<(u32, PathBuf)>, StoreError> {
    let mut numbers: Vec<u32> = (Real.names(folder)?.iter())
        .filter_map(|name| match name.strip_prefix(FILE)? {
            "" => Some(0),
            rest => rest.strip_prefix('.')?.parse().ok().filter(|number| *number > 0),
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| (number, numbered(folder, number))).collect())
}

fn size(path: &Path) -> Result<u64, StoreError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// The last bytes of a file, two lines at least, and where they begin; `None` when it is not there or empty.
fn tail(path: &Path) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let read = |file: &mut File| {
        let start = file.metadata()?.len().saturating_sub(2 * MAX_ENTRY);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((start, bytes))
    };
    let (start, bytes) = read(&mut file).map_err(io_error("read", path))?;
    Ok((!bytes.is_empty()).then_some((start, bytes)))
}

/// How many of the bytes are whole lines. Some file systems leave zeros where a write was cut off.
fn whole(bytes: &[u8]) -> usize {
    let line_end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut end = line_end(bytes);
    while end > 0 {
        let start = line_end(&bytes[..end - 1]);
        if !bytes[start..end].contains(&0) {
            break;
        }
        end = start;
    }
    end
}

fn last_line(text: &[u8]) -> &[u8] {
    text.rsplit(|byte| *byte == b'\n').next().unwrap_or(text)
}

#[cfg(test)]
mod tests;
