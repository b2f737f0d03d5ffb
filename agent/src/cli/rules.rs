//! `bulkhead rules`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Cli, Exit, Output, devices::left, print_json, table, unexpected};
use crate::{
    control::{Body, Request, RuleStatus},
    diagnostic::counted,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only rules that never allowed a packet since their hits are kept, over restarts and reboots
    #[arg(long)]
    unused: bool,
    /// With `--unused`: only rules that allowed none for this time, such as `30d`; not those known for less
    #[arg(long = "for", value_name = "TIME", requires = "unused", value_parser = time)]
    unused_for: Option<Duration>,
    #[command(flatten)]
    output: Output,
}

/// Whether a rule was of no use for as long as was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Used,
    Unused,
    /// Not used, and known for less than that.
    TooNew,
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number with its unit, such as `12h` or `30d`".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let time = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(time).map_err(|_| wrong())
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Rules)?;
    let Body::Rules(mut rules) = body else { return Err(unexpected(&body)) };
    let now = Timestamp::now();
    let mut too_new = 0;
    if args.unused {
        rules.retain(|rule| match used(rule, args.unused_for, now) {
            Use::Used => false,
            Use::Unused => true,
            Use::TooNew => {
                too_new += 1;
                false
            }
        });
    }
    if args.output.json {
        print_json(&rules)?;
    } else if rules.is_empty() {
        say!("{}", if args.unused { "no such rule" } else { "the policy has no rule" });
    } else {
        print(rules, now);
    }
    if too_new > 0 {
        say!("{}", known_for_less(too_new));
    }
    Ok(Exit::Fine)
}

fn known_for_less(count: usize) -> String {
    let [was, is] = if count == 1 { ["was", "is"] } else { ["were", "are"] };
    format!("{} more {was} never used, and {is} known for less than that", counted(count, "rule"))
}

fn used(rule: &RuleStatus, unused_for: Option<Duration>, now: Timestamp) -> Use {
    let Some(wanted) = unused_for else {
        return if rule.last_hit.is_none() && rule.packets == 0 { Use::Unused } else { Use::Used };
    };
    let (since, or_else) = match &rule.last_hit {
        Some(last) => (last, Use::Used),
        None => (&rule.since, Use::TooNew),
    };
    let unused = since.parse::<Timestamp>().map(|since| now.duration_since(since));
    let wanted = SignedDuration::try_from(wanted).unwrap_or(SignedDuration::MAX);
    if unused.is_ok_and(|unused| unused >= wanted) { Use::Unused } else { or_else }
}

fn print(rules: Vec<RuleStatus>, now: Timestamp) {
    let mut rows =
        table::table(&["HOLDER", "RULE", "HOLDS", "PACKETS", "BYTES", "LAST HIT", "PLACE", "COMMENT"]);
    for rule in rules {
        let last_hit = last_hit(&rule, now);
        rows.add_row([
            rule.holder,
            rule.rule,
            match (rule.schedule, rule.open) {
                (None, _) => "always".to_owned(),
                (Some(schedule), true) => schedule,
                (Some(schedule), false) => format!("{schedule} (closed now)"),
            },
            rule.packets.to_string(),
            rule.bytes.to_string(),
            last_hit,
            rule.place,
            rule.comment.unwrap_or_default(),
        ]);
    }
    table::print(&rows);
}

/// Like `12s ago`, or `never in 40d`.
fn last_hit(rule: &RuleStatus, now: Timestamp) -> String {
    let ago = |time: &str| {
        let time = time.parse::<Timestamp>().ok()?;
        Some(left(u64::try_from(now.duration_since(time).as_secs()).unwrap_or(0)))
    };
    match &rule.last_hit {
        Some(last) => ago(last).map_or_else(|| last.clone(), |ago| format!("{ago} ago")),
        None => ago(&rule.since).map_or_else(|| "never".to_owned(), |since| format!("never in {since}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(last_hit: Option<&str>, since: &str) -> RuleStatus {
        RuleStatus {
            rule: "hmi -> plc modbus".to_owned(),
            holder: "device plc".to_owned(),
            place: "p.toml:3".to_owned(),
            schedule: None,
            open: true,
            packets: u64::from(last_hit.is_some()),
            bytes: 0,
            last_hit: last_hit.map(str::to_owned),
            since: since.to_owned(),
            comment: None,
            owner: None,
            ticket: None,
            source: String::new(),
        }
    }

    fn now() -> Timestamp {
        "2026-03-31T00:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_rule_is_unused_for_a_time_when_it_is_known_for_as_long() {
        let month = time("30d").ok();
        assert_eq!(month, Some(Duration::from_secs(30 * 86_400)));
        for (last, since, wanted, is) in [
            (None, "2026-03-30T00:00:00Z", None, Use::Unused),
            (Some("2020-01-01T00:00:00Z"), "2019-01-01T00:00:00Z", None, Use::Used),
            (Some("2026-03-01T00:00:00Z"), "2019-01-01T00:00:00Z", month, Use::Unused),
            (Some("2026-03-01T00:00:01Z"), "2019-01-01T00:00:00Z", month, Use::Used),
            (None, "2026-03-01T00:00:00Z", month, Use::Unused),
            (None, "2026-03-01T00:00:01Z", month, Use::TooNew),
        ] {
            assert_eq!(used(&rule(last, since), wanted, now()), is, "{last:?} {since} {wanted:?}");
        }
        for wrong in ["30", "soon", "-1d", "1y2"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules_that_are_too_new_agree_with_their_number() {
        assert_eq!(known_for_less(1), "1 rule more was never used, and is known for less than that");
        assert_eq!(known_for_less(2), "2 rules more were never used, and are known for less than that");
    }

    #[test]
    fn the_last_hit_is_told_as_an_age() {
        let said = |last, since| last_hit(&rule(last, since), now());
        assert_eq!(said(Some("2026-03-30T23:59:48Z"), "2019-01-01T00:00:00Z"), "12s ago");
        assert_eq!(said(None, "2026-03-29T00:00:00Z"), "never in 2d");
        assert_eq!(said(None, ""), "never");
        // A clock that went back.
        assert_eq!(said(Some("2026-04-01T00:00:00Z"), ""), "0s ago");
    }
}
