//! `cargo xtask bench`: how long and how much, measured on this machine, beside what is promised.
//!
//! In: sizes and rounds. Out: one table, or JSON. [`compile`] measures a policy's way from files to the kernel; [`gateway`]
//! does so through a real agent in a network namespace; [`flood`] is what floods cost; [`history`] what it takes to remember flows; [`cost`] is what a process takes; [`report`] the
//! table. [`packets`] is what one packet costs the program, and [`wire`] what it costs a gateway, over what it costs others, in a table of
//! [`rows`]; that is also what runs without a subcommand. [`simulate`] is what a policy costs that meets a history, and what it takes to learn from one. The policies come from `bulkhead_tests`. Nothing here is a test: a busy machine is not a fault.

mod compile;
mod cost;
mod flood;
mod gateway;
mod history;
mod packets;
mod report;
mod rows;
mod simulate;
mod spread;
mod wire;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use bulkhead_tests::{lab::on_interrupt, site::Site};
use clap::Subcommand;
use rows::Row;

use crate::Outcome;

/// Measure the product on this machine
///
/// Without a subcommand: what a packet costs, over what it costs others, in one table. As root; the exit code is 1 when a target is missed or
/// a row that has one could not be measured.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    bench: Option<Bench>,
    #[command(flatten)]
    ratios: RatioArgs,
}

/// How often packets are measured, and how it is shown.
#[derive(clap::Args)]
pub(crate) struct RatioArgs {
    /// How often each figure is measured; the table has the median and both ends
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Only the rows that begin so: a group (established, scale, new, deny, peers, memory; wire), or `GROUP: ROW`
    #[arg(long, value_name = "GROUP")]
    only: Option<String>,
}

impl RatioArgs {
    /// Whether a row is asked for.
    fn wants(&self, group: &str, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| format!("{group}: {name}").starts_with(only))
    }
}

/// How often a built agent is measured, and how it is shown.
#[derive(clap::Args)]
struct AgentArgs {
    /// How often each figure is measured; the table has the median and both ends
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// An agent that is built already, instead of a release build of this checkout
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Bench {
    Packets(packets::PacketsArgs),
    Wire(wire::WireArgs),
    Compile(compile::CompileArgs),
    Flood(flood::FloodArgs),
    History(history::HistoryArgs),
    Simulate(simulate::SimulateArgs),
    Site(SiteArgs),
    /// Run a command and print what it cost as one JSON object
    #[command(hide = true)]
    Measure(cost::MeasureArgs),
}

/// Write the policy files of a generated site, to look at or to try a change on
#[derive(clap::Args)]
struct SiteArgs {
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 1000)]
    devices: u32,
    /// Another number gives other peers, services and modes
    #[arg(long, value_name = "N", default_value_t = compile::SEED)]
    seed: u64,
    /// The folder to write into; made if it is not there
    folder: PathBuf,
}

/// Runs one benchmark.
pub(crate) fn run(args: &BenchArgs) -> Result<Outcome> {
    match &args.bench {
        None => ratios(&args.ratios, &[&packets::rows, &wire::rows]),
        Some(Bench::Packets(packets::PacketsArgs { ratios: args })) => ratios(args, &[&packets::rows]),
        Some(Bench::Wire(args)) => ratios(&args.ratios, &[&|_| wire::measure(args)]),
        Some(Bench::Compile(args)) => compile::run(args),
        Some(Bench::Flood(args)) => flood::run(args),
        Some(Bench::History(history::HistoryArgs { ratios: args })) => ratios(args, &[&history::rows]),
        Some(Bench::Simulate(args)) => ratios(&args.ratios, &[&|_| simulate::rows(args)]),
        Some(Bench::Site(args)) => site(args),
        Some(Bench::Measure(args)) => cost::run(args),
    }
}

/// Something to measure: rows of the common table.
type Part<'a> = &'a dyn Fn(&RatioArgs) -> Result<Vec<Row>>;

/// Measures and shows in one table. `parts` are what there is to measure, in the order of the table.
fn ratios(args: &RatioArgs, parts: &[Part<'_>]) -> Result<Outcome> {
    on_interrupt()?;
    let mut found = Vec::new();
    for part in parts {
        found.extend(part(args)?);
    }
    let only = args.only.as_deref().unwrap_or_default();
    ensure!(!found.is_empty(), "no row begins with `{only}`; without `--only` there are all of them");
    if args.json {
        println!("{}", rows::document(&found, args.rounds));
    } else {
        print!("{}", rows::table(&found));
    }
    Ok(if rows::misses(&found) { Outcome::Found } else { Outcome::Fine })
}

fn site(args: &SiteArgs) -> Result<Outcome> {
    let site = Site::new(args.devices, args.seed);
    write(&site, &args.folder)?;
    println!(
        "{} devices, {} classes, {} zones, {} entries, {} rules in effect",
        site.devices(),
        site.classes(),
        site.zones(),
        site.entries(),
        site.effective()
    );
    Ok(Outcome::Fine)
}

fn write(site: &Site, folder: &std::path::Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    for file in site.files() {
        let path = folder.join(file.name);
        fs::write(&path, file.text).with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    Ok(())
}
