//! Rows are put together again by kind: whatever the number of days, a kind is one line.

use std::ops::{Bound, ControlFlow};

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
}

impl Whole {
    fn of(row: &Row) -> Self {
        Self { kind: row.kind, seen: row.seen, days: 1, pause: row.seen.pause }
    }

    fn add(&mut self, row: &Row) {
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
    let since = since.map_or(Bound::Unbounded, Bound::Included);
    reader.rows((since, Bound::Unbounded), |row| {
        match &mut present {
            Some(whole) if whole.kind == row.kind => whole.add(&row),
            whole => {
                if let Some(done) = whole.replace(Whole::of(&row)) {
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
