//! Rows as text: `tests/packet/*.rows`.
//!
//! ```text
//! == the sentence that the row proves
//! @set strict unmanaged=drop
//! hmi>plc tcp 49152>502 A | drop no-flow plc
//! @policy cell-changed.toml
//! @wait 31s
//! @clock 2026-12-28T09:00:00Z
//! ```
//! `pass` is an allowed frame, `drop` a denied one that ends here, `report` a denied one that goes on. The word is
//! the grant's or reason's name, then the device it is counted for (`-` is none), then the rule's file and line.
//! `@set` replaces the setup (see [`super::setup`]), `@policy` applies another policy to live flows, `@wait` moves the host's clock, which
//! makes a row one for the host only, `@clock` says what the calendar shows to the agent. `@learn DEVICE HOST NAME [TIME]` says that the device's resolver has told it so.
//! A file that begins with `@policy` has that one for all its rows.

use bulkhead_tests::frame::frame;
use jiff::Timestamp;

use super::Setup;

/// One sentence with the frames that prove it.
pub struct Row {
    pub file: &'static str,
    pub line: usize,
    /// The policy with which it begins.
    pub policy: &'static str,
    pub sentence: String,
    pub steps: Vec<Step>,
}

/// One line of a row.
pub enum Step {
    Set(Setup),
    Policy(String),
    Wait(u64),
    Clock(Timestamp),
    Learn(Learned),
    Frame { text: String, bytes: Vec<u8>, expected: Expected },
}

/// A device learns a host's addresses under a name: for so long, ns, or for ever.
#[derive(Clone, Debug)]
pub struct Learned {
    pub device: String,
    pub host: String,
    pub name: String,
    pub time: Option<u64>,
}

/// What becomes of a frame, in names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub action: Fate,
    pub word: String,
    pub device: Option<String>,
    pub rule: Option<String>,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    Drop,
    Report,
}

/// The policy with which rows begin, unless their file names another before the first sentence.
const POLICY: &str = "cell.toml";

/// The groups of rows, each a file by subject.
const FILES: &[(&str, &str)] = &[
    ("extension.rows", include_str!("../../packet/extension.rows")),
    ("flows.rows", include_str!("../../packet/flows.rows")),
    ("fragments.rows", include_str!("../../packet/fragments.rows")),
    ("frames.rows", include_str!("../../packet/frames.rows")),
    ("groups.rows", include_str!("../../packet/groups.rows")),
    ("guards.rows", include_str!("../../packet/guards.rows")),
    ("held.rows", include_str!("../../packet/held.rows")),
    ("icmp.rows", include_str!("../../packet/icmp.rows")),
    ("identity.rows", include_str!("../../packet/identity.rows")),
    ("infrastructure.rows", include_str!("../../packet/infrastructure.rows")),
    ("ipv6.rows", include_str!("../../packet/ipv6.rows")),
    ("leases.rows", include_str!("../../packet/leases.rows")),
    ("malformed.rows", include_str!("../../packet/malformed.rows")),
    ("modes.rows", include_str!("../../packet/modes.rows")),
    ("names.rows", include_str!("../../packet/names.rows")),
    ("neighbor.rows", include_str!("../../packet/neighbor.rows")),
    ("receivers.rows", include_str!("../../packet/receivers.rows")),
    ("rules.rows", include_str!("../../packet/rules.rows")),
    ("schedules.rows", include_str!("../../packet/schedules.rows")),
    ("sets.rows", include_str!("../../packet/sets.rows")),
    ("served.rows", include_str!("../../packet/served.rows")),
    ("segments.rows", include_str!("../../packet/segments.rows")),
    ("state.rows", include_str!("../../packet/state.rows")),
    ("threats.rows", include_str!("../../packet/threats.rows")),
];

impl Row {
    /// Whether the kernel's clock would have to be moved.
    pub fn is_for_the_host_only(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Wait(_)))
    }

    /// Where it stands, for a message.
    pub fn place(&self) -> String {
        format!("tests/packet/{}:{}: {}", self.file, self.line, self.sentence)
    }
}

/// Every row of every file.
pub fn all() -> Vec<Row> {
    FILES.iter().flat_map(|(file, text)| rows(file, text)).collect()
}

fn rows(file: &'static str, text: &'static str) -> Vec<Row> {
    let mut policy = POLICY;
    let mut rows: Vec<Row> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let wrong = |what: String| -> ! { panic!("tests/packet/{file}:{number}: {what}") };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(sentence) = line.strip_prefix("== ") {
            rows.push(Row { file, line: number, policy, sentence: sentence.into(), steps: Vec::new() });
            continue;
        }
        if let (true, Some(name)) = (rows.is_empty(), line.strip_prefix("@policy ")) {
            policy = name;
            continue;
        }
        let Some(row) = rows.last_mut() else { wrong("a step before the first sentence".into()) };
        match step(line) {
            Ok(step) => row.steps.push(step),
            Err(what) => wrong(what),
        }
    }
    rows
}

fn step(line: &str) -> Result<Step, String> {
    if let Some(words) = line.strip_prefix("@set") {
        return Setup::of(words).map(Step::Set);
    }
    if let Some(name) = line.strip_prefix("@policy ") {
        return Ok(Step::Policy(name.to_owned()));
    }
    if let Some(time) = line.strip_prefix("@clock ") {
        return time.parse().map(Step::Clock).map_err(|error| format!("`{time}`: {error}"));
    }
    if let Some(time) = line.strip_prefix("@wait ") {
        return nanoseconds(time).map(Step::Wait);
    }
    if let Some(words) = line.strip_prefix("@learn ") {
        return learned(words).map(Step::Learn);
    }
    let (text, expected) = line.split_once('|').ok_or("no `|` between a frame and what becomes of it")?;
    let text = text.trim().to_owned();
    Ok(Step::Frame { bytes: frame(&text)?, expected: expectation(expected)?, text })
}

fn nanoseconds(time: &str) -> Result<u64, String> {
    let seconds = time.strip_suffix('s').and_then(|n| n.parse::<u64>().ok());
    seconds.map(|s| s * 1_000_000_000).ok_or(format!("`{time}` is no time"))
}

fn learned(words: &str) -> Result<Learned, String> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let (device, host, name, time) = match words[..] {
        [device, host, name] => (device, host, name, None),
        [device, host, name, time] => (device, host, name, Some(nanoseconds(time)?)),
        _ => return Err("not DEVICE HOST NAME [TIME]".to_owned()),
    };
    bulkhead_tests::frame::host(host).ok_or(format!("`{host}` is nobody"))?;
    Ok(Learned { device: device.to_owned(), host: host.to_owned(), name: name.to_owned(), time })
}

fn expectation(text: &str) -> Result<Expected, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (action, word, device, rule) = match words[..] {
        [action, word, device] => (action, word, device, None),
        [action, word, device, rule] => (action, word, device, Some(rule.to_owned())),
        _ => return Err(format!("`{text}` is not FATE WORD DEVICE [RULE]")),
    };
    let action = match action {
        "pass" => Fate::Pass,
        "drop" => Fate::Drop,
        "report" => Fate::Report,
        other => return Err(format!("`{other}` is not what becomes of a frame")),
    };
    let device = (device != "-").then(|| device.to_owned());
    Ok(Expected { action, word: word.to_owned(), device, rule })
}
