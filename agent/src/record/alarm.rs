//! What the agent did by itself that somebody should know of at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{End, Severity};

/// A device, or a whole revision, went back to what was in force before a change, because legitimate traffic suffered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alarm {
    /// Version of the record, 1: a changed meaning raises it, a new field does not.
    pub v: u32,
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// The gateway's name.
    pub gateway: String,
    /// The agent run: 16 hexadecimal digits.
    pub boot: String,
    /// Counts the records of one agent run, from 1, without a gap.
    pub seq: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The revision in force from now on.
    pub revision: Option<String>,
    /// What happened.
    pub alarm: Event,
    /// The device whose traffic suffered.
    pub device: Option<String>,
    /// How much harm a stop of the device does: `low`, `medium`, `high` or `safety`.
    pub criticality: Option<String>,
    /// What showed it.
    pub trigger: Trigger,
    /// Who began the conversation that suffered.
    pub source: End,
    /// Who answers in it; its port is the service.
    pub destination: End,
    /// Protocol of the conversation, as a violation names it.
    pub protocol: String,
    /// The whole story, in sentences.
    pub explanation: String,
    /// Packets that this record accounts for: none.
    pub count: u64,
}

/// What the agent did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// This device alone went back to what it had before the change.
    WentBack,
    /// The whole revision went back.
    AllWentBack,
    /// It should have gone back and could not; it is tried again.
    CannotGoBack,
}

/// What showed that legitimate traffic suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// A packet was denied and dropped that the rules before the change allowed.
    Denied,
    /// A conversation that was steady before the change has stopped.
    Stopped,
}

impl Event {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WentBack => "went-back",
            Self::AllWentBack => "all-went-back",
            Self::CannotGoBack => "cannot-go-back",
        }
    }

    /// The same as a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::WentBack => "a device went back to what it had before a change",
            Self::AllWentBack => "a change was undone for all devices",
            Self::CannotGoBack => "a change should be undone and cannot be",
        }
    }
}

impl Trigger {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Stopped => "stopped",
        }
    }
}
