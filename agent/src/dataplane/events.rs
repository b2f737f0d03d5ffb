//! Events and repeats on their way up.
#![allow(unsafe_code, reason = "an event is read from the bytes of the ring")]

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use aya::maps::{MapData, RingBuf};
use bulkhead_common::layout::{ABI, Event, Repeats, ViolationKey};
use tokio::io::unix::AsyncFd;

use super::{Dataplane, DataplaneError, kernel, read, write};

/// The reading end of the event ring. Readable (poll, epoll) when there is something in it.
pub struct EventReader {
    ring: RingBuf<MapData>,
    foreign: u64,
}

impl EventReader {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, foreign: 0 }
    }

    /// The oldest event, if there is one. Samples of another layout are dropped and counted.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            if item.len() == size_of::<Event>() {
                // SAFETY: the sample has exactly the size of an `Event`, which is plain old data.
                // JUSTIFICATION: the ring hands out bytes, and they need not be aligned.
                let event = unsafe { item.as_ptr().cast::<Event>().read_unaligned() };
                if event.abi == ABI {
                    return Some(event);
                }
            }
            self.foreign += 1;
        }
    }

    /// The reader as something an event loop can wait on. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel cannot watch one more descriptor.
    pub fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is the ring's, which `self` owns, never replaces and closes only on drop.
        // JUSTIFICATION: tokio has no safe way in for a descriptor it does not own itself.
        unsafe { AsyncFd::register(self) }.map_err(|refused| refused.into_parts().1)
    }

    /// Samples that were not understood.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }
}

impl AsRawFd for EventReader {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Dataplane {
    /// Takes everything out of the table of repeats that packets have been filling, into `drained`: they
    /// fill the other one from now on, and the packets that still saw this one have left. Nothing is
    /// counted twice or lost.
    ///
    /// # Errors
    /// When a map cannot be read or written. What was taken until then is in `drained`, and the rest stays
    /// for the next drain of the same table.
    pub fn drain_repeats(
        &mut self,
        drained: &mut Vec<(ViolationKey, Repeats)>,
    ) -> Result<(), DataplaneError> {
        let filled = self.epoch.get(&0, 0).map_err(read("EPOCH"))?;
        self.epoch.set(0, u32::from(filled == 0), 0).map_err(write("EPOCH"))?;
        kernel::rcu_grace()?;
        let table = &mut self.repeats[usize::from(filled != 0)];
        let keys: Vec<ViolationKey> = table.keys().collect::<Result<_, _>>().map_err(read("REPEATS"))?;
        drained.reserve(keys.len());
        for key in keys {
            let cpus = table.get(&key, 0).map_err(read("REPEATS"))?;
            let seen = || cpus.iter().filter(|r| r.packets > 0);
            let sum = Repeats {
                packets: cpus.iter().map(|r| r.packets).sum(),
                bytes: cpus.iter().map(|r| r.bytes).sum(),
                first: seen().map(|r| r.first).min().unwrap_or(0),
                last: seen().map(|r| r.last).max().unwrap_or(0),
            };
            table.remove(&key).map_err(write("REPEATS"))?;
            // Without a repeat the entry only marked that its event was sent.
            if sum.packets > 0 {
                drained.push((key, sum));
            }
        }
        Ok(())
    }
}
