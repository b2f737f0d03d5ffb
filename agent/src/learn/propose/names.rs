//! Words for what has none. In: hosts, groups and services as they were seen. Out: names of the policy or the library that are just that, and
//! declarations of new ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bulkhead_common::wire::protocol;
use ipnet::{IpNet, Ipv4AddrRange, Ipv6AddrRange};

use super::entry::{Term, What, has_numbers};
use crate::{
    compile::{pair, receivers},
    learn::Party,
    model::{Mac, Multicast, Policy, Selector, spelled},
    policy::{
        built_in,
        format::{service_table, text::Table},
    },
    traffic::Service,
};

/// A service as people ask for it.
pub(super) fn shown(service: Service) -> String {
    spelled(service.selector())
}

/// What is declared beside the rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Declared {
    Network(IpNet),
    Addresses(Vec<IpNet>),
    Group(IpAddr),
    Frames(Mac),
    Service(Vec<Selector>),
}

/// Names so far.
pub(super) struct Names<'p> {
    policy: &'p Policy,
    declared: BTreeMap<String, Declared>,
    used: BTreeMap<String, Declared>,
}

impl<'p> Names<'p> {
    pub(super) fn new(policy: &'p Policy) -> Self {
        Self { policy, declared: BTreeMap::new(), used: BTreeMap::new() }
    }

    /// What has to be declared for the words since it was asked last.
    pub(super) fn take(&mut self) -> BTreeMap<String, Declared> {
        std::mem::take(&mut self.used)
    }

    /// The words for the other ends: a group of the policy where all of it was seen.
    pub(super) fn terms(&mut self, terms: &BTreeSet<Term>, ends: &[IpAddr]) -> BTreeSet<String> {
        let mut left = terms.clone();
        let mut words = BTreeSet::new();
        let mut groups: Vec<&Multicast> = self.policy.multicasts.iter().collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(receivers(group)), &group.name));
        for group in groups {
            let parts = parts(group);
            if !parts.is_empty() && parts.is_subset(&left) {
                left.retain(|term| !parts.contains(term));
                words.insert(group.name.clone());
            }
        }
        words.extend(left.iter().map(|term| self.term(term, ends)));
        words
    }

    /// The word for the other end.
    fn term(&mut self, term: &Term, ends: &[IpAddr]) -> String {
        match term {
            Term::Around(peer) => self.policy.peer_name(*peer).into_owned(),
            Term::Seen(Party::Device(id)) => self.policy.devices[id.0 as usize].name.clone(),
            Term::Seen(Party::Gateway) => "gateway".to_owned(),
            Term::Seen(Party::Broadcast) => "broadcast".to_owned(),
            Term::Seen(Party::Host(address, _)) => self.host(*address),
            Term::Seen(Party::Group(address)) => self.group(Declared::Group(*address), &address.to_string()),
            Term::Seen(Party::Frames(mac)) => self.group(Declared::Frames(*mac), &mac.to_string()),
            Term::Seen(Party::Internet | Party::Unknown | Party::Nobody) => {
                let mut cidrs: Vec<IpNet> = ends.iter().copied().map(IpNet::from).collect();
                cidrs.sort();
                cidrs.dedup();
                let base = cidrs
                    .first()
                    .map_or_else(|| "internet".to_owned(), |c| tame("internet", &c.addr().to_string()));
                self.unique(&base, Declared::Addresses(cidrs))
            }
        }
    }

    fn host(&mut self, address: IpAddr) -> String {
        let only = [IpNet::from(address)];
        let is_it = |network: &&crate::model::Network| {
            network.cidrs == only && network.except.is_empty() && network.names.is_empty()
        };
        match self.policy.networks.iter().find(is_it) {
            Some(network) => network.name.clone(),
            None => self.unique(&tame("host", &address.to_string()), Declared::Network(only[0])),
        }
    }

    fn group(&mut self, new: Declared, text: &str) -> String {
        format!("multicast:{}", self.unique(&tame("group", text), new))
    }

    /// The words for services: those of the policy first, then those of the library that no other equals.
    pub(super) fn services(&mut self, whats: &BTreeSet<What>) -> Vec<String> {
        let mut words = BTreeSet::new();
        let mut left: BTreeSet<Service> = BTreeSet::new();
        for what in whats {
            match what {
                What::Seen(service) => {
                    left.insert(*service);
                }
                What::Range(range) => {
                    let selectors = Declared::Service(vec![*range]);
                    words.insert(self.unique(&tame("", &spelled(*range)), selectors));
                }
                What::Named(name, _) => {
                    words.insert(name.clone());
                }
            }
        }
        let mut known: Vec<(bool, usize, &str, &[Selector])> = Vec::new();
        for (name, selectors) in self.candidates() {
            if let Some(units) = units(selectors).filter(|units| units.iter().all(|unit| left.contains(unit)))
            {
                let own = self.policy.service(name).is_some();
                known.push((!own, usize::MAX - units.len(), name, selectors));
            }
        }
        known.sort();
        for (_, _, name, selectors) in &known {
            let units = units(selectors).unwrap_or_default();
            // Of several that are one, the name would say more than is known.
            let rivals = known.iter().filter(|(_, _, _, other)| other == selectors).count();
            let is_own = self.policy.service(name).is_some();
            if units.iter().all(|unit| left.contains(unit)) && (rivals == 1 || is_own) {
                left.retain(|unit| !units.contains(unit));
                words.insert((*name).to_owned());
            }
        }
        for service in left {
            let selectors = What::Seen(service).selectors();
            let base = match (service.protocol, service.number.to_be_bytes()) {
                (protocol::ICMP, [kind, _]) => format!("icmp-{kind}"),
                (protocol::ICMPV6, [kind, _]) => format!("icmpv6-{kind}"),
                _ => tame("", &shown(service)),
            };
            words.insert(self.unique(&base, Declared::Service(selectors)));
        }
        words.into_iter().collect()
    }

    fn candidates(&self) -> impl Iterator<Item = (&'p str, &'p [Selector])> {
        let policy = self.policy;
        let own = policy.services.iter().map(|one| (one.name.as_str(), one.selectors.as_slice()));
        let library = built_in().iter().filter(move |(name, _)| policy.service(name).is_none());
        own.chain(library.map(|(name, selectors)| (name.as_str(), selectors.as_slice())))
    }

    /// A name that nothing else has, or what already is just that.
    fn unique(&mut self, base: &str, what: Declared) -> String {
        let same = |name: &str, policy: &Policy| match &what {
            Declared::Service(selectors) => {
                policy.service(name).is_some_and(|(_, one)| one.selectors == *selectors)
            }
            Declared::Network(_) | Declared::Addresses(_) | Declared::Group(_) | Declared::Frames(_) => false,
        };
        let names = (1..).map(|n| if n == 1 { base.to_owned() } else { format!("{base}-{n}") });
        for name in names {
            if same(&name, self.policy) {
                return name;
            }
            let is_free = !self.declared.contains_key(&name) && !self.is_taken(&name);
            if is_free || self.declared.get(&name) == Some(&what) {
                self.declared.insert(name.clone(), what.clone());
                self.used.insert(name.clone(), what);
                return name;
            }
        }
        unreachable!("there are more numbers than names")
    }

    fn is_taken(&self, name: &str) -> bool {
        let policy = self.policy;
        policy.device(name).is_some()
            || policy.networks.iter().any(|network| network.name == name)
            || policy.multicasts.iter().any(|group| group.name.strip_prefix("multicast:") == Some(name))
            || policy.service(name).is_some()
            || built_in().contains_key(name)
    }
}

