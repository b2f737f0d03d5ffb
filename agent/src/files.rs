//! Reading what people wrote: policy files and the configuration, each opened once, bounded, no links.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::policy::{MAX_FILE_BYTES, MAX_FILES, SourceFile};

/// A file or folder that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system said no.
    #[error("failed to read `{}`: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not text.
    #[error("`{}` is not UTF-8 text (byte {at})\nhint: save the file as UTF-8", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
        /// First byte that is no text, from 0.
        at: usize,
    },
    /// A folder without a policy. Enforcing nothing must be said, not left out.
    #[error("no policy file (`*.toml`) in `{}`\nhint: put one there, or name another path", path.display())]
    NoPolicy {
        /// Which folder.
        path: PathBuf,
    },
    /// Neither a file nor a folder.
    #[error("`{}` is neither a regular file nor a folder", path.display())]
    NotRegular {
        /// Which path.
        path: PathBuf,
    },
    /// More than the agent is willing to read.
    #[error("`{}` is larger than {limit} {unit}", path.display())]
    TooLarge {
        /// Which path.
        path: PathBuf,
        /// How much is read at the most.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
}

/// The policy at `path`: one file, or every `*.toml` of a folder in the order of their names.
///
/// # Errors
/// [`ReadError`] for the first thing that cannot be read; a policy is read whole or not at all.
pub fn read_policy(path: &Path) -> Result<Vec<SourceFile>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(vec![read_file(path)?]);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?.path();
        // Editors and package managers leave `.x.toml.swp` and `x.toml.dpkg-new` behind; hidden files are theirs.
        let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if entry.extension().is_some_and(|e| e == "toml") && !hidden {
            paths.push(entry);
        }
        if paths.len() > MAX_FILES {
            return Err(ReadError::TooLarge { path: path.to_owned(), limit: MAX_FILES, unit: "files" });
        }
    }
    if paths.is_empty() {
        return Err(ReadError::NoPolicy { path: path.to_owned() });
    }
    paths.sort();
    paths.iter().map(|p| read_file(p)).collect()
}

/// One text file.
///
/// # Errors
/// [`ReadError`] when it is missing, no regular file, too large or not UTF-8.
pub fn read_file(path: &Path) -> Result<SourceFile, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    // O_NONBLOCK: opening a named pipe must not wait for its writer.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        return Err(ReadError::NotRegular { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    text(path, bytes)
}

/// The text behind the bytes of a file.
///
/// # Errors
/// [`ReadError::TooLarge`] and [`ReadError::NotText`].
pub fn text(path: &Path, bytes: Vec<u8>) -> Result<SourceFile, ReadError> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(ReadError::TooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES, unit: "bytes" });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile { path: path.display().to_string(), text }),
        Err(error) => Err(ReadError::NotText { path: path.to_owned(), at: error.utf8_error().valid_up_to() }),
    }
}
