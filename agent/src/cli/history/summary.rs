//! Rows are put together again by kind: whatever the number of days, a kind is one line.

use std::{
    collections::BTreeSet,
    ops::{Bound, ControlFlow},
};

use crate::{
    history::{HistoryError, Reader},
    traffic::{Day, Hours, Kind, Row, Seen},
};

/// What was seen of a kind on all days that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) kind: Kind,
    pub(super) seen: Seen,
    pub(super) days: u32,
    /// The longest silence within a day, s.
    pub(super) pause: u32,
    /// Some of it was seen on a day on which an agent watched, so a policy judged it.
    pub(super) is_judged: bool,
}

impl Whole {
    fn of(row: &Row, is_judged: bool) -> Self {
        Self { kind: row.kind, seen: row.seen, days: 1, pause: row.seen.pause, is_judged }
    }

    fn add(&mut self, row: &Row, is_judged: bool) {
        self.is_judged |= is_judged;
        self.seen.add(&row.seen);
        self.days += 1;
        self.pause = self.pause.max(row.seen.pause);
    }

    /// In which hours of any day.
    pub(super) fn hours(&self) -> Hours {
        self.seen.hours
    }
}

/// Gives each kind that was seen since a day to `each`.
pub(super) fn each(
    reader: &Reader,
    since: Option<Day>,
    mut each: impl FnMut(&Whole),
) -> Result<(), HistoryError> {
    let mut present: Option<Whole> = None;
    let days = reader.days()?.into_iter().filter(|kept| kept.watched.is_some());
    let watched: BTreeSet<Day> = days.map(|kept| kept.day).collect();
    let since = since.map_or(Bound::Unbounded, Bound::Included);
    reader.rows((since, Bound::Unbounded), |row| {
        let is_judged = watched.contains(&row.day);
        match &mut present {
            Some(whole) if whole.kind == row.kind => whole.add(&row, is_judged),
            whole => {
                if let Some(done) = whole.replace(Whole::of(&row, is_judged)) {
                    each(&done);
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    present.iter().for_each(each);
    Ok(())
}

/// How many kinds there are.
pub(super) fn kinds(reader: &Reader) -> Result<u64, HistoryError> {
    let mut count = 0;
    each(reader, None, |_| count += 1)?;
    Ok(count)
}
