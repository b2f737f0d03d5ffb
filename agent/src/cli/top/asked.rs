//! What the worker was given: when the agent is to be asked again, and which changes nobody has heard of yet.
//!
//! In: what is to be done, and what the worker says. Out: jobs for it, as many as have room; at the end, what became of
//! changes.

use std::{
    collections::VecDeque,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use super::{
    TURN,
    state::{Act, Input},
    worker::Job,
};

/// What became of so many changes is told at the end; the audit trail has them all.
const LAST: usize = 100;

/// What the worker was given and has not answered.
pub(super) struct Asked {
    jobs: SyncSender<Job>,
    /// When the screen began.
    begun: Instant,
    interval: Duration,
    /// When to look again; `None` while the worker looks.
    due: Option<Instant>,
    changes: usize,
    /// What became of those before.
    became: VecDeque<String>,
}

impl Asked {
    /// Nothing yet; the first look is due at once.
    pub(super) fn new(jobs: SyncSender<Job>, interval: Duration, begun: Instant) -> Self {
        Self { jobs, begun, interval, due: Some(begun), changes: 0, became: VecDeque::new() }
    }

    /// Whether it is time to look again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Gives the worker something to do; whether there was room for it.
    pub(super) fn give(&mut self, act: Act, now: Instant) -> bool {
        let (is_look, is_change) = match act {
            Act::Look { .. } => (true, false),
            Act::Change { .. } | Act::Release { .. } => (false, true),
            Act::Explain { .. } | Act::Quit => (false, false),
        };
        let taken = self.jobs.try_send((self.begun, act)).is_ok();
        if is_look {
            // Nobody answers a look that was refused: it is tried anew.
            self.due = (!taken).then(|| now + self.interval);
        }
        self.changes += usize::from(is_change && taken);
        taken
    }

    /// Learns that the worker has answered.
    pub(super) fn heard(&mut self, input: &Input, now: Instant) {
        match input {
            Input::Seen(_) | Input::Failed(_) => self.due = Some(now + self.interval),
            Input::Done(said) => {
                self.changes = self.changes.saturating_sub(1);
                if self.became.len() == LAST {
                    self.became.pop_front();
                }
                self.became.push_back(said.clone());
            }
            Input::Key(_) | Input::Explained(_) | Input::Said(_) => {}
        }
    }

    /// Changes that nobody has heard of yet.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// What became of the last ones. One that was answered a moment ago was never on the screen.
    pub(super) fn became(&self) -> impl Iterator<Item = &str> {
        self.became.iter().map(String::as_str)
    }

    /// Waits for them, at most for a time and until it is told to stop.
    pub(super) fn wait(&mut self, inputs: &Receiver<Input>, most: Duration, stop: &AtomicBool) {
        let until = Instant::now() + most;
        while self.changes > 0 && !stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            match inputs.recv_timeout(left.min(TURN)) {
                Ok(input) => self.heard(&input, Instant::now()),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::model::Mode;

    const INTERVAL: Duration = Duration::from_secs(2);

    fn look() -> Act {
        Act::Look { of: None }
    }

    fn quarantine() -> Act {
        Act::Change { device: "plc".to_owned(), mode: Mode::Quarantine }
    }

    fn done() -> Input {
        Input::Done("plc: enforce -> quarantine".to_owned())
    }

    #[test]
    fn a_look_that_finds_no_room_is_due_again() {
        let (jobs, to_do) = mpsc::sync_channel(1);
        let now = Instant::now();
        let mut asked = Asked::new(jobs, INTERVAL, now);
        assert!(asked.is_due(now));
        assert!(asked.give(Act::Explain { id: "5f0c2b9a41d84c6e-1".to_owned() }, now));
        assert!(!asked.give(look(), now), "there is no room");
        assert!(!asked.is_due(now) && asked.is_due(now + INTERVAL));
        to_do.try_recv().expect("what was given first");
        assert!(asked.give(look(), now + INTERVAL));
        assert!(!asked.is_due(now + 9 * INTERVAL), "while the worker looks nothing is due");
        asked.heard(&Input::Failed("no agent".to_owned()), now + 9 * INTERVAL);
        assert!(!asked.is_due(now + 9 * INTERVAL) && asked.is_due(now + 10 * INTERVAL));
    }

    #[test]
    fn changes_are_waited_for_at_the_end() {
        let (jobs, _to_do) = mpsc::sync_channel(4);
        let (answers, inputs) = mpsc::channel();
        let now = Instant::now();
        let mut asked = Asked::new(jobs, INTERVAL, now);
        let stop = AtomicBool::new(false);
        asked.wait(&inputs, 1000 * INTERVAL, &stop);
        assert_eq!(asked.became().count(), 0, "nothing is under way");
        assert!(asked.give(quarantine(), now) && asked.give(Act::Release { device: "hmi".to_owned() }, now));
        for input in [Input::Failed("slow".to_owned()), done(), Input::Said("no record".to_owned()), done()] {
            answers.send(input).expect("it is read");
        }
        asked.wait(&inputs, 1000 * INTERVAL, &stop);
        assert_eq!((asked.changes(), asked.became().count()), (0, 2));
        // Nobody waits for ever: not for an agent that is silent, a worker that is gone, or against somebody's will.
        assert!(asked.give(quarantine(), now));
        asked.wait(&inputs, Duration::ZERO, &stop);
        stop.store(true, Ordering::Relaxed);
        asked.wait(&inputs, 1000 * INTERVAL, &stop);
        stop.store(false, Ordering::Relaxed);
        drop(answers);
        asked.wait(&inputs, 1000 * INTERVAL, &stop);
        assert_eq!((asked.changes(), asked.became().count()), (1, 2));
        for _ in 0..LAST {
            asked.heard(&done(), now);
        }
        assert_eq!(asked.became().count(), LAST);
    }

    #[test]
    fn a_change_that_finds_no_room_is_not_waited_for() {
        let (jobs, _to_do) = mpsc::sync_channel(1);
        let now = Instant::now();
        let mut asked = Asked::new(jobs, INTERVAL, now);
        assert!(asked.give(look(), now));
        assert!(!asked.give(quarantine(), now));
        assert_eq!(asked.changes(), 0);
    }
}
