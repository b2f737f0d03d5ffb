//! Events, samples and repeats on their way up.
#![allow(unsafe_code, reason = "an event is read from the bytes of the ring")]

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd, RawFd},
};

use aya::maps::{MapData, PerCpuHashMap, RingBuf};
use bulkhead_common::layout::{ABI, Event, Repeats, Sample, ViolationKey};
use tokio::io::unix::AsyncFd;

use super::{Dataplane, DataplaneError, kernel, read, write};

/// A record of a ring: plain old data that begins with the version of its layout.
pub trait Record: Copy {
    /// [`ABI`] of whoever wrote it.
    fn abi(&self) -> u32;
}

impl Record for Event {
    fn abi(&self) -> u32 {
        self.abi
    }
}

impl Record for Sample {
    fn abi(&self) -> u32 {
        self.abi
    }
}

/// The reading end of a ring. Readable (poll, epoll) when there is something in it.
pub struct Reader<T> {
    ring: RingBuf<MapData>,
    foreign: u64,
    record: PhantomData<T>,
}

/// The reading end of the event ring.
pub type EventReader = Reader<Event>;
/// The reading end of the ring of samples.
pub type SampleReader = Reader<Sample>;

impl<T: Record + aya::Pod> Reader<T> {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, foreign: 0, record: PhantomData }
    }

    /// The oldest record, if there is one. Records of another layout are dropped and counted.
    pub fn next_record(&mut self) -> Option<T> {
        loop {
            let item = self.ring.next()?;
            if item.len() == size_of::<T>() {
                // SAFETY: the record has exactly the size of a `T`, which is plain old data.
                // JUSTIFICATION: the ring hands out bytes, and they need not be aligned.
                let record = unsafe { item.as_ptr().cast::<T>().read_unaligned() };
                if record.abi() == ABI {
                    return Some(record);
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

    /// Records that were not understood.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }
}

impl<T> AsRawFd for Reader<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Dataplane {
    /// Takes everything out of the tables of repeats and of others that packets have been filling, into `drained`: they
    /// fill the other two from now on, and the packets that still saw these have left. Nothing is
    /// counted twice or lost.
    ///
    /// # Errors
    /// When a map cannot be read or written. What was taken until then is in `drained`, and the rest stays
    /// for the next drain of the same tables.
    pub fn drain_repeats(
        &mut self,
        drained: &mut Vec<(ViolationKey, Repeats)>,
    ) -> Result<(), DataplaneError> {
        let filled = self.epoch.get(&0, 0).map_err(read("EPOCH"))?;
        self.epoch.set(0, filled.wrapping_add(1), 0).map_err(write("EPOCH"))?;
        kernel::rcu_grace()?;
        let filled = usize::from(filled & 1 != 0);
        drain(&mut self.others[filled], "OTHERS", drained)?;
        drain(&mut self.repeats[filled], "REPEATS", drained)
    }
}

fn drain(
    table: &mut PerCpuHashMap<MapData, ViolationKey, Repeats>,
    name: &'static str,
    drained: &mut Vec<(ViolationKey, Repeats)>,
) -> Result<(), DataplaneError> {
    let keys: Vec<ViolationKey> = table.keys().collect::<Result<_, _>>().map_err(read(name))?;
    drained.reserve(keys.len());
    for key in keys {
        let cpus = table.get(&key, 0).map_err(read(name))?;
        let seen = || cpus.iter().filter(|r| r.packets > 0);
        let sum = Repeats {
            packets: cpus.iter().map(|r| r.packets).sum(),
            bytes: cpus.iter().map(|r| r.bytes).sum(),
            first: seen().map(|r| r.first).min().unwrap_or(0),
            last: seen().map(|r| r.last).max().unwrap_or(0),
        };
        table.remove(&key).map_err(write(name))?;
        // Without a repeat the entry only marked that its event was sent.
        if sum.packets > 0 {
            drained.push((key, sum));
        }
    }
    Ok(())
}
