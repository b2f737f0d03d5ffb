//! `bulkhead check`: policy files, judged without root, kernel or network.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use jiff::Timestamp;

use super::{
    Cli, Exit, progress, session,
    standing::{Sets, SignedSet},
};
use crate::{
    compile::{Limits, Tables, compile},
    config::{Config, Infrastructure, parse_config},
    diagnostic::{Diagnostic, Severity, Sources, closest, codes, counted, has_errors, sort},
    lint::{Fill, fill, lint, nearly_full, own_devices, too_large},
    model::Policy,
    policy::resolve_texts,
};

mod files;
mod output;
mod scores;

pub(super) use files::files_of;

#[derive(Debug, clap::Args)]
#[command(after_help = files::HELP)]
pub(super) struct Args {
    /// Files or folders that together are one policy; `-` is standard input. Default: the configured folder
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Check PATH, one file, as if it were in this folder among the other files of the policy
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
    /// The name that PATH, one file or `-`, has in its folder
    #[arg(long = "as", value_name = "NAME.toml")]
    name: Option<String>,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Exit with 1 also when there are only warnings
    #[arg(long)]
    deny_warnings: bool,
    /// Leave warnings of this code out. May be said several times, or with several codes and commas
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = warning)]
    allow: Vec<&'static str>,
    /// Judge what expires as at this moment, as in `2027-01-31T18:00:00Z`; default: now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
    /// Print every rule with how much it admits (initiators x responders x ports), widest first
    #[arg(long)]
    scores: bool,
}

fn warning(text: &str) -> Result<&'static str, String> {
    let found = codes().get(text.to_uppercase().as_str());
    let found = found.filter(|found| found.severity == Severity::Warning);
    found
        .map(|found| found.code)
        .ok_or_else(|| "no warning has this code: `bulkhead explain` lists every code".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write date, time and offset, as in `2027-01-31T18:00:00Z`".to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With file, line and underline, on standard error
    Text,
    /// One JSON object, on standard output
    Json,
    /// SARIF 2.1.0 for code review and scanning services, on standard output
    Sarif,
}

/// What became of the files.
struct Checked {
    diagnostics: Vec<Diagnostic>,
    sources: Sources,
    files: usize,
    /// What would be enforced, if nothing forbids it.
    tables: Option<Tables>,
    /// How much of the agent's tables that takes.
    fills: Vec<Fill>,
    /// Every rule with what it admits, if somebody asked.
    scores: Option<Vec<scores::Scored>>,
    /// Who signed it.
    signed: Vec<SignedSet>,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    ensure!(
        !args.scores || args.format != Format::Sarif,
        "SARIF has no place for scores\nhint: `--scores` prints text, or JSON with `--json`"
    );
    let configured = configuration(cli)?;
    let mut sets = Sets::new(&configured)?;
    let files = files::gather(args, &configured.policy, &mut sets)?;
    let count = files.list.len();
    let checked = progress::shown(&format!("checking {}", counted(count, "file")), || {
        // On a build host nothing is configured, and any segment may exist.
        check(args, &files, sets, &configured, cli.config.exists())
    });
    for note in &files.notes {
        say!("{note}");
    }
    let format = if args.json { Format::Json } else { args.format };
    output::print(&checked, format, &configured)?;
    if let Some(note) = files.alone.filter(|_| output::misses_names(&checked.diagnostics)) {
        say!("{note}");
    }
    let usable = checked.tables.is_some() && !has_errors(&checked.diagnostics);
    let denied = args.deny_warnings && !checked.diagnostics.is_empty();
    Ok(if usable && !denied { Exit::Fine } else { Exit::Found })
}

fn check(args: &Args, files: &files::Gathered, sets: Sets, configured: &Config, on_gateway: bool) -> Checked {
    let outcome = resolve_texts(&files.list);
    let mut diagnostics = outcome.diagnostics;
    let (of_sets, signed) = sets.told();
    diagnostics.extend(of_sets);
    let (mut tables, mut fills, mut scores) = (None, Vec::new(), None);
    if let Some(policy) = &outcome.policy {
        let now = args.at.unwrap_or_else(Timestamp::now);
        diagnostics.extend(lint(policy, now));
        if on_gateway {
            diagnostics.extend(strange_segments(policy, configured));
            diagnostics.extend(own_devices(policy, &session::own(configured)));
            diagnostics.extend(session::locked_out(policy, configured, now));
        }
        let limits = &configured.limits;
        let limits = Limits { devices: limits.devices, rules: limits.rules, rows: limits.rows };
        match compile(policy, &limits) {
            Ok(compiled) => {
                fills = fill(&compiled, &limits);
                diagnostics.extend(nearly_full(&fills));
                tables = Some(compiled);
            }
            Err(error) => diagnostics.push(too_large(policy, &limits, &error)),
        }
        scores = args.scores.then(|| scores::of(policy));
    }
    diagnostics.retain(|found| found.severity == Severity::Error || !args.allow.contains(&found.code));
    let diagnostics = in_order(diagnostics);
    Checked { diagnostics, sources: outcome.sources, files: files.list.len(), tables, fills, scores, signed }
}

/// By place; what says how many more there are comes last.
pub(super) fn in_order(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let (more, mut found): (Vec<_>, Vec<_>) =
        diagnostics.into_iter().partition(|found| found.code == "BH0008");
    sort(&mut found);
    found.extend(more);
    found
}

/// Devices that must be seen on a segment which this gateway does not have.
fn strange_segments(policy: &Policy, config: &Config) -> Vec<Diagnostic> {
    let names = || config.segments.iter().map(|segment| segment.name.as_str());
    let strange = policy.devices.iter().filter_map(|device| {
        let segment = device.segment.as_deref().filter(|wanted| !names().any(|name| name == *wanted))?;
        let help = match closest(segment, names()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the segments are {}", names().collect::<Vec<_>>().join(", ")),
        };
        let message =
            format!("device `{}` must be seen on segment `{segment}`, which is not configured", device.name);
        Some(Diagnostic::error("BH0323", message).at(device.location.clone(), "").help(help))
    });
    strange.collect()
}

/// Segments by what needs no rule on them.
fn unasked(config: &Config) -> BTreeMap<Vec<&'static str>, Vec<&str>> {
    let mut sets: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for segment in &config.segments {
        sets.entry(words(&segment.infrastructure)).or_default().push(&segment.name);
    }
    sets
}

fn words(infrastructure: &Infrastructure) -> Vec<&'static str> {
    infrastructure.words().into_iter().filter(|(_, _, on)| *on).map(|(word, _, _)| word).collect()
}

/// Paths and limits of this gateway; the defaults where nothing is configured, as on a build host.
pub(super) fn configuration(cli: &Cli) -> anyhow::Result<Config> {
    if cli.config.exists() {
        return cli.config();
    }
    let minimal = "[interface.eth0]\n";
    let (config, _, _) = parse_config("defaults", minimal);
    config.context("the defaults are a valid configuration")
}
