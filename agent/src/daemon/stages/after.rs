//! Keeps stages true: what a mode contradicts is over, who left the policy is forgotten, and whoever is a canary is watched.

use super::{
    super::{agent::Agent, clock::clocks},
    at_the_start,
};
use crate::{
    control::Applied,
    model::{Mode, Policy},
    rollout::{Stage, touched},
    store::{Deadline, KeptStage, Override},
};

impl Agent {
    /// Somebody set a mode by hand: who is enforced so is watched by nobody, and no canary any more.
    pub(in crate::daemon) fn mode_by_hand(&mut self, device: &str, mode: Mode) {
        let is_canary = self.stages.devices.get(device).is_some_and(|kept| kept.stage == Stage::Canary);
        if is_canary && mode == Mode::Enforce {
            let mut stages = self.stages.clone();
            stages.devices.remove(device);
            self.keep_stages_or_warn(stages);
        }
    }

    /// Another policy came in force: a canary that it touches has been tried under the one before. Its time begins anew.
    pub(in crate::daemon) fn canaries_meet_another(&mut self, old: &Policy) {
        let canaries = self.stages.devices.values().filter(|kept| kept.stage == Stage::Canary);
        if canaries.count() == 0 {
            return;
        }
        let touched = touched(old, &self.in_force.policy);
        let mut stages = self.stages.clone();
        for (name, kept) in stages.devices.iter_mut().filter(|(name, _)| touched.contains(*name)) {
            if kept.until.take().is_some() {
                tracing::info!("the time of `{name}` as a canary begins anew: its policy was changed");
            }
        }
        if stages != self.stages {
            self.keep_stages_or_warn(stages);
        }
    }

    /// Looks after stages: what the modes contradict is over, and whoever is a canary is watched.
    pub(in crate::daemon) fn look_after_stages(&mut self) {
        self.settle_stages();
        let now = clocks();
        let mut stages = self.stages.clone();
        let mut unwatched = Vec::new();
        for (name, kept) in stages.devices.iter_mut().filter(|(_, kept)| kept.stage == Stage::Canary) {
            match self.mode_of(name) {
                // Its time begins anew with its release, or when it is in the policy again.
                Some(Mode::Quarantine) | None => kept.until = None,
                Some(Mode::Enforce) => {
                    if kept.until.is_none() {
                        self.trials.begin(name);
                    }
                    let begins = || Deadline::after(self.config.rollout.canary, &now);
                    let left = kept.until.get_or_insert_with(begins).left(&now);
                    if let Some(left) = left.filter(|_| !self.watcher.kept.modes.contains_key(name)) {
                        unwatched.push((name.clone(), left, kept.by.clone()));
                    }
                }
                Some(Mode::Monitor) => {}
            }
        }
        if stages != self.stages {
            self.keep_stages_or_warn(stages);
        }
        self.look_after_trials();
        for (name, left, by) in unwatched {
            let before = Override {
                mode: Mode::Monitor,
                by,
                at: jiff::Timestamp::now().to_string(),
                why: Some("as before it was a canary".to_owned()),
                before: None,
            };
            let modes = (Some(Mode::Monitor), Some(Mode::Enforce));
            tracing::info!("`{name}` is a canary, and watched again");
            self.mode_was_set(&name, modes, Some(before), Some(left), &mut Applied::default());
        }
    }

    /// Ends stages that are not true any more, and forgets devices that left the policy and do not return with a mode set by hand.
    pub(super) fn settle_stages(&mut self) {
        // What is not confirmed may be taken back, and with it what contradicts a stage. The mode says meanwhile what is true.
        if self.pointer.pending.is_some() {
            return;
        }
        // A file brings back who left; a mode set by hand waits for him.
        let returns = |name: &str| self.overrides.devices.contains_key(name);
        let contradicted = self.stages.contradicted(|name| self.mode_of(name), returns);
        if contradicted.is_empty() {
            return;
        }
        let mut stages = self.stages.clone();
        for (name, left) in contradicted {
            let former = stages.devices.remove(&name);
            match (left, former) {
                (Some(_), Some(former)) => {
                    let (by, why) = self.why_over(&name, &former);
                    tracing::warn!("`{name}` is not at `{}` any more: {why}", former.stage);
                    stages.devices.insert(name, at_the_start(by, why));
                }
                (None, _) => drop(stages.accepted.remove(&name)),
                (Some(_), None) => {}
            }
        }
        self.keep_stages_or_warn(stages);
    }

    /// Who ended a stage, and why.
    fn why_over(&self, device: &str, former: &KeptStage) -> (String, String) {
        let back = self.watcher.kept.back.iter().rev().find(|back| back.device == device);
        if let Some(back) = back.filter(|back| back.at >= former.since) {
            return ("watch".to_owned(), back.why.clone());
        }
        let mode = self.mode_of(device).map_or("none", Mode::name);
        match self.overrides.devices.get(device) {
            Some(change) => {
                let why = change.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                (change.by.clone(), format!("its mode was set to {mode} by hand{why}"))
            }
            None => ("policy".to_owned(), format!("its policy says {mode}")),
        }
    }
}
