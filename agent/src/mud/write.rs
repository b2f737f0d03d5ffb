//! What a description says -> policy text: a class, with the networks, groups and services that its rules name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Abstraction, Begins, Effect, Note, Party, Profile, meaning::is_multicast};
use crate::{
    model::{Selector, spelled},
    policy::{
        built_in,
        format::{service_table, text::Table},
        values::{MAX_NAME, MAX_TEXT},
    },
};

/// Who they are of whom the manufacturer cannot know it: peers of the policy.
pub type Answers = BTreeMap<Abstraction, Vec<String>>;

/// The peers that a description names which was exported from the policy it goes back to. In one from elsewhere such names are anybody's:
/// they are asked for like others.
pub fn own(profile: &Profile) -> Answers {
    let named = profile.permissions.keys().filter_map(|(_, party, _)| match party {
        Party::Abstract(whom @ Abstraction::Peer(name)) => Some((whom.clone(), vec![name.clone()])),
        Party::Abstract(_) | Party::Prefix(_) | Party::Dns(_) | Party::Group(_) => None,
        Party::Broadcast | Party::Anybody | Party::Gateway => None,
    });
    named.collect()
}

/// A description as policy text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The name of the class.
    pub class: String,
    /// A policy file.
    pub text: String,
    /// What it does not say as the description does, sorted.
    pub notes: Vec<Note>,
    /// Whom somebody has to name before the rules about them hold, sorted.
    pub open: Vec<Abstraction>,
}

/// What is said of one end, in one direction.
#[derive(Default)]
struct Said<'p> {
    selectors: BTreeSet<Selector>,
    /// Names of the entries that say it.
    entries: BTreeSet<&'p str>,
}

/// Writes a class with this name, or with one made of what the description says the device is.
pub fn write(profile: &Profile, class: Option<&str>, answers: &Answers) -> Imported {
    let Profile { url, info, permissions, notes } = profile;
    let class = class.map_or_else(|| named(profile), str::to_owned);
    let mut ends: BTreeMap<(Begins, &Party), Said<'_>> = BTreeMap::new();
    for ((begins, party, selector), entries) in permissions {
        let said = ends.entry((*begins, party)).or_default();
        said.selectors.insert(*selector);
        said.entries.extend(entries.iter().map(String::as_str));
    }
    let mut writer = Writer { names: Names::default(), class: &class, definitions: BTreeMap::new() };
    let mut notes = notes.clone();
    let mut note = |said: &Said<'_>, effect: Effect, why: &str| {
        notes.extend(said.entries.iter().map(|entry| Note {
            about: (*entry).to_owned(),
            effect,
            why: why.to_owned(),
        }));
    };
    let mut rules = String::new();
    let mut open: BTreeSet<Abstraction> = BTreeSet::new();
    for ((begins, party), said) in ends {
        match party {
            Party::Abstract(whom) if !answers.contains_key(whom) => {
                note(&said, Effect::Open, &format!("who `{whom}` is only you know: `--as {whom}=PEER`"));
                let hint = format!(
                    "WHO is `{whom}`: import again with `--as {whom}=PEER`, or write who it is.\n{}",
                    writer.rule(begins, &["WHO".to_owned()], &said).trim_end()
                );
                rules.extend(hint.lines().map(|line| format!("# {}\n", printable(line))));
                rules.push('\n');
                open.insert(whom.clone());
            }
            Party::Abstract(whom) => rules += &writer.rule(begins, &answers[whom], &said),
            Party::Prefix(_)
            | Party::Dns(_)
            | Party::Group(_)
            | Party::Broadcast
            | Party::Anybody
            | Party::Gateway => {
                let peer = writer.peer(party);
                rules += &writer.rule(begins, &[peer], &said);
            }
        }
    }
    notes.sort();
    notes.dedup();
    let mut head = Table::new(&["class", &class]);
    head.words("comment", Some(&cut(info.as_deref().unwrap_or(url))));
    let text = format!(
        "# From the manufacturer's usage description {}\nversion = 1\n\n{}\n{rules}{}",
        printable(url),
        head.text(),
        writer.definitions.into_values().map(|(_, text)| text).collect::<String>(),
    );
    let text = text.trim_end().to_owned() + "\n";
    Imported { class, text, notes, open: open.into_iter().collect() }
}

/// Names that are given, each once.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// A name that nobody has, made of these words.
    fn make(&mut self, words: &str) -> String {
        let slug = slug(words, MAX_NAME);
        let numbered = (2..).map(|n: u32| {
            let number = format!("-{n}");
            slug[..slug.len().min(MAX_NAME - number.len())].to_owned() + &number
        });
        let name = std::iter::once(slug.clone()).chain(numbered).find(|name| !self.0.contains(name));
        let name = name.expect("numbers have no end");
        self.0.insert(name.clone());
        name
    }
}

