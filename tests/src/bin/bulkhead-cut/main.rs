//! A gateway that loses its power: what runs in the machines of `cargo xtask test --vm --only cut`.
//!
//! In: the words `bulkhead.*` of the kernel's command line, and the disk with the state folder. Out: lines with `@@ cut`
//! on the console: what the agent found and enforces after the boot, then each change before it is tried and once it is
//! acknowledged, and how far records are on the disk. The machine outside listens, ends this one at any moment, and judges.

mod gateway;
mod records;
mod steps;

use std::{fs, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, bail};
use bulkhead_tests::dice::Dice;
use serde_json::Value;

use gateway::Machine;

/// Longer than any machine is left alone.
const HOLD: Duration = Duration::from_secs(24 * 60 * 60);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say("wrong", &Value::from(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let line = fs::read_to_string("/proc/cmdline").context("the kernel's command line")?;
    let steps = word(&line, "steps")?;
    let first: u32 = word(&line, "first")?.parse().context("`first` is no number")?;
    let mut dice = Dice::new(word(&line, "seed")?.parse().context("`seed` is no number")?, u64::from(first));
    let machine = Machine::new()?;
    let mut gateway = machine.start()?;
    for step in steps.split(',') {
        match step.split_once('=').unwrap_or((step, "")) {
            ("change", "") => gateway.change_for_ever(first, &mut dice)?,
            ("arm", time) => gateway.arm(first, time)?,
            ("wait", "") => gateway.wait_for_return()?,
            ("end", "") => return gateway.stop(),
            ("hold", "") => thread::sleep(HOLD),
            _ => bail!("`{step}` is no step"),
        }
    }
    Ok(())
}

fn word<'a>(line: &'a str, name: &str) -> Result<&'a str> {
    let key = format!("bulkhead.{name}=");
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(&key))
        .with_context(|| format!("`{key}` is not on the kernel's command line"))
}

/// One line for who listens outside.
fn say(what: &str, value: &Value) {
    println!("@@ cut {what} {value}");
}
