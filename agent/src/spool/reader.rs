//! The end of a spool from which records are sent.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Duration,
};

use super::{
    frame::{Frame, HEADER, MAX_RECORD, Stamp},
    keeper::Keeper,
    state::{Mark, Segment, Shared, private, replace},
};

/// How far records were told.
pub(super) const POSITION: &str = "position";

/// How often a place that the disk does not give is tried before what is there is a hole.
const TRIES: u32 = 5;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record as it was added.
    Record {
        /// Which it is.
        stamp: Stamp,
        /// Packets that it accounts for.
        count: u64,
        /// Its text.
        text: String,
    },
    /// Records that are not there any more.
    Hole(Hole),
}

/// Records that were dropped before they were told, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The last record before them, when one is known.
    pub after: Option<Stamp>,
    /// The first one behind them.
    pub before: Stamp,
    /// Packets that they accounted for.
    pub count: u64,
}

/// The reading end.
pub struct Reader {
    folder: PathBuf,
    shared: Shared,
    /// What is read next.
    at: Mark,
    /// The segment that was read last.
    open: Option<(u64, File)>,
    /// The place that could not be read last, and how often.
    failed: (u64, u32),
}

impl Reader {
    pub(super) fn new(folder: PathBuf, shared: Shared, at: Mark) -> Self {
        Self { folder, shared, at, open: None, failed: (0, 0) }
    }

    /// The end that brings the spool to the disk.
    pub fn keeper(&self) -> Keeper {
        Keeper::new(self.folder.clone(), self.shared.clone())
    }

    /// Waits until there is something to read, at most for a time. Whether there may be.
    pub fn wait(&self, most: Duration) -> bool {
        let at = self.at.offset;
        self.shared.wait(most, |state| state.end.offset > at || state.closed);
        self.shared.lock().end.offset > at
    }

    /// Waits for a time, or until nothing will be added any more.
    pub fn pause(&self, most: Duration) {
        self.shared.wait(most, |state| state.closed);
    }

    /// Whether nothing will be added any more.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// The next records, up to about `most` bytes, each with the place behind it; none when there are none.
    ///
    /// # Errors
    /// When a segment cannot be read. After a few attempts what is there is given up, and part of the next hole.
    pub fn read(&mut self, most: usize) -> io::Result<Vec<(Item, Mark)>> {
        let mut out = Vec::new();
        loop {
            let later = |segment: &&Segment| segment.end() > self.at.offset;
            let segment = self.shared.lock().segments.iter().find(later).cloned();
            let Some(segment) = segment else { return Ok(out) };
            let from = self.at.offset.max(segment.start);
            let bytes = match self.bytes(&segment, from, most.max(HEADER + MAX_RECORD)) {
                Ok(bytes) => bytes,
                Err(error) if !self.gives_up(from, &error) => return Err(error),
                Err(_) => Vec::new(),
            };
            let mut rest = &bytes[..];
            let mut offset = from;
            while let Some(frame) = Frame::take(rest) {
                if offset > from && bytes.len() - rest.len() >= most {
                    break;
                }
                rest = &rest[frame.len()..];
                offset += frame.len() as u64;
                self.take(&frame, offset, &mut out);
            }
            if offset > from {
                self.shared.lock().read = self.at.offset;
                return Ok(out);
            }
            // Damaged or taken away: what follows in the segment cannot be found. Its packets are part of the next hole.
            self.at.offset = segment.end();
        }
    }

    /// Goes back to what is not surely told: all of it is sent again.
    pub fn rewind(&mut self) {
        let mut state = self.shared.lock();
        self.at = state.confirmed;
        state.read = self.at.offset;
    }

    /// Everything before a place was told: segments that lie before it are removed.
    ///
    /// # Errors
    /// When that cannot be written down: it is told again after a restart.
    pub fn confirm(&mut self, mark: Mark) -> io::Result<()> {
        let mut state = self.shared.lock();
        if mark.offset <= state.confirmed.offset {
            return Ok(());
        }
        state.confirmed = mark;
        let mut gone = Vec::new();
        while state.segments.len() > 1
            && state.segments.front().is_some_and(|oldest| oldest.end() <= mark.offset)
        {
            gone.extend(state.segments.pop_front());
        }
        state.unsynced.folder |= !gone.is_empty();
        drop(state);
        // First what is known, then what is there: in between a power cut leaves too much.
        replace(&self.folder, POSITION, &mark, false)?;
        for segment in gone {
            fs::remove_file(Segment::path(&self.folder, segment.start))?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>, offset: u64, out: &mut Vec<(Item, Mark)>) {
        if frame.before > self.at.total {
            let hole =
                Hole { after: self.at.stamp(), before: frame.stamp, count: frame.before - self.at.total };
            let mark = Mark { offset: offset - frame.len() as u64, total: frame.before, ..self.at };
            out.push((Item::Hole(hole), mark));
        }
        self.at =
            Mark { offset, total: frame.before + frame.count, boot: frame.stamp.boot, seq: frame.stamp.seq };
        let text = String::from_utf8_lossy(frame.record).into_owned();
        out.push((Item::Record { stamp: frame.stamp, count: frame.count, text }, self.at));
    }

    /// Notes that a place could not be read; whether it is given up.
    fn gives_up(&mut self, offset: u64, error: &io::Error) -> bool {
        let (before, times) = self.failed;
        self.failed = (offset, if before == offset { times.saturating_add(1) } else { 1 });
        // Want of files or memory passes, and says nothing of the disk.
        let passes = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM));
        !passes && self.failed.1 >= TRIES
    }

    /// Bytes of a segment from an offset on; fewer when they are not there, or when the disk does not give what follows a
    /// whole frame.
    fn bytes(&mut self, segment: &Segment, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let file = match self.open.take() {
            Some((start, file)) if start == segment.start => file,
            Some(_) | None => match private(false).open(Segment::path(&self.folder, segment.start)) {
                // It was dropped in this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                opened => opened?,
            },
        };
        let len = usize::try_from(segment.end() - from).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match file.read_at(&mut bytes[filled..], from - segment.start + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if Frame::take(&bytes[..filled]).is_none() => return Err(error),
                Err(_) => break,
            }
        }
        bytes.truncate(filled);
        self.open = Some((segment.start, file));
        Ok(bytes)
    }
}
