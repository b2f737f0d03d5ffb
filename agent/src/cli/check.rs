//! `bulkhead check`: policy files, judged without root, kernel or network.

use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::ValueEnum;

use super::{Cli, Exit};
use crate::{
    compile::{Limits, compile},
    config::{self, parse_config},
    diagnostic::{has_errors, render_json, render_text},
    files::{read_file, read_policy, text},
    policy::{MAX_FILE_BYTES, SourceFile, resolve_texts},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files or folders that together are one policy; `-` is standard input. Default: the configured folder
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With file, line and underline, on standard error
    Text,
    /// One JSON object, on standard output
    Json,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let configured = configuration(cli)?;
    let mut files = Vec::new();
    let default = [configured.policy.clone()];
    for path in if args.paths.is_empty() { &default[..] } else { &args.paths } {
        if path == Path::new("-") {
            files.push(standard_input()?);
        } else {
            files.extend(read_policy(path)?);
        }
    }
    let outcome = resolve_texts(&files);
    match args.format {
        Format::Text => {
            eprint!(
                "{}",
                render_text(&outcome.diagnostics, &outcome.sources, std::io::stderr().is_terminal())
            );
        }
        Format::Json => out!("{}", render_json(&outcome.diagnostics).trim_end()),
    }
    let Some(policy) = outcome.policy else { return Ok(Exit::Found) };
    debug_assert!(!has_errors(&outcome.diagnostics));
    let limits = &configured.limits;
    let limits = Limits { devices: limits.devices, rules: limits.rules, rows: limits.rows };
    match compile(&policy, &limits) {
        Ok(tables) => {
            eprintln!(
                "{} files, {} devices, {} rules, {} compiled rows: revision {}",
                files.len(),
                tables.devices.len(),
                tables.rules.len(),
                tables.rows.len(),
                tables.revision
            );
            Ok(Exit::Fine)
        }
        Err(error) => {
            eprintln!("error: {error}\nhint: raise `limits.{}` in the agent's configuration", error.what);
            Ok(Exit::Found)
        }
    }
}

/// Paths and limits of this gateway; the defaults where nothing is configured, as on a build host.
fn configuration(cli: &Cli) -> anyhow::Result<config::Config> {
    if cli.config.exists() {
        return cli.config();
    }
    let minimal = "[interface.eth0]\n";
    let (config, _, _) = parse_config("defaults", minimal);
    config.context("the defaults are a valid configuration")
}

fn standard_input() -> anyhow::Result<SourceFile> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .context("failed to read standard input")?;
    Ok(text(Path::new("<stdin>"), bytes)?)
}

/// The files of a policy, to be sent to the agent.
pub(super) fn files_of(path: &Path) -> anyhow::Result<Vec<SourceFile>> {
    if path.is_dir() { Ok(read_policy(path)?) } else { Ok(vec![read_file(path)?]) }
}
