//! A real Modbus/TCP server, and single writes by whoever tries.
//!
//! In: hosts of a lab. Out: what the server was asked by whom, and how a write ended.
//! Server and client are tokio-modbus: the conversation is somebody else's code, as in a plant.

use std::{
    collections::BTreeMap,
    future,
    net::{IpAddr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};
use tokio_modbus::{
    ExceptionCode, Request, Response,
    client::{Context, Writer, tcp},
    server::{Service, tcp::Server},
};

use super::topology::Host;

/// How many holding registers the PLC has.
const REGISTERS: usize = 100;

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
    asked: BTreeMap<IpAddr, Asked>,
}

impl Plc {
    /// Listens on `port` of the host; connections are accepted when this returns.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        Self::start_at(host, SocketAddrV4::new(host.ip, port))
    }

    /// The same at an address of the host's that is not its first.
    pub fn start_at(host: &Host, address: impl Into<SocketAddr>) -> Result<Self> {
        let address = address.into();
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
    pub fn asked(&self) -> BTreeMap<IpAddr, Asked> {
        lock(&self.state).asked.clone()
    }

    /// What this client asked so far.
    pub fn asked_by(&self, client: impl Into<IpAddr>) -> Asked {
        lock(&self.state).asked.get(&client.into()).copied().unwrap_or_default()
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
            let client = client.ip();
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
    client: IpAddr,
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

/// A session without Nagle's delays.
pub(super) async fn connect(plc: SocketAddr, within: Duration) -> Result<Context> {
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
    plc: impl Into<SocketAddr>,
    register: u16,
    value: u16,
    within: Duration,
) -> Result<Write> {
    let plc = plc.into();
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with the counts in hand")
}
