//! The policy that an agent starts with: the one in force when the last agent ended, and only then the files.
//!
//! A rollback is not undone by a reboot: the configured files are taken over at start only if they are others than those
//! taken over last. Files that cannot be used change nothing. A change that waits for its confirmation goes on waiting,
//! or is undone before the first packet when its time is over.

use std::collections::BTreeMap;

use super::{
    agent::{Agent, StartError},
    changes::Wanted,
    clock::clocks,
    policies::{self, Candidate, Gate, Maker, Origin, Passed, Refused, whole},
    summary,
};
use crate::{
    compile::Limits,
    config::Config,
    files::read_policy,
    policy::SourceFile,
    store::{
        LAST_GOOD, LastGood, Overrides, Pending, Pointer, Record, Revisions, Store, StoreError, Who,
        audit::Action, digest,
    },
};

/// Problems by subject.
type Warnings = BTreeMap<&'static str, String>;

/// What the agent begins with.
pub(super) struct First {
    pub(super) candidate: Candidate,
    pub(super) origin: Origin,
    pub(super) from: String,
    pub(super) pointer: Pointer,
    pub(super) then: Then,
}

/// What is left to do once it is enforced.
pub(super) enum Then {
    /// It is not kept yet.
    Keep,
    /// It was kept.
    Go,
    /// It was kept, and a change was undone on the way to it.
    Undone(Pending),
}

/// What to enforce before anything else is read.
pub(super) fn first_policy(
    config: &Config,
    store: &Store,
    overrides: &Overrides,
    limits: &Limits,
    maker: &mut Maker,
    warnings: &mut Warnings,
) -> Result<First, StartError> {
    let kept = store.revisions()?;
    let pointer = match store.pointer() {
        Ok(pointer) => pointer,
        Err(error) => {
            note(warnings, format!("which revision was in force is not known any more: {error}"));
            // Without a digest the configured files are taken over next.
            let newest = kept.records.keys().last().copied();
            newest.map(|number| Pointer { current: number, last: number, ..Pointer::default() })
        }
    };
    let Some(pointer) = pointer else {
        if let Some(first) = left_by_an_older_agent(store, overrides, limits) {
            return Ok(first);
        }
        return from_files(config, overrides, limits, maker, Pointer::default());
    };
    let (pointer, undone) = settle(pointer);
    match newest_usable(store, &kept, &pointer, (overrides, limits), maker, warnings) {
        Some((record, candidate)) => {
            let damaged = record.number != pointer.current;
            let pointer = if damaged {
                Pointer { current: record.number, configured: None, pending: None, ..pointer }
            } else {
                pointer
            };
            if let Err(error) = store.point(&pointer) {
                note(warnings, format!("which revision is in force could not be written down: {error}"));
            }
            Ok(First {
                candidate,
                origin: Origin::named(&record.origin),
                from: record.from.clone(),
                pointer,
                then: undone.map_or(Then::Go, Then::Undone),
            })
        }
        None => from_files(
            config,
            overrides,
            limits,
            maker,
            Pointer { last: pointer.last, accepted: pointer.accepted, ..Pointer::default() },
        ),
    }
}

/// What has become of a change that waited.
fn settle(pointer: Pointer) -> (Pointer, Option<Pending>) {
    let Some(pending) = pointer.pending.clone() else { return (pointer, None) };
    if pending.number != pointer.current {
        // It was cut off before it came in force.
        return (Pointer { pending: None, ..pointer }, None);
    }
    match pending.deadline.carried_over(&clocks()) {
        Some(deadline) => (Pointer { pending: Some(Pending { deadline, ..pending }), ..pointer }, None),
        None => (pointer.back(pending.back_to), Some(pending)),
    }
}

