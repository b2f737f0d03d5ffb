//! Whether a receiver is there: not before it has shown it.
//!
//! In: what became of connections, and when. Out: how long to wait for the next, and what is worth telling. That a connection
//! could be made shows nothing: a receiver that refuses the gateway's certificate does so after the gateway's handshake, and
//! what balances load takes connections for receivers that are not there.

use std::time::{Duration, Instant};

use crate::sink::syslog::BackOff;

/// How long a receiver may be tried before it counts as one that is not there.
const TRIED: Duration = Duration::from_secs(60);

/// How a receiver stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    back_off: BackOff,
    /// Whether it was there when that was last known.
    up: Option<bool>,
    /// Since when it is tried, or was last, without having shown that it is there.
    tried: Option<Instant>,
    /// When the connection was made.
    connected: Option<Instant>,
}

impl Standing {
    /// A connection is wanted.
    pub(super) fn tries(&mut self, now: Instant) {
        self.tried.get_or_insert(now);
    }

    /// It was made.
    pub(super) fn connects(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// The connection is there, and something sent over it was surely read or not. Whether it is news that the receiver is there:
    /// it is once it has read something, or has held a connection for longer than any wait.
    pub(super) fn holds(&mut self, read: bool, now: Instant) -> bool {
        let lasts = |since| now.saturating_duration_since(since) >= BackOff::LONGEST;
        if !(read || self.connected.is_some_and(lasts)) {
            return false;
        }
        self.back_off.succeeded();
        self.tried = None;
        self.up.replace(true) != Some(true)
    }

    /// The connection is no longer needed.
    pub(super) fn ends(&mut self) {
        self.connected = None;
    }

    /// It could not be made, or broke: how long to wait, and whether that is news.
    pub(super) fn fails(&mut self) -> (Duration, bool) {
        self.connected = None;
        (self.back_off.failed(), self.up.replace(false) != Some(false))
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// Whether the receiver is not there, as far as is known.
    pub(super) fn is_failing(&self, now: Instant) -> bool {
        self.up == Some(false) || self.tried.is_some_and(|since| now.saturating_duration_since(since) > TRIED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn connections_that_end_at_once_are_tried_at_longer_intervals_and_told_once() {
        let mut standing = Standing::default();
        let mut now = Instant::now();
        let mut told = Vec::new();
        for _ in 0..6 {
            standing.tries(now);
            standing.connects(now);
            assert!(!standing.holds(false, now + SECOND));
            let (wait, news) = standing.fails();
            assert!(standing.is_failing(now));
            told.push((wait.as_millis(), news));
            now += wait;
        }
        let rest = [1000, 2000, 4000, 8000, 16_000].map(|wait| (wait, false));
        assert_eq!((told[0], &told[1..]), ((500, true), &rest[..]));
        standing.tries(now);
        standing.connects(now);
        assert!(standing.is_failing(now), "a connection shows nothing");
    }

    #[test]
    fn receiver_is_there_once_it_has_read_something_or_held_long() {
        for (read, after) in [(true, Duration::ZERO), (false, BackOff::LONGEST)] {
            let mut standing = Standing::default();
            let now = Instant::now();
            let _ = standing.fails();
            standing.connects(now);
            assert!(!standing.holds(false, now) && standing.is_failing(now));
            assert!(standing.holds(read, now + after), "it is news");
            assert!(!standing.holds(true, now + after), "once");
            assert!(!standing.is_failing(now + after));
            assert_eq!(standing.fails(), (SECOND / 2, true), "waits begin anew");
        }
    }

    #[test]
    fn receiver_that_was_never_there_is_not_taken_for_one_for_long() {
        let mut standing = Standing::default();
        let now = Instant::now();
        assert!(!standing.is_failing(now + 10 * TRIED), "nothing was wanted");
        standing.tries(now);
        assert!(!standing.is_failing(now + TRIED));
        standing.tries(now + TRIED);
        assert!(standing.is_failing(now + TRIED + SECOND));
    }

    #[test]
    fn connection_that_is_no_longer_needed_is_no_failure() {
        let mut standing = Standing::default();
        let now = Instant::now();
        standing.tries(now);
        standing.connects(now);
        assert!(standing.is_connected() && standing.holds(true, now));
        standing.ends();
        assert!(!standing.is_connected() && !standing.is_failing(now + 10 * TRIED));
        standing.tries(now + 10 * TRIED);
        standing.connects(now + 10 * TRIED);
        assert!(!standing.holds(true, now + 10 * TRIED), "it was there before");
    }
}
