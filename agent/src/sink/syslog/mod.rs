//! Syslog over the network: RFC 5424 messages over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425).
//!
//! In: records, and where to send them. Out: messages, and how many of them the receiver has surely read. Syslog has no
//! acknowledgements, so the last question is answered from what TCP knows of its peer ([`Connection::confirmed`]); whoever
//! drives a connection keeps what is not confirmed, and after a failure sends it again over a new one.

use std::{path::PathBuf, time::Duration};

mod back_off;
mod encode;
mod send;
mod stream;
mod tls;
mod window;

pub use back_off::BackOff;
pub(super) use encode::priority;
pub use encode::{Encoder, FACILITY};
pub use send::{Connection, SendError};
pub use window::{Meter, Peer};

/// Longest message over UDP, bytes: what every receiver should take (RFC 5424 6.1).
pub const MAX_DATAGRAM: usize = 2048;

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Address or name of its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How messages get there.
    pub transport: Transport,
}

/// How messages get to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each; nobody knows what became of it.
    Udp,
    /// A stream.
    Tcp(Framing),
    /// A stream that nobody else reads or writes, to a receiver that has proved its name. Always counts octets.
    Tls(Tls),
}

/// Where a message ends on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Framing {
    /// Its length comes first (RFC 6587 3.4.1).
    #[default]
    OctetCounting,
    /// At the end of the line (RFC 6587 3.4.2).
    Newline,
}

/// Who the receiver must prove to be, and who the gateway proves to be.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates of who may vouch for the receiver, PEM; `None` is whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The gateway's certificate and its key, PEM.
    pub identity: Option<Identity>,
    /// The name in the receiver's certificate, where it is not the host of the address.
    pub server_name: Option<String>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How long a connection waits for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, and with TLS as long again for its whole handshake.
    pub connect: Duration,
    /// For room to write 16 KiB, all of them, and for an acknowledgement of what was written.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), write: Duration::from_secs(30) }
    }
}

impl Transport {
    /// Longest message that it takes, bytes.
    pub fn longest(&self) -> usize {
        match self {
            Self::Udp => MAX_DATAGRAM,
            // What receivers of streams should take (RFC 5425 4.3.1), and many do not raise.
            Self::Tcp(_) | Self::Tls(_) => 8192,
        }
    }
}

#[cfg(test)]
mod tests;
