//! The numbers of a moment.

use bulkhead_common::layout::{InterfaceCounters, Traffic};

use crate::record::Modes;

/// Everything that is told, in names.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Of the agent.
    pub version: String,
    /// Seconds since 1970.
    pub started: f64,
    /// As `bulkhead status` lists them.
    pub warnings: u64,
    /// Twelve hexadecimal digits.
    pub revision: String,
    /// Its number among those that are kept.
    pub number: u64,
    /// When it was made, seconds since 1970.
    pub made: Option<f64>,
    /// When a revision was last in force for good, likewise.
    pub confirmed: Option<f64>,
    /// Whether a change waits for its confirmation.
    pub pending: bool,
    /// Devices that are watched after a change, those that went back since the agent began, and those of which nobody has taken note.
    pub rollout: [u64; 3],
    /// When a shadow was set, seconds since 1970, 0 when there is none; kinds of conversation that it would break and open, those for which
    /// there was no room, and what was not judged.
    pub shadow: (f64, [u64; 4]),
    /// Devices by their stage on the way into enforcement.
    pub rollout_stages: Vec<(String, u64)>,
    /// Devices.
    pub modes: Modes,
    /// What the probe of honesty found last; `None` before the first.
    pub honest: Option<bool>,
    /// Interfaces of the configuration.
    pub interfaces: Vec<InterfaceNumbers>,
    /// Devices, traffic of nobody, and those who have no series of their own together.
    pub devices: Vec<DeviceNumbers>,
    /// Rules, likewise.
    pub rules: Vec<RuleNumbers>,
    /// Denied packets.
    pub violations: u64,
    /// The same by stage.
    pub stages: Vec<(&'static str, u64)>,
    /// Denied packets that wait to be told.
    pub waiting: u64,
    /// Tables.
    pub tables: Vec<TableNumbers>,
    /// What was refused, by what it was.
    pub refused: Vec<(&'static str, u64)>,
    /// Allowed packets that could leave without the kernel, by what became of them.
    pub forwarded: Vec<(&'static str, u64)>,
    /// Flows.
    pub flows_evicted: u64,
    /// Sinks.
    pub sinks: Vec<SinkNumbers>,
    /// The history of flows; `None` where none is kept.
    pub history: Option<HistoryNumbers>,
    /// The inventory; `None` where none is kept.
    pub inventory: Option<InventoryNumbers>,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct InterfaceNumbers {
    /// As the system calls it.
    pub name: String,
    /// `native`, `generic` or `none`.
    pub attached: String,
    /// Its counters; none before it was ever attached.
    pub counters: InterfaceCounters,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceNumbers {
    /// As the policy calls it.
    pub name: String,
    /// Verdict, reason and packets; those of which there were none left out.
    pub packets: Vec<(&'static str, &'static str, u64)>,
}

impl DeviceNumbers {
    /// Those that were denied, for whatever reason.
    pub fn denied(&self) -> u64 {
        self.packets.iter().filter(|(verdict, ..)| *verdict == "deny").map(|(.., n)| n).sum()
    }
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleNumbers {
    /// In whose name it is written.
    pub holder: String,
    /// What it says.
    pub rule: String,
    /// What it allowed.
    pub traffic: Traffic,
}

/// A table of the kernel or of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableNumbers {
    /// What it holds.
    pub name: &'static str,
    /// How many.
    pub entries: u64,
    /// How many it has room for.
    pub limit: u64,
}

/// A sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkNumbers {
    /// As the configuration calls it.
    pub name: String,
    /// Whether it takes records, and they get through.
    pub up: bool,
    /// Records by what became of them.
    pub records: Vec<(&'static str, u64)>,
    /// What waits in its spool; `None` where there is none.
    pub spool: Option<SpoolNumbers>,
}

/// A spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolNumbers {
    /// Bytes that are not surely read.
    pub bytes: u64,
    /// Packets that they account for.
    pub packets: u64,
    /// Bytes that were dropped before they were surely read.
    pub dropped: u64,
    /// Connections that could not be made, or broke.
    pub failures: u64,
}

/// The inventory: devices that are heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InventoryNumbers {
    /// Whether it can be written.
    pub up: bool,
    /// Devices of the policy, and others.
    pub devices: [u64; 2],
    /// Frames that were read, since the agent began.
    pub frames: u64,
    /// What was lost since then, by why.
    pub lost: [(&'static str, u64); 4],
    /// Changes without a record of their own, since then.
    pub untold: u64,
}

/// The history of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryNumbers {
    /// Whether it can be written.
    pub up: bool,
    /// Bytes in use.
    pub bytes: u64,
    /// How large it may be.
    pub limit: u64,
    /// Rows in the file.
    pub rows: u64,
    /// Rows written since the agent began.
    pub written: u64,
    /// What is in no row, since then.
    pub refused: u64,
    /// Files set aside, since then.
    pub damaged: u64,
}
