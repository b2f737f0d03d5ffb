//! Who there is in two policies at once: devices that both treat alike are one node, addresses that are in the same
//! networks are another. In: two policies. Out: nodes, and which of them each policy means by a peer.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::model::{Criticality, DeviceId, MulticastId, Network, NetworkId, Peer, Policy};

/// Ends that no rule of either policy tells apart.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The first by name.
    pub(super) name: String,
    /// How many devices it stands for; 0 when it is something else.
    pub(super) devices: usize,
    /// How much harm its stop does.
    pub(super) criticality: Option<Criticality>,
    /// Whether the old policy knows it.
    pub(super) before: bool,
    /// Whether the new policy knows it.
    pub(super) after: bool,
    pub(super) kind: Kind,
}

/// What decides whether a conversation may start at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Devices.
    Device,
    /// Addresses of networks, or of none.
    Addresses,
    /// This gateway.
    Gateway,
    /// Addresses behind DNS names: they are only asked.
    Named,
    /// Many receivers at once: nothing starts there.
    Many,
}

impl Node {
    /// As a person would call it.
    pub(super) fn label(&self) -> String {
        let new = if self.before { "" } else { " (new)" };
        match self.devices {
            0 | 1 => format!("{}{new}", self.name),
            2 => format!("{} and 1 other like it{new}", self.name),
            some => format!("{} and {} others like it{new}", self.name, some - 1),
        }
    }

    /// Whether it can start a conversation.
    pub(super) fn starts(&self) -> bool {
        match self.kind {
            Kind::Device | Kind::Addresses | Kind::Gateway => true,
            Kind::Named | Kind::Many => false,
        }
    }

    /// Whether frames below IP can come from there.
    pub(super) fn has_frames(&self) -> bool {
        match self.kind {
            Kind::Device | Kind::Many => true,
            Kind::Addresses => self.name == ANY,
            Kind::Gateway | Kind::Named => false,
        }
    }
}

/// What an address that is in no network is called.
pub(super) const ANY: &str = "any other address";

/// Ascending numbers of nodes.
pub(super) type Nodes = Vec<u32>;

pub(super) struct Space {
    pub(super) nodes: Vec<Node>,
    /// By peer, of the old and of the new policy.
    pub(super) meant: [BTreeMap<Peer, Nodes>; 2],
}

/// What rules can see of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    peers: Vec<Peer>,
    criticality: Criticality,
}

impl Space {
    pub(super) fn of(policies: [&Policy; 2]) -> Self {
        let named = policies.map(named);
        let around = around(policies, &named);
        let mut space = Self { nodes: Vec::new(), meant: [BTreeMap::new(), BTreeMap::new()] };
        space.add_devices(policies, &named, &around);
        space.add_addresses(policies, &named, &around);
        space.add(one("gateway", Kind::Gateway), [vec![Peer::Gateway], vec![Peer::Gateway]]);
        space.add_many(policies, &named);
        for (side, is_there) in
            [(0, (|node: &Node| node.before) as fn(&Node) -> bool), (1, |node| node.after)]
        {
            let all = (0..).zip(&space.nodes).filter(|(_, node)| is_there(node)).map(|(id, _)| id);
            space.meant[side].insert(Peer::Any, all.collect());
        }
        space
    }

    /// Adds a node, and what each policy means it by.
    fn add(&mut self, node: Node, peers: [Vec<Peer>; 2]) {
        let id = u32::try_from(self.nodes.len()).expect("there are fewer nodes than devices and prefixes");
        self.nodes.push(node);
        for (meant, peers) in self.meant.iter_mut().zip(peers) {
            peers.into_iter().for_each(|peer| meant.entry(peer).or_default().push(id));
        }
    }

    fn add_devices(&mut self, policies: [&Policy; 2], named: &[BTreeSet<Peer>; 2], around: &Around) {
        let mut found: BTreeMap<&str, [Option<Seen>; 2]> = BTreeMap::new();
        for (side, policy) in policies.into_iter().enumerate() {
            for (id, device) in (0..).map(DeviceId).zip(&policy.devices) {
                let mut peers: Vec<Peer> = device.peers(id).collect();
                peers.retain(|peer| named[side].contains(peer));
                let networks =
                    device.addresses.iter().filter_map(|address| around.get(&IpNet::from(*address)));
                let networks: BTreeSet<NetworkId> =
                    networks.flat_map(|sets| sets[side].iter().copied()).collect();
                peers.extend(networks.into_iter().map(Peer::Network));
                found.entry(&device.name).or_default()[side] =
                    Some(Seen { peers, criticality: device.criticality });
            }
        }
        let mut alike: BTreeMap<[Option<Seen>; 2], Vec<&str>> = BTreeMap::new();
        found.into_iter().for_each(|(name, seen)| alike.entry(seen).or_default().push(name));
        let mut alike: Vec<_> = alike.into_iter().collect();
        alike.sort_by_key(|(_, names)| names[0]);
        for ([old, new], names) in alike {
            let node = Node {
                name: names[0].to_owned(),
                devices: names.len(),
                criticality: new.as_ref().or(old.as_ref()).map(|seen| seen.criticality),
                before: old.is_some(),
                after: new.is_some(),
                kind: Kind::Device,
            };
            self.add(node, [old, new].map(|seen| seen.map(|seen| seen.peers).unwrap_or_default()));
        }
    }

