//! `cargo xtask bench compile`: a policy's way from files to enforcement, at several sizes.
//!
//! In: sizes, rounds. Out: time and memory of `check`, of an agent that starts, and of a change of one device. Each
//! sample is taken of a process of its own.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use bulkhead_tests::{
    cargo::cargo,
    lab::{interrupted, on_interrupt, requirements},
    site::Site,
};

use super::{
    AgentArgs,
    cost::{self, Cost},
    gateway,
    report::{self, Size, What},
    write,
};
use crate::{Outcome, repo};

/// Two runs measure the same policies.
pub(super) const SEED: u64 = 1;

/// Measure a policy's way from files to enforcement, at several sizes
///
/// A release build of the agent checks, loads and changes generated policies of 100 rules for each device; see
/// docs/performance.md for what each number means. Without root only `check` is measured. Exit code 1 means that a target
/// was missed.
#[derive(clap::Args)]
pub(super) struct CompileArgs {
    /// How many devices, one or several numbers
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [10, 50, 100, 1000, 10_000])]
    devices: Vec<u32>,
    #[command(flatten)]
    agent: AgentArgs,
}

/// Runs the benchmark. Nothing that fails to fit is an error: the size says why it was left.
pub(super) fn run(args: &CompileArgs) -> Result<Outcome> {
    on_interrupt()?;
    let binary = binary(args.agent.binary.as_deref())?;
    let without_root = requirements().err();
    if let Some(reason) = &without_root {
        eprintln!("only `check` is measured: {reason}");
    }
    let mut sizes = Vec::new();
    for devices in &args.devices {
        let site = Site::new(*devices, SEED);
        eprintln!("{} devices", site.devices());
        let mut size = Size {
            devices: site.devices(),
            entries: site.entries(),
            effective: site.effective(),
            ..Size::default()
        };
        let measured = check(&site, &binary, args.agent.rounds, &mut size).and_then(|()| {
            if size.stopped.is_some() || without_root.is_some() {
                return Ok(());
            }
            (0..args.agent.rounds).try_for_each(|_| gateway::round(&site, &binary, &mut size))
        });
        ensure!(!interrupted(), "interrupted");
        if let Err(error) = measured {
            size.stopped = Some(format!("{error:#}"));
        }
        sizes.push(size);
    }
    if args.agent.json {
        println!("{}", report::document(&sizes, args.agent.rounds));
    } else {
        print!("{}", report::table(&sizes));
    }
    Ok(if sizes.iter().any(Size::misses) { Outcome::Found } else { Outcome::Fine })
}

/// What `bulkhead check` takes for the folder.
fn check(site: &Site, binary: &Path, rounds: u32, size: &mut Size) -> Result<()> {
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let policy = folder.path().join("policy.d");
    write(site, &policy)?;
    let config = folder.path().join("bulkhead.toml");
    std::fs::write(&config, format!("[interface.eth0]\n{}", limits(site)))
        .context("failed to write the config")?;
    let [config, policy] = [config, policy].map(|path| path.display().to_string());
    for _ in 0..rounds {
        let Cost { ms, cpu_ms, peak_kib, exit, said } =
            cost::measure(binary, &["--config", &config, "check", &policy])?;
        size.add(What::Check, ms);
        size.add(What::CheckCpu, cpu_ms);
        size.add(What::CheckPeak, peak_kib / 1024.0);
        if exit != Some(0) {
            let line = said.lines().find(|line| line.starts_with("error")).unwrap_or("no reason was given");
            size.stopped = Some(format!("`check` refuses it: {line}"));
            return Ok(());
        }
    }
    Ok(())
}

/// Limits that hold a site and the two devices of the lab: the defaults as long as they do.
pub(super) fn limits(site: &Site) -> String {
    let devices = (site.devices() + 2).max(4096);
    let more = if site.devices() > 500 { "rules = 262144\nrows = 16777216\n" } else { "" };
    format!("\n[limits]\ndevices = {devices}\n{more}")
}

/// The agent at a path, or a release build of this checkout.
pub(super) fn binary(at: Option<&Path>) -> Result<PathBuf> {
    match at {
        Some(binary) => binary.canonicalize().with_context(|| format!("no agent at `{}`", binary.display())),
        None => build(),
    }
}

fn build() -> Result<PathBuf> {
    eprintln!("building the agent: `cargo build --release --package bulkhead-agent`");
    // `target/debug/xtask`: the release build goes where this one came from.
    let exe = env::current_exe().context("failed to find the running executable")?;
    let target = exe.ancestors().nth(2).context("the running executable is in no target directory")?;
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package", "bulkhead-agent", "--bin", "bulkhead"]);
    let status = command.arg("--target-dir").arg(target).current_dir(repo::root()).status();
    ensure!(status.context("failed to run cargo")?.success(), "the release build failed");
    Ok(target.join("release/bulkhead"))
}
