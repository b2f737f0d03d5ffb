//! The history of flows: what was seen on the wire, kept for months in one file.
//!
//! In: rows of kind and day, added up beforehand so that a card of flash memory is spared, and what is known to be missing. Out:
//! the same rows, kind by kind, in constant memory however many there are; another process may be writing meanwhile.
//!
//! The file is SQLite with a write-ahead log. It is bounded by size and by days, of which the oldest go first, and no day takes
//! more than its share: who scans a plant must not push out what was learned of it. What finds no room is counted. A power cut
//! loses what was added in the last moments and nothing before; a damaged file is set aside, and a new one is begun.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Error, ErrorCode, ffi::SQLITE_ERROR};

mod aside;
mod put;
mod read;
mod schema;
mod write;

pub use read::{Kept, Reader, Watched};
pub use write::{Added, Gone, History, Limits, is_worth_writing};

/// What went wrong with the history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is none.
    #[error("there is no history at `{}`", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is somebody else's.
    #[error("`{}` is no history of flows", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version of the agent.
    #[error("`{}` has version {found}, and this agent reads version {}", path.display(), schema::VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The file is not as it was written.
    #[error("`{}` is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where that was noticed.
        why: String,
    },
    /// The file was looked through, is as it was written, and takes nothing.
    #[error("`{}` is whole, and takes no rows: {why}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// Readers keep the log beside the file from being put into it.
    #[error("`{}` waits for whoever has been reading it, and {bytes} bytes wait with it", path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// Size of the log.
        bytes: u64,
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
    /// SQLite said no.
    #[error("failed to {act} `{}`", path.display())]
    Sqlite {
        /// A verb.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl HistoryError {
    /// The error with its cause: what the disk said.
    pub fn caused(&self) -> String {
        let cause = std::error::Error::source(self).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{self}{cause}")
    }

    /// Whether the file is not as it was written, and will never be again.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Missing { .. }
            | Self::Foreign { .. }
            | Self::Version { .. }
            | Self::Refused { .. }
            | Self::Held { .. }
            | Self::Io { .. }
            | Self::Sqlite { .. } => false,
        }
    }
}

impl HistoryError {
    /// The same of a file that was found to be whole: it is not damaged, whatever SQLite says.
    fn of_whole(self) -> Self {
        if let Self::Damaged { path, why } = self { Self::Refused { path, why } } else { self }
    }
}

/// Names the act and the file of an error of SQLite.
fn sqlite(act: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> HistoryError {
    let path = path.to_owned();
    move |source| {
        // Of a kind that no table of ours holds.
        let is_odd = matches!(
            source,
            Error::InvalidColumnType(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::FromSqlConversionFailure(..)
        );
        // What is asked here is right in a file that is whole: a table that is missing, a row that fits none, a format of the future.
        let is_refused =
            matches!(&source, Error::SqliteFailure(error, _) if error.extended_code == SQLITE_ERROR);
        let is_damage = is_odd
            || is_refused
            || matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::ConstraintViolation
                        | ErrorCode::TypeMismatch
                )
            );
        if is_damage {
            HistoryError::Damaged { path: path.clone(), why: source.to_string() }
        } else {
            HistoryError::Sqlite { act, path: path.clone(), source }
        }
    }
}

fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HistoryError {
    let path = path.to_owned();
    move |source| HistoryError::Io { act, path, source }
}

/// The log of changes beside the file.
fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests;
