//! One life of the gateway: from power on to power off, with its disk.
//!
//! In: the disk and what the gateway is to do. Out: what it said, and the disk as it is when the power is gone.

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::{
    super::{
        boot::{Boot, Heard, Machine},
        initramfs::MARK,
        kernels::Installed,
    },
    disk::{Disk, Meter},
};

/// Longest silence of a machine: what takes 10 s on a processor of its own may share it with many.
pub(super) const SILENCE: Duration = Duration::from_secs(600);

const MEMORY: u32 = 768;
/// An emulated processor has nothing to guard, and boots a fifth faster without.
const FAST: &str = "mitigations=off";

/// What machines are made of.
pub(super) struct Bench<'a> {
    pub(super) kernel: &'a Installed,
    pub(super) initramfs: &'a Path,
    /// Where its sockets and files go.
    pub(super) dir: PathBuf,
    /// In front of what is printed.
    pub(super) name: String,
}

/// What the gateway says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    Starting,
    Found(Value),
    Kept(Value),
    Try(Value),
    Ack(Value),
    Returned(Value),
    Ended,
}

/// A machine that runs.
pub(super) struct Session {
    machine: Machine,
    served: JoinHandle<(Disk, io::Result<()>)>,
    socket: PathBuf,
    /// What its disk is doing.
    pub(super) meter: Arc<Meter>,
    /// Everything on the console that is no event.
    rest: Vec<String>,
}

impl Bench<'_> {
    /// Boots the gateway on this disk; `words` are for it, `clock` is its wall clock at power on (UTC, without an offset).
    pub(super) fn power_on(&self, mut disk: Disk, words: &str, clock: Option<&str>) -> Result<Session> {
        let socket = self.dir.join("disk");
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let listener = UnixListener::bind(&socket).context("failed to make the disk's socket")?;
        let meter = Arc::<Meter>::default();
        let watched = Arc::clone(&meter);
        let served = thread::spawn(move || {
            let ended = disk.serve(&listener, &watched);
            (disk, ended)
        });
        let drive = format!("if=none,id=state,format=raw,cache=writeback,file=nbd:unix:{}", socket.display());
        let mut devices =
            ["-drive", &drive, "-device", "virtio-blk-pci,drive=state"].map(str::to_owned).to_vec();
        if let Some(clock) = clock {
            devices.extend(["-rtc".to_owned(), format!("base={clock}")]);
        }
        let machine = Machine::start(Boot {
            kernel: &self.kernel.image,
            initramfs: self.initramfs,
            words: format!("{FAST} {words}"),
            memory: MEMORY,
            processors: 1,
            devices,
            errors: self.dir.join("errors"),
        })?;
        Ok(Session { machine, served, socket, meter, rest: Vec::new() })
    }
}

impl Session {
    /// The next thing it says; none when the time is over.
    pub(super) fn hear(&mut self, until: Instant) -> Result<Option<Event>> {
        loop {
            let line = match self.machine.hear(until)? {
                Heard::Line(line) => line,
                Heard::Nothing => return Ok(None),
                Heard::End => bail!("the machine ended: {}{}", self.machine.complaints()?, self.console()),
            };
            match event(&line) {
                Some(Ok(event)) => return Ok(Some(event)),
                Some(Err(error)) => bail!("{error}{}", self.console()),
                None => self.rest.push(line),
            }
        }
    }

    /// As [`Session::hear`], with more patience than anything takes.
    pub(super) fn wait(&mut self) -> Result<Event> {
        let heard = self.hear(Instant::now() + SILENCE)?;
        heard.with_context(|| format!("silence for {} s{}", SILENCE.as_secs(), self.console()))
    }

    /// The power is gone. Returns the disk, whose cache is still to be dealt with, and what was said before.
    pub(super) fn cut(mut self) -> Result<(Disk, Vec<Event>)> {
        self.machine.cut();
        let mut said = Vec::new();
        while let Heard::Line(line) = self.machine.hear(Instant::now() + SILENCE)? {
            match event(&line) {
                Some(Ok(event)) => said.push(event),
                Some(Err(error)) => bail!("{error}{}", self.console()),
                None => {}
            }
        }
        // A machine that never asked for its disk leaves it waiting.
        drop(UnixStream::connect(&self.socket));
        let (disk, ended) = self.served.join().map_err(|_| anyhow!("the disk panicked"))?;
        ended.context("the disk failed")?;
        Ok((disk, said))
    }

    /// Waits until it has switched itself off.
    pub(super) fn wait_for_end(self) -> Result<Disk> {
        while self.machine.hear(Instant::now() + SILENCE)? != Heard::End {}
        Ok(self.cut()?.0)
    }

    /// The last that was on the console, for a message.
    fn console(&self) -> String {
        let from = self.rest.len().saturating_sub(30);
        self.rest[from..].iter().map(|line| format!("\n  | {line}")).collect()
    }
}

/// What a line says; none for one that is no event, or only the beginning of one.
fn event(line: &str) -> Option<Result<Event>> {
    let (_, said) = line.split_once(&format!("{MARK} cut "))?;
    let (word, value) = said.split_once(' ')?;
    let value: Value = serde_json::from_str(value).ok()?;
    Some(Ok(match word {
        "starting" => Event::Starting,
        "found" => Event::Found(value),
        "kept" => Event::Kept(value),
        "try" => Event::Try(value),
        "ack" => Event::Ack(value),
        "returned" => Event::Returned(value),
        "ended" => Event::Ended,
        "wrong" => return Some(Err(anyhow!("the gateway: {}", value.as_str().unwrap_or_default()))),
        _ => return Some(Err(anyhow!("the gateway said `{line}`"))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_that_was_cut_off_says_nothing() {
        let whole = "@@ cut ack {\"number\":3}";
        assert!(matches!(event(whole), Some(Ok(Event::Ack(_)))));
        assert!((0..whole.len()).all(|end| event(&whole[..end]).is_none()));
        assert!(event("@@ cut wrong \"no disk\"").is_some_and(|said| said.is_err()));
    }
}
