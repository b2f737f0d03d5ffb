//! What somebody has accepted for a device: that a conversation is denied, and stops, is what he wanted, and nobody goes back for it.
//!
//! It is asked anew each time: what is withdrawn while the device is watched counts from then on, and what is accepted does no more.

use super::super::agent::Agent;
use crate::{replay::break_id, rollout::Side, traffic::Kind};

impl Agent {
    /// Whether it was accepted for a device that the policy in force denies a conversation.
    pub(super) fn is_accepted(&self, device: &str, kind: &Kind) -> bool {
        let Some(list) = self.stages.accepted.get(device) else { return false };
        let Some(applied) = self.dataplane.applied() else { return false };
        let side = Side { policy: &self.in_force.policy, tables: &applied.tables };
        let devices = [&kind.from, &kind.to].map(|end| side.device_at(end));
        let ids = [false, true].map(|unknown| break_id(kind, devices, unknown));
        list.iter().any(|one| ids.contains(&one.id))
    }
}
