//! By which names rules may mean at least all that a name means. In: a policy. Out: for a peer the peers that hold it,
//! as its text says: a device is in its class, its zone and its groups, and in the networks around its addresses; a
//! network is in another that has all of its prefixes. That a class lies within a zone today is chance, and not told.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    rc::Rc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::model::{DeviceId, Network, NetworkId, Peer, Policy, covers};

/// Networks around one peer that are looked at: more overlap in no plant.
const MOST_AROUND: usize = 64;

/// The names that hold others.
pub(super) struct Wider<'p> {
    policy: &'p Policy,
    v4: PrefixMap<Ipv4Net, Vec<NetworkId>>,
    v6: PrefixMap<Ipv6Net, Vec<NetworkId>>,
    known: RefCell<HashMap<Peer, Rc<[Peer]>>>,
}

impl<'p> Wider<'p> {
    /// `named` are the peers that rules name: no other is of interest.
    pub(super) fn new(policy: &'p Policy, named: &BTreeSet<Peer>) -> Self {
        let (mut v4, mut v6) = (PrefixMap::new(), PrefixMap::new());
        for (id, network) in (0..).map(NetworkId).zip(&policy.networks) {
            if !named.contains(&Peer::Network(id)) {
                continue;
            }
            for cidr in &network.cidrs {
                match cidr {
                    IpNet::V4(cidr) => v4.entry(*cidr).or_insert_with(Vec::new).push(id),
                    IpNet::V6(cidr) => v6.entry(*cidr).or_insert_with(Vec::new).push(id),
                }
            }
        }
        Self { policy, v4, v6, known: RefCell::default() }
    }

    /// The peers that hold `peer`, itself first.
    pub(super) fn of(&self, peer: Peer) -> Rc<[Peer]> {
        if let Some(known) = self.known.borrow().get(&peer) {
            return Rc::clone(known);
        }
        let found: Rc<[Peer]> = self.find(peer).into();
        self.known.borrow_mut().insert(peer, Rc::clone(&found));
        found
    }

    fn find(&self, peer: Peer) -> Vec<Peer> {
        let mut found = vec![peer];
        match peer {
            Peer::Device(id) => found.extend(self.around_device(id)),
            Peer::Network(id) => {
                let inner = &self.policy.networks[id.0 as usize];
                let around = inner.cidrs.first().map(|first| self.around(*first)).unwrap_or_default();
                let holds = |outer: &NetworkId| {
                    *outer != id && is_within(inner, &self.policy.networks[outer.0 as usize])
                };
                found.extend(around.into_iter().filter(holds).map(Peer::Network));
            }
            Peer::Any => return found,
            Peer::Class(_)
            | Peer::Zone(_)
            | Peer::Group(_)
            | Peer::Multicast(_)
            | Peer::Gateway
            | Peer::Broadcast => {}
        }
        found.push(Peer::Any);
        found
    }

    fn around_device(&self, id: DeviceId) -> Vec<Peer> {
        let device = &self.policy.devices[id.0 as usize];
        let mut found: Vec<Peer> = device.roles().collect();
        // Nobody knows in which networks a lease will be, and with a MAC address a device has link-local ones besides.
        let has_others = device.dynamic || !device.macs.is_empty();
        if let Some(first) = device.addresses.first().filter(|_| !has_others) {
            let around = self.around(host(*first));
            let holds = |network: &NetworkId| {
                let network = &self.policy.networks[network.0 as usize];
                device.addresses.iter().all(|address| network.holds(*address))
            };
            found.extend(around.into_iter().filter(holds).map(Peer::Network));
        }
        found
    }

    /// Networks with a prefix around this one.
    fn around(&self, prefix: IpNet) -> BTreeSet<NetworkId> {
        let all: Vec<&Vec<NetworkId>> = match prefix {
            IpNet::V4(v4) => self.v4.cover(&v4).map(|(_, ids)| ids).collect(),
            IpNet::V6(v6) => self.v6.cover(&v6).map(|(_, ids)| ids).collect(),
        };
        all.into_iter().flatten().copied().take(MOST_AROUND).collect()
    }
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// Whether every address and name of `inner` is in `outer`.
fn is_within(inner: &Network, outer: &Network) -> bool {
    let named = |name: &String| outer.names.iter().any(|pattern| covers(pattern, name));
    let held = |cidr: &IpNet| {
        outer.cidrs.iter().any(|wide| wide.contains(cidr))
            // What is left out there is left out here as well, or lies elsewhere.
            && outer.except.iter().all(|out| {
                let apart = !cidr.contains(out) && !out.contains(cidr);
                apart || inner.except.iter().any(|own| own.contains(out))
            })
    };
    inner.cidrs.iter().all(held) && inner.names.iter().all(named)
}
