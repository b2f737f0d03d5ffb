//! What is new on the wire about a device, by what it says of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{End, Severity};

/// A device that was never heard before, or one that says something else of itself than it did. A claim: any host can say anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sighting {
    /// Version of the record, 1: a changed meaning raises it, a new field does not.
    pub v: u32,
    /// When it was heard: RFC 3339, UTC, microseconds.
    pub time: String,
    /// The gateway's name.
    pub gateway: String,
    /// The agent run: 16 hexadecimal digits.
    pub boot: String,
    /// Counts the records of one agent run, from 1, without a gap.
    pub seq: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What is new.
    pub change: Novelty,
    /// The device of the policy; null when it is in none.
    pub device: Option<String>,
    /// Who it is about: its hardware address, or behind a router its address, and an address that is new.
    pub source: End,
    /// The interface, and the VLAN if there is one, on which it was heard.
    pub interface: Option<String>,
    /// What it says otherwise: `name`, `vendor`, `model`, `firmware`, `serial` or `role`.
    pub fact: Option<String>,
    /// What it said before.
    pub before: Option<String>,
    /// What it says now.
    pub now: Option<String>,
    /// The protocol that says so.
    pub evidence: Option<String>,
    /// The same as a sentence.
    pub explanation: String,
    /// How many changes this record stands for that have none of their own.
    pub more: u64,
    /// Packets that this record accounts for: none.
    pub count: u64,
}

/// What is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Novelty {
    /// A device that is not in the policy, heard for the first time.
    NewDevice,
    /// It uses another IPv4 address.
    NewAddress,
    /// It says something else of itself.
    Changed,
    /// So many changes came at once that these are only counted.
    More,
}

impl Novelty {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewDevice => "new-device",
            Self::NewAddress => "new-address",
            Self::Changed => "changed",
            Self::More => "more",
        }
    }

    /// The same as a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NewDevice => "a device that is not in the policy is heard for the first time",
            Self::NewAddress => "a device uses another address",
            Self::Changed => "a device says something else of itself",
            Self::More => "devices and what they say changed more often than is told one by one",
        }
    }
}
