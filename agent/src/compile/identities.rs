//! What rules see at an end of a packet: an identity is a set of names, each a device, a network or a multicast
//! group.
//!
//! Networks may overlap and contain devices. A packet looks up one identity for each end, so every address and
//! every hardware address must carry all the names by which rules may mean it; the flattening happens here, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bulkhead_common::lookup::identity;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::model::{Device, DeviceId, Mac, MulticastId, NetworkId, Peer, Policy};

/// All names of an end.
type Names = BTreeSet<Peer>;

/// Every identity of a policy, numbered in the order of its names.
pub(super) struct Identities {
    /// Which identity each set of names has.
    numbers: BTreeMap<Names, u32>,
    /// Names of each prefix of a network or of a group that a rule names.
    prefixes: BTreeMap<IpNet, Names>,
    /// Names of each address of a device.
    addresses: BTreeMap<IpAddr, Names>,
    /// Identity of each device's hardware addresses.
    own: Vec<Option<u32>>,
    /// Names of each hardware address of such a group.
    groups: BTreeMap<Mac, Names>,
    /// Identities that carry a name, ascending.
    carriers: BTreeMap<Peer, Vec<u32>>,
    /// Identity of a leased address: by the device's own identity and that of the networks around the address.
    leased: BTreeMap<(u32, u32), u32>,
}

/// The networks and groups of one family of addresses.
struct Around {
    v4: PrefixMap<Ipv4Net, Names>,
    v6: PrefixMap<Ipv6Net, Names>,
}

impl Around {
    fn of(named: impl Iterator<Item = (IpNet, Peer)>) -> Self {
        let mut around = Self { v4: PrefixMap::new(), v6: PrefixMap::new() };
        for (prefix, peer) in named {
            match prefix {
                IpNet::V4(v4) => {
                    let mut names = around.v4.get(&v4).cloned().unwrap_or_default();
                    names.insert(peer);
                    around.v4.insert(v4, names);
                }
                IpNet::V6(v6) => {
                    let mut names = around.v6.get(&v6).cloned().unwrap_or_default();
                    names.insert(peer);
                    around.v6.insert(v6, names);
                }
            }
        }
        around
    }

    /// A prefix has the names of every prefix that is the same or shorter and holds it.
    fn names(&self, prefix: IpNet) -> Names {
        match prefix {
            IpNet::V4(v4) => self.v4.cover(&v4).flat_map(|(_, names)| names.iter().copied()).collect(),
            IpNet::V6(v6) => self.v6.cover(&v6).flat_map(|(_, names)| names.iter().copied()).collect(),
        }
    }

    /// Whether IPv4 addresses, as the kernel writes them, lie in some IPv6 prefix.
    fn swallows_v4(&self) -> bool {
        self.v6.iter().any(|(prefix, _)| prefix.contains(&MAPPED))
    }
}

/// Where IPv4 addresses lie among the IPv6 addresses (RFC 4291 2.5.5.2).
const MAPPED: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

impl Identities {
    pub(super) fn of(policy: &Policy) -> Self {
        let named = policy.rules.iter().flat_map(|rule| &rule.responders);
        // Only what a rule names: the library may grow, and no revision must change with it.
        let groups: BTreeSet<MulticastId> = named.filter_map(|peer| multicast(*peer)).collect();
        let networks = policy.networks.iter().zip((0..).map(NetworkId).map(Peer::Network));
        let networks =
            networks.flat_map(|(network, peer)| network.cidrs.iter().map(move |cidr| (*cidr, peer)));
        let members = groups.iter().flat_map(|id| {
            policy.multicasts[id.0 as usize].cidrs.iter().map(move |cidr| (*cidr, Peer::Multicast(*id)))
        });
        let declared: Vec<(IpNet, Peer)> = networks.chain(members).collect();
        let around = Around::of(declared.iter().copied());
        let mut prefixes: BTreeMap<IpNet, Names> =
            declared.iter().map(|(prefix, _)| (*prefix, around.names(*prefix))).collect();
        if around.swallows_v4() {
            // The kernel has one trie: without a row of its own, `0.0.0.0/0` would lie in `::/0`.
            prefixes.entry(IpNet::V4(Ipv4Net::default())).or_default();
        }
        let devices = || (0..).map(DeviceId).zip(&policy.devices);
        let addresses: BTreeMap<IpAddr, Names> = devices()
            .flat_map(|(id, device)| device.addresses.iter().map(move |address| (id, device, *address)))
            .map(|(id, device, address)| {
                let mut names = around.names(IpNet::from(address));
                names.extend(names_of(id, device));
                (address, names)
            })
            .collect();
        let mut receivers: BTreeMap<Mac, Names> = BTreeMap::new();
        for id in groups {
            for mac in &policy.multicasts[id.0 as usize].macs {
                receivers.entry(*mac).or_default().insert(Peer::Multicast(id));
            }
        }
        let own: Vec<Names> = devices()
            .filter(|(_, device)| !device.macs.is_empty())
            .map(|(id, device)| names_of(id, device))
            .collect();
        let leases = leases(policy, &prefixes);
        let all: BTreeSet<&Names> = prefixes
            .values()
            .filter(|names| !names.is_empty())
            .chain(addresses.values())
            .chain(receivers.values())
            .chain(&own)
            .chain(leases.iter().map(|(_, _, all)| all))
            .collect();
        let numbers: BTreeMap<Names, u32> = all.into_iter().cloned().zip(identity::FIRST..).collect();
        let mut carriers: BTreeMap<Peer, Vec<u32>> = BTreeMap::new();
        for (names, number) in &numbers {
            for peer in names {
                carriers.entry(*peer).or_default().push(*number);
            }
        }
        let leased = leases
            .iter()
            .map(|(device, networks, all)| ((numbers[device], numbers[networks]), numbers[all]))
            .collect();
        let own = devices().map(|(id, device)| numbers.get(&names_of(id, device)).copied()).collect();
        Self { numbers, prefixes, addresses, own, groups: receivers, carriers, leased }
    }

