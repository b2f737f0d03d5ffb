//! A proposal is held against what was seen. In: the files as they were and as they would be. Out: which talks are admitted then, asked one by one
//! with the function that enforces.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Material, Proposal};
use crate::{
    diagnostic::{Diagnostic, Sources},
    learn::{Fate, Judge, Surroundings, Talk, judge::Said},
    policy::{SourceFile, resolve_texts},
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
    /// Talks that were left out, or wait for a decision, and would be allowed.
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
    let judge = outcome.policy.map(|policy| Judge::new(&policy, surroundings.clone(), now));
    let Some(Ok(judge)) = judge else {
        proof.denied = talks;
        return proof;
    };
    let mut asking = judge.ask();
    let mut is_allowed = |talk: &Talk| {
        let samples = material.habit(talk).map(|habit| habit.samples);
        samples.is_some_and(|samples| samples.iter().all(|kind| asking.about(kind) == Said::Allowed))
    };
    proof.denied = talks.into_iter().filter(|talk| !is_allowed(talk)).collect();
    let others = material.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Decide(_) | Fate::Left(_)));
    proof.admitted = others.map(|(talk, _)| *talk).filter(|talk| is_allowed(talk)).collect();
    proof
}
