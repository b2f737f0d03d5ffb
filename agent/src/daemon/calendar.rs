//! When rules hold: what the calendar says of schedules, written where the kernel closes them by itself.
//!
//! Closing needs no agent: the kernel knows until when each schedule is open. Opening does, and so does a clock that was
//! set. A clock that is earlier than the policy in force is wrong: until it is set, what is bound to a time stays closed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::agent::Agent;
use crate::{
    compile::Tables,
    dataplane::{Moment, monotonic_ns},
    model::Schedule,
    store::{Pointer, Store},
};

/// How far a clock may be set back before it is taken for wrong.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// How far the two clocks may part before deadlines are written anew: less than anybody notices.
const DRIFT: Duration = Duration::from_millis(100);

/// What is remembered of the last look at the clocks.
#[derive(Debug)]
pub(super) struct Calendar {
    /// The clock was right when it showed this.
    floor: Timestamp,
    /// What the monotonic clock showed when the other began to count, ns; 0 before the first look.
    began: i128,
    /// When a schedule next opens or closes.
    turns: Option<Timestamp>,
    /// What was written last.
    pub(super) deadlines: Vec<u64>,
}

impl Calendar {
    /// Before the first look. The revision in force was made at a time that has passed.
    pub(super) fn new(store: &Store, pointer: &Pointer) -> Self {
        let made = store.record(pointer.current).ok().flatten().and_then(|record| record.at.parse().ok());
        let floor = made.unwrap_or(Timestamp::UNIX_EPOCH);
        Self { floor, began: 0, turns: None, deadlines: Vec::new() }
    }

    /// Whether the clock shows a time that has passed.
    fn is_wrong(&self, now: Timestamp) -> bool {
        self.floor.duration_since(now) > TOLERANCE
    }

    /// Until when the schedules of tables are open.
    pub(super) fn look(&mut self, tables: &Tables) -> Moment {
        let (now, up) = (Timestamp::now(), monotonic_ns());
        self.began = now.as_nanosecond() - i128::from(up);
        let wrong = self.is_wrong(now);
        self.deadlines = if wrong { vec![0; tables.schedules.len()] } else { tables.deadlines(now, up) };
        let turn = |schedule: &Schedule| schedule.open_until(now).or_else(|| schedule.opens_next(now));
        self.turns = tables.schedules.iter().flatten().filter_map(turn).min();
        if !wrong {
            self.floor = self.floor.max(now);
        }
        Moment { deadlines: self.deadlines.clone(), ..Moment::default() }
    }

    /// Whether anything may have changed since the last look.
    fn is_due(&self) -> bool {
        let now = Timestamp::now();
        let parted = (now.as_nanosecond() - i128::from(monotonic_ns()) - self.began).unsigned_abs();
        parted > DRIFT.as_nanos() || self.turns.is_some_and(|turn| turn <= now)
    }
}

impl Agent {
    /// What tables depend on besides themselves, now.
    pub(super) fn moment(&mut self, tables: &Tables) -> Moment {
        Moment { named: self.names.rows(tables), ..self.calendar.look(tables) }
    }

    /// Opens what is due, and tells of what has opened and closed.
    pub(super) fn look_at_the_calendar(&mut self) {
        let Some(tables) = self.dataplane.applied().map(|applied| applied.tables.clone()) else { return };
        if tables.schedules.is_empty() || !self.calendar.is_due() {
            return;
        }
        let before = std::mem::take(&mut self.calendar.deadlines);
        let Moment { deadlines, .. } = self.calendar.look(&tables);
        if let Err(error) = self.dataplane.reschedule(&deadlines) {
            tracing::error!("what is bound to a time stays as it is: {error}");
            // Tried again at the next tick.
            self.calendar.began = 0;
            return;
        }
        for ((any, old), new) in tables.schedules.iter().zip(&before).zip(&deadlines) {
            let words: Vec<String> = any.iter().map(ToString::to_string).collect();
            match (*old != 0, *new != 0) {
                (false, true) => tracing::info!(schedule = words.join(" or "), "rules hold from now on"),
                (true, false) => tracing::info!(schedule = words.join(" or "), "rules hold no longer"),
                (true, true) | (false, false) => {}
            }
        }
        self.warn_of_the_clock(&tables);
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
             closed until the clock is right",
            self.calendar.floor
        );
        if self.warnings.insert("clock", note.clone()).is_none() {
            tracing::error!("{note}");
        }
    }
}