    fn number(&self, names: &Names) -> u32 {
        self.numbers.get(names).copied().unwrap_or(identity::UNKNOWN)
    }

    /// The identity of a device's address.
    pub(super) fn of_address(&self, address: IpAddr) -> u32 {
        self.addresses.get(&address).map_or(identity::UNKNOWN, |names| self.number(names))
    }

    /// The identity of a device's hardware addresses: of frames without IP addresses, and of packets whose address
    /// says nothing more, such as a link-local one or a leased one in no network.
    pub(super) fn of_device(&self, device: DeviceId) -> u32 {
        self.own[device.0 as usize].unwrap_or(identity::UNKNOWN)
    }

    /// The identity of every hardware address of a group.
    pub(super) fn groups(&self) -> BTreeMap<Mac, u32> {
        self.groups.iter().map(|(mac, names)| (*mac, self.number(names))).collect()
    }

    /// The identity of every prefix.
    pub(super) fn networks(&self) -> BTreeMap<IpNet, u32> {
        self.prefixes.iter().map(|(prefix, names)| (*prefix, self.number(names))).collect()
    }

    /// The identity of every leased address, by those of its device and of its networks.
    pub(super) fn leased(&self) -> BTreeMap<(u32, u32), u32> {
        self.leased.clone()
    }

    /// Every identity that a rule means when it names a peer, in ascending order.
    pub(super) fn of_peer(&self, peer: Peer) -> Vec<u32> {
        match peer {
            Peer::Device(_)
            | Peer::Class(_)
            | Peer::Zone(_)
            | Peer::Group(_)
            | Peer::Network(_)
            | Peer::Multicast(_) => self.carriers.get(&peer).cloned().unwrap_or_default(),
            Peer::Gateway => vec![identity::GATEWAY],
            Peer::Broadcast => vec![identity::BROADCAST],
            Peer::Any => vec![identity::ANY],
        }
    }
}

fn multicast(peer: Peer) -> Option<MulticastId> {
    match peer {
        Peer::Multicast(id) => Some(id),
        Peer::Device(_)
        | Peer::Class(_)
        | Peer::Zone(_)
        | Peer::Group(_)
        | Peer::Network(_)
        | Peer::Gateway
        | Peer::Broadcast
        | Peer::Any => None,
    }
}

/// What rules may call a device, wherever it is.
fn names_of(id: DeviceId, device: &Device) -> Names {
    let own = [Peer::Device(id)].into_iter();
    let groups = device.groups.iter().copied().map(Peer::Group);
    own.chain(device.class.map(Peer::Class)).chain(device.zone.map(Peer::Zone)).chain(groups).collect()
}

/// For each device with leases and each set of networks that an address can lie in: the device, the networks, both.
fn leases(policy: &Policy, prefixes: &BTreeMap<IpNet, Names>) -> Vec<(Names, Names, Names)> {
    // Nobody leases a multicast address.
    let leasable = |names: &&Names| !names.is_empty() && !names.iter().any(|peer| multicast(*peer).is_some());
    let places: BTreeSet<&Names> = prefixes.values().filter(leasable).collect();
    let devices = (0..).map(DeviceId).zip(&policy.devices);
    let dynamic = devices.filter(|(_, device)| device.dynamic && !device.macs.is_empty());
    dynamic
        .flat_map(|(id, device)| {
            places.iter().map(move |networks| {
                let device = names_of(id, device);
                let all = device.union(networks).copied().collect();
                (device, (*networks).clone(), all)
            })
        })
        .collect()
}
