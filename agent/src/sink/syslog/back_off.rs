//! How long to wait before a receiver is tried again: longer each time, and not for ever.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);

/// The next wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    next: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl BackOff {
    /// No wait is longer.
    pub const LONGEST: Duration = Duration::from_secs(30);

    /// A try failed: how long to wait before the next.
    pub fn failed(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(Self::LONGEST);
        wait
    }

    /// A try succeeded: the next failure is a first one.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }
}
