//! What is said on the control socket: one JSON object a line, a request, then one answer or a stream.
//!
//! In: nothing; these are the words. [`client`] speaks them from the command line, the daemon answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod changes;
pub mod client;
mod devices;
mod forward;
mod history;
mod inventory;
mod request;
mod rollout;
mod screens;
mod shadow;
mod sinks;
mod stages;

pub use changes::{
    Applied, DriftStatus, File, FilesStatus, PendingStatus, RevisionList, RevisionState, RevisionStatus,
};
pub use devices::{DeviceStatus, Identity, LeaseStatus, NameStatus};
pub use forward::ForwardStatus;
pub use history::{CollectorStatus, HistoryStatus};
pub use inventory::{InventoryPage, InventoryStatus};
pub use request::Request;
pub use rollout::{RolloutStatus, WatchStatus, WentBackStatus};
pub use screens::{Explained, FlowEnd, FlowList, FlowStatus, RuleStatus};
pub use shadow::{ShadowBrief, ShadowSet, ShadowStatus};
pub use sinks::{ProbeStatus, SinkStatus, SpoolStatus};
pub use stages::{AcceptedStatus, InForceStatus, LayerText, StageStatus};

use crate::report::{plan::Plan, why::Answer};

/// Longest line either side accepts, bytes. A pushed policy travels in one.
pub const MAX_LINE: usize = 16 << 20;

/// One line of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It worked.
    Ok(Box<Body>),
    /// It did not.
    Error(Failure),
}

/// Why a request was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// One or more lines for a person.
    pub message: String,
    /// Whether the user's input was at fault (exit code 1) rather than the world (2).
    pub found: bool,
}

/// What an answer holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// See [`Status`].
    Status(Box<Status>),
    /// See [`DeviceStatus`].
    Devices(Vec<DeviceStatus>),
    /// See [`RuleStatus`].
    Rules(Vec<RuleStatus>),
    /// One record, as in the violation log: mostly a violation.
    Violation(serde_json::Value),
    /// Records that a slow reader missed.
    Missed(u64),
    /// The end of the past violations.
    End,
    /// See [`Answer`].
    Why(Box<Answer>),
    /// See [`Explained`].
    Explained(Box<Explained>),
    /// See [`FlowList`].
    Flows(FlowList),
    /// See [`Plan`].
    Plan(Box<Plan>),
    /// See [`Applied`].
    Applied(Applied),
    /// See [`RevisionList`].
    Revisions(RevisionList),
    /// See [`DriftStatus`].
    Drift(DriftStatus),
    /// See [`RolloutStatus`].
    Rollout(RolloutStatus),
    /// See [`ShadowStatus`].
    Shadow(Box<ShadowStatus>),
    /// See [`InForceStatus`].
    InForce(Box<InForceStatus>),
    /// See [`InventoryPage`].
    Inventory(Box<InventoryPage>),
}

/// How is it going.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The gateway's name.
    pub gateway: String,
    /// Version of the agent.
    pub version: String,
    /// Process id of the agent.
    pub pid: u32,
    /// When the agent started, RFC 3339.
    pub since: String,
    /// The revision in force.
    pub revision: String,
    /// How many policies were applied since the maps were made.
    pub generation: u32,
    /// Its number in the list of revisions; 0 when it could not be kept.
    #[serde(default)]
    pub number: u64,
    /// `files` or `pushed`: where the policy in force came from.
    pub policy: String,
    /// How the configured files stand to what is in force.
    #[serde(default)]
    pub files: FilesStatus,
    /// The change that is undone unless it is confirmed.
    #[serde(default)]
    pub pending: Option<PendingStatus>,
    /// Whatever keeps the gateway from doing all it was told; empty when all is well.
    pub warnings: Vec<String>,
    /// Devices by mode.
    pub modes: BTreeMap<String, usize>,
    /// Devices cut off now.
    #[serde(default)]
    pub quarantined: Vec<String>,
    /// Devices by their stage on the way into enforcement; `enforced` are those without one.
    #[serde(default)]
    pub stages: BTreeMap<String, usize>,
    /// Modes set by hand: device and mode.
    #[serde(default)]
    pub by_hand: BTreeMap<String, String>,
    /// What devices cannot live without, and whether it is let through where no segment says otherwise.
    pub infrastructure: BTreeMap<String, bool>,
    /// The segments: each interface by itself, and its VLANs.
    #[serde(default)]
    pub segments: Vec<SegmentStatus>,
    /// From where and over what the gateway itself can always be managed.
    pub management: String,
    /// The interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// News of interfaces and addresses heard from the kernel.
    #[serde(default)]
    pub link_news: u64,
    /// How often news were lost because they came too fast; all interfaces were looked at instead.
    #[serde(default)]
    pub link_news_lost: u64,
    /// What left without the kernel; none where no interface forwards directly.
    #[serde(default)]
    pub forwarded: Option<ForwardStatus>,
    /// Flows remembered now.
    pub flows: usize,
    /// Flows that can be remembered.
    pub flows_limit: u32,
    /// Flows that could not be remembered.
    #[serde(default)]
    pub flows_refused: u64,
    /// Flows that made room for newer ones.
    pub flows_evicted: u64,
    /// How old what is counted of some processor is, milliseconds; 0 while all have told of everything.
    #[serde(default)]
    pub counters_behind_ms: u64,
    /// Verdicts of IPv4 that each processor can remember.
    #[serde(default)]
    pub verdicts_limit: u32,
    /// Fragmented packets whose first fragment could not be remembered.
    pub fragments_refused: u64,
    /// Addresses bound by DHCP.
    pub leases: usize,
    /// Leases that could not be remembered.
    pub leases_refused: u64,
    /// Addresses that devices learned by name.
    #[serde(default)]
    pub names: NamesStatus,
    /// Answers of DHCP servers and resolvers that the agent did not get to read.
    pub samples_lost: u64,
    /// Whether the kernel holds what the agent put there.
    #[serde(default)]
    pub drift: DriftStatus,
    /// What became of denied packets.
    pub violations: ViolationStatus,
    /// What the agent's own packets met; `None` before the first.
    #[serde(default)]
    pub probe: Option<ProbeStatus>,
    /// Why the agent sends none.
    #[serde(default)]
    pub no_probe: Option<String>,
    /// How the history of flows fares; none where it is switched off.
    #[serde(default)]
    pub history: Option<HistoryStatus>,
    /// The policy that is judged beside the one in force; none while there is none.
    #[serde(default)]
    pub shadow: Option<ShadowBrief>,
    /// How the inventory fares; none where it is switched off.
    #[serde(default)]
    pub inventory: Option<InventoryStatus>,
    /// The sinks, by name.
    #[serde(default)]
    pub sinks: Vec<SinkStatus>,
    /// Messages that the agent's log, its standard error, refused.
    #[serde(default)]
    pub log_refused: u64,
}

