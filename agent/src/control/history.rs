//! What the control socket says of the history of flows.

use serde::{Deserialize, Serialize};

/// How the history fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryStatus {
    /// The file.
    pub file: String,
    /// Bytes of it that are in use.
    pub bytes: u64,
    /// How large it may be.
    pub bytes_limit: u64,
    /// Rows: one for each kind of conversation and day.
    pub rows: u64,
    /// The first day that is kept, as `2026-11-23`; none before the first row.
    #[serde(default)]
    pub since: Option<String>,
    /// When it was last written, RFC 3339; none before the first time.
    #[serde(default)]
    pub written: Option<String>,
    /// Rows that were written since the agent started.
    pub written_rows: u64,
    /// Conversations and packets that are in no row since the agent started: there was no room, or nobody could tell them apart.
    pub refused: u64,
    /// Rows of old days that made room, since the file was begun.
    pub gone_rows: u64,
    /// Damaged files that were set aside since the agent started.
    pub set_aside: u64,
    /// Why it cannot be written; what is new waits in memory then.
    #[serde(default)]
    pub problem: Option<String>,
}
