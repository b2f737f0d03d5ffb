//! The thread that judges what is seen by two policies.
//!
//! In: kinds of conversations, from the thread of the history as it sees them; two policies and how the gateway stands, from the agent's
//! loop. Out: all that differs. Nobody waits for it: what finds no room or no time is counted.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    compile::{Placed, Tables},
    dataplane::monotonic_ns,
    model::Policy,
    replay::{
        Place, Setting,
        beside::{Beside, Differences},
    },
    traffic::{Kind, Row, Seen, Sum},
};

/// Kinds that wait to be judged, of some 200 bytes.
const MOST_WAITING: usize = 1 << 16;
/// Kinds that are handed over, and added up, together.
const PORTION: usize = 256;
/// What is seen in one look is judged for so long: a fifth of the time between two looks.
const JUDGED_FOR: Duration = Duration::from_secs(1);

/// A policy and its tables.
#[derive(Clone)]
pub(super) struct Both {
    pub(super) policy: Arc<Policy>,
    pub(super) tables: Arc<Tables>,
}

/// The two policies, and how the gateway stands.
pub(super) struct World {
    /// Another one for other policies: what was counted is of this one.
    pub(super) epoch: u64,
    pub(super) now: Both,
    pub(super) then: Both,
    /// For each of both.
    pub(super) placed: [Placed; 2],
    pub(super) places: Vec<Place>,
    /// Whether the clock is wrong: what is bound to a time is closed then.
    pub(super) clock_is_wrong: bool,
}

impl World {
    /// What is in force, and what is proposed.
    pub(super) fn settings(&self) -> [Setting<'_>; 2] {
        let [now, then] = &self.placed;
        [self.setting(&self.now, now), self.setting(&self.then, then)]
    }

    fn setting<'w>(&'w self, both: &'w Both, placed: &'w Placed) -> Setting<'w> {
        let Both { policy, tables } = both;
        Setting { policy, tables, placed, places: &self.places, now: Timestamp::now() }
    }

    fn deadlines(&self) -> [Vec<u64>; 2] {
        let (now, up) = (Timestamp::now(), monotonic_ns());
        [&self.now, &self.then].map(|both| {
            if self.clock_is_wrong {
                vec![0; both.tables.schedules.len()]
            } else {
                both.tables.deadlines(now, up)
            }
        })
    }
}

/// What differs, and since when that is counted.
#[derive(Clone)]
pub(super) struct Counted {
    /// See [`World::epoch`].
    epoch: u64,
    pub(super) since: Timestamp,
    pub(super) differences: Differences,
    /// What was seen and not judged.
    pub(super) missed: u64,
}

/// What waits for the thread.
struct Inbox {
    world: Option<Arc<World>>,
    waiting: Sum,
    /// Whether a look has ended since it was last judged.
    is_due: bool,
}

struct Shared {
    /// Whether anybody takes what is seen.
    is_set: AtomicBool,
    inbox: Mutex<Inbox>,
    bell: Condvar,
    counted: Mutex<Counted>,
}

/// Between the thread of the history, the one that judges, and the agent's loop.
#[derive(Clone)]
pub(in crate::daemon) struct SharedShadow(Arc<Shared>);

impl Default for SharedShadow {
    fn default() -> Self {
        let inbox = Inbox { world: None, waiting: Sum::new(MOST_WAITING), is_due: false };
        let since = Timestamp::UNIX_EPOCH;
        let counted = Counted { epoch: 0, since, differences: Differences::default(), missed: 0 };
        Self(Arc::new(Shared {
            is_set: AtomicBool::new(false),
            inbox: Mutex::new(inbox),
            bell: Condvar::new(),
            counted: Mutex::new(counted),
        }))
    }
}

impl SharedShadow {
    /// Whoever panicked with it has left what was there before.
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are compared; others than before are counted anew.
    pub(super) fn compare(&self, world: World) {
        let mut inbox = self.inbox();
        let mut counted = self.counted();
        if counted.epoch != world.epoch {
            let rules = world.then.tables.rules.len();
            let (epoch, since) = (world.epoch, Timestamp::now());
            *counted = Counted { epoch, since, differences: Differences::new(rules), missed: 0 };
            inbox.waiting.take();
        }
        inbox.world = Some(Arc::new(world));
        self.0.is_set.store(true, Ordering::Release);
    }

    /// Nothing is compared any more.
    pub(super) fn leave(&self) {
        self.0.is_set.store(false, Ordering::Release);
        let mut inbox = self.inbox();
        inbox.waiting.take();
        inbox.world = None;
    }

