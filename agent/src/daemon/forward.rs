//! A thread for each receiver that is somewhere else: it empties a spool over a connection, as often as it takes.
//!
//! In: a spool's reading end, and where it goes. Out: messages, each at least once and in order. A record is told when its
//! receiver has surely read it; until then it is sent again over each new connection. Nothing here holds up the agent. A second
//! thread brings the spool to the disk meanwhile: a receiver may take its time over a connection or a message.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{
    standing::Standing,
    wording::{Told, Wording},
};
use crate::{
    dataplane::{TcpPeer, tcp_peer},
    sink::{
        self,
        syslog::{Connection, Encoder, Patience, Peer, Receiver, SendError, Transport},
    },
    spool::{Item, Keeper, Mark, Reader},
};

/// How often the disk is asked to keep what was added, and the receiver what it has read.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of records that are sent at once.
const BATCH: usize = 64 << 10;
/// How long nothing is sent before the receiver is asked for the end of the connection: what it has read only that shows. Sooner
/// than receivers and what is in between give up a connection over which nothing comes.
const QUIET: Duration = Duration::from_secs(15);

/// What is done with a spool, and may fail.
const READ: &str = "failed to read the spool";
const CONFIRM: &str = "how far records were told could not be written down";

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
    standing: Standing,
    /// Where the receiver was found last.
    pub(super) addresses: Vec<SocketAddr>,
    /// Messages sent since the agent began, those that were sent again included.
    pub(super) sent: u64,
    /// Records that no message could be made of: a gap stands for each.
    pub(super) unsendable: u64,
    /// Connections that could not be made, or broke.
    pub(super) failures: u64,
    /// Why the last one did.
    pub(super) last_error: Option<String>,
    /// What cannot be done with the spool, and why.
    faults: BTreeMap<&'static str, String>,
}

impl Fare {
    pub(super) fn is_connected(&self) -> bool {
        self.standing.is_connected()
    }

    /// Why the spool cannot be used.
    pub(super) fn fault(&self) -> Option<String> {
        self.faults.iter().next().map(|(what, why)| format!("{what}: {why}"))
    }

    /// Whether records do not get through, as far as is known.
    pub(super) fn is_failing(&self, now: Instant) -> bool {
        !self.faults.is_empty() || self.standing.is_failing(now)
    }
}

/// The agent's end of the thread.
pub(super) struct Forwarder {
    fare: Arc<Mutex<Fare>>,
    /// Nothing comes: it is closed once both threads have ended.
    ended: mpsc::Receiver<()>,
}

impl Forwarder {
    /// Begins to empty a spool. It ends when the spool's writing end is dropped and all was sent, or cannot be.
    pub(super) fn begin(reader: Reader, route: Route) -> io::Result<Self> {
        Self::begin_with(reader, route, QUIET)
    }

