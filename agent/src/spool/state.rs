//! What the two ends of a spool share: which segments there are, how far they are written, and how far they are told.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::Stamp;

/// A place in the stream of records of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes since the spool was made, those that were dropped included.
    pub offset: u64,
    /// Packets that the records before this place account for.
    pub total: u64,
    /// Agent run of the record before it; 0 when there is none.
    pub boot: u64,
    /// Its number.
    pub seq: u64,
}

impl Mark {
    /// The record before this place.
    pub fn stamp(&self) -> Option<Stamp> {
        (self.seq != 0).then_some(Stamp { boot: self.boot, seq: self.seq })
    }
}

/// A file of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Offset of its first byte.
    pub(super) start: u64,
    /// Bytes of whole frames.
    pub(super) len: u64,
}

impl Segment {
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    pub(super) fn path(folder: &Path, start: u64) -> PathBuf {
        folder.join(format!("{start:016x}.{SEGMENT}"))
    }
}

/// How the files of frames end.
pub(super) const SEGMENT: &str = "seg";

/// Counters of a spool.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Records taken since the agent began.
    pub taken: u64,
    /// Bytes that were dropped since then before they were surely read, because the spool was full.
    pub dropped_bytes: u64,
    /// Why records were refused last, even if others were taken since.
    pub last_error: Option<String>,
    /// Whether the last attempt failed.
    pub failing: bool,
}

#[derive(Default)]
pub(super) struct State {
    /// Oldest first; the last one is written.
    pub(super) segments: VecDeque<Segment>,
    pub(super) end: Mark,
    /// Surely told up to here.
    pub(super) confirmed: Mark,
    /// Read up to this offset, to be sent: what is behind it has never left since the last [`super::Reader::rewind`].
    pub(super) read: u64,
    pub(super) unsynced: Unsynced,
    /// On the disk up to here.
    pub(super) synced: Mark,
    /// Why that may not be true of what was added later.
    pub(super) doubt: Option<Doubt>,
    /// Segments that begin before this offset may have lost bytes, and must not hide others behind them.
    pub(super) apart: u64,
    pub(super) counts: Counts,
    /// Whether nothing will be added any more.
    pub(super) closed: bool,
}

/// What a power cut would take.
#[derive(Default)]
pub(super) struct Unsynced {
    /// Files with new bytes.
    pub(super) files: Vec<File>,
    /// Segments of an earlier agent: nobody knows what it had brought to the disk before it was killed.
    pub(super) inherited: Vec<u64>,
    /// Whether a file was made or removed.
    pub(super) folder: bool,
}

/// A sync has failed. The kernel says so once for each open file and may have let go of the bytes, so that a later success
/// says nothing of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// It is about everything before this offset that was not synced.
    pub(super) end: u64,
    pub(super) why: String,
}

impl State {
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Where what is still there and was not surely told begins.
    pub(super) fn oldest(&self) -> u64 {
        let kept = self.segments.front().map_or(self.end.offset, |oldest| oldest.start);
        kept.max(self.confirmed.offset)
    }

    /// What is to be synced, and the place that is reached with it: what is added meanwhile is not part of it.
    pub(super) fn begin_sync(&mut self) -> (Unsynced, Mark) {
        (std::mem::take(&mut self.unsynced), self.end)
    }

    /// Notes how that went. What is in doubt remains so until it was told, or dropped and owned up to.
    pub(super) fn end_sync(&mut self, reached: Mark, went: &io::Result<()>) {
        let needed = self.oldest();
        match went {
            Err(error) => {
                self.apart = reached.offset;
                self.doubt = Some(Doubt { end: reached.offset, why: error.to_string() });
            }
            Ok(()) if self.doubt.as_ref().is_none_or(|doubt| doubt.end <= needed) => {
                self.doubt = None;
                self.synced = reached;
            }
            Ok(()) => {}
        }
    }

    /// Whether a segment may be written on.
    pub(super) fn is_sound(&self, segment: &Segment) -> bool {
        self.apart <= segment.start
    }
}

/// The state between the end that writes and the end that reads.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<(Mutex<State>, Condvar)>);

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    /// Whoever panicked with it has left numbers that are right one by one.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self) {
        self.0.1.notify_all();
    }

    /// Waits until `ready`, or until the time is over.
    pub(super) fn wait(&self, most: std::time::Duration, ready: impl Fn(&State) -> bool) {
        let guard = self.lock();
        drop(
            self.0.1.wait_timeout_while(guard, most, |state| !ready(state)).map_err(PoisonError::into_inner),
        );
    }
}

/// Writes a small file so that it is the old or the new one after a power cut.
pub(super) fn replace(folder: &Path, name: &str, value: &impl Serialize, durable: bool) -> io::Result<()> {
    use std::io::Write as _;
    let path = folder.join(name);
    let new = folder.join(format!("{name}.new"));
    let mut file = private(true).truncate(true).open(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&new, &path)?;
    if durable { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// A small file that was written so; `None` when there is none, or when it is damaged.
pub(super) fn recall<T: for<'de> Deserialize<'de>>(folder: &Path, name: &str) -> Option<T> {
    serde_json::from_slice(&std::fs::read(folder.join(name)).ok()?).ok()
}

/// Files of a spool are nobody else's.
pub(super) fn private(create: bool) -> std::fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(create).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(offset: u64) -> Mark {
        Mark { offset, total: offset, boot: 7, seq: offset }
    }

    fn state(end: u64) -> State {
        let segments = [Segment { start: 0, len: end }].into();
        State { segments, end: mark(end), ..State::default() }
    }

    #[test]
    fn what_is_added_during_a_sync_is_not_claimed() {
        let mut state = state(10);
        let (_, reached) = state.begin_sync();
        state.end = mark(20);
        assert_eq!(state.synced.stamp(), None);
        state.end_sync(reached, &Ok(()));
        assert_eq!(state.synced, mark(10));
    }

    #[test]
    fn after_a_sync_that_failed_nothing_more_is_claimed_until_what_it_was_about_is_not_needed() {
        let mut state = state(10);
        state.end_sync(mark(5), &Ok(()));
        state.end_sync(mark(10), &Err(io::Error::from_raw_os_error(libc::EIO)));
        // The next one says nothing of the bytes that the kernel let go.
        state.end = mark(20);
        state.end_sync(mark(20), &Ok(()));
        assert_eq!((state.synced, state.doubt.is_some()), (mark(5), true));
        assert!(!state.is_sound(&state.segments[0]));
        assert!(state.is_sound(&Segment { start: 10, len: 0 }));
        state.confirmed = mark(10);
        state.end_sync(mark(20), &Ok(()));
        assert_eq!((state.synced, &state.doubt), (mark(20), &None));
        assert!(!state.is_sound(&state.segments[0]));
    }
}
