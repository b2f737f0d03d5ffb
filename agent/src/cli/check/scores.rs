//! How much every rule admits, for a review: widest first. In: a policy. Out: a table, or JSON.

use serde_json::{Value, json};

use crate::{
    cli::table::{print as print_table, table},
    diagnostic::Location,
    lint::{Score, grouped, rule_text, scores},
    model::Policy,
};

/// A rule with what it admits.
pub(super) struct Scored {
    score: Score,
    text: String,
    location: Location,
}

/// Every rule, widest first.
pub(super) fn of(policy: &Policy) -> Vec<Scored> {
    let scored = |score: Score| {
        let rule = &policy.rules[score.rule.0 as usize];
        Scored { score, text: rule_text(policy, rule), location: rule.location.clone() }
    };
    scores(policy).into_iter().map(scored).collect()
}

pub(super) fn print(list: &[Scored]) {
    let mut shown = table(&["ADMITS", "FROM", "TO", "PORTS", "RULE", "WHERE"]);
    for Scored { score, text, location } in list {
        shown.add_row([
            grouped(score.combinations()),
            grouped(score.initiators),
            grouped(score.responders),
            grouped(score.ports),
            text.clone(),
            format!("{}:{}", location.path, location.line),
        ]);
    }
    print_table(&shown);
}

pub(super) fn document(list: &[Scored]) -> Value {
    let one = |scored: &Scored| {
        let Scored { score, text, location } = scored;
        // Beyond what a program can count anyway.
        let admits = u64::try_from(score.combinations()).unwrap_or(u64::MAX);
        json!({
            "admits": admits,
            "initiators": score.initiators,
            "responders": score.responders,
            "ports": score.ports,
            "rule": text,
            "path": &*location.path,
            "line": location.line,
        })
    };
    list.iter().map(one).collect()
}
