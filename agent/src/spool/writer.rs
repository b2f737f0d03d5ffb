//! The end of a spool that the agent writes to.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    frame::{Frame, HEADER, MAX_RECORD, Stamp},
    reader::{POSITION, Reader},
    state::{Counts, Mark, SEGMENT, Segment, Shared, State, Unsynced, private, recall, replace},
};

/// Which counters the records account for.
const COUNTING: &str = "counting";

/// Segments of a full spool, about: what is dropped at once when it is full is one of them.
const SEGMENTS: u64 = 16;
/// Smallest segment, bytes.
const SMALLEST: u64 = 64 << 10;
/// Largest one.
const LARGEST: u64 = 4 << 20;

/// Most segments, also of a disk on which each must be begun anew.
const FILES: usize = 1024;

/// A spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to {act} `{}`: {source}", path.display())]
pub struct SpoolError {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// What waits in a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Bytes that are there and not surely told.
    pub bytes: u64,
    /// Bytes of them that were not read yet to be sent.
    pub unsent: u64,
    /// Packets that they account for, with those of a hole that is not surely told.
    pub packets: u64,
}

impl Waiting {
    /// What waits in the folder of a spool that nobody has opened. It is only looked at.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        let told: Mark = recall(folder, POSITION).unwrap_or_default();
        let mut end = told;
        for start in starts(folder)?.into_iter().rev() {
            if let (_, Some(last)) = whole(&fs::read(Segment::path(folder, start))?, start) {
                end = last;
                break;
            }
        }
        let bytes = end.offset.saturating_sub(told.offset);
        Ok(Self { bytes, unsent: bytes, packets: end.total.saturating_sub(told.total) })
    }
}

/// Since when the records account for which counters.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counting {
    /// Names the counters: others after a boot.
    counters: String,
    /// Packets that the records before them account for.
    base: u64,
}

/// The writing end.
pub struct Spool {
    folder: PathBuf,
    shared: Shared,
    file: Option<File>,
    /// Bytes of all segments.
    most: u64,
    counting: Counting,
    /// Whether it had taken nothing when it was opened.
    is_new: bool,
}

impl Spool {
    /// Opens the spool in a folder, which is made if it is missing, with room for `most` bytes. `counters` names what the
    /// kernel counts with: when it is another than before, what it counts begins at 0.
    ///
    /// # Errors
    /// [`SpoolError`] when the folder cannot be used.
    pub fn open(folder: &Path, most: u64, counters: &str) -> Result<(Self, Reader), SpoolError> {
        let failed = |act| move |source| SpoolError { act, path: folder.to_owned(), source };
        make(folder).map_err(failed("create"))?;
        let told: Option<Mark> = recall(folder, POSITION);
        let (segments, end) = found(folder, told).map_err(failed("read"))?;
        let oldest = segments.front().map_or(end.offset, |segment| segment.start);
        // Without a position everything that is there is told again: a duplicate is recognised, a hole would be lost.
        if end.offset == 0 && told.is_none() {
            // What is dropped before anything was told is a hole after a restart, too.
            replace(folder, POSITION, &end, true).map_err(failed("write to"))?;
        }
        let confirmed = told.filter(|mark| mark.offset <= end.offset && mark.total <= end.total);
        let confirmed = confirmed.unwrap_or(Mark { offset: oldest, ..first_of(folder, &segments) });
        let segments = without_told(folder, segments, confirmed);
        let counting = match recall::<Counting>(folder, COUNTING) {
            Some(known) if known.counters == counters && known.base <= end.total => known,
            Some(_) | None => {
                let new = Counting { counters: counters.to_owned(), base: end.total };
                replace(folder, COUNTING, &new, true).map_err(failed("write to"))?;
                new
            }
        };
        let is_new = end.offset == 0;
        let inherited = segments.iter().map(|segment| segment.start).collect();
        let unsynced = Unsynced { inherited, ..Unsynced::default() };
        let state = State { segments, end, confirmed, unsynced, ..State::default() };
        let shared = Shared::new(state);
        let reader = Reader::new(folder.to_owned(), shared.clone(), confirmed);
        Ok((Self { folder: folder.to_owned(), shared, file: None, most, counting, is_new }, reader))
    }

