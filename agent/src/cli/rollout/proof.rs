//! What the history says of a gate: the policy in force, as the agent has it, meets what was seen.
//!
//! In: what is in force and where devices are, from the agent; the history, from its file. Out: criteria, and the breaks behind them. What
//! cannot be read is a criterion that is not met: who forces a gate needs no history.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    cli::{
        Cli, history,
        learn::{Ground, Learned},
        progress, simulate, unexpected,
    },
    control::{Body, InForceStatus, Request, StageStatus},
    daemon::policy_of,
    diagnostic::counted,
    learn::{DeviceReport, Gap, baseline, propose::minute},
    policy::SourceFile,
    replay::{Hurt, Touching},
    rollout::{Asked, Criterion, Gate, Stage},
    store::TextLayer,
    traffic::Why,
};

/// What is in force, and what happened.
pub(super) struct Proof {
    pub(super) in_force: InForceStatus,
    /// Why nothing is known, where nothing is.
    seen: Result<Seen, String>,
}

/// What happened.
struct Seen {
    devices: BTreeMap<String, DeviceReport>,
    touching: BTreeMap<String, Touching>,
    gaps: Vec<Gap>,
}

/// What of a device's conversations concerns its next gate.
#[derive(Default)]
pub(super) struct Concerns<'p> {
    /// What is denied.
    pub(super) breaks: Vec<&'p Hurt>,
    /// What could not be judged.
    pub(super) unknown: Vec<&'p Hurt>,
    /// Both, beyond those that are listed.
    more: usize,
    attempts: u64,
}

impl Proof {
    /// Asks the agent and reads the history; `now` brings that up to now before.
    pub(super) fn of(cli: &Cli, now: bool) -> anyhow::Result<Self> {
        let body = cli.ask(&Request::InForce { write: now })?;
        let Body::InForce(in_force) = body else { return Err(unexpected(&body)) };
        // Nobody has a gate before him: nothing is to be read.
        if in_force.stages.iter().all(|one| gate_of(one).is_none()) {
            return Ok(Self { in_force: *in_force, seen: Err("nobody asked".to_owned()) });
        }
        let seen = Seen::of(cli, &in_force).map_err(|error| {
            let said: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
            said.join("; ")
        });
        Ok(Self { in_force: *in_force, seen })
    }

    /// Where a device is; none where there is no such device.
    pub(super) fn stage(&self, device: &str) -> Option<&StageStatus> {
        self.in_force.stages.iter().find(|one| one.device == device)
    }

    /// Everything that the next gate of a device asks for; none where there is none.
    pub(super) fn criteria(&self, stage: &StageStatus) -> Option<(Gate, Vec<Criterion>)> {
        let gate = gate_of(stage)?;
        let each = |asked: &Asked| {
            let of_agent = || stage.criteria.iter().find(|one| one.asked == *asked).cloned();
            match asked {
                Asked::Baseline => Some(self.known(&stage.device)),
                Asked::Breaks => Some(self.breaks(stage)),
                Asked::Judged => Some(self.judged(stage)),
                Asked::Canaries | Asked::Noted | Asked::Time | Asked::Kept | Asked::Heard => of_agent(),
            }
        };
        Some((gate, gate.asks().iter().filter_map(each).collect()))
    }

