//! What the agent starts with: the sizes of the tables, and what packets read besides; and why it may not start.

use std::collections::BTreeSet;

use bulkhead_common::{layout::TrustedKey, wire::protocol};

use super::{agent::NOBODY, receivers::Receivers};
use crate::{
    config::{Config, receiver_key},
    dataplane::{CacheSizes, Dataplane, DataplaneError, Runtime, Sizes, monotonic_ns},
    store::StoreError,
};

/// The agent did not start. Whatever enforced before goes on enforcing.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data path could not be opened.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The state directory could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no usable policy, and there never was one.
    #[error("{0}")]
    Policy(String),
    /// Not one interface could be attached.
    #[error("nothing is enforced: {0}")]
    Attach(String),
}

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
    let adopted = dataplane.active()?.generation != 0;
    let adopt_until =
        if adopted { dataplane.settings()?.adopt_until } else { config.flows.adopts_until(monotonic_ns()) };
    debug_assert!(
        config.management.services.iter().all(|s| matches!(s.protocol, protocol::TCP | protocol::UDP))
    );
    Ok(Runtime {
        settings: config.flows.settings(adopt_until),
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
