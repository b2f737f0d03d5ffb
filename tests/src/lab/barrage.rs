//! Forbidden frames without a pause, while something else is being tested.
//!
//! In: frames, each with the host that sends it. Out: how often all of them were sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};

use super::{topology::Host, wait::wait_for, wire::RawSender};

/// Sends its frames in turn from a thread of its own until it is stopped.
pub struct Barrage {
    shared: Arc<Shared>,
    frames: u64,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    rounds: AtomicU64,
}

impl Barrage {
    /// Starts to send all `frames` every `every`; the time between is for the machine's other work.
    pub fn start(frames: Vec<(&Host, Vec<u8>)>, every: Duration) -> Result<Self> {
        let count = u64::try_from(frames.len())?;
        let mut ready = Vec::with_capacity(frames.len());
        for (host, frame) in frames {
            ready.push((RawSender::new(&host.namespace, host.interface)?, frame));
        }
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("barrage".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    for (sender, frame) in &ready {
                        sender.send(frame)?;
                    }
                    shared.rounds.fetch_add(1, Ordering::Release);
                    thread::sleep(every);
                }
                Ok(())
            }
        })?;
        Ok(Self { shared, frames: count, thread: Some(thread) })
    }

    /// Frames that are certainly with the other end of their link by now.
    pub fn sent(&self) -> u64 {
        self.shared.rounds.load(Ordering::Acquire) * self.frames
    }

    /// Waits until every frame was sent `rounds` more times.
    pub fn wait_for_rounds(&self, rounds: u64, within: Duration) -> Result<()> {
        let goal = self.shared.rounds.load(Ordering::Acquire) + rounds;
        wait_for("the barrage to go on", within, || {
            Ok((self.shared.rounds.load(Ordering::Acquire) >= goal).then_some(()))
        })
    }

    /// Ends it; how many frames were sent.
    pub fn stop(mut self) -> Result<u64> {
        self.end()?;
        Ok(self.sent())
    }

    fn end(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the barrage panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Barrage {
    fn drop(&mut self) {
        // Whoever wants to know how it went calls `stop`.
        drop(self.end());
    }
}
