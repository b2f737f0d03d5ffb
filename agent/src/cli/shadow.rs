//! `bulkhead shadow`: a proposed policy, judged beside the one in force on what happens now.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::{
    Cli, Exit, Output,
    apply::{Why, print_noted, to_send},
    print_json, unexpected,
};
use crate::{
    compile::RuleRef,
    control::{Body, Request, ShadowSet, ShadowStatus},
    diagnostic::{Listed, counted, escape},
    replay::beside::{Counts, Difference, Fate, Said},
};

/// Entries of each list that are shown; JSON has more.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 nothing of what `--fail-on` names; 1 something of it; 2 it could not run, nothing is compared, or not all that\n\
                  was seen could be judged and nothing was found in the rest."
)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// What makes the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Break)]
    fail_on: FailOn,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Judge a policy beside the one in force from now on; no packet is touched
    Set(SetArgs),
    /// Judge it no longer
    Clear(ClearArgs),
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// A policy file or folder; default: the folder the agent is configured with, as it is now
    path: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct ClearArgs {
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
}

/// What a person wants to be warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A conversation that is allowed and would be denied, or passes and would be dropped
    Break,
    /// A conversation that would be dropped, in the modes that the shadow gives its devices
    Drop,
    /// A break, or a conversation that is denied and would be allowed, or is dropped and would pass
    Any,
    /// A break, or a conversation that the shadow allows only under a name that the device may have learned
    Name,
    /// Nothing
    None,
}

impl FailOn {
    fn found(self, status: &ShadowStatus) -> bool {
        let breaks = status.would_break.total() > 0;
        match self {
            Self::Break => breaks,
            // What is beyond the list may be dropped as well.
            Self::Drop => {
                let mut list = status.would_break.list.iter();
                list.any(|one| one.then.fate == Fate::Dropped) || status.would_break.more > 0
            }
            Self::Any => breaks || status.would_open.total() > 0,
            Self::Name => breaks || status.counts.by_name > 0,
            Self::None => false,
        }
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        None => tell(cli, args),
        Some(What::Set(SetArgs { path, why, output })) => {
            let (files, from) = to_send(path.as_deref())?;
            let request = Request::ShadowSet { files, from, reason: why.reason.clone() };
            print_noted(cli.ask(&request)?, *output)
        }
        Some(What::Clear(ClearArgs { why, output })) => {
            print_noted(cli.ask(&Request::ShadowClear { reason: why.reason.clone() })?, *output)
        }
    }
}

fn tell(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Shadow)?;
    let Body::Shadow(status) = body else { return Err(unexpected(&body)) };
    if args.output.json {
        print_json(&status)?;
    } else {
        page(&status);
    }
    // What was never compared breaks nothing, and says nothing.
    let is_compared = status.set.is_some() && status.counts.judged > 0;
    let is_partial = status.not_judged > 0 || status.counts.refused > 0;
    let could_not = status.problem.is_some() || !is_compared || is_partial;
    Ok(match (args.fail_on.found(&status), could_not && args.fail_on != FailOn::None) {
        (true, _) => Exit::Found,
        (false, true) => Exit::CouldNotRun,
        (false, false) => Exit::Fine,
    })
}

fn page(status: &ShadowStatus) {
    let ShadowStatus {
        set,
        compared_with,
        counted_since,
        counts,
        not_judged,
        would_break,
        would_open,
        unused,
        notes,
        problem,
    } = status;
    let Some(set) = set else {
        return out!("no shadow is set: `bulkhead shadow set PATH` judges a policy beside the one in force");
    };
    out!("{}", answer(status));
    let ShadowSet { revision, since, by, from, reason, signed } = set;
    let revision = revision.as_deref().unwrap_or("that is not compiled");
    let reason = reason.as_ref().map(|reason| format!(": {}", escape(reason))).unwrap_or_default();
    out!("shadow      revision {revision} from {}, set {since} by {}{reason}", escape(from), escape(by));
    if let Some(signed) = signed {
        out!("signed      {}", escape(signed));
    }
    let since = counted_since.as_deref().unwrap_or("never");
    out!(
        "compared    with revision {compared_with} since {since}: {} a kind was judged",
        counted(counts.judged, "time")
    );
    if let Some(problem) = problem {
        out!("problem     {}", escape(problem));
    }
    for note in notes {
        out!("note: {}", escape(note));
    }
    let Counts { judged: _, refused, by_name, otherwise } = *counts;
    for (number, what) in [
        (*not_judged, "not judged: there was no time or no room"),
        (refused, "different, and without room in the lists"),
        (
            by_name,
            "allowed by the shadow only under a name that the device may have learned: not told of as a break",
        ),
        (otherwise, "of which the policy in force, asked now, says something else than what happened"),
    ] {
        if number > 0 {
            out!("note: {} {what}", counted(number, "time"));
        }
    }
    list("would break", would_break);
    list("would open", would_open);
    if !unused.list.is_empty() {
        out!("\nrules of the shadow that nothing would have used ({})", unused.total());
        unused.list.iter().take(SHOWN).for_each(|rule| out!("  {}", placed(rule)));
        more(unused.total());
    }
}

