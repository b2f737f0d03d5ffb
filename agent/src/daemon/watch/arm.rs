//! Who is watched from now on: written down before the change is made, so that an agent that is killed right after it goes on watching.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    super::{
        agent::Agent,
        changes::{Change, kept_failed},
        clock::clocks,
        policies::Candidate,
        trail::Act,
    },
    Before,
};
use crate::{
    config::duration::spell,
    control::{Applied, Failure},
    diagnostic::counted,
    model::Mode,
    rollout::touched,
    store::{self, Deadline, KeptBeat, MOST_BEATS, Override, Touched, WATCH, Watched, Who},
};

/// A change that is watched once it is made.
struct Armed {
    number: u64,
    before: Arc<Before>,
    names: BTreeSet<String>,
    time: Duration,
}

impl Agent {
    /// Brings a candidate in force, and watches whom it touches.
    pub(in crate::daemon) fn take_over_watched(
        &mut self,
        act: &mut Act,
        change: Change,
        by: &Who,
        watch: Option<Duration>,
    ) -> Result<Applied, Failure> {
        let armed = self.arm_watch(&change.candidate, watch.unwrap_or(self.config.rollout.watch))?;
        let ended = self.take_over(act, change, by);
        match (ended, armed) {
            (Ok(mut applied), Some(armed)) => {
                self.begin_watch(armed, &mut applied);
                Ok(applied)
            }
            (Err(failure), Some(armed)) => {
                drop(armed);
                self.disarm();
                self.keep_watch();
                Err(failure)
            }
            (ended, None) => ended,
        }
    }

    /// Writes down whom a change will touch. An agent that is killed right after the change goes on watching. Whoever changes the policy again
    /// has looked at what he changed before, and may mean to take something away: that is watched no longer.
    fn arm_watch(&mut self, candidate: &Candidate, time: Duration) -> Result<Option<Armed>, Failure> {
        let before = self.pointer.current;
        let Some(applied) = self.dataplane.applied() else { return Ok(None) };
        if before == 0 || candidate.layers == self.in_force.layers {
            return Ok(None);
        }
        let tables = Arc::clone(&applied.tables);
        let mut names = BTreeSet::new();
        if !time.is_zero() {
            names = touched(&self.in_force.policy, &candidate.policy);
        }
        // Who is cut off, or is to be, has nothing that could be broken.
        let is_to_be = |name: &str| {
            candidate.policy.device(name).is_some_and(|(_, device)| device.mode == Mode::Quarantine)
        };
        names.retain(|name| self.mode_of(name) != Some(Mode::Quarantine) && !is_to_be(name));
        if names.is_empty() && self.watcher.kept.devices.is_empty() {
            return Ok(None);
        }
        let number = self.store.next_number(&self.pointer).map_err(kept_failed)?;
        let former = std::mem::take(&mut self.watcher.kept.devices);
        let old = Arc::new(Before { policy: self.in_force.policy.clone(), tables });
        let mut steady = self.steady_of(&old, &names);
        let deadline = Deadline::after(time, &clocks());
        for name in &names {
            let watched = Watched {
                since: jiff::Timestamp::now(),
                deadline: deadline.clone(),
                change: Touched::Policy { number, before, touched: names.len() },
                steady: steady.remove(name).unwrap_or_default(),
            };
            self.watcher.kept.devices.insert(name.clone(), watched);
        }
        self.watcher.kept.armed = Some(store::Armed { number, former });
        if let Err(error) = self.store.save(WATCH, &self.watcher.kept) {
            self.disarm();
            return Err(kept_failed(error));
        }
        Ok(Some(Armed { number, before: old, names, time }))
    }

    /// The change did not come in force: those are watched who were before.
    fn disarm(&mut self) {
        if let Some(armed) = self.watcher.kept.armed.take() {
            self.watcher.kept.devices = armed.former;
        }
    }

    fn begin_watch(&mut self, armed: Armed, applied: &mut Applied) {
        let Armed { number, before, names, time } = armed;
        let former = self.watcher.kept.armed.take().map(|armed| armed.former).unwrap_or_default();
        for name in former.keys() {
            if !self.watcher.kept.devices.contains_key(name) {
                tracing::info!("`{name}` is watched no longer: the policy was changed again");
                self.forget_watch(name, false);
            }
            // What it was to go back from is not in force any more.
            self.watcher.harmed.remove(name);
            self.watcher.failed.remove(&(name.clone(), false));
        }
        self.warn_of_failed();
        self.keep_watch();
        self.watcher.before.clear();
        let first = names.first().and_then(|name| self.watcher.kept.devices.get(name));
        let Some(Touched::Policy { before: back_to, .. }) = first.map(|watched| &watched.change) else {
            self.reporter.suspects.watch(self.watcher.is_watching(), true);
            return;
        };
        self.watcher.before.insert(*back_to, before);
        let now = self.watcher.now();
        for name in &names {
            self.watcher.since.insert(name.clone(), now);
            self.watcher.silent.remove(name);
        }
        self.reporter.suspects.watch(true, true);
        let who = counted(names.len(), "device");
        tracing::info!(number, devices = names.len(), "watched for {}", spell(time));
        applied.notes.push(format!(
            "{who} watched for {}: one of which traffic suffers goes back by itself (`bulkhead rollout`)",
            spell(time)
        ));
        match &self.watcher.beats {
            None => applied.notes.push(
                "no history is kept (`[history]`): conversations that stop without a denied packet are not noticed"
                    .to_owned(),
            ),
            Some(_) if self.watcher.kept.devices.values().all(|watched| watched.steady.is_empty()) => {
                applied.notes.push(
                    "nothing is known yet of what they do steadily: conversations that stop without a denied packet are not noticed"
                        .to_owned(),
                );
            }
            Some(_) => {}
        }
    }

