//! `bulkhead rollout`: where devices are on their way into enforcement, who is watched after a change, who went back, and who has taken note
//! of that.

mod proof;
mod steps;

use std::time::Duration;

use clap::Subcommand;

use super::{Cli, Exit, Output, apply::print_noted, print_json, revisions::seconds, table, unexpected};
use crate::{
    config::duration::spell,
    control::{Body, Request, RolloutStatus, StageStatus, WatchStatus, WentBackStatus},
    diagnostic::escape,
    rollout::Stage,
};
use proof::Proof;

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
    /// What a device lacks for its next stage: each criterion with its figures, and every break by its name
    Check(steps::CheckArgs),
    /// Bring a device one stage on: observe, ready, canary, enforce
    Advance(steps::AdvanceArgs),
    /// Bring a device back to the first stage, and into monitor mode
    Back(steps::BackArgs),
    /// Say that a conversation may stop when its device is enforced
    Accept(steps::AcceptArgs),
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
        Some(What::Check(args)) => steps::check(cli, args),
        Some(What::Advance(args)) => steps::advance(cli, args),
        Some(What::Back(args)) => steps::back(cli, args),
        Some(What::Accept(args)) => steps::accept(cli, args),
    }
}

fn list(cli: &Cli, output: Output) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Rollout)?;
    let Body::Rollout(mut status) = body else { return Err(unexpected(&body)) };
    complete(cli, &mut status)?;
    let exit = match status.went_back.iter().any(|back| back.acknowledged.is_none()) {
        true => Exit::Found,
        false => Exit::Fine,
    };
    if output.json {
        print_json(&status)?;
        return Ok(exit);
    }
    let RolloutStatus { watched, went_back, stages, not_asked } = &status;
    table_of(stages);
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

/// What the history knows of the next gates.
fn complete(cli: &Cli, status: &mut RolloutStatus) -> anyhow::Result<()> {
    let has_gate = |one: &StageStatus| one.stage.stage().and_then(Stage::gate).is_some();
    if !status.stages.iter().any(has_gate) {
        return Ok(());
    }
    let proof = Proof::of(cli, false)?;
    for one in &mut status.stages {
        if let Some((_, criteria)) = proof.stage(&one.device).and_then(|known| proof.criteria(known)) {
            one.criteria = criteria;
        }
    }
    Ok(())
}

fn table_of(stages: &[StageStatus]) {
    if stages.is_empty() {
        return;
    }
    let mut rows = table::table(&["DEVICE", "CLASS", "STAGE", "SINCE", "NEXT", "MISSING"]);
    for StageStatus { device, class, stage, since, forced, criteria, .. } in stages {
        let next = stage.stage().and_then(Stage::gate).map_or("-", |gate| gate.to().name());
        let mut lacking = criteria.iter().filter(|one| !one.met);
        let missing = match (lacking.next(), lacking.count()) {
            (None, _) => "-".to_owned(),
            (Some(one), 0) => format!("{}: {}", one.asked.name(), escape(&one.told)),
            (Some(one), more) => format!("{}: {} (and {more} more)", one.asked.name(), escape(&one.told)),
        };
        rows.add_row([
            device.clone(),
            class.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{}{}", stage.name(), if *forced { " (forced)" } else { "" }),
            since.as_deref().map_or_else(|| "-".to_owned(), seconds),
            next.to_owned(),
            missing,
        ]);
    }
    table::print(&rows);
    out!("");
}