/// The revision in force, or else the newest that is whole and was not taken back.
fn newest_usable<'a>(
    store: &Store,
    kept: &'a Revisions,
    pointer: &Pointer,
    (overrides, limits): (&Overrides, &Limits),
    maker: &mut Maker,
    warnings: &mut Warnings,
) -> Option<(&'a Record, Candidate)> {
    let others = kept.records.keys().rev().filter(|number| {
        **number != pointer.current && **number <= pointer.last && !pointer.rolled_back.contains(number)
    });
    let mut problem = None;
    for number in std::iter::once(&pointer.current).chain(others) {
        let usable = match kept.records.get(number) {
            None => Err(format!("its record is damaged or gone{}", named(&kept.broken))),
            Some(record) => store.texts(record).map_err(|error| error.to_string()).and_then(|layers| {
                let candidate = maker.prepare(layers, overrides, limits);
                candidate.map(|candidate| (record, candidate)).map_err(|error| error.to_string())
            }),
        };
        match usable {
            Ok(found) => {
                if let Some(problem) = problem {
                    note(warnings, format!("{problem}; revision {number} enforces instead"));
                }
                return Some(found);
            }
            Err(error) => {
                problem
                    .get_or_insert(format!("revision {number}, which was in force, cannot be used: {error}"));
            }
        }
    }
    if let Some(problem) = problem {
        note(warnings, format!("{problem}; no other is kept"));
    }
    None
}

fn named(broken: &[StoreError]) -> String {
    broken.iter().map(|error| format!(", {error}")).collect()
}

/// The only policy there is; nothing enforces without one.
fn from_files(
    config: &Config,
    overrides: &Overrides,
    limits: &Limits,
    maker: &mut Maker,
    pointer: Pointer,
) -> Result<First, StartError> {
    let gate = Gate { signing: &config.signing, accepted: pointer.accepted(), allow_older: false };
    let refused = |error: Refused| StartError::Policy(error.to_string());
    let Passed { files, signed: _, accepted, notes } =
        policies::from_path(&config.policy, &gate).map_err(refused)?;
    let mut candidate = maker.prepare(whole(files), overrides, limits).map_err(refused)?;
    candidate.doubts.note(&notes);
    let mut pointer = pointer;
    if let Some(accepted) = accepted {
        pointer.accept(accepted);
    }
    let from = config.policy.display().to_string();
    Ok(First { candidate, origin: Origin::Files, from, pointer, then: Then::Keep })
}

/// The one policy that agents kept before they kept revisions.
fn left_by_an_older_agent(store: &Store, overrides: &Overrides, limits: &Limits) -> Option<First> {
    let last: LastGood = store.load(LAST_GOOD).ok().flatten()?;
    let files = last.files.into_iter().map(|f| SourceFile { path: f.path, text: f.text }).collect();
    let candidate = policies::prepare(whole(files), overrides, limits).ok()?;
    let from = LAST_GOOD.to_owned();
    Some(First { candidate, origin: Origin::Pushed, from, pointer: Pointer::default(), then: Then::Keep })
}

fn note(warnings: &mut Warnings, note: String) {
    tracing::error!("{note}");
    warnings.insert("store", note);
}

impl Agent {
    /// What is left to do once the first policy is enforced: writes it down, and takes over configured files that have
    /// changed while no agent ran.
    pub(super) fn begin_with(&mut self, then: Then) {
        let by = Who::agent("start");
        match then {
            // What fails is a warning already.
            Then::Keep => drop(self.keep_first(&by)),
            Then::Go => {}
            Then::Undone(Pending { number, back_to, .. }) => {
                let message = format!("revision {number} was not confirmed in time");
                tracing::warn!("{message}: back to revision {back_to}");
                self.did(Action::AutoRollback, "start", Some(back_to.to_string()), Some(message));
            }
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
                layers: kept,
            };
            self.store.keep(&record, &self.in_force.layers)?;
            let pointer = Pointer { configured, ..self.pointer.forward(number) };
            self.store.point(&pointer)?;
            self.store.remove(LAST_GOOD)?;
            Ok(pointer)
        });
        match ended {
            Ok(pointer) => {
                self.pointer = pointer;
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
        let note = format!(
            "the policy files cannot be used, the last good policy enforces (revision {}): see `bulkhead check`",
            self.pointer.current
        );
        self.warnings.insert("policy", note);
    }
}
