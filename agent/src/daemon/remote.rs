//! A sink that is somewhere else: its spool, and the thread that empties it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    feed::Feed,
    forward::{Forwarder, Route},
    ledger::Account,
};
use crate::{
    config::{Destination, Framing, Sink, Syslog, Transport},
    control::{SinkStatus, SpoolStatus},
    record::Record,
    sink::syslog::{self, Encoder},
    spool::Spool,
};

/// Where the spools are, in the state folder.
pub(super) const SPOOLS: &str = "spool";

/// Where spools belong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home<'h> {
    /// The state folder.
    pub(super) state: &'h Path,
    /// The gateway's name.
    pub(super) gateway: &'h str,
    /// Names the kernel's counters: others after a boot.
    pub(super) counters: &'h str,
    /// The summary interval: how often a disk that refuses is tried when there is nothing to tell.
    pub(super) summary: Duration,
}

/// The sink.
pub(super) struct Remote {
    sink: Sink,
    /// `None` when it cannot be opened: its records are refused until the agent begins again.
    open: Option<(Feed, Forwarder)>,
    /// Why it is not.
    failure: Option<String>,
    /// Records that were refused because it is not.
    refused: u64,
}

impl Remote {
    /// Opens its spool, and begins to empty it. What cannot be opened must not keep the agent from enforcing.
    pub(super) fn open(sink: &Sink, syslog: &Syslog, home: Home<'_>) -> Self {
        let folder = home.state.join(SPOOLS).join(&sink.name);
        let opened = Spool::open(&folder, syslog.spool_bytes.into(), home.counters)
            .map_err(|error| error.to_string())
            .and_then(|(spool, reader)| {
                let begun = Forwarder::begin(reader, route(sink, syslog, home.gateway));
                begun
                    .map(|forwarder| (Feed::new(spool, home.gateway, home.summary), forwarder))
                    .map_err(|error| error.to_string())
            });
        let (open, failure) = match opened {
            Ok(open) => (Some(open), None),
            Err(error) => {
                tracing::error!("sink `{}` refuses records, which are lost: {error}", sink.name);
                (None, Some(error))
            }
        };
        Self { sink: sink.clone(), open, failure, refused: 0 }
    }

    /// Adds a record to the batch.
    pub(super) fn write(&mut self, record: &Record) {
        match &mut self.open {
            Some((feed, _)) => feed.write(record),
            None => self.refused += 1,
        }
    }

    /// Adds the batch to the spool.
    pub(super) fn flush(&mut self) {
        if let Some((feed, _)) = &mut self.open {
            feed.flush();
        }
    }

    /// What it accounts for; nothing is owed by a spool that is not open.
    pub(super) fn account(&self) -> Account {
        let closed = Account { packets: u64::MAX, is_new: false };
        self.open.as_ref().map_or(closed, |(feed, _)| feed.account())
    }

    /// Where its receiver was found, if it takes connections.
    pub(super) fn receiver(&self) -> Option<(String, BTreeSet<SocketAddr>)> {
        let Destination::Syslog(Syslog { transport, .. }) = &self.sink.to else { return None };
        if !transport.is_stream() {
            return None;
        }
        let found = self.open.as_ref()?.1.fare().addresses;
        (!found.is_empty()).then(|| (self.sink.name.clone(), found.into_iter().collect()))
    }

    /// How it fares.
    pub(super) fn status(&self) -> SinkStatus {
        let base = SinkStatus {
            name: self.sink.name.clone(),
            to: self.sink.to(),
            format: self.sink.format.name().to_owned(),
            ..SinkStatus::default()
        };
        let Some((feed, forwarder)) = &self.open else {
            return SinkStatus {
                refused: self.refused,
                failing: true,
                last_error: self.failure.clone(),
                ..base
            };
        };
        let spool = feed.spool();
        let (counts, waiting, fare) = (spool.counts(), spool.waiting(), forwarder.fare());
        let doubt = spool.doubt();
        SinkStatus {
            written: counts.taken,
            refused: feed.refused(),
            failing: counts.failing || doubt.is_some() || fare.is_failing(Instant::now()),
            last_error: if counts.failing {
                counts.last_error
            } else {
                doubt.or(fare.fault()).or(fare.last_error.clone())
            },
            spool: Some(SpoolStatus {
                connected: fare.is_connected(),
                failing: counts.failing,
                waiting_bytes: waiting.bytes,
                unsent_bytes: waiting.unsent,
                waiting_packets: waiting.packets,
                dropped_bytes: counts.dropped_bytes,
                synced: spool.synced().map(|stamp| stamp.to_string()),
                sent: fare.sent,
                unsendable: fare.unsendable,
                failures: fare.failures,
            }),
            ..base
        }
    }

    /// Nothing more will be added; the thread that ends with it.
    pub(super) fn close(self) -> Option<Forwarder> {
        // The spool is dropped here, which the thread hears.
        self.open.map(|(_, forwarder)| forwarder)
    }
}

/// Waits for threads that were told to end, all of them together at most for a time.
pub(super) fn wait(ending: Vec<Forwarder>, most: Duration) {
    let until = Instant::now() + most;
    for forwarder in ending {
        forwarder.wait(until.saturating_duration_since(Instant::now()));
    }
}

/// A receiver as it is connected to.
pub fn receiver(syslog: &Syslog) -> syslog::Receiver {
    let Syslog { host, port, transport, facility: _, spool_bytes: _ } = syslog;
    let transport = match transport {
        Transport::Udp => syslog::Transport::Udp,
        Transport::Tcp(Framing::OctetCounting) => syslog::Transport::Tcp(syslog::Framing::OctetCounting),
        Transport::Tcp(Framing::Newline) => syslog::Transport::Tcp(syslog::Framing::Newline),
        Transport::Tls { ca, identity, server_name } => {
            let identity = identity.as_ref().map(|(certificate, key)| syslog::Identity {
                certificate: certificate.clone(),
                key: key.clone(),
            });
            let (ca, server_name) = (ca.clone(), server_name.clone());
            syslog::Transport::Tls(syslog::Tls { ca, identity, server_name })
        }
    };
    syslog::Receiver { host: host.clone(), port: *port, transport }
}

fn route(sink: &Sink, syslog: &Syslog, gateway: &str) -> Route {
    let receiver = receiver(syslog);
    let limit = receiver.transport.longest();
    Route {
        name: sink.name.clone(),
        gateway: gateway.to_owned(),
        receiver,
        encoder: Encoder { format: sink.format, facility: syslog.facility, limit },
    }
}
