//! What leaves the agent: records, each one JSON object on one line, versioned, documented in `docs/violations.md`.
//!
//! Whatever an attacker chooses (addresses, ports, tags) is in it as a number or in a fixed spelling of
//! one; names come from the policy and the system, and are escaped by the JSON encoder.

use std::{fmt, net::IpAddr};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Mode;

mod alarm;
mod debt;
mod format;
mod sighting;

pub use alarm::{Alarm, Event, Trigger};
pub use debt::Debt;
pub use format::Format;
pub use sighting::{Novelty, Sighting};

/// Version of the fields below. A new field does not raise it; a changed meaning does.
pub const VERSION: u32 = 1;

/// One thing that is told. Its `count` is the packets that it accounts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// Packets that were denied.
    Violation(Box<Violation>),
    /// Denied packets of which nothing else is known.
    Gap(Gap),
    /// The agent is there: silence is not peace.
    Heartbeat(Heartbeat),
    /// The agent undid a change.
    Alarm(Box<Alarm>),
    /// A device, or what it says of itself, is new.
    Inventory(Box<Sighting>),
}

/// Which record of which agent run: enough to recognise a duplicate, and to see that one is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId {
    /// One agent run: 16 hexadecimal digits.
    pub boot: String,
    /// Counts the records of the run, from 1, without a gap.
    pub seq: u64,
}

/// Packets of one violation that were denied since its last record. Fields are written in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// Version of the record, 1: a changed meaning raises it, a new field does not.
    pub v: u32,
    /// The last packet counted here: RFC 3339, UTC, microseconds.
    pub time: String,
    /// The first packet counted here, likewise.
    pub first: String,
    /// The gateway's name.
    pub gateway: String,
    /// The agent run: 16 hexadecimal digits.
    pub boot: String,
    /// Counts the records of one agent run, from 1, without a gap.
    pub seq: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The revision that decided: twelve hexadecimal digits. Null when there was no policy, or when it
    /// is too long ago to be known.
    pub revision: Option<String>,
    /// The device the violation is counted for; null when no managed device is involved.
    pub device: Option<String>,
    /// How much harm a stop of the device does: `low`, `medium`, `high` or `safety`.
    pub criticality: Option<String>,
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
    /// Who sent it.
    pub source: End,
    /// To whom.
    pub destination: End,
    /// Protocol of the innermost header that was read.
    pub protocol: String,
    /// Type and code, when the protocol is `icmp` or `icmpv6`.
    pub icmp: Option<Icmp>,
    /// VLAN of the outer tag.
    pub vlan: Option<u16>,
    /// VLAN of the inner tag.
    pub inner_vlan: Option<u16>,
    /// The interface on which the packets arrived.
    pub interface: String,
    /// Whether the packets look like answers of a server: from one port of the source to several of its clients'.
    pub answer: bool,
    /// Whether these violations were too many to tell apart: the ends are left out, the count is exact.
    pub others: bool,
    /// What a scan has tried, when these violations are one.
    pub scan: Option<Scan>,
    /// The first bytes of the earliest frame that was seen whole, hexadecimal.
    pub packet: Option<String>,
    /// Packets since the last record of the same violation.
    pub count: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// One end of a denied packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// A device, `gateway`, or the most specific network. When the sender uses an address that is not its
    /// own, only its hardware address may name it.
    pub name: Option<String>,
    /// Hardware address of the frame, lower case with colons; null where ends are left out.
    pub mac: Option<String>,
    /// IPv4 or IPv6 address; for ARP the sender's or the target's.
    pub ip: Option<IpAddr>,
    /// TCP or UDP port, of the first packet where packets differ.
    pub port: Option<u16>,
}

/// How bad a violation is, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing to do.
    Info,
    /// To be looked at some time.
    Low,
    /// To be looked at today.
    Medium,
    /// To be looked at now.
    High,
    /// People may be hurt, or somebody is at it on purpose.
    Critical,
}

/// Distinct targets of a scan since its last record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scan {
    /// Destination hosts.
    pub hosts: u64,
    /// Destination ports with their protocol; protocols, types and EtherTypes where there are none.
    pub ports: u64,
    /// Devices for which violations were counted.
    pub devices: u64,
    /// Whether there were more than could be told apart: the three are lower bounds then.
    pub at_least: bool,
}

/// Denied packets of which nothing else is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// Version of the record, 1: a changed meaning raises it, a new field does not.
    pub v: u32,
    /// When it was found: RFC 3339, UTC, microseconds.
    pub time: String,
    /// The gateway's name.
    pub gateway: String,
    /// The agent run: 16 hexadecimal digits; with the cause `spool`, of the record that follows the dropped ones.
    pub boot: String,
    /// Counts the records of one agent run, from 1, without a gap; with the cause `spool`, the number of the record that
    /// follows the dropped ones.
    pub seq: u64,
    /// Why they are not told.
    pub cause: Cause,
    /// The same as a sentence.
    pub explanation: String,
    /// The first record in whose place this one stands, when records were dropped; null then when there was none before them.
    pub first: Option<String>,
    /// The last of them; null when they reach to the end of an agent run, and its length is not known.
    pub last: Option<String>,
    /// Packets.
    pub count: u64,
}

