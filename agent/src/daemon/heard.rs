//! What the history's thread hears on its way, for whoever watches for silence, and for the shadow: told in portions, so that nobody waits long for either.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::shadow::{ShadowTeller, SharedShadow};
use crate::{
    observe::Clock,
    rollout::{Beats, Moment},
    traffic::{Kind, Seen},
};

/// Kinds that are told together.
const PORTION: usize = 512;

/// What devices do steadily, by the thread that hears it and the loop that asks.
#[derive(Clone, Default)]
pub(super) struct SharedBeats(Arc<Mutex<Beats>>);

impl SharedBeats {
    /// Whoever panicked with it has left what was heard before.
    pub(super) fn lock(&self) -> MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's end.
#[derive(Default)]
pub(super) struct Heard {
    beats: SharedBeats,
    shadow: ShadowTeller,
    waiting: Vec<(Kind, [u64; 2], Moment)>,
}

impl Heard {
    pub(super) fn new(beats: &SharedBeats, shadow: &SharedShadow) -> Self {
        Self { beats: beats.clone(), shadow: ShadowTeller::new(shadow), waiting: Vec::new() }
    }

    /// Somebody was heard. What was dropped nobody heard, and yet another policy may say something else of it.
    pub(super) fn take(&mut self, kind: Kind, seen: &Seen, clock: &Clock) {
        self.shadow.take(kind, seen);
        if seen.dropped > 0 {
            return;
        }
        // By the clock that nobody sets: both times were made of one look at both clocks.
        let ago = u64::try_from(clock.wall.as_second().saturating_sub(seen.last)).unwrap_or(0);
        let at = moment(clock).saturating_sub(Duration::from_secs(ago));
        self.waiting.push((kind, seen.packets, at));
        if self.waiting.len() >= PORTION {
            self.tell();
        }
    }

    /// A look at all conversations has ended.
    pub(super) fn looked(&mut self, clock: &Clock) {
        self.tell();
        self.shadow.looked();
        self.beats.lock().looked(moment(clock));
    }

    fn tell(&mut self) {
        let mut beats = self.beats.lock();
        self.waiting.drain(..).for_each(|(kind, packets, at)| beats.heard(kind, packets, at));
    }
}

/// Seconds of the monotonic clock: nothing here is finer.
fn moment(clock: &Clock) -> Moment {
    Duration::from_secs(clock.mono_ns / 1_000_000_000)
}
