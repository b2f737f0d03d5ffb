//! Rules whose time is over. In: a policy and a moment. Out: a warning for each rule that has expired, and for each whose
//! windows do not open again before it does.

use std::collections::HashMap;

use jiff::Timestamp;

use super::Findings;
use crate::{
    diagnostic::Diagnostic,
    model::{Policy, Schedule},
};

/// The date has passed.
const EXPIRED: &str = "BH0509";
/// The date has not, and yet it is over.
const NEVER_OPEN: &str = "BH0510";

const HOURS_A_DAY: i64 = 24;

/// How a schedule goes on.
#[derive(Clone, Copy)]
enum Ahead {
    Opens,
    Expired(Timestamp),
    NeverOpens(Timestamp),
}

pub(super) fn check(policy: &Policy, now: Timestamp, out: &mut Findings) {
    // A maintenance window is written beside many rules.
    let mut known: HashMap<&Schedule, Ahead> = HashMap::new();
    for rule in &policy.rules {
        let Some(schedule) = &rule.schedule else { continue };
        match *known.entry(schedule).or_insert_with(|| ahead(schedule, now)) {
            Ahead::Opens => {}
            Ahead::Expired(expires) => {
                let days = now.duration_since(expires).as_hours() / HOURS_A_DAY;
                let since = match days {
                    0 => String::new(),
                    1 => ", a day ago".to_owned(),
                    days => format!(", {days} days ago"),
                };
                let found = Diagnostic::warning(EXPIRED, format!("the rule expired at {expires}{since}"));
                let help = "remove it, or renew `expires` if it is still needed: it allows nothing any more";
                out.push(found.at(rule.location.clone(), "").help(help));
            }
            Ahead::NeverOpens(expires) => {
                let message = format!("no window of the rule opens again before it expires at {expires}");
                let help =
                    "extend `expires`, change `windows`, or remove the rule: it allows nothing any more";
                let found = Diagnostic::warning(NEVER_OPEN, message);
                out.push(found.at(rule.location.clone(), "").help(help));
            }
        }
    }
}

fn ahead(schedule: &Schedule, now: Timestamp) -> Ahead {
    let opens = || schedule.open_until(now).is_some() || schedule.opens_next(now).is_some();
    match schedule.expires {
        Some(expires) if schedule.has_expired(now) => Ahead::Expired(expires),
        Some(expires) if !opens() => Ahead::NeverOpens(expires),
        // A window that a change of clocks skips this week comes in another.
        Some(_) | None => Ahead::Opens,
    }
}
