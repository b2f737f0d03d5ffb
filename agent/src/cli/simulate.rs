//! `bulkhead simulate`: what a policy would do with what really happened.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use jiff::Timestamp;

use super::{
    Cli, Exit, Output,
    check::{configuration, files_of},
    print, print_json,
};
use crate::{
    compile::{Limits, Placed, compile},
    diagnostic::render_text,
    policy::resolve_texts,
    replay::{Report, Setting, as_enforced},
};

mod captures;
mod places;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A capture is judged as if an agent with this policy had begun to run with its first frame: take it where the agent will\n\
                  stand, in front of the gateway, so that senders have their own hardware addresses.\n\n\
                  Exit codes: 0 nothing of what `--fail-on` names; 1 something of it, or the policy is invalid; 2 it could not run, or a\n\
                  capture is damaged."
)]
pub(super) struct Args {
    /// The policy: a file or a folder
    #[arg(long, value_name = "PATH")]
    policy: PathBuf,
    /// Recorded traffic, pcap or pcapng, in the order of time
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pcap: Vec<PathBuf>,
    /// Where the frames arrived: an interface of the configuration. Default: the interface by its name in the capture, else any
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// An address of the gateway itself, so that its own traffic is known; may be given several times
    #[arg(long, value_name = "IP")]
    gateway: Vec<IpAddr>,
    /// Judge as if every device that is monitored were enforced
    #[arg(long)]
    as_enforced: bool,
    /// Leave out what was before this moment, like 2026-11-01T06:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Leave out what was after this moment
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// What makes the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Break)]
    fail_on: FailOn,
    #[command(flatten)]
    output: Output,
}

/// What a person wants to be warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A conversation that no rule allows, whether it would be dropped or only reported
    Break,
    /// A conversation that would be dropped, in the modes that the policy gives its devices
    Drop,
    /// A break, or a rule that nothing was allowed by
    Unused,
    /// Nothing
    None,
}

impl FailOn {
    fn found(self, report: &Report) -> bool {
        match self {
            Self::Break => report.breaks(),
            Self::Drop => report.drops(),
            Self::Unused => report.breaks() || report.has_unused(),
            Self::None => false,
        }
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let outcome = resolve_texts(&files_of(&args.policy)?);
    let Some(policy) = outcome.policy else {
        print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
        return Ok(Exit::Found);
    };
    let policy = if args.as_enforced { as_enforced(&policy).into_owned() } else { policy };
    let everything = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };
    let tables = compile(&policy, &everything).context("failed to compile the policy")?;
    let config = configuration(cli)?;
    let places = places::Places::new(cli.config.exists().then_some(&config), args.interface.as_deref())?;
    let gateway: BTreeSet<IpAddr> = args.gateway.iter().copied().collect();
    let placed = config.management.pin(Placed {
        gateway,
        segments: places.segments(&tables),
        trusted: config.trusted_hosts(),
        ..Placed::default()
    });
    let setting = Setting {
        policy: &policy,
        tables: &tables,
        placed: &placed,
        places: places.all(),
        now: Timestamp::now(),
    };
    let window = captures::Window { since: args.since, until: args.until };
    let read = captures::replayed(setting, &places, &config.flows, &args.pcap, window)?;
    let captures::Replayed { report, damaged } = read;
    if args.output.json {
        print_json(&report)?;
    } else {
        out!("{}", report.text().trim_end());
    }
    Ok(match (args.fail_on.found(&report), damaged) {
        (true, _) => Exit::Found,
        (false, true) => Exit::CouldNotRun,
        (false, false) => Exit::Fine,
    })
}
