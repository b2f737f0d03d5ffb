//! `cargo xtask test`: every tier in order, one summary line at the end.
//!
//! This file says which tiers there are and runs them; [`discover`] asks cargo for the integration tests,
//! [`libtest`] reads what a test binary prints, [`report`] counts skips and prints the table.

mod discover;
mod libtest;
mod report;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{Outcome, repo, tidy, vm};
use discover::TestTarget;
use report::{Counts, TierResult};

/// Run every test tier and print what passed, failed and was skipped
///
/// Tiers in order: format, tidy, clippy, unit, then every integration test the workspace has; tests named `packet*`
/// form the tier packet, `netns*` the tier netns, `stacks*` the tier stacks (which `cargo xtask stacks` prepares), `sinks_*` the tier sinks,
/// `vm*` the tier vm (with --vm only), any other its own. The BPF object is committed, so no BPF toolchain is needed.
/// Tests that cannot run say why they were skipped; BULKHEAD_REQUIRE=packet,netns makes a skip in those tiers a
/// failure. The last line is `N passed, N failed, N skipped`.
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Run this tier only; with --vm this part: kernels or cut
    #[arg(long, value_name = "TIER")]
    only: Option<String>,
    /// Run in virtual machines: the packet tiers and the tier vm on other kernels, and a gateway that loses its power
    ///
    /// Kernels of Debian releases are downloaded by apt once and kept below target/vm. BULKHEAD_CUTS says how often the
    /// power fails: 50 times without, which takes a quarter of an hour on two busy cores.
    #[arg(long)]
    vm: bool,
    /// With --vm: this kernel only (5.10, 6.1, 6.12 or current); may be repeated
    #[arg(long, value_name = "VERSION", requires = "vm")]
    kernel: Vec<String>,
}

/// Tiers that share network devices and the machine's two cores: their tests run one after the other.
const ONE_AT_A_TIME: &[&str] = &["packet", "netns", "stacks"];
/// The tier of `--vm`: outside of its machines each of its tests would be a skip.
const IN_MACHINES: &str = "vm";
const REQUIRE: &str = "BULKHEAD_REQUIRE";
const SKIP_LOG: &str = "BULKHEAD_SKIP_LOG";

/// What a tier consists of.
enum Work {
    /// Commands that pass or fail as a whole, counted as one.
    Whole(Vec<Command>),
    /// The rules of the house, in this process.
    Tidy,
    /// Commands that run libtest binaries.
    Tests(Vec<Command>),
}

struct Tier {
    name: String,
    work: Work,
}

/// Runs the tiers of the checkout this xtask belongs to.
pub(crate) fn run(args: &TestArgs) -> Result<Outcome> {
    if args.vm {
        return vm::run(&args.kernel, args.only.as_deref());
    }
    let root = repo::root();
    let mut tiers = tiers(&root)?;
    let names: BTreeSet<String> = tiers.iter().map(|tier| tier.name.clone()).collect();
    let required = required(&env::var(REQUIRE).unwrap_or_default(), &names)?;
    if let Some(only) = &args.only {
        if !names.contains(only) {
            bail!("unknown tier `{only}`\n\nhint: the tiers are {}", list(&names));
        }
        tiers.retain(|tier| tier.name == *only);
    }
    let mut results = Vec::new();
    for tier in tiers {
        eprintln!("\n=== {}", tier.name);
        results.push(run_tier(&root, tier, &required)?);
    }
    Ok(report::print(&results))
}

/// All tiers, cheapest first: a misplaced blank should not cost ten minutes to learn.
fn tiers(root: &Path) -> Result<Vec<Tier>> {
    let whole = |name: &str, commands| Tier { name: name.into(), work: Work::Whole(commands) };
    let mut tiers = vec![
        whole("format", formats(root)),
        Tier { name: "tidy".into(), work: Work::Tidy },
        whole(
            "clippy",
            vec![cargo(root, &["clippy", "--workspace", "--all-targets", "--locked", "--", "-Dwarnings"])],
        ),
        Tier {
            name: "unit".into(),
            work: Work::Tests(vec![
                cargo(root, &["test", "--workspace", "--locked", "--lib", "--bins", "--no-fail-fast"]),
                cargo(root, &["test", "--workspace", "--locked", "--doc", "--no-fail-fast"]),
            ]),
        },
    ];
    for (name, targets) in discover::by_tier(discover::targets(root)?) {
        if name == IN_MACHINES {
            continue;
        }
        let commands = targets.iter().map(|target| test_command(root, &name, target)).collect();
        tiers.push(Tier { name, work: Work::Tests(commands) });
    }
    Ok(tiers)
}