    /// What of its conversations concerns its next gate: of a canary, what was seen since it is one.
    pub(super) fn concerns(&self, stage: &StageStatus) -> Concerns<'_> {
        let touching = self.seen.as_ref().ok().and_then(|seen| seen.touching.get(&stage.device));
        let Some(touching) = touching else { return Concerns::default() };
        let since = since(stage);
        let recent = |hurt: &&Hurt| since.is_none_or(|since| hurt.seen >= since);
        let mut breaks: Vec<&Hurt> = touching.breaks.list.iter().filter(recent).collect();
        let (mut attempts, mut more) = (touching.attempts, touching.breaks.more + touching.unknown.more);
        // What was dropped of a canary could not be answered.
        if since.is_some() {
            let tried: Vec<&Hurt> = touching.tried.list.iter().filter(recent).collect();
            if tried.len() == touching.tried.list.len() {
                more += touching.tried.more;
            }
            breaks.extend(tried);
            attempts = 0;
        }
        Concerns { breaks, unknown: touching.unknown.list.iter().filter(recent).collect(), more, attempts }
    }

    fn nothing_known(&self, asked: Asked) -> Option<Criterion> {
        let why = self.seen.as_ref().err()?;
        Some(Criterion::lacking(asked, why.clone(), None))
    }

    fn known(&self, device: &str) -> Criterion {
        let unknown = self.nothing_known(Asked::Baseline);
        let report = self.seen.as_ref().ok().and_then(|seen| seen.devices.get(device));
        let Some(report) = report else {
            let never = || Criterion::lacking(Asked::Baseline, "it was never seen", None);
            return unknown.unwrap_or_else(never);
        };
        if report.complete {
            let quiet = report.quiet_days.unwrap_or(0);
            let DeviceReport { watched_days, watched_hours, .. } = report;
            return Criterion::met(
                Asked::Baseline,
                format!(
                    "watched on {watched_days} days, in {watched_hours} of 168 hours of the week; nothing new for {quiet} days"
                ),
            );
        }
        let help = format!("it takes time; `bulkhead learn {device}` tells the details");
        Criterion::lacking(Asked::Baseline, report.missing.join("; "), Some(help))
    }

    fn breaks(&self, stage: &StageStatus) -> Criterion {
        if let Some(unknown) = self.nothing_known(Asked::Breaks) {
            return unknown;
        }
        let Concerns { breaks, more, attempts, .. } = self.concerns(stage);
        let open = breaks.iter().filter(|hurt| !is_accepted(stage, &hurt.id)).count();
        let kinds = |count| match count {
            1 => "1 kind of conversation".to_owned(),
            more => format!("{more} kinds of conversations"),
        };
        let since = since(stage).map_or_else(String::new, |since| format!(" since {}", minute(since)));
        let accepted = breaks.len() - open;
        let mut told = match (open, accepted) {
            (0, 0) => format!("nothing that it did{since} would be denied"),
            (0, some) => format!("{}{since} would be denied, and all were accepted", kinds(some)),
            (some, 0) => format!("{}{since} would be denied", kinds(some)),
            (some, others) => {
                format!("{}{since} would be denied, besides {others} that were accepted", kinds(some))
            }
        };
        if attempts > 0 {
            let attempts = usize::try_from(attempts).unwrap_or(usize::MAX);
            told += &format!("; attempts that nobody answered do not count ({})", counted(attempts, "kind"));
        }
        if more > 0 {
            told += &format!("; {more} more are too many to be listed");
        }
        if open == 0 && more == 0 {
            return Criterion::met(Asked::Breaks, told);
        }
        let device = &stage.device;
        let help = format!(
            "`bulkhead propose {device}` writes rules, `bulkhead rollout accept {device} BREAK --reason TEXT` says that it may stop"
        );
        Criterion::lacking(Asked::Breaks, told, Some(help))
    }

    fn judged(&self, stage: &StageStatus) -> Criterion {
        if let Some(unknown) = self.nothing_known(Asked::Judged) {
            return unknown;
        }
        if let Some(behind) = &self.in_force.behind {
            return Criterion::lacking(
                Asked::Judged,
                format!("the history is not up to now: {behind}"),
                None,
            );
        }
        let unknown = self.concerns(stage).unknown;
        let open = unknown.iter().filter(|hurt| !is_accepted(stage, &hurt.id)).count();
        let since = since(stage);
        let is_missing =
            |gap: &&Gap| gap.why != Why::Stopped.name() && since.is_some_and(|since| gap.to >= since);
        let missing = self.seen.iter().flat_map(|seen| &seen.gaps).filter(is_missing).count();
        if open > 0 {
            let help = format!(
                "find out who it is, or `bulkhead rollout accept {} BREAK --reason TEXT`",
                stage.device
            );
            let told = format!("{} with somebody of whom nobody knows who it is", counted(open, "kind"));
            return Criterion::lacking(Asked::Judged, told, Some(help));
        }
        if missing > 0 {
            let help =
                "`bulkhead history` tells what is missing; `bulkhead rollout back` begins anew".to_owned();
            return Criterion::lacking(
                Asked::Judged,
                format!("flows are missing {} since it is a canary", counted(missing, "time")),
                Some(help),
            );
        }
        Criterion::met(Asked::Judged, "everything that it did could be judged")
    }
}

