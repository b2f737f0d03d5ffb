//! The stages of a device on its way into enforcement, and the gates between them.
//!
//! In: criteria, each met or not, with its figures. Out: the next stage, which nobody reaches but through its gate or by force, with a
//! reason; and what a stage is worth beside the mode that the device really has, which alone decides about packets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Mode;

/// How far a device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It is monitored, and its baseline grows.
    #[default]
    Observe,
    /// It is monitored, and what it does is known and allowed.
    Ready,
    /// It is enforced for a time in which it is watched.
    Canary,
    /// It is enforced.
    Enforce,
}

impl Stage {
    /// All of them, the first one first.
    pub const ALL: [Self; 4] = [Self::Observe, Self::Ready, Self::Canary, Self::Enforce];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Ready => "ready",
            Self::Canary => "canary",
            Self::Enforce => "enforce",
        }
    }

    /// The gate that leads on; none where there is nothing more.
    pub fn gate(self) -> Option<Gate> {
        match self {
            Self::Observe => Some(Gate::Prove),
            Self::Ready => Some(Gate::Try),
            Self::Canary => Some(Gate::Keep),
            Self::Enforce => None,
        }
    }

    /// The stage behind a gate that was passed; none where that gate does not begin here.
    pub fn advanced(self, pass: &Pass) -> Option<Self> {
        (self.gate() == Some(pass.gate)).then_some(pass.gate.to())
    }

    /// What is left of a stage under the mode that its device has: a mode that somebody or something else set ends it. A quarantine only
    /// interrupts it.
    #[must_use]
    pub fn under(self, mode: Mode) -> Self {
        match (self, mode) {
            (Self::Canary | Self::Enforce, Mode::Monitor) | (Self::Ready, Mode::Enforce) => Self::Observe,
            (Self::Observe | Self::Ready, Mode::Monitor)
            | (Self::Observe | Self::Canary | Self::Enforce, Mode::Enforce)
            | (_, Mode::Quarantine) => self,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a device is, stage and mode together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Enforced by its policy or by hand, without the stages.
    Enforced,
    /// Cut off.
    Quarantine,
    /// On its way.
    #[serde(untagged)]
    Stage(Stage),
}

impl Standing {
    /// What a device is that was brought to a stage (none for `observe`) and has a mode.
    pub fn of(stage: Option<Stage>, mode: Mode) -> Self {
        match (stage.unwrap_or_default().under(mode), mode) {
            (_, Mode::Quarantine) => Self::Quarantine,
            (Stage::Observe, Mode::Enforce) => Self::Enforced,
            (stage, Mode::Monitor | Mode::Enforce) => Self::Stage(stage),
        }
    }

    /// The stage, where it is one.
    pub fn stage(self) -> Option<Stage> {
        match self {
            Self::Stage(stage) => Some(stage),
            Self::Enforced | Self::Quarantine => None,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stage(stage) => stage.name(),
            Self::Enforced => "enforced",
            Self::Quarantine => "quarantine",
        }
    }
}

/// The way from one stage to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// From observe to ready.
    Prove,
    /// From ready to canary.
    Try,
    /// From canary to enforce.
    Keep,
}

