//! Three views of one device: what its manufacturer declares, what was seen, what the policy says. In: what was learned, the policy, and
//! another one whose only rules are the manufacturer's. Out: each talk with both verdicts, and the rules of either that nothing was seen of.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    Fate, Habit, Judge, Party, Talk,
    judge::{Asking, Said},
    propose::Material,
};
use crate::{
    compile::RuleRef,
    model::{ClassId, DeviceId, Holder, Policy, spelled},
    traffic::Kind,
};

/// Talks and rules that are told of.
const MOST: usize = 1000;

/// What one of the two says of a talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may be.
    Yes,
    /// Some of those who are told of together may, or at some of the times at which it was seen.
    Partly,
    /// It may be with addresses behind a name: what was seen has no names.
    ByName,
    /// It may not.
    No,
}

impl Verdict {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::ByName => "by name",
            Self::No => "no",
        }
    }
}

/// What both verdicts together mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// Nobody says that it should be.
    Unknown,
    /// The policy allows more than the manufacturer knows of.
    Beyond,
    /// The policy denies what the manufacturer says the device needs.
    Missing,
    /// Both say so.
    Agreed,
}

impl Meaning {
    fn of(declared: Verdict, written: Verdict) -> Self {
        match (declared == Verdict::No, written == Verdict::No) {
            (true, true) => Self::Unknown,
            (true, false) => Self::Beyond,
            (false, true) => Self::Missing,
            (false, false) => Self::Agreed,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Beyond => "beyond",
            Self::Missing => "missing",
            Self::Agreed => "agreed",
        }
    }
}

/// A talk of the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Who begins.
    pub from: String,
    /// Who answers.
    pub to: String,
    /// Over what.
    pub service: String,
    /// Conversations that began.
    pub flows: u64,
    /// On how many days.
    pub days: u32,
    /// When it was seen last, seconds since 1970 (UTC).
    pub last: i64,
    /// Why it teaches nothing: a word of `learn`; none where it does.
    pub left: Option<&'static str>,
    /// What the manufacturer says.
    pub declared: Verdict,
    /// What the policy says.
    pub written: Verdict,
    /// What that means.
    pub meaning: Meaning,
}

/// The three views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Whose.
    pub device: String,
    /// What was seen, that which nobody knows first.
    pub seen: Vec<Line>,
    /// How many others there are.
    pub more_seen: usize,
    /// Rules of the manufacturer that nothing was seen of.
    pub declared_unseen: Vec<RuleRef>,
    /// Rules of the device, or of its class, likewise.
    pub written_unseen: Vec<RuleRef>,
}

impl Comparison {
    /// Whether the three differ in anything that teaches something.
    pub fn differs(&self) -> bool {
        let is_partly = |line: &Line| [line.declared, line.written].contains(&Verdict::Partly);
        let differs = |line: &Line| line.meaning != Meaning::Agreed || is_partly(line);
        self.seen.iter().any(|line| line.left.is_none() && differs(line))
    }
}

/// The policy whose only rules are those of one class, of which one device is the only member: what a manufacturer's class admits by itself.
pub fn alone(mut policy: Policy, device: DeviceId, class: ClassId) -> Policy {
    policy.devices.iter_mut().for_each(|one| one.class = one.class.filter(|of| *of != class));
    policy.devices[device.0 as usize].class = Some(class);
    policy.rules.retain(|rule| rule.holder == Holder::Class(class));
    policy
}

/// Compares what was seen of a device with both.
pub fn compare(
    material: &Material<'_>,
    device: DeviceId,
    declared: (&Policy, &Judge),
    written: (&Policy, &Judge),
) -> Comparison {
    let mut views = [View::of(declared.1), View::of(written.1)];
    let is_its = |talk: &Talk| [talk.from, talk.to].contains(&Party::Device(device));
    let mut seen: Vec<(Line, Talk)> = Vec::new();
    for (talk, fate) in material.fates.iter().filter(|(talk, _)| is_its(talk)) {
        let Some(habit) = material.habit(talk) else { continue };
        let [declared, written] = views.each_mut().map(|view| view.about(talk, habit));
        let line = Line {
            from: material.who.name(talk.from),
            to: material.who.name(talk.to),
            service: spelled(talk.service.selector()),
            flows: habit.flows,
            days: habit.day_count(),
            last: habit.last,
            left: if let Fate::Left(left) = fate { Some(left.name()) } else { None },
            declared,
            written,
            meaning: Meaning::of(declared, written),
        };
        seen.push((line, *talk));
    }
    seen.sort_by_key(|(line, talk)| (line.left.is_some(), line.meaning, *talk));
    let more_seen = seen.len().saturating_sub(MOST);
    let its = &written.0.devices[device.0 as usize];
    let class = its.class.map(|class| format!("class {}", written.0.classes[class.0 as usize].name));
    let holders: BTreeSet<String> = class.into_iter().chain([format!("device {}", its.name)]).collect();
    let [declared_unseen, written_unseen] = views.map(|view| view.unseen());
    Comparison {
        device: its.name.clone(),
        seen: seen.into_iter().take(MOST).map(|(line, _)| line).collect(),
        more_seen,
        declared_unseen: declared_unseen.take(MOST).collect(),
        written_unseen: written_unseen.filter(|rule| holders.contains(&rule.holder)).take(MOST).collect(),
    }
}

/// One of the two that are asked.
struct View<'a> {
    judge: &'a Judge,
    asking: Asking<'a>,
    /// Rules that allowed something.
    used: BTreeSet<u32>,
}

impl<'a> View<'a> {
    fn of(judge: &'a Judge) -> Self {
        Self { judge, asking: judge.ask(), used: BTreeSet::new() }
    }

    fn about(&mut self, talk: &Talk, habit: &Habit) -> Verdict {
        let kinds: BTreeSet<Kind> =
            habit.samples.into_iter().chain(habit.ends.iter().map(|end| habit.with(talk, *end))).collect();
        let rules: Vec<Option<u32>> = kinds.iter().map(|kind| self.asking.rule(kind)).collect();
        self.used.extend(rules.iter().flatten());
        let mut at_times = |kind: &Kind| match self.asking.about(kind) {
            Said::AtTimes => !self.asking.throughout(kind, &habit.times),
            Said::Allowed | Said::Expired | Said::Denied => false,
        };
        let is_closed =
            kinds.iter().zip(&rules).filter(|(_, rule)| rule.is_some()).any(|(kind, _)| at_times(kind));
        match rules.iter().filter(|rule| rule.is_some()).count() {
            0 if self.is_by_name(&kinds) => Verdict::ByName,
            0 => Verdict::No,
            allowed if allowed == rules.len() && !is_closed => Verdict::Yes,
            _ => Verdict::Partly,
        }
    }

    /// Whether a rule allows one of them with addresses behind a name, of which its may be one.
    fn is_by_name(&mut self, kinds: &BTreeSet<Kind>) -> bool {
        let Self { judge, asking, used, .. } = self;
        let rows = kinds.iter().flat_map(|kind| judge.tables().may_be_named(asking.who(), kind));
        let rules: BTreeSet<u32> = rows.map(|permission| permission.row.rule).collect();
        used.extend(&rules);
        !rules.is_empty()
    }

    fn unseen(self) -> impl Iterator<Item = RuleRef> + use<'a> {
        let Self { judge, used, .. } = self;
        let numbered = (1_u32..).zip(&judge.tables().rules);
        numbered.filter(move |(id, _)| !used.contains(id)).map(|(_, entry)| entry.into())
    }
}
