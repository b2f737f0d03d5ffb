//! `bulkhead audit-log`: who changed what, and whether the record of it is whole. Needs no agent.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Cli, Exit, Output, print_json, revisions::seconds, table};
use crate::store::audit::{Break, Chain, Entry, Event, Outcome, Place, verify};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Check the whole chain: name the first entry that was changed, lost or added, and end with exit code 1
    #[arg(long)]
    verify: bool,
    /// How many of the last entries to show; default: all
    #[arg(long, short = 'n', value_name = "N")]
    last: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// What `--verify` found.
#[derive(Serialize)]
struct Verified {
    entries: usize,
    first: Option<u64>,
    last: Option<u64>,
    head: String,
    torn_bytes: usize,
    missed: u64,
    broken: Option<Broken>,
}

#[derive(Serialize)]
struct Broken {
    place: String,
    what: String,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let chain = verify(&cli.config()?.state)?;
    if args.verify {
        return report(&chain, args.output);
    }
    let skip = chain.entries.len().saturating_sub(args.last.unwrap_or(usize::MAX));
    if args.output.json {
        let entries: Vec<&Entry> = chain.entries.iter().skip(skip).map(|(_, entry)| entry).collect();
        print_json(&entries)?;
    } else {
        print(&chain, args.last.unwrap_or(usize::MAX));
    }
    if let Some(broken) = &chain.broken {
        say!("the audit trail is broken at {}: {}", place(&broken.place), broken.what);
        return Ok(Exit::Found);
    }
    Ok(Exit::Fine)
}

fn report(chain: &Chain, output: Output) -> anyhow::Result<Exit> {
    let seq = |entry: Option<&(Place, Entry)>| entry.map(|(_, entry)| entry.seq);
    let (first, last) = (seq(chain.entries.first()), seq(chain.entries.last()));
    let exit = if chain.broken.is_some() { Exit::Found } else { Exit::Fine };
    let missed: u64 = chain.entries.iter().map(|(_, entry)| entry.event.missed).sum();
    if output.json {
        let broken = |Break { place: at, what }: &Break| Broken { place: place(at), what: what.clone() };
        print_json(&Verified {
            entries: chain.entries.len(),
            first,
            last,
            head: chain.head.clone(),
            torn_bytes: chain.torn,
            missed,
            broken: chain.broken.as_ref().map(broken),
        })?;
        return Ok(exit);
    }
    if chain.torn > 0 {
        say!(
            "the last {} bytes are no whole entry: a power cut, or somebody who cut the file; the next entry will tell of them",
            chain.torn
        );
    }
    match (&chain.broken, first, last) {
        (Some(broken), _, _) => out!("broken at {}: {}", place(&broken.place), broken.what),
        (None, Some(first), Some(last)) => {
            if first > 1 {
                say!(
                    "entries before {first} are in no file: the agent removes the oldest of more files than configured, and so could somebody else"
                );
            }
            if missed > 0 {
                say!(
                    "{missed} entries could not be written when they were due, and are missing: `bulkhead audit-log` shows where"
                );
            }
            out!("whole: entries {first} to {last}, the last with hash {}", chain.head);
        }
        (None, _, _) => out!("empty: there is no entry"),
    }
    Ok(exit)
}

/// The entries for a person: what was begun is shown only if nothing says how it ended.
fn print(chain: &Chain, last: usize) {
    let ended: BTreeSet<u64> = chain.entries.iter().filter_map(|(_, entry)| entry.event.began).collect();
    let shown: Vec<&Entry> = (chain.entries.iter())
        .map(|(_, entry)| entry)
        .filter(|entry| entry.event.result != Outcome::Begun || !ended.contains(&entry.seq))
        .collect();
    let beginnings: BTreeMap<u64, &Entry> = (chain.entries.iter())
        .filter(|(_, entry)| ended.contains(&entry.seq))
        .map(|(_, entry)| (entry.seq, entry))
        .collect();
    let skip = shown.len().saturating_sub(last);
    let mut rows = table::table(&["SEQ", "WHEN", "WHO", "ACTION", "TARGET", "RESULT", "REVISION", "REASON"]);
    for entry in shown.into_iter().skip(skip) {
        let Event { action, result, by, target, reason, message, before, after, began, missed, left_out } =
            &entry.event;
        let revision =
            if before == after || before.is_empty() { after.clone() } else { format!("{before} -> {after}") };
        let said = message.as_ref().and_then(|message| message.lines().next());
        let result = match said {
            Some(said) => format!("{}: {said}", result.name()),
            None => result.name().to_owned(),
        };
        // The beginning of it has no row of its own.
        let beginning = began.and_then(|began| beginnings.get(&began));
        let missed = missed + beginning.map_or(0, |entry| entry.event.missed);
        let lost =
            if missed > 0 { format!(" ({missed} entries before it were lost)") } else { String::new() };
        let more = if *left_out > 0 {
            format!(" ({left_out} more refused requests before it are not listed)")
        } else {
            String::new()
        };
        let torn = entry.torn.as_ref().or_else(|| beginning.and_then(|entry| entry.torn.as_ref()));
        let torn = torn.map_or_else(String::new, |torn| {
            format!(" (an unfinished entry of {} bytes before it was taken out)", torn.bytes)
        });
        rows.add_row([
            entry.seq.to_string(),
            seconds(&entry.at),
            by.to_string(),
            action.name().to_owned(),
            target.clone().unwrap_or_default(),
            result + &lost + &more + &torn,
            revision,
            reason.clone().unwrap_or_default(),
        ]);
    }
    table::print(&rows);
}

fn place(place: &Place) -> String {
    format!("{}:{}", place.path.display(), place.line)
}
