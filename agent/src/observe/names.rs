//! What the numbers in kernel samples were called when the packet was decided.
//!
//! In: the tables of each applied generation, the stable ids the data path gave its devices, and the
//! networks of its policy. Out: names. A sample may be older than the present policy, so the last
//! [`GENERATIONS`] are kept; beyond that the newest one that knows a number answers. What a generation's revision
//! is stays known much longer: a record without it could not be explained.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr},
};

use bulkhead_common::{address::Address, layout::Head};
use ipnet::Ipv6Net;
use prefix_trie::PrefixMap;

use crate::{
    compile::{Tables, wide},
    model::{Criticality, Policy},
};

/// How many generations are remembered.
pub const GENERATIONS: usize = 16;

/// How many revisions are remembered by their generation: a record may wait a whole summary interval, and however
/// often the policy changed meanwhile, it says which one decided.
pub(super) const REVISIONS: usize = 4096;

/// What the gateway's own addresses are called, as in policy files.
const GATEWAY: &str = "gateway";

/// Everything that has a name in a record.
#[derive(Default)]
pub struct Names {
    /// Oldest first.
    known: VecDeque<Known>,
    /// By generation, twelve hexadecimal digits each.
    revisions: BTreeMap<u32, String>,
    interfaces: BTreeMap<u32, String>,
    gateway: BTreeSet<IpAddr>,
}

/// The names of one generation.
struct Known {
    generation: u32,
    /// By stable id.
    devices: BTreeMap<u32, (String, Criticality)>,
    /// Names of devices by hardware address as a number.
    macs: BTreeMap<u64, String>,
    networks: Networks,
    /// Whether the tables were at hand, and not only the kernel's word for the revision.
    complete: bool,
}

impl Names {
    /// Remembers what an applied generation calls things. `device_ids` are stable ids in the order of
    /// `tables.devices`. What was remembered of the same generation is replaced.
    pub fn learn(&mut self, generation: u32, tables: &Tables, device_ids: &[u32], policy: &Policy) {
        let names = || tables.devices.iter().map(|device| device.name.clone());
        let criticality =
            |name: &str| policy.device(name).map_or(Criticality::default(), |(_, device)| device.criticality);
        let devices = names().map(|name| {
            let criticality = criticality(&name);
            (name, criticality)
        });
        let dense: BTreeMap<u32, String> = (1..).zip(names()).collect();
        let name_of = |dense_id: u32| dense.get(&dense_id).cloned();
        self.remember(generation, tables.revision.to_string());
        self.insert(Known {
            generation,
            devices: device_ids.iter().copied().zip(devices).collect(),
            macs: tables.macs.iter().filter_map(|(mac, row)| Some((*mac, name_of(row.device)?))).collect(),
            networks: Networks::of(policy),
            complete: true,
        });
    }

    /// Remembers the revision of a generation that an earlier agent applied, as the kernel has it.
    pub fn learn_head(&mut self, head: &Head) {
        let Head { generation, shapes: _, revision } = *head;
        if generation == 0 || self.at(generation).is_some() {
            return;
        }
        let mut text = String::new();
        for byte in &revision[..6] {
            let _ = write!(text, "{byte:02x}");
        }
        self.remember(generation, text);
        self.insert(Known {
            generation,
            devices: BTreeMap::new(),
            macs: BTreeMap::new(),
            networks: Networks::default(),
            complete: false,
        });
    }

    /// Says what each interface index is called now.
    pub fn set_interfaces(&mut self, interfaces: BTreeMap<u32, String>) {
        self.interfaces = interfaces;
    }

    /// Says which addresses are the gateway's own.
    pub fn set_gateway(&mut self, gateway: BTreeSet<IpAddr>) {
        self.gateway = gateway;
    }

    /// The interface with an index; `if#7` when nobody said what it is called.
    pub fn interface(&self, ifindex: u32) -> String {
        self.interfaces.get(&ifindex).cloned().unwrap_or_else(|| format!("if#{ifindex}"))
    }

    /// The revision behind a generation, twelve hexadecimal digits; `None` before the first policy and
    /// when the generation is too old.
    pub fn revision(&self, generation: u32) -> Option<&str> {
        self.revisions.get(&generation).map(String::as_str)
    }

