//! What the screens show besides the status: conversations, rules with their hits, and a record in words.

use serde::{Deserialize, Serialize};

use crate::{compile::RuleRef, report::why::Answer};

/// The conversations that the kernel remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlowList {
    /// Sorted by device; live ones first, then by their ends.
    pub flows: Vec<FlowStatus>,
    /// How many of those asked for are not over yet, told or not.
    pub live: usize,
    /// How many are over, and not forgotten yet.
    pub expired: usize,
    /// How many are left out.
    pub more: usize,
    /// Whether the kernel remembers more than were looked at.
    #[serde(default)]
    pub cut: bool,
}

/// One conversation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowStatus {
    /// The device that it is listed under: the one that answers, else the one that started it.
    pub device: Option<String>,
    /// Whether it is not over yet.
    pub live: bool,
    /// Who started it.
    pub from: FlowEnd,
    /// Who answers.
    pub to: FlowEnd,
    /// Its name in the policy or the library, else like `tcp/502`.
    pub service: String,
    /// Like `tcp/502`.
    pub selector: String,
    /// How far a TCP conversation has come: `opening`, `open`, `half-closed`, `closed` or `reset`.
    pub state: Option<String>,
    /// For how many seconds it has been known.
    pub age_seconds: u64,
    /// For how many seconds it has been silent.
    pub idle_seconds: u64,
    /// Packets of who started it.
    pub packets_from: u64,
    /// Packets of who answers.
    pub packets_to: u64,
    /// Bytes of who started it, with their Ethernet headers.
    pub bytes_from: u64,
    /// Bytes of who answers.
    pub bytes_to: u64,
    /// The rule that allows it; none when the policy in force has it no more.
    pub rule: Option<String>,
    /// In whose name that is written.
    pub holder: Option<String>,
    /// `file:line` of it.
    pub place: Option<String>,
}

/// One end of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowEnd {
    /// A device, `gateway`, or the most specific network.
    pub name: Option<String>,
    /// Its address; none while a group was asked and nobody has answered.
    pub ip: Option<std::net::IpAddr>,
    /// Its port, where the protocol has ports.
    pub port: Option<u16>,
}

/// A rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuleStatus {
    /// The rule in one line.
    pub rule: String,
    /// In whose name it is written: `device NAME`, `class NAME` or `conduit`.
    pub holder: String,
    /// `file:line`.
    pub place: String,
    /// When it holds, in words; none for always.
    #[serde(default)]
    pub schedule: Option<String>,
    /// Whether it holds now.
    #[serde(default = "yes")]
    pub open: bool,
    /// Packets it allowed since its hits are kept, reboots included.
    pub packets: u64,
    /// Bytes it allowed, likewise.
    pub bytes: u64,
    /// When it last allowed a packet, as far as was noticed: RFC 3339, UTC. The packet was no later.
    #[serde(default)]
    pub last_hit: Option<String>,
    /// Since when its hits are kept, likewise; empty where they are not.
    #[serde(default)]
    pub since: String,
    /// Why it exists.
    pub comment: Option<String>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// The change it was made under.
    #[serde(default)]
    pub ticket: Option<String>,
    /// How it came to be: `hand`, `learned` or `mud`.
    #[serde(default)]
    pub source: String,
}

/// Rules of agents that knew no schedules hold.
fn yes() -> bool {
    true
}

/// A record in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// Its id: `BOOT-SEQ`.
    pub id: String,
    /// The record, as in the violation log.
    pub record: serde_json::Value,
    /// What happened, a sentence each.
    pub told: Vec<String>,
    /// The conversation that it is about, as the policy in force decides it; none where the record names no two ends.
    pub today: Option<Answer>,
    /// Rules between the same ends, which allow something else; the nearest first.
    pub nearest: Vec<RuleRef>,
    /// Lines for a policy file that would have allowed it; none where no rule would, or should.
    pub snippet: Option<String>,
    /// What to think of before it is allowed, or why it cannot be.
    pub warnings: Vec<String>,
}
