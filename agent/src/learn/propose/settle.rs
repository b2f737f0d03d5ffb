//! A proposal that does what it says. In: entries, and the files. Out: the files with them, proved; entries that would let in what was left
//! out are dropped, each with its reason, and the others stay.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Entry, Material, MergeError, Merged, Piece, Proof, Proposal, Refused, merge, names, pieces as pieces_of,
    prove, prove::lets_in,
};
use crate::{
    learn::{Fate, Surroundings, Talk},
    policy::SourceFile,
};

/// So often entries are dropped and the rest is proved again.
const TRIES: usize = 8;
/// As many entries are asked about one by one each time.
const MOST_ALONE: usize = 256;

/// A proposal with its text and the proof.
#[derive(Debug)]
pub struct Settled {
    /// The rules.
    pub proposal: Proposal,
    /// Their text.
    pub pieces: Vec<Piece>,
    /// The files that change.
    pub merged: Vec<Merged>,
    /// All files as they would be.
    pub after: Vec<SourceFile>,
    /// What they would do.
    pub proof: Proof,
}

/// Writes a proposal down, proves it, and drops what spoils it.
///
/// # Errors
/// When a file cannot take its part of it.
pub fn settle(
    material: &Material<'_>,
    mut proposal: Proposal,
    files: &[SourceFile],
    surroundings: &Surroundings,
    now: Timestamp,
) -> Result<Settled, MergeError> {
    for tries in 1.. {
        let pieces = pieces_of(material, &proposal);
        let (merged, after) = written(&pieces, files)?;
        let proof = prove(material, &proposal, (files, &after), surroundings, now);
        let by_itself = |entry: &Entry, talk: &Talk| {
            let alone = Proposal { entries: vec![entry.clone()], ..Proposal::default() };
            let after = written(&pieces_of(material, &alone), files)?.1;
            Ok(lets_in(material, talk, &after, surroundings, now))
        };
        let spoils = spoiling(material, &proposal, &proof, by_itself)?;
        // Files that are no policy any more are not mended by leaving out rules one by one.
        if spoils.is_empty() || !proof.findings.is_empty() || tries == TRIES {
            return Ok(Settled { proposal, pieces, merged, after, proof });
        }
        let all = std::mem::take(&mut proposal.entries);
        for (at, entry) in all.into_iter().enumerate() {
            match spoils.iter().find(|(index, _)| *index == at) {
                Some((_, why)) => proposal.dropped.push(Refused {
                    holder: entry.holder,
                    what: told(material, &entry),
                    why: why.clone(),
                }),
                None => proposal.entries.push(entry),
            }
        }
    }
    unreachable!("it ends with the last try")
}

/// What changes in files, and the files then.
fn written(pieces: &[Piece], files: &[SourceFile]) -> Result<(Vec<Merged>, Vec<SourceFile>), MergeError> {
    let mut merged = Vec::new();
    let mut after = files.to_vec();
    for piece in pieces {
        let Some(file) = after.iter_mut().find(|file| file.path == piece.path) else { continue };
        let one = merge(&file.text, piece)?;
        file.text.clone_from(&one.after);
        merged.push(one);
    }
    Ok((merged, after))
}

/// Entries by which the files do not do what they should, and why. `by_itself` says whether an entry lets a talk in without the others.
fn spoiling(
    material: &Material<'_>,
    proposal: &Proposal,
    proof: &Proof,
    by_itself: impl Fn(&Entry, &Talk) -> Result<bool, MergeError>,
) -> Result<BTreeSet<(usize, String)>, MergeError> {
    let policy = material.who.policy();
    let entries = || proposal.entries.iter().enumerate();
    let mut spoils = BTreeSet::new();
    let mut asks = MOST_ALONE;
    for talk in &proof.denied {
        let its = entries().filter(|(_, entry)| entry.talks.contains(talk));
        spoils.extend(its.map(|(at, _)| (at, format!("it would not admit {}", shown(material, talk)))));
    }
    for talk in &proof.admitted {
        let why =
            format!("it would admit {}, which was left out: {}", shown(material, talk), left(material, talk));
        let one = [(*talk, ())];
        let mut its: Vec<usize> = entries()
            .filter(|(_, entry)| entry.admitted(policy, one.iter()).is_some())
            .map(|(at, _)| at)
            .collect();
        if its.is_empty() {
            // Whichever it is, it is one of those at its ends.
            let ends = [talk.from, talk.to].map(|party| party.device());
            let is_at =
                |entry: &Entry| entry.holder.devices(policy).iter().any(|id| ends.contains(&Some(*id)));
            its = entries().filter(|(_, entry)| is_at(entry)).map(|(at, _)| at).collect();
            let mut guilty = Vec::new();
            for at in its.iter().take(asks) {
                if by_itself(&proposal.entries[*at], talk)? {
                    guilty.push(*at);
                }
            }
            asks = asks.saturating_sub(its.len());
            // It may take several of them.
            if !guilty.is_empty() {
                its = guilty;
            }
        }
        spoils.extend(its.into_iter().map(|at| (at, why.clone())));
    }
    Ok(spoils)
}

fn left(material: &Material<'_>, talk: &Talk) -> &'static str {
    match material.fates.get(talk) {
        Some(Fate::Left(left)) => left.name(),
        Some(Fate::Decide(doubts)) => doubts.first().map_or("undecided", |doubt| doubt.name()),
        Some(Fate::Learned | Fate::Covered) | None => "scan",
    }
}

fn shown(material: &Material<'_>, talk: &Talk) -> String {
    let [from, to] = [talk.from, talk.to].map(|party| material.who.name(party));
    format!("{from} -> {to} {}", names::shown(talk.service))
}

/// What an entry is about.
fn told(material: &Material<'_>, entry: &Entry) -> String {
    match entry.talks.as_slice() {
        [] => "a rule".to_owned(),
        [one] => format!("the rule for {}", shown(material, one)),
        [first, rest @ ..] => format!("the rule for {} and {} more", shown(material, first), rest.len()),
    }
}
