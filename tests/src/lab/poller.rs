//! The traffic that must not suffer: a client that polls over one session and admits every hiccup.
//!
//! In: a host and the PLC's address. Out: how many polls were answered, how many were not, and how often the session broke.

use std::{
    net::SocketAddrV4,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_modbus::client::{Context, Reader};

use super::{
    modbus::{connect, lock},
    topology::Host,
    wait::check_interrupt,
};

/// What one poll reads: the first ten, as a display would.
const POLLED: u16 = 10;
/// An answer later than this is a failed poll.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What a poller has been through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polls {
    /// Polls with a right answer in time.
    pub ok: u64,
    /// Polls without one, connection attempts included.
    pub failed: u64,
    /// Times the TCP session had to be made anew. Never silent: a plant's operator sees each.
    pub reconnects: u64,
    /// The longest time between two good answers.
    pub longest_gap: Duration,
    /// Why the last failed poll failed.
    pub last_error: Option<String>,
}

/// A client that polls over one long-lived session.
pub struct Poller {
    shared: Arc<PollerShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct PollerShared {
    stop: AtomicBool,
    polls: Mutex<Polls>,
    changed: Condvar,
}

impl Poller {
    /// Polls `plc` from `host` every `every`, until dropped. Returns after the first good answer.
    pub fn start(host: &Host, plc: SocketAddrV4, every: Duration) -> Result<Self> {
        let shared = Arc::new(PollerShared::default());
        let thread = host.namespace.spawn(&format!("poll-{}", host.name), {
            let shared = Arc::clone(&shared);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime needs only descriptors").block_on(shared.poll(plc, every));
            }
        })?;
        let poller = Self { shared, thread: Some(thread) };
        poller.wait_for_more(1, Duration::from_secs(5))?;
        Ok(poller)
    }

    /// The story so far.
    pub fn polls(&self) -> Polls {
        lock(&self.shared.polls).clone()
    }

    /// Waits for `more` further good answers: what happened before is then behind them.
    pub fn wait_for_more(&self, more: u64, within: Duration) -> Result<Polls> {
        let deadline = Instant::now() + within;
        let mut polls = lock(&self.shared.polls);
        let goal = polls.ok + more;
        while polls.ok < goal {
            check_interrupt()?;
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                bail!("waited {} ms in vain for {more} more polls: {:?}", within.as_millis(), *polls);
            };
            // At most 50 ms, so that ctrl-c is noticed while no answer comes.
            let slice = left.min(Duration::from_millis(50));
            polls = self.shared.changed.wait_timeout(polls, slice).expect("a poller does not panic").0;
        }
        Ok(polls.clone())
    }

    /// Ends polling and tells the whole story.
    pub fn stop(mut self) -> Polls {
        self.end();
        self.polls()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.end();
    }
}

impl PollerShared {
    async fn poll(&self, plc: SocketAddrV4, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut session = None;
        let mut connected_before = false;
        let mut last_ok: Option<Instant> = None;
        while !self.stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let result = poll_once(&mut session, plc, &mut || {
                if connected_before {
                    lock(&self.polls).reconnects += 1;
                }
                connected_before = true;
            })
            .await;
            let mut polls = lock(&self.polls);
            match result {
                Ok(()) => {
                    let now = Instant::now();
                    if let Some(before) = last_ok.replace(now) {
                        polls.longest_gap = polls.longest_gap.max(now - before);
                    }
                    polls.ok += 1;
                }
                Err(error) => {
                    polls.failed += 1;
                    polls.last_error = Some(format!("{error:#}"));
                    // A late answer would be taken for the next one: the session is spoilt.
                    session = None;
                }
            }
            self.changed.notify_all();
        }
    }
}

async fn poll_once(
    session: &mut Option<Context>,
    plc: SocketAddrV4,
    on_connect: &mut (dyn FnMut() + Send),
) -> Result<()> {
    if session.is_none() {
        on_connect();
        *session = Some(connect(plc.into(), ANSWER_WITHIN).await?);
    }
    let client = session.as_mut().context("just connected")?;
    let words =
        timeout(ANSWER_WITHIN, client.read_holding_registers(0, POLLED)).await.context("no answer")???;
    if words.len() != usize::from(POLLED) {
        bail!("asked for {POLLED} registers and got {}", words.len());
    }
    Ok(())
}
