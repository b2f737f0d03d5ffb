//! `bulkhead mode`, `quarantine`, `release`: incident response, recorded with who and why.

use clap::ValueEnum;

use super::{Cli, Exit, Output, apply::Why, print_json, unexpected};
use crate::{
    control::{Body, Request},
    model::Mode,
};

#[derive(Debug, clap::Args)]
pub(super) struct ModeArgs {
    /// Which device
    device: String,
    /// Its mode from the next packet on
    mode: Word,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// Denied packets pass and are reported
    Monitor,
    /// Denied packets are dropped
    Enforce,
}

#[derive(Debug, clap::Args)]
pub(super) struct QuarantineArgs {
    /// Which device
    device: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    /// Which device
    device: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
}

pub(super) fn change(cli: &Cli, args: &ModeArgs) -> anyhow::Result<Exit> {
    let mode = match args.mode {
        Word::Monitor => Mode::Monitor,
        Word::Enforce => Mode::Enforce,
    };
    send(cli, &args.device, mode, &args.why, args.output)
}

pub(super) fn quarantine(cli: &Cli, args: &QuarantineArgs) -> anyhow::Result<Exit> {
    send(cli, &args.device, Mode::Quarantine, &args.why, args.output)
}

fn send(cli: &Cli, device: &str, mode: Mode, why: &Why, output: Output) -> anyhow::Result<Exit> {
    let reason = why.reason.clone();
    let request = Request::Mode { device: device.to_owned(), mode: mode.name().to_owned(), reason };
    print_mode(cli.ask(&request)?, output)
}

pub(super) fn release(cli: &Cli, args: &ReleaseArgs) -> anyhow::Result<Exit> {
    let request = Request::Release { device: args.device.clone(), reason: args.why.reason.clone() };
    print_mode(cli.ask(&request)?, args.output)
}

/// Says which mode the device had, which it has now, and what else there is to know.
fn print_mode(body: Body, output: Output) -> anyhow::Result<Exit> {
    let Body::Applied(applied) = body else { return Err(unexpected(&body)) };
    if output.json {
        print_json(&applied)?;
        return Ok(Exit::Fine);
    }
    let mut notes = applied.notes.iter();
    let change = notes.next().map_or("unchanged", String::as_str);
    out!("{change} (revision {})", applied.revision);
    for note in notes {
        say!("{note}");
    }
    Ok(Exit::Fine)
}
