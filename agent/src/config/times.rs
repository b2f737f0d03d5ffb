//! What packets read of `[flows]`: how long each thing is remembered.

use std::time::Duration;

use bulkhead_common::{layout::Settings, lookup::setting};

use super::{Flows, Midstream};

/// How long a TCP flow lives on after FIN or RST: long enough for retransmissions of the last segments
/// (RFC 9293 3.6.1 holds TIME-WAIT for four minutes; both ends have left by then).
const CLOSING_IDLE: Duration = Duration::from_secs(120);

/// How long the fragments of one packet may take to arrive (RFC 8200 4.5 gives them 60 s; Linux 30 s,
/// `net.ipv4.ipfrag_time`).
const FRAGMENT_IDLE: Duration = Duration::from_secs(30);

/// How long an address that a DHCP server named is its client's before the agent has read for how long it really is.
/// An agent that is down for longer leaves devices without the addresses they get meanwhile.
const LEASE_IDLE: Duration = Duration::from_secs(60 * 60);

/// The window in which a device's new flows are counted.
const FLOW_WINDOW: Duration = Duration::from_secs(1);

impl Flows {
    /// Times, caps and switches as packets read them, ns. Until `adopt_until`, on the clock of the packets, conversations under way are
    /// taken over.
    pub fn settings(&self, adopt_until: u64) -> Settings {
        Settings {
            adopt_until,
            tcp_idle: ns(self.tcp_idle),
            opening_idle: ns(self.tcp_opening),
            udp_idle: ns(self.udp_idle),
            icmp_idle: ns(self.icmp_idle),
            closing_idle: ns(CLOSING_IDLE),
            fragment_idle: ns(FRAGMENT_IDLE),
            lease_idle: ns(LEASE_IDLE),
            flow_window: ns(FLOW_WINDOW),
            flow_cap: self.new_per_second,
            flags: if self.midstream == Midstream::Strict { setting::STRICT } else { 0 },
        }
    }

    /// Until when conversations under way are taken over by an agent that begins at this moment, ns.
    pub fn adopts_until(&self, begin: u64) -> u64 {
        begin.saturating_add(ns(self.adopt_for))
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
