//! What is left to do once the first policy is enforced: it is kept, the trail is told, and the configured files are taken
//! over if they have changed while no agent ran.

use super::{
    agent::Agent,
    changes::Wanted,
    first::Then,
    policies::{Origin, one_line, whole},
    summary,
};
use crate::{
    files::read_policy,
    store::{LAST_GOOD, Pointer, Record, StoreError, Who, audit::Action, digest},
};

impl Agent {
    /// What is left to do once the first policy is enforced: writes it down, and takes over configured files that have
    /// changed while no agent ran.
    pub(super) fn begin_with(&mut self, then: Then) {
        let by = Who::agent("start");
        match then {
            // What fails is a warning already.
            Then::Keep => drop(self.keep_first(&by)),
            Then::Go => {}
        }
        self.did(Action::Start, "start", Some(self.pointer.current.to_string()), None);
        self.take_over_files(&by);
    }

    /// Keeps the first policy of all. Enforcement does not depend on it, and it is tried again before the next change.
    pub(super) fn keep_first(&mut self, by: &Who) -> Result<(), StoreError> {
        let kept: Vec<_> = self.in_force.layers.iter().map(|layer| layer.kept()).collect();
        let configured = match self.in_force.origin {
            Origin::Files => kept.first().map(|layer| digest(&layer.files)),
            Origin::Pushed => None,
        };
        let ended = self.store.next_number(&self.pointer).and_then(|number| {
            let record = Record {
                number,
                revision: self.revision(),
                at: jiff::Timestamp::now().to_string(),
                by: by.clone(),
                origin: self.in_force.origin.name().to_owned(),
                from: self.in_force.from.clone(),
                reason: None,
                signed: None,
                changes: summary::changes(None, (&self.in_force.layers, &self.in_force.policy)),
                before: None,
                waits: false,
                accepted: self.pointer.accepted.clone(),
                layers: kept,
            };
            self.store.keep(&record, &self.in_force.layers)?;
            let taken_over = configured.as_ref().map(|_| number);
            let pointer = self.pointer.forward(number).for_good(record.at.clone());
            let pointer = Pointer { configured, taken_over, ..pointer };
            self.store.point(&pointer)?;
            self.store.remove(LAST_GOOD)?;
            Ok((pointer, record))
        });
        match ended {
            Ok((pointer, record)) => {
                self.pointer = pointer;
                self.calendar.made(&record);
                self.warnings.remove("store");
                Ok(())
            }
            Err(error) => {
                let note = format!("the policy in force is not kept for the next start: {error}");
                tracing::error!("{note}");
                self.warnings.insert("store", note);
                Err(error)
            }
        }
    }

    /// Enforces the configured files if they are others than those taken over last.
    fn take_over_files(&mut self, by: &Who) {
        let files = match read_policy(&self.config.policy) {
            Ok(files) => whole(files),
            Err(error) => return self.files_unusable(&error.to_string()),
        };
        let digest = files.first().map(|layer| digest(&layer.kept().files));
        // A pointer that could not be kept knows of no files.
        if digest == self.pointer.configured || self.pointer.current == 0 {
            return;
        }
        if self.pointer.pending.is_some() {
            tracing::warn!(
                "the configured files have changed, and wait until the change before is confirmed"
            );
            return;
        }
        match self.apply(Action::Apply, Wanted::default(), by) {
            Ok(applied) => {
                if !applied.warnings.is_empty() {
                    tracing::warn!("{}", applied.warnings);
                }
                tracing::info!(revision = applied.revision, "the configured files have changed; applied");
            }
            Err(failure) => self.files_unusable(&failure.message),
        }
    }

    fn files_unusable(&mut self, why: &str) {
        tracing::error!("the policy files cannot be used; the last good policy enforces\n{why}");
        // The attempt to apply them has given its reason already.
        if self.unusable_files.is_none() {
            let how = format!("the last good policy enforces (revision {})", self.pointer.current);
            self.note_files(&how, one_line(why));
        }
    }
}