impl Gate {
    /// What it asks for. Each of them must be there, and met.
    pub fn asks(self) -> &'static [Asked] {
        match self {
            Self::Prove => &[Asked::Baseline, Asked::Breaks, Asked::Judged],
            Self::Try => &[Asked::Baseline, Asked::Breaks, Asked::Judged, Asked::Canaries, Asked::Noted],
            Self::Keep => &[Asked::Time, Asked::Kept, Asked::Heard, Asked::Breaks, Asked::Judged],
        }
    }

    /// Where it leads.
    pub fn to(self) -> Stage {
        match self {
            Self::Prove => Stage::Ready,
            Self::Try => Stage::Canary,
            Self::Keep => Stage::Enforce,
        }
    }

    /// Passes it, if everything that it asks for is met; else what is not.
    ///
    /// # Errors
    /// The criteria that are not met. One that nobody has looked at is not met.
    pub fn pass(self, criteria: &[Criterion]) -> Result<Pass, Vec<Criterion>> {
        let lacking: Vec<Criterion> = (self.asks().iter())
            .filter_map(|asked| {
                let found = criteria.iter().filter(|one| one.asked == *asked);
                let unmet = found.clone().find(|one| !one.met).cloned();
                let nobody = || Criterion::lacking(*asked, "nobody has looked at it", None);
                if found.count() == 0 { Some(nobody()) } else { unmet }
            })
            .collect();
        if lacking.is_empty() { Ok(Pass { gate: self }) } else { Err(lacking) }
    }

    /// Passes it whatever is lacking: somebody takes it upon himself, with a reason; none where there is no reason.
    pub fn forced(self, reason: &str) -> Option<Pass> {
        (!reason.trim().is_empty()).then_some(Pass { gate: self })
    }
}

/// A gate was passed. Only [`Gate`] makes it.
#[derive(Debug)]
pub struct Pass {
    gate: Gate,
}

/// What a gate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// What the device does is known: days, hours of the week, nothing new.
    Baseline,
    /// The policy in force stops nothing that it did, but what was accepted.
    Breaks,
    /// Everything that it did could be judged.
    Judged,
    /// There is a place for one more canary of its class.
    Canaries,
    /// Whenever it went back, somebody has taken note.
    Noted,
    /// It was enforced for long enough.
    Time,
    /// It did not go back in that time.
    Kept,
    /// It talked in that time, and was let.
    Heard,
}

impl Asked {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Breaks => "breaks",
            Self::Judged => "judged",
            Self::Canaries => "canaries",
            Self::Noted => "noted",
            Self::Time => "time",
            Self::Kept => "kept",
            Self::Heard => "heard",
        }
    }
}

