//! One connection to a receiver.
//!
//! In: messages. Out: frames on the wire, and how many messages the receiver has surely read. Everything here waits for the
//! peer, within bounds: it belongs into a thread of its own. A connection that has failed is dropped; what it had not
//! confirmed is sent again over the next.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use rustls::{CertificateError, Error::InvalidCertificate};

use super::{
    Framing, Patience, Receiver, Transport,
    stream::Stream,
    tls,
    window::{Meter, read, read_by_end},
};

/// Bytes of messages that are confirmed together.
const CHUNK: usize = 16 << 10;

/// How long a peer that has ended TLS may take to close its connection.
const CLOSING: Duration = Duration::from_millis(500);

/// Why messages did not get through.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The name of the host leads nowhere.
    #[error("failed to find `{host}`: {cause}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        cause: io::Error,
    },
    /// Nobody listens, or nobody answers.
    #[error("failed to connect to `{to}`: {cause}")]
    Connect {
        /// Host and port.
        to: String,
        /// Of the last address that was tried.
        cause: io::Error,
    },
    /// A file with a certificate or a key.
    #[error("failed to use `{path}`: {cause}")]
    Material {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The system trusts nobody.
    #[error("this system trusts no certificate: name one with `ca`")]
    NoRoots,
    /// The name to be proved is none.
    #[error("`{name}` cannot be the name in a certificate")]
    Name {
        /// As configured.
        name: String,
    },
    /// What was configured does not make a TLS client.
    #[error("failed to set TLS up: {0}")]
    Setup(rustls::Error),
    /// No TLS with this peer: its certificate, or ours, or what it speaks.
    #[error("failed to begin TLS with `{to}`: {cause}{hint}")]
    Handshake {
        /// Host and port.
        to: String,
        /// What went wrong.
        cause: io::Error,
        /// What may be done about it, behind a colon; empty where the cause says it.
        hint: String,
    },
    /// The peer takes connections and does not end a handshake.
    #[error("no TLS answer from `{to}` within {} s: does a TLS receiver listen there?", within.as_secs_f32())]
    Mute {
        /// Host and port.
        to: String,
        /// How long it was given.
        within: Duration,
    },
    /// The connection broke.
    #[error("failed to write to `{to}`: {cause}")]
    Write {
        /// Host and port.
        to: String,
        /// Why.
        cause: io::Error,
    },
    /// The receiver does not read.
    #[error("failed to write to `{to}`: it does not keep up")]
    Slow {
        /// Host and port.
        to: String,
    },
    /// The receiver hung up.
    #[error("`{to}` has closed the connection")]
    Closed {
        /// Host and port.
        to: String,
    },
}

/// Addresses of one receiver that are tried.
const ADDRESSES: usize = 16;

/// A connection.
pub struct Connection {
    to: String,
    way: Way,
    patience: Patience,
    /// Messages sent.
    sent: u64,
    /// Messages that were surely read.
    confirmed: u64,
}

enum Way {
    Datagrams(UdpSocket),
    Stream {
        stream: Stream,
        framing: Framing,
        meter: Meter,
        /// Bytes on the wire and messages in them, oldest first: as many as TCP and its peer can hold.
        marks: VecDeque<(u64, u64)>,
    },
}

impl Receiver {
    /// Where it is, by the resolver of this machine, which takes as long as it is configured to: 16 addresses at most.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, SendError> {
        let Self { host, port, transport: _ } = self;
        let found = (host.as_str(), *port).to_socket_addrs();
        let found = found.map_err(|cause| SendError::Resolve { host: host.clone(), cause })?;
        Ok(found.take(ADDRESSES).collect())
    }
}

impl Connection {
    /// Finds the receiver and connects.
    pub fn open(receiver: &Receiver, patience: Patience, meter: Meter) -> Result<Self, SendError> {
        Self::to(receiver, &receiver.addresses()?, patience, meter)
    }

    /// Connects to the first of these addresses that answers, and proves who is who where there is TLS.
    pub fn to(
        receiver: &Receiver,
        addresses: &[SocketAddr],
        patience: Patience,
        meter: Meter,
    ) -> Result<Self, SendError> {
        let Receiver { host, port, transport } = receiver;
        let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let failed = |cause| SendError::Connect { to: to.clone(), cause };
        let stream = |socket, framing, client| {
            let stream = Stream::begin(socket, client, patience.connect)
                .map_err(|cause| no_tls(&to, cause, transport, patience.connect))?;
            Ok(Way::Stream { stream, framing, meter, marks: VecDeque::new() })
        };
        let way = match transport {
            Transport::Udp => Way::Datagrams(first(addresses, datagrams).map_err(failed)?),
            Transport::Tcp(framing) => {
                stream(first(addresses, |to| connect(to, patience)).map_err(failed)?, *framing, None)?
            }
            Transport::Tls(settings) => {
                let client = tls::client(settings, host)?;
                let socket = first(addresses, |to| connect(to, patience)).map_err(failed)?;
                stream(socket, Framing::OctetCounting, Some(client))?
            }
        };
        Ok(Self { to, way, patience, sent: 0, confirmed: 0 })
    }

