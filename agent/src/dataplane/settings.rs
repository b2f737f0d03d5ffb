//! How the agent runs, written where packets read it: not part of a policy, so not part of a revision.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::lpm_trie::Key;
use bulkhead_common::{
    cache::key::INTERFACES,
    layout::{SegmentKey, SegmentRow, ServiceKey, Settings, TrustedKey},
    lookup::ANY_VLAN,
};
use ipnet::{IpNet, Ipv4Net};

use super::{Dataplane, DataplaneError, read, write};
use crate::{
    compile::{ServicePrefix, prefixes_of, wide},
    model::Selector,
};

/// Everything but the policy that a packet depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Timeouts and switches. `adopt_until` is kept from an earlier agent when the maps were adopted.
    pub settings: Settings,
    /// From where the gateway may always be managed; at most 64.
    pub management_peers: Vec<IpNet>,
    /// Over what; at most 256 aligned blocks of ports.
    pub management_services: Vec<Selector>,
    /// Who may be a DHCP server or a router where not everybody may; at most 1024.
    pub trusted: BTreeSet<TrustedKey>,
}

impl Dataplane {
    /// Writes timeouts, switches and the management pin. New entries go in before old ones go out, so
    /// that what is pinned before and after is pinned at every moment between.
    ///
    /// # Errors
    /// When a map cannot be written, for example because more than 64 peers are pinned.
    pub fn configure(&mut self, runtime: &Runtime) -> Result<(), DataplaneError> {
        let written = self.write_runtime(runtime);
        self.edited().and(written)
    }

    fn write_runtime(&mut self, runtime: &Runtime) -> Result<(), DataplaneError> {
        let Runtime { settings, management_peers, management_services, trusted } = runtime;
        self.settings.set(0, settings, 0).map_err(write("SETTINGS"))?;
        let peers = peers(management_peers);
        for ((bits, address), pinned) in &peers {
            self.management_peers
                .insert(&Key::new(*bits, *address), pinned, 0)
                .map_err(write("MGMT_PEERS"))?;
        }
        for key in self.management_peers.keys().collect::<Result<Vec<_>, _>>().map_err(read("MGMT_PEERS"))? {
            if !peers.contains_key(&(key.prefix_len(), key.data())) {
                self.management_peers.remove(&key).map_err(write("MGMT_PEERS"))?;
            }
        }
        let ports = ports(management_services);
        for prefix in &ports {
            let key = Key::new(prefix.bits, prefix.key());
            self.management_ports.insert(&key, 1, 0).map_err(write("MGMT_PORTS"))?;
        }
        for key in self.management_ports.keys().collect::<Result<Vec<_>, _>>().map_err(read("MGMT_PORTS"))? {
            let ServiceKey { protocol, port, pad: _ } = key.data();
            let prefix = ServicePrefix { protocol, port: u16::from_be_bytes(port), bits: key.prefix_len() };
            if !ports.contains(&prefix) {
                self.management_ports.remove(&key).map_err(write("MGMT_PORTS"))?;
            }
        }
        for key in trusted {
            self.trusted.insert(key, 1, 0).map_err(write("TRUSTED"))?;
        }
        for key in self.trusted.keys().collect::<Result<Vec<_>, _>>().map_err(read("TRUSTED"))? {
            if !trusted.contains(&key) {
                self.trusted.remove(&key).map_err(write("TRUSTED"))?;
            }
        }
        self.placed.runtime = Some(runtime.clone());
        Ok(())
    }

    /// The settings in force, all zero before the first [`Dataplane::configure`].
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn settings(&self) -> Result<Settings, DataplaneError> {
        self.settings.get(&0, 0).map_err(read("SETTINGS"))
    }

    /// Says how packets of a segment are judged.
    ///
    /// # Errors
    /// When the map is full (1024 segments) or cannot be written.
    pub fn set_segment(&mut self, key: SegmentKey, row: SegmentRow) -> Result<(), DataplaneError> {
        let counts_elsewhere =
            self.placed.segments.get(&key).is_some_and(|known| known.counter != row.counter);
        if counts_elsewhere {
            self.collect_or_warn();
        }
        let written = self.segments.insert(key, row, 0).map_err(write("SEGMENTS"));
        self.placed.segments.insert(key, row);
        let written = written.and_then(|()| self.redirect(key, row.redirect));
        self.edited().and(written)
    }

    /// Where what passes on an interface goes by its segments, for packets that are not judged again; 0 is the stack.
    pub(super) fn redirect_of(&self, ifindex: u32) -> u32 {
        let key = SegmentKey { ifindex, vlan: ANY_VLAN, pad: 0 };
        self.placed.segments.get(&key).map_or(0, |row| row.redirect)
    }

    /// Writes all of them.
    pub(super) fn redirect_all(&mut self) -> Result<(), DataplaneError> {
        for ifindex in 0..INTERFACES {
            let to = self.redirect_of(ifindex);
            self.redirects.set(ifindex, to, 0).map_err(write("REDIRECTS"))?;
        }
        self.edited()
    }

    /// Says where what passes on an interface goes.
    fn redirect(&mut self, key: SegmentKey, to: u32) -> Result<(), DataplaneError> {
        if key.vlan == ANY_VLAN && key.ifindex < INTERFACES {
            self.redirects.set(key.ifindex, to, 0).map_err(write("REDIRECTS"))?;
        }
        Ok(())
    }

    /// Forgets the segments that are not in `keep`, for example those whose NIC is gone.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn retain_segments(&mut self, keep: &BTreeSet<SegmentKey>) -> Result<(), DataplaneError> {
        let there: Vec<SegmentKey> =
            self.segments.keys().collect::<Result<_, _>>().map_err(read("SEGMENTS"))?;
        let gone: Vec<SegmentKey> = there.into_iter().filter(|key| !keep.contains(key)).collect();
        self.placed.segments.retain(|key, _| keep.contains(key));
        if gone.is_empty() {
            return Ok(());
        }
        // What their packets are counted by goes with them.
        self.collect_or_warn();
        let written = gone.iter().try_for_each(|key| {
            self.segments.remove(key).map_err(write("SEGMENTS"))?;
            self.redirect(*key, 0)
        });
        self.edited().and(written)
    }
}

/// Rows of the management peers: prefix length and address, and whether it is pinned.
pub(super) fn peers(pinned: &[IpNet]) -> BTreeMap<(u32, [u8; 16]), u32> {
    // An IPv6 prefix around the mapped addresses pins no IPv4 host: a row says so, unless IPv4 is pinned whole.
    let everybody_v4 = wide(&IpNet::V4(Ipv4Net::default()));
    let mut peers = BTreeMap::from([((96, everybody_v4.network().octets()), 0)]);
    for net in pinned.iter().map(wide) {
        peers.insert((u32::from(net.prefix_len()), net.network().octets()), 1);
    }
    peers
}

/// Rows of the management services.
pub(super) fn ports(services: &[Selector]) -> BTreeSet<ServicePrefix> {
    services.iter().flat_map(|service| prefixes_of(*service)).collect()
}
