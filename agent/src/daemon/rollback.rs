//! The way back: confirmed and there is none, asked for, or taken by itself when nobody confirms in time.

use std::time::{Duration, Instant};

use super::{
    agent::{Agent, InForce, refused, user, world},
    changes::kept_failed,
    clock::clocks,
    policies::{Candidate, Origin, leave},
    trail::{Act, sayable},
    watch,
};
use crate::{
    control::{Applied, Failure},
    store::{Pending, Record, StoreError, TextLayer, Who, audit::Action},
};

/// A return that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// Hexadecimal digits that name a revision.
const PREFIX: usize = 4;

/// A revision that was in force before, whole.
pub(super) struct Former {
    record: Record,
    layers: Vec<TextLayer>,
}

/// A return that failed.
pub(super) struct FailedReturn {
    /// When it is tried again.
    again: Instant,
    /// How often it was tried.
    times: u64,
    why: String,
}

impl Agent {
    /// Keeps the change that waits.
    pub(super) fn confirm(&mut self, reason: Option<String>, by: &Who) -> Result<Applied, Failure> {
        let target = self.pointer.pending.as_ref().map(|pending| pending.number.to_string());
        let mut act = self.act(Action::Confirm, by, target, reason.clone());
        let ended = sayable(reason.as_deref()).and_then(|()| self.keep_pending(&mut act));
        self.conclude(act, ended).map(|applied| self.shadow_after(applied))
    }

    fn keep_pending(&mut self, act: &mut Act) -> Result<Applied, Failure> {
        if self.pointer.pending.is_none() {
            return Err(user("no change waits for a confirmation"));
        }
        self.begin(act, self.revision())?;
        let pointer = self.pointer.clone().for_good(jiff::Timestamp::now().to_string());
        self.store.point(&pointer).map_err(|error| {
            let mut failure = kept_failed(error);
            failure.message = failure.message.replacen("nothing was changed", "it is not confirmed", 1);
            failure
        })?;
        self.pointer = pointer;
        leave(self.former.take());
        tracing::info!(number = self.pointer.current, "confirmed");
        let generation = self.dataplane.active().map_err(world)?.generation;
        Ok(Applied {
            revision: self.revision(),
            number: Some(self.pointer.current),
            generation,
            notes: vec![format!("revision {} is confirmed", self.pointer.current)],
            ..Applied::default()
        })
    }

    /// Brings a revision back: the one named, or the one before.
    pub(super) fn rollback(
        &mut self,
        to: Option<&str>,
        reason: Option<String>,
        by: &Who,
    ) -> Result<Applied, Failure> {
        let mut act = self.act(Action::Rollback, by, to.map(str::to_owned), reason.clone());
        let ended = sayable(reason.as_deref())
            .and_then(|()| self.destination(to))
            .and_then(|record| self.return_to(&mut act, &record));
        let ended = ended.map(|mut applied| {
            self.end_watches_of_policy();
            applied.notes.extend(self.warn_of_harm());
            applied
        });
        self.conclude(act, ended)
    }

    /// Looks whether a change that nobody confirmed is to be undone.
    pub(super) fn look_after_pending(&mut self) {
        let Some(pending) = &self.pointer.pending else {
            if self.return_failed.take().is_some() {
                self.warnings.remove("return");
            }
            return;
        };
        let not_yet = self.return_failed.as_ref().is_some_and(|failed| Instant::now() < failed.again);
        if not_yet || pending.deadline.left(&clocks()).is_some() {
            return;
        }
        let Pending { number, back_to, .. } = *pending;
        let mut act = self.act(Action::AutoRollback, &Who::agent("timer"), Some(back_to.to_string()), None);
        let before = self.return_failed.take();
        let times = before.as_ref().map_or(0, |failed| failed.times);
        act.again(times);
        let ended = self.record_of(back_to).and_then(|record| self.return_to(&mut act, &record));
        let ended = match ended {
            // Once in the trail is enough, however long it goes on.
            Err(failure) if before.is_some_and(|before| before.why == failure.message) => Err(failure),
            ended => self.conclude(act, ended),
        };
        match ended {
            Ok(_) => {
                self.warnings.remove("return");
                tracing::warn!("revision {number} was not confirmed in time: back to revision {back_to}");
            }
            Err(failure) => {
                let times = times + 1;
                let note = format!(
                    "revision {number} was not confirmed in time, and revision {back_to} cannot be brought back ({times} times tried): {}",
                    failure.message
                );
                tracing::error!("{note}");
                self.warnings.insert("return", note);
                let again = Instant::now() + AGAIN;
                self.return_failed = Some(FailedReturn { again, times, why: failure.message });
            }
        }
    }

