//! Every family of metrics: its name, what it means, its labels.

/// What a family's numbers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, until the counters begin anew; their names end in `_total`.
    Counter,
    /// They say how it is.
    Gauge,
}

/// A family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Without the prefix, and a counter's without `_total`.
    pub name: &'static str,
    /// A sentence, as `# HELP` shows it.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Names of its labels, in order.
    pub labels: &'static [&'static str],
}

const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, help, kind: Kind::Counter, labels }
}

const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, help, kind: Kind::Gauge, labels }
}

impl Family {
    /// The name of its samples.
    pub fn sample(&self) -> String {
        let ending = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
        };
        format!("{}_{}{ending}", super::PREFIX, self.name)
    }
}

pub(super) const BUILD: Family = gauge("build_info", "Version of the running agent", &["version"]);
pub(super) const START: Family =
    gauge("start_time_seconds", "When the agent began, in seconds since 1970", &[]);
pub(super) const WARNINGS: Family =
    gauge("warnings", "Things that are wrong, as the status command lists them", &[]);
pub(super) const REVISION: Family =
    gauge("revision_info", "The revision of the policy in force", &["revision"]);
pub(super) const REVISION_NUMBER: Family =
    gauge("revision_number", "Number of the revision in force among those that are kept", &[]);
pub(super) const REVISION_TIME: Family = gauge(
    "revision_time_seconds",
    "When the revision in force was made, in seconds since 1970; 0 when it is not known",
    &[],
);
pub(super) const CONFIRMED: Family = gauge(
    "confirmed_time_seconds",
    "When a revision was last in force for good, confirmed or applied without a deadline, in seconds since 1970; 0 when it is not known",
    &[],
);
pub(super) const PENDING: Family =
    gauge("change_pending", "Whether a change waits for its confirmation: 1, or 0", &[]);
pub(super) const WATCHED: Family =
    gauge("rollout_watched_devices", "Devices that are watched after a change of policy or mode", &[]);
pub(super) const WENT_BACK: Family = counter(
    "rollout_went_back",
    "Times that a device, or all, went back to what was before a change because traffic suffered, since the agent started",
    &[],
);
pub(super) const UNREAD: Family = gauge(
    "rollout_unacknowledged",
    "Devices that went back, and nobody has taken note of it: `bulkhead rollout` tells why",
    &[],
);
pub(super) const SHADOW_SET: Family = gauge(
    "shadow_set_time_seconds",
    "When the policy was set that is judged beside the one in force, in seconds since 1970; 0 when there is none",
    &[],
);
pub(super) const SHADOW_KINDS: Family = gauge(
    "shadow_kinds",
    "Kinds of conversation that the shadow would break, or open, since the policy in force, the shadow or the agent last changed",
    &["difference"],
);
pub(super) const SHADOW_REFUSED: Family = gauge(
    "shadow_refused",
    "What was seen since then and is in neither list: differences without room (room), what nobody had time to judge (time)",
    &["why"],
);
pub(super) const ROLLOUT_STAGES: Family = gauge(
    "rollout_devices",
    "Devices of the policy by their stage on the way into enforcement: observe, ready, canary, enforce; enforced without stages; quarantine",
    &["stage"],
);
pub(super) const DEVICES: Family = gauge("devices", "Devices of the policy by their mode", &["mode"]);
pub(super) const HONEST: Family = gauge(
    "probe_honest",
    "Whether packets that the agent sends itself were counted, passed and dropped as their mode says when they were last sent: 1, or 0; -1 before the first probe has ended, and where there is none",
    &[],
);
pub(super) const ATTACHED: Family = gauge(
    "interface_attached",
    "Whether packets of an interface are judged, and how: native, generic or none",
    &["interface", "attached"],
);
pub(super) const INTERFACE_PACKETS: Family = counter(
    "interface_packets",
    "Packets on an interface by what became of them: passed, dropped, or would_drop, which are among the passed",
    &["interface", "outcome"],
);
pub(super) const INTERFACE_BYTES: Family =
    counter("interface_bytes", "Bytes of these packets", &["interface", "outcome"]);
pub(super) const INTERFACE_REMEMBERED: Family = counter(
    "interface_remembered_packets",
    "Packets on an interface that a remembered verdict answered; the others were decided",
    &["interface"],
);
pub(super) const DEVICE_PACKETS: Family = counter(
    "device_packets",
    "Packets of a device by verdict and reason; of two devices the packet is counted for one",
    &["device", "verdict", "reason"],
);
pub(super) const DEVICE_DENIED: Family = counter(
    "device_denied_packets",
    "Denied packets of a device, for whatever reason; 0 for one that was never denied anything",
    &["device"],
);
pub(super) const RULE_PACKETS: Family =
    counter("rule_packets", "Packets that a rule allowed", &["holder", "rule"]);
pub(super) const RULE_BYTES: Family = counter("rule_bytes", "Bytes of these packets", &["holder", "rule"]);
pub(super) const VIOLATIONS: Family = counter("violations", "Denied packets", &[]);
pub(super) const VIOLATION_STAGES: Family = counter(
    "violation_stage",
    "Denied packets by the stage that they reached: delivered, aggregated or lost in the kernel, which add up to all; taken and told by the agent",
    &["stage"],
);
pub(super) const VIOLATIONS_PENDING: Family =
    gauge("violations_pending", "Denied packets that wait for the end of their summary interval", &[]);
