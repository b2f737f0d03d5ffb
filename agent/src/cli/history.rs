//! `bulkhead history`: what was seen on the wire and is kept. Reads the file, and needs no agent.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;

use super::{Cli, Exit, Output, print_json, progress, table};
use crate::{
    config,
    diagnostic::counted,
    history::{HistoryError, Kept, Reader},
    traffic::{Unseen, Why},
};

mod flows;
pub(super) mod import;
mod summary;

/// Gaps shown to a person.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Another file than the agent's
    #[arg(long, global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Who began to talk to whom, over what: when first and last, how much, answered or not, allowed or denied
    Flows(flows::Args),
    /// Add flows that other sensors have written down
    Import(import::Args),
}

/// What is kept.
#[derive(Serialize)]
struct Told {
    file: String,
    bytes: u64,
    since: Option<String>,
    until: Option<String>,
    rows: u64,
    kinds: u64,
    days: Vec<Day>,
    gaps: Vec<Gap>,
}

#[derive(Serialize)]
struct Day {
    day: String,
    rows: u64,
    /// Between which moments the agent watched.
    watched: Option<[String; 2]>,
}

#[derive(Serialize)]
struct Gap {
    from: String,
    to: String,
    seconds: i64,
    why: &'static str,
    text: &'static str,
    count: u64,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let config = cli.config.exists().then(|| cli.config());
    let (config, broken) = match config {
        Some(Ok(config)) => (Some(config), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let file = match (&args.file, &config, broken) {
        (Some(file), ..) => file.clone(),
        (None, _, Some(error)) => return Err(error),
        (None, Some(config), None) => file_of(config),
        (None, None, None) => config::History::below(Path::new("/var/lib/bulkhead")).file,
    };
    if let Some(What::Import(logs)) = &args.what {
        anyhow::ensure!(
            args.file.is_some(),
            "the agent's own history is what this gateway has seen\nhint: `--file` names another one for flows from elsewhere, which is made where there is none"
        );
        let kept = config.as_ref().and_then(|config| config.history.clone());
        let kept = kept.unwrap_or_else(|| config::History::below(Path::new("/var/lib/bulkhead")));
        return import::run(&file, &kept, logs);
    }
    let reader = Reader::open(&file).map_err(helped)?;
    match &args.what {
        Some(What::Flows(flows)) => flows::run(&reader, config.as_ref(), flows),
        Some(What::Import(_)) | None => print(&reader, args.output),
    }
}

/// Where it would be, whether it is written or not.
pub(super) fn file_of(config: &config::Config) -> PathBuf {
    let file = config.history.as_ref().map(|history| history.file.clone());
    file.unwrap_or_else(|| config::History::below(&config.state).file)
}

fn begins_as_database(path: &Path) -> bool {
    let mut head = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_err() || head.starts_with(b"SQLite format 3")
}

pub(super) fn helped(error: HistoryError) -> anyhow::Error {
    let hint = match &error {
        HistoryError::Missing { .. } => {
            "\nhint: the agent begins one when it runs; `history --file` and `learn --history-file` name another place, `enabled` in `[history]` switches it on"
        }
        HistoryError::Foreign { .. } => "\nhint: `--file` names a file that an agent wrote",
        HistoryError::Version { .. } => "\nhint: read it with the version of the agent that wrote it",
        HistoryError::Damaged { path, .. } if !begins_as_database(path) => {
            "\nhint: it is no file of SQLite; a log or a capture is added to a history by `bulkhead history import --file NEW.db LOG`"
        }
        HistoryError::Damaged { .. } => {
            "\nhint: the running agent sets its own one aside by itself and begins a new one"
        }
        HistoryError::Refused { .. }
        | HistoryError::Held { .. }
        | HistoryError::Io { .. }
        | HistoryError::Sqlite { .. } => "",
    };
    let text = format!("{error}{hint}");
    anyhow::Error::new(error).context(text)
}

/// A moment, RFC 3339.
fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

fn print(reader: &Reader, output: Output) -> anyhow::Result<Exit> {
    let days = reader.days().map_err(helped)?;
    let unseen = reader.unseen().map_err(helped)?;
    let kinds = progress::shown("reading the history", || summary::kinds(reader)).map_err(helped)?;
    let size = std::fs::metadata(reader.path());
    let size = size.with_context(|| format!("failed to look at `{}`", reader.path().display()))?;
    let until = days.iter().filter_map(|kept| Some(kept.watched?.to)).max();
    let told = Told {
        file: reader.path().display().to_string(),
        bytes: size.len(),
        since: days.first().map(|kept| kept.day.to_string()),
        until: until.map(moment),
        rows: days.iter().map(|kept| kept.rows).sum(),
        kinds,
        days: days.iter().map(day).collect(),
        gaps: unseen.iter().map(gap).collect(),
    };
    if output.json {
        print_json(&told)?;
    } else {
        show(&told);
    }
    Ok(Exit::Fine)
}

fn day(Kept { day, rows, watched }: &Kept) -> Day {
    let watched = watched.map(|watched| [moment(watched.from), moment(watched.to)]);
    Day { day: day.to_string(), rows: *rows, watched }
}

fn gap(Unseen { from, to, why, count }: &Unseen) -> Gap {
    let seconds = to.saturating_sub(*from);
    Gap { from: moment(*from), to: moment(*to), seconds, why: why.name(), text: why.text(), count: *count }
}

fn show(told: &Told) {
    let Told { file, bytes, since, until, rows, kinds, days, gaps } = told;
    out!("file   {file}, {bytes} bytes");
    out!("since  {}", since.as_deref().unwrap_or("nothing was seen yet"));
    out!("until  {}", until.as_deref().unwrap_or("no agent has watched"));
    out!("rows   {rows}, of {kinds} kinds of conversations on {}", counted(days.len(), "day"));
    if gaps.is_empty() {
        out!("gaps   none known");
        return;
    }
    let stopped = gaps.iter().filter(|gap| gap.why == Why::Stopped.name());
    let seconds: i64 = stopped.map(|gap| gap.seconds).sum();
    out!("gaps   {}; without the agent for {seconds} s in all\n", gaps.len());
    let mut rows = table::table(&["FROM", "TO", "WHY", "COUNT"]);
    for gap in gaps.iter().rev().take(SHOWN).rev() {
        let count = if gap.count == 0 { "-".to_owned() } else { gap.count.to_string() };
        rows.add_row([gap.from.clone(), gap.to.clone(), gap.text.to_owned(), count]);
    }
    table::print(&rows);
    if gaps.len() > SHOWN {
        say!("{} earlier gaps are left out: `--json` has them", gaps.len() - SHOWN);
    }
}
