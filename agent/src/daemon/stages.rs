//! Stages of devices on their way into enforcement: what the agent checks of a gate, and what a step does.
//!
//! A step is on the disk before it is acknowledged: first the stage, then who is watched, then the mode. Whatever is cut off in between
//! leaves a device that is monitored, and the mode alone says what is true: a stage that it contradicts is over ([`Stages::contradicted`]).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    agent::{Agent, user, world},
    changes::kept_failed,
    clock::clocks,
    trail::{Act, plain, sayable},
};
use crate::{
    control::{AcceptedStatus, Applied, Failure, StageStatus},
    model::Mode,
    rollout::{Criterion, Stage, Standing},
    store::{
        AcceptedBreak, Deadline, KeptStage, MOST_ACCEPTED, STAGES, Stages, Store, Who, audit::Action, digest,
        seal::sha256,
    },
};

mod after;
mod criteria;
mod trials;

pub(super) use trials::Trials;

/// Criteria that somebody can bring.
const MOST_CRITERIA: usize = 16;
/// Longest figures of a criterion that somebody brings, characters; the rest is left out.
const TOLD: usize = 256;
/// Longest description of a break, bytes.
const WHAT_BYTES: usize = 512;
/// Longest name of a break, bytes.
const ID_BYTES: usize = 16;

/// A step that somebody wants.
pub(super) struct Step {
    pub(super) device: String,
    /// Where he has seen it.
    pub(super) stage: Stage,
    /// The policy that he has proved.
    pub(super) policy: String,
    /// The breaks that were accepted then.
    pub(super) accepted: BTreeSet<String>,
    pub(super) criteria: Vec<Criterion>,
    pub(super) force: bool,
    pub(super) reason: Option<String>,
}

/// Where devices were when the last agent ended. Without it they keep their modes. While none ran nobody watched: time as a canary begins anew.
pub(super) fn restore(store: &Store, warnings: &mut BTreeMap<&'static str, String>) -> Stages {
    match store.load(STAGES) {
        Ok(found) => found.map(Stages::watched_anew).unwrap_or_default(),
        Err(error) => {
            let note = format!(
                "at which stages devices are is lost, they keep their modes (`bulkhead rollout`): {error}"
            );
            tracing::error!("{note}");
            warnings.insert("stages", note);
            Stages::default()
        }
    }
}

impl Agent {
    /// Names the texts in force: whoever has proved others has proved nothing.
    pub(super) fn policy_in_force(&self) -> String {
        let layers = self.in_force.layers.iter().map(|layer| layer.kept());
        let text: String =
            layers.map(|layer| format!("{:?} {}\n", layer.only, digest(&layer.files))).collect();
        sha256(text.as_bytes())
    }

    /// What a device is; none where there is no such device.
    fn standing(&self, device: &str) -> Option<Standing> {
        Some(self.stages.standing(device, self.mode_of(device)?))
    }

