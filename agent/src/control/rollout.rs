//! What the control socket says of devices that are watched after a change.

use serde::{Deserialize, Serialize};

use super::StageStatus;

/// Who is watched, and who went back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// By name.
    pub watched: Vec<WatchStatus>,
    /// The newest first.
    pub went_back: Vec<WentBackStatus>,
    /// Where devices are on their way into enforcement.
    #[serde(default)]
    pub stages: Vec<StageStatus>,
    /// Dropped packets of which nobody asked whether they were allowed before, for there were too many: since the agent started.
    pub not_asked: u64,
}

/// A device that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// Its name.
    pub device: String,
    /// The change that touched it.
    pub change: String,
    /// What comes back if traffic suffers.
    pub back_to: String,
    /// When the change was made, RFC 3339.
    pub since: String,
    /// For so long it is watched yet.
    pub seconds_left: u64,
    /// What it did steadily before the change.
    pub steady: Vec<String>,
    /// Whether it is not heard at all, with nothing of it dropped: off, or without a link.
    pub silent: bool,
}

/// A device that went back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WentBackStatus {
    /// Its name.
    pub device: String,
    /// Whether all devices went back with it.
    pub all: bool,
    /// When, RFC 3339.
    pub at: String,
    /// The whole story.
    pub why: String,
    /// Who has taken note, when and in which words; none yet.
    pub acknowledged: Option<String>,
}
