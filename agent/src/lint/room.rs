//! How much of the agent's tables a policy takes. In: tables and limits; or why there are no tables. Out: what is needed of
//! each limit, a warning where it is nearly all, and an error with all the numbers where it is more.

use bulkhead_common::layout::MAX_SCHEDULES;

use super::grouped;
use crate::{
    compile::{Limits, Tables, TooLarge, compile},
    diagnostic::Diagnostic,
    model::Policy,
};

/// The policy does not fit.
const TOO_LARGE: &str = "BH0420";
/// It hardly does.
const NEARLY_FULL: &str = "BH0514";

/// Of a hundred; beyond, the next cell may not fit.
const NEARLY: u64 = 80;
/// Rows that are counted for a policy beyond its limit, so that the message can say how many it needs.
const MOST_ROWS: u32 = 1 << 23;

/// One limit, and what a policy needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// `devices`, `rules`, `rows` (of the fullest table) or `schedules`.
    pub what: &'static str,
    /// Entries.
    pub needed: u64,
    /// Entries.
    pub limit: u64,
}

impl Fill {
    /// Whether the configuration sets it.
    fn is_configured(&self) -> bool {
        self.what != SCHEDULES
    }
}

/// The bound that is built in.
const SCHEDULES: &str = "schedules";

/// What tables need of every limit.
pub fn fill(tables: &Tables, limits: &Limits) -> Vec<Fill> {
    let Tables { devices, rules, schedules, rows, macs, addresses, networks, leased, services, .. } = tables;
    let fullest = [rows.len(), macs.len(), addresses.len(), networks.len(), leased.len(), services.len()];
    let rows = fullest.into_iter().max().unwrap_or_default();
    let of = |what, needed: usize, limit: u32| Fill { what, needed: needed as u64, limit: limit.into() };
    vec![
        of("devices", devices.len(), limits.devices),
        of("rules", rules.len(), limits.rules),
        of("rows", rows, limits.rows),
        of(SCHEDULES, schedules.len(), MAX_SCHEDULES - 1),
    ]
}

/// A warning for each limit that is nearly reached.
pub fn nearly_full(fills: &[Fill]) -> Vec<Diagnostic> {
    let full = fills.iter().filter(|fill| fill.needed * 100 > fill.limit * NEARLY);
    full.map(|fill| {
        let Fill { what, needed, limit } = *fill;
        let percent = needed * 100 / limit.max(1);
        let message = format!(
            "the policy takes {percent} % of the {} {what} there is room for: {}",
            grouped(limit),
            grouped(needed)
        );
        let help = if fill.is_configured() {
            format!("raise `limits.{what}` in the agent's configuration before it is reached")
        } else {
            "let rules share windows and dates: the number of different schedules is bounded".to_owned()
        };
        Diagnostic::warning(NEARLY_FULL, message).help(help)
    })
    .collect()
}

/// The error that a policy does not fit, with everything it needs as far as that can be counted.
pub fn too_large(policy: &Policy, limits: &Limits, error: &TooLarge) -> Diagnostic {
    let roomy = Limits { devices: u32::MAX, rules: u32::MAX, rows: limits.rows.max(MOST_ROWS) };
    let fills = match compile(policy, &roomy) {
        Ok(tables) => fill(&tables, limits),
        Err(TooLarge { what, needed, limit: _ }) => {
            let limit = if what == SCHEDULES { MAX_SCHEDULES - 1 } else { limits.rows };
            let of =
                |what, needed: usize, limit: u32| Fill { what, needed: needed as u64, limit: limit.into() };
            vec![
                of("devices", policy.devices.len(), limits.devices),
                of("rules", policy.rules.len(), limits.rules),
                Fill { what, needed, limit: limit.into() },
            ]
        }
    };
    let numbers = |fill: &Fill| format!("{} {} of {}", fill.what, grouped(fill.needed), grouped(fill.limit));
    let all: Vec<String> = fills.iter().map(numbers).collect();
    let beyond = fills.iter().filter(|fill| fill.needed > fill.limit);
    let (configured, built_in): (Vec<&Fill>, Vec<&Fill>) = beyond.partition(|fill| fill.is_configured());
    let mut help: Vec<String> = Vec::new();
    if !configured.is_empty() {
        let names: Vec<String> = configured.iter().map(|fill| format!("`limits.{}`", fill.what)).collect();
        help.push(format!("raise {} in the agent's configuration", names.join(" and ")));
    }
    if !built_in.is_empty() {
        help.push("let rules share windows and dates".to_owned());
    }
    let help = format!("{}; needed and room: {}", help.join(", and "), all.join(", "));
    Diagnostic::error(TOO_LARGE, error.to_string()).help(help)
}
