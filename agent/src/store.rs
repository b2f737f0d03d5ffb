//! What must survive a restart and a power cut: files in the state folder.
//!
//! In: a name and bytes, a value that serde knows, or a revision. Out: what was written last, whole; a cut in the
//! middle of a write leaves the value before it. One agent at a time: a lock names the process that has
//! the folder. [`audit`] is the record of who changed what, which other processes add to as well.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub mod audit;
mod disk;
mod pending;
mod pointer;
mod revisions;
mod salvage;
pub mod seal;
mod shadow;
mod stages;
mod values;
mod watch;
mod who;

use disk::{Disk, Real, private};
pub use pending::{Clocks, Deadline, Pending};
pub use pointer::{AcceptedSet, FoundPointer, Pointer, Prepared};
pub use revisions::{KeptFile, KeptLayer, Record, Revisions, TextLayer, digest};
pub use salvage::salvage;
pub use shadow::{KeptShadow, SHADOW};
pub use stages::{AcceptedBreak, KeptStage, MOST_ACCEPTED, STAGES, Stages};
pub use values::{
    HITS, KeptHits, KeptLease, KeptName, LAST_GOOD, LEASES, LastGood, Leases, NAMES, Names, OVERRIDES,
    Override, Overrides, PolicyFile, RuleHits,
};
pub use watch::{
    Acknowledged, Armed, Begun, Driven, KeptBeat, MOST_BEATS, Touched, WATCH, Watched, Watching, WentBack,
};
pub use who::Who;

/// Version of what [`Store::save`] writes. An agent reads no other: it would misunderstand it.
const VERSION: u32 = 1;

/// Largest value, bytes: more than the policy files of a gateway can be together.
const MAX_VALUE: u64 = 256 << 20;

const LOCK: &str = "lock";
/// The folder of the records.
const REVISIONS: &str = "revisions";

/// The state folder, ours alone until dropped.
pub struct Store {
    folder: PathBuf,
    disk: Box<dyn Disk>,
    /// Holds the lock for as long as it is open.
    _lock: Option<File>,
}

/// What went wrong with the state folder.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("the state folder `{}` is in use by process {pid}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The other process, as it wrote itself into the lock; `unknown` when it did not.
        pid: String,
    },
    /// The file system said no.
    #[error("failed to {act} `{}`", path.display())]
    Io {
        /// A verb.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what [`Store::save`] wrote.
    #[error("`{}` does not hold a value this agent can read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file is larger than any value.
    #[error("`{}` is larger than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is read at the most.
        most: u64,
    },
    /// The file does not fit the hash it was written with, or is gone.
    #[error("`{}` is damaged: it is not what was written", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// The file is from another version of the agent.
    #[error("`{}` has version {found}, and this agent reads version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl StoreError {
    /// The error with its cause: what the disk said.
    pub fn caused(&self) -> String {
        let cause = std::error::Error::source(self).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{self}{cause}")
    }
}

/// A value with its version, as it is in the file.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    value: T,
}

/// The version alone: the value beside it may be anything.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Store {
    /// Makes the folder if it is missing (0700) and takes its lock.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has the lock.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Real.make_folder(folder)?;
        let path = folder.join(LOCK);
        let mut lock = private().read(true).open(&path).map_err(io_error("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // A pid has at most ten digits.
                let _ = lock.take(16).read_to_string(&mut pid);
                let pid = pid.trim().parse::<u32>().map_or("unknown".to_owned(), |pid| pid.to_string());
                return Err(StoreError::InUse { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
        }
        // The lock is what counts; who has it is a courtesy that a full disk may refuse.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", process::id()));
        Ok(Self { folder: folder.to_owned(), disk: Box::new(Real), _lock: Some(lock) })
    }

    /// Replaces a value: after this returns, it survives a power cut; before, the old one does.
    ///
    /// # Errors
    /// When the file system says no; the old value stays.
    ///
    /// # Panics
    /// When the name is not that of a plain file: names are ours, never a user's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let new = self.write_new("", name, bytes)?;
        self.disk.rename(&new, &path)?;
        self.disk.sync_folder(&self.folder)
    }

    /// Writes a file under another name beside its own, and returns that name. First the contents, then the name, then
    /// the folder that holds the name: in another order a cut can leave a name without contents (fsync(2)).
    fn write_new(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let new = self.folder.join(folder).join(format!(".{name}.new"));
        self.disk.write(&new, bytes)?;
        self.disk.sync(&new)?;
        Ok(new)
    }

    /// The bytes written last; `None` when there were none.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    ///
    /// # Panics
    /// As [`Store::write`].
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.disk.read(&self.path(name), MAX_VALUE)
    }

    /// Removes a value; one that is not there is no error.
    ///
    /// # Errors
    /// When the file system says no.
    ///
    /// # Panics
    /// As [`Store::write`].
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.disk.remove(&self.path(name))?;
        self.disk.sync_folder(&self.folder)
    }

    /// Replaces a value, as JSON with a version.
    ///
    /// # Errors
    /// As [`Store::write`], and when the value has no JSON form.
    ///
    /// # Panics
    /// As [`Store::write`].
    pub fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let unreadable = |source| StoreError::Unreadable { path: self.path(name), source };
        let mut bytes = serde_json::to_vec_pretty(&Envelope { v: VERSION, value }).map_err(unreadable)?;
        bytes.push(b'\n');
        self.write(name, &bytes)
    }

    /// The value saved last; `None` when there was none.
    ///
    /// # Errors
    /// When the file is there and is not a value of this version.
    ///
    /// # Panics
    /// As [`Store::write`].
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let unreadable = |source| StoreError::Unreadable { path: self.path(name), source };
        let Version { v } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if v != VERSION {
            return Err(StoreError::Version { path: self.path(name), found: v });
        }
        let Envelope { v: _, value } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        Ok(Some(value))
    }

    /// A folder that this process has, for a thread of it with values of its own there.
    pub fn beside(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), disk: Box::new(Real), _lock: None }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &str) -> PathBuf {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/') && name != LOCK;
        assert!(plain, "`{name}` is no name of a value");
        self.folder.join(name)
    }
}

fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { act, path, source }
}

#[cfg(test)]
mod tests;
