//! `bulkhead history import`: flows that other sensors have written down, added to a history.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context;
use serde::Serialize;

use super::helped;
use crate::{
    cli::{Exit, Output, print_json, progress},
    config,
    diagnostic::{counted, escape},
    flowlog::{self, Flow, LogError},
    history::{Added, History, HistoryError, Limits},
    traffic::Sum,
};

/// Rows that are held before they are written.
const MOST_ROWS: usize = 100_000;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Whoever imports a log twice counts its flows twice. A history of its own (`--file`) is read by `learn --history-file`\n\
                        and `simulate --history --file`.\n\n\
                        Exit codes: 0 all of it was read; 1 some lines or flows were left out, each reason is told; 2 it could not run."
)]
pub(in crate::cli) struct Args {
    /// Logs of flows: Zeek's conn.log (TSV or JSON), or CSV with `time`, `from`, `to`, `protocol` and `port`; `-` is standard input
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What became of a log.
#[derive(Serialize)]
struct Told {
    log: String,
    flows: u64,
    rows: u64,
    /// Flows for which their day had no room.
    refused: u64,
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct LeftOut {
    why: String,
    lines: u64,
    first: u64,
}

pub(super) fn run(file: &Path, kept: &config::History, args: &Args) -> anyhow::Result<Exit> {
    let limits = Limits { bytes: kept.file_bytes.into(), days: kept.days };
    let mut history = History::join(file, limits).map_err(helped)?;
    let mut all = Vec::new();
    for log in &args.logs {
        all.push(imported(&mut history, log)?);
    }
    let is_whole = all.iter().all(|told| told.left_out.is_empty() && told.refused == 0);
    if args.output.json {
        print_json(&all)?;
    } else {
        all.iter().for_each(said);
    }
    Ok(if is_whole { Exit::Fine } else { Exit::Found })
}

/// Adds one log to the history.
fn imported(history: &mut History, log: &Path) -> anyhow::Result<Told> {
    let name = log.display().to_string();
    let opened: Box<dyn BufRead> = if log == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(log).with_context(|| format!("failed to open `{name}`"))?;
        Box::new(BufReader::new(file))
    };
    let read = AtomicU64::new(0);
    let shown = escape(&name);
    let what = || format!("reading {shown}: {} flows", read.load(Ordering::Relaxed));
    let mut sum = Sum::new(usize::MAX);
    let mut added = Added::default();
    let mut failed: Option<HistoryError> = None;
    let mut write = |sum: &mut Sum| {
        let (rows, _) = sum.take();
        match history.add(&rows, &[], None) {
            Ok(more) => {
                added.rows += more.rows;
                added.refused += more.refused;
            }
            // What is read besides is not written: the first error is the one that is told.
            Err(error) => drop(failed.get_or_insert(error)),
        }
    };
    let lines = progress::watched(what, || -> Result<_, LogError> {
        let lines = flowlog::read(opened, |Flow { kind, seen }| {
            read.fetch_add(1, Ordering::Relaxed);
            sum.add(kind, &seen);
            if sum.len() >= MOST_ROWS {
                write(&mut sum);
            }
        });
        // What came before an error is kept.
        write(&mut sum);
        lines
    });
    if let Some(error) = failed {
        return Err(helped(error));
    }
    let lines = lines.with_context(|| format!("`{name}`"))?;
    let left_out = lines.left_out.into_iter().map(|(why, (lines, first))| LeftOut { why, lines, first });
    Ok(Told {
        log: name,
        flows: lines.flows,
        rows: added.rows,
        refused: added.refused,
        left_out: left_out.collect(),
    })
}

fn said(told: &Told) {
    let Told { log, flows, rows, refused, left_out } = told;
    out!("{}: {} in {} of a kind and day", escape(log), counted(*flows, "flow"), counted(*rows, "row"));
    if *refused > 0 {
        say!("{} had no room: their day has as many kinds as it may", counted(*refused, "flow"));
    }
    for LeftOut { why, lines, first } in left_out {
        say!("{} left out, the first is line {first}: {}", counted(*lines, "line"), escape(why));
    }
}
