//! The way back of one device, or of all: a change of its own, in the store, in the trail, and loud.
//!
//! A device alone gets what the revision before says of it, on top of what is in force for the others ([`crate::rollout::only`] the other
//! way round). Where the two cannot be told apart, where what is missing would not come back that way, or where more than half of those
//! that a change touched would have to go back, the whole revision does.

use std::time::{Duration, Instant};

use super::{
    super::{
        agent::{Agent, world},
        changes::Change,
        clock::clocks,
        policies::{self, Candidate},
    },
    Failed,
    story::{Trip, service_of},
};
use crate::{
    compile::{self, Placed, is_allowed},
    control::{Applied, Failure},
    diagnostic::counted,
    model::{Criticality, Mode},
    record::{Alarm, Event, Severity, Trigger, VERSION},
    rollout::{Side, Steady, Talk},
    store::{Begun, KeptBeat, Override, TextLayer, Touched, Watched, WentBack, Who, audit::Action, digest},
};

/// Who does it, in the list of revisions and the trail.
pub(in crate::daemon) const WHO: &str = "watch";
/// What failed is tried again after this.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// Longest story, bytes: a rule may name very many.
const STORY: usize = 800;
/// The same with what came of it: a record is no longer than 4096 bytes, in which quotes take two.
const WHOLE: usize = 1400;

