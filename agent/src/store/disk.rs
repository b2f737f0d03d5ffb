//! The steps of a file system that the store is made of, each one alone.
//!
//! In: a path and bytes. Out: done, or which step failed. What survives a power cut between two of them is the
//! store's affair, so the tests have a disk of their own that is cut after each.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::{StoreError, io_error};

/// What the store does to a disk.
pub(super) trait Disk {
    /// Makes a folder (0700) if it is missing. It survives a power cut after [`Disk::sync_folder`] of the one above.
    fn make_folder(&self, path: &Path) -> Result<(), StoreError>;
    /// The bytes of a file; `None` when there is none.
    fn read(&self, path: &Path, most: u64) -> Result<Option<Vec<u8>>, StoreError>;
    /// The names in a folder, sorted; none when there is no folder.
    fn names(&self, folder: &Path) -> Result<Vec<String>, StoreError>;
    /// Makes or overwrites a file. Its bytes survive a power cut after [`Disk::sync`].
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError>;
    /// The bytes of the file are on the disk when this returns.
    fn sync(&self, path: &Path) -> Result<(), StoreError>;
    /// Gives a file another name; who had that name is gone.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError>;
    /// Removes a file; one that is not there is no error.
    fn remove(&self, path: &Path) -> Result<(), StoreError>;
    /// The names in a folder are on the disk when this returns.
    fn sync_folder(&self, folder: &Path) -> Result<(), StoreError>;
}

/// The disk of this machine.
pub(super) struct Real;

impl Disk for Real {
    fn make_folder(&self, path: &Path) -> Result<(), StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))
    }

    fn read(&self, path: &Path, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(io_error("open", path))?,
        };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
        if bytes.len() as u64 > most {
            return Err(StoreError::TooLarge { path: path.to_owned(), most });
        }
        Ok(Some(bytes))
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error("list", folder))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is no text is none of the store's.
            if let Ok(name) = entry.map_err(io_error("list", folder))?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = private().truncate(true).open(path).map_err(io_error("create", path))?;
        file.write_all(bytes).map_err(io_error("write", path))
    }

    fn sync(&self, path: &Path) -> Result<(), StoreError> {
        File::open(path).and_then(|file| file.sync_all()).map_err(io_error("sync", path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        fs::rename(from, to).map_err(io_error("replace", to))
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(io_error("remove", path)),
        }
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))
    }
}

/// Files of the state folder are nobody else's.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}
