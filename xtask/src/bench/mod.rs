//! `cargo xtask bench`: how long and how much, measured on this machine, beside what is promised.
//!
//! In: sizes and rounds. Out: one table, or JSON. [`compile`] measures a policy's way from files to the kernel; [`gateway`]
//! does so through a real agent in a network namespace; [`flood`] is what denied packets cost; [`cost`] is what a process takes; [`report`] the
//! table. The policies come from `bulkhead_tests::site`. Nothing here is a test: a busy machine is not a fault.

mod compile;
mod cost;
mod flood;
mod gateway;
mod report;
mod spread;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use bulkhead_tests::site::Site;
use clap::Subcommand;

use crate::Outcome;

/// Measure the product on this machine
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    Compile(compile::CompileArgs),
    Flood(flood::FloodArgs),
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
        Bench::Compile(args) => compile::run(args),
        Bench::Flood(args) => flood::run(args),
        Bench::Site(args) => site(args),
        Bench::Measure(args) => cost::run(args),
    }
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