impl Status {
    /// Packets that arrived on all interfaces.
    pub fn seen(&self) -> u64 {
        self.interfaces.iter().map(|interface| interface.seen).sum()
    }

    /// How many of them a remembered verdict answered.
    pub fn remembered(&self) -> u64 {
        self.interfaces.iter().map(|interface| interface.remembered).sum()
    }
}

/// Addresses that devices learned by the names that rules name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesStatus {
    /// Known now.
    pub known: usize,
    /// Answers of resolvers that this agent has read.
    pub read: u64,
    /// Addresses refused for want of room.
    pub full: u64,
    /// Addresses refused because a device, the gateway or, if so configured, somebody inside has them.
    pub protected: u64,
    /// Addresses refused because no host may have them.
    pub unusable: u64,
}

/// An interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// `device-side` or `uplink`.
    pub role: String,
    /// The other side of its pair.
    #[serde(default)]
    pub pair: Option<String>,
    /// Who sends on what passes it: `kernel`, or `direct` where the program does.
    #[serde(default)]
    pub forward: String,
    /// `enforced`; `open` when it is there and nothing is enforced on it; `missing` when it is not there.
    #[serde(default)]
    pub state: String,
    /// How long it was open, in microseconds, the last time it came while the agent ran: from the kernel's
    /// news of it to the attached program.
    #[serde(default)]
    pub open_us: Option<u64>,
    /// `native`, `generic`, or `none` when nothing is enforced on it.
    pub attached: String,
    /// The program for frames in one buffer (`linear`) or in several (`fragments`), as the MTU needs it; or `none`.
    #[serde(default)]
    pub program: String,
    /// What happens to traffic of which neither end is a device.
    pub unmanaged: String,
    /// Everything that is not as configured, a line or more each.
    pub problem: Option<String>,
    /// Largest payload of a frame, bytes; 0 while it is missing.
    #[serde(default)]
    pub mtu: u32,
    /// Receive queues: how many CPUs can share its work; 0 when the driver does not say.
    #[serde(default)]
    pub rx_queues: u32,
    /// Packets that arrived: `seen = passed + dropped`.
    pub seen: u64,
    /// Packets that went on.
    pub passed: u64,
    /// Packets that ended here.
    pub dropped: u64,
    /// Denied packets that passed because no enforcing device was involved.
    pub would_drop: u64,
    /// Of those that arrived, how many a remembered verdict answered; the others were decided.
    #[serde(default)]
    pub remembered: u64,
}

/// A segment: what its switches say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentStatus {
    /// Its name.
    pub name: String,
    /// Its number in the kernel's rows.
    pub id: u16,
    /// The interface it is on.
    pub interface: String,
    /// Its VLAN; none for the frames of the interface that no other segment has.
    pub vlan: Option<u16>,
    /// What happens to traffic of which neither end is a device.
    pub unmanaged: String,
    /// Whether the gateway can be managed from here.
    pub management: bool,
    /// Whether any DHCP server and router may be here.
    pub trusted: bool,
    /// `track` or `drop`.
    pub fragments: String,
    /// DHCP servers that may be here.
    pub dhcp_servers: Vec<String>,
    /// Routers that may be here.
    pub routers: Vec<String>,
    /// What devices cannot live without, and whether it is let through.
    pub infrastructure: BTreeMap<String, bool>,
}

/// What became of denied packets: `violations = delivered + aggregated + lost`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ViolationStatus {
    /// Packets with a deny verdict.
    pub violations: u64,
    /// Became an event of their own.
    pub delivered: u64,
    /// Counted with an event.
    pub aggregated: u64,
    /// Neither; still in the devices' counters.
    pub lost: u64,
    /// Samples in the ring that this agent did not understand.
    pub foreign: u64,
    /// Packets this agent has taken over from the kernel.
    pub taken: u64,
    /// Packets this agent has told of in records.
    pub told: u64,
    /// Packets it will tell of with the next summary.
    pub pending: u64,
    /// Violations the agent forgot before they were idle, to make room.
    #[serde(default)]
    pub evicted: u64,
    /// Sources whose violations are told as scans now.
    #[serde(default)]
    pub scanning: u64,
    /// Records written, by every sink.
    pub written: u64,
    /// Records that a sink refused.
    pub refused: u64,
}
