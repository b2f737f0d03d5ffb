//! `cargo xtask test --vm`: what needs a kernel or a machine of its own, run as root in qemu without hardware help.
//!
//! In: binaries compiled once on this machine, and kernels that apt downloads ([`kernels`]). Each boots from an
//! initramfs made for the run ([`initramfs`], [`boot`]). Out: [`matrix`] runs the normal test binaries on the kernels of
//! several Debian releases and prints one table ([`verdict`]); [`cut`] takes the power from a gateway again and again.

mod boot;
mod cpio;
mod cut;
mod initramfs;
mod kernels;
mod matrix;
mod verdict;

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use bulkhead_tests::{cargo::cargo, lab::wait::on_interrupt};
use serde_json::Value;

use crate::{Outcome, repo};
use kernels::{KERNELS, Kernel};

/// The binary of the agent.
const AGENT: &str = "bulkhead";

/// What `--vm` consists of, for `--only`.
const PARTS: [&str; 2] = ["kernels", "cut"];

/// What must be installed: a program and the package it comes from.
const TOOLS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("dpkg", "dpkg"),
    ("ldd", "libc-bin"),
    ("xz", "xz-utils"),
    ("busybox", "busybox-static"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("strip", "binutils"),
];

/// Runs the tests on every kernel, or on those named, and then the power cuts on one; or one of both.
pub(crate) fn run(wanted: &[String], only: Option<&str>) -> Result<Outcome> {
    if let Some(unknown) = only.filter(|part| !PARTS.contains(part)) {
        bail!("unknown part `{unknown}` of `--vm`\n\nhint: the parts are `{}`", PARTS.join("`, `"));
    }
    let chosen = choose(wanted)?;
    ensure!(env::consts::ARCH == "x86_64", "the kernels of the matrix are for x86-64, this machine is not");
    require_tools()?;
    // Ctrl-c ends the machines before this process.
    on_interrupt()?;
    let root = repo::root();
    let cache = root.join("target/vm");
    let install = |kernels: &[&'static Kernel]| {
        kernels.iter().map(|kernel| kernels::install(kernel, &cache)).collect::<Result<Vec<_>>>()
    };
    let mut outcome = Outcome::Fine;
    if only != Some("cut") {
        outcome = matrix::run(&root, &install(&chosen)?)?;
    }
    if only == Some("cut") || only.is_none() && wanted.is_empty() {
        let kernel = if wanted.is_empty() { choose(&[cut::KERNEL.to_owned()])? } else { chosen };
        for kernel in install(&kernel)? {
            if cut::run(&root, &kernel)? == Outcome::Found {
                outcome = Outcome::Found;
            }
        }
    }
    Ok(outcome)
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
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| tool_path(tool).is_none()).collect();
    let list = |part: fn(&(&str, &str)) -> String| {
        let mut list: Vec<_> = missing.iter().map(|&&missing| part(&missing)).collect();
        // Two tools of one package.
        list.dedup();
        list
    };
    ensure!(
        missing.is_empty(),
        "{} not installed\n\nhint: apt-get install --no-install-recommends {}",
        list(|(tool, _)| format!("`{tool}`")).join(", "),
        list(|(_, package)| (*package).to_owned()).join(" "),
    );
    Ok(())
}

/// Where a program is. Those for disks are where a user's own path may not lead.
fn tool_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Runs cargo and returns where it put the executables of these names.
fn executables(root: &Path, args: &[&str], names: &[&str]) -> Result<Vec<PathBuf>> {
    let mut command = cargo();
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
