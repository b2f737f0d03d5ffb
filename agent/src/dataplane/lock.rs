//! One agent at a time per pin directory: two would take the NICs and the slots from each other.
//!
//! The lock is a flock(2) on the directory itself, so it is about these pins whatever path or state folder
//! leads to them, leaves no file behind, and ends with the process.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::{linux::fs::MetadataExt, unix::fs::MetadataExt as _},
};

use super::{DataplaneError, Pins};

/// The pins, ours alone until dropped.
pub struct PinsLock {
    _directory: File,
}

impl Pins {
    /// Takes the lock; `None` when there are no pins.
    ///
    /// # Errors
    /// [`DataplaneError::PinsInUse`] when another process has it.
    pub fn lock(&self) -> Result<Option<PinsLock>, DataplaneError> {
        let path = self.directory();
        let fail = |act| move |source| DataplaneError::Pins { act, path: path.to_owned(), source };
        let directory = match File::open(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail("open")(error)),
        };
        match directory.try_lock() {
            Ok(()) => Ok(Some(PinsLock { _directory: directory })),
            Err(TryLockError::WouldBlock) => {
                let pid = holder(&directory).unwrap_or_else(|| "unknown".to_owned());
                Err(DataplaneError::PinsInUse { path: path.to_owned(), pid })
            }
            Err(TryLockError::Error(error)) => Err(fail("lock")(error)),
        }
    }
}

/// Who has the lock, as the kernel lists it (proc_locks(5)): `1: FLOCK ADVISORY WRITE 77 00:20:4711 0 EOF`.
fn holder(directory: &File) -> Option<String> {
    let metadata = directory.metadata().ok()?;
    let device = MetadataExt::st_dev(&metadata);
    let place = format!("{:02x}:{:02x}:{}", libc::major(device), libc::minor(device), metadata.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&place.as_str());
        ours.then(|| fields[4].to_owned())
    })
}
