//! Whether canaries speak: what each is heard of in what it is let, since it is one.
//!
//! A row of the history is a whole day and does not tell it: who answered in the morning and is called in vain since he is a canary has one. So
//! it is asked of what is heard from look to look. That is known as long as this agent runs, and no longer, as the time of a canary is.

use std::collections::BTreeMap;

use super::super::agent::Agent;
use crate::{
    model::Mode,
    rollout::{Moment, Stage},
};

/// Of each canary.
#[derive(Default)]
pub(in crate::daemon) struct Trials {
    canaries: BTreeMap<String, Trial>,
    /// Looks that had ended when it was last asked.
    looks: u64,
}

/// Of one.
#[derive(Clone, Copy, Default)]
struct Trial {
    /// When the first look since it is a canary had ended: what that look tells may have been before.
    began: Option<Moment>,
    /// When it was last heard since then.
    heard: Option<Moment>,
}

impl Trials {
    /// A device is a canary from now on, or its time begins anew.
    pub(super) fn begin(&mut self, device: &str) {
        self.canaries.insert(device.to_owned(), Trial::default());
    }

    /// These are canaries, and nobody else.
    fn follow<'n>(&mut self, canaries: impl Iterator<Item = &'n str>) {
        let mut before = std::mem::take(&mut self.canaries);
        self.canaries =
            canaries.map(|name| (name.to_owned(), before.remove(name).unwrap_or_default())).collect();
    }

    /// A look has ended; when each device was heard last.
    fn looked(&mut self, at: Moment, heard: &BTreeMap<String, Moment>) {
        for (name, trial) in &mut self.canaries {
            match trial.began {
                None => trial.began = Some(at),
                Some(began) => {
                    let heard = heard.get(name).copied().filter(|heard| *heard > began);
                    trial.heard = trial.heard.max(heard);
                }
            }
        }
    }

    /// When a canary was last heard since it is one.
    pub(super) fn heard(&self, device: &str) -> Option<Moment> {
        self.canaries.get(device)?.heard
    }
}

impl Agent {
    /// Follows what is heard of canaries.
    pub(super) fn look_after_trials(&mut self) {
        let canaries = self.stages.devices.iter().filter(|(_, kept)| kept.stage == Stage::Canary);
        let enforced = canaries.filter(|(name, _)| self.mode_of(name) == Some(Mode::Enforce));
        let enforced: Vec<String> = enforced.map(|(name, _)| name.clone()).collect();
        self.trials.follow(enforced.iter().map(String::as_str));
        if enforced.is_empty() {
            return;
        }
        if let Some((looks, at, heard)) = self.heard_by_now(self.trials.looks) {
            self.trials.looks = looks;
            self.trials.looked(at, &heard);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_heard_before_the_first_look_of_a_trial_does_not_count() {
        let at = Duration::from_secs;
        let mut trials = Trials::default();
        let heard = |last| BTreeMap::from([("plc".to_owned(), at(last)), ("hmi".to_owned(), at(99))]);
        trials.begin("plc");
        trials.looked(at(10), &heard(9));
        trials.looked(at(15), &heard(10));
        assert_eq!((trials.heard("plc"), trials.heard("hmi")), (None, None));
        trials.looked(at(20), &heard(16));
        // What is forgotten elsewhere since was heard all the same.
        trials.looked(at(2000), &BTreeMap::new());
        trials.follow(["plc", "hmi"].into_iter());
        assert_eq!((trials.heard("plc"), trials.heard("hmi")), (Some(at(16)), None));
        // It is one no longer, and then again.
        trials.follow(["hmi"].into_iter());
        trials.follow(["plc"].into_iter());
        trials.looked(at(2005), &heard(16));
        trials.looked(at(2010), &heard(16));
        assert_eq!(trials.heard("plc"), None);
    }
}