    /// What devices do steadily, by their names.
    fn steady_of(&self, before: &Before, names: &BTreeSet<String>) -> BTreeMap<String, Vec<KeptBeat>> {
        let mut found: BTreeMap<String, Vec<KeptBeat>> = BTreeMap::new();
        let Some(beats) = &self.watcher.beats else { return found };
        let mut steady = beats.lock().steady(|_| true);
        // Of very many those that tell soonest.
        steady.sort_by_key(|one| one.period);
        for one in &steady {
            let ends: BTreeSet<&str> = [&one.kind.from, &one.kind.to]
                .into_iter()
                .filter_map(|end| before.side().device_at(end))
                .map(|device| device.name.as_str())
                .collect();
            for name in ends.into_iter().filter(|name| names.contains(*name)) {
                let list = found.entry(name.to_owned()).or_default();
                if list.len() < MOST_BEATS {
                    list.push(KeptBeat::of(one));
                }
            }
        }
        found
    }

    /// A device's mode was set by hand, or released: `to` is what it is now, `from` what it was, and `before` what was set by hand then.
    pub(in crate::daemon) fn mode_was_set(
        &mut self,
        device: &str,
        (from, to): (Option<Mode>, Option<Mode>),
        before: Option<Override>,
        watch: Option<Duration>,
        applied: &mut Applied,
    ) {
        let time = watch.unwrap_or(self.config.rollout.watch);
        let begins = self.is_mode_watched((from, to), time);
        let mut over = Vec::new();
        if to == Some(Mode::Quarantine) {
            over.push((device.to_owned(), false));
        }
        if !begins {
            over.push((device.to_owned(), true));
        }
        over.retain(|(name, of_mode)| self.watcher.watched(name, *of_mode).is_some());
        self.forget_watches(over);
        if !begins {
            return;
        }
        let armed = self.watcher.armed_mode.take();
        if armed.as_deref() != Some(device) || !self.watcher.kept.modes.contains_key(device) {
            self.add_mode(device, before, time);
            self.keep_watch();
        }
        let now = self.watcher.now();
        self.watcher.since.insert(device.to_owned(), now);
        self.watcher.silent.remove(device);
        self.watcher.harmed.remove(device);
        self.reporter.suspects.watch(true, true);
        applied.notes.push(format!(
            "`{device}` is watched for {}: if what it does steadily stops, it goes back to monitor by itself (`bulkhead rollout`)",
            spell(time)
        ));
    }

    fn is_mode_watched(&self, (from, to): (Option<Mode>, Option<Mode>), time: Duration) -> bool {
        !time.is_zero()
            && self.pointer.current != 0
            && (from, to) == (Some(Mode::Monitor), Some(Mode::Enforce))
    }

    /// Writes down that a device will be watched once its mode is set: an agent that is killed right after it goes on watching. One that
    /// is not set in the end is not watched, for it is not enforced.
    pub(in crate::daemon) fn arm_mode(
        &mut self,
        device: &str,
        change: (Option<Mode>, Option<Mode>),
        before: Option<Override>,
        watch: Option<Duration>,
    ) -> Result<(), Failure> {
        let time = watch.unwrap_or(self.config.rollout.watch);
        if !self.is_mode_watched(change, time) {
            return Ok(());
        }
        let former = self.watcher.kept.modes.get(device).cloned();
        self.watcher.armed_mode = Some(device.to_owned());
        self.add_mode(device, before, time);
        self.store.save(WATCH, &self.watcher.kept).map_err(|error| {
            let modes = &mut self.watcher.kept.modes;
            drop(match former {
                Some(former) => modes.insert(device.to_owned(), former),
                None => modes.remove(device),
            });
            kept_failed(error)
        })
    }

    fn add_mode(&mut self, device: &str, before: Option<Override>, time: Duration) {
        let Some(now) = self.dataplane.applied() else { return };
        let here = Before { policy: self.in_force.policy.clone(), tables: Arc::clone(&now.tables) };
        let steady = self.steady_of(&here, &BTreeSet::from([device.to_owned()])).remove(device);
        let watched = Watched {
            since: jiff::Timestamp::now(),
            deadline: Deadline::after(time, &clocks()),
            change: Touched::Mode { from: Mode::Monitor, before },
            steady: steady.unwrap_or_default(),
        };
        self.watcher.kept.modes.insert(device.to_owned(), watched);
    }
}
