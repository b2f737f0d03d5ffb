//! A proposal is held against what was seen. In: the files as they were and as they would be. Out: which talks are admitted then, asked one by one
//! with the function that enforces.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Material, Proposal};
use crate::{
    diagnostic::{Diagnostic, Sources},
    learn::{Fate, Judge, Surroundings, Talk, judge::Said},
    policy::{SourceFile, resolve_texts},
    traffic::Kind,
};

/// What a proposal would do.
#[derive(Debug)]
pub struct Proof {
    /// What is wrong with the files as they would be, and was not before.
    pub findings: Vec<Diagnostic>,
    /// Their texts.
    pub sources: Sources,
    /// Talks of its rules.
    pub learned: usize,
    /// Those of them that would not be allowed.
    pub denied: Vec<Talk>,
    /// Talks that were left out, or wait for a decision, or that a scan tried, and would be allowed though they were not before.
    pub admitted: Vec<Talk>,
}

impl Proof {
    /// Whether the proposal does what it says.
    pub fn holds(&self) -> bool {
        self.findings.is_empty() && self.denied.is_empty() && self.admitted.is_empty()
    }
}

/// Judges every talk by the files as they would be.
pub fn prove(
    material: &Material<'_>,
    proposal: &Proposal,
    (before, after): (&[SourceFile], &[SourceFile]),
    surroundings: &Surroundings,
    now: Timestamp,
) -> Proof {
    let mut known: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let old = resolve_texts(before).diagnostics;
    for found in &old {
        *known.entry((found.code, found.message.clone())).or_default() += 1;
    }
    let outcome = resolve_texts(after);
    let is_new = |found: &Diagnostic| match known.get_mut(&(found.code, found.message.clone())) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        Some(_) | None => true,
    };
    let findings = outcome.diagnostics.into_iter().filter(is_new).collect();
    let talks: Vec<Talk> = proposal.entries.iter().flat_map(|entry| entry.talks.iter().copied()).collect();
    let mut proof = Proof {
        findings,
        sources: outcome.sources,
        learned: talks.len(),
        denied: Vec::new(),
        admitted: Vec::new(),
    };
    let judge = |policy| Judge::new(policy, surroundings.clone(), now).ok();
    let (old, new) = (judge(material.who.policy()), outcome.policy.as_ref().and_then(judge));
    let (Some(old), Some(new)) = (old, new) else {
        proof.denied = talks;
        return proof;
    };
    let (mut old, mut new) = (old.ask(), new.ask());
    let mut is_allowed = |talk: &Talk| {
        let samples = material.habit(talk).map(|habit| habit.samples);
        samples.is_some_and(|samples| samples.iter().all(|kind| new.about(kind) == Said::Allowed))
    };
    proof.denied = talks.into_iter().filter(|talk| !is_allowed(talk)).collect();
    // Of those that must not be allowed one is too much, whoever of them it is. What was allowed before is no matter of the proposal.
    let mut is_let_in = |kind: &Kind| new.about(kind) == Said::Allowed && old.about(kind) != Said::Allowed;
    let others = material.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Decide(_) | Fate::Left(_)));
    let mut admitted: BTreeSet<Talk> = others
        .filter(|(talk, _)| kinds(material, talk).any(|kind| is_let_in(&kind)))
        .map(|(talk, _)| *talk)
        .collect();
    let probes = material.found.probed.iter().filter(|kind| is_let_in(kind));
    admitted.extend(probes.map(|kind| Talk::of(material.who, kind)));
    proof.admitted = admitted.into_iter().collect();
    proof
}

/// The kinds that are asked about for a talk.
fn kinds<'m>(material: &'m Material<'_>, talk: &'m Talk) -> impl Iterator<Item = Kind> + 'm {
    let habit = material.habit(talk);
    let ends = habit.into_iter().flat_map(|habit| habit.ends.iter().map(|end| habit.with(talk, *end)));
    let probes = material
        .found
        .probed
        .iter()
        .filter(move |kind| habit.is_none() && Talk::of(material.who, kind) == *talk);
    habit.into_iter().flat_map(|habit| habit.samples).chain(ends).chain(probes.copied())
}

/// Whether a talk would be allowed by files.
pub(super) fn lets_in(
    material: &Material<'_>,
    talk: &Talk,
    after: &[SourceFile],
    surroundings: &Surroundings,
    now: Timestamp,
) -> bool {
    let judge = |policy| Judge::new(policy, surroundings.clone(), now).ok();
    let judge = resolve_texts(after).policy.as_ref().and_then(judge);
    judge.is_some_and(|judge| {
        let mut asking = judge.ask();
        kinds(material, talk).any(|kind| asking.about(&kind) == Said::Allowed)
    })
}