    /// Adds records: stamp, packets and text of each. How many were refused: when the disk says no, all from one on; and any
    /// that is longer than [`MAX_RECORD`]. They account for nothing.
    pub fn append<'r>(&mut self, records: impl IntoIterator<Item = (Stamp, u64, &'r str)>) -> usize {
        let mut bytes = Vec::new();
        let mut end = self.shared.lock().end;
        let (mut taken, mut refused) = (0, 0);
        let mut failure = None;
        let mut flushed = end;
        let mut frames = 0;
        for (stamp, count, record) in records {
            let frame = Frame { stamp, before: end.total, count, record: record.as_bytes() };
            if failure.is_some() || record.len() > MAX_RECORD {
                refused += 1;
                continue;
            }
            if !bytes.is_empty() && (bytes.len() + frame.len()) as u64 > self.segment_bytes() {
                match self.write(&bytes, end) {
                    Ok(()) => (taken, flushed) = (taken + frames, end),
                    Err(error) => (refused, failure) = (refused + frames + 1, Some(error)),
                }
                (frames, bytes) = (0, Vec::new());
                if failure.is_some() {
                    continue;
                }
            }
            frame.put(&mut bytes);
            frames += 1;
            end = Mark {
                offset: end.offset + frame.len() as u64,
                total: end.total + count,
                boot: stamp.boot,
                seq: stamp.seq,
            };
        }
        if failure.is_none() && end != flushed {
            match self.write(&bytes, end) {
                Ok(()) => taken += frames,
                Err(error) => (refused, failure) = (refused + frames, Some(error)),
            }
        }
        let mut state = self.shared.lock();
        state.counts.taken += taken as u64;
        if taken > 0 || failure.is_some() {
            state.counts.failing = failure.is_some();
        }
        if let Some(error) = failure {
            state.counts.last_error = Some(error.to_string());
        }
        drop(state);
        self.shared.tell();
        refused
    }

    /// Packets that its records account for, of those that the kernel's present counters have counted.
    pub fn accounted(&self) -> u64 {
        self.shared.lock().end.total - self.counting.base
    }

    /// Whether it had never taken anything when it was opened.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// What waits.
    pub fn waiting(&self) -> Waiting {
        let state = self.shared.lock();
        Waiting {
            bytes: state.end.offset - state.oldest(),
            unsent: state.end.offset - state.oldest().max(state.read),
            packets: state.end.total - state.confirmed.total,
        }
    }

    /// Its counters.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts.clone()
    }

    /// The last record that is surely on the disk, with all before it that are there; none before the first sync.
    pub fn synced(&self) -> Option<Stamp> {
        self.shared.lock().synced.stamp()
    }

    /// Why what waits may not be on the disk, although it was asked for.
    pub fn doubt(&self) -> Option<String> {
        let state = self.shared.lock();
        state.doubt.as_ref().map(|doubt| format!("what waits may not survive a power cut: {}", doubt.why))
    }

    fn segment_bytes(&self) -> u64 {
        (self.most / SEGMENTS).clamp(SMALLEST, LARGEST)
    }

    /// Writes frames behind the last one; `end` is the place behind them.
    fn write(&mut self, bytes: &[u8], end: Mark) -> io::Result<()> {
        let len = bytes.len() as u64;
        let start = end.offset - len;
        let has_room =
            |segment: &Segment| segment.end() == start && segment.len + len <= self.segment_bytes();
        let current = {
            let state = self.shared.lock();
            state.segments.back().filter(|last| has_room(last) && state.is_sound(last)).cloned()
        };
        let current = match current {
            Some(current) => current,
            None => self.begin_segment(start)?,
        };
        self.make_room(len);
        let file = match self.file.take() {
            Some(file) => file,
            None => private(false).open(Segment::path(&self.folder, current.start))?,
        };
        if let Err(error) = file.write_all_at(bytes, current.len) {
            // What cannot be removed is written over, or found and removed at the next start.
            let _ = cut_off(&file, current.len);
            return Err(error);
        }
        let mut state = self.shared.lock();
        // A new segment is there already.
        if state.unsynced.files.is_empty() {
            state.unsynced.files.push(file.try_clone()?);
        }
        if let Some(segment) = state.segments.back_mut() {
            segment.len += len;
        }
        state.end = end;
        self.file = Some(file);
        Ok(())
    }

    fn begin_segment(&mut self, start: u64) -> io::Result<Segment> {
        let file = private(true).truncate(true).open(Segment::path(&self.folder, start))?;
        let unsynced = file.try_clone()?;
        self.file = Some(file);
        let segment = Segment { start, len: 0 };
        let mut state = self.shared.lock();
        // An empty one of an attempt that failed has the same name.
        if state.segments.back().is_some_and(|last| last.start == start) {
            state.segments.pop_back();
        }
        state.segments.push_back(segment.clone());
        state.unsynced.files.push(unsynced);
        state.unsynced.folder = true;
        Ok(segment)
    }

    /// Drops the oldest segments until there is room for `len` more bytes.
    fn make_room(&self, len: u64) {
        let mut state = self.shared.lock();
        let is_full = |state: &State| state.bytes() + len > self.most || state.segments.len() > FILES;
        while is_full(&state) && state.segments.len() > 1 {
            let Some(oldest) = state.segments.pop_front() else { break };
            state.counts.dropped_bytes += oldest.end().saturating_sub(state.confirmed.offset).min(oldest.len);
            state.unsynced.folder = true;
            // One that cannot be removed is found at the next start: told if that is still to be done, and removed.
            let _ = fs::remove_file(Segment::path(&self.folder, oldest.start));
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.tell();
    }
}

