//! Datagrams that are numbered and answered one by one: unlike TCP, nothing sends a lost one again.
//!
//! In: two hosts and a port. Out: how many were answered, and how many were not.

use std::{
    io,
    net::{SocketAddrV4, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{modbus::lock, topology::Host, wait::wait_for};

/// A datagram without its answer after this is lost: the way there and back takes microseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of a number.
const NUMBER: usize = 8;
/// No datagram is longer (RFC 768).
const LARGEST: usize = 65_535;
/// How often the threads look whether they shall end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echoes {
    /// Answered.
    pub answered: u64,
    /// Not answered in time.
    pub lost: u64,
}

/// A host that sends the next number as soon as the last one came back.
pub struct EchoStream {
    stop: Arc<AtomicBool>,
    echoes: Arc<Mutex<Echoes>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl EchoStream {
    /// Starts both ends; returns after the first answer.
    pub fn start(from: &Host, to: &Host, port: u16, every: Duration) -> Result<Self> {
        Self::sized(from, to, port, every, NUMBER)
    }

    /// The same with datagrams of `size` bytes, a number's at least: what does not fit the MTU goes in fragments.
    pub fn sized(from: &Host, to: &Host, port: u16, every: Duration, size: usize) -> Result<Self> {
        let there = SocketAddrV4::new(to.ip, port);
        let server = to.namespace.run(|| UdpSocket::bind(there)).context("failed to bind the echo port")?;
        let here = SocketAddrV4::new(from.ip, 0);
        let client =
            from.namespace.run(|| UdpSocket::bind(here).and_then(|s| s.connect(there).map(|()| s)))?;
        server.set_read_timeout(Some(LOOK_EVERY))?;
        client.set_read_timeout(Some(LOOK_EVERY))?;
        let stop = Arc::new(AtomicBool::new(false));
        let echoes = Arc::new(Mutex::new(Echoes::default()));
        let answering = {
            let stop = Arc::clone(&stop);
            to.namespace.spawn("echo", move || answer(&server, &stop))?
        };
        let asking = {
            let (stop, echoes) = (Arc::clone(&stop), Arc::clone(&echoes));
            from.namespace.spawn("echo-client", move || ask(&client, &stop, &echoes, every, size))?
        };
        let stream = Self { stop, echoes, threads: vec![asking, answering] };
        wait_for("a first echo", ANSWER_WITHIN, || Ok((stream.echoes().answered > 0).then_some(())))?;
        Ok(stream)
    }

    /// The story so far.
    pub fn echoes(&self) -> Echoes {
        *lock(&self.echoes)
    }

    /// Ends the stream and tells the whole story.
    pub fn stop(mut self) -> Echoes {
        self.end();
        self.echoes()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for EchoStream {
    fn drop(&mut self) {
        self.end();
    }
}

fn answer(socket: &UdpSocket, stop: &AtomicBool) -> io::Result<()> {
    let mut number = vec![0; LARGEST];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut number) {
            Ok((len, client)) => drop(socket.send_to(&number[..len], client)?),
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn ask(
    socket: &UdpSocket,
    stop: &AtomicBool,
    echoes: &Mutex<Echoes>,
    every: Duration,
    size: usize,
) -> io::Result<()> {
    let mut datagram = vec![0; size.max(NUMBER)];
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        datagram[..NUMBER].copy_from_slice(&number.to_be_bytes());
        socket.send(&datagram)?;
        let answered = hear(socket, &datagram)?;
        let mut echoes = lock(echoes);
        *if answered { &mut echoes.answered } else { &mut echoes.lost } += 1;
        drop(echoes);
        thread::sleep(every);
    }
    Ok(())
}

/// Waits for this number; a late answer to an earlier one is none.
fn hear(socket: &UdpSocket, datagram: &[u8]) -> io::Result<bool> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let mut heard = vec![0; LARGEST];
    while Instant::now() < deadline {
        match socket.recv(&mut heard) {
            Ok(len) if heard[..len] == *datagram => return Ok(true),
            Ok(_) => {}
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn is_silence(error: &io::Error) -> bool {
    // An ICMP error for an earlier datagram is news about that one, which is counted as lost.
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused
    )
}
