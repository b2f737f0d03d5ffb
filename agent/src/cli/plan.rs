//! `bulkhead plan`: what would change, before it does.

use std::path::{Path, PathBuf};

use super::{
    Cli, Exit, Output,
    check::{configuration, files_of, in_order},
    print, print_json, progress, unexpected,
};
use crate::{
    compile::{Limits, Tables, compile},
    control::{Body, File, Request},
    diagnostic::{Severity, render_text},
    files::{Access, read},
    lint::lint,
    model::Policy,
    policy::resolve_texts,
    report::plan::{Asked, HOPS, MOST_HOPS, Past, Plan, Side, plan},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing that passes today would be dropped, as far as the agent remembers; 1 something would, or the policy is invalid; \
                  2 it could not run.\n\
                  Frames below IP, and what the gateway itself asks, are not remembered as flows: look at the rules for them."
)]
pub(super) struct Args {
    /// A policy file or folder; default: the folder the agent is configured with
    path: Option<PathBuf>,
    /// Compare with the policy in this file or folder, without an agent: for the review of a change. No conversation is
    /// looked at
    #[arg(long, value_name = "OLD", requires = "path")]
    from: Option<PathBuf>,
    /// How many steps from host to host are followed
    #[arg(long, value_name = "N", default_value_t = HOPS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_HOPS)))]
    hops: u32,
    /// What was last seen longer ago is not looked at, in hours
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=8760))]
    recent: u32,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let plan = match (&args.from, &args.path) {
        (Some(old), Some(new)) => match progress::shown("comparing", || offline(cli, old, new, args.hops))? {
            Some(plan) => plan,
            None => return Ok(Exit::Found),
        },
        (Some(_), None) | (None, _) => asked(cli, args)?,
    };
    if args.output.json {
        print_json(&plan)?;
    } else {
        print::rendered(&plan.warnings);
        out!("{}", plan.text().trim_end());
    }
    Ok(if plan.hurts() { Exit::Found } else { Exit::Fine })
}

/// The plan of the running agent.
fn asked(cli: &Cli, args: &Args) -> anyhow::Result<Plan> {
    let files = match &args.path {
        Some(path) => {
            // With manifest and signature: the agent judges, not we.
            let files = read(path, Access::Noted)?.into_all_files().into_iter();
            Some(files.map(|f| File { path: f.path, text: f.text }).collect())
        }
        None => None,
    };
    let request = Request::Plan { files, hops: args.hops, recent: u64::from(args.recent) * 3600 };
    let body = progress::shown("planning", || cli.ask(&request))?;
    let Body::Plan(plan) = body else { return Err(unexpected(&body)) };
    Ok(*plan)
}

/// The plan of two policies; `None` when one is invalid, which was printed.
fn offline(cli: &Cli, old: &Path, new: &Path, hops: u32) -> anyhow::Result<Option<Plan>> {
    let limits = configuration(cli)?.limits;
    let limits = Limits { devices: limits.devices, rules: limits.rules, rows: limits.rows };
    // What was in force somewhere may be too large for this machine's configuration.
    let most = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };
    let Some((old, old_tables, _)) = prepared(old, &most, false)? else { return Ok(None) };
    let Some((new, new_tables, warnings)) = prepared(new, &limits, true)? else { return Ok(None) };
    let asked = Asked { hops, now: jiff::Timestamp::now(), limits, flows: None, past: &Past::default() };
    let old = Side { policy: &old, tables: &old_tables };
    let new = Side { policy: &new, tables: &new_tables };
    Ok(Some(Plan { warnings, ..plan(old, new, &asked) }))
}

/// A policy with its tables and, of one `to_come`, what is doubtful about it; `None` when it is invalid, which was printed.
fn prepared(path: &Path, limits: &Limits, to_come: bool) -> anyhow::Result<Option<(Policy, Tables, String)>> {
    let outcome = resolve_texts(&files_of(path)?);
    let Some(policy) = outcome.policy else {
        print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
        return Ok(None);
    };
    let found = outcome.diagnostics.into_iter().filter(|d| matches!(d.severity, Severity::Warning));
    let doubts = if to_come { lint(&policy, jiff::Timestamp::now()) } else { Vec::new() };
    let warnings = in_order(found.chain(doubts).collect());
    let warnings =
        if warnings.is_empty() { String::new() } else { render_text(&warnings, &outcome.sources, false) };
    match compile(&policy, limits) {
        Ok(tables) => Ok(Some((policy, tables, warnings))),
        Err(error) => {
            say!("error: {error}\nhint: raise the limit in the agent's configuration");
            Ok(None)
        }
    }
}