    fn begin_with(reader: Reader, route: Route, quiet: Duration) -> io::Result<Self> {
        let fare = Arc::new(Mutex::new(Fare::default()));
        let (end, ended) = mpsc::channel();
        let shared = Arc::clone(&fare);
        let (keeper, name, kept) = (reader.keeper(), route.name.clone(), end.clone());
        thread::Builder::new().name(format!("disk {name}")).spawn(move || {
            keep(&keeper, &name);
            drop(kept);
        })?;
        thread::Builder::new().name(format!("sink {}", route.name)).spawn(move || {
            let Route { name, gateway, receiver, encoder } = route;
            let mut line = Line {
                reader,
                name,
                receiver,
                wording: Wording { gateway, encoder },
                fare: shared,
                connection: None,
                messages: 0,
                sent: VecDeque::new(),
                quiet: Some(quiet),
                last: Instant::now(),
            };
            line.run();
            drop(end);
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

/// Brings a spool to the disk, again and again until nothing is added any more, and then once more.
fn keep(keeper: &Keeper, name: &str) {
    let mut failing = false;
    loop {
        let last = keeper.pause(PAUSE);
        let went = keeper.sync();
        if let Err(error) = &went
            && !failing
        {
            tracing::error!(sink = name, "failed to keep records on the disk: {error}");
        }
        failing = went.is_err();
        if last {
            return;
        }
    }
}

/// Whoever panicked with it has left numbers that are right one by one.
fn lock(fare: &Mutex<Fare>) -> MutexGuard<'_, Fare> {
    fare.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Line {
    reader: Reader,
    name: String,
    receiver: Receiver,
    wording: Wording,
    fare: Arc<Mutex<Fare>>,
    connection: Option<Connection>,
    /// Messages sent over the connection.
    messages: u64,
    /// The place behind each record of the connection that is not confirmed, oldest first, with the messages up to it.
    sent: VecDeque<(u64, Mark)>,
    /// How long nothing is sent before the connection is ended; `None` once the receiver did not end it too.
    quiet: Option<Duration>,
    /// When something was sent last.
    last: Instant,
}

impl Line {
    fn run(&mut self) {
        loop {
            let more = self.reader.wait(PAUSE);
            if !more && self.reader.is_closed() {
                return self.end();
            }
            let sent = self.settle().and_then(|()| if more { self.send() } else { Ok(()) });
            match sent {
                Ok(()) if more => {}
                Ok(()) => self.rest(),
                Err(error) => {
                    let wait = self.fail(&error);
                    if self.reader.is_closed() {
                        return;
                    }
                    self.reader.pause(wait);
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

    /// Ends a connection that nothing was sent over for a while and of which not all is confirmed.
    fn rest(&mut self) {
        let Some(quiet) = self.quiet else { return };
        if self.sent.is_empty() || self.last.elapsed() < quiet {
            return;
        }
        let Some(connection) = self.connection.take() else { return };
        self.confirm(connection.finish(quiet));
        if !self.sent.is_empty() {
            // It does not know of ends, or takes its time: everything would be sent again after each.
            self.quiet = None;
            self.reader.rewind();
        }
        lock(&self.fare).standing.ends();
    }

    fn send(&mut self) -> Result<(), SendError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let connection = self.connection.insert(connection);
        let items = match self.reader.read(BATCH) {
            Ok(items) => items,
            Err(error) => {
                self.note(READ, Err(error));
                self.reader.pause(PAUSE);
                return Ok(());
            }
        };
        let now = sink::now();
        let mut messages = Vec::new();
        let mut unsendable = 0;
        for (item, mark) in items {
            // A hole is confirmed with the record that follows it: another that begins at the same place has both then.
            let is_record = matches!(item, Item::Record { .. });
            let Told { message, whole } = self.wording.tell(item, &now);
            unsendable += u64::from(!whole);
            messages.extend(message);
            if is_record {
                self.sent.push_back((self.messages + messages.len() as u64, mark));
            }
        }
        self.last = Instant::now();
        connection.send(&messages)?;
        self.messages += messages.len() as u64;
        self.note(READ, Ok(()));
        let mut fare = lock(&self.fare);
        fare.sent += messages.len() as u64;
        fare.unsendable += unsendable;
        Ok(())
    }

    fn connect(&mut self) -> Result<Connection, SendError> {
        lock(&self.fare).standing.tries(Instant::now());
        let meter = |socket: BorrowedFd<'_>| {
            let TcpPeer { acknowledged, window, scale } = tcp_peer(socket)?;
            Some(Peer { acknowledged, window, scale })
        };
        let addresses = self.receiver.addresses()?;
        lock(&self.fare).addresses.clone_from(&addresses);
        let connection = Connection::to(&self.receiver, &addresses, Patience::default(), meter)?;
        // What the last one did not confirm is sent again.
        self.reader.rewind();
        self.sent.clear();
        self.messages = 0;
        lock(&self.fare).standing.connects(Instant::now());
        Ok(connection)
    }

    /// Notes what the receiver has surely read.
    fn settle(&mut self) -> Result<(), SendError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let read = connection.confirmed()?;
        self.confirm(read);
        // What became of a datagram nobody knows.
        let udp = self.receiver.transport == Transport::Udp;
        if lock(&self.fare).standing.holds(read > 0 && !udp, Instant::now()) {
            // Of datagrams nobody says that they arrive.
            let what = if udp { "no datagram is refused" } else { "the receiver is there" };
            tracing::info!(sink = self.name, "{what}");
        }
        Ok(())
    }

    fn confirm(&mut self, read: u64) {
        let mut last = None;
        while let Some((_, mark)) = self.sent.pop_front_if(|(messages, _)| *messages <= read) {
            last = Some(mark);
        }
        if let Some(mark) = last {
            let written = self.reader.confirm(mark);
            self.note(CONFIRM, written);
        }
    }

    /// Ends the connection. How long to wait for the next.
    fn fail(&mut self, error: &SendError) -> Duration {
        if let Some(connection) = self.connection.take() {
            self.confirm(connection.known_confirmed());
        }
        self.reader.rewind();
        let mut fare = lock(&self.fare);
        let (wait, news) = fare.standing.fails();
        if news {
            tracing::warn!("sink `{}` cannot reach its receiver, and records wait: {error}", self.name);
        }
        fare.failures += 1;
        fare.last_error = Some(error.to_string());
        wait
    }

    /// Notes whether something could be done with the spool.
    fn note(&self, what: &'static str, went: io::Result<()>) {
        let mut fare = lock(&self.fare);
        match went {
            Ok(()) => drop(fare.faults.remove(what)),
            Err(error) => {
                let why = error.to_string();
                if fare.faults.insert(what, why.clone()).as_ref() != Some(&why) {
                    tracing::error!(sink = self.name, "{what}: {why}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
