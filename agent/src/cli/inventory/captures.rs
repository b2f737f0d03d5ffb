//! Captures, file after file, tell who is there.

use std::{
    io::Read,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;

use crate::{
    capture::{CaptureError, Reader},
    cli::captured::{Captured, Ended},
    diagnostic::counted,
    inventory::{Inventory, hear},
};

/// Reads captures into an inventory; whether all were whole.
pub(super) fn read(files: &[PathBuf], inventory: &mut Inventory) -> anyhow::Result<bool> {
    let mut whole = true;
    for path in files {
        let mut captured = Captured::open(path)?;
        let ended = captured.watched(|reader, position| frames(reader, position, inventory));
        let (shown, reader) = (&captured.shown, &captured.reader);
        let skipped: u64 = reader.interfaces().iter().map(|interface| interface.skipped).sum();
        if skipped > 0 {
            say!("note: {} in {shown} left out: no Ethernet", counted(skipped, "frame"));
        }
        match captured.ended(ended.err()) {
            Ended::Whole => {}
            Ended::Cut(what) => say!("note: {what}"),
            Ended::Damaged(error) => {
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
