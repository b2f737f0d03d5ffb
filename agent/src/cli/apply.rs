//! `bulkhead apply`, `confirm`, `rollback`: changes of policy, and the way back.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Cli, Exit, Output, print, print_json, session, unexpected};
use crate::{
    config::duration::{parse, spell},
    control::{Applied, Body, File, PendingStatus, Request},
    files::{Access, read},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A policy file or folder; default: the folder the agent is configured with. A policy applied from
    /// elsewhere holds until the next `bulkhead apply` or SIGHUP, or until the configured files have changed
    /// when the agent starts
    path: Option<PathBuf>,
    /// Undo the change after this time, `10s` to `7d` (as in `90s`, `10m`, `2h`), unless `bulkhead confirm` is said
    /// before; also when the agent or the gateway restarts meanwhile
    #[arg(long, value_name = "TIME", value_parser = time)]
    confirm_within: Option<Duration>,
    /// Accept a signed policy set with a lower number than one that was in force
    #[arg(long)]
    allow_older: bool,
    /// Watch the devices that the change touches for so long, instead of `[rollout] watch`: one of which traffic suffers goes back by
    /// itself. `0s` is not at all: for what is meant to stop
    #[arg(long, value_name = "TIME", value_parser = time)]
    watch: Option<Duration>,
    /// Only these devices get the new policy: their modes, identities and rules, and rules that name them; all
    /// others keep theirs. May be said several times, or with several names and commas
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    only: Vec<String>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub(super) struct ConfirmArgs {
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    /// Which revision, by its number or the beginning of its hash (`bulkhead revisions`); default: the one
    /// before
    revision: Option<String>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
}

/// Why somebody changes something.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// Why, for the record
    #[arg(long, visible_alias = "why", value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let (files, from) = to_send(args.path.as_deref())?;
    session::warn_before(cli, args.path.as_deref());
    let request = Request::Apply {
        files,
        from,
        only: args.only.clone(),
        confirm_within: args.confirm_within.map(|time| time.as_secs()),
        allow_older: args.allow_older,
        watch: args.watch.map(|time| time.as_secs()),
        reason: args.why.reason.clone(),
    };
    print_applied(cli.ask(&request)?, args.output)
}

/// Files that travel, and where they were read; none where the agent reads the configured ones.
pub(super) fn to_send(path: Option<&Path>) -> anyhow::Result<(Option<Vec<File>>, Option<String>)> {
    let Some(path) = path else { return Ok((None, None)) };
    // With manifest and signature: the agent judges, not we.
    let files = read(path, Access::Noted)?.into_all_files().into_iter();
    let files = files.map(|f| File { path: f.path, text: f.text }).collect();
    let from = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Ok((Some(files), Some(from.display().to_string())))
}

pub(super) fn confirm(cli: &Cli, args: &ConfirmArgs) -> anyhow::Result<Exit> {
    print_applied(cli.ask(&Request::Confirm { reason: args.why.reason.clone() })?, args.output)
}

pub(super) fn rollback(cli: &Cli, args: &RollbackArgs) -> anyhow::Result<Exit> {
    let request = Request::Rollback { to: args.revision.clone(), reason: args.why.reason.clone() };
    print_applied(cli.ask(&request)?, args.output)
}

fn time(text: &str) -> Result<Duration, String> {
    parse(text)
        .ok_or_else(|| "write numbers with units `d`, `h`, `m` or `s`, as in `90s` or `1h30m`".to_owned())
}

/// Says what is in force now.
pub(super) fn print_applied(body: Body, output: Output) -> anyhow::Result<Exit> {
    let Body::Applied(applied) = body else { return Err(unexpected(&body)) };
    if output.json {
        print_json(&applied)?;
        return Ok(Exit::Fine);
    }
    let Applied { revision, number, generation, changed, warnings, released, pending, notes } = applied;
    print::rendered(&warnings);
    match &released[..] {
        [] => {}
        [device] => say!("1 device is no longer enforced: {device}"),
        devices => say!("{} devices are no longer enforced: {}", devices.len(), devices.join(", ")),
    }
    for note in notes {
        say!("{note}");
    }
    let changed = if changed { "in force" } else { "in force, unchanged" };
    let number = number.map(|number| format!("number {number}, ")).unwrap_or_default();
    out!("revision {revision} {changed} ({number}generation {generation})");
    if let Some(PendingStatus { number: _, back_to, seconds_left, until: _, by: _ }) = pending {
        // What is left has begun to run.
        let left = spell(Duration::from_secs(seconds_left + 1));
        say!(
            "unconfirmed: revision {back_to} comes back in {left}\nhint: `bulkhead confirm` keeps this one, `bulkhead rollback` returns now"
        );
    }
    Ok(Exit::Fine)
}

/// Says what was noted.
pub(super) fn print_noted(body: Body, output: Output) -> anyhow::Result<Exit> {
    let Body::Applied(applied) = body else { return Err(unexpected(&body)) };
    if output.json {
        print_json(&applied)?;
        return Ok(Exit::Fine);
    }
    print::rendered(&applied.warnings);
    for note in applied.notes {
        out!("{note}");
    }
    Ok(Exit::Fine)
}
