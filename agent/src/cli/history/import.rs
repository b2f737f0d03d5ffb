//! `bulkhead history import`: flows that other sensors have written down, added to a history.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context;
use serde::Serialize;

use super::helped;
use crate::{
    cli::{Exit, Output, captured, print_json, progress},
    config,
    diagnostic::{counted, escape},
    flowlog::{Flow, export::Heard},
    history::{Added, History, HistoryError, Limits},
    traffic::Sum,
};

mod sources;
pub(in crate::cli) use sources::Format;
use sources::{Metered, Outcome};

/// Rows that are held before they are written.
const MOST_ROWS: usize = 100_000;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Whoever imports a log twice counts its flows twice. A history of its own (`--file`) is read by `learn --history-file`\n\
                        and `simulate --history --file`.\n\n\
                        Exit codes: 0 all of it was read; 1 something was left out or never came, each reason is told (frames that\n\
                        belong to no conversation, such as ARP, do not count beside some that do); 2 it could not run."
)]
pub(in crate::cli) struct Args {
    /// What other sensors have written down: Zeek's conn.log (TSV or JSON); CSV with `time`, `from`, `to`, `protocol` and `port`; recorded
    /// traffic, or recorded datagrams of exporters (NetFlow 5 and 9, IPFIX), as pcap or pcapng; files of IPFIX. `-` is standard input
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// What the files hold. Default: what they look like; a capture is one of exporters when all datagrams at its beginning are theirs
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    output: Output,
}

/// What became of a log.
#[derive(Serialize)]
pub(in crate::cli) struct Told {
    log: String,
    format: &'static str,
    flows: u64,
    rows: u64,
    /// Flows for which their day had no room.
    refused: u64,
    left_out: Vec<LeftOut>,
    /// Zeek has opened the log and not closed it.
    is_open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exports: Option<Exported>,
    /// Whether nothing was left out and nothing had no room.
    #[serde(skip)]
    pub(in crate::cli) is_whole: bool,
}

#[derive(Serialize)]
struct LeftOut {
    why: String,
    /// Lines of a log, frames of a capture, records of exporters.
    lines: u64,
    /// The number of the first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
}

/// What became of datagrams of exporters.
#[derive(Serialize)]
struct Exported {
    datagrams: u64,
    damaged: u64,
    damaged_sets: u64,
    records: u64,
    without_template: u64,
    missing: u64,
    repeated: u64,
    forgotten: u64,
    sampled: Vec<Sampled>,
}

#[derive(Serialize)]
struct Sampled {
    exporter: String,
    one_of: u64,
}

pub(super) fn run(file: &Path, kept: &config::History, args: &Args) -> anyhow::Result<Exit> {
    let limits = Limits { bytes: kept.file_bytes.into(), days: kept.days };
    let is_new = !file.exists();
    let mut history = History::join(file, limits).map_err(helped)?;
    let mut all = Vec::new();
    for log in &args.logs {
        match imported(&mut history, log, args.format) {
            Ok(told) => all.push(told),
            Err(error) => {
                // What came before the error stays; a file that was made for nothing does not.
                if is_new && history.rows().is_ok_and(|rows| rows == 0) {
                    drop(history);
                    let _ = fs::remove_file(file);
                }
                return Err(error);
            }
        }
    }
    let is_whole = all.iter().all(|told| told.is_whole);
    if args.output.json {
        print_json(&all)?;
    } else {
        for told in &all {
            out!("{}", told.headline());
            told.say_what_is_missing();
        }
    }
    Ok(if is_whole { Exit::Fine } else { Exit::Found })
}