struct Writer<'c> {
    names: Names,
    class: &'c str,
    /// Tables that rules name, by what they mean: their names and texts.
    definitions: BTreeMap<String, (String, String)>,
}

impl Writer<'_> {
    /// One entry of the class.
    fn rule(&mut self, begins: Begins, peers: &[String], said: &Said<'_>) -> String {
        let entries: Vec<&str> = said.entries.iter().copied().collect();
        let word = if begins == Begins::Device { "to" } else { "from" };
        let mut table = Table::entry(&["class", self.class, "allow"]);
        table.list(word, peers.iter().map(|peer| cut(peer)));
        table.list("service", self.services(&said.selectors).into_iter());
        table.words("comment", Some(&cut(&format!("MUD: {}", entries.join(", ")))));
        table.words("source", Some("mud"));
        table.text() + "\n"
    }

    /// What a rule calls an end.
    fn peer(&mut self, party: &Party) -> String {
        match party {
            Party::Broadcast => "broadcast".to_owned(),
            Party::Gateway => "gateway".to_owned(),
            Party::Anybody => "any".to_owned(),
            Party::Group(mac) => self.defined("multicast", "mac", &mac.to_string()),
            Party::Prefix(prefix) if is_multicast(prefix) => {
                let single = prefix.prefix_len() == prefix.max_prefix_len();
                let text = if single { prefix.addr().to_string() } else { prefix.to_string() };
                self.defined("multicast", "ip", &text)
            }
            Party::Prefix(prefix) => self.defined("network", "cidr", &prefix.to_string()),
            Party::Dns(name) => self.defined("network", "dns", name),
            // Callers ask the operator.
            Party::Abstract(whom) => whom.to_string(),
        }
    }

    fn defined(&mut self, kind: &str, key: &str, value: &str) -> String {
        let prefix = if kind == "multicast" { "multicast:" } else { "" };
        let meaning = format!("{kind} {key} {value}");
        let name = self.name(meaning, &format!("{}-{value}", self.class), |name| {
            let mut table = Table::new(&[kind, name]);
            table.list(key, [cut(value)].into_iter());
            table
        });
        format!("{prefix}{name}")
    }

    /// The name of the table that means this, which is written when it is first asked for.
    fn name(&mut self, meaning: String, words: &str, table: impl FnOnce(&str) -> Table) -> String {
        if let Some((name, _)) = self.definitions.get(&meaning) {
            return name.clone();
        }
        let name = self.names.make(words);
        let text = table(&name).text() + "\n";
        self.definitions.insert(meaning, (name.clone(), text));
        name
    }

    /// Names of services that are these selectors together.
    fn services(&mut self, selectors: &BTreeSet<Selector>) -> Vec<String> {
        let mut left = selectors.clone();
        let mut names = Vec::new();
        let mut library: Vec<_> = built_in().iter().collect();
        library.sort_by_key(|(name, selectors)| (usize::MAX - selectors.len(), name.len(), *name));
        for (name, selectors) in library {
            if selectors.iter().all(|selector| left.contains(selector)) {
                left.retain(|selector| !selectors.contains(selector));
                names.push(name.clone());
            }
        }
        names.extend(left.into_iter().map(|selector| self.service(selector)));
        names
    }

    fn service(&mut self, selector: Selector) -> String {
        let Selector { protocol: _, low, high } = selector;
        let text = spelled(selector);
        let meaning = format!("service {text} {low}-{high}");
        self.name(meaning, &format!("{}-{text}", self.class), |name| service_table(name, &[selector]))
    }
}

/// The name of a class for it.
fn named(profile: &Profile) -> String {
    let last = profile.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let words = profile.info.as_deref().filter(|info| info.len() <= 24 && !slug(info, MAX_NAME).is_empty());
    let name = slug(words.unwrap_or(last), 32);
    if name.is_empty() { "device".to_owned() } else { name }
}

/// A name of the language, made of words; cut where it is too long.
fn slug(words: &str, most: usize) -> String {
    let mut name = String::new();
    for c in words.to_ascii_lowercase().chars() {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
        if c != '-' || !(name.is_empty() || name.ends_with('-')) {
            name.push(c);
        }
    }
    name.truncate(most);
    name.trim_matches(['-', '.']).to_owned()
}

/// Text of somebody else, as long as the language lets it be.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Control characters that TOML would let through as escapes are none of a person's.
    printable(&text[..end])
}

/// Text for a line of its own.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