pub(super) const TABLE_ENTRIES: Family = gauge("table_entries", "Entries of a table", &["table"]);
pub(super) const TABLE_LIMIT: Family = gauge("table_limit", "Entries that a table has room for", &["table"]);
pub(super) const REFUSED: Family = counter(
    "refused",
    "What a bounded table or buffer had no room for: flows, fragments, leases, samples, names, messages of the log",
    &["what"],
);
pub(super) const FORWARDED: Family = counter(
    "forwarded_packets",
    "Allowed packets on interfaces that forward directly by what became of them: direct, or why the kernel got them; none where no interface does",
    &["outcome"],
);
pub(super) const FLOWS_EVICTED: Family = counter(
    "flows_evicted",
    "Flows whose place in the table others were given, those that were over included",
    &[],
);
pub(super) const SINK_RECORDS: Family = counter(
    "sink_records",
    "Records of a sink since the agent began: taken, refused; sent, and unsendable (told as a gap), those sent again included",
    &["sink", "outcome"],
);
pub(super) const SINK_UP: Family =
    gauge("sink_up", "Whether a sink takes records, and they get through: 1, or 0", &["sink"]);
pub(super) const SINK_WAITING: Family = gauge(
    "sink_waiting_bytes",
    "Bytes in the spool of a sink that its receiver has not surely read; over TCP and TLS the last ones stay until others follow them",
    &["sink"],
);
pub(super) const SINK_PACKETS: Family =
    gauge("sink_waiting_packets", "Denied packets that these records account for", &["sink"]);
pub(super) const SINK_DROPPED: Family = counter(
    "sink_dropped_bytes",
    "Bytes that were dropped before they were surely read, because the spool was full; the receiver may have them",
    &["sink"],
);
pub(super) const SINK_FAILURES: Family =
    counter("sink_failures", "Connections that could not be made, or broke", &["sink"]);
pub(super) const HISTORY_UP: Family = gauge(
    "history_up",
    "Whether the history of flows is written: 1, or 0 while what is new waits in memory",
    &[],
);
pub(super) const HISTORY_BYTES: Family =
    gauge("history_bytes", "Bytes of the history that are in use; the oldest days go at its limit", &[]);
pub(super) const HISTORY_LIMIT: Family = gauge("history_limit_bytes", "How large the history may be", &[]);
pub(super) const HISTORY_ROWS: Family =
    gauge("history_rows", "Rows of the history: one for each kind of conversation and day", &[]);
pub(super) const HISTORY_WRITTEN: Family =
    counter("history_written_rows", "Rows that were written since the agent began", &[]);
pub(super) const HISTORY_REFUSED: Family = counter(
    "history_refused",
    "Conversations and packets that are in no row since the agent began: the history has them as gaps",
    &[],
);
pub(super) const HISTORY_DAMAGED: Family =
    counter("history_damaged", "Damaged files of the history that were set aside since the agent began", &[]);
pub(super) const INVENTORY_UP: Family = gauge(
    "inventory_up",
    "Whether the inventory is kept: 1, or 0 while it cannot be written or nobody listens",
    &[],
);
pub(super) const INVENTORY_DEVICES: Family =
    gauge("inventory_devices", "Devices that are heard: of the policy, and others", &["policy"]);
pub(super) const INVENTORY_FRAMES: Family =
    counter("inventory_frames", "Frames that the inventory has read since the agent began", &[]);
pub(super) const INVENTORY_LOST: Family = counter(
    "inventory_lost",
    "What the inventory did not take since the agent began: frames over its budget, frames that the kernel dropped, claims and frames for which there was no room, strangers that made room",
    &["why"],
);
pub(super) const INVENTORY_UNTOLD: Family = counter(
    "inventory_untold_changes",
    "Changes that came too fast for a record of their own since the agent began",
    &[],
);

/// All of them, in the order in which they are told.
pub const FAMILIES: &[Family] = &[
    BUILD,
    START,
    WARNINGS,
    REVISION,
    REVISION_NUMBER,
    REVISION_TIME,
    CONFIRMED,
    PENDING,
    WATCHED,
    WENT_BACK,
    UNREAD,
    SHADOW_SET,
    SHADOW_KINDS,
    SHADOW_REFUSED,
    ROLLOUT_STAGES,
    DEVICES,
    HONEST,
    ATTACHED,
    INTERFACE_PACKETS,
    INTERFACE_BYTES,
    INTERFACE_REMEMBERED,
    DEVICE_PACKETS,
    DEVICE_DENIED,
    RULE_PACKETS,
    RULE_BYTES,
    VIOLATIONS,
    VIOLATION_STAGES,
    VIOLATIONS_PENDING,
    TABLE_ENTRIES,
    TABLE_LIMIT,
    REFUSED,
    FORWARDED,
    FLOWS_EVICTED,
    SINK_RECORDS,
    SINK_UP,
    SINK_WAITING,
    SINK_PACKETS,
    SINK_DROPPED,
    SINK_FAILURES,
    HISTORY_UP,
    HISTORY_BYTES,
    HISTORY_LIMIT,
    HISTORY_ROWS,
    HISTORY_WRITTEN,
    HISTORY_REFUSED,
    HISTORY_DAMAGED,
    INVENTORY_UP,
    INVENTORY_DEVICES,
    INVENTORY_FRAMES,
    INVENTORY_LOST,
    INVENTORY_UNTOLD,
];
