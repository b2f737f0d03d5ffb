//! Captures, file after file, meet a policy.

use std::{
    io::Read,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::bail;

use super::{
    Args, Window,
    kernel::{Compared, Kernel},
    places::Places,
};
use crate::{
    capture::{CaptureError, ETHERNET, Reader},
    cli::captured::{Captured, Ended},
    config::Config,
    diagnostic::counted,
    replay::{Frames, Judged, Report, Setting},
};

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
    /// Whether the kernel says the same, where it was asked.
    pub(super) compared: Option<Compared>,
}

/// Replays captures. Conversations under way are taken over from the first frame on, as an agent does that begins then.
pub(super) fn replayed(
    setting: Setting<'_>,
    places: &Places,
    config: &Config,
    args: &Args,
    window: Window,
) -> anyhow::Result<Replayed> {
    let mut replay = Replay {
        setting,
        places,
        config,
        window,
        bpf: args.bpf,
        sides: None,
        damaged: false,
        notes: Vec::new(),
    };
    for file in &args.pcap {
        replay.file(file)?;
    }
    let Replay { sides, damaged, notes, .. } = replay;
    let (mut frames, kernel) =
        sides.unwrap_or_else(|| (Frames::new(setting, config.flows.settings(0)), None));
    notes.into_iter().for_each(|note| frames.note(note));
    let compared = kernel.map(Kernel::finish).transpose()?;
    Ok(Replayed { report: frames.report(), damaged, compared })
}

struct Replay<'a> {
    setting: Setting<'a>,
    places: &'a Places,
    config: &'a Config,
    window: Window,
    bpf: bool,
    /// The host, and the kernel where it is asked too: from the first frame on.
    sides: Option<(Frames<'a>, Option<Kernel<'a>>)>,
    damaged: bool,
    notes: Vec<String>,
}

impl<'a> Replay<'a> {
    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let mut captured = Captured::open(path)?;
        let error = captured.watched(|reader, position| self.frames(reader, position))?;
        let (shown, reader) = (&captured.shown, &captured.reader);
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
        match captured.ended(error) {
            Ended::Whole => {}
            Ended::Cut(what) => self.notes.push(what),
            Ended::Damaged(error) => {
                let error = error.context(format!("`{shown}` was read up to a damaged place"));
                say!("error: {error:#}");
                self.notes.push(format!("{shown} was not read to its end: {error:#}"));
                self.damaged = true;
            }
        }
        Ok(())
    }

    /// Reads frames to the end, or to the error that ends them.
    fn frames<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        position: &AtomicU64,
    ) -> anyhow::Result<Option<CaptureError>> {
        for number in 1.. {
            position.store(reader.position(), Ordering::Relaxed);
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Ok(Some(error)),
            };
            if !self.window.holds(frame.time) {
                continue;
            }
            if self.sides.is_none() {
                self.sides = Some(self.begin(frame.time)?);
            }
            let Some((frames, kernel)) = &mut self.sides else { continue };
            if frame.outbound {
                frames.leave(frame.time);
                continue;
            }
            let place = self.places.of(frame.name);
            let judged = frames.arrive(&frame, frame.time, place);
            if let (Judged::Decided(_), Some(kernel)) = (judged, kernel) {
                kernel.arrive(&frame, place, number)?;
            }
        }
        Ok(None)
    }

    fn begin(&self, time: u64) -> anyhow::Result<(Frames<'a>, Option<Kernel<'a>>)> {
        let adopt_until = self.config.flows.adopts_until(time);
        let kernel = self.bpf.then(|| Kernel::new(self.setting, self.config, adopt_until));
        Ok((Frames::new(self.setting, self.config.flows.settings(adopt_until)), kernel.transpose()?))
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
