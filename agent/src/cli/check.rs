//! `bulkhead check`: policy files, judged without root, kernel or network.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use super::{
    Cli, Exit, progress,
    standing::{Sets, SignedSet},
};
use crate::{
    compile::{Limits, Tables, TooLarge, compile},
    config::{Config, Infrastructure, parse_config},
    diagnostic::{Diagnostic, Sources, closest, has_errors},
    model::Policy,
    policy::resolve_texts,
};

mod files;
mod output;

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
    /// Who signed it.
    signed: Vec<SignedSet>,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let configured = configuration(cli)?;
    let mut sets = Sets::new(&configured)?;
    let files = files::gather(args, &configured.policy, &mut sets)?;
    let count = files.list.len();
    let checked = progress::shown(&format!("checking {}", output::many(count, "file")), || {
        // On a build host nothing is configured, and any segment may exist.
        check(&files, sets, &configured, cli.config.exists())
    });
    for note in &files.notes {
        eprintln!("{note}");
    }
    let format = if args.json { Format::Json } else { args.format };
    output::print(&checked, format, &configured)?;
    if let Some(note) = files.alone.filter(|_| output::misses_names(&checked.diagnostics)) {
        eprintln!("{note}");
    }
    let usable = checked.tables.is_some() && !has_errors(&checked.diagnostics);
    Ok(if usable { Exit::Fine } else { Exit::Found })
}

fn check(files: &files::Gathered, sets: Sets, configured: &Config, on_gateway: bool) -> Checked {
    let outcome = resolve_texts(&files.list);
    let mut diagnostics = outcome.diagnostics;
    let (of_sets, signed) = sets.told();
    diagnostics.extend(of_sets);
    let mut tables = None;
    if let Some(policy) = &outcome.policy {
        if on_gateway {
            diagnostics.extend(strange_segments(policy, configured));
        }
        let limits = &configured.limits;
        let limits = Limits { devices: limits.devices, rules: limits.rules, rows: limits.rows };
        match compile(policy, &limits) {
            Ok(compiled) => tables = Some(compiled),
            Err(error) => diagnostics.push(too_large(&error)),
        }
    }
    Checked { diagnostics, sources: outcome.sources, files: files.list.len(), tables, signed }
}

fn too_large(error: &TooLarge) -> Diagnostic {
    let help = format!("raise `limits.{}` in the agent's configuration", error.what);
    Diagnostic::error("BH0420", error.to_string()).help(help)
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