    /// Devices by what they are.
    pub(super) fn stage_counts(&self) -> BTreeMap<String, usize> {
        let words = Stage::ALL.map(Stage::name).into_iter().chain(["enforced", "quarantine"]);
        let mut counts: BTreeMap<String, usize> = words.map(|word| (word.to_owned(), 0)).collect();
        for device in &self.in_force.policy.devices {
            let standing = self.stages.standing(&device.name, device.mode);
            *counts.entry(standing.name().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Where everybody is.
    pub(super) fn stages_told(&self) -> Vec<StageStatus> {
        let policy = &self.in_force.policy;
        let canaries = self.canaries();
        let one = |device: &crate::model::Device| {
            let stage = self.stages.standing(&device.name, device.mode);
            let kept = self.stages.devices.get(&device.name);
            let accepted = self.stages.accepted.get(&device.name).into_iter().flatten();
            let gate = stage.stage().and_then(Stage::gate);
            StageStatus {
                device: device.name.clone(),
                class: policy.class_of(device).map(str::to_owned),
                stage,
                since: kept.map(|kept| kept.since.to_string()),
                by: kept.map(|kept| {
                    let why = kept.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                    format!("{}{why}", kept.by)
                }),
                forced: kept.is_some_and(|kept| kept.forced),
                criteria: gate
                    .map(|gate| self.own_criteria(&device.name, gate, &canaries))
                    .unwrap_or_default(),
                accepted: accepted.map(told).collect(),
            }
        };
        policy.devices.iter().map(one).collect()
    }

    /// Brings a device one stage on.
    pub(super) fn advance(&mut self, step: Step, by: &Who) -> Result<Applied, Failure> {
        let target = match step.stage.gate() {
            Some(gate) => format!("{} {}", step.device, gate.to()),
            None => step.device.clone(),
        };
        let mut act = self.act(Action::StageAdvance, by, Some(target), step.reason.clone());
        let ended = self.try_advance(&mut act, step, by);
        self.conclude(act, ended)
    }

    fn try_advance(&mut self, act: &mut Act, step: Step, by: &Who) -> Result<Applied, Failure> {
        let Step { device, stage, policy, accepted, criteria, force, reason } = step;
        sayable(reason.as_deref())?;
        self.known_device(&device)?;
        if criteria.len() > MOST_CRITERIA {
            return Err(user(format!("{} criteria, and {MOST_CRITERIA} are the most", criteria.len())));
        }
        self.settle_stages();
        let standing = self.standing(&device).map_or("gone", Standing::name);
        if standing != stage.name() {
            return Err(user(format!(
                "`{device}` is at `{standing}` by now, not at `{stage}`: nothing was changed\nhint: `bulkhead rollout check {device}`"
            )));
        }
        let Some(gate) = stage.gate() else {
            return Err(user(format!("`{device}` is at `{stage}`, and there is no further stage")));
        };
        if policy != self.policy_in_force() {
            return Err(user(format!(
                "another policy is in force by now than the one that `{device}` was proved with: nothing was changed\nhint: say it again"
            )));
        }
        let by_now = self.stages.accepted.get(&device).into_iter().flatten();
        let by_now: BTreeSet<String> = by_now.map(|one| one.id.clone()).collect();
        if !force && accepted != by_now {
            return Err(user(format!(
                "other breaks of `{device}` are accepted by now than when it was proved: nothing was changed\nhint: say it again"
            )));
        }
        // What the agent knows is not for others to say.
        let own = self.own_criteria(&device, gate, &self.canaries());
        let proved: Vec<Criterion> = criteria
            .into_iter()
            .filter(|one| own.iter().all(|known| known.asked != one.asked))
            .map(|one| Criterion { told: in_a_line(&one.told), ..one })
            .collect();
        let all = [own.clone(), proved.clone()].concat();
        let lines = |all: &[Criterion]| all.iter().map(Criterion::line).collect::<Vec<_>>().join("; ");
        let pass = if force {
            let pass = gate.forced(reason.as_deref().unwrap_or_default());
            pass.ok_or_else(|| user("a gate is forced with a reason, or not at all"))?
        } else {
            gate.pass(&all)
                .map_err(|lacking| user(format!("`{device}` stays at `{stage}`: {}", lines(&lacking))))?
        };
        let Some(next) = stage.advanced(&pass) else { return Err(world("no way leads there")) };
        let forced = if force { "forced: " } else { "" };
        let figures = format!(
            "{forced}{stage} -> {next}, policy of revision {}: {}; by whoever asked: {}",
            self.pointer.current,
            lines(&own),
            lines(&proved)
        );
        let kept = KeptStage {
            stage: next,
            since: jiff::Timestamp::now(),
            by: by.to_string(),
            why: reason.clone(),
            forced: force,
            until: (next == Stage::Canary).then(|| Deadline::after(self.config.rollout.canary, &clocks())),
        };
        let mut stages = self.stages.clone();
        stages.devices.insert(device.clone(), kept);
        let mut applied = if next == Stage::Canary {
            self.make_canary(act, &device, stages, by)?
        } else {
            self.begin(act, self.revision())?;
            self.keep_stages(stages)?;
            self.unchanged()
        };
        act.tell(figures);
        applied.notes.insert(0, format!("{device}: {stage} -> {next}"));
        Ok(applied)
    }

    /// Enforces a device that will be watched: what is cut off in the middle leaves it monitored.
    fn make_canary(
        &mut self,
        act: &mut Act,
        device: &str,
        stages: Stages,
        by: &Who,
    ) -> Result<Applied, Failure> {
        if self.pointer.current == 0 {
            return Err(world(
                "the policy in force could not be kept, so nobody could be watched: see `bulkhead status`",
            ));
        }
        let time = self.config.rollout.canary;
        let (former, before) = (self.stages.clone(), self.overrides.devices.get(device).cloned());
        self.keep_stages(stages)?;
        let ended = self
            .arm_mode(device, (Some(Mode::Monitor), Some(Mode::Enforce)), before.clone(), Some(time))
            .and_then(|()| self.set_mode(act, device, Mode::Enforce, Some("canary".to_owned()), by));
        match ended {
            Ok(mut applied) => {
                self.trials.begin(device);
                self.mode_was_set(
                    device,
                    (Some(Mode::Monitor), Some(Mode::Enforce)),
                    before,
                    Some(time),
                    &mut applied,
                );
                Ok(applied)
            }
            Err(failure) => {
                // Whoever is monitored at this stage is at the first one, also where this cannot be written.
                let _ = self.keep_stages(former);
                Err(failure)
            }
        }
    }

    /// Brings a device back to the first stage, and into monitor mode.
    pub(super) fn step_back(&mut self, device: &str, reason: &str, by: &Who) -> Result<Applied, Failure> {
        let mut act = self.act(Action::StageBack, by, Some(device.to_owned()), Some(reason.to_owned()));
        let ended = self.try_step_back(&mut act, device, reason, by);
        self.conclude(act, ended)
    }

    fn try_step_back(
        &mut self,
        act: &mut Act,
        device: &str,
        reason: &str,
        by: &Who,
    ) -> Result<Applied, Failure> {
        said(reason)?;
        self.known_device(device)?;
        self.settle_stages();
        let stage = match self.standing(device) {
            Some(Standing::Stage(stage)) if stage != Stage::Observe => stage,
            Some(Standing::Enforced) => {
                return Err(user(format!(
                    "`{device}` is enforced by its policy or by hand, and came through no stage\nhint: `bulkhead mode {device} monitor`"
                )));
            }
            Some(Standing::Quarantine) => {
                return Err(user(format!("`{device}` is in quarantine\nhint: `bulkhead release {device}`")));
            }
            Some(Standing::Stage(_)) | None => {
                return Err(user(format!("`{device}` is at `{}` already", Stage::Observe)));
            }
        };
        let before = self.overrides.devices.get(device).cloned();
        let mut applied = if stage == Stage::Ready {
            self.begin(act, self.revision())?;
            self.unchanged()
        } else {
            let mut applied = self.set_mode(act, device, Mode::Monitor, Some(reason.to_owned()), by)?;
            let modes = (Some(Mode::Enforce), Some(Mode::Monitor));
            self.mode_was_set(device, modes, before, None, &mut applied);
            applied
        };
        let mut stages = self.stages.clone();
        stages.devices.insert(device.to_owned(), at_the_start(by.to_string(), reason.to_owned()));
        if stage == Stage::Ready {
            self.keep_stages(stages)?;
        } else {
            // The mode says it already.
            self.keep_stages_or_warn(stages);
        }
        applied.notes.insert(0, format!("{device}: {stage} -> {}", Stage::Observe));
        Ok(applied)
    }

    /// Accepts a break, or accepts it no longer.
    pub(super) fn accept(
        &mut self,
        device: &str,
        id: &str,
        what: Option<String>,
        reason: &str,
        by: &Who,
    ) -> Result<Applied, Failure> {
        let action = if what.is_some() { Action::StageAccept } else { Action::StageWithdraw };
        let target = Some(format!("{device} {id}"));
        let mut act = self.act(action, by, target, Some(reason.to_owned()));
        let ended = self.try_accept(&mut act, device, id, what, reason, by);
        self.conclude(act, ended)
    }

    fn try_accept(
        &mut self,
        act: &mut Act,
        device: &str,
        id: &str,
        what: Option<String>,
        reason: &str,
        by: &Who,
    ) -> Result<Applied, Failure> {
        said(reason)?;
        plain("the name of the break", id, ID_BYTES)?;
        plain("the break", what.as_deref().unwrap_or_default(), WHAT_BYTES)?;
        self.known_device(device)?;
        let mut stages = self.stages.clone();
        let list = stages.accepted.entry(device.to_owned()).or_default();
        let known = list.iter().position(|one| one.id == id);
        let note = match (what, known) {
            (Some(_), Some(at)) => {
                let one = &list[at];
                return Err(user(format!(
                    "`{id}` was accepted by {} at {:.0}: {}",
                    one.by, one.at, one.reason
                )));
            }
            (None, None) => {
                return Err(user(format!(
                    "no break `{id}` of `{device}` was accepted\nhint: `bulkhead rollout check {device}` lists those that were"
                )));
            }
            (Some(_), None) if list.len() >= MOST_ACCEPTED => {
                return Err(user(format!(
                    "{MOST_ACCEPTED} breaks of `{device}` are accepted, and no more can be\nhint: let the policy allow what is right, or `--withdraw` what is no break any more"
                )));
            }
            (Some(what), None) => {
                act.tell(what.clone());
                let (id, by, at) = (id.to_owned(), by.to_string(), jiff::Timestamp::now());
                list.push(AcceptedBreak { id, what, by, at, reason: reason.to_owned() });
                "accepted"
            }
            (None, Some(at)) => {
                act.tell(list.remove(at).what);
                "not accepted any more"
            }
        };
        stages.accepted.retain(|_, list| !list.is_empty());
        self.begin(act, self.revision())?;
        self.keep_stages(stages)?;
        let mut applied = self.unchanged();
        applied.notes.push(format!("{device}: break {id} is {note}"));
        Ok(applied)
    }

    fn keep_stages(&mut self, stages: Stages) -> Result<(), Failure> {
        self.store.save(STAGES, &stages).map_err(kept_failed)?;
        self.stages = stages;
        self.warnings.remove("stages");
        Ok(())
    }

    /// What must be known whether the disk takes it or not: the modes say the same after a restart.
    fn keep_stages_or_warn(&mut self, stages: Stages) {
        match self.store.save(STAGES, &stages) {
            Ok(()) => drop(self.warnings.remove("stages")),
            Err(error) => {
                let note =
                    format!("at which stages devices are does not survive a restart: {}", error.caused());
                tracing::error!("{note}");
                self.warnings.insert("stages", note);
            }
        }
        self.stages = stages;
    }

    /// An answer where the policy is as before.
    fn unchanged(&self) -> Applied {
        Applied { revision: self.revision(), ..Applied::default() }
    }
}

/// A reason that is one.
fn said(reason: &str) -> Result<(), Failure> {
    sayable(Some(reason))?;
    if reason.trim().is_empty() { Err(user("the reason is empty")) } else { Ok(()) }
}

/// Figures that somebody brings, as one line that has an end.
fn in_a_line(told: &str) -> String {
    told.chars().take(TOLD).map(|one| if one.is_control() { ' ' } else { one }).collect()
}

fn at_the_start(by: String, why: String) -> KeptStage {
    let since = jiff::Timestamp::now();
    KeptStage { stage: Stage::Observe, since, by, why: Some(why), forced: false, until: None }
}

fn told(one: &AcceptedBreak) -> AcceptedStatus {
    let AcceptedBreak { id, what, by, at, reason } = one.clone();
    AcceptedStatus { id, what, by, at: at.to_string(), reason }
}
