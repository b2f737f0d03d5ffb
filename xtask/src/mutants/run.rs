//! One fault after another in a copy of the checkout: does the suite notice?
//!
//! In: the checkout. Out: for each fault who killed it, or that nobody did. The copy and its build directory stay below
//! `target/mutants`, so that only what a fault touches is compiled again.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    str,
};

use anyhow::{Context, Result, bail, ensure};
use bulkhead_tests::cargo::cargo;

use super::table::Mutant;
use crate::repo;

/// A copy of the checkout, and where it is built.
pub(super) struct Copy {
    sources: PathBuf,
    target: PathBuf,
}

/// What became of a fault.
pub(super) enum Fate {
    /// These tests failed.
    Killed(Vec<String>),
    /// No test did.
    Survived,
}

/// The tests that are asked, the ones that notice most first: each is compiled anew for each fault.
const SUITES: [&[&str]; 2] = [
    &["-p", "bulkhead-tests", "--test", "packet_table", "every_row_holds_on_the_host"],
    &["-p", "bulkhead-common", "--lib"],
];
/// Here compiling takes longer than running.
const QUICK: &str = "profile.dev.package.bulkhead-common.opt-level=0";

impl Copy {
    /// Brings the copy up to date. Files that are the same keep their time, so that cargo finds them built.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let base = root.join("target/mutants");
        let copy = Self { sources: base.join("checkout"), target: base.join("build") };
        let files: BTreeSet<PathBuf> = repo::files(root)?.into_iter().collect();
        fs::create_dir_all(&copy.sources).context("failed to make a folder for the copy")?;
        for stale in repo::files(&copy.sources)?.iter().filter(|file| !files.contains(*file)) {
            fs::remove_file(copy.sources.join(stale))
                .with_context(|| format!("failed to remove `{}`", stale.display()))?;
        }
        for file in &files {
            let bytes =
                fs::read(root.join(file)).with_context(|| format!("failed to read `{}`", file.display()))?;
            copy.write(file, &bytes)?;
        }
        Ok(copy)
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let path = self.sources.join(file);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("failed to make `{}`", parent.display()))?;
        }
        fs::write(&path, bytes).with_context(|| format!("failed to write `{}`", path.display()))
    }

    /// The suite passes as it is: otherwise everything would be killed.
    pub(super) fn baseline(&self) -> Result<()> {
        for suite in SUITES {
            if let Fate::Killed(tests) = self.ask(suite)? {
                bail!("the suite fails without any fault: {}", tests.join(", "));
            }
        }
        Ok(())
    }

    /// Puts a fault in, asks the suites, and takes it out again.
    pub(super) fn try_out(&self, mutant: &Mutant) -> Result<Fate> {
        let file = path(mutant);
        let text = fs::read_to_string(self.sources.join(&file))
            .with_context(|| format!("failed to read `{}`", file.display()))?;
        self.write(&file, text.replacen(mutant.find, mutant.replace, 1).as_bytes())?;
        let fate = self.judge();
        self.write(&file, text.as_bytes())?;
        fate
    }

    fn judge(&self) -> Result<Fate> {
        for suite in SUITES {
            let fate = self.ask(suite)?;
            if matches!(fate, Fate::Killed(_)) {
                return Ok(fate);
            }
        }
        Ok(Fate::Survived)
    }

    fn ask(&self, suite: &[&str]) -> Result<Fate> {
        let output = self.cargo(&[&["test"], suite].concat())?;
        if output.status.success() {
            return Ok(Fate::Survived);
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = failed(&said);
        // Without a test's name it was the compiler or cargo that failed: a fault must compile.
        ensure!(
            !failed.is_empty(),
            "the tests did not run:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(Fate::Killed(failed))
    }

    fn cargo(&self, args: &[&str]) -> Result<std::process::Output> {
        let mut command = cargo();
        command.current_dir(&self.sources).args(args).args(["--locked", "--quiet", "--config", QUICK]);
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_PROFILE_DEV_DEBUG", "0");
        command.output().with_context(|| format!("failed to run cargo {}", args.join(" ")))
    }
}

/// The faults whose text is not in the checkout exactly once, in words.
pub(super) fn stale(root: &Path, mutants: &[&Mutant]) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for mutant in mutants {
        let file = path(mutant);
        let text = fs::read_to_string(root.join(&file))
            .with_context(|| format!("failed to read `{}`", file.display()))?;
        let times = text.matches(mutant.find).count();
        if times != 1 {
            stale.push(format!(
                "`{}`: `{}` is {times} times in `{}`",
                mutant.name,
                mutant.find,
                file.display()
            ));
        }
    }
    Ok(stale)
}

fn path(mutant: &Mutant) -> PathBuf {
    Path::new("agent-common/src").join(mutant.file)
}

/// Names of failed tests, and the rows of the packet table that say `N of M rows failed`.
fn failed(said: &str) -> Vec<String> {
    let rows = said.lines().filter(|line| line.contains(" rows failed")).map(str::trim).map(str::to_owned);
    let tests =
        said.lines().filter_map(|line| Some(line.strip_prefix("---- ")?.split_once(" stdout ----")?.0));
    tests.map(str::to_owned).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::table::MUTANTS;

    #[test]
    fn every_fault_is_about_text_that_is_there_once() {
        let all: Vec<&Mutant> = MUTANTS.iter().collect();
        assert_eq!(stale(&repo::root(), &all).expect("the sources are readable"), Vec::<String>::new());
    }

    #[test]
    fn every_fault_has_a_name_of_its_own_and_changes_something() {
        let names: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), MUTANTS.len());
        assert!(MUTANTS.iter().all(|mutant| mutant.find != mutant.replace));
    }

    #[test]
    fn who_killed_is_read_from_what_libtest_prints() {
        let said =
            "running 2 tests\n.F\nfailures:\n\n---- flow::tests::idle stdout ----\n\nthread panicked\n";
        assert_eq!(failed(said), ["flow::tests::idle"]);
        assert_eq!(
            failed("---- every_row stdout ----\n 3 of 400 rows failed\n"),
            ["every_row", "3 of 400 rows failed"]
        );
        assert_eq!(failed("error: could not compile"), [""; 0]);
    }
}
