//! `cargo xtask demo`: the product does its job on real traffic, and a stranger can watch.
//!
//! In: routed or bridged. Out: a story with counts, a table and one line `RESULT`.
//! [`story`] tells the phases in order; [`stage`] holds everything that lives as long as the lab; [`attack`] is what the
//! attacker does and how its frames are recognised; [`evidence`] compares them with the violation log, purely;
//! [`report`] collects what held and what did not; [`files`] writes policies and saves what is left to read.
//! Everything happens in network namespaces of this process: nothing is left behind, however it ends.

mod attack;
mod evidence;
mod files;
mod report;
mod stage;
mod story;

use std::{io::IsTerminal, time::Duration};

use anyhow::{Result, bail};
use bulkhead_tests::lab::{
    Lab, Topology, agent_binary, interrupted, on_interrupt, requirements, wait::wait_for,
};

use crate::Outcome;
use report::{Paint, Report};
use stage::Stage;

/// Show the product at work: a polled PLC behind an enforcing gateway, and an attacker who gets nowhere
///
/// Needs root and a kernel with BTF; everything happens in network namespaces of its own and is gone afterwards. Exit
/// code 0 only if no poll was lost, nothing of the attacker came through an enforcing gateway, and the violation log
/// has every attack with the right reason, device and count.
#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// One network with a bridge in the middle, instead of two with a router
    #[arg(long)]
    bridged: bool,
    /// Leave the lab up at the end, until ctrl-c, and say how to look around
    #[arg(long)]
    keep: bool,
}

/// Longer than anybody looks around: the wait ends on ctrl-c.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Runs the demo. An error means that it could not run; what did not hold is [`Outcome::Found`].
pub(crate) fn run(args: &DemoArgs) -> Result<Outcome> {
    if let Err(reason) = requirements() {
        bail!("{reason}");
    }
    on_interrupt()?;
    eprintln!("building the agent: `cargo build --package bulkhead-agent`");
    agent_binary()?;
    let topology = if args.bridged { Topology::Bridged } else { Topology::Routed };
    let lab = Lab::build(topology, 1500)?;
    let mut stage = Stage::set(&lab)?;
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut report = Report::new(Paint::new(colour));
    let told = story::tell(&mut stage, &mut report);
    if interrupted() {
        // Values are dropped in order from here: the lab goes down before the process ends.
        bail!("interrupted");
    }
    if let Err(error) = told {
        report.broke_off(&error);
    }
    let saved = files::save(&stage)?;
    let outcome = report.print(&saved);
    if args.keep {
        print!("{}", stage.way_in()?);
        let until_interrupted: Result<()> = wait_for("ctrl-c", A_YEAR, || Ok(None));
        // The only way out of this wait is the interrupt, which is what was asked for.
        drop(until_interrupted);
    }
    Ok(outcome)
}
