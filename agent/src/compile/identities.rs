//! How rule rows may name an end. A device's own number, its class and its zone are names by themselves; all else it is
//! in - groups, networks, multicast groups - makes up its identity, one number for each set that occurs.
//!
//! Networks may overlap and contain devices. A packet looks up one identity for each end, so every address must carry all
//! the sets by which rules may mean it; the flattening happens here, once. Numbers are made of names, not of places in a
//! list: a change of policy leaves those alone that mean the same.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use bulkhead_common::lookup::{identity, shape};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::{dense, numbers::numbered};
use crate::model::{Device, DeviceId, Mac, MulticastId, NetworkId, Peer, Policy};

/// What an end is in, besides a class and a zone.
type Sets = BTreeSet<Peer>;

/// Every number of a policy's rows.
pub(super) struct Identities {
    /// The identity of each combination.
    numbers: BTreeMap<Sets, u32>,
    /// The combination behind each prefix of a network or of a multicast group that a rule names.
    prefixes: BTreeMap<IpNet, Sets>,
    /// Identity of each address of a device.
    addresses: BTreeMap<IpAddr, u32>,
    /// What stands for each device: of its hardware addresses.
    devices: Vec<Names>,
    /// Numbers of classes and zones, 0 for those that no rule names.
    classes: Vec<u32>,
    zones: Vec<u32>,
    /// Identity of each hardware address of a multicast group.
    receivers: BTreeMap<Mac, u32>,
    /// Identities that hold a group, network or multicast group, ascending.
    holders: BTreeMap<Peer, Vec<u32>>,
    /// Identity of a leased address: by the device's own identity and that of the networks around the address.
    leased: BTreeMap<(u32, u32), u32>,
}

/// The names of a device, wherever it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    /// Whether rules name the device itself.
    pub(super) own: bool,
    /// 0 when it has none that a rule names.
    pub(super) class: u32,
    /// Likewise.
    pub(super) zone: u32,
    /// Its groups.
    pub(super) identity: u32,
}

/// What rows call a peer, ascending.
#[derive(Clone, Copy, Debug)]
pub(super) enum Called<'a> {
    One(u32),
    Each(&'a [u32]),
}

impl Called<'_> {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Each(names) => names,
        }
    }
}

/// The networks and multicast groups of both families of addresses.
struct Around {
    v4: PrefixMap<Ipv4Net, Part>,
    v6: PrefixMap<Ipv6Net, Part>,
}

/// What a prefix puts its addresses into, and what it takes them out of.
#[derive(Clone, Default)]
struct Part {
    holds: Sets,
    except: Sets,
}

impl Around {
    fn of(parts: &BTreeMap<IpNet, Part>) -> Self {
        let mut around = Self { v4: PrefixMap::new(), v6: PrefixMap::new() };
        for (prefix, part) in parts {
            match prefix {
                IpNet::V4(v4) => around.v4.insert(*v4, part.clone()),
                IpNet::V6(v6) => around.v6.insert(*v6, part.clone()),
            };
        }
        around
    }

    /// A prefix is in whatever a prefix that is the same or shorter puts it into, unless another takes it out.
    fn sets(&self, prefix: IpNet) -> Sets {
        let mut all = Part::default();
        let mut add = |part: &Part| {
            all.holds.extend(part.holds.iter().copied());
            all.except.extend(part.except.iter().copied());
        };
        match prefix {
            IpNet::V4(v4) => self.v4.cover(&v4).for_each(|(_, part)| add(part)),
            IpNet::V6(v6) => self.v6.cover(&v6).for_each(|(_, part)| add(part)),
        }
        &all.holds - &all.except
    }

