//! A capture that a command reads: a file or standard input, how far it is read, and what is said of one that ends too early.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context;

use super::progress;
use crate::{
    capture::{CaptureError, Reader},
    diagnostic::escape,
};

/// Opens a file, or standard input for `-`; with its size in bytes, 0 where nobody knows. `act` is what the error calls it.
pub(super) fn open(path: &Path, act: &str) -> anyhow::Result<(Box<dyn Read>, u64)> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), 0));
    }
    let shown = escape(&path.display().to_string());
    let file = File::open(path).with_context(|| format!("failed to {act} `{shown}`"))?;
    let size = file.metadata().map_or(0, |about| about.len());
    Ok((Box::new(file), size))
}

/// A capture, opened.
pub(super) struct Captured {
    /// Its name, as it may be printed.
    pub(super) shown: String,
    /// Its frames.
    pub(super) reader: Reader<Box<dyn Read>>,
    size: u64,
}

/// Why no more frames come.
pub(super) enum Ended {
    /// There are no more.
    Whole,
    /// It was not closed: everything up to there is good. What is to be said of it.
    Cut(String),
    /// The next cannot be read.
    Damaged(anyhow::Error),
}

impl Captured {
    /// Opens a capture.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = escape(&path.display().to_string());
        let (source, size) = open(path, "read")?;
        let reader = Reader::new(source).with_context(|| format!("failed to read `{shown}`"))?;
        Ok(Self { shown, reader, size })
    }

    /// Does the work of reading it; says on a terminal how far it is, which the work tells with each frame.
    pub(super) fn watched<T>(&mut self, work: impl FnOnce(&mut Reader<Box<dyn Read>>, &AtomicU64) -> T) -> T {
        let Self { shown, reader, size } = self;
        let position = AtomicU64::new(0);
        let what = || match (position.load(Ordering::Relaxed), *size) {
            (at, 0) => format!("reading {shown}: {} MiB", at >> 20),
            (at, size) => format!("reading {shown}: {} %", at.saturating_mul(100) / size),
        };
        progress::watched(what, || work(reader, &position))
    }

    /// What an error at its end, if there is one, means.
    pub(super) fn ended(&self, error: Option<CaptureError>) -> Ended {
        match error {
            None => Ended::Whole,
            Some(error @ CaptureError::Cut { .. }) => {
                Ended::Cut(format!("{} is cut short: {error}", self.shown))
            }
            Some(error) => Ended::Damaged(error.into()),
        }
    }
}
