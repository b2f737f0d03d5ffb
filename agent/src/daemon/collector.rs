//! The collector: what routers and switches tell of flows elsewhere, beside the agent's loop. A thread of its own reads a socket, and hands rows
//! to the history. Nothing waits for it; what it cannot take is counted.

use std::{
    io::IoSliceMut,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{RcvBuf, RcvBufForce, ReceiveTimeout, RxqOvfl},
    },
    time::TimeVal,
};

use crate::{
    config::FlowCollector,
    control::CollectorStatus,
    flowlog::{
        Flow,
        export::{Exports, Heard},
    },
    traffic::{Row, Sum},
};

/// The longest datagram.
const MOST_BYTES: usize = 1 << 16;
/// Bytes of datagrams that may wait in the kernel; a burst of exporters is some hundred datagrams.
const WAITING: usize = 4 << 20;
/// So long a datagram is waited for, before the clock is looked at.
const PATIENCE: TimeVal = TimeVal::new(0, 250_000);
/// How it goes is said so often.
const TELL: Duration = Duration::from_millis(200);
/// Rows are handed over so often, those that came since the last time one turn later.
const HAND_OVER: Duration = Duration::from_secs(10);
/// Rows that wait, of some 200 bytes, twice.
const MOST_ROWS: usize = 1 << 14;
/// What cannot be listened on is tried again so often.
const AGAIN: Duration = Duration::from_secs(5);
/// At the end it is waited so long for what is left.
const LAST: Duration = Duration::from_secs(2);
/// While the queue is full at the end, rows are handed over again so often.
const RETRY: Duration = Duration::from_millis(10);

mod elsewhere;

pub(super) use elsewhere::Elsewhere;
use elsewhere::Told;

/// Takes rows, or gives them back when whoever writes them is behind.
pub(super) type Hand = Box<dyn FnMut(Vec<Row>) -> Result<(), Vec<Row>> + Send>;

/// What the thread tells, and that it did.
struct Shared {
    status: Mutex<CollectorStatus>,
    changed: Condvar,
}

/// The loop's end of it.
pub(super) struct Collector {
    status: Arc<Shared>,
    /// Counted by the history.
    told: Arc<Told>,
    stop: Arc<AtomicBool>,
    done: Receiver<()>,
    thread: thread::JoinHandle<()>,
}

impl Collector {
    /// Begins to listen.
    pub(super) fn begin(config: &FlowCollector, hand: Hand) -> Self {
        let listen = config.listen.to_string();
        let exporters = config.from.iter().map(|address| (address.to_string(), 0)).collect();
        let status = CollectorStatus { listen, exporters, ..CollectorStatus::default() };
        let status = Arc::new(Shared { status: Mutex::new(status), changed: Condvar::new() });
        let stop = Arc::new(AtomicBool::new(false));
        let listening = Listening {
            config: config.clone(),
            status: Arc::clone(&status),
            stop: Arc::clone(&stop),
            exports: Exports::of(config.from.len()),
            fresh: Sum::new(MOST_ROWS),
            ripe: Sum::new(MOST_ROWS),
            dropped: 0,
            hand,
        };
        let (finished, done) = sync_channel(1);
        let thread = thread::spawn(move || {
            listening.run();
            let _ = finished.send(());
        });
        Self { status, told: Arc::default(), stop, done, thread }
    }

    /// What the history asks of a row.
    /// `most` rows are kept of a day.
    pub(super) fn elsewhere(&self, most: u64) -> Elsewhere {
        Elsewhere::new(most, Arc::clone(&self.told))
    }

    pub(super) fn status(&self) -> CollectorStatus {
        let mut status = self.status.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.seen_here = self.told.seen_here.load(Ordering::Relaxed);
        status.full += self.told.full.load(Ordering::Relaxed);
        if self.thread.is_finished() && !self.stop.load(Ordering::Relaxed) {
            status.problem =
                Some("the collector has ended, and is not begun again before the agent is".to_owned());
        }
        status
    }

    /// Hands over what is left.
    pub(super) fn finish(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // Without an answer it is late, or has failed before: the agent ends all the same.
        let _ = self.done.recv_timeout(LAST);
    }
}

/// The thread.
struct Listening {
    config: FlowCollector,
    status: Arc<Shared>,
    stop: Arc<AtomicBool>,
    exports: Exports,
    /// What was told since rows were last handed over.
    fresh: Sum,
    /// What is handed over next.
    ripe: Sum,
    /// What the kernel had dropped of this socket, of which it counts 32 bits.
    dropped: u32,
    hand: Hand,
}

/// A datagram.
struct Received {
    from: SocketAddr,
    length: usize,
    /// What the kernel dropped before it.
    dropped: Option<u32>,
}

impl Listening {
    fn run(mut self) {
        let mut buffer = vec![0; MOST_BYTES];
        let (mut handed, mut told) = (Instant::now(), Instant::now());
        while let Some(socket) = self.listener() {
            tracing::info!(listen = %self.config.listen, "exporters of flows are heard");
            loop {
                match receive(&socket, &mut buffer) {
                    Ok(Some(received)) => self.take(&received, &buffer),
                    Ok(None) => {}
                    Err(error) => {
                        self.change(|status| status.problem = Some(format!("failed to receive: {error}")));
                        self.pause();
                        break;
                    }
                }
                if told.elapsed() >= TELL {
                    told = Instant::now();
                    self.tell();
                }
                if handed.elapsed() >= HAND_OVER {
                    handed = Instant::now();
                    self.hand_over();
                }
                if self.stop.load(Ordering::Relaxed) {
                    self.end();
                    return;
                }
            }
        }
        self.end();
    }

