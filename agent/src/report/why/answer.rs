//! Decisions in words: what is allowed, what is not, by which rule, and what would help.

use bulkhead_common::{
    decide::{Action, Decision, Verdict},
    reason::Reason,
    wire::{icmp, mac, protocol},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Learned, Question,
    end::{End, Kind},
    service,
};
use crate::{
    compile::{Host, RuleEntry, RuleRef, Tables},
    model::{Layer, Mac, Mode, Selector, spelled},
    policy::permission,
};

/// As many parts of an answer are told; the others are counted.
const MAX_PARTS: usize = 64;

/// What was heard on one interface, or on several that are alike: a decision for each range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The interfaces, as they are to be named.
    pub on: Option<String>,
    /// Ids in the decisions are those of the compiled tables.
    pub decisions: Vec<(Selector, Decision)>,
}

/// What the policy says of such a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Who starts.
    pub from: String,
    /// Who answers.
    pub to: String,
    /// Over what.
    pub service: String,
    /// The first packet of the part told of below, as it was made up for the question.
    pub packet: String,
    /// `allow`, `deny`, or `partly` when it depends on the port or the interface.
    pub verdict: String,
    /// The word for the grant or reason; when only a part is allowed, of the first one that is not.
    pub reason: String,
    /// The reason in a sentence.
    pub explanation: String,
    /// `pass` or `drop`: what happens to the packet in the modes of today.
    pub action: String,
    /// The strictest mode of the ends.
    pub mode: String,
    /// The rule that allows it.
    pub rule: Option<RuleRef>,
    /// Every range of ports with the same answer; on each interface apart when they differ.
    pub parts: Vec<Part>,
    /// Parts beyond those told.
    pub more_parts: usize,
    /// Which addresses the question was asked with, where a word stands for many.
    pub notes: Vec<String>,
    /// What would allow it, as lines for a policy file.
    pub missing: Option<String>,
    /// What would help when no rule does.
    pub help: Option<String>,
    /// Whether the kernel's tables gave the same verdict; absent when no agent was asked.
    pub kernel_agrees: Option<bool>,
}

/// Ports with the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// On which interfaces; absent when they do not differ.
    pub interface: Option<String>,
    /// Like `tcp/502`, `udp/1024-65535`, `icmp/8` or `ethertype/0x8892`.
    pub selector: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// The word for the grant or reason.
    pub reason: String,
    /// The rule that allows it.
    pub rule: Option<RuleRef>,
}

impl Question {
    /// Puts what was heard into words.
    pub fn answer(&self, tables: &Tables, heard: &[Heard]) -> Answer {
        let mut heard: Vec<Heard> = heard.iter().map(joined).collect();
        if heard.iter().all(|one| one.decisions == heard[0].decisions) {
            heard.truncate(1);
            heard.iter_mut().for_each(|one| one.on = None);
        }
        let all = || heard.iter().flat_map(|one| one.decisions.iter().map(move |part| (&one.on, part)));
        let is_allowed = |decision: &Decision| matches!(decision.verdict, Verdict::Allow(_));
        let allowed = all().filter(|(_, (_, decision))| is_allowed(decision)).count();
        let total = all().count();
        let verdict = match allowed {
            0 => "deny",
            some if some < total => "partly",
            _ => "allow",
        };
        // What is told at length is the first part that fails, if one does.
        let told = all().find(|(_, (_, decision))| !is_allowed(decision)).or_else(|| all().next());
        let (_, (selector, decision)) = told.expect("a service has a selector, and each was asked about");
        let (_, reason, explanation) = words(decision);
        let [from, to, service] = self.words.clone();
        Answer {
            packet: self.describe(*selector),
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
            explanation: explanation.to_owned(),
            action: match decision.action {
                Action::Pass => "pass".to_owned(),
                Action::Drop => "drop".to_owned(),
            },
            mode: decision.mode.name().to_owned(),
            rule: rule(tables, decision),
            parts: all().take(MAX_PARTS).map(|(on, (s, d))| part(tables, on.clone(), *s, d)).collect(),
            more_parts: total.saturating_sub(MAX_PARTS),
            notes: self.notes(),
            missing: if self.rule_helps(decision) { self.missing(tables) } else { None },
            help: help(tables, decision),
            kernel_agrees: None,
            from,
            to,
            service,
        }
    }

