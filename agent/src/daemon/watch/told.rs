//! What is said of those that are watched and of those that went back, and how somebody takes note.

use std::collections::BTreeSet;

use super::super::{
    agent::{Agent, user},
    clock::clocks,
    trail::sayable,
};
use crate::{
    control::{Applied, Failure, RolloutStatus, WatchStatus, WentBackStatus},
    diagnostic::counted,
    rollout::Steady,
    store::{Acknowledged, KeptBeat, TextLayer, Touched, WATCH, WentBack, Who, audit::Action, digest},
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
        let [wanted] = &layers[..] else { return (layers, String::new()) };
        let files = digest(&wanted.kept().files);
        let is_of_these = |back: &&WentBack| {
            let alone = self.in_force.layers.first() == Some(wanted)
                && self.in_force.layers[1..].iter().any(|layer| layer.only.contains(&back.device));
            back.number.is_some() && (alone || back.files.as_ref() == Some(&files))
        };
        let found: Vec<&WentBack> = self.watcher.kept.unread().filter(is_of_these).collect();
        let names: BTreeSet<&str> = found.iter().map(|back| back.device.as_str()).collect();
        // Of those that went back alone all others have the files already; who named devices himself means what he says.
        let later = self.in_force.layers.iter().skip(1).flat_map(|layer| &layer.only);
        let is_by_hand = self.in_force.layers.first() == Some(wanted)
            && later.into_iter().any(|name| !names.contains(name.as_str()));
        if found.is_empty() || is_by_hand || self.in_force.layers == layers {
            return (layers, String::new());
        }
        let who = match found.iter().any(|back| back.all) {
            true => "all devices".to_owned(),
            false => names.into_iter().take(NAMED).collect::<Vec<_>>().join(", "),
        };
        let note = format!(
            "warning: these files were applied before, and {who} went back: what is in force stays so until they are mended, or `bulkhead rollout acknowledge` is said\n"
        );
        (self.in_force.layers.clone(), note)
    }

    /// What is to be known of it when a revision is in force that drove devices back.
    pub(in crate::daemon) fn warn_of_harm(&self) -> Option<String> {
        let files =
            digest(&self.in_force.layers.last().filter(|_| self.in_force.layers.len() == 1)?.kept().files);
        let harmed = self.watcher.kept.unread().filter(|back| back.files.as_ref() == Some(&files));
        let names: BTreeSet<&str> = harmed.map(|back| back.device.as_str()).collect();
        (!names.is_empty()).then(|| {
            let names: Vec<&str> = names.into_iter().take(NAMED).collect();
            format!(
                "warning: {} went back from this one, and nobody is watched now (`bulkhead rollout`)",
                names.join(", ")
            )
        })
    }

    /// Who is watched, and who went back.
    pub(in crate::daemon) fn rollout_status(&self) -> RolloutStatus {
        let now = clocks();
        let watched = self.watcher.all().map(|(device, watched)| {
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
                steady: watched.steady.iter().map(|beat| self.beat(device, &beat.read(), beat)).collect(),
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

    fn beat(&self, device: &str, steady: &Steady, kept: &KeptBeat) -> String {
        let accepted = if self.is_accepted(device, &steady.kind) { " (accepted: it may stop)" } else { "" };
        format!("{} at least every {} s{accepted}", self.talk(&steady.kind), kept.period)
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
