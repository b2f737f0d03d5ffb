//! Captures, file after file, meet a policy.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::places::Places;
use crate::{
    capture::{CaptureError, ETHERNET, Reader},
    cli::progress,
    config::Flows,
    diagnostic::{counted, escape},
    replay::{Frames, Report, Setting},
};

/// From when to when frames are looked at.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Window {
    fn holds(&self, time: u64) -> bool {
        let ns = i128::from(time);
        self.since.is_none_or(|since| ns >= since.as_nanosecond())
            && self.until.is_none_or(|until| ns <= until.as_nanosecond())
    }
}

/// What came of captures.
pub(super) struct Replayed {
    pub(super) report: Report,
    /// Whether one of them could not be read to its end.
    pub(super) damaged: bool,
}

/// Replays captures. Conversations under way are taken over from the first frame on, as an agent does that begins then.
pub(super) fn replayed(
    setting: Setting<'_>,
    places: &Places,
    flows: &Flows,
    files: &[PathBuf],
    window: Window,
) -> anyhow::Result<Replayed> {
    let mut replay =
        Replay { setting, places, flows, window, frames: None, damaged: false, notes: Vec::new() };
    for file in files {
        replay.file(file)?;
    }
    let Replay { frames, damaged, notes, .. } = replay;
    let mut frames = frames.unwrap_or_else(|| Frames::new(setting, flows.settings(0)));
    notes.into_iter().for_each(|note| frames.note(note));
    Ok(Replayed { report: frames.report(), damaged })
}

struct Replay<'a> {
    setting: Setting<'a>,
    places: &'a Places,
    flows: &'a Flows,
    window: Window,
    frames: Option<Frames<'a>>,
    damaged: bool,
    notes: Vec<String>,
}

impl Replay<'_> {
    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let shown = escape(&path.display().to_string());
        let (source, size): (Box<dyn Read>, u64) = if path == Path::new("-") {
            (Box::new(std::io::stdin()), 0)
        } else {
            let file = File::open(path).with_context(|| format!("failed to read `{shown}`"))?;
            let size = file.metadata().map_or(0, |about| about.len());
            (Box::new(file), size)
        };
        let mut reader = Reader::new(source).with_context(|| format!("failed to read `{shown}`"))?;
        let position = AtomicU64::new(0);
        let what = || match (position.load(Ordering::Relaxed), size) {
            (at, 0) => format!("reading {shown}: {} MiB", at >> 20),
            (at, size) => format!("reading {shown}: {} %", at.saturating_mul(100) / size),
        };
        let ended = progress::watched(what, || self.frames(&mut reader, &position));
        for interface in reader.interfaces().iter().filter(|interface| interface.skipped > 0) {
            let name = interface.name.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            let frames = counted(interface.skipped, "frame");
            self.notes.push(format!("{frames}{name} in {shown} left out: {}", link(interface.link)));
        }
        let alien = reader.interfaces().iter().find(|interface| interface.link != ETHERNET);
        let is_ethernet = reader.interfaces().iter().any(|interface| interface.link == ETHERNET);
        if let Some(alien) = alien.filter(|_| !is_ethernet) {
            bail!(
                "`{shown}` has no Ethernet frames: {}\nhint: record on one interface by its name: `tcpdump -i eth0 -w FILE`",
                link(alien.link)
            );
        }
        match ended {
            Ok(()) => {}
            // A capture that was not closed: everything up to there is good.
            Err(error @ CaptureError::Cut { .. }) => {
                self.notes.push(format!("{shown} is cut short: {error}"))
            }
            Err(error) => {
                let error =
                    anyhow::Error::from(error).context(format!("`{shown}` was read up to a damaged place"));
                say!("error: {error:#}");
                self.notes.push(format!("{shown} was not read to its end: {error:#}"));
                self.damaged = true;
            }
        }
        Ok(())
    }

    fn frames<R: Read>(&mut self, reader: &mut Reader<R>, position: &AtomicU64) -> Result<(), CaptureError> {
        loop {
            position.store(reader.position(), Ordering::Relaxed);
            let Some(frame) = reader.next_frame()? else { return Ok(()) };
            if !self.window.holds(frame.time) {
                continue;
            }
            let begin =
                || Frames::new(self.setting, self.flows.settings(self.flows.adopts_until(frame.time)));
            let frames = self.frames.get_or_insert_with(begin);
            if frame.outbound {
                frames.leave(frame.time);
                continue;
            }
            frames.arrive(&frame, frame.time, self.places.of(frame.name));
        }
    }
}

/// What kind of frames a number stands for.
fn link(link: u16) -> String {
    let what = match link {
        0 | 108 => "frames of a loopback device",
        12 | 101 | 228 | 229 => "IP packets without frames",
        105 | 127 => "frames of wireless networks",
        113 | 276 => "Linux cooked frames, as `tcpdump -i any` writes them",
        _ => return format!("frames of link type {link}"),
    };
    format!("{what} (link type {link})")
}
