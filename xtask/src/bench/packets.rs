//! `cargo xtask bench packets`: what one packet costs the program, over what it costs an empty one, and others.
//!
//! In: rounds, and which rows. Out: rows of the common table. The measuring half is a program of its own
//! (`tests/benches/packets`): it needs the agent, and xtask must build without it.

use std::{
    env,
    ffi::OsString,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, anyhow, ensure};
use bulkhead_tests::lab::requirements;
use serde_json::Value;

use super::{
    RatioArgs,
    rows::{Found, Row, Target, ratios},
};
use crate::repo;

/// Measure what a packet costs the program, over what it costs an empty one
///
/// The kernel runs the loaded program on generated frames of many flows, in turn with an empty program and with others (root); see
/// docs/performance.md for what each row means. Exit code 1 means that a target was missed.
#[derive(clap::Args)]
pub(super) struct PacketsArgs {
    #[command(flatten)]
    pub(super) ratios: RatioArgs,
}

/// Measures every row that is asked for.
pub(super) fn rows(args: &RatioArgs) -> Result<Vec<Row>> {
    requirements().map_err(|reason| anyhow!("packets need the lab: {reason}"))?;
    // The kernel does the work: an optimised build would measure the same, later.
    measured("packets", &["--profile", "dev"], args)
}

/// Runs a measuring program of the tests package, and reads its rows.
pub(super) fn measured(bench: &str, build: &[&str], args: &RatioArgs) -> Result<Vec<Row>> {
    let RatioArgs { rounds, json: _, only } = args;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(["bench", "--quiet"]).args(build).args(["--package", "bulkhead-tests", "--bench", bench]);
    command.arg("--").arg(rounds.to_string()).args(only).current_dir(repo::root()).stderr(Stdio::inherit());
    let output = command.output().context("failed to run cargo")?;
    ensure!(output.status.success(), "the measurement of {bench} failed");
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).context("the measurement is no JSON")?;
    found.iter().map(|value| row(value).with_context(|| format!("a row that is none: {value}"))).collect()
}

fn row(value: &Value) -> Option<Row> {
    let text = |key: &str| Some(value[key].as_str()?.to_owned());
    let samples = |key: &str| value[key].as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
    let (found, others) = (samples("samples")?, samples("others")?);
    let row = Row::new(text("group")?, text("name")?, text("unit")?, &found)
        .target(value["most"].as_f64().map(Target::Most));
    let missing = text("absent").map(Found::Absent).or_else(|| text("failed").map(Found::Failed));
    Some(match missing {
        Some(missing) => row.without(missing),
        // A figure by itself: what is promised is promised of it.
        None if others.is_empty() => row,
        None => row.over(text("over")?, &ratios(&found, &others)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn row_is_read_with_its_target_or_with_what_it_lacks() {
        let mut value = json!({
            "group": "deny", "name": "a flood", "unit": "ns", "samples": [9.0, 6.0], "others": [3.0, 2.0],
            "over": "1 empty", "most": 2.0, "absent": null, "failed": null,
        });
        let expected = Row::new("deny", "a flood", "ns", &[9.0, 6.0]).over("1 empty", &[3.0, 3.0]);
        assert_eq!(row(&value), Some(expected.target(Target::Most(2.0))));
        value["absent"] = json!("no such filter");
        let found = row(&value).map(|row| row.found);
        assert_eq!(found, Some(Found::Absent("no such filter".to_owned())));
        assert_eq!(row(&json!({})), None);
    }
}
