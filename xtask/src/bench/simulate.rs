//! `cargo xtask bench simulate`: what it takes to hold a policy against a history, to learn from one, and to propose rules.
//!
//! In: rounds, and which rows. Out: rows of the common table. The measuring half of `simulate`, which also writes the history for the
//! others, is `tests/benches/replay`; `learn` and `propose` are the commands themselves, each a process of its own.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bulkhead_tests::cargo::cargo;

use super::{
    RatioArgs, compile,
    cost::{self, Cost},
    packets::measured,
    rows::{Found, Row, Target},
};
use crate::repo;

/// Measure `simulate`, `learn` and `propose` over ten million rows: time and memory
///
/// In an optimised build, without root. Exit code 1 means that a target was missed.
#[derive(clap::Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    pub(super) ratios: RatioArgs,
    /// An agent that is built already, instead of a release build of this checkout
    #[arg(long, value_name = "PATH")]
    pub(super) binary: Option<PathBuf>,
}

/// What reads the history as a command.
const COMMANDS: [&str; 2] = ["learn", "propose"];

/// The rows of each: its time, and its memory.
const NAMES: [&str; 2] = ["10 million rows, 90 days of each kind", "the largest it became"];

/// What is promised of them.
const SECONDS: f64 = 60.0;
const MEBIBYTES: f64 = 500.0;

/// Measures every row that is asked for.
pub(super) fn rows(args: &SimulateArgs) -> Result<Vec<Row>> {
    let ratios = &args.ratios;
    let wanted: Vec<&str> =
        COMMANDS.into_iter().filter(|command| NAMES.iter().any(|name| ratios.wants(command, name))).collect();
    let mut found = Vec::new();
    // What is not asked for is not waited for.
    if ratios.only.as_ref().is_none_or(|only| COMMANDS.iter().all(|command| !only.starts_with(command))) {
        found = measured("replay", &[], ratios)?;
    }
    if wanted.is_empty() {
        return Ok(found);
    }
    let binary = compile::binary(args.binary.as_deref())?;
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    eprintln!("writing a history of ten million rows");
    let mut fill = cargo();
    fill.args(["bench", "--quiet", "--package", "bulkhead-tests", "--bench", "replay", "--", "fill"]);
    let status = fill.arg(folder.path()).current_dir(repo::root()).status();
    ensure!(status.context("failed to run cargo")?.success(), "no history was written");
    let [policy, history] =
        ["policy.d", "history.db"].map(|name| folder.path().join(name).display().to_string());
    for command in wanted {
        let (mut seconds, mut peaks, mut failed) = (Vec::new(), Vec::new(), None);
        for _ in 0..ratios.rounds.min(3) {
            let asked = [command, "--policy", &policy, "--history-file", &history, "--json"];
            let Cost { ms, peak_kib, exit, said, .. } = cost::measure(&binary, &asked)?;
            seconds.push(ms / 1e3);
            peaks.push(peak_kib / 1024.0);
            // 1: a baseline is not complete, or something is not proposed.
            if !matches!(exit, Some(0 | 1)) {
                failed = Some(Found::Failed(said.lines().last().unwrap_or("no reason was given").to_owned()));
            }
        }
        let [time, peak] = NAMES;
        for (name, unit, samples, most) in [(time, "s", seconds, SECONDS), (peak, "MiB", peaks, MEBIBYTES)] {
            let row = Row::new(command, name, unit, &samples).target(Target::Most(most));
            found.push(match &failed {
                Some(failed) => row.without(failed.clone()),
                None => row,
            });
        }
    }
    found.retain(|row| ratios.wants(&row.group, &row.name));
    Ok(found)
}
