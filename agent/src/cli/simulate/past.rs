//! A history, row by row, meets a policy.

use std::{
    ops::{Bound, ControlFlow},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;

use super::Window;
use crate::{
    cli::{history, progress},
    diagnostic::escape,
    history::Reader,
    replay::{Report, Rows, Setting},
    traffic::{Day, Row},
};

/// Replays the days of a history within a window.
pub(super) fn replayed(setting: Setting<'_>, file: &Path, window: Window) -> anyhow::Result<Report> {
    let mut rows = Rows::new(setting);
    read(&mut rows, file, window)?;
    Ok(rows.report())
}

/// Gives them to whoever judges rows.
pub(super) fn read(rows: &mut Rows<'_>, file: &Path, window: Window) -> anyhow::Result<()> {
    let reader = Reader::open(file).map_err(history::helped)?;
    let day = |moment: Option<Timestamp>| {
        moment.map_or(Bound::Unbounded, |moment| Bound::Included(Day::of(moment.as_second())))
    };
    let days = (day(window.since), day(window.until));
    let begin = window.since.map_or(i64::MIN, |since| since.as_second());
    let end = window.until.map_or(i64::MAX, |until| until.as_second());
    let moment = reader.moment().map_err(history::helped)?;
    let seen = AtomicU64::new(0);
    let shown = escape(&file.display().to_string());
    let what = || format!("reading {shown}: {} rows", seen.load(Ordering::Relaxed));
    progress::watched(what, || {
        reader.rows(days, |row: Row| {
            seen.fetch_add(1, Ordering::Relaxed);
            rows.add(&row);
            ControlFlow::Continue(())
        })
    })
    .map_err(history::helped)?;
    let unseen = reader.unseen().map_err(history::helped)?;
    drop(moment);
    unseen.iter().filter(|gap| gap.from <= end && gap.to >= begin).for_each(|gap| rows.gap(gap));
    Ok(())
}
