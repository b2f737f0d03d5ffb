//! What the agent starts with: the sizes of the tables, and what packets read besides.

use std::{collections::BTreeSet, time::Duration};

use bulkhead_common::{
    layout::{Settings, TrustedKey},
    lookup::setting,
    wire::protocol,
};

use super::{agent::NOBODY, receivers::Receivers};
use crate::{
    config::{Config, Midstream, receiver_key},
    dataplane::{CacheSizes, Dataplane, DataplaneError, Runtime, Sizes, monotonic_ns},
};

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

/// The sizes of the tables that a configuration asks for.
pub fn sizes(config: &Config) -> Sizes {
    let limits = &config.limits;
    let cache = CacheSizes::holding(limits.verdicts);
    Sizes {
        devices: limits.devices.saturating_add(NOBODY),
        rules: limits.rules.saturating_add(NOBODY),
        flows: limits.flows,
        violations: limits.violations,
        ring_bytes: limits.ring_bytes,
        cache: if config.forwards_directly() { cache.with_hops() } else { cache },
    }
}

/// What packets read besides the policy. The adoption window opens once in the life of the maps.
pub(super) fn runtime(
    config: &Config,
    receivers: &Receivers,
    dataplane: &Dataplane,
) -> Result<Runtime, DataplaneError> {
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let flows = &config.flows;
    let adopted = dataplane.active()?.generation != 0;
    let adopt_until = if adopted {
        dataplane.settings()?.adopt_until
    } else {
        monotonic_ns().saturating_add(ns(flows.adopt_for))
    };
    let flags = if flows.midstream == Midstream::Strict { setting::STRICT } else { 0 };
    debug_assert!(
        config.management.services.iter().all(|s| matches!(s.protocol, protocol::TCP | protocol::UDP))
    );
    Ok(Runtime {
        settings: Settings {
            adopt_until,
            tcp_idle: ns(flows.tcp_idle),
            opening_idle: ns(flows.tcp_opening),
            udp_idle: ns(flows.udp_idle),
            icmp_idle: ns(flows.icmp_idle),
            closing_idle: ns(CLOSING_IDLE),
            fragment_idle: ns(FRAGMENT_IDLE),
            lease_idle: ns(LEASE_IDLE),
            flow_window: ns(FLOW_WINDOW),
            flow_cap: flows.new_per_second,
            flags,
        },
        management_peers: config.management.from.clone(),
        management_services: config.management.services.clone(),
        trusted: trusted(config, receivers),
    })
}

/// Who has a role by the configuration, and who receives by a name in it.
pub(super) fn trusted(config: &Config, receivers: &Receivers) -> BTreeSet<TrustedKey> {
    let found = receivers.values().flatten().map(|receiver| receiver_key(*receiver));
    config.trusted_hosts().into_iter().chain(found).collect()
}