impl Seen {
    fn of(cli: &Cli, in_force: &InForceStatus) -> anyhow::Result<Self> {
        let config = cli.config()?;
        let layers: Vec<TextLayer> = (in_force.layers.iter())
            .map(|layer| TextLayer {
                only: layer.only.clone(),
                files: (layer.files.iter())
                    .map(|file| SourceFile { path: file.path.clone(), text: file.text.clone() })
                    .collect(),
            })
            .collect();
        let policy = policy_of(&layers, &in_force.by_hand).map_err(anyhow::Error::msg)?;
        let file = history::file_of(&config);
        let touching = simulate::touching(&config, &policy, &file)?;
        let ground = Ground::of(&config, policy, &file)?;
        let told = progress::shown("reading the history", || {
            ground.learn(|Learned { material, watch, scope }| {
                baseline(material.who, material.found, material.fates, watch, *scope)
            })
        })?;
        let devices = told.devices.into_iter().map(|device| (device.device.clone(), device)).collect();
        Ok(Self { devices, touching, gaps: told.gaps })
    }
}

/// The next gate of a device.
fn gate_of(stage: &StageStatus) -> Option<Gate> {
    stage.stage.stage().and_then(Stage::gate)
}

/// Since when a device is a canary, seconds since 1970; none where it is none.
fn since(stage: &StageStatus) -> Option<i64> {
    let is_canary = stage.stage.stage() == Some(Stage::Canary);
    let since: Timestamp = stage.since.as_ref().filter(|_| is_canary)?.parse().ok()?;
    Some(since.as_second())
}

/// Whether somebody has accepted a break.
pub(super) fn is_accepted(stage: &StageStatus, id: &str) -> bool {
    stage.accepted.iter().any(|one| one.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnostic::Listed, replay::Break, rollout::Standing};

    #[test]
    fn what_is_dropped_of_a_canary_is_a_break_though_nobody_could_answer() {
        let hurt = |id: &str, seen| Hurt { id: id.to_owned(), seen, what: Break::default() };
        let tried = Listed { list: vec![hurt("now", 200), hurt("before", 50)], more: 7 };
        let touching = Touching { attempts: 9, tried, ..Touching::default() };
        let seen = Seen {
            devices: BTreeMap::new(),
            touching: BTreeMap::from([("plc".to_owned(), touching)]),
            gaps: Vec::new(),
        };
        let proof = Proof { in_force: InForceStatus::default(), seen: Ok(seen) };
        let status = |stage, since| StageStatus {
            device: "plc".to_owned(),
            class: None,
            stage: Standing::Stage(stage),
            since: Some(Timestamp::from_second(since).expect("a moment").to_string()),
            by: None,
            forced: false,
            criteria: Vec::new(),
            accepted: Vec::new(),
        };
        assert!(proof.breaks(&status(Stage::Ready, 100)).met, "as long as it is monitored");
        let canary = status(Stage::Canary, 100);
        let names: Vec<&str> = proof.concerns(&canary).breaks.iter().map(|hurt| hurt.id.as_str()).collect();
        assert_eq!((names, proof.breaks(&canary).met), (vec!["now"], false));
        assert!(proof.breaks(&status(Stage::Canary, 300)).met, "nothing since then");
        let told = proof.breaks(&status(Stage::Canary, 10));
        assert!(!told.met && told.told.contains("7 more"), "{told:?}");
    }
}
