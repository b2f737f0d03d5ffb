//! What is said of the shadow: what differs, what was compared, and what nobody saw.

use std::{sync::Arc, thread};

use bulkhead_common::lookup::Unmanaged;
use tokio::sync::oneshot;

use super::{
    super::agent::Agent,
    NOTHING_IS_SEEN,
    judge::{Counted, World},
};
use crate::{
    compile::RuleRef,
    control::{Body, Reply, ShadowBrief, ShadowSet, ShadowStatus},
    diagnostic::Listed,
    model::Policy,
    replay::{LISTED, beside::Way},
};

/// Devices that a note names.
const NAMED: usize = 5;

impl Agent {
    /// Answers in its own time: what differs is put into words beside the loop.
    pub(in crate::daemon) fn tell_shadow(&self, back: oneshot::Sender<Reply>) {
        let mut status = ShadowStatus {
            compared_with: self.revision(),
            notes: self.shadow_notes(),
            problem: self.shadow_problem().or_else(|| self.shadow.is_making()),
            ..ShadowStatus::default()
        };
        let Some(kept) = &self.shadow.kept else {
            return drop(back.send(Reply::Ok(Box::new(Body::Shadow(Box::new(status))))));
        };
        status.set = Some(ShadowSet {
            revision: self.shadow.made.as_ref().map(|made| made.tables.revision.to_string()),
            since: moment(kept.since),
            by: kept.by.to_string(),
            from: kept.from.clone(),
            reason: kept.reason.clone(),
            signed: kept.signed.clone(),
        });
        let shared = self.shadow.shared.clone();
        let asked = thread::Builder::new().name("shadow-told".to_owned()).spawn(move || {
            if let Some((world, counted)) = shared.and_then(|shared| shared.told()) {
                tell(&mut status, &world, &counted);
            }
            // Whoever asked may have left.
            drop(back.send(Reply::Ok(Box::new(Body::Shadow(Box::new(status))))));
        });
        if let Err(error) = asked {
            tracing::error!("what the shadow would do cannot be told, no thread can be begun: {error}");
        }
    }

    /// In a line; none while none is set.
    pub(in crate::daemon) fn shadow_brief(&self) -> Option<ShadowBrief> {
        let kept = self.shadow.kept.as_ref()?;
        let [would_break, would_open, refused, not_judged] = self.shadow_counts();
        let problem = self.shadow_problem();
        let (since, from) = (moment(kept.since), kept.from.clone());
        Some(ShadowBrief { since, from, would_break, would_open, refused, not_judged, problem })
    }

    /// When it was set, seconds since 1970 (0 when there is none), and how many kinds would break, would open, found no room and were not
    /// judged.
    pub(in crate::daemon) fn shadow_numbers(&self) -> (f64, [u64; 4]) {
        match &self.shadow.kept {
            Some(kept) => (kept.since.as_duration().as_secs_f64(), self.shadow_counts()),
            None => (0.0, [0; 4]),
        }
    }

    fn shadow_counts(&self) -> [u64; 4] {
        let judged = self.shadow.shared.as_ref().filter(|_| self.shadow.made.is_some());
        judged.map_or([0; 4], |shared| shared.brief())
    }

    /// Why it is not judged.
    fn shadow_problem(&self) -> Option<String> {
        self.shadow.kept.as_ref()?;
        if self.shadow.shared.is_none() {
            return Some(NOTHING_IS_SEEN.to_owned());
        }
        let has_failed = || self.shadow.made.is_some() && self.shadow.has_no_judge();
        let failed = || "whoever judges it has failed, and begins anew in a moment".to_owned();
        self.shadow.problem.clone().or_else(|| has_failed().then(failed))
    }

    fn shadow_notes(&self) -> Vec<String> {
        let Some(made) = &self.shadow.made else { return Vec::new() };
        let new = made.policy.devices.iter();
        let new = new.filter(|device| self.in_force.policy.device(&device.name).is_none()).count();
        let silent = self.config.alike().into_iter();
        let silent: Vec<String> = silent
            .filter(|(_, row)| row.unmanaged == Unmanaged::Pass.code())
            .map(|(names, _)| names)
            .collect();
        let mut notes = Vec::new();
        if new > 0 && !silent.is_empty() {
            notes.push(format!(
                "the shadow knows {} that the policy in force does not: what passes between strangers on {} is told to nobody, and so not judged",
                crate::diagnostic::counted(new, "device"),
                silent.join(", ")
            ));
        }
        let bound = bound_anew(&made.policy, &self.in_force.policy);
        if !bound.is_empty() {
            let more = bound.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!(
                "the shadow says where {}{more} must be (`segment`, `vlan`), and the policy in force does not: nobody has seen that, and it is taken for right (`bulkhead inventory` says where a device was heard)",
                bound.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ")
            ));
        }
        for (name, change) in &self.overrides.devices {
            if made.policy.device(name).is_some() {
                notes.push(format!(
                    "`{name}` is judged in {}: set by hand, whatever the policies say",
                    change.mode.name()
                ));
            }
        }
        notes
    }
}

/// Devices that must be on a segment or VLAN by the shadow, and may be anywhere by the policy in force.
fn bound_anew<'s>(shadow: &'s Policy, in_force: &Policy) -> Vec<&'s str> {
    let bound = shadow.devices.iter().filter(|device| {
        in_force.device(&device.name).is_some_and(|(_, known)| {
            known.segment.is_none() && device.segment.is_some()
                || known.vlan.is_none() && device.vlan.is_some()
        })
    });
    bound.map(|device| device.name.as_str()).collect()
}

/// To the second.
fn moment(at: jiff::Timestamp) -> String {
    format!("{at:.0}")
}

fn tell(status: &mut ShadowStatus, world: &Arc<World>, counted: &Counted) {
    let [now, then] = world.settings();
    let differences = &counted.differences;
    status.compared_with = world.now.tables.revision.to_string();
    status.counted_since = Some(moment(counted.since));
    status.counts = differences.counts();
    status.not_judged = counted.missed;
    status.would_break = differences.told(Way::Break, [&now, &then], LISTED);
    status.would_open = differences.told(Way::Open, [&now, &then], LISTED);
    let unused = differences.unused(LISTED);
    let rules = unused.list.iter().filter_map(|id| world.then.tables.rule(*id)).map(RuleRef::from);
    status.unused = Listed { list: rules.collect(), more: unused.more };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{SourceFile, resolve_texts};

    #[test]
    fn who_is_bound_by_the_shadow_alone_is_named() {
        let policy = |text: &str| {
            let text = format!("version = 1\n{text}");
            let outcome = resolve_texts(&[SourceFile { path: "a.toml".into(), text }]);
            outcome.policy.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
        };
        let in_force =
            "[device.hmi]\nip = \"10.0.0.1\"\n[device.plc]\nip = \"10.0.0.2\"\nsegment = \"cell\"\n";
        let bound = in_force.replace("\"10.0.0.1\"", "\"10.0.0.1\"\nvlan = 10").replace("cell", "office");
        let new = "[device.new]\nip = \"10.0.0.3\"\nsegment = \"cell\"\n";
        let shadow = policy(&(bound + new));
        // What the policy in force says as well is judged, and a new device is a stranger so far.
        assert_eq!(bound_anew(&shadow, &policy(in_force)), ["hmi"]);
        assert!(bound_anew(&policy(in_force), &shadow).is_empty());
    }
}
