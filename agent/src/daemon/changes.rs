//! How a policy comes in force: written down, kept whole, flipped, pointed at, and only then acknowledged.
//!
//! Each step leaves the old policy whole: what fails before the flip changes nothing, and what fails after it is taken
//! back. After a power cut at any moment the revision that was acknowledged last enforces.

use std::time::{Duration, Instant};

use super::{
    agent::{Agent, InForce, refused, user, world},
    clock::clocks,
    ourselves::not_ourselves,
    policies::{self, Candidate, Gate, Origin, Passed, Refused, Took, leave},
    summary,
    trail::{Act, plain, sayable},
};
use crate::{
    config::duration::{show, spell},
    control::{Applied, Failure, PendingStatus},
    policy::SourceFile,
    signing::{Accepted, Signed},
    store::{Deadline, Pending, Pointer, Record, StoreError, TextLayer, Who, audit::Action, digest},
};

/// The times that a confirmation may take.
const CONFIRM: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(7 * 24 * 60 * 60);

/// Longest path that is written down, bytes: `PATH_MAX`.
pub(super) const PATH_BYTES: usize = 4096;
/// Longest name of a device that is looked for, bytes.
const NAME_BYTES: usize = 256;

/// A policy that somebody wants in force: by default the configured files, for all devices.
#[derive(Default)]
pub(super) struct Wanted {
    /// The files that came along; the configured ones without.
    pub(super) files: Option<Vec<SourceFile>>,
    /// Where they were read.
    pub(super) from: Option<String>,
    /// For which devices alone; empty for all.
    pub(super) only: Vec<String>,
    pub(super) confirm_within: Option<Duration>,
    /// Whether a signed set may be older than one that was in force.
    pub(super) allow_older: bool,
    /// For how long those are watched that it touches; as configured without.
    pub(super) watch: Option<Duration>,
    pub(super) reason: Option<String>,
}

/// A candidate with what the list of revisions says about it.
pub(super) struct Change {
    pub(super) candidate: Candidate,
    pub(super) origin: Origin,
    pub(super) from: String,
    pub(super) confirm_within: Option<Duration>,
    pub(super) signed: Option<Signed>,
    pub(super) accepted: Option<Accepted>,
    pub(super) reason: Option<String>,
    /// Whether the agent takes something back: the configured files stay taken over, and what waits for its confirmation goes on waiting.
    pub(super) is_return: bool,
}

impl Agent {
    /// Brings a policy in force.
    pub(super) fn apply(&mut self, action: Action, wanted: Wanted, by: &Who) -> Result<Applied, Failure> {
        let from = match (&wanted.files, &wanted.from) {
            (None, _) => self.config.policy.display().to_string(),
            (Some(_), Some(from)) => from.clone(),
            (Some(_), None) => "-".to_owned(),
        };
        let target = match &wanted.only[..] {
            [] => from.clone(),
            only => format!("{from} (only {})", only.join(", ")),
        };
        let mut act = self.act(action, by, Some(target), wanted.reason.clone());
        let watch = wanted.watch;
        let ended = self
            .prepare_change(wanted, from)
            .and_then(|change| self.take_over_watched(&mut act, change, by, watch));
        self.conclude(act, ended).map(|applied| self.shadow_after(applied))
    }

    /// Whether a change waits for its confirmation: then there is no other.
    fn nothing_waits(&self) -> Result<(), Failure> {
        let Some(pending) = &self.pointer.pending else { return Ok(()) };
        let Pending { number, back_to, .. } = pending;
        if self.return_failed.is_some() {
            return Err(user(format!(
                "revision {number} was not confirmed in time, and revision {back_to} cannot be brought back; until one of them is no other is applied\n\
                 hint: `bulkhead confirm` keeps it, `bulkhead rollback REV` returns to one that `bulkhead revisions` lists"
            )));
        }
        let left = spell(pending.deadline.left(&clocks()).unwrap_or_default());
        Err(user(format!(
            "revision {number} is not confirmed yet and is undone in {left}; until then no other is applied\n\
             hint: `bulkhead confirm` keeps it, `bulkhead rollback` returns to revision {back_to} now"
        )))
    }