    /// The device with a stable id; `device#7` when no generation knows it, `None` for id 0.
    pub fn device(&self, generation: u32, id: u32) -> Option<String> {
        if id == 0 {
            return None;
        }
        Some(
            self.known_device(generation, id)
                .map_or_else(|| format!("device#{id}"), |(name, _)| name.clone()),
        )
    }

    /// How much harm a stop of a device does; `None` where no generation knows it.
    pub fn criticality(&self, generation: u32, id: u32) -> Option<Criticality> {
        self.known_device(generation, id).map(|(_, criticality)| *criticality)
    }

    fn known_device(&self, generation: u32, id: u32) -> Option<&(String, Criticality)> {
        let newest_first = self.known.iter().rev();
        self.at(generation).into_iter().chain(newest_first).find_map(|known| known.devices.get(&id))
    }

    /// The device that owns a hardware address.
    pub fn device_of_mac(&self, generation: u32, mac: u64) -> Option<String> {
        self.nearest(generation)?.macs.get(&mac).cloned()
    }

    /// What an address that is no device's is called: `gateway`, or the network with the longest prefix
    /// around it, of those that do not except it.
    pub fn peer(&self, generation: u32, address: IpAddr) -> Option<String> {
        if self.gateway.contains(&address) {
            return Some(GATEWAY.into());
        }
        let networks = &self.nearest(generation)?.networks;
        let host = Ipv6Net::from(Ipv6Addr::from(Address::from(address).octets()));
        networks.around(&host).map(str::to_owned)
    }

    fn remember(&mut self, generation: u32, revision: String) {
        self.revisions.insert(generation, revision);
        if self.revisions.len() > REVISIONS {
            self.revisions.pop_first();
        }
    }

    fn insert(&mut self, known: Known) {
        self.known.retain(|k| k.generation != known.generation);
        if self.known.len() == GENERATIONS {
            self.known.pop_front();
        }
        self.known.push_back(known);
    }

    fn at(&self, generation: u32) -> Option<&Known> {
        self.known.iter().find(|known| known.generation == generation)
    }

    /// The generation itself, or the newest there is.
    fn nearest(&self, generation: u32) -> Option<&Known> {
        let complete = || self.known.iter().rev().filter(|known| known.complete);
        complete().find(|known| known.generation == generation).or_else(|| complete().next())
    }
}

/// Networks and groups by their prefixes.
#[derive(Default)]
struct Networks {
    /// Networks, then groups, each sorted.
    names: Vec<String>,
    /// Whose prefix it is, by the place in `names`, and whether they except it.
    prefixes: PrefixMap<Ipv6Net, Vec<(u32, bool)>>,
}

impl Networks {
    fn of(policy: &Policy) -> Self {
        let networks = policy.networks.iter().map(|one| (&one.name, &one.cidrs, one.except.as_slice()));
        let groups = policy.multicasts.iter().map(|one| (&one.name, &one.cidrs, [].as_slice()));
        let mut all = Self::default();
        for (place, (name, cidrs, except)) in (0..).zip(networks.chain(groups)) {
            all.names.push(name.clone());
            for (cidr, excepted) in cidrs.iter().map(|c| (c, false)).chain(except.iter().map(|c| (c, true))) {
                all.prefixes.entry(wide(cidr)).or_default().push((place, excepted));
            }
        }
        all
    }

    /// The one with the longest prefix around an address that does not except it; of two with one prefix a network, and the
    /// first by name.
    fn around(&self, host: &Ipv6Net) -> Option<&str> {
        let around: Vec<(u32, bool)> =
            self.prefixes.cover(host).flat_map(|(_, of)| of.iter().rev().copied()).collect();
        let excepted = |place: u32| around.contains(&(place, true));
        let longest_first = around.iter().rev().filter(|(_, except)| !except).map(|(place, _)| *place);
        let found = longest_first.into_iter().find(|place| !excepted(*place))?;
        self.names.get(found as usize).map(String::as_str)
    }
}

#[cfg(test)]
pub(super) mod tests;
