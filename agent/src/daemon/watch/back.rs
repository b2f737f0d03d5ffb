//! The way back of one device, or of all: a change of its own, in the store, in the trail, and loud.
//!
//! A device alone gets what the revision before says of it, on top of what is in force for the others ([`crate::rollout::only`] the other
//! way round). Where the two cannot be told apart, where what is missing would not come back that way, or where more than half of those
//! that a change touched would have to go back, the whole revision does.

use std::{collections::BTreeSet, time::Instant};

use super::{
    super::{
        agent::{Agent, world},
        changes::Change,
        policies::{self, Candidate},
    },
    story::{Trip, service_of},
};
use crate::{
    compile::{self, Placed, is_allowed},
    control::{Applied, Failure},
    model::Criticality,
    record::{Alarm, Event, Severity, VERSION},
    rollout::{Side, Talk},
    store::{Override, TextLayer, Touched, Watched, WentBack, Who, audit::Action},
};

/// Who does it, in the list of revisions and the trail.
const WHO: &str = "watch";
/// What failed is tried again after this.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Longest story, characters: a rule may name very many.
const STORY: usize = 800;
/// The same with what came of it: a record is no longer than 4096 bytes.
const WHOLE: usize = 1400;

fn bounded(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        text
    } else {
        text.chars().take(most - 3).chain("...".chars()).collect()
    }
}

/// What came back.
struct Returned {
    event: Event,
    /// How it is told.
    told: String,
}

impl Agent {
    /// Lets a device go back, or all of them.
    pub(super) fn go_back(&mut self, trip: Trip) {
        let Some(watched) = self.watcher.kept.devices.get(&trip.device).cloned() else { return };
        if self.watcher.failed.get(&trip.device).is_some_and(|again| Instant::now() < *again) {
            return;
        }
        let story = bounded(self.story(&trip, &watched), STORY);
        let ended = match &watched.change {
            Touched::Policy { number, before, touched } => {
                self.policy_back(&trip, &story, (*number, *before), *touched)
            }
            Touched::Mode { before, .. } => self.mode_back(&trip, &story, before.clone()),
        };
        match ended {
            Ok(Returned { event, told }) => {
                let why = bounded(format!("{story}; {told}"), WHOLE);
                tracing::warn!(device = trip.device, "went back: {why}");
                self.watcher.went_back += 1;
                self.raise(&trip, event, why.clone());
                self.note_return(&trip, &watched, event, why);
                self.warnings.remove("went-back");
            }
            Err(failure) => {
                let first = self.watcher.failed.insert(trip.device.clone(), Instant::now() + AGAIN).is_none();
                let because = policies::one_line(&failure.message);
                let why =
                    bounded(format!("{story}; it cannot be undone, and is tried again: {because}"), WHOLE);
                self.warnings.insert("went-back", why.clone());
                if first {
                    tracing::error!(device = trip.device, "cannot go back: {why}");
                    self.raise(&trip, Event::CannotGoBack, why);
                }
            }
        }
    }

    fn policy_back(
        &mut self,
        trip: &Trip,
        story: &str,
        (number, before): (u64, u64),
        touched: usize,
    ) -> Result<Returned, Failure> {
        let driven = self.watcher.kept.driven_back_by(number) + 1;
        if driven >= 2 && driven * 2 > touched {
            let why = format!("{driven} of {touched} devices that it touched suffer");
            if self.nobody_else_changed(number, before).is_ok() {
                return self.all_back(story, before, &why);
            }
        }
        let device = &trip.device;
        let alone = self.change_back(trip, story, before).and_then(|change| {
            // An agent that was killed after it went back and before it was noted.
            let Some(change) = change else { return Ok(()) };
            let mut act = self.act(
                Action::TrafficRollback,
                &Who::agent(WHO),
                Some(device.clone()),
                Some(story.to_owned()),
            );
            let ended = self.take_over(&mut act, change, &Who::agent(WHO));
            self.conclude(act, ended).map(drop)
        });
        match alone {
            Ok(()) => Ok(Returned {
                event: Event::WentBack,
                told: format!(
                    "`{device}` alone is back at what revision {before} says of it, all others keep what they have"
                ),
            }),
            Err(failure) => {
                let why =
                    format!("`{device}` cannot go back alone: {}", policies::one_line(&failure.message));
                // Where it would not help, nobody else need suffer for it.
                self.nobody_else_changed(number, before)?;
                self.all_back(story, before, &why)
            }
        }
    }

    /// Whether all that came after a revision is what was undone of it: a change that a person made since is not undone with it.
    fn nobody_else_changed(&self, number: u64, before: u64) -> Result<(), Failure> {
        let mut at = self.pointer.current;
        while at > number {
            let record = self.record_of(at)?;
            let by_watch = record.by == Who::agent(WHO);
            match record.before.filter(|before| by_watch && *before < at) {
                Some(earlier) => at = earlier,
                None => {
                    return Err(world(format!(
                        "revision {at} was made since, and would be undone with revision {number}: roll back to {before} if that is right"
                    )));
                }
            }
        }
        Ok(())
    }

