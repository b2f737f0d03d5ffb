//! How fast the agent takes over what denied packets have to tell: at once as long as that is little, and with rests when it is a
//! flood, so that the flood does not become the agent's load. What there is no time to tell apart the kernel counts.
//!
//! In: how much was taken, and the time. Out: whether to take more now.

use std::time::{Duration, Instant};

/// So many events at once are a flood.
const MANY: usize = 256;
/// How long the agent rests then. What another device has to tell waits no longer: half of the ring is for that.
const REST: Duration = Duration::from_millis(50);
/// The ring is read in so many steps at most, with a rest behind each: one that is larger than usual in larger ones.
const STEPS: usize = 8;
/// Events of a step at least.
const LEAST: usize = 1024;
/// How often the tables of repeats are drained, when they were half full the last time.
const SELDOM: Duration = Duration::from_secs(2);

/// When what is taken.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rests_until: Option<Instant>,
    /// When the tables were drained last that were found half full.
    flooded: Option<Instant>,
}

impl Pace {
    /// Events that are taken at once, of a ring that has room for so many.
    pub(super) fn step(ring: usize) -> usize {
        LEAST.max(ring / STEPS)
    }

    /// So many events were taken, of `most` that would have been: there may be more, for which nobody wakes the agent.
    pub(super) fn took(&mut self, events: usize, most: usize, now: Instant) {
        self.rests_until = (events >= MANY.min(most)).then(|| now + REST);
    }

    /// Until when no events are taken; then they are, whether or not somebody says that there are some.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// The tables were drained, and so many of `capacity` entries found.
    pub(super) fn drained(&mut self, entries: usize, capacity: usize, now: Instant) {
        self.flooded = (entries >= capacity / 2).then_some(now);
    }

    /// Whether they are to be drained again.
    pub(super) fn drains(&self, now: Instant) -> bool {
        self.flooded.is_none_or(|then| now.saturating_duration_since(then) >= SELDOM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_taken_at_once_and_a_flood_with_rests() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.took(MANY - 1, 1024, now);
        assert_eq!(pace.rests_until(), None);
        pace.took(MANY, 1024, now);
        assert_eq!(pace.rests_until(), Some(now + REST));
        pace.took(0, 1024, now + REST);
        assert_eq!(pace.rests_until(), None);
        // Of a small ring all that was asked for is little, and not all that is there.
        pace.took(20, 20, now);
        assert_eq!(pace.rests_until(), Some(now + REST));
        // However large the ring is, its last event waits for less than half a second.
        assert_eq!([1000, 100_000].map(Pace::step), [1024, 12_500]);
    }

    #[test]
    fn tables_that_fill_are_drained_seldom() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.drained(31, 64, now);
        assert!(pace.drains(now));
        pace.drained(32, 64, now);
        assert!(!pace.drains(now + SELDOM / 2) && pace.drains(now + SELDOM));
    }
}
