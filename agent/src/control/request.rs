//! What the control socket is asked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::File;
use crate::rollout::{Criterion, Stage};

/// What a user can ask of a running agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How is it going.
    Status,
    /// Every device with its mode and counts.
    Devices,
    /// Every rule with its hits.
    Rules,
    /// The last violations, and those to come if asked to follow.
    Violations {
        /// How many of the past.
        last: usize,
        /// Whether to go on.
        follow: bool,
    },
    /// Why may one reach the other, or why not.
    Why {
        /// Who starts.
        from: String,
        /// Who answers.
        to: String,
        /// Over what.
        service: String,
    },
    /// What a record tells of, and what would have allowed it.
    Explain {
        /// Its id: `BOOT-SEQ`.
        id: String,
    },
    /// The conversations that the kernel remembers.
    Flows {
        /// A device's name, or an address: only those with this end.
        #[serde(default)]
        of: Option<String>,
        /// How many at most, those that were heard last.
        last: usize,
    },
    /// What devices say of themselves, some of them at a time.
    Inventory {
        /// Those behind this one; the first ones when absent.
        #[serde(default)]
        after: Option<String>,
    },
    /// Changes a device's mode beside its policy.
    Mode {
        /// Which device.
        device: String,
        /// `monitor`, `enforce` or `quarantine`.
        mode: String,
        /// Why, for the record.
        #[serde(default, alias = "why")]
        reason: Option<String>,
    },
    /// Returns a device to the mode its policy gives it.
    Release {
        /// Which device.
        device: String,
        /// Why, for the record.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Enforces a policy: the configured files read again, or the ones that came along.
    Apply {
        /// Paths and texts.
        #[serde(default)]
        files: Option<Vec<File>>,
        /// Where they were read, for the record.
        #[serde(default)]
        from: Option<String>,
        /// For which devices alone; empty for all.
        #[serde(default)]
        only: Vec<String>,
        /// Undo it after so many seconds unless it is confirmed.
        #[serde(default)]
        confirm_within: Option<u64>,
        /// Whether a signed set may be older than one that was in force.
        #[serde(default)]
        allow_older: bool,
        /// For how many seconds those are watched that it touches; as configured when absent.
        #[serde(default)]
        watch: Option<u64>,
        /// Why, for the record.
        #[serde(default)]
        reason: Option<String>,
    },
    /// What would change if a policy were applied: the configured files read again, or the ones that came along.
    Plan {
        /// Paths and texts.
        files: Option<Vec<File>>,
        /// How many steps from host to host are followed.
        hops: u32,
        /// Conversations that ended longer ago than so many seconds are not looked at.
        recent: u64,
    },
    /// Keeps a change that waits for its confirmation.
    Confirm {
        /// Why, for the record.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Brings an older revision back.
    Rollback {
        /// Its number or the beginning of its hash; the one before when absent.
        #[serde(default)]
        to: Option<String>,
        /// Why, for the record.
        #[serde(default)]
        reason: Option<String>,
    },
    /// The revisions that can be returned to.
    Revisions,
    /// Does the kernel hold what the agent put there.
    Drift,
    /// Who is watched after a change, and who went back.
    Rollout,
    /// The policy that is judged beside the one in force, and what it would do otherwise.
    Shadow,
    /// Judges a policy beside the one in force: the configured files read again, or the ones that came along.
    ShadowSet {
        /// Paths and texts.
        files: Option<Vec<File>>,
        /// Where they were read, for the record.
        from: Option<String>,
        /// Why, for the record.
        reason: Option<String>,
    },
    /// Judges it no longer.
    ShadowClear {
        /// Why, for the record.
        reason: Option<String>,
    },
    /// Takes note of it that a device went back.
    Acknowledge {
        /// Which device.
        device: String,
        /// Why, for the record.
        reason: String,
    },
    /// The policy in force as text, and where devices are.
    InForce {
        /// Whether the history is to be brought up to now before.
        write: bool,
    },
    /// Brings a device one stage on.
    Advance {
        /// Which device.
        device: String,
        /// Where whoever asks has seen it.
        stage: Stage,
        /// The policy that was proved: [`InForceStatus::policy`].
        policy: String,
        /// Names of the breaks that were accepted of the device when it was proved.
        #[serde(default)]
        accepted: BTreeSet<String>,
        /// What whoever asks has looked at.
        criteria: Vec<Criterion>,
        /// Whether it goes on whatever is lacking.
        #[serde(default)]
        force: bool,
        /// Why, for the record.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Brings a device back to the first stage, and into monitor mode.
    StepBack {
        /// Which device.
        device: String,
        /// Why, for the record.
        reason: String,
    },
    /// Accepts a break of a device, or accepts it no longer.
    Accept {
        /// Which device.
        device: String,
        /// Names the break.
        id: String,
        /// What it is; none to withdraw it.
        what: Option<String>,
        /// Why, for the record.
        reason: String,
    },
}