/// Makes the folder if it is missing, so that it is there after a power cut.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // That of all spools may be new as well.
    folder.ancestors().skip(1).take(2).try_for_each(|above| File::open(above)?.sync_all())
}

/// Offsets at which the segments in a folder begin.
fn starts(folder: &Path) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == SEGMENT)
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
            && let Ok(start) = u64::from_str_radix(stem, 16)
        {
            starts.push(start);
        }
    }
    starts.sort_unstable();
    Ok(starts)
}

/// The segments in a folder, and the place behind the last whole frame.
fn found(folder: &Path, told: Option<Mark>) -> io::Result<(VecDeque<Segment>, Mark)> {
    let starts = starts(folder)?;
    // Each ends where the one behind it begins; of the last it is not known yet.
    let ends = starts.iter().skip(1).chain(starts.last());
    let mut segments: VecDeque<Segment> =
        starts.iter().zip(ends).map(|(start, end)| Segment { start: *start, len: end - start }).collect();
    let mut end = Mark::default();
    while let Some(Segment { start, len: _ }) = segments.pop_back() {
        let path = Segment::path(folder, start);
        let bytes = fs::read(&path)?;
        let (len, last) = whole(&bytes, start);
        if let Some(last) = last {
            if len < bytes.len() as u64 {
                cut_off(&private(false).open(&path)?, len)?;
            }
            segments.push_back(Segment { start, len });
            end = last;
            break;
        }
        // It was begun and never written, or nothing of it has reached the disk.
        fs::remove_file(path)?;
    }
    // Everything was told and removed, or lost.
    if let Some(told) = told.filter(|told| told.offset > end.offset) {
        end = told;
    }
    Ok((segments, end))
}

/// Removes what follows the last frame: whole frames among it would pass for later ones as soon as others end where they begin.
fn cut_off(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)
}

/// Removes what was told before the agent ended, or could not be removed when it was dropped. The last one is written on.
fn without_told(folder: &Path, mut segments: VecDeque<Segment>, confirmed: Mark) -> VecDeque<Segment> {
    let last = segments.pop_back();
    // One that cannot be removed now is not read, and is tried again the next time.
    segments.retain(|old| {
        old.end() > confirmed.offset || fs::remove_file(Segment::path(folder, old.start)).is_err()
    });
    segments.extend(last);
    segments
}

/// How many bytes of a segment are whole frames that follow each other, and the place behind the last of them. What a failed
/// attempt has left behind the last one is whole as well, but does not go on where that ends.
fn whole(bytes: &[u8], start: u64) -> (u64, Option<Mark>) {
    let mut at = 0;
    let mut last = None;
    let follows = |frame: &Frame<'_>, last: Option<Mark>| {
        let Some(last) = last else { return true };
        let Stamp { boot, seq } = frame.stamp;
        frame.before == last.total && (boot != last.boot || seq > last.seq)
    };
    while let Some(frame) = Frame::take(&bytes[at..]).filter(|frame| follows(frame, last)) {
        at += HEADER + frame.record.len();
        last = Some(Mark {
            offset: start + at as u64,
            total: frame.before + frame.count,
            boot: frame.stamp.boot,
            seq: frame.stamp.seq,
        });
    }
    (at as u64, last)
}

/// Packets accounted for before the oldest frame that is there.
fn first_of(folder: &Path, segments: &VecDeque<Segment>) -> Mark {
    let first = |segment: &Segment| {
        let mut bytes = Vec::new();
        let file = File::open(Segment::path(folder, segment.start)).ok()?;
        file.take((HEADER + MAX_RECORD) as u64).read_to_end(&mut bytes).ok()?;
        Frame::take(&bytes).map(|frame| frame.before)
    };
    Mark { total: segments.front().and_then(first).unwrap_or_default(), ..Mark::default() }
}
