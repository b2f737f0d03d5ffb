//! The tests of packets and links on every kernel: each boots once, runs them all, and gets a line in one table.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    AGENT, boot,
    boot::Boot,
    executables,
    initramfs::{self, Contents, MARK, PROGRAMS},
    kernels::{Installed, KERNELS},
    verdict::{self, Verdict},
};
use crate::Outcome;

/// One test binary and how it is called.
pub(super) struct Test {
    pub(super) name: &'static str,
    pub(super) args: &'static [&'static str],
}

/// What runs on each kernel. The host's half of the packet table does not depend on the kernel.
const TESTS: &[Test] = &[
    Test { name: "vm_links", args: &[] },
    Test { name: "vm_segments", args: &[] },
    Test { name: "netns_segments", args: &[] },
    Test { name: "packet_pins", args: &[] },
    Test { name: "packet_table", args: &["--skip", "every_row_holds_on_the_host"] },
];

/// What the tests make interfaces of; everything else they need is in the kernels themselves.
const MODULES: &[&str] = &["veth", "8021q", "bonding", "bridge"];
/// What tests read at run time, relative to the checkout: they know the path that it had when they were compiled.
const FILES: &str = "tests/packet";

/// Longer than the slowest kernel takes on an emulated processor that shares its core.
const DEADLINE: Duration = Duration::from_secs(1800);
/// Enough for the tests' maps and for an archive that is unpacked into memory.
const MEMORY: u32 = 1536;
const PROCESSORS: u32 = 2;

/// What runs in the machines.
struct Binaries {
    /// In the order of [`TESTS`].
    tests: Vec<PathBuf>,
    /// The agent, which some of them start.
    agent: PathBuf,
}

/// Runs the tests on each of the kernels.
pub(super) fn run(root: &Path, installed: &[Installed]) -> Result<Outcome> {
    let binaries = compile(root)?;
    // Each machine mostly uses one processor: the tests run one after the other.
    let workers = thread::available_parallelism().map_or(1, usize::from).min(installed.len());
    let queue = Mutex::new(installed.iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(kernel) = queue.lock().ok().and_then(|mut queue| queue.next()) {
                    let result = test_on(root, kernel, &binaries);
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

fn compile(root: &Path) -> Result<Binaries> {
    let mut tests = vec!["test", "-p", "bulkhead-tests", "--no-run"];
    tests.extend(TESTS.iter().flat_map(|test| ["--test", test.name]));
    let names: Vec<&str> = TESTS.iter().map(|test| test.name).collect();
    let tests = executables(root, &tests, &names)?;
    let agent = executables(root, &["build", "-p", "bulkhead-agent", "--bin", AGENT], &[AGENT])?;
    Ok(Binaries { tests, agent: agent.into_iter().next().context("cargo built no agent")? })
}

/// Boots one kernel and judges what came out.
fn test_on(root: &Path, kernel: &Installed, binaries: &Binaries) -> Result<Verdict> {
    let started = Instant::now();
    let dir = tempfile::tempdir().context("failed to make a temporary directory")?;
    let image = dir.path().join("initramfs");
    let Binaries { tests, agent } = binaries;
    let names = TESTS.iter().map(|test| test.name).chain([AGENT]);
    let contents = Contents {
        programs: names.zip(tests.iter().chain([agent]).map(PathBuf::as_path)).collect(),
        folders: vec![root.join(FILES)],
        modules: MODULES,
        script: script(TESTS),
    };
    initramfs::write(&image, kernel, &contents)
        .with_context(|| format!("failed to make the initramfs for Linux {}", kernel.release))?;
    let name = kernel.name;
    let show = |line: &str| println!("{name:>7} | {line}");
    let machine = Boot {
        kernel: &kernel.image,
        initramfs: &image,
        words: String::new(),
        memory: MEMORY,
        processors: PROCESSORS,
        devices: Vec::new(),
        errors: dir.path().join("errors"),
    };
    let said = boot::run(machine, DEADLINE, show)?;
    Ok(verdict::judge(kernel, TESTS, &said, started.elapsed()))
}

/// The tests one after the other; each says how it ended.
fn script(tests: &[Test]) -> String {
    let mut script = String::new();
    for Test { name, args } in tests {
        let args = args.join(" ");
        script += &format!("echo '{MARK} start {name}'\n");
        script += &format!("/{PROGRAMS}/{name} --test-threads=1 --nocapture {args} 2>&1\n");
        script += &format!("echo \"{MARK} exit {name} $?\"\n");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_run_one_after_the_other_and_say_how_they_ended() {
        let script = script(&[Test { name: "packet_table", args: &["--skip", "host"] }]);
        let at = |text: &str| script.find(text).unwrap_or_else(|| panic!("no `{text}` in\n{script}"));
        let run = at("/tests/packet_table --test-threads=1 --nocapture --skip host 2>&1\n");
        assert!(at("echo '@@ start packet_table'") < run && run < at("echo \"@@ exit packet_table $?\""));
    }
}
