//! How far devices are on their way into enforcement, and which breaks were accepted: written before a step is acknowledged.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Deadline;
use crate::{
    model::Mode,
    rollout::{Stage, Standing},
};

/// Name of [`Stages`] in the store.
pub const STAGES: &str = "stages.json";
/// Breaks of one device that can be accepted.
pub const MOST_ACCEPTED: usize = 256;

/// Where everybody is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stages {
    /// By the device's name; who is not here is at the start.
    #[serde(default)]
    pub devices: BTreeMap<String, KeptStage>,
    /// Breaks that were accepted, by the device's name.
    #[serde(default)]
    pub accepted: BTreeMap<String, Vec<AcceptedBreak>>,
}

/// Where one device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptStage {
    /// The stage.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// Who brought it there.
    pub by: String,
    /// Why, in his words or the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether a gate was passed by force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// When it has been a canary for long enough; of a canary alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Deadline>,
}

/// A break that somebody has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedBreak {
    /// Names it.
    pub id: String,
    /// What it is.
    pub what: String,
    /// Who accepted it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// In his words.
    pub reason: String,
}

impl Stages {
    /// What a device with a mode is.
    pub fn standing(&self, device: &str, mode: Mode) -> Standing {
        Standing::of(self.devices.get(device).map(|kept| kept.stage), mode)
    }

    /// Those whose mode is not that of their stage any more, and those that left the policy for good (`mode` knows none, and nothing
    /// `returns` with them), with what is left.
    pub fn contradicted(
        &self,
        mode: impl Fn(&str) -> Option<Mode>,
        returns: impl Fn(&str) -> bool,
    ) -> Vec<(String, Option<Stage>)> {
        let is_away = |name: &str| mode(name).is_none() && returns(name);
        let mut found: BTreeMap<String, Option<Stage>> = BTreeMap::new();
        for (name, kept) in self.devices.iter().filter(|(name, _)| !is_away(name)) {
            let left = mode(name).map(|mode| kept.stage.under(mode));
            if left != Some(kept.stage) {
                found.insert(name.clone(), left);
            }
        }
        for name in self.accepted.keys().filter(|name| mode(name).is_none() && !is_away(name)) {
            found.insert(name.clone(), None);
        }
        found.into_iter().collect()
    }

    /// Nobody knows who watched until now: the time of every canary begins anew.
    #[must_use]
    pub fn watched_anew(mut self) -> Self {
        self.devices.values_mut().for_each(|kept| kept.until = None);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_mode_contradicts_is_found_and_who_left_is_forgotten() {
        let kept = |stage| KeptStage {
            stage,
            since: Timestamp::UNIX_EPOCH,
            by: "root".into(),
            why: None,
            forced: false,
            until: None,
        };
        let break_ = AcceptedBreak {
            id: "a".into(),
            what: "b".into(),
            by: "root".into(),
            at: Timestamp::UNIX_EPOCH,
            reason: "c".into(),
        };
        let stages = Stages {
            devices: [("plc", Stage::Canary), ("hmi", Stage::Ready), ("gone", Stage::Enforce)]
                .map(|(name, stage)| (name.to_owned(), kept(stage)))
                .into(),
            accepted: BTreeMap::from([("left".to_owned(), vec![break_])]),
        };
        let text = serde_json::to_string(&stages).expect("JSON");
        assert_eq!(serde_json::from_str::<Stages>(&text).expect("what was written"), stages);
        let modes = |name: &str| ["plc", "hmi"].contains(&name).then_some(Mode::Monitor);
        let owned = |name: &str, stage| (name.to_owned(), stage);
        let found = stages.contradicted(modes, |_| false);
        assert_eq!(found, [owned("gone", None), owned("left", None), owned("plc", Some(Stage::Observe))]);
        // Whoever left for a moment, with a mode that comes back with it, is what it was.
        assert_eq!(stages.contradicted(|_| None, |_| true), []);
        assert_eq!(stages.contradicted(modes, |name| name == "gone"), found[1..]);
        assert_eq!(stages.standing("plc", Mode::Monitor), Standing::Stage(Stage::Observe));
        assert_eq!(stages.standing("plc", Mode::Enforce), Standing::Stage(Stage::Canary));
        assert_eq!(stages.standing("hmi", Mode::Enforce), Standing::Enforced);
    }

    #[test]
    fn time_without_an_agent_is_no_time_of_a_canary() {
        let now = crate::store::Clocks {
            boot: "b".into(),
            up: std::time::Duration::ZERO,
            wall: Timestamp::UNIX_EPOCH,
        };
        let kept = KeptStage {
            stage: Stage::Canary,
            since: Timestamp::UNIX_EPOCH,
            by: "root".into(),
            why: None,
            forced: false,
            until: Some(Deadline::after(std::time::Duration::from_secs(60), &now)),
        };
        let stages =
            Stages { devices: BTreeMap::from([("plc".to_owned(), kept.clone())]), ..Stages::default() };
        let anew = stages.watched_anew();
        assert_eq!(anew.devices["plc"], KeptStage { until: None, ..kept });
    }
}
