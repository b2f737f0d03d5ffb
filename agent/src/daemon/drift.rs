//! Does the kernel still hold what the agent put there: looked at on a schedule and when somebody asks, told in `status`,
//! put right where the configuration says so.

use std::time::{Duration, Instant};

use super::agent::{Agent, world};
use crate::{
    control::{DriftStatus, Failure},
    dataplane::{DataplaneError, Drift},
    store::audit::Action,
};

/// What is remembered of the last look.
#[derive(Debug)]
pub(super) struct Watch {
    looked: Instant,
    status: DriftStatus,
    /// What was still different after the tables were written anew.
    stays: Option<String>,
}

impl Watch {
    /// Right after the start everything was written.
    pub(super) fn new() -> Self {
        Self { looked: Instant::now(), status: DriftStatus::default(), stays: None }
    }
}

impl Agent {
    /// Looks, if it is time.
    pub(super) fn look_for_drift(&mut self) {
        if self.config.drift.every > Duration::ZERO
            && self.drift.looked.elapsed() >= self.config.drift.every
            && let Err(error) = self.compare()
        {
            tracing::error!("whether the kernel's tables were changed is not known: {error}");
        }
    }

    /// Looks at once.
    pub(super) fn drift_now(&mut self) -> Result<DriftStatus, Failure> {
        self.compare().map_err(world)
    }

    /// What was found last.
    pub(super) fn drift_status(&self) -> DriftStatus {
        self.drift.status.clone()
    }

    fn compare(&mut self) -> Result<DriftStatus, DataplaneError> {
        let begun = Instant::now();
        let found = self.differs()?;
        let missing = self.nics.list.iter().filter(|nic| nic.attached.is_none());
        let missing = missing
            .map(|nic| format!("{}: nothing is enforced on it ({})", nic.config.name, nic.state().name()));
        self.drift.looked = Instant::now();
        let status = &mut self.drift.status;
        status.checked = jiff::Timestamp::now().to_string();
        status.took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        status.found = found.iter().map(ToString::to_string).chain(missing).collect();
        let Some(words) = words(&found, |_| true) else {
            self.drift.stays = None;
            self.warnings.remove("drift");
            return Ok(self.drift_status());
        };
        if self.warnings.get("drift").is_none_or(|said| !said.contains(&words)) {
            tracing::error!("the kernel does not hold what the agent put there: {words}");
        }
        // What writing did not mend it mends no better the next time.
        let written = words_of_tables(&found).filter(|words| self.drift.stays.as_ref() != Some(words));
        let left = match written {
            Some(written) if self.config.drift.repair => self.repair(&written)?,
            Some(_) | None => found,
        };
        self.warn(&left);
        Ok(self.drift_status())
    }

    /// What is not as the agent left it. A NIC on which nothing is enforced is looked after elsewhere.
    fn differs(&mut self) -> Result<Vec<Drift>, DataplaneError> {
        let attached = self.nics.list.iter().filter(|nic| nic.attached.is_some());
        let links: Vec<String> = attached.map(|nic| nic.config.name.clone()).collect();
        self.dataplane.drift(&links)
    }

    /// Writes everything anew, and looks again: what still differs.
    fn repair(&mut self, written: &str) -> Result<Vec<Drift>, DataplaneError> {
        self.dataplane.restore()?;
        if let Some(tables) = self.dataplane.applied().map(|applied| applied.tables.clone()) {
            // Both slots: what was left in the other one is as little to be trusted.
            for _ in 0..2 {
                self.dataplane.distrust();
                self.enforce(tables.clone())?;
            }
            self.learn();
        }
        let left = self.differs()?;
        self.drift.status.repaired += 1;
        self.drift.stays = words_of_tables(&left);
        let message = match &self.drift.stays {
            None => format!("repaired: {written}"),
            Some(stays) => format!("written anew: {written}; still different: {stays}"),
        };
        tracing::warn!("{message}");
        self.did(Action::Repair, "drift", None, Some(message));
        Ok(left)
    }

    /// Keeps a warning of what differs, with what to do about it.
    fn warn(&mut self, left: &[Drift]) {
        let Some(words) = words(left, |_| true) else {
            self.warnings.remove("drift");
            return;
        };
        let how = if left.iter().all(|drift| drift.is_written) && !self.config.drift.repair {
            "a restart of the agent writes its tables anew; `repair = true` in `[drift]` does so at once"
        } else {
            "`bulkhead detach`, and a new start, make everything anew; nothing is enforced between the two"
        };
        let note = format!("the kernel does not hold what the agent put there: {words}\n{how}");
        self.warnings.insert("drift", note);
    }
}

/// The findings of a kind in one line.
fn words(found: &[Drift], kind: impl Fn(&&Drift) -> bool) -> Option<String> {
    let words: Vec<String> = found.iter().filter(kind).map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// Those that writing the tables anew can mend.
fn words_of_tables(found: &[Drift]) -> Option<String> {
    words(found, |drift| drift.is_written)
}
