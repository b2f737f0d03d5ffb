//! `bulkhead rollout`: who is watched after a change, who went back, and who has taken note of that.

use std::time::Duration;

use clap::Subcommand;

use super::{Cli, Exit, Output, apply::print_noted, print_json, unexpected};
use crate::{
    config::duration::spell,
    control::{Body, Request, RolloutStatus, WatchStatus, WentBackStatus},
    diagnostic::escape,
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take note of it that a device went back: `status` speaks of it no longer
    Acknowledge(AcknowledgeArgs),
}

#[derive(Debug, clap::Args)]
struct AcknowledgeArgs {
    /// Which device
    device: String,
    /// What was found, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        None => list(cli, args.output),
        Some(What::Acknowledge(args)) => {
            let AcknowledgeArgs { device, reason, output } = args;
            let request = Request::Acknowledge { device: device.clone(), reason: reason.clone() };
            print_noted(cli.ask(&request)?, *output)
        }
    }
}

fn list(cli: &Cli, output: Output) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Rollout)?;
    let Body::Rollout(status) = body else { return Err(unexpected(&body)) };
    let exit = match status.went_back.iter().any(|back| back.acknowledged.is_none()) {
        true => Exit::Found,
        false => Exit::Fine,
    };
    if output.json {
        print_json(&status)?;
        return Ok(exit);
    }
    let RolloutStatus { watched, went_back, not_asked } = &status;
    if watched.is_empty() {
        out!("no device is watched");
    }
    for WatchStatus { device, change, back_to, since: _, seconds_left, steady, silent } in watched {
        let left = spell(Duration::from_secs(*seconds_left));
        let silent = if *silent { "; NOT HEARD" } else { "" };
        out!("{device}: watched for {left} more, {change}; goes back to {back_to}{silent}");
        for beat in steady {
            out!("  {}", escape(beat));
        }
    }
    for WentBackStatus { device, all, at, why, acknowledged } in went_back {
        let all = if *all { " (all devices)" } else { "" };
        let noted = acknowledged
            .as_ref()
            .map_or("NOT ACKNOWLEDGED".to_owned(), |by| format!("acknowledged {}", escape(by)));
        out!("{device}{all}: went back {at}: {}; {noted}", escape(why));
    }
    if *not_asked > 0 {
        say!("{not_asked} dropped packets were too many to be asked about");
    }
    Ok(exit)
}
