//! `cargo xtask test --vm`: the normal test binaries, run as root on the kernels of several Debian releases.
//!
//! In: test binaries compiled once on this machine, and kernels that apt downloads ([`kernels`]). Each kernel boots in
//! qemu, without hardware help, from an initramfs made for the run ([`initramfs`], [`boot`]). Out: what the tests
//! printed as it comes, and one table with a line for each kernel ([`verdict`]).

mod boot;
mod cpio;
mod initramfs;
mod kernels;
mod verdict;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bulkhead_tests::lab::wait::on_interrupt;
use serde_json::Value;

use crate::{Outcome, repo};
use kernels::{KERNELS, Kernel};
use verdict::Verdict;

/// One test binary and how it is called.
struct Test {
    name: &'static str,
    args: &'static [&'static str],
}

/// What runs on each kernel. The host's half of the packet table does not depend on the kernel.
const TESTS: &[Test] = &[
    Test { name: "vm_links", args: &[] },
    Test { name: "vm_segments", args: &[] },
    Test { name: "netns_segments", args: &[] },
    Test { name: "packet_pins", args: &[] },
    Test { name: "packet_table", args: &["--skip", "every_row_holds_on_the_host"] },
];

/// The binary of the agent.
const AGENT: &str = "bulkhead";

/// Longer than the slowest kernel takes on an emulated processor that shares its core.
const DEADLINE: Duration = Duration::from_secs(1800);

/// What must be installed: a program and the package it comes from.
const TOOLS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("dpkg", "dpkg"),
    ("ldd", "libc-bin"),
    ("xz", "xz-utils"),
    ("busybox", "busybox-static"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// Runs the tests on every kernel, or on those named.
pub(crate) fn run(wanted: &[String]) -> Result<Outcome> {
    let chosen = choose(wanted)?;
    ensure!(env::consts::ARCH == "x86_64", "the kernels of the matrix are for x86-64, this machine is not");
    require_tools()?;
    let root = repo::root();
    let binaries = compile(&root)?;
    let cache = root.join("target/vm");
    let installed =
        chosen.iter().map(|kernel| kernels::install(kernel, &cache)).collect::<Result<Vec<_>>>()?;
    // Each machine mostly uses one processor: the tests run one after the other.
    let workers = thread::available_parallelism().map_or(1, usize::from).min(installed.len());
    // Ctrl-c ends the machines before this process.
    on_interrupt()?;
    let queue = Mutex::new(installed.iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(kernel) = queue.lock().ok().and_then(|mut queue| queue.next()) {
                    let result = test_on(&root, kernel, &binaries);
                    done.lock().expect("no holder of it panics").push((kernel.name, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no holder of it panics");
    done.sort_by_key(|(name, _)| KERNELS.iter().position(|kernel| kernel.name == *name));
    let verdicts = done.into_iter().map(|(_, result)| result).collect::<Result<Vec<Verdict>>>()?;
    Ok(verdict::print(&verdicts))
}

fn choose(wanted: &[String]) -> Result<Vec<&'static Kernel>> {
    let names = || KERNELS.iter().map(|kernel| format!("`{}`", kernel.name)).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = wanted.iter().find(|name| KERNELS.iter().all(|kernel| kernel.name != **name)) {
        bail!("unknown kernel `{unknown}`\n\nhint: the kernels are {}", names());
    }
    Ok(KERNELS
        .iter()
        .filter(|kernel| wanted.is_empty() || wanted.iter().any(|name| name == kernel.name))
        .collect())
}

fn require_tools() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = |tool: &str| env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !there(tool)).collect();
    let list = |part: fn(&(&str, &str)) -> String| {
        missing.iter().map(|&&missing| part(&missing)).collect::<Vec<_>>()
    };
    ensure!(
        missing.is_empty(),
        "{} not installed\n\nhint: apt-get install --no-install-recommends {}",
        list(|(tool, _)| format!("`{tool}`")).join(", "),
        list(|(_, package)| (*package).to_owned()).join(" "),
    );
    Ok(())
}

/// What runs in the machines.
struct Binaries {
    /// In the order of [`TESTS`].
    tests: Vec<PathBuf>,
    /// The agent, which some of them start.
    agent: PathBuf,
}

fn compile(root: &Path) -> Result<Binaries> {
    let mut tests = vec!["test", "-p", "bulkhead-tests", "--no-run"];
    tests.extend(TESTS.iter().flat_map(|test| ["--test", test.name]));
    let names: Vec<&str> = TESTS.iter().map(|test| test.name).collect();
    let tests = executables(root, &tests, &names)?;
    let agent = executables(root, &["build", "-p", "bulkhead-agent", "--bin", AGENT], &[AGENT])?;
    Ok(Binaries { tests, agent: agent.into_iter().next().context("cargo built no agent")? })
}

/// Runs cargo and returns where it put the executables of these names.
fn executables(root: &Path, args: &[&str], names: &[&str]) -> Result<Vec<PathBuf>> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(args).args(["--locked", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(std::process::Stdio::inherit()).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "`cargo {}` failed", args.join(" "));
    let text = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let executable = |name: &str| {
        messages.iter().find_map(|message| {
            (message["target"]["name"] == name).then(|| message["executable"].as_str().map(PathBuf::from))?
        })
    };
    names
        .iter()
        .map(|name| executable(name).with_context(|| format!("cargo named no binary of `{name}`")))
        .collect()
}

/// Boots one kernel and judges what came out.
fn test_on(root: &Path, kernel: &kernels::Installed, binaries: &Binaries) -> Result<Verdict> {
    let started = Instant::now();
    let dir = tempfile::tempdir().context("failed to make a temporary directory")?;
    let image = dir.path().join("initramfs");
    initramfs::write(&image, root, kernel, TESTS, binaries)
        .with_context(|| format!("failed to make the initramfs for Linux {}", kernel.release))?;
    let name = kernel.name;
    let show = |line: &str| println!("{name:>7} | {line}");
    let said = boot::run(&kernel.image, &image, DEADLINE, show)?;
    Ok(verdict::judge(kernel, TESTS, &said, started.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kernel_is_told_with_the_known_ones() {
        let error = choose(&["5.11".into()]).err().expect("there is no such kernel").to_string();
        assert!(error.starts_with("unknown kernel `5.11`") && error.contains("`5.10`, `6.1`"), "{error}");
        assert_eq!(choose(&[]).expect("all").len(), KERNELS.len());
        assert_eq!(choose(&["6.1".into()]).expect("one").len(), 1);
    }
}