    /// Which rule would allow what is denied now, and when: `hosts` are where it can be asked, every schedule open.
    pub fn opens<'t>(
        &self,
        tables: &Tables,
        hosts: impl IntoIterator<Item = Host<'t>>,
        parts: &[Selector],
        now: Timestamp,
    ) -> Option<String> {
        let asked = hosts
            .into_iter()
            .flat_map(|host| parts.iter().map(|part| self.ask(*part, &host)).collect::<Vec<_>>());
        let bound = asked.filter_map(|decision| tables.rule(decision.rule));
        let (entry, schedule) = bound
            .filter_map(|entry| Some((entry, entry.schedule.as_ref()?)))
            .find(|(_, schedule)| schedule.open_until(now).is_none())?;
        let when = match schedule.opens_next(now) {
            Some(next) => format!("it holds again from {next:.0} on"),
            None => "it never holds again".to_owned(),
        };
        let RuleEntry { text, location, .. } = entry;
        Some(format!("{}:{} allows {text}, but only {schedule}; {when}", location.path, location.line))
    }

    fn describe(&self, selector: Selector) -> String {
        let how = if self.is_answered() { " (judged by its answer)" } else { "" };
        let named = |end: &End| match (selector.layer(), end.address) {
            (Layer::Network, Some(address)) => address.to_string(),
            (Layer::Link | Layer::Network, _) => Mac(mac::octets(end.mac)).to_string(),
        };
        format!("{} -> {} {}{how}", named(&self.from), named(&self.to), service::described(selector))
    }

    fn notes(&self) -> Vec<String> {
        let ends = [&self.from, &self.to].into_iter();
        let other = self.other_family.then(|| {
            "asked over IPv4; the two have IPv6 addresses as well: name one of them to ask over IPv6"
                .to_owned()
        });
        let sampled = ends.filter_map(|end| {
            let address = match end.address {
                Some(address) => address.to_string(),
                None if end.kind == Kind::Many => Mac(mac::octets(end.mac)).to_string(),
                None => return None,
            };
            let word = &end.word;
            match (end.leased, end.sample, end.kind) {
                (true, _, _) => Some(format!("`{word}` leases its address: it was asked with {address}")),
                (false, false, _) => None,
                (false, true, Kind::Many) => Some(format!("`{word}` was asked with {address}")),
                (false, true, Kind::One | Kind::Gateway) if word == "any" => {
                    Some(format!("`any` was asked with the stranger {address}"))
                }
                (false, true, Kind::One | Kind::Gateway) => {
                    Some(format!("network `{word}` was asked with its address {address}"))
                }
            }
        });
        let learned = self.learned.as_ref().map(|Learned { name, address, seconds_left }| {
            let from = &self.from.word;
            format!("`{from}` knows {address} as `{name}` for {} more", left(*seconds_left))
        });
        let supposed = self.to.supposed.as_ref().zip(self.to.address).map(|(names, address)| {
            let (from, to) = (&self.from.word, &self.to.word);
            format!(
                "`{to}` is known by name: it was asked with {address}, as if `{from}` had learned that from an answer for `{}`",
                names.join("` or `")
            )
        });
        sampled.chain(learned).chain(supposed).chain(other).collect()
    }

    /// Whether some rule would allow what was denied.
    fn rule_helps(&self, decision: &Decision) -> bool {
        let Verdict::Deny(reason) = decision.verdict else { return false };
        let wants_rule = [
            Reason::NoRule,
            Reason::UnknownPeer,
            Reason::ServiceNotAllowed,
            Reason::WrongDirection,
            Reason::NoFlow,
            Reason::IcmpErrorUnrelated,
            Reason::Ethertype,
            Reason::IpProtocol,
            Reason::InfrastructureOff,
        ];
        wants_rule.contains(&reason)
    }

    /// The lines that would allow it, at the end that is a device.
    fn missing(&self, tables: &Tables) -> Option<String> {
        let [_, _, service] = &self.words;
        permission(&self.from.word, &self.to.word, service, |name| {
            tables.devices.iter().any(|d| d.name == *name)
        })
    }
}

/// In seconds below two minutes, else in minutes.
fn left(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

/// Neighbouring ranges with the same decision as one.
fn joined(heard: &Heard) -> Heard {
    let mut decisions: Vec<(Selector, Decision)> = Vec::new();
    for (selector, decision) in &heard.decisions {
        match decisions.last_mut() {
            Some((last, same))
                if same == decision
                    && last.protocol == selector.protocol
                    && after(last).any(|next| next == selector.low) =>
            {
                last.high = selector.high;
            }
            Some(_) | None => decisions.push((*selector, *decision)),
        }
    }
    Heard { on: heard.on.clone(), decisions }
}

/// Where the next range may begin: behind `last`, or behind the ICMP replies that follow it and start nothing.
fn after(last: &Selector) -> impl Iterator<Item = u16> {
    let protocol = last.protocol;
    std::iter::successors(last.high.checked_add(1), move |next| {
        let [kind, _] = next.to_be_bytes();
        next.checked_add(256)
            .filter(|_| protocol::is_icmp(protocol) && icmp::request_of(protocol, kind).is_some())
    })
}

fn part(tables: &Tables, interface: Option<String>, selector: Selector, decision: &Decision) -> Part {
    let (verdict, reason, _) = words(decision);
    Part {
        interface,
        selector: spelled(selector),
        verdict: verdict.to_owned(),
        reason: reason.to_owned(),
        rule: rule(tables, decision),
    }
}

fn words(decision: &Decision) -> (&'static str, &'static str, &'static str) {
    match decision.verdict {
        Verdict::Allow(grant) => ("allow", grant.name(), grant.text()),
        Verdict::Deny(reason) => ("deny", reason.name(), reason.text()),
    }
}

fn rule(tables: &Tables, decision: &Decision) -> Option<RuleRef> {
    tables.rule(decision.rule).map(RuleRef::from)
}

/// The way out of a denial that no rule can end.
fn help(tables: &Tables, decision: &Decision) -> Option<String> {
    if decision.verdict != Verdict::Deny(Reason::Quarantined) {
        return None;
    }
    let ends = [decision.source, decision.destination].into_iter().filter_map(|id| tables.device(id));
    let held: Vec<&str> = ends.filter(|d| d.mode == Mode::Quarantine).map(|d| d.name.as_str()).collect();
    let commands: Vec<String> = held.iter().map(|name| format!("`bulkhead release {name}`")).collect();
    Some(format!(
        "no rule opens a quarantine: {} ends it, unless the policy file sets it",
        commands.join(" and ")
    ))
}
