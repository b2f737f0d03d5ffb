//! A receiver of syslog messages that can be stopped, started and slowed: what a SIEM is on a bad day.
//!
//! In: a stream of messages, each behind its length (RFC 6587 3.4.1). Out: what was read of them, whole ones only. It is written
//! from the RFCs and shares nothing with the sender.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::Namespace;

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// The receiver. It keeps its port and what it has read while it is stopped.
pub struct Siem {
    port: u16,
    read: Arc<Mutex<Vec<String>>>,
    /// Microseconds that it takes over each message.
    pause: Arc<AtomicU64>,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

/// Denied packets as a receiver has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Messages read, duplicates included.
    pub messages: usize,
    /// Records, each once.
    pub records: usize,
    /// Packets that they account for.
    pub packets: u64,
    /// Packets in gaps by their cause; they are among the packets.
    pub gaps: BTreeMap<String, u64>,
}

impl Siem {
    /// A receiver on the loopback address of a namespace; it does not run yet.
    pub fn new(port: u16) -> Self {
        Self { port, read: Arc::default(), pause: Arc::default(), running: None }
    }

    /// Where records go.
    pub fn url(&self) -> String {
        format!("syslog+tcp://127.0.0.1:{}", self.port)
    }

    /// Begins to listen.
    pub fn start(&mut self, namespace: &Namespace) -> Result<()> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener =
            namespace.run(|| TcpListener::bind(to)).with_context(|| format!("failed to listen on {to}"))?;
        listener.set_nonblocking(true)?;
        let end = Arc::new(AtomicBool::new(false));
        let (ended, read, pause) = (Arc::clone(&end), Arc::clone(&self.read), Arc::clone(&self.pause));
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (ended, read, pause) =
                            (Arc::clone(&ended), Arc::clone(&read), Arc::clone(&pause));
                        connections.push(thread::spawn(move || take(stream, &ended, &read, &pause)));
                    }
                    Err(_) => thread::park_timeout(LOOK),
                }
            }
            for connection in connections {
                let _ = connection.join();
            }
        });
        self.running = Some((end, thread));
        Ok(())
    }

    /// Dies in the middle of whatever it reads: what it has not read is lost.
    pub fn stop(&mut self) -> Result<()> {
        let Some((end, thread)) = self.running.take() else { return Ok(()) };
        end.store(true, Ordering::Relaxed);
        thread.join().map_err(|_| anyhow!("the receiver panicked"))
    }

    /// Takes so long over each message from now on.
    pub fn slow_down(&self, each: Duration) {
        self.pause.store(u64::try_from(each.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The records read so far, as they came.
    pub fn records(&self) -> Result<Vec<Value>> {
        let read = self.read.lock().map_err(|_| anyhow!("the receiver panicked"))?;
        read.iter()
            .map(|message| record(message).with_context(|| format!("not a record: {message}")))
            .collect()
    }

    /// What it knows of denied packets.
    pub fn books(&self) -> Result<Books> {
        Books::of(&self.records()?)
    }
}

impl Books {
    /// What these records, in the order in which they came, say of denied packets. A gap with an extent stands for whatever
    /// lies in it.
    pub fn of(records: &[Value]) -> Result<Self> {
        let messages = records.len();
        let mut by_id: BTreeMap<(String, u64, bool), &Value> = BTreeMap::new();
        let mut holes: BTreeMap<(String, String), &Value> = BTreeMap::new();
        // Runs in the order in which they were first heard of.
        let mut runs: Vec<String> = Vec::new();
        for one in records {
            let boot = one["boot"].as_str().context("no boot")?.to_owned();
            if !runs.contains(&boot) {
                runs.push(boot.clone());
            }
            let extent = |key: &str| one[key].as_str().map(str::to_owned);
            if one["kind"] == "gap" && one["cause"] == "spool" {
                holes.insert((extent("first").unwrap_or_default(), extent("last").unwrap_or_default()), one);
            } else {
                by_id.insert((boot, one["seq"].as_u64().context("no seq")?, one["kind"] == "gap"), one);
            }
        }
        let place = |id: &str| -> Option<(usize, u64)> {
            let (boot, seq) = id.split_once('-')?;
            Some((runs.iter().position(|run| run == boot)?, seq.parse().ok()?))
        };
        for (first, last) in holes.keys() {
            let (from, to) = (place(first).unwrap_or((0, 0)), place(last).unwrap_or((usize::MAX, 0)));
            by_id.retain(|(boot, seq, _), _| {
                let at = (runs.iter().position(|run| run == boot).unwrap_or(0), *seq);
                at < from || at > to
            });
        }
        let mut books = Self { messages, ..Self::default() };
        for one in by_id.values().chain(holes.values()) {
            let count = one["count"].as_u64().context("no count")?;
            books.records += 1;
            books.packets += count;
            if one["kind"] == "gap" {
                *books.gaps.entry(one["cause"].as_str().unwrap_or_default().to_owned()).or_default() += count;
            }
        }
        Ok(books)
    }
}

impl Drop for Siem {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The record in a message in native format.
pub fn record(message: &str) -> Option<Value> {
    serde_json::from_str(&message[message.find("] {")? + 2..]).ok()
}

fn take(mut stream: TcpStream, end: &AtomicBool, read: &Mutex<Vec<String>>, pause: &AtomicU64) {
    stream.set_read_timeout(Some(LOOK)).expect("a time");
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    while !end.load(Ordering::Relaxed) {
        match stream.read(&mut some) {
            Ok(0) => return,
            Ok(n) => bytes.extend(&some[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        }
        while let Some((message, len)) = whole(&bytes) {
            read.lock().expect("nobody panics with it").push(message);
            bytes.drain(..len);
            let pause = pause.load(Ordering::Relaxed);
            if pause > 0 {
                thread::sleep(Duration::from_micros(pause));
            }
            if end.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// The message at the beginning, and how many bytes it takes.
fn whole(bytes: &[u8]) -> Option<(String, usize)> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let len: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let message = bytes.get(space + 1..space + 1 + len)?;
    Some((String::from_utf8_lossy(message).into_owned(), space + 1 + len))
}
