//! Where the receivers of the sinks are: what they answer is no violation, also when a sink names them and the name moves.
//!
//! In: the addresses that the sinks' threads have found. Out: rows that packets read. What a name led to last stays until it leads
//! elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use bulkhead_common::layout::TrustedKey;

use super::{
    agent::Agent,
    start::{runtime, trusted},
};

/// Addresses by the name of their sink.
pub(super) type Receivers = BTreeMap<String, BTreeSet<SocketAddr>>;

impl Agent {
    /// Lets what receivers answer pass from where they are now.
    pub(super) fn look_after_receivers(&mut self) {
        let found = self.reporter.receivers();
        if found.iter().all(|(sink, addresses)| self.receivers.get(sink) == Some(addresses)) {
            return;
        }
        let receivers: Receivers = self.receivers.clone().into_iter().chain(found).collect();
        let written = runtime(&self.config, &receivers, &self.dataplane)
            .and_then(|runtime| self.dataplane.configure(&runtime));
        match written {
            Ok(()) => self.receivers = receivers,
            // Tried again at the next tick.
            Err(error) => tracing::error!("what receivers answer may be denied: {error}"),
        }
    }

    /// Who has a role that not everybody has.
    pub(super) fn trusted_hosts(&self) -> BTreeSet<TrustedKey> {
        trusted(&self.config, &self.receivers)
    }
}
