//! One opening of one file or folder, and everything asked of that opening: kind, owner, mode, bytes.
//!
//! In: a path, or a name inside an open folder. Out: the bytes, all of one file. Nothing is looked at by its path a
//! second time, so whoever exchanges files meanwhile exchanges all of it or nothing.

use std::{
    ffi::{CStr, CString},
    fs::{File, Metadata},
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::Mode,
    unistd::geteuid,
};

use super::ReadError;

/// What becomes of files that somebody else could write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They are refused: the agent enforces what it reads.
    Enforced,
    /// They are told of: a person looks at his own files.
    Noted,
}

/// An open file or folder.
pub(super) struct Opened {
    file: File,
    about: Metadata,
}

/// O_NONBLOCK: opening a named pipe must not wait for its writer. O_NOCTTY: nor make a terminal ours.
fn flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY
}

impl Opened {
    /// What a path leads to.
    pub(super) fn at(path: &Path) -> Result<Self, ReadError> {
        Self::about(path, open(path, flags(), Mode::empty()).map_err(|errno| failed(path, errno))?)
    }

    /// A name inside a folder, and no link. `path` is how errors call it.
    pub(super) fn inside(folder: &Dir, name: &CStr, path: &Path) -> Result<Self, ReadError> {
        match openat(folder, name, flags() | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(fd) => Self::about(path, fd),
            Err(Errno::ELOOP) => Err(ReadError::Link { path: path.to_owned() }),
            Err(errno) => Err(failed(path, errno)),
        }
    }

    fn about(path: &Path, fd: OwnedFd) -> Result<Self, ReadError> {
        let file = File::from(fd);
        let about = file.metadata().map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(Self { file, about })
    }

    pub(super) fn is_folder(&self) -> bool {
        self.about.is_dir()
    }

    /// Refuses what is neither a file nor a folder to read.
    pub(super) fn require_file(&self, path: &Path) -> Result<(), ReadError> {
        if self.about.is_file() {
            return Ok(());
        }
        Err(if self.about.is_dir() {
            failed(path, Errno::EISDIR)
        } else {
            ReadError::NotRegular { path: path.to_owned() }
        })
    }

    /// Refuses or notes what somebody else could write.
    pub(super) fn guard(
        &self,
        path: &Path,
        access: Access,
        notes: &mut Vec<String>,
    ) -> Result<(), ReadError> {
        let Some(error) = guarded(path, self.about.uid(), self.about.mode(), geteuid().as_raw()) else {
            return Ok(());
        };
        match access {
            Access::Enforced => Err(error),
            Access::Noted => {
                notes.push(error.to_string());
                Ok(())
            }
        }
    }

    /// The bytes, at most so many.
    pub(super) fn bytes(mut self, path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        self.file.by_ref().take(limit as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() > limit {
            return Err(ReadError::TooLarge { path: path.to_owned(), limit, unit: "bytes" });
        }
        // A file that is renamed or removed meanwhile keeps both; one that is written changes them.
        let written = |about: &Metadata| (about.len(), about.mtime(), about.mtime_nsec());
        if written(&self.file.metadata().map_err(io)?) != written(&self.about) {
            return Err(ReadError::Changed { path: path.to_owned() });
        }
        Ok(bytes)
    }

    /// The names in a folder, and the folder to open them in.
    pub(super) fn entries(self, path: &Path) -> Result<(Dir, Vec<CString>), ReadError> {
        let mut folder = Dir::from_fd(self.file.into()).map_err(|errno| failed(path, errno))?;
        let names: Result<Vec<CString>, Errno> =
            folder.iter().map(|entry| Ok(entry?.file_name().to_owned())).collect();
        Ok((folder, names.map_err(|errno| failed(path, errno))?))
    }
}

fn failed(path: &Path, errno: Errno) -> ReadError {
    ReadError::Io { path: path.to_owned(), source: io::Error::from(errno) }
}

/// Why a file or folder is not safe from others, if it is not.
fn guarded(path: &Path, owner: u32, mode: u32, reader: u32) -> Option<ReadError> {
    if owner != 0 && owner != reader {
        return Some(ReadError::Owner { path: path.to_owned(), owner, reader });
    }
    let mode = mode & 0o7777;
    (mode & 0o022 != 0).then(|| ReadError::Writable { path: path.to_owned(), mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_reader_may_own_and_nobody_else_may_write() {
        let told = |owner, mode, reader| {
            guarded(Path::new("/etc/a.toml"), owner, mode, reader).map(|error| error.to_string())
        };
        for (owner, mode, reader) in [(0, 0o100_644, 0), (0, 0o100_600, 1000), (1000, 0o040_755, 1000)] {
            assert_eq!(told(owner, mode, reader), None);
        }
        assert_eq!(
            told(1000, 0o100_644, 0).as_deref(),
            Some(
                "`/etc/a.toml` belongs to user 1000, who could change the policy\nhint: chown 0 '/etc/a.toml'"
            )
        );
        assert_eq!(
            told(0, 0o100_664, 0).as_deref(),
            Some(
                "`/etc/a.toml` has mode 0664: its group can change the policy\nhint: chmod go-w '/etc/a.toml'"
            )
        );
        // The sticky bit of a folder keeps others from removing files, not from adding some.
        assert_eq!(
            told(0, 0o041_777, 0).as_deref(),
            Some(
                "`/etc/a.toml` has mode 1777: everybody can change the policy\nhint: chmod go-w '/etc/a.toml'"
            )
        );
    }
}
