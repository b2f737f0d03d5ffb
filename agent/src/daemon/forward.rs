//! A thread for each receiver that is somewhere else: it empties a spool over a connection, as often as it takes.
//!
//! In: a spool's reading end, and where it goes. Out: messages, each at least once and in order. A record is told when its
//! receiver has surely read it; until then it is sent again over each new connection. Nothing here holds up the agent.

use std::{
    collections::VecDeque,
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    dataplane::{TcpPeer, tcp_peer},
    record::{Cause, Gap, Record, VERSION},
    sink::syslog::{BackOff, Connection, Encoder, Patience, Peer, Receiver, SendError},
    spool::{Hole, Item, Mark, Reader, Stamp},
};

/// How often the disk is asked to keep what was added, and the receiver what it has read.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of records that are sent at once.
const BATCH: usize = 64 << 10;

/// Where records go, and in which words.
pub(super) struct Route {
    pub(super) name: String,
    /// The gateway's name.
    pub(super) gateway: String,
    pub(super) receiver: Receiver,
    pub(super) encoder: Encoder,
}

/// How a receiver is reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Fare {
    pub(super) connected: bool,
    /// Messages sent since the agent began, those that were sent again included.
    pub(super) sent: u64,
    /// Records that no message could be made of: a gap stands for each.
    pub(super) unsendable: u64,
    /// Connections that could not be made, or broke.
    pub(super) failures: u64,
    /// Why the last one did.
    pub(super) last_error: Option<String>,
}

/// The agent's end of the thread.
pub(super) struct Forwarder {
    fare: Arc<Mutex<Fare>>,
    ended: mpsc::Receiver<()>,
}

impl Forwarder {
    /// Begins to empty a spool. It ends when the spool's writing end is dropped and all was sent, or cannot be.
    pub(super) fn begin(reader: Reader, route: Route) -> io::Result<Self> {
        let fare = Arc::new(Mutex::new(Fare::default()));
        let (end, ended) = mpsc::channel();
        let shared = Arc::clone(&fare);
        thread::Builder::new().name(format!("sink {}", route.name)).spawn(move || {
            let mut line = Line {
                reader,
                route,
                fare: shared,
                connection: None,
                messages: 0,
                sent: VecDeque::new(),
                on_disk: Instant::now(),
            };
            line.run();
            // The agent may have left.
            let _ = end.send(());
        })?;
        Ok(Self { fare, ended })
    }

    /// How it fares.
    pub(super) fn fare(&self) -> Fare {
        lock(&self.fare).clone()
    }

    /// Waits until it has ended, at most for a time. What is not sent by then is in the spool.
    pub(super) fn wait(&self, most: Duration) {
        // Ended or not, the agent goes.
        let _ = self.ended.recv_timeout(most);
    }
}

/// Whoever panicked with it has left numbers that are right one by one.
fn lock(fare: &Mutex<Fare>) -> MutexGuard<'_, Fare> {
    fare.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Line {
    reader: Reader,
    route: Route,
    fare: Arc<Mutex<Fare>>,
    connection: Option<Connection>,
    /// Messages sent over the connection.
    messages: u64,
    /// The place behind each message of the connection that is not confirmed, oldest first, with the messages up to it.
    sent: VecDeque<(u64, Mark)>,
    /// When the disk was last asked.
    on_disk: Instant,
}

impl Line {
    fn run(&mut self) {
        let mut back_off = BackOff::default();
        loop {
            let more = self.reader.wait(PAUSE);
            self.keep();
            if !more && self.reader.is_closed() {
                return self.end();
            }
            let sent = self.settle().and_then(|()| if more { self.send() } else { Ok(()) });
            match sent {
                Ok(()) => back_off.succeeded(),
                Err(error) => {
                    self.fail(&error);
                    if self.reader.is_closed() {
                        return;
                    }
                    let until = Instant::now() + back_off.failed();
                    while Instant::now() < until && !self.reader.is_closed() {
                        self.reader.pause(PAUSE.min(until.saturating_duration_since(Instant::now())));
                        self.keep();
                    }
                }
            }
        }
    }

