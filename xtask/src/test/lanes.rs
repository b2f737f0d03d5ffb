//! Runs test binaries, two at a time where they allow it: most of them wait for something. What one prints is shown as it comes while it is
//! alone, and in one piece when it is done while another runs beside it.

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, anyhow};

use super::{libtest::Tally, report::Counts};

/// How many run at the same time.
const LANES: usize = 2;

/// A command that runs libtest binaries.
pub(super) struct Run {
    command: Command,
    alone: bool,
}

impl Run {
    /// One beside which nothing else may run.
    pub(super) fn alone(command: Command) -> Self {
        Self { command, alone: true }
    }

    /// One that does not mind.
    pub(super) fn beside(command: Command) -> Self {
        Self { command, alone: false }
    }
}

/// Runs all, each as `prepare` leaves it, and counts their results.
pub(super) fn run(runs: Vec<Run>, prepare: impl Fn(&mut Command)) -> Result<Counts> {
    let (alone, beside): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| run.alone);
    let prepared = |run: Run| {
        let mut command = run.command;
        prepare(&mut command);
        command
    };
    let lanes = if beside.len() > 1 { LANES } else { 1 };
    let waiting = Mutex::new(beside.into_iter().map(prepared).collect::<Vec<_>>().into_iter());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    let work = || {
        let mut counts = Counts::default();
        while let Some(command) = next() {
            counts = counts.plus(one(command, lanes > 1)?);
        }
        Ok::<Counts, anyhow::Error>(counts)
    };
    let mut counts = Counts::default();
    let found: Vec<Result<Counts>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..lanes).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|found| found.unwrap_or_else(|_| Err(anyhow!("a lane of tests panicked")))).collect()
    });
    for found in found {
        counts = counts.plus(found?);
    }
    for run in alone {
        counts = counts.plus(one(prepared(run), false)?);
    }
    Ok(counts)
}

/// Runs one, and shows what it prints: line by line, or all of it at its end.
fn one(mut command: Command, in_one_piece: bool) -> Result<Counts> {
    let (reader, writer) = io::pipe().context("failed to make a pipe")?;
    let errors = writer.try_clone().context("failed to copy a pipe")?;
    let mut child = command.stdout(writer).stderr(errors).spawn().context("failed to run cargo")?;
    // It holds the other ends of the pipe, which would never be closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tally = Tally::default();
    let mut printed = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("failed to read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        tally.line(&line);
        if in_one_piece {
            printed.push_str(&line);
            printed.push('\n');
        } else {
            println!("{line}");
        }
    }
    let success = child.wait().context("failed to wait for cargo")?.success();
    io::stdout().lock().write_all(printed.as_bytes()).context("failed to print")?;
    Ok(tally.finish(success))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// What a libtest binary prints of one test that passes.
    const PASSES: &str = "echo 'running 1 test'; echo 'test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'";

    #[test]
    fn two_wait_for_each_other_and_one_that_is_alone_waits_for_both() {
        let dir = tempfile::tempdir().expect("a folder");
        let [pipe, first, second] =
            ["pipe", "first", "second"].map(|name| dir.path().join(name).display().to_string());
        assert!(shell(&format!("mkfifo {pipe}")).status().expect("it runs").success());
        // A pipe is opened once somebody is at its other end: one after the other they would be there in vain.
        let reads = shell(&format!("timeout 20 cat {pipe} && touch {first} && {PASSES}"));
        let writes = shell(&format!("timeout 20 sh -c 'echo met > {pipe}' && touch {second} && {PASSES}"));
        let last = shell(&format!("[ -e {first} ] && [ -e {second} ] && {PASSES}"));
        let runs = vec![Run::alone(last), Run::beside(reads), Run::beside(writes)];
        let counts = run(runs, |_| {}).expect("they run");
        assert_eq!(counts, Counts { passed: 3, failed: 0, skipped: 0 });
    }

    #[test]
    fn one_that_fails_does_not_hide_the_others() {
        let runs = vec![Run::beside(shell("exit 1")), Run::beside(shell(PASSES)), Run::beside(shell(PASSES))];
        assert_eq!(run(runs, |_| {}).expect("they run"), Counts { passed: 2, failed: 1, skipped: 0 });
    }

    #[test]
    fn command_that_cannot_run_is_an_error() {
        let runs = vec![Run::alone(Command::new("/nonexistent/test"))];
        let error = run(runs, |_| {}).expect_err("there is no such command");
        assert!(error.to_string().contains("failed to run cargo"), "{error}");
    }
}