    /// The longest prefix around an address: whatever holds the one holds the other.
    fn prefix_of(&self, address: IpAddr) -> Option<IpNet> {
        match IpNet::from(address) {
            IpNet::V4(v4) => self.v4.get_lpm(&v4).map(|(prefix, _)| IpNet::V4(prefix)),
            IpNet::V6(v6) => self.v6.get_lpm(&v6).map(|(prefix, _)| IpNet::V6(prefix)),
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
        // Only what a rule names: the library may grow, and no revision must change with it.
        let ends = policy.rules.iter().flat_map(|rule| rule.initiators.iter().chain(&rule.responders));
        let mut named: Vec<Peer> = ends.chain(&policy.remediation).copied().collect();
        named.sort_unstable();
        named.dedup();
        let named: BTreeSet<Peer> = named.into_iter().collect();
        let parts = parts(policy, &named);
        let around = Around::of(&parts);
        let mut prefixes: BTreeMap<IpNet, Sets> =
            parts.keys().map(|prefix| (*prefix, around.sets(*prefix))).collect();
        if around.swallows_v4() {
            // The kernel has one trie: without a row of its own, `0.0.0.0/0` would lie in `::/0`.
            prefixes.entry(IpNet::V4(Ipv4Net::default())).or_default();
        }
        let groups: Vec<Sets> = policy.devices.iter().map(|device| groups_of(device, &named)).collect();
        // Devices side by side are in the same networks: what they are in is joined once.
        let owned = policy.devices.iter().zip(&groups);
        let addresses: Vec<(IpAddr, (Option<IpNet>, &Sets))> = owned
            .flat_map(|(device, groups)| device.addresses.iter().map(move |address| (*address, groups)))
            .map(|(address, groups)| (address, (around.prefix_of(address), groups)))
            .collect();
        let join = |(place, groups): (Option<IpNet>, &Sets)| {
            &place.map_or_else(Sets::new, |prefix| around.sets(prefix)) | groups
        };
        let mut joined: HashMap<(Option<IpNet>, &Sets), Sets> = HashMap::new();
        for (_, both) in &addresses {
            joined.entry(*both).or_insert_with(|| join(*both));
        }
        let mut receivers: BTreeMap<Mac, Sets> = BTreeMap::new();
        for id in multicasts(&named) {
            for mac in &policy.multicasts[id.0 as usize].macs {
                receivers.entry(*mac).or_default().insert(Peer::Multicast(id));
            }
        }
        let leases = leases(policy, &groups, &prefixes);
        let all: BTreeSet<&Sets> = prefixes
            .values()
            .chain(joined.values())
            .chain(receivers.values())
            .chain(&groups)
            .chain(leases.values())
            .filter(|sets| !sets.is_empty())
            .collect();
        let text = |sets: &Sets| {
            let mut names: Vec<_> = sets.iter().map(|peer| policy.peer_name(*peer)).collect();
            names.sort();
            names.join(" ")
        };
        let numbers =
            numbered(all.into_iter().map(|sets| (text(sets), sets.clone())), identity::FIRST..identity::ZONE);
        let number = |sets: &Sets| numbers.get(sets).copied().unwrap_or(identity::UNKNOWN);
        let joined: HashMap<_, u32> = joined.iter().map(|(both, sets)| (*both, number(sets))).collect();
        let mut holders: BTreeMap<Peer, Vec<u32>> = BTreeMap::new();
        for (sets, number) in &numbers {
            for peer in sets {
                holders.entry(*peer).or_default().push(*number);
            }
        }
        holders.values_mut().for_each(|numbers| numbers.sort());
        let classes = tagged(
            &policy.classes,
            |class| &class.name,
            identity::CLASS,
            |id| named.contains(&Peer::Class(crate::model::ClassId(id))),
        );
        let zones = tagged(
            &policy.zones,
            |zone| &zone.name,
            identity::ZONE,
            |id| named.contains(&Peer::Zone(crate::model::ZoneId(id))),
        );
        let devices = (0..).map(DeviceId).zip(&policy.devices).zip(&groups);
        let devices = devices
            .map(|((id, device), groups)| Names {
                own: named.contains(&Peer::Device(id)),
                class: device.class.map_or(0, |class| classes[class.0 as usize]),
                zone: device.zone.map_or(0, |zone| zones[zone.0 as usize]),
                identity: number(groups),
            })
            .collect();
        Self {
            addresses: addresses.iter().map(|(address, both)| (*address, joined[both])).collect(),
            receivers: receivers.iter().map(|(mac, sets)| (*mac, number(sets))).collect(),
            leased: leases
                .iter()
                .map(|((device, networks), all)| ((number(device), number(networks)), number(all)))
                .collect(),
            devices,
            classes,
            zones,
            prefixes,
            holders,
            numbers,
        }
    }

    /// The identity of a device's address.
    pub(super) fn of_address(&self, address: IpAddr) -> u32 {
        self.addresses.get(&address).copied().unwrap_or(identity::UNKNOWN)
    }

    /// What rows may call a device at its hardware addresses: in frames without IP addresses, and in packets whose
    /// address says nothing more, such as a link-local one or a leased one in no network.
    pub(super) fn of_device(&self, device: DeviceId) -> Names {
        self.devices[device.0 as usize]
    }

    /// The identity of every hardware address of a multicast group.
    pub(super) fn receivers(&self) -> &BTreeMap<Mac, u32> {
        &self.receivers
    }

    /// The identity of every prefix.
    pub(super) fn networks(&self) -> BTreeMap<IpNet, u32> {
        let number = |sets| self.numbers.get(sets).copied().unwrap_or(identity::UNKNOWN);
        self.prefixes.iter().map(|(prefix, sets)| (*prefix, number(sets))).collect()
    }

    /// The identity of every leased address, by those of its device and of its networks.
    pub(super) fn leased(&self) -> BTreeMap<(u32, u32), u32> {
        self.leased.clone()
    }

    /// The kind of names by which rows mean a peer, and every such name in ascending order.
    pub(super) fn of_peer(&self, peer: Peer) -> (u32, Called<'_>) {
        match peer {
            Peer::Device(id) => (shape::OWN, Called::One(identity::DEVICE | dense(id.0 as usize))),
            Peer::Class(id) => (shape::CLASS, Called::One(self.classes[id.0 as usize])),
            Peer::Zone(id) => (shape::ZONE, Called::One(self.zones[id.0 as usize])),
            Peer::Group(_) | Peer::Network(_) | Peer::Multicast(_) => {
                (shape::IDENTITY, Called::Each(self.holders.get(&peer).map_or(&[], Vec::as_slice)))
            }
            Peer::Gateway => (shape::IDENTITY, Called::One(identity::GATEWAY)),
            Peer::Broadcast => (shape::IDENTITY, Called::One(identity::BROADCAST)),
            Peer::Any => (shape::ANYONE, Called::One(identity::ANY)),
        }
    }
}

/// Every prefix that changes what an address is in.
fn parts(policy: &Policy, named: &BTreeSet<Peer>) -> BTreeMap<IpNet, Part> {
    let mut parts: BTreeMap<IpNet, Part> = BTreeMap::new();
    for (network, peer) in policy.networks.iter().zip((0..).map(NetworkId).map(Peer::Network)) {
        for cidr in &network.cidrs {
            parts.entry(*cidr).or_default().holds.insert(peer);
        }
        for cidr in &network.except {
            parts.entry(*cidr).or_default().except.insert(peer);
        }
    }
    for id in multicasts(named) {
        for cidr in &policy.multicasts[id.0 as usize].cidrs {
            parts.entry(*cidr).or_default().holds.insert(Peer::Multicast(id));
        }
    }
    parts
}

fn multicasts(named: &BTreeSet<Peer>) -> impl Iterator<Item = MulticastId> {
    named.iter().filter_map(|peer| match peer {
        Peer::Multicast(id) => Some(*id),
        Peer::Device(_)
        | Peer::Class(_)
        | Peer::Zone(_)
        | Peer::Group(_)
        | Peer::Network(_)
        | Peer::Gateway
        | Peer::Broadcast
        | Peer::Any => None,
    })
}

/// The groups of a device that a rule names.
fn groups_of(device: &Device, named: &BTreeSet<Peer>) -> Sets {
    device.groups.iter().copied().map(Peer::Group).filter(|group| named.contains(group)).collect()
}

/// The number of each class or zone that a rule names, with the bit of its kind; 0 for the others.
fn tagged<T>(all: &[T], name: impl Fn(&T) -> &String, tag: u32, is_named: impl Fn(u32) -> bool) -> Vec<u32> {
    let named = (0..).zip(all).filter(|(id, _)| is_named(*id));
    let numbers = numbered(named.map(|(id, one)| (name(one).clone(), id)), 1..identity::ZONE);
    (0..).zip(all).map(|(id, _)| numbers.get(&id).map_or(0, |number| tag | number)).collect()
}

/// What a device with leases and the networks around an address make up together, by the two.
fn leases(
    policy: &Policy,
    groups: &[Sets],
    prefixes: &BTreeMap<IpNet, Sets>,
) -> BTreeMap<(Sets, Sets), Sets> {
    // Nobody leases a multicast address.
    let leasable = |sets: &&Sets| !sets.is_empty() && multicasts(sets).next().is_none();
    let places: BTreeSet<&Sets> = prefixes.values().filter(leasable).collect();
    let dynamic = policy.devices.iter().zip(groups).filter(|(d, _)| d.dynamic && !d.macs.is_empty());
    let devices: BTreeSet<&Sets> = dynamic.map(|(_, groups)| groups).collect();
    let pairs = devices.iter().flat_map(|device| places.iter().map(move |networks| (*device, *networks)));
    pairs.map(|(device, networks)| ((device.clone(), networks.clone()), device | networks)).collect()
}
