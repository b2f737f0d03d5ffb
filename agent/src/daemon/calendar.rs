//! When rules hold: what the calendar says of schedules, written where the kernel closes them by itself.
//!
//! Closing needs no agent: the kernel knows until when each schedule is open. Opening does, and so does a clock that was
//! set. A clock that is earlier than the policy in force is wrong: until it is set, what is bound to a time stays closed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{agent::Agent, names::NameKeeper};
use crate::{
    compile::Tables,
    dataplane::{DataplaneError, Moment, monotonic_ns},
    model::Schedule,
    store::{Pointer, Record, Store},
};

/// How far a clock may be set back before it is taken for wrong.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// How far the two clocks may part before deadlines are written anew: less than anybody notices.
const DRIFT: Duration = Duration::from_millis(100);

/// What is remembered of the clocks.
#[derive(Debug)]
pub(super) struct Calendar {
    /// When the policy in force was made: that time has passed.
    made: Timestamp,
    /// The look by which the schedules in force were written.
    last: Look,
}

/// A look at the clocks, and what schedules are by it.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// What the monotonic clock showed when the other began to count, ns; 0 before the first look.
    began: i128,
    /// When a schedule next opens or closes.
    turns: Option<Timestamp>,
    /// Whether the clock showed a time before the policy was made.
    wrong: bool,
    /// Until when each is open, monotonic ns.
    pub(super) deadlines: Vec<u64>,
}

impl Calendar {
    /// Before the first look.
    pub(super) fn new(store: &Store, pointer: &Pointer) -> Self {
        let record = store.record(pointer.current).ok().flatten();
        let mut calendar = Self { made: Timestamp::UNIX_EPOCH, last: Look::default() };
        if let Some(record) = record {
            calendar.made(&record);
        }
        calendar
    }

    /// Another revision is in force: what holds is looked at again.
    pub(super) fn made(&mut self, record: &Record) {
        self.made = record.at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        self.last.began = 0;
    }

    /// When the policy in force was made, if that is known.
    pub(super) fn when_made(&self) -> Option<Timestamp> {
        Some(self.made).filter(|made| *made != Timestamp::UNIX_EPOCH)
    }

    /// Whether the clock shows a time before the policy in force was made.
    pub(super) fn is_wrong(&self, now: Timestamp) -> bool {
        self.made.duration_since(now) > TOLERANCE
    }

    /// Until when the schedules in force are open, as far as the kernel was told.
    pub(super) fn deadlines(&self) -> &[u64] {
        &self.last.deadlines
    }

    /// The kernel has what a look found.
    pub(super) fn keep(&mut self, look: Look) {
        self.last = look;
    }

    /// Until when the schedules of tables are open.
    fn look(&self, tables: &Tables) -> Look {
        let (now, up) = (Timestamp::now(), monotonic_ns());
        let wrong = self.is_wrong(now);
        let closed = || vec![0; tables.schedules.len()];
        let turn = |schedule: &Schedule| schedule.open_until(now).or_else(|| schedule.opens_next(now));
        Look {
            began: now.as_nanosecond() - i128::from(up),
            turns: tables.schedules.iter().flatten().filter_map(turn).min(),
            wrong,
            deadlines: if wrong { closed() } else { tables.deadlines(now, up) },
        }
    }

    /// What tables depend on besides themselves, now.
    pub(super) fn moment(&self, names: &NameKeeper, tables: &Tables) -> (Moment, Look) {
        let look = self.look(tables);
        let named = names.rows(tables, &look.deadlines);
        (Moment { named, deadlines: look.deadlines.clone() }, look)
    }

    /// Whether anything may have changed since the last look.
    fn is_due(&self) -> bool {
        let now = Timestamp::now();
        let parted = (now.as_nanosecond() - i128::from(monotonic_ns()) - self.last.began).unsigned_abs();
        self.last.wrong || parted > DRIFT.as_nanos() || self.last.turns.is_some_and(|turn| turn <= now)
    }
}

impl Agent {
    /// Opens what is due, and tells of what has opened and closed.
    pub(super) fn look_at_the_calendar(&mut self) {
        let Some(tables) = self.dataplane.applied().map(|applied| applied.tables.clone()) else { return };
        if tables.schedules.is_empty() || !self.calendar.is_due() {
            return;
        }
        let (moment, look) = self.calendar.moment(&self.names, &tables);
        if let Err(error) = self.turn(moment) {
            // Tried again at the next tick.
            tracing::error!("what is bound to a time stays as it is: {error}");
            return;
        }
        for ((any, old), new) in tables.schedules.iter().zip(self.calendar.deadlines()).zip(&look.deadlines) {
            let words: Vec<String> = any.iter().map(ToString::to_string).collect();
            match (*old != 0, *new != 0) {
                (false, true) => tracing::info!(schedule = words.join(" or "), "rules hold from now on"),
                (true, false) => tracing::info!(schedule = words.join(" or "), "rules hold no longer"),
                (true, true) | (false, false) => {}
            }
        }
        self.calendar.keep(look);
        self.warn_of_the_clock(&tables);
    }

    /// Writes until when schedules are open, and which of several rules counts for what is permitted by name.
    fn turn(&mut self, moment: Moment) -> Result<(), DataplaneError> {
        let Moment { deadlines, named } = moment;
        self.dataplane.reschedule(&deadlines)?;
        // They are there already; only what changed is written.
        self.permit(named).map(drop)
    }

    /// Says that the clock is wrong, where it matters.
    pub(super) fn warn_of_the_clock(&mut self, tables: &Tables) {
        let now = Timestamp::now();
        if tables.schedules.is_empty() || !self.calendar.is_wrong(now) {
            self.warnings.remove("clock");
            return;
        }
        let note = format!(
            "the clock shows {now:.0}, and the policy in force was made at {:.0}: rules that are bound to a time stay \
             closed until the clock is right; if it is, `bulkhead apply` makes the policy anew",
            self.calendar.made
        );
        if self.warnings.insert("clock", note.clone()).is_none() {
            tracing::error!("{note}");
        }
    }
}
