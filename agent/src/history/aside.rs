//! A file that is damaged gives way to a new one, and stays for whoever wants to look at it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{HistoryError, beside, io_error};

/// Gives the file another name, and its log with it. The first one that was set aside stays, which may hold a year; of those after it
/// there is only the last.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, HistoryError> {
    let first = beside(path, ".damaged");
    let away = if first.exists() { beside(path, ".damaged.2") } else { first };
    for ending in ["", "-wal"] {
        let (from, to) = (beside(path, ending), beside(&away, ending));
        match fs::rename(&from, &to) {
            // An old log must not be taken for the new file's.
            Err(error) if error.kind() == ErrorKind::NotFound => drop(fs::remove_file(&to)),
            Err(error) => return Err(io_error("set aside", &from)(error)),
            Ok(()) => {}
        }
    }
    // What readers share of the log; it says nothing.
    match fs::remove_file(beside(path, "-shm")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        Ok(()) | Err(_) => Ok(away),
    }
}
