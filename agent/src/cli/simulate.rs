//! `bulkhead simulate`: what a policy would do with what really happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    Cli, Exit, Output,
    check::{configuration, files_of},
    history::{file_of, import},
    learn::{begin, end},
    own, print, print_json,
};
use crate::{
    compile::{Limits, Placed, Tables, compile},
    config::Config,
    diagnostic::{counted, render_text},
    model::Policy,
    policy::resolve_texts,
    replay::{Report, Rows, Setting, Touching, as_enforced},
};

mod captures;
mod kernel;
mod logs;
mod past;
mod places;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A capture is judged as if an agent with this policy had begun to run with its first frame: take it where the agent will\n\
                  stand, in front of the gateway, so that senders have their own hardware addresses.\n\n\
                  Exit codes: 0 nothing of what `--fail-on` names; 1 something of it, or the policy is invalid; 2 it could not run, a capture\n\
                  is damaged, something of a log was left out, there was more in it than room to judge it, with --bpf the kernel says something else, or\n\
                  there is no conversation in it (with `--fail-on none` that is 0)."
)]
pub(super) struct Args {
    /// The policy: a file or a folder
    #[arg(long, value_name = "PATH")]
    policy: PathBuf,
    /// Recorded traffic, pcap or pcapng, in the order of time; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present_any = ["history", "log"])]
    pcap: Vec<PathBuf>,
    /// What the agent has seen on this gateway, instead of recorded traffic
    #[arg(long, conflicts_with = "pcap")]
    history: bool,
    /// Flows that another sensor has written down, instead of recorded traffic: Zeek's conn.log (TSV or JSON), CSV, files of IPFIX, recorded
    /// datagrams of NetFlow 5 and 9 and IPFIX; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["pcap", "history"])]
    log: Vec<PathBuf>,
    /// What the logs hold. Default: what they look like
    #[arg(long, value_enum, requires = "log")]
    format: Option<import::Format>,
    /// The file of the history, instead of that of this gateway's agent
    #[arg(long, value_name = "FILE", requires = "history")]
    file: Option<PathBuf>,
    /// Where the frames arrived: an interface of the configuration. Default: the interface by its name in the capture, else any
    #[arg(long, value_name = "NAME", conflicts_with_all = ["history", "log"])]
    interface: Option<String>,
    /// An address of the gateway itself, so that its own traffic is known, with its prefix if what goes to everybody there is to be known
    /// too; may be given several times. Default with --history: those of this machine, unless --file names a history from elsewhere
    #[arg(long, value_name = "IP[/PREFIX]", value_parser = own::address)]
    gateway: Vec<IpNet>,
    /// Judge as if every device that is monitored were enforced
    #[arg(long)]
    as_enforced: bool,
    /// Leave out what was before: a day (2026-11-01), a time (2026-11-01T06:00:00Z), or so long ago (14d), UTC; of a history or log what was
    /// before the day of it
    #[arg(long, value_name = "TIME", value_parser = begin)]
    since: Option<Timestamp>,
    /// Leave out what was after: likewise; a day is part of it
    #[arg(long, value_name = "TIME", value_parser = end)]
    until: Option<Timestamp>,
    /// Run the frames through the real BPF program as well, in this kernel, attached to nothing: whether it says the same (as root)
    #[arg(long, conflicts_with_all = ["history", "log"])]
    bpf: bool,
    /// What makes the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Break)]
    fail_on: FailOn,
    #[command(flatten)]
    output: Output,
}

/// What is only simulated takes no room in the kernel.
const EVERYTHING: Limits = Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX };

/// From when to when traffic is looked at.
#[derive(Clone, Copy)]
struct Window {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
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
    /// A break, or a conversation that is allowed only under a name that the device must have learned
    Name,
    /// A break, or a conversation of which nobody knows who it is: a device would be allowed it, and a stranger would not
    Unknown,
    /// Nothing
    None,
}