/// Adds one log to the history.
pub(in crate::cli) fn imported(
    history: &mut History,
    log: &Path,
    format: Option<Format>,
) -> anyhow::Result<Told> {
    let name = log.display().to_string();
    let (opened, size) = captured::open(log, "open")?;
    let (read, flows) = (AtomicU64::new(0), AtomicU64::new(0));
    let shown = escape(&name);
    let what = || {
        let flows = flows.load(Ordering::Relaxed);
        match (read.load(Ordering::Relaxed), size) {
            (_, 0) => format!("reading {shown}: {flows} flows"),
            (at, size) => format!("reading {shown}: {} %, {flows} flows", at.saturating_mul(100) / size),
        }
    };
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
    let source = Metered { inner: opened, read: &read };
    let outcome = progress::watched(what, || {
        let outcome = sources::read(source, format, &mut |Flow { kind, seen }| {
            flows.fetch_add(seen.flows, Ordering::Relaxed);
            sum.add(kind, &seen);
            if sum.len() >= MOST_ROWS {
                write(&mut sum);
            }
        });
        // What came before an error is kept.
        write(&mut sum);
        outcome
    });
    if let Some(error) = failed {
        return Err(helped(error));
    }
    let Outcome { format, flows, left_out, is_open, harmless, heard, ended } =
        outcome.with_context(|| format!("`{name}`"))?;
    ended.with_context(|| format!("`{name}`"))?;
    let all: u64 = left_out.values().map(|(count, _)| count).sum();
    let is_heard = heard.as_ref().is_none_or(|heard| {
        heard.damaged + heard.damaged_sets + heard.without_template + heard.missing + heard.forgotten == 0
    });
    let left_out = left_out.into_iter().map(|(why, (lines, first))| LeftOut { why, lines, first });
    Ok(Told {
        log: name,
        format: format.name(),
        flows,
        rows: added.rows,
        refused: added.refused,
        left_out: left_out.collect(),
        exports: heard.map(exported),
        is_open,
        // What belongs to no conversation is not missing, if there are any.
        is_whole: all == if flows > 0 { harmless } else { 0 } && is_heard && added.refused == 0,
    })
}

fn exported(heard: Heard) -> Exported {
    let Heard {
        datagrams,
        damaged,
        damaged_sets,
        records,
        without_template,
        missing,
        repeated,
        left_out: _,
        forgotten,
        sampled,
    } = heard;
    let sampled = sampled.into_iter();
    let sampled = sampled.map(|(exporter, one_of)| Sampled { exporter: exporter.to_string(), one_of });
    Exported {
        datagrams,
        damaged,
        damaged_sets,
        records,
        without_template,
        missing,
        repeated,
        forgotten,
        sampled: sampled.collect(),
    }
}

impl Told {
    /// The log, and how much was in it.
    pub(in crate::cli) fn headline(&self) -> String {
        let (flows, rows) = (counted(self.flows, "flow"), counted(self.rows, "row"));
        format!("{}: {flows} in {rows} of a kind and day", escape(&self.log))
    }

    /// What was left out of it, on the standard error.
    pub(in crate::cli) fn say_what_is_missing(&self) {
        if self.refused > 0 {
            say!("{} had no room: their day has as many kinds as it may", counted(self.refused, "flow"));
        }
        let what = match self.format {
            "log" => "line",
            "frames" => "frame",
            _ => "record",
        };
        for LeftOut { why, lines, first } in &self.left_out {
            let first = first.map(|first| format!(", the first is line {first}")).unwrap_or_default();
            say!("{} left out{first}: {}", counted(*lines, what), escape(why));
        }
        if self.is_open {
            say!("note: {} has no `#close`: it is written still, or its end is missing", escape(&self.log));
        }
        self.exports.iter().for_each(said_of_exports);
    }
}

fn said_of_exports(exports: &Exported) {
    for (count, said) in [
        (exports.damaged, "datagrams that cannot be read, or of another version than 5, 9 and 10"),
        (exports.damaged_sets, "sets of records that could not be read to their end"),
        (
            exports.without_template,
            "sets of records without their template, which exporters send every few minutes (record for longer)",
        ),
        (exports.missing, "records or datagrams that never came, by the numbers of the exporters"),
        (exports.repeated, "records of what another exporter had told of, which count once"),
        (exports.forgotten, "exporters that were forgotten to make room for others"),
    ] {
        if count > 0 {
            say!("{said}: {count}");
        }
    }
    for Sampled { exporter, one_of } in &exports.sampled {
        say!(
            "{exporter} looks at one packet of {one_of}: what is short may be in no row, and the counts are of what it saw"
        );
    }
}
