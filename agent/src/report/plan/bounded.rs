//! How much is said of one thing: a network of thousands of prefixes, or a rule of thousands of names, would make a plan
//! larger than what is sent at once, and nobody reads it to the end. In: a plan. Out: the same, in which long enumerations
//! end with how many others there are. What differs between before and after comes first where something is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Became, Plan, RuleChanges, RuleSaid};
use crate::diagnostic::counted;

/// Bytes of the warnings.
const WARNINGS: usize = 1 << 20;
/// Entries of an enumeration, and their bytes.
const ENTRIES: usize = 40;
const BYTES: usize = 1000;
/// Between entries, and before those that are taken out of a network.
const COMMA: &str = ", ";
const EXCEPT: &str = " except ";

pub(super) fn shorten(plan: &mut Plan) {
    let RuleChanges { added, removed, changed, reworded } = &mut plan.rules;
    added.list.iter_mut().chain(&mut removed.list).for_each(|rule| lists(rule, None));
    for Became { before, after } in changed.list.iter_mut().chain(&mut reworded.list) {
        let whole = before.clone();
        lists(before, Some(after));
        lists(after, Some(&whole));
    }
    for one in &mut plan.definitions.list {
        [one.before, one.after] = both([one.before.take(), one.after.take()]);
    }
    plan.devices.list.iter_mut().for_each(|one| properties(&mut one.properties));
    plan.identities.list.iter_mut().for_each(|one| properties(&mut one.properties));
    let reach = &mut plan.reachability;
    for one in reach.gained.list.iter_mut().chain(&mut reach.lost.list) {
        one.services = one.services.take().map(|text| enumeration(&text, None));
    }
}

/// As many whole lines of a text as there is room for, and how many others there are.
pub(super) fn lines(text: String) -> String {
    if text.len() <= WARNINGS {
        return text;
    }
    let mut room = WARNINGS;
    let fits = |line: &&str| {
        let fits = line.len() <= room;
        room = room.saturating_sub(line.len());
        fits
    };
    let short: String = text.split_inclusive('\n').take_while(fits).collect();
    let more = text.lines().count() - short.lines().count();
    format!("{short}... and {}: see `bulkhead check`\n", counted(more, "more line"))
}

fn properties(properties: &mut BTreeMap<String, [Option<String>; 2]>) {
    for values in properties.values_mut() {
        *values = both(std::mem::take(values));
    }
}

fn both([before, after]: [Option<String>; 2]) -> [Option<String>; 2] {
    let short = |text: &Option<String>, other: &Option<String>| {
        text.as_ref().map(|text| enumeration(text, other.as_deref()))
    };
    [short(&before, &after), short(&after, &before)]
}

fn lists(rule: &mut RuleSaid, other: Option<&RuleSaid>) {
    let RuleSaid { initiators, responders, services, .. } = rule;
    let others = [
        other.map(|rule| &rule.initiators),
        other.map(|rule| &rule.responders),
        other.map(|rule| &rule.services),
    ];
    for (names, other) in [initiators, responders, services].into_iter().zip(others) {
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        let other = other.map(|names| names.iter().map(String::as_str).collect());
        let Some(short) = cut(&borrowed, other) else { continue };
        *names = short;
    }
}

/// A text of entries, those after `except` by themselves.
fn enumeration(text: &str, other: Option<&str>) -> String {
    let halves = |text| -> [Option<&str>; 2] {
        match str::split_once(text, EXCEPT) {
            Some((all, except)) => [Some(all), Some(except)],
            None => [Some(text), None],
        }
    };
    let others = other.map(halves).unwrap_or_default();
    let short = halves(text).into_iter().zip(others).filter_map(|(half, other)| {
        let entries: Vec<&str> = half?.split(COMMA).collect();
        let short = cut(&entries, other.map(|other| other.split(COMMA).collect()));
        Some(short.unwrap_or_else(|| entries.into_iter().map(str::to_owned).collect()).join(COMMA))
    });
    short.collect::<Vec<_>>().join(EXCEPT)
}

/// The first entries, with how many there are besides; `None` when there is room for all.
fn cut(entries: &[&str], other: Option<BTreeSet<&str>>) -> Option<Vec<String>> {
    let bytes: usize = entries.iter().map(|entry| entry.len()).sum();
    if entries.len() <= ENTRIES && bytes <= BYTES {
        return None;
    }
    let mut ordered = entries.to_vec();
    if let Some(other) = &other {
        ordered.sort_by_key(|entry| other.contains(entry));
    }
    let mut room = BYTES;
    let fits = |entry: &&&str| {
        let fits = entry.len() <= room;
        room = room.saturating_sub(entry.len());
        fits
    };
    let mut short: Vec<String> =
        ordered.iter().take(ENTRIES).take_while(fits).map(|&entry| entry.to_owned()).collect();
    if short.is_empty() {
        // A group with all it holds.
        short.extend(ordered.first().map(|entry| enumerated(entry)));
    }
    let more = entries.len() - short.len();
    if more > 0 {
        short.push(format!("+ {more} more"));
    }
    Some(short)
}

/// An entry that is itself a list of names.
fn enumerated(entry: &str) -> String {
    let names: Vec<&str> = entry.split(COMMA).collect();
    let mut room = BYTES;
    let fits = |name: &&&str| {
        let fits = name.len() <= room;
        room = room.saturating_sub(name.len());
        fits
    };
    let kept: Vec<&str> = names.iter().take(ENTRIES).take_while(fits).copied().collect();
    match names.len() - kept.len() {
        0 => entry.to_owned(),
        more => format!("{}, + {more} more)", kept.join(COMMA)),
    }
}