/// Something that a gate asks for, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// What is asked for.
    pub asked: Asked,
    /// Whether it is met.
    pub met: bool,
    /// The figures, or what is missing.
    pub told: String,
    /// How to meet it, where that is not a matter of waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Criterion {
    /// It is met, with these figures.
    pub fn met(asked: Asked, told: impl Into<String>) -> Self {
        Self { asked, met: true, told: told.into(), help: None }
    }

    /// It is not met.
    pub fn lacking(asked: Asked, told: impl Into<String>, help: Option<String>) -> Self {
        Self { asked, met: false, told: told.into(), help }
    }

    /// One line.
    pub fn line(&self) -> String {
        let Self { asked, met, told, help: _ } = self;
        format!("{} {}: {told}", asked.name(), if *met { "met" } else { "NOT MET" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODES: [Mode; 3] = [Mode::Monitor, Mode::Enforce, Mode::Quarantine];

    fn all_met(gate: Gate) -> Vec<Criterion> {
        gate.asks().iter().map(|asked| Criterion::met(*asked, "yes")).collect()
    }

    #[test]
    fn a_gate_is_passed_with_everything_that_it_asks_for_and_nothing_less() {
        for gate in [Gate::Prove, Gate::Try, Gate::Keep] {
            assert!(gate.pass(&all_met(gate)).is_ok());
            for left_out in 0..gate.asks().len() {
                let mut some = all_met(gate);
                let one = some.remove(left_out);
                let lacking = gate.pass(&some).expect_err("one was not looked at");
                assert_eq!(lacking.iter().map(|lack| lack.asked).collect::<Vec<_>>(), [one.asked]);
                some.push(Criterion::lacking(one.asked, "no", None));
                // Who says both has not met it.
                some.push(one.clone());
                let lacking = gate.pass(&some).expect_err("one is not met");
                assert_eq!(lacking, [Criterion::lacking(one.asked, "no", None)]);
            }
        }
    }

    #[test]
    fn force_needs_a_reason() {
        assert!(Gate::Try.forced(" \t").is_none());
        let pass = Gate::Try.forced("the line stands still until Monday").expect("a reason");
        assert_eq!(Stage::Ready.advanced(&pass), Some(Stage::Canary));
        assert_eq!(Stage::Observe.advanced(&pass), None, "one step at a time");
    }

    #[test]
    fn what_is_shown_never_contradicts_the_mode() {
        let stages = Stage::ALL.map(Some).into_iter().chain([None]);
        for (stage, mode) in stages.flat_map(|stage| MODES.map(|mode| (stage, mode))) {
            let enforced = match Standing::of(stage, mode) {
                Standing::Stage(Stage::Observe | Stage::Ready) => Mode::Monitor,
                Standing::Stage(Stage::Canary | Stage::Enforce) | Standing::Enforced => Mode::Enforce,
                Standing::Quarantine => Mode::Quarantine,
            };
            assert_eq!(enforced, mode, "{stage:?}");
        }
    }

    #[test]
    fn standings_are_words() {
        let all =
            Stage::ALL.map(Standing::Stage).into_iter().chain([Standing::Enforced, Standing::Quarantine]);
        for standing in all {
            let text = serde_json::to_string(&standing).expect("JSON");
            assert_eq!(text, format!("\"{}\"", standing.name()));
            assert_eq!(serde_json::from_str::<Standing>(&text).expect("what was written"), standing);
        }
    }

    #[derive(Clone, Debug)]
    enum Happens {
        /// Somebody advances, with some of the criteria met.
        Advance(u16),
        Force,
        Back,
        Mode(Mode),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            4 => prop_oneof![Just(u16::MAX), any::<u16>()].prop_map(Happens::Advance),
            1 => Just(Happens::Force),
            1 => Just(Happens::Back),
            3 => prop::sample::select(MODES.to_vec()).prop_map(Happens::Mode),
        ]
    }

    proptest! {
        #[test]
        fn nobody_is_kept_enforced_but_through_all_gates(story in prop::collection::vec(happens(), 0..40)) {
            let (mut kept, mut mode, mut passed) = (None::<Stage>, Mode::Monitor, 0);
            for one in story {
                let stage = kept.unwrap_or_default();
                match one {
                    Happens::Advance(mask) => {
                        let Some(gate) = Standing::of(kept, mode).stage().and_then(Stage::gate) else { continue };
                        let mut criteria = all_met(gate);
                        criteria.iter_mut().enumerate().for_each(|(at, one)| one.met = mask & (1 << at) != 0);
                        let is_met = criteria.iter().all(|one| one.met);
                        let pass = gate.pass(&criteria);
                        prop_assert_eq!(pass.is_ok(), is_met);
                        if let Some(next) = pass.ok().and_then(|pass| stage.advanced(&pass)) {
                            (kept, passed) = (Some(next), passed + 1);
                            mode = if next >= Stage::Canary { Mode::Enforce } else { mode };
                        }
                    }
                    Happens::Force => {
                        let Some(gate) = Standing::of(kept, mode).stage().and_then(Stage::gate) else { continue };
                        let next = gate.forced("because").and_then(|pass| stage.advanced(&pass));
                        if let Some(next) = next {
                            (kept, passed) = (Some(next), passed + 1);
                            mode = if next >= Stage::Canary { Mode::Enforce } else { mode };
                        }
                    }
                    Happens::Back => (kept, mode, passed) = (None, Mode::Monitor, 0),
                    Happens::Mode(to) => mode = to,
                }
                kept = kept.map(|stage| stage.under(mode));
                if kept.unwrap_or_default() == Stage::Observe {
                    passed = 0;
                }
                let gates = Stage::ALL.iter().position(|stage| *stage == kept.unwrap_or_default());
                prop_assert_eq!(gates, Some(passed), "each gate once, in order");
                if Standing::of(kept, mode) == Standing::Stage(Stage::Enforce) {
                    prop_assert_eq!((passed, mode), (3, Mode::Enforce));
                }
            }
        }
    }
}