    /// The socket; the address may be missing for now, or somebody else's. None at the end.
    fn listener(&mut self) -> Option<UdpSocket> {
        while !self.stop.load(Ordering::Relaxed) {
            let why = match self.open() {
                Ok(socket) => {
                    self.change(|status| status.problem = None);
                    return Some(socket);
                }
                Err(error) => format!("failed to listen on `{}`: {error}", self.config.listen),
            };
            let known = self.change(|status| status.problem.replace(why.clone()));
            if known.as_ref() != Some(&why) {
                tracing::error!("{why}; it is tried again every {} s", AGAIN.as_secs());
            }
            self.pause();
        }
        None
    }

    fn open(&mut self) -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind(self.config.listen)?;
        // Beyond the limit of the system, where that is allowed.
        setsockopt(&socket, RcvBufForce, &WAITING).or_else(|_| setsockopt(&socket, RcvBuf, &WAITING))?;
        setsockopt(&socket, RxqOvfl, &1)?;
        setsockopt(&socket, ReceiveTimeout, &PATIENCE)?;
        self.dropped = 0;
        Ok(socket)
    }

    /// Waits before something is tried again, or until the end.
    fn pause(&self) {
        let deadline = Instant::now() + AGAIN;
        while !self.stop.load(Ordering::Relaxed)
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            thread::park_timeout(left);
        }
    }

    fn take(&mut self, received: &Received, buffer: &[u8]) {
        let Received { from, length, dropped } = *received;
        let more = dropped.map_or(0, |dropped| dropped.wrapping_sub(self.dropped));
        self.dropped = dropped.unwrap_or(self.dropped);
        let address = from.ip().to_canonical();
        let is_known = self.config.from.binary_search(&address).is_ok();
        if !is_known {
            return self.change(|status| {
                status.dropped += u64::from(more);
                status.refused += 1;
                status.refused_last = Some(address.to_string());
            });
        }
        let Self { exports, fresh, .. } = self;
        let mut flows = 0;
        let now = jiff::Timestamp::now().as_millisecond();
        let from = SocketAddr::new(address, from.port());
        exports.take(&buffer[..length], from, Some(now), &mut |Flow { kind, seen }| {
            flows += seen.flows;
            fresh.add(kind, &seen);
        });
        self.change(|status| {
            status.dropped += u64::from(more);
            status.flows += flows;
            *status.exporters.entry(address.to_string()).or_default() += 1;
        });
    }

    /// Hands over what has waited, and lets what is new wait.
    fn hand_over(&mut self) {
        let now = jiff::Timestamp::now().as_millisecond();
        let Self { exports, fresh, ripe, hand, .. } = self;
        let mut flows = 0;
        exports.settle(now, &mut |Flow { kind, seen }| {
            flows += seen.flows;
            fresh.add(kind, &seen);
        });
        let (rows, mut full) = ripe.take();
        let back = if rows.is_empty() { Ok(()) } else { hand(rows) };
        // Who writes them is behind: they wait on, and what is new with them.
        for Row { kind, seen, .. } in back.err().into_iter().flatten() {
            ripe.add(kind, &seen);
        }
        let (new, refused) = fresh.take();
        full += refused;
        new.into_iter().for_each(|Row { kind, seen, .. }| ripe.add(kind, &seen));
        self.change(|status| {
            status.flows += flows;
            status.full += full;
        });
    }

    /// Hands over everything.
    fn end(&mut self) {
        let Self { exports, fresh, .. } = self;
        exports.end(&mut |Flow { kind, seen }| fresh.add(kind, &seen));
        // What is ripe, and then what was fresh.
        self.hand_over();
        let deadline = Instant::now() + LAST / 2;
        while !self.ripe.is_empty() && Instant::now() < deadline {
            self.hand_over();
            // Whoever writes them is behind.
            thread::park_timeout(RETRY);
        }
        self.tell();
    }

    fn tell(&self) {
        let heard = self.exports.heard();
        self.change(|status| tell(status, &heard));
    }

    fn change<T>(&self, change: impl FnOnce(&mut CollectorStatus) -> T) -> T {
        let changed = change(&mut self.status.status.lock().unwrap_or_else(PoisonError::into_inner));
        self.status.changed.notify_all();
        changed
    }
}

fn tell(status: &mut CollectorStatus, heard: &Heard) {
    status.damaged = heard.damaged;
    status.damaged_sets = heard.damaged_sets;
    status.records = heard.records;
    status.left_out = heard.left_out.values().sum();
    status.without_template = heard.without_template;
    status.missing = heard.missing;
    status.repeated = heard.repeated;
    status.forgotten = heard.forgotten;
    status.sampled = heard.sampled.iter().map(|(address, every)| (address.to_string(), *every)).collect();
}

/// The next datagram; none for now.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> nix::Result<Option<Received>> {
    let mut told = nix::cmsg_space!(u32);
    let mut slices = [IoSliceMut::new(buffer)];
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut told), MsgFlags::empty());
    let received = match received {
        Ok(received) => received,
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
        Err(error) => return Err(error),
    };
    let from = received.address.and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
    });
    let dropped = received.cmsgs()?.find_map(|message| {
        if let ControlMessageOwned::RxqOvfl(dropped) = message { Some(dropped) } else { None }
    });
    let length = received.bytes;
    Ok(from.map(|from| Received { from, length, dropped }))
}

#[cfg(test)]
mod tests;
