//! What is said of those that are watched and of those that went back, and how somebody takes note.

use super::super::{
    agent::{Agent, user},
    clock::clocks,
    trail::sayable,
};
use crate::{
    control::{Applied, Failure, RolloutStatus, WatchStatus, WentBackStatus},
    diagnostic::counted,
    rollout::Steady,
    store::{Acknowledged, KeptBeat, TextLayer, Touched, WATCH, Who, audit::Action},
};

/// Devices that went back named as warnings; further ones are counted.
const NAMED: usize = 8;

impl Agent {
    /// What nobody has taken note of yet, a warning each.
    pub(in crate::daemon) fn went_back_warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = (self.watcher.kept.unread().take(NAMED))
            .map(|back| {
                format!(
                    "WENT BACK at {}: {}\nhint: mend the policy, then `bulkhead rollout acknowledge {} --reason TEXT`",
                    back.at.round(jiff::Unit::Second).unwrap_or(back.at),
                    back.why,
                    back.device
                )
            })
            .collect();
        if let Some(more @ 1..) = self.watcher.kept.unread().count().checked_sub(NAMED) {
            warnings
                .push(format!("{} more went back: `bulkhead rollout` lists them", counted(more, "device")));
        }
        warnings
    }

    /// Files that were applied and of which some devices went back: as long as nobody has taken note, who applies them again (a timer, a
    /// reload) does these devices no harm once more. The layers instead, and a line about it.
    pub(in crate::daemon) fn held_back(&self, layers: Vec<TextLayer>) -> (Vec<TextLayer>, String) {
        let [base, later @ ..] = &self.in_force.layers[..] else { return (layers, String::new()) };
        let went_back =
            |name: &String| self.watcher.kept.unread().any(|back| back.device == *name && !back.all);
        let names: Vec<&String> = later.iter().flat_map(|layer| &layer.only).collect();
        if names.is_empty() || !names.iter().all(|name| went_back(name)) || layers[..] != [base.clone()] {
            return (layers, String::new());
        }
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        let note = format!(
            "warning: these files were applied before, and {} went back: that stays so until they are mended, or `bulkhead rollout acknowledge` is said\n",
            names.join(", ")
        );
        (self.in_force.layers.clone(), note)
    }

    /// Who is watched, and who went back.
    pub(in crate::daemon) fn rollout_status(&self) -> RolloutStatus {
        let now = clocks();
        let watched = self.watcher.kept.devices.iter().map(|(device, watched)| {
            let change = match &watched.change {
                Touched::Policy { number, .. } => format!("revision {number}"),
                Touched::Mode { from, .. } => format!("{} -> enforce", from.name()),
            };
            let back_to = match &watched.change {
                Touched::Policy { before, .. } => format!("revision {before}"),
                Touched::Mode { from, .. } => from.name().to_owned(),
            };
            WatchStatus {
                device: device.clone(),
                change,
                back_to,
                since: watched.since.to_string(),
                seconds_left: watched.deadline.left(&now).unwrap_or_default().as_secs(),
                steady: watched.steady.iter().map(|beat| self.beat(&beat.read(), beat)).collect(),
                silent: self.watcher.silent.contains(device),
            }
        });
        let back = self.watcher.kept.back.iter().rev().map(|back| WentBackStatus {
            device: back.device.clone(),
            all: back.all,
            at: back.at.to_string(),
            why: back.why.clone(),
            acknowledged: back
                .acknowledged
                .as_ref()
                .map(|one| format!("{} by {}: {}", one.at, one.by, one.reason)),
        });
        RolloutStatus {
            watched: watched.collect(),
            went_back: back.collect(),
            stages: self.stages_told(),
            not_asked: self.reporter.suspects.left_out(),
        }
    }

    fn beat(&self, steady: &Steady, kept: &KeptBeat) -> String {
        format!("{} at least every {} s", self.talk(&steady.kind), kept.period)
    }

    /// Somebody takes note of it that a device went back.
    pub(in crate::daemon) fn acknowledge(
        &mut self,
        device: &str,
        reason: &str,
        by: &Who,
    ) -> Result<Applied, Failure> {
        let mut act = self.act(Action::Acknowledge, by, Some(device.to_owned()), Some(reason.to_owned()));
        let ended = sayable(Some(reason)).and_then(|()| {
            if !self.watcher.kept.unread().any(|back| back.device == device) {
                return Err(user(format!(
                    "nothing about `{device}` waits to be acknowledged\nhint: `bulkhead rollout` lists what does"
                )));
            }
            self.begin(&mut act, self.revision())?;
            let mut kept = self.watcher.kept.clone();
            let at = jiff::Timestamp::now();
            for back in kept.back.iter_mut().filter(|back| back.device == device && back.acknowledged.is_none()) {
                back.acknowledged =
                    Some(Acknowledged { at, by: by.to_string(), reason: reason.to_owned() });
            }
            self.store.save(WATCH, &kept).map_err(super::kept_failed)?;
            self.watcher.kept = kept;
            let notes = vec![format!("`{device}`: noted")];
            Ok(Applied { revision: self.revision(), notes, ..Applied::default() })
        });
        self.conclude(act, ended)
    }
}
