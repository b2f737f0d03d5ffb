//! `cargo xtask test`: every tier in order, one summary line at the end.
//!
//! This file says which tiers there are and runs them; [`discover`] asks cargo for the integration tests, [`lanes`] runs two of them at a
//! time, [`libtest`] reads what a test binary prints, [`report`] counts skips and prints the table.

mod discover;
mod lanes;
mod libtest;
mod report;

use std::{collections::BTreeSet, env, fs, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, bail};

use crate::{Outcome, repo, tidy, vm};
use lanes::Run;
use report::{Counts, TierResult};

/// Run every test tier and print what passed, failed and was skipped
///
/// Tiers in order: format, tidy, clippy, build, unit, then every integration test the workspace has; tests named `packet*`
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

/// Tiers that share the machine's two cores: the tests of one binary run one after the other, and of the binaries two at a time.
const ONE_AT_A_TIME: &[&str] = &["packet", "netns", "stacks"];
/// Binaries that keep all cores busy by themselves, or look at how much they spend.
const ALONE: &[&str] =
    &["bench", "netns_chaos", "netns_churn", "netns_flips", "netns_flood", "netns_onslaught"];
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
    /// What runs libtest binaries.
    Tests(Vec<Run>),
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
        // All at once: both cores are busy then, and nothing is compiled between two tests.
        whole("build", vec![cargo(root, &["test", "--workspace", "--locked", "--no-run"])]),
        Tier {
            name: "unit".into(),
            work: Work::Tests(vec![
                Run::alone(cargo(
                    root,
                    &["test", "--workspace", "--locked", "--lib", "--bins", "--no-fail-fast"],
                )),
                Run::alone(cargo(root, &["test", "--workspace", "--locked", "--doc", "--no-fail-fast"])),
            ]),
        },
    ];
    for (name, targets) in discover::by_tier(discover::targets(root)?) {
        if name == IN_MACHINES {
            continue;
        }
        let runs = targets.iter().map(|target| {
            let command = test_command(root, &name, target);
            if ALONE.contains(&target.as_str()) { Run::alone(command) } else { Run::beside(command) }
        });
        let runs = runs.collect();
        tiers.push(Tier { name, work: Work::Tests(runs) });
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

fn test_command(root: &Path, tier: &str, target: &str) -> Command {
    // Of the whole workspace, as it was built: the features of dependencies are those of whoever is asked for.
    let mut command = cargo(root, &["test", "--locked", "--workspace", "--test", target]);
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
        Work::Tests(runs) => {
            let dir = tempfile::tempdir().context("failed to make a temporary directory")?;
            let log = dir.path().join("skipped");
            let counts = lanes::run(runs, |command| {
                command.env(SKIP_LOG, &log);
            })?;
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