/// In one line.
fn answer(status: &ShadowStatus) -> String {
    let (breaks, opens) = (status.would_break.total(), status.would_open.total());
    if status.problem.is_some() {
        return "NOT JUDGED: what the shadow would do is not known".to_owned();
    }
    let mut opens_too =
        if opens > 0 { format!("; {} would open", counted(opens, "kind")) } else { String::new() };
    if status.counts.by_name > 0 {
        opens_too +=
            &format!("; {} only a learned name would allow it", counted(status.counts.by_name, "time"));
    }
    if breaks > 0 {
        return format!(
            "BREAKS: {} of conversation would be denied or dropped{opens_too}",
            counted(breaks, "kind")
        );
    }
    if status.counts.judged == 0 {
        return "NOTHING SEEN YET: conversations are looked at every few seconds".to_owned();
    }
    if status.not_judged > 0 || status.counts.refused > 0 {
        return format!("NOT ALL WAS JUDGED: nothing of the rest would break{opens_too}");
    }
    format!("NOTHING BREAKS: nothing that was seen would be denied or dropped that passes now{opens_too}")
}

fn list(title: &str, differences: &Listed<Difference>) {
    if differences.list.is_empty() {
        return;
    }
    out!("\n{title} ({} of conversation)", counted(differences.total(), "kind"));
    differences.list.iter().take(SHOWN).for_each(one);
    more(differences.total());
}

fn more(total: usize) {
    if let Some(more @ 1..) = total.checked_sub(SHOWN) {
        out!("  + {more} more");
    }
}

fn one(difference: &Difference) {
    let Difference {
        device,
        criticality,
        from,
        from_address,
        to,
        to_address,
        service,
        selector,
        flows,
        answered,
        packets,
        first,
        last,
        now,
        then,
        nearest,
        missing,
        help,
    } = difference;
    let end = |name: &Option<String>, address: &str| match name {
        Some(name) => format!("{} ({})", escape(name), escape(address)),
        None => escape(address),
    };
    let called = if service == selector { String::new() } else { format!(" ({})", escape(service)) };
    let of = match (device, criticality) {
        (Some(device), Some(criticality)) => format!("{} [{criticality}]: ", escape(device)),
        _ => String::new(),
    };
    out!("  {of}{} -> {} {selector}{called}", end(from, from_address), end(to, to_address));
    let answered = if *answered { "answered" } else { "not answered" };
    out!(
        "    {} begun, {}, {answered}, {first} to {last}",
        counted(*flows, "conversation"),
        counted(*packets, "packet")
    );
    out!("    now {}", said(now));
    out!("    shadow {}", said(then));
    nearest.iter().for_each(|rule| out!("    near: {}", placed(rule)));
    if let Some(missing) = missing {
        out!("    this would allow it:");
        missing.lines().for_each(|line| out!("      {}", escape(line)));
    }
    if let Some(help) = help {
        out!("    help: {}", escape(help));
    }
}

fn said(said: &Said) -> String {
    let Said { fate, reason, rule } = said;
    match rule {
        Some(rule) => format!("{} by {}", fate.name(), placed(rule)),
        None => format!("{} ({reason})", fate.name()),
    }
}

fn placed(rule: &RuleRef) -> String {
    format!("{} ({})", escape(&rule.text), escape(&rule.place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_name_allows_is_said_in_the_first_line() {
        let counts = Counts { judged: 3, by_name: 2, ..Counts::default() };
        let status = ShadowStatus { counts, ..ShadowStatus::default() };
        assert!(!FailOn::Break.found(&status) && FailOn::Name.found(&status));
        assert!(answer(&status).contains("2 times only a learned name"), "{}", answer(&status));
    }
}
