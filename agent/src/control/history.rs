//! What the control socket says of the history of flows.

use std::collections::BTreeMap;

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
    /// How the collector of exporters' flows fares, where there is one.
    #[serde(default)]
    pub collector: Option<CollectorStatus>,
}

/// What exporters told of since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorStatus {
    /// Where it listens.
    pub listen: String,
    /// Why it cannot, while it cannot.
    pub problem: Option<String>,
    /// Datagrams of each exporter.
    pub exporters: BTreeMap<String, u64>,
    /// Datagrams of others.
    pub refused: u64,
    /// Who sent the last of those.
    pub refused_last: Option<String>,
    /// Datagrams that the kernel dropped since they came faster than they were read.
    pub dropped: u64,
    /// Datagrams that are no NetFlow 5, NetFlow 9 or IPFIX, or damaged.
    pub damaged: u64,
    /// Sets of records that could not be read to their end.
    pub damaged_sets: u64,
    /// Records that were read.
    pub records: u64,
    /// Records that are no flow.
    pub left_out: u64,
    /// Sets of records whose template has not come yet.
    pub without_template: u64,
    /// Records or datagrams that never came, by the numbers of the exporters.
    pub missing: u64,
    /// Records that another exporter had told of.
    pub repeated: u64,
    /// Exporters that were forgotten to make room, with their templates.
    pub forgotten: u64,
    /// Exporters that look at one packet of so many.
    pub sampled: BTreeMap<String, u64>,
    /// Conversations that were told of.
    pub flows: u64,
    /// Those of them between ends between which the gateway sees traffic by itself: they are in the history already.
    pub seen_here: u64,
    /// Those of them for which there was no room.
    pub full: u64,
}