impl FailOn {
    fn found(self, report: &Report) -> bool {
        match self {
            Self::Break => report.breaks(),
            Self::Drop => report.drops(),
            Self::Unused => report.breaks() || report.has_unused(),
            Self::Name => report.breaks() || report.relies_on_names(),
            Self::Unknown => report.breaks() || report.totals.unknown > 0,
            Self::None => false,
        }
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let window = Window { since: args.since, until: args.until };
    let is_empty = window.since.zip(window.until).is_some_and(|(since, until)| since > until);
    ensure!(!is_empty, "--since is later than --until: there is no time between them");
    let outcome = resolve_texts(&files_of(&args.policy)?);
    let Some(policy) = outcome.policy else {
        print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
        return Ok(Exit::Found);
    };
    let policy = if args.as_enforced { as_enforced(&policy).into_owned() } else { policy };
    let tables = compile(&policy, &EVERYTHING).context("failed to compile the policy")?;
    let config = configuration(cli)?;
    let places = places::Places::new(cli.config.exists().then_some(&config), args.interface.as_deref())?;
    let own = own::addresses(&args.gateway, args.history && args.file.is_none())?;
    let placed = placed(&config, &places, &tables, own);
    let setting = Setting {
        policy: &policy,
        tables: &tables,
        placed: &placed,
        places: places.all(),
        now: Timestamp::now(),
    };
    let captures::Replayed { report, damaged, compared } = if args.history {
        let file = args.file.clone().unwrap_or_else(|| file_of(&config));
        let report = past::replayed(setting, &file, window)?;
        captures::Replayed { report, damaged: false, compared: None }
    } else if !args.log.is_empty() {
        logs::replayed(setting, &args.log, args.format, window)?
    } else {
        captures::replayed(setting, &places, &config, args, window)?
    };
    if args.output.json {
        print_json(&report)?;
    } else {
        out!("{}", report.text().trim_end());
    }
    let differs = compared.is_some_and(|compared| told(&compared));
    let is_wanted = args.fail_on != FailOn::None;
    let nothing = report.is_nothing() && is_wanted;
    let partial = report.is_partial() && is_wanted;
    Ok(match (damaged || differs || partial, args.fail_on.found(&report)) {
        _ if differs || nothing => Exit::CouldNotRun,
        (_, true) => Exit::Found,
        (true, false) => Exit::CouldNotRun,
        (false, false) => Exit::Fine,
    })
}

/// What a policy does with the history of this gateway, device by device: those that it denies anything, or that had anything.
pub(super) fn touching(
    config: &Config,
    policy: &Policy,
    file: &Path,
) -> anyhow::Result<BTreeMap<String, Touching>> {
    let tables = compile(policy, &EVERYTHING).context("failed to compile the policy")?;
    let places = places::Places::new(Some(config), None)?;
    let placed = placed(config, &places, &tables, own::addresses(&[], true)?);
    let now = Timestamp::now();
    let setting = Setting { policy, tables: &tables, placed: &placed, places: places.all(), now };
    let mut rows = Rows::touching(setting);
    past::read(&mut rows, file, Window { since: None, until: Some(now) })?;
    Ok(rows.reports().1)
}

/// Where the agent of a configuration stands.
fn placed(
    config: &Config,
    places: &places::Places,
    tables: &Tables,
    (gateway, broadcasts): (BTreeSet<IpAddr>, BTreeSet<IpAddr>),
) -> Placed {
    config.management.pin(Placed {
        gateway,
        broadcasts,
        segments: places.segments(tables),
        trusted: config.trusted_hosts(),
        settings: config.flows.settings(0),
        ..Placed::default()
    })
}

/// Says whether the kernel agrees; whether it does not.
fn told(compared: &kernel::Compared) -> bool {
    let kernel::Compared { frames, left_out, differences, first } = compared;
    let frames = counted(*frames, "frame");
    let left_out = match left_out {
        0 => String::new(),
        some => format!("; {} too short or too long for the kernel to run", counted(*some, "frame")),
    };
    match first {
        None => say!("the kernel says the same of {frames}{left_out}"),
        Some(first) => say!(
            "error: the kernel and the host differ ({} in {frames}{left_out}): {first}\nhint: report this, with the policy and the capture",
            counted(*differences, "difference")
        ),
    }
    *differences > 0
}
