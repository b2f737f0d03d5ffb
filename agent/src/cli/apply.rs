//! `bulkhead apply`: enforce the files from the next packet on.

use std::path::PathBuf;

use super::{Cli, Exit, Output, print_json, unexpected};
use crate::{
    control::{Applied, Body, File, Request},
    files::{Access, read},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A policy file or folder; default: the folder the agent is configured with. A policy applied from
    /// elsewhere holds until the next `bulkhead apply`, SIGHUP or start of the agent, which go back to the
    /// configured folder
    path: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let files = match &args.path {
        Some(path) => {
            // With manifest and signature: the agent judges, not we.
            let files = read(path, Access::Noted)?
                .into_all_files()
                .into_iter()
                .map(|f| File { path: f.path, text: f.text });
            Some(files.collect())
        }
        None => None,
    };
    print_applied(cli.ask(&Request::Apply { files })?, args.output)
}

/// Says what is in force now.
pub(super) fn print_applied(body: Body, output: Output) -> anyhow::Result<Exit> {
    let Body::Applied(applied) = body else { return Err(unexpected(&body)) };
    if output.json {
        print_json(&applied)?;
        return Ok(Exit::Fine);
    }
    let Applied { revision, generation, changed, warnings, released, notes } = applied;
    eprint!("{warnings}");
    match &released[..] {
        [] => {}
        [device] => eprintln!("1 device is no longer enforced: {device}"),
        devices => eprintln!("{} devices are no longer enforced: {}", devices.len(), devices.join(", ")),
    }
    for note in notes {
        eprintln!("{note}");
    }
    let changed = if changed { "in force" } else { "in force, unchanged" };
    out!("revision {revision} {changed} (generation {generation})");
    Ok(Exit::Fine)
}
