//! Entries as text. In: a proposal. Out: for each file what is to be added to it: entries with their reasons, and declarations.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};

use super::{
    Entry, Holder, Key, Material, Proposal,
    names::{Names, shown, table},
};
use crate::{
    learn::{Habit, Talk},
    policy::format::text::Table,
};

/// As many talks of an entry are told of one by one.
const LINES: usize = 8;

/// What is added to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The file.
    pub path: String,
    /// What goes behind what holders have already.
    pub rules: Vec<Rule>,
    /// What goes to the end of the file: tables that rules name.
    pub declared: Vec<String>,
}

/// An entry as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `device` or `class`, and its name.
    pub holder: (&'static str, String),
    /// Reasons, a line each, without the mark of a comment.
    pub reasons: Vec<String>,
    /// The entry as a table with a header.
    pub table: String,
    /// The entry as a value.
    pub inline: String,
    /// Whether a person has to decide: then it is a comment.
    pub undecided: bool,
    /// The words of the other end, and of the services.
    pub words: [Vec<String>; 2],
    /// How the line of each talk begins that is told of.
    pub marks: Vec<String>,
    /// What undecided entries would need.
    pub declared: Vec<String>,
}

/// Writes a proposal down, by files, in the order of their names.
pub fn pieces(material: &Material<'_>, proposal: &Proposal) -> Vec<Piece> {
    let policy = material.who.policy();
    let mut names = Names::new(policy);
    let mut pieces: BTreeMap<&str, Piece> = BTreeMap::new();
    // What is in a file by then, and what some rule that waits for a person brings with it.
    let mut written: BTreeSet<String> = BTreeSet::new();
    let mut brought: BTreeSet<String> = BTreeSet::new();
    // What is learned comes first.
    for entry in proposal.entries.iter().chain(&proposal.decisions) {
        let path = match entry.holder {
            Holder::Device(id) => policy.devices[id.0 as usize].location.path.as_ref(),
            Holder::Class(id) => policy.classes[id.0 as usize].location.path.as_ref(),
        };
        let mut rule = rule(material, entry, &mut names);
        let piece = pieces.entry(path).or_insert_with(|| Piece {
            path: path.to_owned(),
            rules: Vec::new(),
            declared: Vec::new(),
        });
        let mut needed = names.take();
        needed.retain(|name, _| !written.contains(name));
        for (name, what) in needed {
            let text = table(&name, &what).text();
            if !rule.undecided {
                piece.declared.push(text);
                written.insert(name);
                continue;
            }
            if !brought.insert(name.clone()) {
                rule.reasons.push(format!("`{name}` is declared with a rule above as well: adopt it once"));
            }
            rule.declared.push(text);
        }
        piece.rules.push(rule);
    }
    pieces.into_values().collect()
}

fn rule(material: &Material<'_>, entry: &Entry, names: &mut Names<'_>) -> Rule {
    let policy = material.who.policy();
    let (kind, name) = match entry.holder {
        Holder::Device(id) => ("device", policy.devices[id.0 as usize].name.clone()),
        Holder::Class(id) => ("class", policy.classes[id.0 as usize].name.clone()),
    };
    let habits = || entry.talks.iter().filter_map(|talk| material.habit(talk));
    let ends = habits().flat_map(|habit| habit.ends.iter().filter_map(|end| end.address)).collect::<Vec<_>>();
    let terms: Vec<String> = names.terms(&entry.terms, &ends).into_iter().collect();
    let services = names.services(&entry.whats);
    let mut table = Table::entry(&[kind, &name, "allow"]);
    let key = match entry.key {
        Key::From => "from",
        Key::To => "to",
    };
    table.list(key, terms.iter().cloned());
    table.list("service", services.iter().cloned());
    table.words("comment", Some(&summary(material, entry)));
    table.words("source", Some("learned"));
    let inline = table.clone().inline();
    Rule {
        holder: (kind, name),
        reasons: reasons(material, entry),
        table: table.text(),
        inline,
        undecided: !entry.doubts.is_empty(),
        words: [terms, services],
        marks: entry.talks.iter().take(LINES).map(|talk| mark(material, talk)).collect(),
        declared: Vec::new(),
    }
}