/// What a group of the policy is as it is seen, if that can be listed: its IPv4 and IPv6 address are one.
fn parts(group: &Multicast) -> BTreeSet<Term> {
    /// Of a larger one not every address is ever seen.
    const MOST: u64 = 256;
    if receivers(group) > MOST {
        return BTreeSet::new();
    }
    let pair = pair(group).map(|[v4, _]| vec![v4]);
    let addresses = pair.unwrap_or_else(|| {
        let cidrs = group.cidrs.iter();
        cidrs
            .flat_map(|cidr| match cidr {
                IpNet::V4(v4) => Ipv4AddrRange::new(v4.network(), v4.broadcast()).map(IpAddr::V4).collect(),
                IpNet::V6(v6) => {
                    let all = Ipv6AddrRange::new(v6.network(), v6.broadcast());
                    all.map(IpAddr::V6).collect::<Vec<_>>()
                }
            })
            .collect()
    });
    let frames = group.macs.iter().map(|mac| Party::Frames(*mac));
    addresses.into_iter().map(Party::Group).chain(frames).map(Term::Seen).collect()
}

/// The services that selectors are, if they are few.
fn units(selectors: &[Selector]) -> Option<Vec<Service>> {
    let mut units = Vec::new();
    for Selector { protocol, low, high } in selectors.iter().copied() {
        let numbers: Vec<u16> = match protocol {
            _ if protocol::is_icmp(protocol) => {
                if low & 0xff != 0 || high & 0xff != 0xff {
                    return None;
                }
                (low >> 8..=high >> 8).map(|kind| kind << 8).collect()
            }
            _ if has_numbers(protocol) && high - low < 1024 => (low..=high).collect(),
            _ if has_numbers(protocol) => return None,
            _ => vec![0],
        };
        units.extend(numbers.into_iter().map(|number| Service { protocol, number }));
    }
    Some(units)
}

/// Letters, digits and dashes.
fn tame(kind: &str, text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = text.chars().map(plain).collect();
    if kind.is_empty() { text } else { format!("{kind}-{text}") }
}

/// A declaration as a table.
pub(super) fn table(name: &str, what: &Declared) -> Table {
    let prefix = |cidr: &IpNet| cidr.to_string();
    match what {
        Declared::Network(cidr) => {
            let mut table = Table::new(&["network", name]);
            table.list("cidr", [prefix(cidr)].into_iter());
            table
        }
        Declared::Addresses(cidrs) => {
            let mut table = Table::new(&["network", name]);
            table.list("cidr", cidrs.iter().map(prefix));
            table
        }
        Declared::Group(address) => {
            let mut table = Table::new(&["multicast", name]);
            table.list("ip", [address.to_string()].into_iter());
            table
        }
        Declared::Frames(mac) => {
            let mut table = Table::new(&["multicast", name]);
            table.list("mac", [mac.to_string()].into_iter());
            table
        }
        Declared::Service(selectors) => service_table(name, selectors),
    }
}
