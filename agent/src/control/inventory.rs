//! What the control socket says of the inventory.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::inventory::{Change, Counts, Named};

/// Some devices of the inventory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InventoryPage {
    /// The devices, with their names in the policy.
    pub devices: Vec<Named>,
    /// The last of them, when there are more: what is behind it is asked for next.
    #[serde(default)]
    pub next: Option<String>,
    /// The last changes, the oldest first; with the first page alone.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Names that a new device of the policy cannot have; with the first page alone.
    #[serde(default)]
    pub taken: BTreeSet<String>,
    /// What was counted since the agent started.
    pub counts: Counts,
    /// How it fares.
    pub status: InventoryStatus,
}

/// How the inventory fares, since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryStatus {
    /// Devices that are in the policy.
    pub known: u64,
    /// Devices that are not.
    pub unknown: u64,
    /// Interfaces that are listened on.
    pub listens: Vec<String>,
    /// Interfaces on which nothing is heard: sides of inline pairs, where what arrives leaves before the kernel sees it.
    #[serde(default)]
    pub deaf: Vec<String>,
    /// Frames that were read.
    pub frames: u64,
    /// Frames of devices and claims for which there was no room.
    pub refused: u64,
    /// Strangers that were forgotten to make room.
    pub forgotten: u64,
    /// Frames that were not read since there were too many in a second.
    pub over_budget: u64,
    /// Frames that the kernel dropped while the thread was behind.
    pub dropped: u64,
    /// Changes that were not told in a record of their own.
    pub untold: u64,
    /// Why it is not written, or what of it was lost.
    #[serde(default)]
    pub problem: Option<String>,
}