impl Gap {
    /// So many packets, for a cause, found at a time (RFC 3339), under the number of a record; which records are missing is not known.
    pub fn new(
        RecordId { boot, seq }: RecordId,
        gateway: &str,
        time: String,
        cause: Cause,
        count: u64,
    ) -> Self {
        Self {
            v: VERSION,
            time,
            gateway: gateway.to_owned(),
            boot,
            seq,
            cause,
            explanation: cause.text().to_owned(),
            first: None,
            last: None,
            count,
        }
    }
}

/// Why packets are counted and not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// They were counted before this sink began.
    Before,
    /// An agent that ended without a word had taken them and not handed them on.
    Restart,
    /// The kernel had no room to tell them.
    Ring,
    /// The spool was full: the oldest records went. Or some of it was damaged.
    Spool,
    /// The sink, or its spool, could not be written.
    Disk,
    /// One record, this one, of which no message for this sink could be made.
    Unsendable,
}

/// A sign of life, with the totals at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
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
    /// The revision in force.
    pub revision: Option<String>,
    /// Devices by their mode.
    pub modes: Modes,
    /// What the kernel has counted since its tables were made, packets.
    pub violations: u64,
    /// What is wrong, as `bulkhead status` says it; empty when nothing is.
    pub warnings: Vec<String>,
    /// Packets that the agent sent itself, to see whether they are counted.
    pub count: u64,
}

/// Devices by their mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Modes {
    /// Watched.
    pub monitor: u64,
    /// Enforced.
    pub enforce: u64,
    /// Cut off.
    pub quarantine: u64,
}

/// What an ICMP message is (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Icmp {
    /// Type.
    pub r#type: u8,
    /// Code.
    pub code: u8,
}

/// What the policy said. Only denied packets make records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No rule allows it, or something is wrong with it.
    Deny,
}

/// What happened to denied packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They ended here.
    Dropped,
    /// They went on: no enforcing device was involved.
    Passed,
}

/// A mode as its word.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Mode", rename_all = "lowercase")]
#[schemars(rename = "Mode")]
enum ModeWord {
    /// A denied packet passes.
    Monitor,
    /// A denied packet is dropped.
    Enforce,
    /// Everything is dropped but talk with the remediation peers.
    Quarantine,
}

impl Cause {
    /// The cause as a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Before => "they were counted before this sink began",
            Self::Restart => {
                "they were counted while no agent was there, or one that ended without a word had taken them"
            }
            Self::Ring => "the kernel had no room to tell them",
            Self::Spool => "the spool of this sink had no more room for them, or was damaged",
            Self::Disk => "this sink, or its spool, could not be written",
            Self::Unsendable => "no message for this sink could be made of their record",
        }
    }
}

/// What a record may be, as a JSON Schema (draft 2020-12). Objects may have more fields: later agents write some.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Record>();
    schema.insert("title".to_owned(), "Records of a Bulkhead gateway".into());
    schema.to_value()
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.boot, self.seq)
    }
}

impl Record {
    /// The record as one line, without the line's end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a record is strings and numbers, which always have a JSON form")
    }

    /// Which it is.
    pub fn id(&self) -> RecordId {
        let (boot, seq) = match self {
            Self::Violation(one) => (&one.boot, one.seq),
            Self::Gap(one) => (&one.boot, one.seq),
            Self::Heartbeat(one) => (&one.boot, one.seq),
            Self::Alarm(one) => (&one.boot, one.seq),
            Self::Inventory(one) => (&one.boot, one.seq),
        };
        RecordId { boot: boot.clone(), seq }
    }

    /// The gateway's name.
    pub fn gateway(&self) -> &str {
        match self {
            Self::Violation(one) => &one.gateway,
            Self::Gap(one) => &one.gateway,
            Self::Heartbeat(one) => &one.gateway,
            Self::Alarm(one) => &one.gateway,
            Self::Inventory(one) => &one.gateway,
        }
    }

    /// The name that no other record of the gateway has: its id, and `BOOT-SEQ-gap` for a gap with cause `spool`, which has the
    /// number of the record that follows it.
    pub fn event_id(&self) -> String {
        let id = self.id();
        match self {
            Self::Gap(Gap { cause: Cause::Spool, .. }) => format!("{id}-gap"),
            Self::Gap(_) | Self::Violation(_) | Self::Heartbeat(_) | Self::Alarm(_) | Self::Inventory(_) => {
                id.to_string()
            }
        }
    }

    /// Its number in the agent run.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Violation(one) => one.seq,
            Self::Gap(one) => one.seq,
            Self::Heartbeat(one) => one.seq,
            Self::Alarm(one) => one.seq,
            Self::Inventory(one) => one.seq,
        }
    }

    /// The packets that it accounts for.
    pub fn count(&self) -> u64 {
        match self {
            Self::Violation(one) => one.count,
            Self::Gap(one) => one.count,
            Self::Heartbeat(one) => one.count,
            Self::Alarm(one) => one.count,
            Self::Inventory(one) => one.count,
        }
    }
}
