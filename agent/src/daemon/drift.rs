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
}

impl Watch {
    /// Right after the start everything was written.
    pub(super) fn new() -> Self {
        Self { looked: Instant::now(), status: DriftStatus::default() }
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
        // What the look at the interfaces mends by itself is none.
        let mut found = self.dataplane.drift()?;
        let missing = self.nics.list.iter().filter(|nic| nic.attached.is_none());
        found.extend(missing.map(|nic| Drift {
            what: nic.config.name.clone(),
            how: format!("nothing is enforced on it ({})", nic.state().name()),
        }));
        self.drift.looked = Instant::now();
        let status = &mut self.drift.status;
        status.checked = jiff::Timestamp::now().to_string();
        status.took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        status.found = found.iter().map(ToString::to_string).collect();
        if found.is_empty() {
            self.warnings.remove("drift");
            return Ok(self.drift_status());
        }
        let words = self.drift.status.found.join("; ");
        if self.warnings.get("drift").is_none_or(|said| !said.contains(&words)) {
            tracing::error!("the kernel does not hold what the agent put there: {words}");
        }
        if self.config.drift.repair {
            self.repair(&words)?;
        } else {
            let note = format!(
                "the kernel does not hold what the agent put there: {words}\n\
                 a restart of the agent writes its tables anew; `repair = true` in `[drift]` does so at once"
            );
            self.warnings.insert("drift", note);
        }
        Ok(self.drift_status())
    }

    /// Writes everything anew, and looks again.
    fn repair(&mut self, words: &str) -> Result<(), DataplaneError> {
        self.dataplane.restore()?;
        if let Some(tables) = self.dataplane.applied().map(|applied| applied.tables.clone()) {
            // Both slots: what was left in the other one is as little to be trusted.
            for _ in 0..2 {
                self.dataplane.distrust();
                let (moment, look) = self.moment(&tables);
                let segments = self.config.segment_ids();
                self.dataplane.apply(tables.clone(), &self.nics.addresses, &segments, &moment)?;
                self.calendar.keep(look);
            }
            self.reporter.learn(&self.dataplane, &self.nics, &self.in_force.policy);
        }
        let left: Vec<String> = self.dataplane.drift()?.iter().map(ToString::to_string).collect();
        self.drift.status.repaired += 1;
        let message = match &left[..] {
            [] => {
                self.warnings.remove("drift");
                format!("repaired: {words}")
            }
            left => {
                let note = format!(
                    "the kernel does not hold what the agent put there, and that cannot be repaired: {}\n\
                     `bulkhead detach`, and a new start, make everything anew; nothing is enforced between the two",
                    left.join("; ")
                );
                self.warnings.insert("drift", note.clone());
                note
            }
        };
        tracing::warn!("{message}");
        self.did(Action::Repair, "drift", None, Some(message));
        Ok(())
    }
}
