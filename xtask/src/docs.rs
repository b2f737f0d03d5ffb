//! `cargo xtask docs`: the documents that are made from the agent's own descriptions.
//!
//! In: what `bulkhead` prints about its languages, records and codes. Out: files below `docs/`, or which of them are out of date.

use std::fs;

use anyhow::{Context, Result, ensure};
use bulkhead_tests::cargo::cargo;

use crate::{Outcome, repo};

/// Each document and the command that prints it.
const DOCUMENTS: [(&str, &[&str]); 4] = [
    ("docs/policy-reference.md", &["schema", "policy", "--markdown"]),
    ("docs/config-reference.md", &["schema", "config", "--markdown"]),
    ("docs/records.schema.json", &["schema", "records"]),
    ("docs/diagnostics.md", &["explain", "--markdown"]),
];

/// Write the documents that are made from the agent's own descriptions
///
/// The references of the policy and of the configuration, the schema of the records, and the explanations of all codes. Exit code 1 with --check
/// means that a document is out of date.
#[derive(clap::Args)]
pub(crate) struct DocsArgs {
    /// Only say which documents are out of date
    #[arg(long)]
    check: bool,
}

/// Writes each document that is out of date, or names it.
pub(crate) fn run(args: &DocsArgs) -> Result<Outcome> {
    let DocsArgs { check } = args;
    let root = repo::root();
    let mut stale = false;
    for (path, command) in DOCUMENTS {
        let output = cargo()
            .current_dir(&root)
            .args(["run", "--quiet", "--package", "bulkhead-agent", "--bin", "bulkhead", "--"])
            .args(command)
            .output()
            .context("failed to run cargo")?;
        ensure!(
            output.status.success(),
            "`bulkhead {}` failed: {}",
            command.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let file = root.join(path);
        if fs::read(&file).is_ok_and(|found| found == output.stdout) {
            continue;
        }
        stale = true;
        if *check {
            eprintln!("{path} is out of date\n  fix: run `cargo xtask docs`");
        } else {
            fs::write(&file, &output.stdout).with_context(|| format!("failed to write `{path}`"))?;
            eprintln!("wrote {path}");
        }
    }
    Ok(if stale && *check { Outcome::Found } else { Outcome::Fine })
}
