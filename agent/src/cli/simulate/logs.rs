//! Logs of other sensors meet a policy: they become a history of their own, which is gone when the command ends.

use std::path::PathBuf;

use anyhow::Context;

use super::{Window, captures::Replayed, past};
use crate::{
    cli::history::{self, import},
    history::{History, Limits},
    replay::Setting,
};

/// A history that lives as long as the command has room for everything.
const EVERYTHING: Limits = Limits { bytes: u64::MAX, days: u32::MAX };

/// Replays what the logs tell. What they leave out is said, and makes the answer one about a part.
pub(super) fn replayed(
    setting: Setting<'_>,
    logs: &[PathBuf],
    format: Option<import::Format>,
    window: Window,
) -> anyhow::Result<Replayed> {
    let folder = tempfile::tempdir().context("failed to make a folder for the flows of the logs")?;
    let file = folder.path().join("flows.db");
    let mut all = History::join(&file, EVERYTHING).map_err(history::helped)?;
    let mut damaged = false;
    for log in logs {
        let told = import::imported(&mut all, log, format)?;
        say!("{}", told.headline());
        told.say_what_is_missing();
        damaged |= !told.is_whole;
    }
    drop(all);
    let report = past::replayed(setting, &file, window)?;
    Ok(Replayed { report, damaged, compared: None })
}
