//! The violation record: one JSON object on one line, versioned, documented in `docs/violations.md`.
//!
//! Whatever an attacker chooses (addresses, ports, tags) is in it as a number or in a fixed spelling of
//! one; names come from the policy and the system, and are escaped by the JSON encoder.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::Mode;

/// Version of the fields below. A new field does not raise it; a changed meaning does.
pub const VERSION: u32 = 1;

/// Packets of one violation that were denied since its last record. Fields are written in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// [`VERSION`].
    pub v: u32,
    /// The last packet counted here: RFC 3339, UTC, microseconds.
    pub time: String,
    /// The first packet counted here, likewise.
    pub first: String,
    /// The gateway's name.
    pub gateway: String,
    /// Counts the records of one agent run, from 1, without a gap.
    pub seq: u64,
    /// The revision that decided: twelve hexadecimal digits. `None` when there was no policy, or when it
    /// is too long ago to be known.
    pub revision: Option<String>,
    /// The device the violation is counted for; `None` when no managed device is involved.
    pub device: Option<String>,
    /// The strictest mode of the managed ends; for unmanaged traffic what the interface says.
    #[serde(with = "ModeWord")]
    pub mode: Mode,
    /// What the policy said.
    pub verdict: Verdict,
    /// What happened to the packets.
    pub action: Action,
    /// The word of the reason.
    pub reason: String,
    /// The reason in one sentence.
    pub explanation: String,
    /// The rule concerned, with its file and line; `None` when no rule is.
    pub rule: Option<String>,
    /// Who sent it.
    pub source: End,
    /// To whom.
    pub destination: End,
    /// Protocol of the innermost header that was read.
    pub protocol: String,
    /// Type and code, when the protocol is `icmp`.
    pub icmp: Option<Icmp>,
    /// VLAN of the outer tag.
    pub vlan: Option<u16>,
    /// VLAN of the inner tag.
    pub inner_vlan: Option<u16>,
    /// The interface on which the packets arrived.
    pub interface: String,
    /// Whether these violations were too many to tell apart: the ends are left out, the count is exact.
    pub others: bool,
    /// Packets since the last record of the same violation.
    pub count: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// One end of a denied packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// A device, `gateway`, or the most specific network. When the sender uses an address that is not its
    /// own, only its hardware address may name it.
    pub name: Option<String>,
    /// Hardware address of the frame, lower case with colons; `None` where ends are left out.
    pub mac: Option<String>,
    /// IPv4 address; for ARP the sender's or the target's.
    pub ip: Option<IpAddr>,
    /// TCP or UDP port, of the first packet where packets differ.
    pub port: Option<u16>,
}

/// What an ICMP message is (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icmp {
    /// Type.
    pub r#type: u8,
    /// Code.
    pub code: u8,
}

/// What the policy said. Only denied packets make records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No rule allows it, or something is wrong with it.
    Deny,
}

/// What happened to denied packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They ended here.
    Dropped,
    /// They went on: no enforcing device was involved.
    Passed,
}

/// [`Mode`] as its word.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Mode", rename_all = "lowercase")]
enum ModeWord {
    Monitor,
    Enforce,
    Quarantine,
}

impl Violation {
    /// The record as one line, without the line's end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a record is strings and numbers, which always have a JSON form")
    }
}