    fn prepare_change(&mut self, wanted: Wanted, from: String) -> Result<Change, Failure> {
        let Wanted { files, from: asked_from, only, confirm_within, allow_older, watch, reason } = wanted;
        sayable(reason.as_deref())?;
        plain("the path the policy comes from", asked_from.as_deref().unwrap_or_default(), PATH_BYTES)?;
        for device in &only {
            plain("the name of a device", device, NAME_BYTES)?;
        }
        for file in files.iter().flatten() {
            plain("the path of a file", &file.path, PATH_BYTES)?;
        }
        self.nothing_waits()?;
        if let Some(time) = confirm_within.filter(|time| !CONFIRM.contains(time)) {
            return Err(user(format!(
                "a confirmation cannot be awaited for {}\nhint: name a time from {} to {}",
                spell(time),
                show(*CONFIRM.start()),
                show(*CONFIRM.end())
            )));
        }
        if let Some(time) = watch.filter(|time| *time > *CONFIRM.end()) {
            return Err(user(format!(
                "devices cannot be watched for {}\nhint: {} at most",
                spell(time),
                show(*CONFIRM.end())
            )));
        }
        let begun = Instant::now();
        let (read, origin) = match files {
            Some(files) => (policies::from_pushed(files, &self.gate(allow_older)), Origin::Pushed),
            None => (policies::from_path(&self.config.policy, &self.gate(allow_older)), Origin::Files),
        };
        let read_ms = millis(begun.elapsed());
        let candidate = read.and_then(|Passed { files, signed, accepted, notes }| {
            let layers = policies::whole(files);
            let (layers, held) =
                if only.is_empty() { self.held_back(layers) } else { (layers, String::new()) };
            let mut candidate = match &only[..] {
                [] => self.maker.prepare(layers, &self.overrides, &self.limits)?,
                [..] => self.for_some(layers, only)?,
            };
            candidate.doubts.note(&notes);
            candidate.doubts.note(&held);
            Ok((not_ourselves(candidate)?, signed, accepted))
        });
        let candidate = candidate.inspect_err(|error| {
            if origin == Origin::Files && error.is_of_the_files() {
                let how = format!("revision {} goes on enforcing", self.revision());
                self.note_files(&how, error.brief());
            }
        });
        let (candidate, signed, mut accepted) =
            candidate.map_err(|error| refused(&error, &self.revision()))?;
        let Took { resolve, compile } = self.maker.took;
        tracing::info!(
            read_ms,
            resolve_ms = millis(resolve),
            compile_ms = millis(compile),
            "policy compiled"
        );
        // The set in force may be an older one, after a rollback; that it is applied again makes no newer one forgotten.
        let newest = self.pointer.accepted();
        accepted =
            accepted.filter(|set| allow_older || newest.is_none_or(|newest| newest.number <= set.number));
        Ok(Change { candidate, origin, from, confirm_within, signed, accepted, reason, is_return: false })
    }

