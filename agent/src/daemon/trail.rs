//! Writes the audit trail: before a change that it begins, after it how it ended.
//!
//! A trail that cannot be written stops a change before it happens. What must never be stopped goes on all the same: a
//! quarantine, the return from an unconfirmed change, and from one that traffic suffers of; then the next entry says how many are missing.

use std::time::Instant;

use super::agent::{Agent, user, world};
use crate::{
    control::{Applied, Failure},
    store::{
        StoreError, Who,
        audit::{Action, Entry, Event, Outcome},
    },
};

/// Something on its way into the trail.
pub(super) struct Act {
    event: Event,
    /// How often it was tried before and failed.
    failed: u64,
}

impl Act {
    /// What it is.
    pub(super) fn action(&self) -> Action {
        self.event.action
    }

    /// It was tried before: the trail knows that it began.
    pub(super) fn again(&mut self, failed: u64) {
        self.failed = failed;
    }

    /// What is to be known of it besides.
    pub(super) fn tell(&mut self, message: String) {
        self.event.message = Some(message);
    }

    /// It turned out to what it is done.
    pub(super) fn aim(&mut self, target: String) {
        self.event.target = Some(target);
    }
}

impl Agent {
    /// Somebody asks for something.
    pub(super) fn act(
        &self,
        action: Action,
        by: &Who,
        target: Option<String>,
        reason: Option<String>,
    ) -> Act {
        let event = Event { target, reason, before: self.revision(), ..Event::begun(action, by.clone()) };
        Act { event, failed: 0 }
    }

    /// It is about to happen, and would lead to the revision `after`.
    pub(super) fn begin(&mut self, act: &mut Act, after: String) -> Result<(), Failure> {
        act.event.after = after;
        if act.failed > 0 {
            return Ok(());
        }
        match self.write_down(act.event.clone()) {
            Ok(entry) => act.event.began = Some(entry.seq),
            Err(_) if must_not_be_stopped(act.event.action) => {}
            Err(error) => {
                return Err(world(format!(
                    "nothing was changed, because the audit trail cannot be written: {error}"
                )));
            }
        }
        Ok(())
    }

    /// It ended so.
    pub(super) fn conclude(&mut self, act: Act, ended: Result<Applied, Failure>) -> Result<Applied, Failure> {
        let Act { mut event, failed } = act;
        event.after = self.revision();
        match ended {
            Ok(mut applied) => {
                event.result = Outcome::Ok;
                if failed > 0 {
                    event.message = Some(format!("it failed {failed} times before"));
                }
                if let Err(error) = self.write_down(event) {
                    applied.notes.push(format!("this is not in the audit trail: {error}"));
                }
                Ok(applied)
            }
            Err(failure) => {
                event.result = if failure.found { Outcome::Refused } else { Outcome::Failed };
                event.message = Some(failure.message.clone());
                // What began is told to its end; what did not could be asked for without end.
                let told = match event.began {
                    Some(_) => Some(event),
                    None => self.refusals.take(event, Instant::now()),
                };
                // What fails is a warning already.
                let _ = told.map(|event| self.write_down(event));
                Err(failure)
            }
        }
    }

    /// Writes down what was refused too often to be written down at once.
    pub(super) fn tell_of_refusals(&mut self) {
        for event in self.refusals.due(Instant::now()) {
            let _ = self.write_down(event);
        }
    }

    /// The same for all that is left, at the end.
    pub(super) fn tell_the_rest_of_refusals(&mut self) {
        for event in self.refusals.rest() {
            let _ = self.write_down(event);
        }
    }

    /// The agent did something by itself, and there was nothing to begin.
    pub(super) fn did(&mut self, action: Action, why: &str, target: Option<String>, message: Option<String>) {
        let act = self.act(action, &Who::agent(why), target, None);
        let event = Event { result: Outcome::Ok, after: self.revision(), message, ..act.event };
        // What fails is a warning already.
        let _ = self.write_down(event);
    }

    fn write_down(&mut self, event: Event) -> Result<Entry, StoreError> {
        let event = Event { missed: self.missed, ..event };
        match self.trail.append(event, jiff::Timestamp::now().to_string()) {
            Ok(entry) => {
                self.missed = 0;
                self.warnings.remove("audit");
                Ok(entry)
            }
            Err(error) => {
                self.missed += 1;
                let note = format!(
                    "the audit trail cannot be written, and policy and modes cannot be changed: {error}"
                );
                tracing::error!("{note}");
                self.warnings.insert("audit", note);
                Err(error)
            }
        }
    }
}

/// What happens although the trail cannot be written.
fn must_not_be_stopped(action: Action) -> bool {
    matches!(action, Action::Quarantine | Action::AutoRollback | Action::TrafficRollback)
}

/// Longest reason for a change, bytes.
const REASON_BYTES: usize = 512;

/// Whether a person's reason fits a log line and a terminal.
pub(super) fn sayable(reason: Option<&str>) -> Result<(), Failure> {
    plain("the reason", reason.unwrap_or_default(), REASON_BYTES)
}

/// Whether a text from outside is one bounded line that records and terminals bear.
pub(super) fn plain(what: &str, text: &str, most: usize) -> Result<(), Failure> {
    if text.len() > most {
        return Err(user(format!("{what} is {} bytes long, and {most} are the most", text.len())));
    }
    match text.chars().position(char::is_control) {
        Some(at) => Err(user(format!("{what} has a control character (character {})", at + 1))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::sayable;

    #[test]
    fn reason_is_one_bounded_line() {
        let refused = |reason: &str| sayable(Some(reason)).err().map(|failure| failure.message);
        assert!(sayable(None).is_ok());
        assert_eq!(refused("beacons to 203.0.113.9"), None);
        assert_eq!(refused(&"x".repeat(512)), None);
        assert!(refused(&"x".repeat(513)).is_some_and(|said| said.contains("513 bytes")));
        assert!(refused("a\nb").is_some_and(|said| said.contains("(character 2)")));
    }
}
