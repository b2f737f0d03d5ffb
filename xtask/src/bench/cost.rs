//! What a process takes: time and memory. In: a command, or the id of a running process. Out: numbers of the kernel.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use serde_json::{Value, json};

use crate::Outcome;

/// The command and its arguments.
#[derive(clap::Args)]
pub(super) struct MeasureArgs {
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

/// What a command took from its start to its end.
pub(super) struct Cost {
    pub(super) ms: f64,
    /// Time on a processor, which other work on the machine hardly changes.
    pub(super) cpu_ms: f64,
    pub(super) peak_kib: f64,
    pub(super) exit: Option<i64>,
    /// The end of what it said on standard error.
    pub(super) said: String,
}

/// Runs the command below a process of its own: the kernel keeps the largest peak of all children ended so far, and counts
/// the memory that a parent had when it forked.
pub(super) fn measure(program: &Path, args: &[&str]) -> Result<Cost> {
    let xtask = env::current_exe().context("failed to find the running executable")?;
    let mut command = Command::new(xtask);
    command.args(["bench", "measure", "--"]).arg(program).args(args);
    let output = command.output().context("failed to measure")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "failed to measure `{}`: {said}", program.display());
    let found: Value = serde_json::from_slice(&output.stdout).context("the measurement is no JSON")?;
    let number = |key: &str| found[key].as_f64().with_context(|| format!("the measurement has no `{key}`"));
    let (ms, cpu_ms, peak_kib) = (number("ms")?, number("cpu_ms")?, number("peak_kib")?);
    Ok(Cost { ms, cpu_ms, peak_kib, exit: found["exit"].as_i64(), said })
}

/// The inner side of [`measure`].
pub(super) fn run(args: &MeasureArgs) -> Result<Outcome> {
    let (program, rest) = args.command.split_first().context("no command")?;
    let start = Instant::now();
    let status = Command::new(program).args(rest).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("failed to run `{program}`"))?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("failed to ask what it took")?;
    let cpu_us = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds());
    #[expect(clippy::cast_precision_loss, reason = "no command runs for 2^52 microseconds")]
    let cpu_ms = cpu_us.into_iter().sum::<i64>() as f64 / 1e3;
    let (peak, exit) = (usage.max_rss(), status.code());
    println!("{}", json!({ "ms": ms, "cpu_ms": cpu_ms, "peak_kib": peak, "exit": exit }));
    Ok(Outcome::Fine)
}