    /// Sends messages, none of which has an end of line. After an error the connection is of no more use, except to ask it
    /// what it has confirmed.
    pub fn send(&mut self, messages: &[String]) -> Result<(), SendError> {
        match &mut self.way {
            Way::Datagrams(socket) => {
                for message in messages {
                    socket.send(message.as_bytes()).map_err(|cause| broken(&self.to, cause))?;
                    self.sent += 1;
                }
                // Nothing will ever be known of them.
                self.confirmed = self.sent;
            }
            Way::Stream { stream, framing, meter, marks } => {
                let mut chunk = Vec::new();
                for (at, message) in messages.iter().enumerate() {
                    frame(&mut chunk, *framing, message);
                    self.sent += 1;
                    if chunk.len() >= CHUNK || at + 1 == messages.len() {
                        stream
                            .write_all(&chunk, self.patience.write)
                            .map_err(|cause| broken(&self.to, cause))?;
                        chunk.clear();
                        marks.push_back((stream.written(), self.sent));
                        let read = read(stream.written(), meter(stream.fd()));
                        self.confirmed = settle(marks, read).unwrap_or(self.confirmed);
                    }
                }
            }
        }
        Ok(())
    }

    /// How many messages, the first ones of this connection, the receiver has surely read. The last ones stay unconfirmed
    /// until others follow them. An error says that the connection has ended.
    pub fn confirmed(&mut self) -> Result<u64, SendError> {
        if let Way::Datagrams(socket) = &self.way
            // What a host answers for which nobody listens (RFC 1122 4.1.3.3).
            && let Some(cause) = socket.take_error().unwrap_or_else(Some)
        {
            return Err(broken(&self.to, cause));
        }
        if let Way::Stream { stream, framing: _, meter, marks } = &mut self.way {
            let read = read(stream.written(), meter(stream.fd()));
            self.confirmed = settle(marks, read).unwrap_or(self.confirmed);
            if stream.is_ended().map_err(|cause| broken(&self.to, cause))? {
                if stream.is_closed(CLOSING).is_ok_and(|closed| closed) {
                    let read = read_by_end(stream.written(), meter(stream.fd()));
                    self.confirmed = settle(marks, read).unwrap_or(self.confirmed);
                }
                return Err(SendError::Closed { to: self.to.clone() });
            }
        }
        Ok(self.confirmed)
    }

    /// The same, without a look at the connection: also after it has failed.
    pub fn known_confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Ends the connection in order, and says how many messages the receiver has surely read: all of them, if it has
    /// acknowledged them and ends the connection too in time, in order. What comes to a connection that was closed before is
    /// not acknowledged, and who closes one with something unread resets it.
    pub fn finish(mut self, within: Duration) -> u64 {
        if let Way::Stream { stream, framing: _, meter, marks: _ } = &mut self.way
            && stream.finish(within).is_ok_and(|ended| ended)
            && meter(stream.fd()).is_some_and(|peer| peer.has_all(stream.written()))
        {
            self.confirmed = self.sent;
        }
        self.confirmed
    }
}

/// The messages that end within `read` bytes; `None` when none is new.
fn settle(marks: &mut VecDeque<(u64, u64)>, read: u64) -> Option<u64> {
    let mut settled = None;
    while let Some((_, messages)) = marks.pop_front_if(|(end, _)| *end <= read) {
        settled = Some(messages);
    }
    settled
}

fn frame(chunk: &mut Vec<u8>, framing: Framing, message: &str) {
    match framing {
        Framing::OctetCounting => {
            chunk.extend_from_slice(message.len().to_string().as_bytes());
            chunk.push(b' ');
            chunk.extend_from_slice(message.as_bytes());
        }
        Framing::Newline => {
            chunk.extend_from_slice(message.as_bytes());
            chunk.push(b'\n');
        }
    }
}

/// Why no TLS begins, in words that say where to look.
fn no_tls(to: &str, cause: io::Error, transport: &Transport, within: Duration) -> SendError {
    let to = to.to_owned();
    if matches!(cause.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
        return SendError::Mute { to, within };
    }
    let is_unknown = matches!(
        cause.get_ref().and_then(|inner| inner.downcast_ref()),
        // Another authority of the same name has signed nothing of it.
        Some(InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))
    );
    let hint = match transport {
        Transport::Tls(tls) if is_unknown => match &tls.ca {
            Some(ca) => format!(": nobody in `{}`, which `ca` names, vouches for it", ca.display()),
            None => ": nobody whom this system trusts vouches for it, so name with `ca` who does".to_owned(),
        },
        Transport::Tls(_) | Transport::Tcp(_) | Transport::Udp => String::new(),
    };
    SendError::Handshake { to, cause, hint }
}

fn broken(to: &str, cause: io::Error) -> SendError {
    let to = to.to_owned();
    // Not what the kernel says of a peer that has acknowledged nothing for long: that one is gone.
    if cause.kind() == io::ErrorKind::TimedOut && cause.raw_os_error().is_none() {
        return SendError::Slow { to };
    }
    SendError::Write { to, cause }
}

/// The first address that works, or why the last one did not.
fn first<T>(addresses: &[SocketAddr], open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match open(*address) {
            Ok(opened) => return Ok(opened),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

fn datagrams(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket)
}

fn connect(to: SocketAddr, patience: Patience) -> io::Result<TcpStream> {
    let Patience { connect, write } = patience;
    let socket = TcpStream::connect_timeout(&to, connect)?;
    socket.set_nodelay(true)?;
    // A peer that is gone without a word must not look like one that is slow.
    setsockopt(&socket, sockopt::TcpUserTimeout, &u32::try_from(write.as_millis()).unwrap_or(u32::MAX))?;
    Ok(socket)
}
