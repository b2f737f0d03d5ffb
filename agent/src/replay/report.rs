//! What came of it, as JSON has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{compile::RuleRef, diagnostic::Listed};

/// Version of [`Report`] as JSON: it grows when a key changes its meaning or goes.
pub const VERSION: u32 = 1;

/// What a policy would do with what happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// See [`VERSION`].
    pub version: u32,
    /// The revision of the policy.
    pub revision: String,
    /// The first and the last moment of the traffic; none where there was none.
    pub from: Option<String>,
    /// See [`Report::from`].
    pub to: Option<String>,
    /// How much it was.
    pub totals: Totals,
    /// Conversations that would be dropped, or broken off: the most critical first.
    pub dropped: Listed<Break>,
    /// Conversations that no rule allows and that would pass and be reported, as no end of them is enforced.
    pub reported: Listed<Break>,
    /// How many conversations of each device are in the two lists, the most critical device first.
    pub devices: Listed<DeviceBreaks>,
    /// Attempts to open a connection that nobody answered, and that would be denied.
    pub attempts: Listed<Break>,
    /// Conversations that are allowed if the device that begins has learned the address under a name that a rule names: traffic does
    /// not tell.
    pub by_name: Listed<Break>,
    /// Conversations with somebody of whom only a link-local address is known, which says nothing of who it is: not judged.
    #[serde(default)]
    pub unknown: Listed<Break>,
    /// Denied packets that are no conversation: what is wrong with them, of which device.
    pub others: Listed<Other>,
    /// What the rules were used for.
    pub rules: Rules,
    /// What a person should know besides: a line each.
    pub notes: Vec<String>,
}

/// How much was looked at. Conversations between the same ends over the same service are one kind.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Frames; 0 where none were looked at.
    pub frames: u64,
    /// Rows of a history; likewise.
    pub rows: u64,
    /// Kinds of conversations.
    pub kinds: u64,
    /// Conversations.
    pub flows: u64,
    /// Kinds that are allowed.
    pub allowed: u64,
    /// Kinds that would be dropped.
    pub dropped: u64,
    /// Kinds that would be denied, and pass.
    pub reported: u64,
    /// Kinds of which nothing but attempts was seen, and denied.
    pub attempts: u64,
    /// Kinds that are allowed to whoever has learned a name.
    pub by_name: u64,
    /// Kinds with an end of which nobody knows who it is.
    #[serde(default)]
    pub unknown: u64,
    /// Kinds between ends of which none is a device, and which pass.
    pub unmanaged: u64,
    /// Packets that were denied as no part of a conversation that is remembered, of conversations that are allowed otherwise.
    pub late_packets: u64,
    /// Frames by what became of them: the word of the grant or reason.
    pub words: BTreeMap<String, u64>,
    /// Frames of which too little was recorded to judge them.
    pub cut: u64,
    /// Frames that the recording interface sent itself: only what arrives is judged.
    pub outbound: u64,
    /// Conversations for which there was no room.
    pub refused: u64,
}

/// A kind of conversation that is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Break {
    /// The device of the two that is more critical; none where neither is one.
    pub device: Option<String>,
    /// How much harm its stop does.
    pub criticality: Option<String>,
    /// Who began: a device, `gateway` or a network; nothing known otherwise.
    pub from: Option<String>,
    /// Its address.
    pub from_address: String,
    /// Who answers.
    pub to: Option<String>,
    /// Its address.
    pub to_address: String,
    /// What the policy calls it, like `modbus`.
    pub service: String,
    /// Its numbers, like `tcp/502`.
    pub selector: String,
    /// How many conversations.
    pub flows: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// Packets of them.
    pub packets: u64,
    /// When the first was seen.
    pub first: String,
    /// When the last was.
    pub last: String,
    /// Whether packets would be dropped, rather than reported.
    pub dropped: bool,
    /// The word for why.
    pub reason: String,
    /// The same as a sentence.
    pub explanation: String,
    /// Rules that come close, the nearest first.
    pub nearest: Vec<RuleRef>,
    /// Lines for a policy file that would allow it.
    pub missing: Option<String>,
    /// What would help where no rule does.
    pub help: Option<String>,
}

/// What a device would lose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceBreaks {
    /// Its name; none for what is between ends of which none is a device.
    pub device: Option<String>,
    /// How much harm its stop does.
    pub criticality: Option<String>,
    /// Its mode.
    pub mode: Option<String>,
    /// Kinds of conversations that would be dropped.
    pub dropped: u64,
    /// Kinds that would be denied, and pass.
    pub reported: u64,
    /// Conversations of both.
    pub flows: u64,
}

/// Denied packets that are no conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// The device they are counted for.
    pub device: Option<String>,
    /// The word for why.
    pub reason: String,
    /// The same as a sentence.
    pub explanation: String,
    /// How many.
    pub packets: u64,
    /// How many of them would be dropped.
    pub dropped: u64,
    /// Source of the first one, as far as it was read.
    pub source: String,
    /// Where it went.
    pub destination: String,
    /// When the first was seen.
    pub first: String,
    /// What would help.
    pub help: Option<String>,
}

/// Rules and what they were used for.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    /// Those that allowed something, the busiest first.
    pub used: Listed<RuleUse>,
    /// Those that allowed nothing.
    pub unused: Listed<RuleRef>,
}

/// A rule that allowed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleUse {
    /// It.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// Packets that it allowed.
    pub packets: u64,
    /// When it last did.
    pub last: String,
}

impl Report {
    /// Whether something that happened is denied.
    pub fn breaks(&self) -> bool {
        self.drops() || self.reported.total() > 0
    }

    /// Whether something that happened would be dropped.
    pub fn drops(&self) -> bool {
        self.dropped.total() > 0
    }

    /// Whether something is allowed only under a name that a device must have learned.
    pub fn relies_on_names(&self) -> bool {
        self.by_name.total() > 0
    }

    /// Whether there was more than there was room to judge.
    pub fn is_partial(&self) -> bool {
        self.totals.refused > 0
    }

    /// Whether there was no conversation that could be judged.
    pub fn is_nothing(&self) -> bool {
        self.totals.kinds == 0
    }

    /// Whether a rule allowed nothing.
    pub fn has_unused(&self) -> bool {
        self.rules.unused.total() > 0
    }
}
