//! Where violation records go: the sinks, and their default.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use bulkhead_common::{layout::TrustedKey, lookup::trust};

use crate::record::Format;

/// Sinks of one gateway.
pub const MAX_SINKS: usize = 8;

/// A sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// Where its records go.
    pub to: Destination,
    /// What its receiver reads.
    pub format: Format,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file, a record a line.
    File {
        /// An absolute path.
        path: PathBuf,
        /// Size at which it is put aside, bytes.
        rotate_bytes: u32,
        /// How many of those are kept.
        keep: u32,
    },
    /// Standard output, a record a line.
    Stdout,
    /// The journal of the host.
    Journald,
    /// A syslog receiver.
    Syslog(Syslog),
}

/// A syslog receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Address or name of its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How messages get there.
    pub transport: Transport,
    /// The number of the facility (RFC 5424 6.2.1).
    pub facility: u8,
    /// What is kept for it on the disk at most, bytes.
    pub spool_bytes: u32,
}

/// How messages get to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each.
    Udp,
    /// A stream.
    Tcp(Framing),
    /// A stream to a receiver that proves its name.
    Tls {
        /// Who may vouch for it, PEM; `None` is whom the system trusts.
        ca: Option<PathBuf>,
        /// The gateway's certificate and its key, PEM.
        identity: Option<(PathBuf, PathBuf)>,
        /// The name it proves; `None` is the host.
        server_name: Option<String>,
    },
}

impl Transport {
    /// Whether messages follow each other on a connection.
    pub fn is_stream(&self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp(_) | Self::Tls { .. } => true,
        }
    }
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

impl Sink {
    /// The sink of a gateway that names none.
    pub fn unnamed() -> Self {
        let path = PathBuf::from("/var/log/bulkhead/violations.jsonl");
        let to = Destination::File { path, rotate_bytes: ROTATE_BYTES, keep: KEEP };
        Self { name: "log".to_owned(), to, format: Format::Native }
    }

    /// Where a receiver that is given by its address takes connections.
    pub fn receiver(&self) -> Option<SocketAddr> {
        match &self.to {
            Destination::File { .. } | Destination::Stdout | Destination::Journald => None,
            Destination::Syslog(Syslog { host, port, transport, .. }) => {
                let address = host.parse::<IpAddr>().ok().filter(|_| transport.is_stream());
                address.map(|address| SocketAddr::new(address, *port))
            }
        }
    }

    /// As `to` is written: `file:/path`, `syslog+tls://host:6514`.
    pub fn to(&self) -> String {
        match &self.to {
            Destination::File { path, .. } => format!("file:{}", path.display()),
            Destination::Stdout => "stdout".to_owned(),
            Destination::Journald => "journald".to_owned(),
            Destination::Syslog(Syslog { host, port, transport, .. }) => {
                let transport = match transport {
                    Transport::Udp => "udp",
                    Transport::Tcp(_) => "tcp",
                    Transport::Tls { .. } => "tls",
                };
                let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                format!("syslog+{transport}://{bracketed}:{port}")
            }
        }
    }
}

/// The row that lets pass what a receiver answers over TCP.
pub fn receiver_key(receiver: SocketAddr) -> TrustedKey {
    TrustedKey { address: receiver.ip().into(), segment: receiver.port().into(), role: trust::RECEIVER }
}

pub(super) const ROTATE_BYTES: u32 = 64 << 20;
pub(super) const KEEP: u32 = 4;
pub(super) const SPOOL_BYTES: u32 = 128 << 20;