/// No more bytes than `most`.
fn bounded(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// How many suffer of those that a change touched, where it is more than half of them; one alone is never all.
fn most_of(driven: usize, together: usize, touched: usize) -> Option<usize> {
    let suffer = driven + together.max(1);
    (suffer >= 2 && suffer * 2 > touched).then_some(suffer)
}

/// What came back.
struct Returned {
    event: Event,
    /// How it is told.
    told: String,
}

impl Agent {
    /// Lets a device go back, or all of them. That it does is on the disk before it is done: who is killed in between tells of it at the
    /// next start, and nobody does the same harm once more. `together`: how many suffer at this moment, with this one; where these and
    /// those that went back before are more than half, all go back at once.
    pub(super) fn go_back(&mut self, trip: Trip, together: usize) {
        let Some(watched) = self.watcher.watched(&trip.device, trip.of_mode).cloned() else { return };
        let is_tried = |failed: &Failed| Instant::now() < failed.again;
        if watched.deadline.left(&clocks()).is_none()
            || self.watcher.failed.get(&trip.whose()).is_some_and(is_tried)
        {
            return;
        }
        let story = bounded(self.story(&trip, &watched), STORY);
        let former = self.watcher.kept.back.clone();
        self.note_begun(&trip, &watched, &story);
        let ended = match &watched.change {
            Touched::Policy { number, before, touched } => {
                self.policy_back(&trip, &story, (*number, *before), (together, *touched))
            }
            Touched::Mode { before, .. } => self.mode_back(&trip, &story, before.clone()),
        };
        match ended {
            Ok(Returned { event, told }) => {
                let why = bounded(format!("{story}; {told}"), WHOLE);
                self.note_return(&trip, event, why);
            }
            Err(failure) => {
                self.watcher.kept.back = former;
                self.keep_watch();
                let because = policies::one_line(&failure.message);
                let why =
                    bounded(format!("{story}; it cannot be undone, and is tried again: {because}"), WHOLE);
                let is_known = self.watcher.failed.contains_key(&trip.whose());
                if !is_known {
                    tracing::error!(device = trip.device, "cannot go back: {why}");
                    self.raise(&trip, Event::CannotGoBack, why.clone());
                }
                let again = Instant::now() + AGAIN;
                self.watcher.failed.insert(trip.whose(), Failed { again, trip, why });
                self.warn_of_failed();
            }
        }
    }

    /// What could not be undone and is due again. A conversation that has stopped is found anew as long as it has.
    pub(super) fn try_again(&mut self) {
        let now = Instant::now();
        let is_due = |failed: &Failed| failed.again <= now && failed.trip.trigger == Trigger::Denied;
        let due: Vec<Trip> = self
            .watcher
            .failed
            .values()
            .filter(|failed| is_due(failed))
            .map(|failed| failed.trip.clone())
            .collect();
        let count = due.len();
        due.into_iter().enumerate().for_each(|(at, trip)| self.go_back(trip, count - at));
    }

    /// Warns of all that cannot go back.
    pub(super) fn warn_of_failed(&mut self) {
        let failed = &self.watcher.failed;
        let Some(first) = failed.values().next() else {
            self.warnings.remove("went-back");
            return;
        };
        let mut note = first.why.clone();
        if let Some(more @ 1..) = failed.len().checked_sub(1) {
            let names: Vec<&str> = failed.keys().skip(1).take(8).map(|(name, _)| name.as_str()).collect();
            note += &format!("; so it is with {}: {}", counted(more, "other"), names.join(", "));
        }
        self.warnings.insert("went-back", note);
    }

    fn note_begun(&mut self, trip: &Trip, watched: &Watched, story: &str) {
        let number = match watched.change {
            Touched::Policy { number, .. } => Some(number),
            Touched::Mode { .. } => None,
        };
        let record = number.and_then(|number| self.store.record(number).ok().flatten());
        let files = record.and_then(|record| Some(digest(&record.layers.last()?.files)));
        let kind = KeptBeat::of(&Steady { kind: trip.kind, period: Duration::ZERO });
        self.watcher.kept.went_back(WentBack {
            at: jiff::Timestamp::now(),
            device: trip.device.clone(),
            all: false,
            number,
            files,
            why: story.to_owned(),
            begun: Some(Begun {
                current: self.pointer.current,
                denied: trip.trigger == Trigger::Denied,
                kind,
            }),
            acknowledged: None,
        });
        self.keep_watch();
    }

    /// What an earlier agent had begun to undo when it was killed: what was done is told of, and what was not is as if nobody had begun.
    pub(in crate::daemon) fn finish_returns(&mut self) {
        let begun =
            self.watcher.kept.back.iter_mut().filter_map(|back| Some((back.begun.take()?, back.clone())));
        let begun: Vec<(Begun, WentBack)> = begun.collect();
        for (begun, back) in begun {
            let of_mode = back.number.is_none();
            let is_done = match back.number {
                Some(_) => self.pointer.current != begun.current,
                None => self.mode_of(&back.device) != Some(Mode::Enforce),
            };
            let trip = Trip {
                device: back.device.clone(),
                of_mode,
                trigger: if begun.denied { Trigger::Denied } else { Trigger::Stopped },
                kind: begun.kind.read().kind,
                reason: None,
                rule: None,
                silent: None,
                gone: false,
            };
            if !is_done {
                self.watcher.kept.back.retain(|other| *other != back);
                self.keep_watch();
                continue;
            }
            let all = !of_mode && self.pointer.current < begun.current;
            let event = if all { Event::AllWentBack } else { Event::WentBack };
            let told = match of_mode {
                true => "its mode is what it was".to_owned(),
                false => format!("revision {} is in force", self.pointer.current),
            };
            let why =
                bounded(format!("{}; {told}, and the agent ended before it could tell so", back.why), WHOLE);
            self.note_return(&trip, event, why);
        }
    }

    fn policy_back(
        &mut self,
        trip: &Trip,
        story: &str,
        (number, before): (u64, u64),
        (together, touched): (usize, usize),
    ) -> Result<Returned, Failure> {
        let driven = self.watcher.kept.driven_back_by(number);
        if trip.is_denied()
            && let Some(driven) = most_of(driven, together, touched)
        {
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
                // The change may not be why, and nobody else need lose what it gave him.
                if !trip.is_denied() {
                    return Err(failure);
                }
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
        let reason = bounded(format!("{story}; {why}"), WHOLE);
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

    /// Tells everybody of what was noted last of a device, and forgets it: who went back is not watched by the change that undid it.
    fn note_return(&mut self, trip: &Trip, event: Event, why: String) {
        tracing::warn!(device = trip.device, "went back: {why}");
        self.watcher.went_back += 1;
        self.raise(trip, event, why.clone());
        let all = event == Event::AllWentBack;
        let noted = self.watcher.kept.back.iter_mut().rev().find(|back| back.device == trip.device);
        let number = noted.and_then(|back| {
            (back.all, back.why, back.begun) = (all, why, None);
            back.number
        });
        if let Some(number) = number.filter(|_| trip.is_denied()) {
            self.watcher.kept.drove_back(number);
        }
        let mut over = vec![(trip.device.clone(), trip.of_mode)];
        if all {
            over.extend(self.watcher.kept.devices.keys().map(|name| (name.clone(), false)));
        }
        over.into_iter().for_each(|(name, of_mode)| self.forget_watch(&name, of_mode));
        self.keep_watch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_suffer_at_once_are_counted_at_once() {
        // A hundred and one of two hundred: the first of them takes all back, not the hundred and first.
        assert_eq!(most_of(0, 101, 200), Some(101));
        assert_eq!(most_of(0, 100, 200), None);
        assert_eq!(most_of(60, 41, 200), Some(101));
        assert_eq!((most_of(1, 1, 3), most_of(1, 1, 4)), (Some(2), None));
        assert_eq!((most_of(0, 1, 1), most_of(0, 0, 1)), (None, None), "who is alone goes back alone");
    }

    #[test]
    fn a_story_is_no_longer_than_a_record_has_room_for() {
        assert_eq!(bounded("short".to_owned(), STORY), "short");
        let long = bounded("\u{fc}".repeat(STORY), STORY);
        assert!(
            long.len() <= STORY && long.len() > STORY - 5 && long.ends_with("\u{fc}..."),
            "{}",
            long.len()
        );
    }
}
