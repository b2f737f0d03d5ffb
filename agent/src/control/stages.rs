//! What the control socket says of stages: where devices are, what the agent knows of the next gate, and the policy that a proof is about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::File;
use crate::rollout::{Criterion, Standing};

/// Where a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageStatus {
    /// Its name.
    pub device: String,
    /// Its class.
    pub class: Option<String>,
    /// Stage and mode together.
    pub stage: Standing,
    /// Since when it is there, RFC 3339; none for who was never brought to a stage.
    pub since: Option<String>,
    /// Who brought it there, and why.
    pub by: Option<String>,
    /// Whether a gate was passed by force.
    #[serde(default)]
    pub forced: bool,
    /// What the agent knows of that the next gate asks for.
    pub criteria: Vec<Criterion>,
    /// Breaks that were accepted.
    pub accepted: Vec<AcceptedStatus>,
}

/// A break that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedStatus {
    /// Names it.
    pub id: String,
    /// What it is.
    pub what: String,
    /// Who accepted it.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
    /// In his words.
    pub reason: String,
}

/// What is in force, to be proved against what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForceStatus {
    /// The number of the revision; 0 when it could not be kept.
    pub number: u64,
    /// Names the texts of the policy, whatever the modes: a proof holds for these alone.
    pub policy: String,
    /// The texts: the first for all devices, each further one for some.
    pub layers: Vec<LayerText>,
    /// Modes set by hand, by device.
    pub by_hand: BTreeMap<String, String>,
    /// Where everybody is.
    pub stages: Vec<StageStatus>,
    /// Why the history could not be brought up to now; none when it was, or when that was not asked for.
    pub behind: Option<String>,
}

/// Policy files for some devices, or for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerText {
    /// For whom alone; empty for all.
    pub only: Vec<String>,
    /// Its files.
    pub files: Vec<File>,
}
