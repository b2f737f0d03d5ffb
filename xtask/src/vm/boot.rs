//! One run of a virtual machine: its serial console line by line, until it powers off or the time is over.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bulkhead_tests::lab::wait::check_interrupt;

/// No hardware help (`tcg`), so that it runs in a machine that is virtual itself, and judges alike everywhere.
const MACHINE: &[&str] = &[
    "-accel",
    "tcg",
    "-cpu",
    "max",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
    "-serial",
    "stdio",
];
/// Quiet, and a panic ends the machine instead of waiting for somebody. A machine that got no processor for a moment takes
/// its timer for a broken one and panics, unless it is told not to look.
const KERNEL: &str = "console=ttyS0 quiet loglevel=1 panic=-1 no_timer_check";

/// How often a machine that says nothing is asked whether somebody wants it to end.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What a machine is made of.
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// More words for the kernel's command line.
    pub(super) words: String,
    /// Megabytes.
    pub(super) memory: u32,
    pub(super) processors: u32,
    /// More of qemu's arguments.
    pub(super) devices: Vec<String>,
    /// Where qemu's own complaints go.
    pub(super) errors: PathBuf,
}

/// A machine that runs. It ends with whatever way out is taken.
pub(super) struct Machine {
    child: Child,
    lines: Receiver<String>,
    errors: PathBuf,
}

/// What there is to hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Line(String),
    /// The machine is off, and has said all it had to say.
    End,
    /// The time is over.
    Nothing,
}

impl Machine {
    pub(super) fn start(boot: Boot<'_>) -> Result<Self> {
        let Boot { kernel, initramfs, words, memory, processors, devices, errors } = boot;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(MACHINE).args(["-m", &memory.to_string(), "-smp", &processors.to_string()]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        command.args(["-append", &format!("{KERNEL} {words}")]).args(devices);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&errors)?);
        let mut child = command.spawn().context("failed to run `qemu-system-x86_64`")?;
        let console = child.stdout.take().context("qemu has no console")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, errors })
    }

    /// The next line, or the end of the machine, or of the time. Fails on ctrl-c.
    pub(super) fn hear(&self, until: Instant) -> Result<Heard> {
        loop {
            check_interrupt()?;
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(ASK_EVERY)) {
                Ok(line) => return Ok(Heard::Line(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Heard::End),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(Heard::Nothing),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Ends it as a power cut does. What it said before can still be heard.
    pub(super) fn cut(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What qemu itself said.
    pub(super) fn complaints(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.errors)?.trim().to_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Boots a machine; returns all lines of its console, each also given to `show` as it comes. Fails on ctrl-c.
pub(super) fn run(boot: Boot<'_>, deadline: Duration, show: impl Fn(&str)) -> Result<Vec<String>> {
    let machine = Machine::start(boot)?;
    let end = Instant::now() + deadline;
    let mut said = Vec::new();
    loop {
        match machine.hear(end)? {
            Heard::Line(line) => {
                show(&line);
                said.push(line);
            }
            Heard::End => break,
            Heard::Nothing => {
                show(&format!("the machine was ended: nothing came of it within {} s", deadline.as_secs()));
                return Ok(said);
            }
        }
    }
    if said.is_empty() {
        bail!("qemu said nothing: {}", machine.complaints()?);
    }
    Ok(said)
}