fn formats(root: &Path) -> Vec<Command> {
    let mut commands = vec![cargo(root, &["fmt", "--all", "--check"])];
    // agent-ebpf is a workspace of its own.
    if root.join("agent-ebpf/src/main.rs").is_file() {
        commands.push(cargo(root, &["fmt", "--manifest-path", "agent-ebpf/Cargo.toml", "--check"]));
    }
    commands
}

fn test_command(root: &Path, tier: &str, target: &TestTarget) -> Command {
    let TestTarget { package, name } = target;
    let mut command = cargo(root, &["test", "--locked", "-p", package, "--test", name]);
    if ONE_AT_A_TIME.contains(&tier) {
        command.args(["--", "--test-threads=1"]);
    }
    command
}

fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = bulkhead_tests::cargo::cargo();
    command.current_dir(root).args(args);
    command
}

/// The tiers in `BULKHEAD_REQUIRE`. A misspelt one would require nothing, so it is an error.
fn required(text: &str, names: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let wanted: BTreeSet<String> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if let Some(unknown) = wanted.difference(names).next() {
        bail!(
            "`{REQUIRE}` names `{unknown}`, which no test belongs to\n\nhint: the tiers are {}",
            list(names)
        );
    }
    Ok(wanted)
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn run_tier(root: &Path, tier: Tier, required: &BTreeSet<String>) -> Result<TierResult> {
    let started = Instant::now();
    let Tier { name, work } = tier;
    let (counts, skips) = match work {
        Work::Whole(commands) => (run_whole(commands)?, Vec::new()),
        Work::Tidy => (Counts::of_one(tidy::report(root)? == Outcome::Fine), Vec::new()),
        Work::Tests(commands) => {
            let dir = tempfile::tempdir().context("failed to make a temporary directory")?;
            let log = dir.path().join("skipped");
            let counts = run_tests(commands, &log)?;
            let skips = match fs::read_to_string(&log) {
                Ok(text) => report::parse_skips(&text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => bail!("failed to read `{}`: {error}", log.display()),
            };
            (counts.with_skips(skips.len(), required.contains(&name)), skips)
        }
    };
    Ok(TierResult { name, counts, skips, took: started.elapsed() })
}

fn run_whole(commands: Vec<Command>) -> Result<Counts> {
    let mut passed = true;
    for mut command in commands {
        passed &= command.status().context("failed to run cargo")?.success();
    }
    Ok(Counts::of_one(passed))
}

/// Runs libtest binaries, shows their output as it comes and counts their results.
fn run_tests(commands: Vec<Command>, log: &Path) -> Result<Counts> {
    let mut counts = Counts::default();
    for mut command in commands {
        let mut child =
            command.env(SKIP_LOG, log).stdout(Stdio::piped()).spawn().context("failed to run cargo")?;
        let stdout = child.stdout.take().context("cargo gave no output to read")?;
        let mut tally = libtest::Tally::default();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("failed to read cargo's output")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            tally.line(&line);
        }
        let success = child.wait().context("failed to wait for cargo")?.success();
        counts = counts.plus(tally.finish(success));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeSet<String> {
        ["netns", "packet", "unit"].map(str::to_owned).into()
    }

    #[test]
    fn required_tiers_are_read_from_a_list() {
        assert_eq!(required("", &names()).expect("empty"), BTreeSet::new());
        assert_eq!(
            required("packet, netns", &names()).expect("known"),
            ["netns", "packet"].map(str::to_owned).into()
        );
    }

    #[test]
    fn misspelt_required_tier_is_an_error() {
        let error = required("packets", &names()).expect_err("no such tier");
        assert_eq!(
            error.to_string(),
            "`BULKHEAD_REQUIRE` names `packets`, which no test belongs to\n\n\
             hint: the tiers are `netns`, `packet`, `unit`"
        );
    }
}
