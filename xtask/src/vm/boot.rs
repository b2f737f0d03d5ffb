//! One run of a virtual machine: its serial console line by line, until it powers off or the time is over.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bulkhead_tests::lab::wait::check_interrupt;

/// Enough for the tests' maps and for an archive that is unpacked into memory.
const MEMORY: &str = "1536";
/// No hardware help (`tcg`), so that it runs in a machine that is virtual itself, and judges alike everywhere.
const MACHINE: &[&str] = &[
    "-accel",
    "tcg",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    MEMORY,
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
    "-serial",
    "stdio",
];
/// Quiet, and a panic ends the machine instead of waiting for somebody.
const KERNEL: &str = "console=ttyS0 quiet loglevel=1 panic=-1";

/// How often a machine that says nothing is asked whether somebody wants it to end.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Ends the machine with whatever way out is taken.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots `kernel` with `initramfs`; returns all lines of its console, each also given to `show` as it comes. Fails on
/// ctrl-c.
pub(super) fn run(
    kernel: &Path,
    initramfs: &Path,
    deadline: Duration,
    show: impl Fn(&str),
) -> Result<Vec<String>> {
    let errors = initramfs.with_extension("errors");
    let mut command = Command::new("qemu-system-x86_64");
    command.args(MACHINE).arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs).args(["-append", KERNEL]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&errors)?);
    let mut machine = Machine(command.spawn().context("failed to run `qemu-system-x86_64`")?);
    let console = machine.0.stdout.take().context("qemu has no console")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + deadline;
    let mut said = Vec::new();
    loop {
        check_interrupt()?;
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left.min(ASK_EVERY)) {
            Ok(line) => {
                show(&line);
                said.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(RecvTimeoutError::Timeout) => {
                show(&format!("the machine was ended: nothing came of it within {} s", deadline.as_secs()));
                return Ok(said);
            }
        }
    }
    if said.is_empty() {
        bail!("qemu said nothing: {}", fs::read_to_string(&errors)?.trim());
    }
    Ok(said)
}
