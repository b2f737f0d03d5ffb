//! `bulkhead check`: policy files, judged without root, kernel or network.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::ValueEnum;

use super::{Cli, Exit, standing::Sets};
use crate::{
    compile::{Limits, compile},
    config::{Config, Infrastructure, parse_config},
    diagnostic::{Diagnostic, closest, has_errors, render_json, render_text},
    files::{read_file, read_policy, text},
    model::Policy,
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
    let mut sets = Sets::new(&configured)?;
    let default = [configured.policy.clone()];
    for path in if args.paths.is_empty() { &default[..] } else { &args.paths } {
        if path == Path::new("-") {
            files.push(standard_input()?);
        } else {
            files.extend(sets.read(path, &configured)?);
        }
    }
    let mut outcome = resolve_texts(&files);
    // On a build host nothing is configured, and any segment may exist.
    let strange = match &outcome.policy {
        Some(policy) if cli.config.exists() => strange_segments(policy, &configured),
        Some(_) | None => Vec::new(),
    };
    let is_strange = !strange.is_empty();
    outcome.diagnostics.extend(strange);
    let of_sets = sets.diagnostics();
    let is_refused = has_errors(&of_sets);
    outcome.diagnostics.extend(of_sets);
    match args.format {
        Format::Text => {
            eprint!(
                "{}",
                render_text(&outcome.diagnostics, &outcome.sources, std::io::stderr().is_terminal())
            );
        }
        Format::Json => {
            let mut document = document(&outcome.diagnostics, &configured)?;
            document["signed"] = sets.json()?;
            out!("{document}");
        }
    }
    sets.print();
    let Some(policy) = outcome.policy else { return Ok(Exit::Found) };
    debug_assert!(is_strange || is_refused || !has_errors(&outcome.diagnostics));
    let limits = &configured.limits;
    let limits = Limits { devices: limits.devices, rules: limits.rules, rows: limits.rows };
    match compile(&policy, &limits) {
        Ok(tables) => {
            eprintln!(
                "{}, {}, {}, {}: revision {}",
                many(files.len(), "file"),
                many(tables.devices.len(), "device"),
                many(tables.rules.len(), "rule"),
                many(tables.rows.len(), "compiled row"),
                tables.revision
            );
            for line in unasked(&configured) {
                eprintln!("{line}");
            }
            Ok(if is_strange || is_refused { Exit::Found } else { Exit::Fine })
        }
        Err(error) => {
            eprintln!("error: {error}\nhint: raise `limits.{}` in the agent's configuration", error.what);
            Ok(Exit::Found)
        }
    }
}

/// `1 file`, `2 files`.
fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
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

/// The findings as JSON, and beside them what needs no rule on which segment.
fn document(found: &[Diagnostic], config: &Config) -> anyhow::Result<serde_json::Value> {
    let mut document: serde_json::Value =
        serde_json::from_str(&render_json(found)).context("findings are valid JSON")?;
    let segments = config.segments.iter();
    let allowed = segments.map(|segment| (segment.name.clone(), words(&segment.infrastructure).into()));
    document["infrastructure"] = serde_json::Value::Object(allowed.collect());
    Ok(document)
}

/// What every device may do without a rule: one line, or one for each set when the segments differ.
fn unasked(config: &Config) -> Vec<String> {
    let mut sets: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for segment in &config.segments {
        sets.entry(words(&segment.infrastructure)).or_default().push(&segment.name);
    }
    let differ = sets.len() > 1;
    let line = |(words, segments): (Vec<&str>, Vec<&str>)| {
        let place = if differ { format!(" on {}", segments.join(", ")) } else { String::new() };
        let words = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        format!(
            "besides its rules every device may use{place}: {words} (each a switch of a segment in the configuration)"
        )
    };
    sets.into_iter().map(line).collect()
}

fn words(infrastructure: &Infrastructure) -> Vec<&'static str> {
    infrastructure.words().into_iter().filter(|(_, _, on)| *on).map(|(word, _, _)| word).collect()
}

/// Paths and limits of this gateway; the defaults where nothing is configured, as on a build host.
fn configuration(cli: &Cli) -> anyhow::Result<Config> {
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