    /// The two that are compared, and what differs.
    pub(super) fn told(&self) -> Option<(Arc<World>, Counted)> {
        let world = self.inbox().world.clone()?;
        Some((world, self.counted().clone()))
    }

    /// How many kinds would break and would open, how many were refused, and what was not judged.
    pub(super) fn brief(&self) -> [u64; 4] {
        let counted = self.counted();
        let [breaks, opens] = counted.differences.kinds().map(|kinds| kinds as u64);
        [breaks, opens, counted.differences.counts().refused, counted.missed]
    }

    /// Judges, until the process ends.
    pub(super) fn begin(&self) -> std::io::Result<JoinHandle<()>> {
        let shared = self.clone();
        thread::Builder::new().name("shadow".to_owned()).spawn(move || {
            loop {
                let (world, rows, refused) = shared.wait();
                shared.judge(&world, &rows, refused);
            }
        })
    }

    fn wait(&self) -> (Arc<World>, Vec<Row>, u64) {
        let mut inbox = self.inbox();
        loop {
            if inbox.is_due
                && let Some(world) = inbox.world.clone()
            {
                inbox.is_due = false;
                let (rows, refused) = inbox.waiting.take();
                return (world, rows, refused);
            }
            inbox = self.0.bell.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn judge(&self, world: &World, rows: &[Row], refused: u64) {
        let [now, then] = world.settings();
        let mut beside = Beside::new(now, then);
        beside.at(monotonic_ns(), world.deadlines());
        let begun = Instant::now();
        let rows_left = (rows.len() as u64).saturating_add(refused);
        let mut left = Left { shared: self, epoch: world.epoch, rows: rows_left };
        for portion in rows.chunks(PORTION) {
            if begun.elapsed() >= JUDGED_FOR {
                break;
            }
            let compared: Vec<_> = portion.iter().map(|row| beside.compare(&row.kind)).collect();
            let mut counted = self.counted();
            if counted.epoch != world.epoch {
                return;
            }
            for (row, compared) in portion.iter().zip(&compared) {
                counted.differences.take(row.kind, &row.seen, compared);
            }
            left.rows -= portion.len() as u64;
        }
    }
}

/// What is not judged yet of a look. What is left when it ends was missed, also where a panic ends it.
struct Left<'s> {
    shared: &'s SharedShadow,
    /// See [`World::epoch`].
    epoch: u64,
    rows: u64,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(
                "whoever judges the shadow has failed: {} kinds of a look are not judged",
                self.rows
            );
        }
        let mut counted = self.shared.counted();
        if counted.epoch == self.epoch {
            counted.missed = counted.missed.saturating_add(self.rows);
        }
    }
}

/// The end of whoever sees: handed over in portions, so that nobody waits long for it.
#[derive(Default)]
pub(in crate::daemon) struct ShadowTeller {
    shared: SharedShadow,
    waiting: Vec<(Kind, Seen)>,
}

impl ShadowTeller {
    pub(in crate::daemon) fn new(shared: &SharedShadow) -> Self {
        Self { shared: shared.clone(), waiting: Vec::new() }
    }

    /// Something was seen.
    pub(in crate::daemon) fn take(&mut self, kind: Kind, seen: &Seen) {
        if !self.shared.0.is_set.load(Ordering::Acquire) {
            return;
        }
        self.waiting.push((kind, *seen));
        if self.waiting.len() >= PORTION {
            self.tell();
        }
    }

    /// A look has ended.
    pub(in crate::daemon) fn looked(&mut self) {
        if !self.shared.0.is_set.load(Ordering::Acquire) {
            self.waiting.clear();
            return;
        }
        self.tell();
        self.shared.inbox().is_due = true;
        self.shared.0.bell.notify_one();
    }

    fn tell(&mut self) {
        let mut inbox = self.shared.inbox();
        self.waiting.drain(..).for_each(|(kind, seen)| inbox.waiting.add(kind, &seen));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;

    #[test]
    fn what_a_panic_left_was_missed() {
        let shared = SharedShadow::default();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut left = Left { shared: &shared, epoch: 0, rows: 7 };
            left.rows -= 2;
            resume_unwind(Box::new(()))
        }));
        assert_eq!((ended.is_err(), shared.brief()[3]), (true, 5));
        drop(Left { shared: &shared, epoch: 1, rows: 7 });
        assert_eq!(shared.brief()[3], 5, "what is of other policies is not counted");
    }
}