    /// What is in force, with what an earlier revision says of this device; none where it has that already.
    fn change_back(&mut self, trip: &Trip, story: &str, before: u64) -> Result<Option<Change>, Failure> {
        let record = self.record_of(before)?;
        let layers = self.texts_of(&record).map_err(world)?;
        let names = |layer: &&TextLayer| layer.only.is_empty() || layer.only.contains(&trip.device);
        // What was in force for it: the last layer that names it.
        let Some(layer) = layers.iter().rev().find(names) else {
            return Err(world("no policy was in force for it"));
        };
        let whole = policies::whole(layer.files.clone());
        let whole = self.maker.prepare(whole, &self.overrides, &self.limits).map_err(world)?;
        let back = TextLayer { only: vec![trip.device.clone()], files: layer.files.clone() };
        let layers = policies::on_top(&self.in_force, &whole.policy, back).map_err(world)?;
        if layers == self.in_force.layers {
            return Ok(None);
        }
        let candidate = self.maker.prepare(layers, &self.overrides, &self.limits).map_err(world)?;
        self.admits(&candidate, trip)?;
        Ok(Some(Change {
            candidate,
            origin: self.in_force.origin,
            from: self.in_force.from.clone(),
            confirm_within: None,
            signed: None,
            accepted: None,
            reason: Some(story.to_owned()),
            is_return: true,
        }))
    }

    /// Whether a conversation that was allowed before would be again.
    fn admits(&self, candidate: &Candidate, trip: &Trip) -> Result<(), Failure> {
        if trip.rule.is_none() {
            return Ok(());
        }
        let side = Side { policy: &candidate.policy, tables: &candidate.tables };
        let here = Placed { gateway: self.nics.addresses.clone(), ..Placed::default() };
        let talk = Talk::of(&trip.kind, None, &compile::Who::new(side.policy, &here));
        if self.hosts(side.tables, None)?.iter().any(|host| is_allowed(&talk.judged(host))) {
            return Ok(());
        }
        Err(world("the conversation would not be allowed"))
    }

    fn all_back(&mut self, story: &str, before: u64, why: &str) -> Result<Returned, Failure> {
        let reason = format!("{story}; {why}");
        let target = Some(before.to_string());
        let mut act = self.act(Action::TrafficRollback, &Who::agent(WHO), target, Some(reason));
        let ended = self.record_of(before).and_then(|record| self.return_to(&mut act, &record));
        self.conclude(act, ended)?;
        Ok(Returned {
            event: Event::AllWentBack,
            told: format!("{why}: revision {before} is back for all devices"),
        })
    }

    fn mode_back(&mut self, trip: &Trip, story: &str, before: Option<Override>) -> Result<Returned, Failure> {
        let device = &trip.device;
        let target = Some(format!("{device} monitor"));
        let mut act = self.act(Action::TrafficRollback, &Who::agent(WHO), target, Some(story.to_owned()));
        let mut overrides = self.overrides.clone();
        match before {
            Some(before) => drop(overrides.devices.insert(device.clone(), before)),
            None => drop(overrides.devices.remove(device)),
        }
        let ended: Result<Applied, Failure> = self.with_overrides(&mut act, overrides);
        self.conclude(act, ended)?;
        let mode = self.mode_of(device).map_or("no device", crate::model::Mode::name);
        Ok(Returned { event: Event::WentBack, told: format!("`{device}` alone is back in {mode}") })
    }

    /// Tells everybody.
    fn raise(&mut self, trip: &Trip, event: Event, explanation: String) {
        let policy = &self.in_force.policy;
        let criticality = policy.device(&trip.device).map(|(_, device)| device.criticality);
        let is_safety = criticality == Some(Criticality::Safety);
        let (protocol, port) = service_of(&trip.kind);
        let alarm = Alarm {
            v: VERSION,
            time: String::new(),
            gateway: String::new(),
            boot: String::new(),
            seq: 0,
            severity: if is_safety { Severity::Critical } else { Severity::High },
            revision: Some(self.revision()).filter(|revision| !revision.is_empty()),
            alarm: event,
            device: Some(trip.device.clone()),
            criticality: criticality.map(|criticality| criticality.name().to_owned()),
            trigger: trip.trigger,
            source: self.end_of(&trip.kind.from, None),
            destination: self.end_of(&trip.kind.to, port),
            protocol,
            explanation,
            count: 0,
        };
        self.reporter.alarm(alarm);
    }

    /// Who went back is not watched by the change that undid it.
    fn note_return(&mut self, trip: &Trip, watched: &Watched, event: Event, why: String) {
        let all = event == Event::AllWentBack;
        let number = match watched.change {
            Touched::Policy { number, .. } => Some(number),
            Touched::Mode { .. } => None,
        };
        let mut over = BTreeSet::from([trip.device.clone()]);
        if all {
            let of_policy = |watched: &Watched| matches!(watched.change, Touched::Policy { .. });
            let others = self.watcher.kept.devices.iter().filter(|(_, watched)| of_policy(watched));
            over.extend(others.map(|(name, _)| name.clone()));
        }
        let back = WentBack {
            at: jiff::Timestamp::now(),
            device: trip.device.clone(),
            all,
            number,
            why,
            acknowledged: None,
        };
        self.watcher.kept.went_back(back);
        for name in over {
            self.forget_watch(&name);
        }
        self.keep_watch();
    }
}
