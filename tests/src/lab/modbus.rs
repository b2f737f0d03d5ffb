//! The traffic that must not suffer: a real Modbus/TCP server and a client that polls it and admits every hiccup.
//!
//! In: hosts of a lab. Out: counts of polls and of what the server was asked by whom.
//! Server and client are tokio-modbus: the conversation is somebody else's code, as in a plant.

use std::{
    collections::BTreeMap,
    future,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_modbus::{
    ExceptionCode, Request, Response,
    client::{Context, Reader, Writer, tcp},
    server::{Service, tcp::Server},
};

use super::{topology::Host, wait::check_interrupt};

/// How many holding registers the PLC has.
const REGISTERS: usize = 100;
/// What one poll reads: the first ten, as a display would.
const POLLED: u16 = 10;
/// An answer later than this is a failed poll.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What one client asked of the PLC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// TCP connections accepted.
    pub connections: u64,
    /// Read requests answered.
    pub reads: u64,
    /// Write requests carried out.
    pub writes: u64,
}

/// A Modbus/TCP server in the PLC's namespace.
pub struct Plc {
    state: Arc<Mutex<PlcState>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct PlcState {
    registers: [u16; REGISTERS],
    asked: BTreeMap<Ipv4Addr, Asked>,
}

impl Plc {
    /// Listens on `port` of the host; connections are accepted when this returns.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let address = SocketAddrV4::new(host.ip, port);
        let listener = host.namespace.run(|| std::net::TcpListener::bind(address));
        let listener = listener.with_context(|| format!("failed to listen at {address}"))?;
        listener.set_nonblocking(true)?;
        let state = Arc::new(Mutex::new(PlcState { registers: [0; REGISTERS], asked: BTreeMap::new() }));
        let (stop, stopped) = oneshot::channel();
        let thread = host.namespace.spawn("plc", {
            let state = Arc::clone(&state);
            move || {
                serve(listener, &state, stopped).expect("the PLC's listener works as long as its namespace")
            }
        })?;
        Ok(Self { state, stop: Some(stop), thread: Some(thread) })
    }

    /// What each client asked so far.
    pub fn asked(&self) -> BTreeMap<Ipv4Addr, Asked> {
        lock(&self.state).asked.clone()
    }

    /// What this client asked so far.
    pub fn asked_by(&self, client: Ipv4Addr) -> Asked {
        lock(&self.state).asked.get(&client).copied().unwrap_or_default()
    }

    /// The value of a holding register.
    pub fn register(&self, address: usize) -> Option<u16> {
        lock(&self.state).registers.get(address).copied()
    }
}

impl Drop for Plc {
    fn drop(&mut self) {
        // A dropped sender stops the server too.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(
    listener: std::net::TcpListener,
    state: &Arc<Mutex<PlcState>>,
    stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Server::new(TcpListener::from_std(listener)?);
        let on_connected = |stream: TcpStream, client: SocketAddr| {
            let IpAddr::V4(client) = client.ip() else { return future::ready(Ok(None)) };
            lock(state).asked.entry(client).or_default().connections += 1;
            let session = Session { client, state: Arc::clone(state) };
            // Nagle would hide a lost answer behind a late one.
            future::ready(stream.set_nodelay(true).map(|()| Some((session, stream))))
        };
        // A client that goes away in the middle of a request is its own problem.
        let on_error = |_error: std::io::Error| {};
        let until = async {
            // Both a message and a dropped sender mean the end.
            drop(stopped.await);
        };
        tokio::select! {
            served = server.serve(&on_connected, on_error) => served,
            () = until => Ok(()),
        }
    })?;
    Ok(())
}

struct Session {
    client: Ipv4Addr,
    state: Arc<Mutex<PlcState>>,
}

impl Service for Session {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let mut state = lock(&self.state);
        let (answer, written) = match request {
            Request::ReadHoldingRegisters(first, count) => {
                (state.range(first, count).map(|words| Response::ReadHoldingRegisters(words.to_vec())), false)
            }
            Request::WriteSingleRegister(address, word) => {
                let answer = state.range(address, 1).map(|words| {
                    words.fill(word);
                    Response::WriteSingleRegister(address, word)
                });
                (answer, true)
            }
            Request::WriteMultipleRegisters(first, new) => {
                let count = u16::try_from(new.len()).unwrap_or(u16::MAX);
                let answer = state.range(first, count).map(|words| {
                    words.copy_from_slice(&new);
                    Response::WriteMultipleRegisters(first, count)
                });
                (answer, true)
            }
            Request::ReadCoils(..)
            | Request::ReadDiscreteInputs(..)
            | Request::WriteSingleCoil(..)
            | Request::WriteMultipleCoils(..)
            | Request::ReadInputRegisters(..)
            | Request::ReportServerId
            | Request::MaskWriteRegister(..)
            | Request::ReadWriteMultipleRegisters(..)
            | Request::ReadDeviceIdentification(..)
            | Request::Custom(..) => (None, false),
        };
        let asked = state.asked.entry(self.client).or_default();
        if answer.is_some() {
            *if written { &mut asked.writes } else { &mut asked.reads } += 1;
        }
        future::ready(answer.ok_or(ExceptionCode::IllegalDataAddress))
    }
}

impl PlcState {
    fn range(&mut self, first: u16, count: u16) -> Option<&mut [u16]> {
        let first = usize::from(first);
        self.registers.get_mut(first..first + usize::from(count))
    }
}

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
        *session = Some(connect(plc, ANSWER_WITHIN).await?);
    }
    let client = session.as_mut().context("just connected")?;
    let words =
        timeout(ANSWER_WITHIN, client.read_holding_registers(0, POLLED)).await.context("no answer")???;
    if words.len() != usize::from(POLLED) {
        bail!("asked for {POLLED} registers and got {}", words.len());
    }
    Ok(())
}

async fn connect(plc: SocketAddrV4, within: Duration) -> Result<Context> {
    let stream = timeout(within, TcpStream::connect(plc)).await.context("no connection")??;
    stream.set_nodelay(true)?;
    Ok(tcp::attach(stream))
}

/// How an attempt to write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The PLC confirmed it.
    Written,
    /// Somebody said no: a refused or broken connection, or a Modbus exception.
    Refused(String),
    /// Silence until the deadline, before or after the connection stood.
    Unanswered,
}

/// Writes one register over a new connection, as an engineer or an attacker with a Modbus tool does.
pub fn write_once(
    host: &Host,
    plc: SocketAddrV4,
    register: u16,
    value: u16,
    within: Duration,
) -> Result<Write> {
    host.namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async {
            let attempt = async {
                let mut client = connect(plc, within).await?;
                anyhow::Ok(client.write_single_register(register, value).await??)
            };
            match timeout(within, attempt).await {
                Err(_elapsed) => Write::Unanswered,
                Ok(Ok(())) => Write::Written,
                Ok(Err(error)) if error.is::<tokio::time::error::Elapsed>() => Write::Unanswered,
                Ok(Err(error)) => Write::Refused(format!("{error:#}")),
            }
        }))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with the counts in hand")
}
