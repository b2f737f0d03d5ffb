//! What the agent itself knows of that gates ask for: places for canaries, what went back, times.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::super::{agent::Agent, clock::clocks};
use crate::{
    config::duration::spell,
    dataplane::monotonic_ns,
    learn::propose::minute,
    model::ClassId,
    rollout::{Asked, Criterion, Gate, Stage, Standing},
};

/// Canaries of each class, and of those without one.
pub(super) type Canaries<'a> = BTreeMap<Option<ClassId>, Vec<&'a str>>;

impl Agent {
    /// Who is a canary.
    pub(super) fn canaries(&self) -> Canaries<'_> {
        let mut found = Canaries::new();
        for device in &self.in_force.policy.devices {
            if self.stages.standing(&device.name, device.mode) == Standing::Stage(Stage::Canary) {
                found.entry(device.class).or_default().push(&device.name);
            }
        }
        found
    }

    /// What the agent knows of that a gate asks for; the rest is in the history.
    pub(super) fn own_criteria(&self, device: &str, gate: Gate, canaries: &Canaries<'_>) -> Vec<Criterion> {
        let own = gate.asks().iter().filter_map(|asked| match asked {
            Asked::Canaries => Some(self.place_for(device, canaries)),
            Asked::Noted => Some(self.noted(device)),
            Asked::Time => Some(self.time_of(device)),
            Asked::Kept => Some(self.kept_since(device)),
            Asked::Heard => Some(self.heard_of(device)),
            Asked::Baseline | Asked::Breaks | Asked::Judged => None,
        });
        own.collect()
    }

    fn place_for(&self, device: &str, canaries: &Canaries<'_>) -> Criterion {
        let policy = &self.in_force.policy;
        let Some((_, this)) = policy.device(device) else {
            return Criterion::lacking(Asked::Canaries, "there is no such device", None);
        };
        let same = canaries.get(&this.class).into_iter().flatten().copied();
        let canaries: Vec<&str> = same.filter(|other| *other != device).collect();
        let whose = policy
            .class_of(this)
            .map_or("those without a class".to_owned(), |class| format!("class `{class}`"));
        let most = self.config.rollout.canaries;
        let told = format!("{} of {most} canaries of {whose}", canaries.len());
        if u32::try_from(canaries.len()).is_ok_and(|count| count < most) {
            return Criterion::met(Asked::Canaries, told);
        }
        let named = canaries.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        let help = format!("wait for {named}, or raise `canaries` of `[rollout]`");
        Criterion::lacking(Asked::Canaries, told, Some(help))
    }

    fn noted(&self, device: &str) -> Criterion {
        match self.watcher.kept.unread().find(|back| back.device == device) {
            None => Criterion::met(Asked::Noted, "nothing waits to be acknowledged"),
            Some(back) => Criterion::lacking(
                Asked::Noted,
                format!("it went back at {:.0}, and nobody has taken note", back.at),
                Some(format!("`bulkhead rollout acknowledge {device} --reason TEXT`")),
            ),
        }
    }

    fn time_of(&self, device: &str) -> Criterion {
        let Some(until) = self.stages.devices.get(device).and_then(|kept| kept.until.as_ref()) else {
            return Criterion::lacking(Asked::Time, "its time as a canary has not begun", None);
        };
        match until.left(&clocks()) {
            None => {
                let time = spell(self.config.rollout.canary);
                Criterion::met(Asked::Time, format!("enforced until {:.0} ({time})", until.until))
            }
            Some(left) => {
                // What is left is told as whole seconds.
                let left = spell(Duration::from_secs(left.as_secs() + 1));
                Criterion::lacking(Asked::Time, format!("watched for {left} more"), None)
            }
        }
    }

    fn kept_since(&self, device: &str) -> Criterion {
        let Some(kept) = self.stages.devices.get(device) else {
            return Criterion::lacking(Asked::Kept, "it is no canary", None);
        };
        let since = kept.since;
        let back = self.watcher.kept.back.iter().rev();
        match back.clone().find(|back| back.device == device && back.at >= since) {
            None => Criterion::met(Asked::Kept, format!("it did not go back since {since:.0}")),
            Some(back) => Criterion::lacking(
                Asked::Kept,
                format!("it went back at {:.0}", back.at),
                Some(format!("`bulkhead rollout back {device} --reason TEXT` begins anew")),
            ),
        }
    }
    fn heard_of(&self, device: &str) -> Criterion {
        let Some(heard) = self.trials.heard(device) else {
            return Criterion::lacking(
                Asked::Heard,
                "nothing that it said was let through since it is a canary",
                None,
            );
        };
        let ago = Duration::from_nanos(monotonic_ns()).saturating_sub(heard).as_secs();
        let at = Timestamp::now().as_second().saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX));
        Criterion::met(Asked::Heard, format!("it last spoke at {}", minute(at)))
    }
}
