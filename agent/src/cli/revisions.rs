//! `bulkhead revisions`: what can be returned to.

use super::{Cli, Exit, Output, print_json, table, unexpected};
use crate::control::{Body, Request, RevisionList, RevisionStatus};

pub(super) fn run(cli: &Cli, output: Output) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Revisions)?;
    let Body::Revisions(list) = body else { return Err(unexpected(&body)) };
    let exit = if list.broken.is_empty() { Exit::Fine } else { Exit::Found };
    if output.json {
        print_json(&list)?;
        return Ok(exit);
    }
    let RevisionList { revisions, broken } = list;
    let mut rows = table::table(&["NUMBER", "REVISION", "STATE", "WHEN", "WHO", "FROM", "CHANGES", "REASON"]);
    for revision in revisions {
        let RevisionStatus { number, revision, state, at, by, origin, from, reason, changes, only, .. } =
            revision;
        let from = if origin == "pushed" { format!("pushed {from}") } else { from };
        let only = if only.is_empty() { String::new() } else { format!("only {}: ", only.join(", ")) };
        rows.add_row([
            number.to_string(),
            revision,
            state.name().to_owned(),
            seconds(&at),
            by,
            from,
            only + &changes,
            reason.unwrap_or_default(),
        ]);
    }
    table::print(&rows);
    for broken in broken {
        say!("{broken}");
    }
    Ok(exit)
}

/// A moment without fractions of a second: nobody changes policies so fast.
pub(super) fn seconds(at: &str) -> String {
    match at.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => at.to_owned(),
    }
}