    /// Ends the connection in order: a receiver that ends it too has read everything.
    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.confirm(connection.finish(PAUSE));
        }
    }

    /// Brings to the disk what was added.
    fn keep(&mut self) {
        if self.on_disk.elapsed() < PAUSE {
            return;
        }
        self.on_disk = Instant::now();
        if let Err(error) = self.reader.sync() {
            self.note(&format!("failed to keep records on the disk: {error}"));
        }
    }

    fn send(&mut self) -> Result<(), SendError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let meter = |socket: BorrowedFd<'_>| {
                    let TcpPeer { acknowledged, window, scale } = tcp_peer(socket)?;
                    Some(Peer { acknowledged, window, scale })
                };
                let connection = Connection::open(&self.route.receiver, Patience::default(), meter)?;
                // What the last one did not confirm is sent again.
                self.reader.rewind();
                self.sent.clear();
                self.messages = 0;
                lock(&self.fare).connected = true;
                tracing::info!(sink = self.route.name, "connected");
                connection
            }
        };
        let connection = self.connection.insert(connection);
        let items = match self.reader.read(BATCH) {
            Ok(items) => items,
            Err(error) => {
                let note = format!("failed to read the spool: {error}");
                self.note(&note);
                self.reader.pause(PAUSE);
                return Ok(());
            }
        };
        let mut messages = Vec::new();
        let mut marks = Vec::new();
        let mut unsendable = 0;
        for (item, mark) in items {
            let (message, whole) = self.route.message(item);
            unsendable += u64::from(!whole);
            messages.extend(message);
            marks.push((messages.len() as u64, mark));
        }
        let before = self.messages;
        self.sent.extend(marks.into_iter().map(|(messages, mark)| (before + messages, mark)));
        connection.send(&messages)?;
        self.messages += messages.len() as u64;
        let mut fare = lock(&self.fare);
        fare.sent += messages.len() as u64;
        fare.unsendable += unsendable;
        Ok(())
    }

    /// Notes what the receiver has surely read.
    fn settle(&mut self) -> Result<(), SendError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let read = connection.confirmed()?;
        self.confirm(read);
        Ok(())
    }

    fn confirm(&mut self, read: u64) {
        let mut last = None;
        while let Some((_, mark)) = self.sent.pop_front_if(|(messages, _)| *messages <= read) {
            last = Some(mark);
        }
        if let Some(mark) = last
            && let Err(error) = self.reader.confirm(mark)
        {
            self.note(&format!("how far records were told could not be written down: {error}"));
        }
    }

    /// Ends the connection.
    fn fail(&mut self, error: &SendError) {
        if let Some(connection) = self.connection.take() {
            self.confirm(connection.known_confirmed());
        }
        self.reader.rewind();
        let mut fare = lock(&self.fare);
        if fare.connected || fare.failures == 0 {
            tracing::warn!("sink `{}` cannot reach its receiver, and records wait: {error}", self.route.name);
        }
        fare.connected = false;
        fare.failures += 1;
        fare.last_error = Some(error.to_string());
    }

    fn note(&self, what: &str) {
        let mut fare = lock(&self.fare);
        if fare.last_error.as_deref() != Some(what) {
            tracing::error!(sink = self.route.name, "{what}");
        }
        fare.last_error = Some(what.to_owned());
    }
}

impl Route {
    /// The message for what was read, and whether it is the record itself. `None` when nothing fits.
    fn message(&self, item: Item) -> (Option<String>, bool) {
        match item {
            Item::Record { stamp, count, text } => {
                let record = serde_json::from_str(&text).ok();
                match record.and_then(|record: Record| self.encoder.message(&record)) {
                    Some(message) => (Some(message), true),
                    None => {
                        let id = Some(id(stamp));
                        (self.encoder.message(&self.gap(stamp, count, id.clone(), id)), false)
                    }
                }
            }
            Item::Hole(Hole { after, before, count }) => {
                let next = |stamp: Stamp| Stamp { seq: stamp.seq + 1, ..stamp };
                let last = (before.seq > 1).then(|| Stamp { seq: before.seq - 1, ..before });
                let stands_for = last.or(after.map(next)).unwrap_or(before);
                let gap = self.gap(stands_for, count, after.map(next).map(id), last.map(id));
                (self.encoder.message(&gap), true)
            }
        }
    }

    fn gap(
        &self,
        Stamp { boot, seq }: Stamp,
        count: u64,
        first: Option<String>,
        last: Option<String>,
    ) -> Record {
        let cause = Cause::Spool;
        Record::Gap(Gap {
            v: VERSION,
            time: format!("{:.6}", jiff::Timestamp::now()),
            gateway: self.gateway.clone(),
            boot: format!("{boot:016x}"),
            seq,
            cause,
            explanation: cause.text().to_owned(),
            first,
            last,
            count,
        })
    }
}

fn id(Stamp { boot, seq }: Stamp) -> String {
    format!("{boot:016x}-{seq}")
}
