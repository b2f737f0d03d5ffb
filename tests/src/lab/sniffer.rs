//! Counts what arrives at an interface, and admits when a frame was missed.
//!
//! In: an interface and a function that names a frame's class. Out: counts by class, or an error instead of counts that
//! may be too low.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    link,
    namespace::Namespace,
    sys::{self, Receive},
    wait::check_interrupt,
    wire::Seen,
};

/// The longest frame a sniffer keeps whole; jumbo frames are 9018 bytes.
const LONGEST: usize = 16_384;

/// Frames seen, by class.
pub type Counts<K> = BTreeMap<K, u64>;

/// Counts every frame at an interface, on a thread of its own.
pub struct Sniffer<K> {
    shared: Arc<Shared<K>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<K> {
    stop: AtomicBool,
    tally: Mutex<Tally<K>>,
    changed: Condvar,
}

struct Tally<K> {
    counts: Counts<K>,
    /// Frames the kernel could not queue for this sniffer: counts are then too low.
    lost: u64,
    failed: Option<io::Error>,
}

impl<K: Ord + Clone + Send + 'static> Sniffer<K> {
    /// Starts to listen; frames sent after the return are seen. `classify` names a frame's class, or `None` to ignore it.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        mut classify: impl FnMut(&Seen) -> Option<K> + Send + 'static,
    ) -> Result<Self> {
        let index = link::index(namespace, interface)?;
        let socket = namespace
            .run(|| sys::packet_socket(index, Receive::All))
            .with_context(|| format!("failed to listen at `{interface}`"))?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            tally: Mutex::new(Tally { counts: BTreeMap::new(), lost: 0, failed: None }),
            changed: Condvar::new(),
        });
        let thread = namespace.spawn(&format!("sniff-{interface}"), {
            let shared = Arc::clone(&shared);
            move || shared.listen(&socket, &mut classify)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Frames of that class so far.
    pub fn count(&self, class: &K) -> u64 {
        self.shared.tally().counts.get(class).copied().unwrap_or(0)
    }

    /// All counts so far. Fails when a frame was lost: a count that may be wrong is no evidence.
    pub fn counts(&self) -> Result<Counts<K>> {
        self.shared.tally().complete()
    }

    /// Waits until the counts satisfy `enough`, or fails after `within` with what `what` says.
    pub fn wait_until(
        &self,
        what: &str,
        within: Duration,
        mut enough: impl FnMut(&Counts<K>) -> bool,
    ) -> Result<Counts<K>> {
        let deadline = Instant::now() + within;
        let mut tally = self.shared.tally();
        loop {
            check_interrupt()?;
            if enough(&tally.counts) {
                return tally.complete();
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                tally.complete()?;
                bail!("waited {} ms in vain for {what}", within.as_millis());
            };
            // At most 50 ms, so that ctrl-c is noticed while nothing arrives.
            let slice = left.min(Duration::from_millis(50));
            tally = self.shared.changed.wait_timeout(tally, slice).expect("the classifier does not panic").0;
        }
    }

    /// Waits for `more` further frames of a class: everything sent earlier on the same path has then arrived.
    pub fn wait_for_more(&self, class: &K, more: u64, within: Duration) -> Result<Counts<K>> {
        let goal = self.count(class) + more;
        self.wait_until(&format!("{more} more frames"), within, |counts| {
            counts.get(class).is_some_and(|count| *count >= goal)
        })
    }

    /// Ends listening; frames already queued are still counted.
    pub fn stop(mut self) -> Result<Counts<K>> {
        self.end();
        self.counts()
    }
}

impl<K> Sniffer<K> {
    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the classifier poisons the tally, which the next reader reports.
            drop(thread.join());
        }
    }
}

impl<K> Drop for Sniffer<K> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<K: Ord + Clone> Shared<K> {
    fn tally(&self) -> MutexGuard<'_, Tally<K>> {
        self.tally.lock().expect("the classifier does not panic")
    }

    fn listen(&self, socket: &OwnedFd, classify: &mut impl FnMut(&Seen) -> Option<K>) {
        let mut buffer = vec![0; LONGEST];
        let mut closed = false;
        loop {
            if !closed && self.stop.load(Ordering::Relaxed) {
                // Where traffic never pauses the queue would never be empty.
                if let Err(error) = sys::refuse_more(socket.as_fd()) {
                    self.tally().failed = Some(error);
                    break;
                }
                closed = true;
            }
            match sys::receive(socket.as_fd(), &mut buffer) {
                Ok(Some(received)) => {
                    let mut bytes = buffer.get(..received.len).unwrap_or_default().to_vec();
                    if let (Some(tag), 12..) = (received.vlan, bytes.len()) {
                        bytes.splice(12..12, tag);
                    }
                    if let Some(class) =
                        classify(&Seen { bytes, outgoing: received.outgoing, time: received.time })
                    {
                        *self.tally().counts.entry(class).or_insert(0) += 1;
                        self.changed.notify_all();
                    }
                }
                // Only when nothing is queued any more does the stop flag count.
                Ok(None) if closed => break,
                Ok(None) => {}
                Err(error) => {
                    self.tally().failed = Some(error);
                    break;
                }
            }
            if let Ok(lost @ 1..) = sys::packet_drops(socket.as_fd()) {
                self.tally().lost += lost;
            }
        }
    }
}

impl<K: Ord + Clone> Tally<K> {
    fn complete(&self) -> Result<Counts<K>> {
        if let Some(error) = &self.failed {
            bail!("the sniffer stopped: {error}");
        }
        if self.lost > 0 {
            bail!("the sniffer lost {} frames: its counts are too low", self.lost);
        }
        Ok(self.counts.clone())
    }
}
