//! What the agent says about revisions: the list, the change that waits, and how the configured files stand to them.

use std::time::Duration;

use super::{
    agent::{Agent, world},
    policies::{Origin, whole},
};
use crate::{
    config::duration::spell,
    control::{Failure, FilesStatus, RevisionList, RevisionState, RevisionStatus},
    files::read_policy,
    store::{Pointer, Record, digest},
};

impl Agent {
    pub(super) fn revisions(&self) -> Result<RevisionList, Failure> {
        let found = self.store.revisions().map_err(world)?;
        // What never came in force cannot be returned to.
        let kept = found.records.into_values().rev().filter(|record| record.number <= self.pointer.last);
        Ok(RevisionList {
            revisions: kept.map(|record| status(record, &self.pointer)).collect(),
            broken: found.broken.iter().map(ToString::to_string).collect(),
        })
    }

    /// The warning that a change is undone unless somebody confirms it.
    pub(super) fn unconfirmed(&self) -> Option<String> {
        let pending = self.pending_status()?;
        let left = spell(Duration::from_secs(pending.seconds_left));
        Some(format!(
            "UNCONFIRMED: revision {} by {} is undone in {left}, and revision {} comes back\n\
             `bulkhead confirm` keeps it, `bulkhead rollback` returns now",
            pending.number, pending.by, pending.back_to
        ))
    }

    /// How the configured files stand to what is in force.
    pub(super) fn files_status(&self) -> FilesStatus {
        let files = match read_policy(&self.config.policy) {
            Ok(files) => whole(files),
            Err(error) => return FilesStatus::Unreadable(error.to_string()),
        };
        if files == self.in_force.layers {
            return FilesStatus::InForce;
        }
        let configured = files.first().map(|layer| digest(&layer.kept().files));
        let taken_over = configured == self.pointer.configured;
        if let [_, .., top] = &self.in_force.layers[..]
            && files.first().is_some_and(|layer| layer.files == top.files)
        {
            let devices = top.only.join(", ");
            return FilesStatus::Differ(format!(
                "they are in force for {devices} only: `bulkhead apply` enforces them for all"
            ));
        }
        if let [base, later @ ..] = &self.in_force.layers[..]
            && files.first().is_some_and(|layer| layer.files == base.files)
        {
            let devices: Vec<&str> = later.iter().flat_map(|layer| &layer.only).map(String::as_str).collect();
            return FilesStatus::Differ(format!(
                "they are in force but for {}, of which something else is: `bulkhead revisions` and `bulkhead rollout` tell why",
                devices.join(", ")
            ));
        }
        FilesStatus::Differ(match (self.in_force.origin, taken_over) {
            (Origin::Pushed, _) => format!(
                "what is in force was pushed from `{}`: `bulkhead apply` goes back to the configured files",
                self.in_force.from
            ),
            (Origin::Files, true) => {
                "they were applied and rolled back: mend them, or `bulkhead apply` enforces them again"
                    .to_owned()
            }
            (Origin::Files, false) => {
                "they have changed since: `bulkhead check` judges them, `bulkhead apply` enforces them"
                    .to_owned()
            }
        })
    }
}

fn status(record: Record, pointer: &Pointer) -> RevisionStatus {
    let state = if pointer.current == record.number {
        if pointer.pending.is_some() { RevisionState::Unconfirmed } else { RevisionState::Current }
    } else if pointer.rolled_back.contains(&record.number) {
        RevisionState::RolledBack
    } else {
        RevisionState::Kept
    };
    let files = record.layers.last().map(|layer| layer.files.iter().map(|file| file.path.clone()).collect());
    RevisionStatus {
        number: record.number,
        revision: record.revision,
        state,
        at: record.at,
        by: record.by.to_string(),
        origin: record.origin,
        from: record.from,
        reason: record.reason,
        signed: record.signed,
        changes: record.changes,
        before: record.before,
        only: record.layers.last().map(|layer| layer.only.clone()).unwrap_or_default(),
        files: files.unwrap_or_default(),
    }
}