    fn add_addresses(&mut self, policies: [&Policy; 2], named: &[BTreeSet<Peer>; 2], around: &Around) {
        let prefixes = policies.iter().flat_map(|policy| &policy.networks);
        let prefixes: BTreeSet<IpNet> =
            prefixes.flat_map(|network| network.cidrs.iter().chain(&network.except)).copied().collect();
        let mut atoms: BTreeSet<&[BTreeSet<NetworkId>; 2]> =
            prefixes.iter().filter_map(|prefix| around.get(prefix)).collect();
        let nobody = [BTreeSet::new(), BTreeSet::new()];
        atoms.remove(&nobody);
        for sets in atoms {
            let smallest = |side: usize| {
                let networks = sets[side].iter().map(|id| &policies[side].networks[id.0 as usize]);
                networks.min_by_key(|network| (host_bits(network), &network.name))
            };
            let name = smallest(1).or_else(|| smallest(0)).map(|network| network.name.clone());
            // A part that a network wins or loses is not the whole of it.
            let part = name.as_ref().map_or("", |name| {
                // Of a network that no rule names it is not known what it holds.
                let holds = |side: usize| {
                    let all = (0..).map(NetworkId).zip(&policies[side].networks);
                    let (id, _) = all.into_iter().find(|(_, network)| network.name == *name)?;
                    Some(sets[side].contains(&id) || !named[side].contains(&Peer::Network(id)))
                };
                match (holds(0), holds(1)) {
                    (Some(false), Some(true)) => " (the part that comes to it)",
                    (Some(true), Some(false)) => " (the part that leaves it)",
                    (None, Some(_)) => " (new)",
                    (Some(_) | None, Some(_) | None) => "",
                }
            });
            let name = name.map(|name| name + part);
            let peers = sets.clone().map(|set| set.into_iter().map(Peer::Network).collect());
            self.add(one(&name.unwrap_or_default(), Kind::Addresses), peers);
        }
        self.add(one(ANY, Kind::Addresses), [Vec::new(), Vec::new()]);
    }

    fn add_many(&mut self, policies: [&Policy; 2], named: &[BTreeSet<Peer>; 2]) {
        let mut many: BTreeMap<(&str, Kind), [Vec<Peer>; 2]> = BTreeMap::new();
        for (side, policy) in policies.into_iter().enumerate() {
            let mut add = |name, kind, peer| {
                if named[side].contains(&peer) {
                    many.entry((name, kind)).or_default()[side].push(peer);
                }
            };
            for (id, group) in (0..).map(MulticastId).zip(&policy.multicasts) {
                add(group.name.as_str(), Kind::Many, Peer::Multicast(id));
            }
            for (id, network) in (0..).map(NetworkId).zip(&policy.networks) {
                if !network.names.is_empty() {
                    add(network.name.as_str(), Kind::Named, Peer::Network(id));
                }
            }
            add("broadcast", Kind::Many, Peer::Broadcast);
        }
        many.into_iter().for_each(|((name, kind), peers)| self.add(one(name, kind), peers));
    }
}

fn one(name: &str, kind: Kind) -> Node {
    Node { name: name.to_owned(), devices: 0, criticality: None, before: true, after: true, kind }
}

/// The peers that a policy's rules name.
fn named(policy: &Policy) -> BTreeSet<Peer> {
    policy.rules.iter().flat_map(|rule| rule.initiators.iter().chain(&rule.responders)).copied().collect()
}

/// Bits that its largest prefix leaves open.
fn host_bits(network: &Network) -> u8 {
    network.cidrs.iter().map(|cidr| cidr.max_prefix_len() - cidr.prefix_len()).max().unwrap_or(u8::MAX)
}

/// The networks that rules name around each prefix and each device's address, by the old and by the new policy.
type Around = BTreeMap<IpNet, [BTreeSet<NetworkId>; 2]>;

/// A prefix of a network: of which policy, whose, and whether it is taken out.
type Part = (usize, NetworkId, bool);

fn around(policies: [&Policy; 2], named: &[BTreeSet<Peer>; 2]) -> Around {
    let mut parts: BTreeMap<IpNet, Vec<Part>> = BTreeMap::new();
    for (side, policy) in policies.into_iter().enumerate() {
        for (id, network) in (0..).map(NetworkId).zip(&policy.networks) {
            let is_named = named[side].contains(&Peer::Network(id));
            for (cidrs, is_out) in [(&network.cidrs, false), (&network.except, true)] {
                for cidr in cidrs {
                    let part = parts.entry(cidr.trunc()).or_default();
                    part.extend(is_named.then_some((side, id, is_out)));
                }
            }
        }
        for address in policy.devices.iter().flat_map(|device| &device.addresses) {
            parts.entry(IpNet::from(*address)).or_default();
        }
    }
    // Sorted prefixes come before what they hold, so that a stack has all that are around the present one.
    let mut found = Around::new();
    let mut stack: Vec<(IpNet, Vec<Part>)> = Vec::new();
    for (prefix, parts) in parts {
        while stack.last().is_some_and(|(outer, _)| !outer.contains(&prefix)) {
            stack.pop();
        }
        stack.push((prefix, parts));
        let mut sets = [BTreeSet::new(), BTreeSet::new()];
        let all = || stack.iter().flat_map(|(_, parts)| parts);
        for (side, id, _) in all().filter(|(_, _, is_out)| !is_out) {
            sets[*side].insert(*id);
        }
        for (side, id, _) in all().filter(|(_, _, is_out)| *is_out) {
            sets[*side].remove(id);
        }
        found.insert(prefix, sets);
    }
    found
}
