//! `cargo xtask stacks`: makes the machine ready for the tier `stacks`, which tests with other people's protocol stacks.
//!
//! In: `tests/stacks/requirements.txt`. Out: a Python environment below the target directory; what only the system's
//! package manager can install is named with the command that does it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use bulkhead_tests::lab::stacks::{Folder, missing_packages};

use crate::{Outcome, repo};

/// Install the Python protocol stacks of the test tier `stacks`, and name the programs that are missing
///
/// The Python packages go below target/, in the versions of tests/stacks/requirements.txt; nothing else on the machine
/// is changed. Exit code 1 means that programs are missing; the command that installs them is printed.
#[derive(clap::Args)]
pub(crate) struct StacksArgs {}

/// Makes the environment anew unless it is the one that the requirements describe.
pub(crate) fn run(_args: &StacksArgs) -> Result<Outcome> {
    let folder = Folder::of(&repo::root());
    let missing = missing_packages();
    if missing.contains("python3-venv") || missing.contains("python3") {
        return Ok(report(&missing));
    }
    let wanted = fs::read_to_string(folder.requirements()).context("failed to read the requirements")?;
    if fs::read_to_string(folder.stamp()).is_ok_and(|made_for| made_for == wanted) {
        eprintln!("the Python environment is up to date");
    } else {
        make(&folder, &wanted)?;
        eprintln!("the Python environment is ready");
    }
    Ok(report(&missing))
}

fn make(folder: &Folder, wanted: &str) -> Result<()> {
    let venv = folder.venv();
    if venv.exists() {
        // A package that is no longer wanted must not stay.
        fs::remove_dir_all(&venv).with_context(|| format!("failed to remove `{}`", venv.display()))?;
    }
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    succeed(Command::new(folder.python()).args(options).arg(folder.requirements()))?;
    // Last: an environment without the stamp is half made.
    write(&folder.stamp(), wanted)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write `{}`", path.display()))
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

fn report(missing: &std::collections::BTreeSet<&'static str>) -> Outcome {
    if missing.is_empty() {
        return Outcome::Fine;
    }
    let packages: Vec<&str> = missing.iter().copied().collect();
    eprintln!(
        "programs are missing\n\nhint: `apt-get install --no-install-recommends {}`",
        packages.join(" ")
    );
    Outcome::Found
}
