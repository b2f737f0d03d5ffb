//! What a rule admits. In: its terms. Out: how many combinations of initiator, responder and service, counted exactly.
//!
//! An end is a device, however many addresses it has, or an address that is no device's; a multicast group, broadcast and the gateway are one end
//! each. A service is a port, an ICMP type, a protocol without ports, an ethertype.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bulkhead_common::wire::protocol;
use ipnet::IpNet;

use super::entry::{Entry, Holder, Key, Term, What, has_numbers, members};
use crate::{
    learn::{Party, Talk},
    model::{DeviceId, NetworkId, Peer, Policy, Selector},
    traffic::Service,
};

/// The other ends that terms stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) devices: BTreeSet<DeviceId>,
    networks: BTreeSet<NetworkId>,
    /// All others by themselves.
    parties: BTreeSet<Party>,
}

impl Ends {
    pub(super) fn of(policy: &Policy, terms: &BTreeSet<Term>) -> Self {
        let mut ends = Self::default();
        for term in terms {
            match term {
                Term::Seen(Party::Device(id)) => ends.devices.extend([*id]),
                Term::Seen(party) => ends.parties.extend([*party]),
                Term::Around(Peer::Network(id)) => {
                    ends.networks.insert(*id);
                    ends.devices.extend(members(policy, Peer::Network(*id)));
                }
                Term::Around(peer) => ends.devices.extend(members(policy, *peer)),
            }
        }
        // What a network holds is counted with it.
        let networks = ends.networks.clone();
        let held = |party: &Party| {
            let holds = |address| networks.iter().any(|id| policy.networks[id.0 as usize].holds(address));
            party.host().is_some_and(holds)
        };
        ends.parties.retain(|party| !held(party));
        ends
    }

    /// Whether a party is one of them.
    pub(super) fn hold(&self, policy: &Policy, party: Party) -> bool {
        let holds = |address| self.networks.iter().any(|id| policy.networks[id.0 as usize].holds(address));
        self.parties.contains(&party)
            || party.device().is_some_and(|id| self.devices.contains(&id))
            || party.host().is_some_and(holds)
    }

    /// How many there are besides devices.
    fn others(&self, policy: &Policy, own: &BTreeSet<IpAddr>) -> u128 {
        if self.networks.is_empty() {
            return self.parties.len() as u128;
        }
        let networks: Vec<_> = self.networks.iter().map(|id| &policy.networks[id.0 as usize]).collect();
        let holds = |address: &IpAddr| networks.iter().any(|network| network.holds(*address));
        let taken: BTreeSet<IpAddr> =
            policy.devices.iter().flat_map(|d| d.addresses.iter().copied()).collect();
        let taken = taken.union(own).filter(|address| holds(address)).count() as u128;
        let mut pieces: Vec<(bool, u128, u128)> = Vec::new();
        for network in networks {
            pieces.extend(without(&network.cidrs, &network.except));
        }
        pieces.sort_unstable();
        let mut sum: u128 = 0;
        let mut end: Option<(bool, u128)> = None;
        for (family, low, high) in pieces {
            let low = match end {
                Some((same, last)) if same == family && last >= low => match last.checked_add(1) {
                    Some(next) => next,
                    None => continue,
                },
                _ => low,
            };
            if low <= high {
                sum = sum.saturating_add(high - low).saturating_add(1);
                end = Some((family, high));
            }
        }
        sum.saturating_sub(taken).saturating_add(self.parties.len() as u128)
    }
}

/// The first and last address of each part of prefixes that others leave, and whether it is IPv6.
fn without(cidrs: &[IpNet], except: &[IpNet]) -> Vec<(bool, u128, u128)> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let bounds = |cidr: &IpNet| (cidr.addr().is_ipv6(), number(cidr.network()), number(cidr.broadcast()));
    let mut holes: Vec<_> = except.iter().map(bounds).collect();
    holes.sort_unstable();
    let mut pieces = Vec::new();
    for (family, low, high) in cidrs.iter().map(bounds) {
        let mut next = Some(low);
        for (_, from, to) in
            holes.iter().filter(|(other, from, to)| *other == family && *from <= high && *to >= low)
        {
            let Some(start) = next else { break };
            if *from > start {
                pieces.push((family, start, from - 1));
            }
            next = to.checked_add(1).map(|after| after.max(start));
        }
        if let Some(start) = next.filter(|start| *start <= high) {
            pieces.push((family, start, high));
        }
    }
    pieces
}

/// How many services these are.
pub(super) fn services(whats: &BTreeSet<What>) -> u64 {
    let mut by_protocol: BTreeMap<u8, Vec<(u32, u32)>> = BTreeMap::new();
    for Selector { protocol, low, high } in whats.iter().flat_map(What::selectors) {
        let (low, high) = match protocol {
            _ if protocol::is_icmp(protocol) => (u32::from(low >> 8), u32::from(high >> 8)),
            _ if has_numbers(protocol) => (low.into(), high.into()),
            _ => (0, 0),
        };
        by_protocol.entry(protocol).or_default().push((low, high));
    }
    let count = |mut ranges: Vec<(u32, u32)>| {
        ranges.sort_unstable();
        let mut next = 0;
        ranges.into_iter().fold(0, |sum, (low, high)| {
            let low = low.max(next);
            next = next.max(high + 1);
            sum + u64::from((high + 1).saturating_sub(low))
        })
    };
    by_protocol.into_values().map(count).sum()
}

/// Combinations that a rule admits.
pub(super) fn admits(
    policy: &Policy,
    own: &BTreeSet<IpAddr>,
    holder: Holder,
    terms: &BTreeSet<Term>,
    whats: &BTreeSet<What>,
) -> u64 {
    let ends = Ends::of(policy, terms);
    let others = ends.others(policy, own);
    let pairs = holder.devices(policy).iter().fold(0_u128, |sum, own| {
        // Nobody talks with himself.
        let devices = ends.devices.len() - usize::from(ends.devices.contains(own));
        sum.saturating_add(devices as u128).saturating_add(others)
    });
    u64::try_from(pairs.saturating_mul(services(whats).into())).unwrap_or(u64::MAX)
}

/// Different combinations that were seen, as far as policies tell them apart.
pub(super) fn seen(talks: &[Talk]) -> u64 {
    let units: BTreeSet<(Party, Party, Service)> =
        talks.iter().map(|talk| (talk.from, talk.to, talk.service.unit())).collect();
    units.len() as u64
}

impl Entry {
    /// Counts anew what it admits.
    pub(super) fn reckon(&mut self, policy: &Policy, own: &BTreeSet<IpAddr>) {
        self.admits = admits(policy, own, self.holder, &self.terms, &self.whats);
        self.price = self.admits.saturating_sub(seen(&self.talks));
    }

    /// The first of these talks that it lets begin.
    pub(super) fn admitted<'t, T>(
        &self,
        policy: &Policy,
        mut talks: impl Iterator<Item = &'t (Talk, T)>,
    ) -> Option<&'t (Talk, T)> {
        let (holders, ends) = (self.holder.devices(policy), Ends::of(policy, &self.terms));
        talks.find(|(talk, _)| {
            let (own, other) = match self.key {
                Key::From => (talk.to, talk.from),
                Key::To => (talk.from, talk.to),
            };
            own.device().is_some_and(|own| holders.contains(&own))
                && self.whats.iter().any(|what| what.holds(talk.service))
                && ends.hold(policy, other)
        })
    }
}
