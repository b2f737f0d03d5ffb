//! What the agent keeps: which devices an operator took out of their policy's mode, and the policy that
//! was last found good.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Mode;

/// Name of [`Overrides`] in the store.
pub const OVERRIDES: &str = "overrides.json";

/// Name of [`LastGood`] in the store.
pub const LAST_GOOD: &str = "last-good.json";

/// Name of [`Leases`] in the store.
pub const LEASES: &str = "leases.json";

/// Which device had which address by DHCP.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Leases {
    /// When this was written, by the wall clock.
    pub at: Option<jiff::Timestamp>,
    /// In the order of the addresses.
    pub leases: Vec<KeptLease>,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLease {
    /// The address.
    pub address: std::net::IpAddr,
    /// The hardware address of the client.
    pub mac: String,
    /// When it ends, by the wall clock; absent when never.
    pub until: Option<jiff::Timestamp>,
    /// For how many seconds it was given; absent when for ever.
    pub seconds: Option<u64>,
}

/// Name of [`Names`] in the store.
pub const NAMES: &str = "names.json";

/// Which device learned which address by name.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Names {
    /// When this was written, by the wall clock.
    pub at: Option<jiff::Timestamp>,
    /// In the order of the devices, names and addresses.
    pub names: Vec<KeptName>,
}

/// One address behind a name, as a device's resolver told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptName {
    /// The device's name in the policy.
    pub device: String,
    /// The name it asked for.
    pub name: String,
    /// The address behind it.
    pub address: std::net::IpAddr,
    /// When it is forgotten, by the wall clock.
    pub until: jiff::Timestamp,
}

/// Name of [`RuleHits`] in the store.
pub const HITS: &str = "hits.json";

/// What rules have allowed, over agents and boots.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleHits {
    /// Names the kernel's counters: others count from nothing.
    pub counters: String,
    /// By what a rule says, see the daemon.
    pub rules: BTreeMap<String, KeptHits>,
}

/// What one rule has allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptHits {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// When a packet was last noticed.
    pub last: Option<jiff::Timestamp>,
    /// Since when this is kept.
    pub since: jiff::Timestamp,
    /// The rule's stable id; 0 when that is another rule's by now.
    pub id: u32,
    /// What the kernel had counted under that id: packets and bytes.
    pub counted: [u64; 2],
}

/// Modes that an operator set, and that hold until released, whatever the policy says.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Overrides {
    /// By the device's name.
    pub devices: BTreeMap<String, Override>,
}

/// One device's mode, with who set it and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The mode.
    #[serde(with = "ModeWord")]
    pub mode: Mode,
    /// The user who set it.
    pub by: String,
    /// When: RFC 3339, UTC.
    pub at: String,
    /// In that user's words.
    pub why: Option<String>,
    /// The mode set by hand that a quarantine took the place of; its release returns to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Override>>,
}

/// What agents wrote before they kept revisions: the policy that was applied last, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    /// Its revision, twelve hexadecimal digits.
    pub revision: String,
    /// Its files, sorted by path.
    pub files: Vec<PolicyFile>,
    /// When it was applied: RFC 3339, UTC.
    pub at: String,
}

/// One policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    /// How it was named when it was read.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// [`Mode`] as its word.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Mode", rename_all = "lowercase")]
pub(super) enum ModeWord {
    Monitor,
    Enforce,
    Quarantine,
}
