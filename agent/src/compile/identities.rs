//! What rules see behind an address: an identity is one device or none, and a set of networks.
//!
//! Networks may overlap and contain devices. A packet looks up one identity for each end, so every
//! address must carry all the names by which rules may mean it; the flattening happens here, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use bulkhead_common::lookup::identity;
use ipnet::{IpNet, Ipv4Net};
use prefix_trie::PrefixMap;

use crate::model::{DeviceId, NetworkId, Peer, Policy};

/// All names of an address.
type Names = (Option<DeviceId>, BTreeSet<NetworkId>);

/// Every identity of a policy, numbered in the order of its names.
pub(super) struct Identities {
    /// Which identity each set of names has.
    numbers: BTreeMap<Names, u32>,
    /// Names of each prefix of a network.
    prefixes: BTreeMap<Ipv4Net, Names>,
    /// Names of each address of a device.
    addresses: BTreeMap<Ipv4Addr, Names>,
}

impl Identities {
    pub(super) fn of(policy: &Policy) -> Self {
        let mut trie: PrefixMap<Ipv4Net, BTreeSet<NetworkId>> = PrefixMap::new();
        for (network, index) in policy.networks.iter().zip(0..) {
            for cidr in &network.cidrs {
                if let IpNet::V4(v4) = cidr {
                    let mut names = trie.get(v4).cloned().unwrap_or_default();
                    names.insert(NetworkId(index));
                    trie.insert(*v4, names);
                }
            }
        }
        // A prefix lies in every network that has it or a shorter one around it.
        let around = |prefix: &Ipv4Net| -> BTreeSet<NetworkId> {
            trie.cover(prefix).flat_map(|(_, names)| names.iter().copied()).collect()
        };
        let prefixes: BTreeMap<_, _> =
            trie.iter().map(|(prefix, _)| (prefix, (None, around(&prefix)))).collect();
        let mut addresses = BTreeMap::new();
        for (device, index) in policy.devices.iter().zip(0..) {
            for address in &device.addresses {
                addresses.insert(*address, (Some(DeviceId(index)), around(&Ipv4Net::from(*address))));
            }
        }
        let all: BTreeSet<Names> = prefixes.values().chain(addresses.values()).cloned().collect();
        let numbers = all.into_iter().zip(identity::FIRST..).collect();
        Self { numbers, prefixes, addresses }
    }

    /// The identity of a device's address.
    pub(super) fn of_address(&self, address: Ipv4Addr) -> u32 {
        self.addresses
            .get(&address)
            .and_then(|names| self.numbers.get(names))
            .copied()
            .unwrap_or(identity::UNKNOWN)
    }

    /// The identity of every prefix.
    pub(super) fn networks(&self) -> BTreeMap<Ipv4Net, u32> {
        self.prefixes.iter().map(|(prefix, names)| (*prefix, self.numbers[names])).collect()
    }

    /// Every identity that a rule means when it names a peer, in ascending order.
    pub(super) fn of_peer(&self, peer: Peer) -> Vec<u32> {
        let matching = |wanted: &dyn Fn(&Names) -> bool| {
            self.numbers.iter().filter(|(names, _)| wanted(names)).map(|(_, number)| *number).collect()
        };
        match peer {
            Peer::Device(device) => matching(&|(d, _)| *d == Some(device)),
            Peer::Network(network) => matching(&|(_, networks)| networks.contains(&network)),
            Peer::Gateway => vec![identity::GATEWAY],
            Peer::Any => vec![identity::ANY],
        }
    }
}