/// The reasons of an entry, a line each.
fn reasons(material: &Material<'_>, entry: &Entry) -> Vec<String> {
    let mut lines: Vec<String> =
        entry.doubts.iter().map(|doubt| format!("DECIDE {}: {}", doubt.name(), doubt.text())).collect();
    for talk in entry.talks.iter().take(LINES) {
        let Some(habit) = material.habit(talk) else { continue };
        lines.push(format!("{} {}", mark(material, talk), told(material, talk, habit)));
    }
    if entry.talks.len() > LINES {
        lines.push(format!("and {} more like these", entry.talks.len() - LINES));
    }
    lines.extend(entry.widened.iter().map(|how| format!("wider than seen: {how}")));
    if entry.price > 0 {
        lines.push(format!(
            "price {}: of {} combinations that it admits, so many were never seen",
            entry.price, entry.admits
        ));
    }
    lines
}

/// How the line of a talk begins.
fn mark(material: &Material<'_>, talk: &Talk) -> String {
    let [from, to] = [talk.from, talk.to].map(|party| material.who.name(party));
    format!("{from} -> {to} {}:", shown(talk.service))
}

/// How a talk was seen.
fn told(material: &Material<'_>, talk: &Talk, habit: &Habit) -> String {
    let mut words = vec![format!("{} time{}", habit.flows, if habit.flows == 1 { "" } else { "s" })];
    words.push(format!("{} to {}", minute(habit.first), minute(habit.last)));
    words.push(days(material, talk, habit));
    if let Some(period) = habit.period() {
        words.push(format!("one every {period} s"));
    }
    if habit.opened == 0 {
        words.push("its begin was never seen".to_owned());
    }
    words.join(", ")
}

fn days(material: &Material<'_>, talk: &Talk, habit: &Habit) -> String {
    let of =
        [talk.from, talk.to].into_iter().filter_map(|party| material.found.devices.get(&party.device()?));
    let of = of.map(|presence| presence.days.len()).max().unwrap_or(0);
    format!("on {} of {of} days", habit.days.len())
}

/// The reason of an entry in one line.
fn summary(material: &Material<'_>, entry: &Entry) -> String {
    let habits = || entry.talks.iter().filter_map(|talk| Some((talk, material.habit(talk)?)));
    let flows = habits().fold(0_u64, |sum, (_, habit)| sum.saturating_add(habit.flows));
    let first = habits().map(|(_, habit)| habit.first).min().unwrap_or(0);
    let last = habits().map(|(_, habit)| habit.last).max().unwrap_or(0);
    let least = habits().min_by_key(|(_, habit)| habit.days.len());
    let days = least.map(|(talk, habit)| days(material, talk, habit)).unwrap_or_default();
    let each = if entry.talks.len() > 1 { " each, at least" } else { "" };
    format!("seen {flows} times from {} to {}, {days}{each}; price {}", day(first), day(last), entry.price)
}

/// A moment for people, UTC.
pub fn minute(moment: i64) -> String {
    at(moment, "%Y-%m-%d %H:%MZ")
}

pub(in crate::learn) fn day(moment: i64) -> String {
    at(moment, "%Y-%m-%d")
}

fn at(moment: i64, form: &str) -> String {
    match Timestamp::from_second(moment) {
        Ok(time) => time.to_zoned(TimeZone::UTC).strftime(form).to_string(),
        Err(_) => "never".to_owned(),
    }
}

impl Piece {
    /// What is added, for a person who puts it there.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for declared in &self.declared {
            text.push_str(declared);
            text.push('\n');
        }
        for rule in &self.rules {
            text.push_str(&rule.block());
            text.push('\n');
        }
        text
    }
}

impl Rule {
    /// The entry with its reasons above it; one that a person has to decide as a comment.
    pub fn block(&self) -> String {
        let reasons: String = self.reasons.iter().map(|line| format!("# {line}\n")).collect();
        if !self.undecided {
            return reasons + &self.table;
        }
        let lines = self.declared.iter().chain([&self.table]).flat_map(|table| table.lines());
        reasons + &lines.map(|line| format!("#   {line}\n")).collect::<String>()
    }

    /// The same among the values of an array, for a person to decide: comments, each line but the last with its end.
    pub(super) fn comment(&self) -> String {
        let declared =
            self.declared.iter().flat_map(|table| table.lines()).map(|line| format!("#   {line}\n"));
        let reasons = self.reasons.iter().map(|line| format!("# {line}\n"));
        reasons.chain(declared).collect::<String>() + "#   " + &self.inline + ","
    }

    /// Whose it is, as in `device press-plc`.
    pub fn holder_name(&self) -> String {
        format!("{} {}", self.holder.0, self.holder.1)
    }
}
