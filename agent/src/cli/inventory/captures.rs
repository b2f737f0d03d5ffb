//! Captures, file after file, tell who is there.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context;
use jiff::Timestamp;

use crate::{
    capture::{CaptureError, Reader},
    cli::progress,
    diagnostic::{counted, escape},
    inventory::{Inventory, hear},
};

/// Reads captures into an inventory; whether all were whole.
pub(super) fn read(files: &[PathBuf], inventory: &mut Inventory) -> anyhow::Result<bool> {
    let mut whole = true;
    for path in files {
        let shown = escape(&path.display().to_string());
        let (source, size): (Box<dyn Read>, u64) = if path == Path::new("-") {
            (Box::new(std::io::stdin()), 0)
        } else {
            let file = File::open(path).with_context(|| format!("failed to read `{shown}`"))?;
            let size = file.metadata().map_or(0, |about| about.len());
            (Box::new(file), size)
        };
        let mut reader = Reader::new(source).with_context(|| format!("failed to read `{shown}`"))?;
        let position = AtomicU64::new(0);
        let what = || match (position.load(Ordering::Relaxed), size) {
            (at, 0) => format!("reading {shown}: {} MiB", at >> 20),
            (at, size) => format!("reading {shown}: {} %", at.saturating_mul(100) / size),
        };
        let ended = progress::watched(what, || frames(&mut reader, &position, inventory));
        let skipped: u64 = reader.interfaces().iter().map(|interface| interface.skipped).sum();
        if skipped > 0 {
            say!("note: {} in {shown} left out: no Ethernet", counted(skipped, "frame"));
        }
        match ended {
            Ok(()) => {}
            // A capture that was not closed: everything up to there is good.
            Err(error @ CaptureError::Cut { .. }) => say!("note: {shown} is cut short: {error}"),
            Err(error) => {
                let error = anyhow::Error::from(error);
                say!("error: `{shown}` was read up to a damaged place: {error:#}");
                whole = false;
            }
        }
    }
    Ok(whole)
}

fn frames<R: Read>(
    reader: &mut Reader<R>,
    position: &AtomicU64,
    inventory: &mut Inventory,
) -> Result<(), CaptureError> {
    loop {
        position.store(reader.position(), Ordering::Relaxed);
        let Some(frame) = reader.next_frame()? else { return Ok(()) };
        let time = Timestamp::from_nanosecond(frame.time.into()).unwrap_or(Timestamp::MAX);
        if let Some(heard) = hear(frame.bytes) {
            inventory.take(&heard, time);
        }
    }
}
