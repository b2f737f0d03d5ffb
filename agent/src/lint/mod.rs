//! What is allowed and yet doubtful: rules that say nothing new, that admit very much, that have expired, that cross zones
//! beside the conduits, that let anybody say what a name stands for; devices that are easily taken for others; a policy that hardly fits; a way to lock oneself out.
//!
//! In: a policy that resolved, a moment, and what of the configuration matters, as plain arguments. Out: warnings, never
//! errors, sorted and bounded. A lint that cries wolf is switched off, so each says only what is so as far as the policy
//! tells; whoever disagrees names its code to `bulkhead check --allow`.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;

use crate::{
    diagnostic::{Diagnostic, sort},
    model::{Policy, Rule},
};

mod breadth;
mod crossing;
mod gateway;
mod identity;
mod lockout;
mod redundant;
mod resolvers;
mod room;
mod timed;
mod traffic;
mod wider;

pub use breadth::{Score, scores};
pub use gateway::{Own, own_devices};
pub use lockout::{Pin, Session, locked_out};
pub use room::{Fill, fill, nearly_full, too_large};

/// Findings of one code that are shown: whoever has a hundred of a kind mends their cause, not each of them.
const MOST_OF_A_CODE: usize = 100;

/// Names of one list that are shown.
const MOST_NAMED: usize = 3;

/// Everything doubtful about a policy by itself.
pub fn lint(policy: &Policy, now: Timestamp) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    let traffic = traffic::Traffic::of(policy);
    redundant::check(policy, &traffic, &mut out);
    breadth::check(policy, &traffic, &mut out);
    timed::check(policy, now, &mut out);
    identity::check(policy, &mut out);
    crossing::check(policy, &mut out);
    resolvers::check(policy, &traffic, &mut out);
    out.finish()
}

/// Findings, so many of each code.
#[derive(Default)]
struct Findings {
    list: Vec<Diagnostic>,
    counts: BTreeMap<&'static str, Count>,
}

#[derive(Default)]
struct Count {
    all: usize,
    first_refused: Option<Diagnostic>,
}

impl Findings {
    fn push(&mut self, found: Diagnostic) {
        let count = self.counts.entry(found.code).or_default();
        count.all += 1;
        if count.all <= MOST_OF_A_CODE {
            self.list.push(found);
        } else if count.first_refused.is_none() {
            count.first_refused = Some(found);
        }
    }

    fn finish(self) -> Vec<Diagnostic> {
        let Self { mut list, counts } = self;
        sort(&mut list);
        for (code, Count { all, first_refused }) in counts {
            let Some(first) = first_refused else { continue };
            let message = format!("{} more findings of {code} are not shown", all - MOST_OF_A_CODE);
            let place = first.labels.into_iter().next();
            list.push(Diagnostic {
                labels: place.into_iter().collect(),
                ..Diagnostic::warning("BH0008", message).help("mend those that are shown and check again")
            });
        }
        list
    }
}

/// `hmi-1 -> press-plc modbus`, long lists cut.
pub fn rule_text(policy: &Policy, rule: &Rule) -> String {
    let [from, to] = policy.ends(rule).map(|names| shortened(names.into_iter().map(Cow::into_owned)));
    let services = rule.services.iter().map(|id| policy.services[id.0 as usize].name.clone());
    format!("{from} -> {to} {}", shortened(services))
}

fn shortened(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let first: Vec<String> = names.take(MOST_NAMED).collect();
    let first = first.join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// `4,294,967,296`: a number people compare at a glance.
pub fn grouped(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