    /// What decides whether files may become a policy.
    pub(super) fn gate(&self, allow_older: bool) -> Gate<'_> {
        let record = self.store.record(self.pointer.current).ok().flatten();
        let signed = record.filter(|record| record.signed.is_some());
        let in_force = signed.and_then(|record| Some(record.accepted?.read().digest));
        Gate { signing: &self.config.signing, accepted: self.pointer.accepted(), in_force, allow_older }
    }

    /// A policy for some devices, on top of what is in force for the others.
    fn for_some(&mut self, layers: Vec<TextLayer>, only: Vec<String>) -> Result<Candidate, Refused> {
        // What is wrong with the whole policy is told first.
        let whole = self.maker.prepare(layers, &self.overrides, &self.limits)?;
        let Some(new) = whole.layers.into_iter().next() else { return Err(Refused::NoFiles) };
        let new = TextLayer { only, ..new };
        let layers = policies::on_top(&self.in_force, &whole.policy, new)?;
        self.maker.prepare(layers, &self.overrides, &self.limits)
    }

    pub(super) fn take_over(&mut self, act: &mut Act, change: Change, by: &Who) -> Result<Applied, Failure> {
        let Change { mut candidate, origin, from, confirm_within, signed, accepted, reason, is_return } =
            change;
        let doubts = std::mem::take(&mut candidate.doubts);
        let begun = Instant::now();
        let kept: Vec<_> = candidate.layers.iter().map(|layer| layer.kept()).collect();
        let is_of_files = origin == Origin::Files && !is_return;
        let configured = match origin {
            Origin::Files if !is_return => kept.last().map(|layer| digest(&layer.files)),
            Origin::Files | Origin::Pushed => self.pointer.configured.clone(),
        };
        let revision = candidate.tables.revision.to_string();
        self.begin(act, revision.clone())?;
        self.keep_what_comes_back(confirm_within)?;
        // Applied again: no revision of its own, and nothing that could be confirmed. One that was made at a time that has not
        // come is made anew.
        let again = self.pointer.current != 0
            && candidate.layers == self.in_force.layers
            && !self.calendar.is_wrong(jiff::Timestamp::now());
        let mut made = None;
        let mut taken_over = self.pointer.current;
        let mut pointer = self.pointer.clone();
        pointer.configured = configured;
        if let Some(accepted) = accepted {
            pointer.accept(accepted);
        }
        if !again {
            let number = self.store.next_number(&self.pointer).map_err(kept_failed)?;
            let old = Some((&self.in_force.layers[..], &self.in_force.policy));
            let before = Some(self.pointer.current).filter(|number| *number != 0);
            let record = Record {
                number,
                revision,
                at: jiff::Timestamp::now().to_string(),
                by: by.clone(),
                origin: origin.name().to_owned(),
                from: from.clone(),
                reason,
                signed: signed.as_ref().map(ToString::to_string),
                changes: summary::changes(old, (&candidate.layers, &candidate.policy)),
                before,
                waits: confirm_within.is_some() || (is_return && self.pointer.pending.is_some()),
                accepted: pointer.accepted.clone(),
                layers: kept,
            };
            self.store.keep(&record, &candidate.layers).map_err(|error| {
                self.forget(number);
                // What was written of it takes room that is missing already.
                self.tidy_up();
                kept_failed(error)
            })?;
            let pending = confirm_within.zip(before).map(|(time, back_to)| Pending {
                number,
                back_to,
                deadline: Deadline::after(time, &clocks()),
                by: by.clone(),
                accepted: self.pointer.accepted.clone(),
            });
            let pending = match (is_return, &self.pointer.pending) {
                (true, Some(waits)) => Some(Pending { number, ..waits.clone() }),
                (true, None) | (false, _) => pending,
            };
            pointer = pointer.forward(number);
            taken_over = number;
            pointer = match pending {
                Some(pending) => Pointer { pending: Some(pending), ..pointer },
                None => pointer.for_good(record.at.clone()),
            };
            // A way back is none that could be forgotten: until it is in force the change that waits is the one before.
            if !is_return {
                self.arm(&pointer).inspect_err(|_| self.forget(number))?;
            }
            made = Some(record);
        }
        if is_of_files {
            pointer.taken_over = Some(taken_over);
        }
        let keep_ms = millis(begun.elapsed());
        let former = self.former.take();
        let ended = self.flip_and_point(candidate, origin, from, pointer);
        if is_return || ended.is_err() {
            // What comes back without a confirmation is what it was.
            self.former = former;
        }
        let mut applied = ended.inspect_err(|_| {
            // What is left of the attempt.
            self.tidy_up();
        })?;
        if let Some(record) = made {
            self.calendar.made(&record);
        }
        if is_of_files {
            self.unusable_files = None;
            self.warnings.remove("policy");
        }
        applied.number = Some(self.pointer.current);
        let change_ms = millis(begun.elapsed());
        applied.warnings = doubts.told(&self.in_force.policy);
        let told_ms = millis(begun.elapsed()) - change_ms;
        applied.pending = self.pending_status();
        if confirm_within.is_some() && again {
            applied.notes.push("there is nothing to confirm: this policy was in force before".to_owned());
        }
        self.tidy_up();
        tracing::info!(keep_ms, change_ms, told_ms, "policy kept");
        Ok(applied)
    }

    /// A change can only be undone if what was before it is kept: the first policy of all may not be, when there was no
    /// room for it at the start.
    fn keep_what_comes_back(&mut self, confirm_within: Option<Duration>) -> Result<(), Failure> {
        if self.pointer.current != 0 {
            return Ok(());
        }
        match self.keep_first(&Who::agent("start")) {
            Err(error) if confirm_within.is_some() => {
                let mut failure = kept_failed(error);
                let why = "because the policy in force, which would come back without a confirmation,";
                failure.message = failure.message.replacen("because it", why, 1);
                Err(failure)
            }
            // Whoever asks for no way back gets the change if that can be kept.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Puts the unconfirmed change on the disk before it is in force: an agent that is killed right after the flip must
    /// not forget it.
    fn arm(&self, new: &Pointer) -> Result<(), Failure> {
        let Some(pending) = &new.pending else { return Ok(()) };
        let mut armed = self.pointer.clone();
        armed.pending = Some(pending.clone());
        self.store.point(&armed).map_err(kept_failed)
    }

    /// The flip, and the pointer that makes it last. When either fails the old policy is in force.
    pub(super) fn flip_and_point(
        &mut self,
        candidate: Candidate,
        origin: Origin,
        from: String,
        pointer: Pointer,
    ) -> Result<Applied, Failure> {
        // Everything that takes room on the disk is there before the flip; a rename is left for after it.
        let prepared = self.store.prepare(&pointer).map_err(kept_failed)?;
        let (applied, old) = self.flip(candidate, origin, from).inspect_err(|_| self.point_back())?;
        if let Err(error) = self.store.commit(prepared) {
            let back = self.flip_back(old);
            self.point_back();
            back?;
            return Err(kept_failed(error));
        }
        self.pointer = pointer;
        self.warnings.remove("store");
        self.remember(old);
        Ok(applied)
    }

    /// The same for a change that nobody wants any more: it ends although the disk says no, and once more at the next
    /// start.
    pub(super) fn flip_anyway(
        &mut self,
        candidate: Candidate,
        origin: Origin,
        from: String,
        pointer: Pointer,
    ) -> Result<Applied, Failure> {
        let (applied, old) = self.flip(candidate, origin, from)?;
        self.pointer = pointer;
        self.remember(old);
        match self.store.point(&self.pointer) {
            Ok(()) => drop(self.warnings.remove("store")),
            Err(error) => {
                let note = format!("which revision is in force could not be written down: {error}");
                tracing::error!("{note}");
                self.warnings.insert("store", note);
            }
        }
        Ok(applied)
    }

    /// Enforces a candidate; on failure the old policy goes on. Returns what was in force before.
    pub(super) fn flip(
        &mut self,
        candidate: Candidate,
        origin: Origin,
        from: String,
    ) -> Result<(Applied, InForce), Failure> {
        let Candidate { layers, policy, tables, doubts: _ } = candidate;
        let before = self.dataplane.applied().map(|applied| applied.tables.clone());
        let changed = tables.revision != before.as_ref().map(|tables| tables.revision).unwrap_or_default();
        let begun = Instant::now();
        let applied = self.enforce(tables).map_err(world)?;
        let (revision, generation) = (applied.tables.revision.to_string(), applied.generation);
        let (load_ms, flip_ms) = (millis(begun.elapsed()), millis(applied.flip));
        let released = policies::released(&self.in_force.policy, &policy);
        let mut notes = Vec::new();
        if policy.devices.is_empty() {
            notes.push("the policy declares no device: nothing is enforced for any device".to_owned());
        }
        let old = std::mem::replace(&mut self.in_force, InForce { layers, policy, origin, from });
        if let Some(why) = self.unusable_files.clone() {
            // They were tried before, and are no better for that.
            self.note_files(&format!("revision {revision} enforces"), why);
        }
        self.learn();
        tracing::info!(%revision, generation, changed, load_ms, flip_ms, "policy applied");
        if !released.is_empty() {
            tracing::warn!(devices = released.join(", "), "no longer enforced");
        }
        leave(before);
        let applied = Applied { revision, generation, changed, released, notes, ..Applied::default() };
        Ok((applied, old))
    }

    /// Keeps the warning that the configured files cannot be used: what enforces in their place, and why they do not.
    pub(super) fn note_files(&mut self, how: &str, why: String) {
        self.warnings.insert("policy", format!("the policy files cannot be used, {how}: {why}"));
        self.unusable_files = Some(why);
    }

    /// What cannot be kept is not in force: an agent that starts again would not know of it.
    fn flip_back(&mut self, old: InForce) -> Result<(), Failure> {
        let InForce { layers, policy: _, origin, from } = old;
        let back = self
            .maker
            .prepare(layers, &self.overrides, &self.limits)
            .map_err(|error| error.to_string())
            .and_then(|candidate| self.flip(candidate, origin, from).map_err(|failure| failure.message));
        let Err(error) = back else { return Ok(()) };
        let note = format!(
            "revision {} enforces and is not kept: a start of the agent returns to the one before: {error}",
            self.revision()
        );
        tracing::error!("{note}");
        self.warnings.insert("store", note.clone());
        Err(world(note))
    }

    /// Puts the pointer of what is in force on the disk again, after an attempt that may have left another.
    fn point_back(&self) {
        if let Err(error) = self.store.point(&self.pointer) {
            tracing::error!("{error}");
        }
    }

    fn forget(&self, number: u64) {
        if let Err(error) = self.store.forget(number) {
            tracing::warn!("what was written of revision {number} stays until the next change: {error}");
        }
    }

    /// Removes revisions that are too old.
    pub(super) fn tidy_up(&self) {
        let most = usize::try_from(self.config.limits.revisions).unwrap_or(usize::MAX);
        if let Err(error) =
            self.store.prune(most, &self.pointer, &self.watcher.kept.needed(self.pointer.current))
        {
            tracing::warn!("old revisions stay until the next change: {error}");
        }
    }

    /// The change that waits, with the time it has.
    pub(super) fn pending_status(&self) -> Option<PendingStatus> {
        let Pending { number, back_to, deadline, by, accepted: _ } = self.pointer.pending.as_ref()?;
        Some(PendingStatus {
            number: *number,
            back_to: *back_to,
            seconds_left: deadline.left(&clocks()).unwrap_or_default().as_secs(),
            until: deadline.until.to_string(),
            by: by.to_string(),
        })
    }
}

/// The disk said no.
pub(super) fn kept_failed(error: StoreError) -> Failure {
    world(format!("nothing was changed, because it could not be kept for the next start: {}", error.caused()))
}

/// Milliseconds with three decimals, for the log.
pub(super) fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}
