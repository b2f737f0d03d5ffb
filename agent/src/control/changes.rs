//! What is said of changes: files that travel, one that was made, one that waits, those that can be returned to, and whether the kernel holds what was made.

use serde::{Deserialize, Serialize};

/// A policy was applied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Applied {
    /// Its revision.
    pub revision: String,
    /// Its number in the list of revisions; absent when the change is none of a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// How many policies were applied since the maps were made.
    pub generation: u32,
    /// Whether anything changed.
    pub changed: bool,
    /// Warnings, rendered.
    pub warnings: String,
    /// Devices that denied traffic was dropped for before, and is not any more; sorted.
    #[serde(default)]
    pub released: Vec<String>,
    /// The change waits for a confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingStatus>,
    /// What a person should know besides: a line each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A change that is undone unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingStatus {
    /// The number of the revision that waits.
    pub number: u64,
    /// The number of the revision that comes back.
    pub back_to: u64,
    /// In so many seconds.
    pub seconds_left: u64,
    /// That moment by the wall clock, RFC 3339.
    pub until: String,
    /// Who made the change.
    pub by: String,
}

/// How the configured files stand to what is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilesStatus {
    /// They are what is in force.
    #[default]
    InForce,
    /// They are something else, and this is why and what to do.
    Differ(String),
    /// They cannot be read, and this is why.
    Unreadable(String),
}

/// The revisions that can be returned to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RevisionList {
    /// Newest first.
    pub revisions: Vec<RevisionStatus>,
    /// What is in the state folder and cannot be used: a line each.
    pub broken: Vec<String>,
}

/// One revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionStatus {
    /// Counts revisions.
    pub number: u64,
    /// Its content hash when it was made.
    pub revision: String,
    /// What has become of it.
    pub state: RevisionState,
    /// When it was made, RFC 3339.
    pub at: String,
    /// Who made it.
    pub by: String,
    /// `files` or `pushed`.
    pub origin: String,
    /// The path its files were read from.
    pub from: String,
    /// In that user's words.
    pub reason: Option<String>,
    /// Who signed its files: number, key and comment of the set.
    #[serde(default)]
    pub signed: Option<String>,
    /// What it changed, in a line.
    pub changes: String,
    /// The revision before it.
    pub before: Option<u64>,
    /// The devices that alone got it; empty for all.
    pub only: Vec<String>,
    /// Its files.
    pub files: Vec<String>,
}

/// What has become of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevisionState {
    /// It is in force.
    Current,
    /// It is in force and waits for its confirmation.
    Unconfirmed,
    /// It was taken back.
    RolledBack,
    /// It was in force.
    Kept,
}

impl RevisionState {
    /// The word for it; empty for what needs none.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Unconfirmed => "UNCONFIRMED",
            Self::RolledBack => "rolled back",
            Self::Kept => "",
        }
    }
}

/// A policy file that travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, for diagnostics.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// Whether the kernel holds what the agent put there, when it was last looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DriftStatus {
    /// When that was, RFC 3339; empty before the first look.
    pub checked: String,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// What differs, a sentence each.
    pub found: Vec<String>,
    /// How often the agent has written its tables anew for that since it started.
    pub repaired: u64,
}
