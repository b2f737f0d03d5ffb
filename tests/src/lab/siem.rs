//! A receiver of syslog messages that can be stopped, started and slowed: what a SIEM is on a bad day.
//!
//! In: a stream of messages, each behind its length (RFC 6587 3.4.1). Out: what was read of them, whole ones only. It is written
//! from the RFCs and shares nothing with the sender.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
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

/// An agent run, in the order in which they were heard of, and a number in it.
type Place = (usize, u64);

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// The receiver. It keeps its port and what it has read while it is stopped.
pub struct Siem {
    to: SocketAddr,
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
        Self::on(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// A receiver on any address; it does not run yet.
    pub fn on(to: SocketAddr) -> Self {
        Self { to, read: Arc::default(), pause: Arc::default(), running: None }
    }

    /// Where records go.
    pub fn url(&self) -> String {
        format!("syslog+tcp://{}", self.to)
    }

    /// Begins to listen.
    pub fn start(&mut self, namespace: &Namespace) -> Result<()> {
        let to = self.to;
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
    /// What these records, in the order in which they came, say of denied packets: the account of `docs/sinks.md`.
    pub fn of(records: &[Value]) -> Result<Self> {
        let messages = records.len();
        let mut by_id: BTreeMap<Place, &Value> = BTreeMap::new();
        let mut holes: Vec<(Range<Place>, &Value)> = Vec::new();
        // Runs in the order in which they were first heard of.
        let mut runs: Vec<String> = Vec::new();
        let mut place = |boot: &str, seq: u64| -> Place {
            let known = runs.iter().position(|run| run == boot);
            let run = known.unwrap_or_else(|| {
                runs.push(boot.to_owned());
                runs.len() - 1
            });
            (run, seq)
        };
        for one in records {
            let (boot, seq) =
                (one["boot"].as_str().context("no boot")?, one["seq"].as_u64().context("no seq")?);
            if one["kind"] != "gap" || one["cause"] != "spool" {
                by_id.insert(place(boot, seq), one);
                continue;
            }
            let first = match one["first"].as_str() {
                None => (0, 0),
                Some(id) => {
                    let (boot, seq) = id.split_once('-').context("not an id")?;
                    place(boot, seq.parse()?)
                }
            };
            let range = first..place(boot, seq);
            let lies_in = |inner: &Range<Place>, outer: &Range<Place>| {
                outer.start <= inner.start && inner.end <= outer.end
            };
            if !holes.iter().any(|(other, _)| lies_in(&range, other) && *other != range) {
                holes.retain(|(other, _)| !lies_in(other, &range));
                holes.push((range, one));
            }
        }
        by_id.retain(|at, _| !holes.iter().any(|(range, _)| range.contains(at)));
        let mut books = Self { messages, ..Self::default() };
        for one in by_id.into_values().chain(holes.into_iter().map(|(_, one)| one)) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(boot: &str, seq: u64, count: u64) -> Value {
        json!({ "kind": "violation", "boot": boot, "seq": seq, "count": count })
    }

    /// A hole up to a record.
    fn hole(first: Option<&str>, boot: &str, seq: u64, count: u64) -> Value {
        json!({ "kind": "gap", "cause": "spool", "boot": boot, "seq": seq, "first": first, "count": count })
    }

    fn packets(records: &[Value]) -> u64 {
        Books::of(records).expect("they are records").packets
    }

    #[test]
    fn hole_that_is_told_again_with_more_in_it_counts_once() {
        let small = hole(Some("a-3"), "a", 5, 20);
        let grown = hole(Some("a-2"), "a", 8, 60);
        let before = [record("a", 1, 1), record("a", 2, 10), small.clone(), record("a", 5, 10)];
        assert_eq!(packets(&before), 41);
        let both = [&before[..], &[grown.clone(), record("a", 8, 5)]].concat();
        assert_eq!(packets(&both), 1 + 60 + 5);
        assert_eq!(packets(&[&both[..], &[small, grown]].concat()), 1 + 60 + 5);
    }

    #[test]
    fn hole_up_to_the_first_record_of_a_run_leaves_the_run_alone() {
        let all = [record("a", 1, 1), hole(Some("a-2"), "b", 1, 20), record("b", 1, 4), record("b", 2, 8)];
        assert_eq!(packets(&all), 33);
        let again = [&all[..], &[record("a", 2, 100), record("c", 1, 2)]].concat();
        assert_eq!(packets(&again), 35);
    }

    #[test]
    fn hole_from_the_beginning_has_everything_before_its_end() {
        assert_eq!(packets(&[record("a", 1, 1), hole(None, "a", 3, 7), record("a", 3, 2)]), 9);
    }

    #[test]
    fn gap_of_another_cause_is_a_record_like_all_others() {
        let gap = json!({ "kind": "gap", "cause": "ring", "boot": "a", "seq": 2, "count": 3 });
        assert_eq!(packets(&[record("a", 1, 1), gap.clone(), gap, hole(Some("a-3"), "a", 4, 5)]), 9);
    }
}
