//! A file that is damaged gives way to a new one, and stays for whoever wants to look at it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{HistoryError, beside, io_error};

/// Files that are set aside and stay, each with its log.
const MOST: u32 = 4;

/// Gives the file another name, and its log with it. Those that were set aside before stay, the first of which may hold a year; when there
/// are [`MOST`] of them the last one gives way, and that is told.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, HistoryError> {
    let name = |number: u32| match number {
        1 => beside(path, ".damaged"),
        _ => beside(path, &format!(".damaged.{number}")),
    };
    let away = (1..=MOST).map(name).find(|away| !away.exists()).unwrap_or_else(|| {
        let last = name(MOST);
        tracing::error!(
            "{MOST} damaged histories are there already: `{}`, the last of them, is replaced",
            last.display()
        );
        last
    });
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
