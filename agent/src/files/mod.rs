//! Reading what people wrote: policy sets, keys and the configuration, each opened once and bounded.
//!
//! In: a path. Out: text, or what is in the way. A configured path is followed wherever it leads; inside a policy
//! folder no link is. What is hashed, compiled and sent are the bytes of one reading.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    diagnostic::escape,
    policy::{MAX_FILE_BYTES, SourceFile},
    signing::{KeyError, Refusal},
};

mod open;
mod set;

pub use open::Access;
pub use set::{PolicySet, ReadSet, pushed_set, read, read_set, read_trust};

/// A file or folder that could not be read, or may not be believed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system said no.
    #[error("failed to read `{}`: {source}", shown(path))]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not text.
    #[error("`{}` is not UTF-8 text (byte {at})\nhint: save the file as UTF-8", shown(path))]
    NotText {
        /// Which file.
        path: PathBuf,
        /// First byte that is no text, from 0.
        at: usize,
    },
    /// A folder without a policy. Enforcing nothing must be said, not left out.
    #[error("no policy file (`*.toml`) in `{}`\nhint: put one there, or name another path", shown(path))]
    NoPolicy {
        /// Which folder.
        path: PathBuf,
    },
    /// Neither a file nor a folder.
    #[error(
        "`{}` is neither a regular file nor a folder\nhint: remove it, or put a regular file in its place",
        shown(path)
    )]
    NotRegular {
        /// Which path.
        path: PathBuf,
    },
    /// A link inside a policy folder.
    #[error(
        "`{}` is a symbolic link, and inside a policy folder none is followed\nhint: put the file itself there; the configured path may be a link to the whole folder",
        shown(path)
    )]
    Link {
        /// Which file.
        path: PathBuf,
    },
    /// It was written while it was read.
    #[error(
        "`{}` was changed while it was read\nhint: write a file beside it and rename that, then try again",
        shown(path)
    )]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// Somebody else's.
    #[error(
        "`{}` belongs to user {owner}, who could change the policy\nhint: chown {reader} '{}'",
        shown(path),
        shown(path)
    )]
    Owner {
        /// Which file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who reads it: he or root may own it.
        reader: u32,
    },
    /// Others can write it.
    #[error(
        "`{}` has mode {mode:04o}: {} can change the policy\nhint: chmod go-w '{}'",
        shown(path), if mode & 0o002 == 0 { "its group" } else { "everybody" }, shown(path)
    )]
    Writable {
        /// Which file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// More than the agent is willing to read.
    #[error(
        "`{}` is larger than {limit} {unit}\nhint: look at what was put there; a large policy can be split into several files",
        shown(path)
    )]
    TooLarge {
        /// Which path.
        path: PathBuf,
        /// How much is read at the most.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// No key to check signatures with.
    #[error(
        "`{}` holds no key of `[signing]`: {why}\nhint: copy the `.pub` file that `minisign -G` wrote",
        shown(path)
    )]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: KeyError,
    },
    /// The set is not one to believe.
    #[error("`{}`: {refusal}", shown(path))]
    Refused {
        /// The folder or file of the set.
        path: PathBuf,
        /// Why.
        refusal: Box<Refusal>,
    },
}

impl ReadError {
    /// Whether the policy is at fault (exit code 1) rather than the world (2).
    pub fn found(&self) -> bool {
        match self {
            Self::NoPolicy { .. } | Self::Refused { .. } => true,
            Self::Io { .. }
            | Self::NotText { .. }
            | Self::NotRegular { .. }
            | Self::Link { .. }
            | Self::Changed { .. }
            | Self::Owner { .. }
            | Self::Writable { .. }
            | Self::TooLarge { .. }
            | Self::Key { .. } => false,
        }
    }
}

/// A path as a message can have it: whoever makes files in a folder chooses their names.
fn shown(path: &Path) -> String {
    escape(&path.display().to_string())
}

/// Refuses a file or folder that somebody else could change.
///
/// # Errors
/// [`ReadError::Owner`], [`ReadError::Writable`], or that it cannot be opened.
pub fn require_guarded(path: &Path) -> Result<(), ReadError> {
    open::Opened::at(path)?.guard(path, Access::Enforced, &mut Vec::new())
}

/// The policy at `path`, whoever wrote it: one file, or every `*.toml` of a folder in the order of their names.
///
/// # Errors
/// [`ReadError`] for the first thing that cannot be read; a policy is read whole or not at all.
pub fn read_policy(path: &Path) -> Result<Vec<SourceFile>, ReadError> {
    Ok(read(path, Access::Noted)?.into_files())
}

/// One text file.
///
/// # Errors
/// [`ReadError`] when it is missing, no regular file, too large or not UTF-8.
pub fn read_file(path: &Path) -> Result<SourceFile, ReadError> {
    let opened = open::Opened::at(path)?;
    opened.require_file(path)?;
    text(path, opened.bytes(path, MAX_FILE_BYTES)?)
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

#[cfg(test)]
mod tests;