    /// What `rollback` means.
    fn destination(&self, to: Option<&str>) -> Result<Record, Failure> {
        let current = self.pointer.current;
        let Some(to) = to else {
            let back_to = match &self.pointer.pending {
                Some(pending) => Some(pending.back_to),
                None => self.before_all_returns(current),
            };
            return match back_to {
                Some(number) => self.record_of(number),
                None => Err(user(
                    "there is no revision before this one to roll back to\nhint: `bulkhead revisions` lists what is kept",
                )),
            };
        };
        let mut kept = self.store.revisions().map_err(world)?.records;
        // What was cut off before it came in force.
        kept.retain(|number, _| *number <= self.pointer.last);
        let number = to.parse::<u64>().ok().filter(|number| kept.contains_key(number));
        let named = || {
            let is_named = |record: &&Record| to.len() >= PREFIX && record.revision.starts_with(to);
            let found: Vec<&Record> = kept.values().filter(is_named).collect();
            let several = found.iter().any(|record| record.revision != found[0].revision);
            if several { None } else { found.last().map(|record| record.number) }
        };
        let Some(number) = number.or_else(named) else {
            return Err(user(format!(
                "no revision `{to}` is kept, or several begin so\nhint: `bulkhead revisions` lists their numbers"
            )));
        };
        if number == current {
            return Err(user(format!("revision {number} is in force")));
        }
        self.record_of(number)
    }

    /// The revision before one. What the watch made undid a part of the one before it: who goes back from there does not mean that one.
    fn before_all_returns(&self, number: u64) -> Option<u64> {
        let mut record = self.store.record(number).ok().flatten()?;
        while record.by == Who::agent(watch::WHO) {
            record =
                self.store.record(record.before.filter(|before| *before < record.number)?).ok().flatten()?;
        }
        record.before
    }

    /// Remembers what a change that waits came from, and nothing without one; who was tried under it is tried anew.
    pub(super) fn remember(&mut self, old: InForce) {
        self.canaries_meet_another(&old.policy);
        let InForce { layers, policy, origin: _, from: _ } = old;
        let back_to = self.pointer.pending.as_ref().map(|pending| pending.back_to);
        let record = back_to.and_then(|number| self.store.record(number).ok().flatten());
        leave((std::mem::take(&mut self.former), policy));
        match record {
            Some(record) => self.former = Some(Former { record, layers }),
            None => leave(layers),
        }
    }

    pub(super) fn record_of(&self, number: u64) -> Result<Record, Failure> {
        let gone = || world(format!("revision {number} is no longer kept"));
        match (self.store.record(number), &self.former) {
            (Ok(Some(record)), _) => Ok(record),
            (_, Some(former)) if former.record.number == number => Ok(former.record.clone()),
            (Ok(None), _) => Err(gone()),
            (Err(error), _) => Err(world(error)),
        }
    }

    /// The texts of a revision: those on the disk, or else those remembered, which then mend the disk.
    pub(super) fn texts_of(&self, record: &Record) -> Result<Vec<TextLayer>, StoreError> {
        let kept = matches!(self.store.record(record.number), Ok(Some(_)));
        match (self.store.texts(record), &self.former) {
            (Ok(texts), _) if kept => Ok(texts),
            (_, Some(former)) if former.record == *record => {
                tracing::error!("revision {} is damaged on the disk and written anew", record.number);
                if let Err(error) = self.store.keep(record, &former.layers) {
                    tracing::error!("{error}");
                }
                Ok(former.layers.clone())
            }
            (texts, _) => texts,
        }
    }

    pub(super) fn return_to(&mut self, act: &mut Act, record: &Record) -> Result<Applied, Failure> {
        act.aim(record.number.to_string());
        let candidate = self.kept(record)?;
        self.begin(act, candidate.tables.revision.to_string())?;
        let pointer = self.pointer.back(record.number);
        let origin = Origin::named(&record.origin);
        let from = record.from.clone();
        let mut applied = if matches!(act.action(), Action::AutoRollback | Action::TrafficRollback) {
            self.flip_anyway(candidate, origin, from, pointer)?
        } else {
            let pointer = pointer.for_good(jiff::Timestamp::now().to_string());
            self.flip_and_point(candidate, origin, from, pointer)?
        };
        self.calendar.made(record);
        applied.number = Some(record.number);
        applied.notes.push(format!("revision {} is back", record.number));
        Ok(applied)
    }

    /// A kept revision as a candidate.
    fn kept(&mut self, record: &Record) -> Result<Candidate, Failure> {
        let layers = self.texts_of(record).map_err(world)?;
        self.maker
            .prepare(layers, &self.overrides, &self.limits)
            .map_err(|error| refused(&error, &self.revision()))
    }
}
