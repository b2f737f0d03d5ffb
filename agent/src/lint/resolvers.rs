//! Who may say what a name stands for. In: a policy. Out: a warning for each rule that lets a device ask any resolver, or any
//! host of a whole network, while the device has rules to networks that are known by name: whoever answers it opens
//! addresses.

use std::collections::BTreeSet;

use bulkhead_common::wire::{dns, protocol};

use super::{Findings, rule_text, traffic::Traffic};
use crate::{
    diagnostic::{Diagnostic, quote},
    model::{DeviceId, Network, Peer, Policy, Rule},
};

/// Resolvers that are not named one by one.
const ANY_RESOLVER: &str = "BH0516";

pub(super) fn check(policy: &Policy, traffic: &Traffic, out: &mut Findings) {
    let network = |peer: &Peer| peer.network().map(|id| &policy.networks[id.0 as usize]);
    let by_name = |rule: &&Rule| {
        let mut networks = rule.responders.iter().filter_map(network);
        networks.any(|network| !network.names.is_empty())
    };
    let relying: Vec<&Rule> = policy.rules.iter().filter(by_name).collect();
    if relying.is_empty() {
        return;
    }
    let starters: BTreeSet<Peer> = relying.iter().flat_map(|rule| &rule.initiators).copied().collect();
    // The devices that rely on names, and every name for one of them.
    let mut affected: BTreeSet<Peer> = BTreeSet::new();
    for (id, device) in (0..).map(DeviceId).zip(&policy.devices) {
        let names: Vec<Peer> = device.peers(id).collect();
        if names.iter().any(|name| starters.contains(name)) {
            affected.extend(names);
        }
    }
    for (place, rule) in policy.rules.iter().enumerate() {
        let resolves = traffic.ranges(place).holds(protocol::UDP, dns::SERVER);
        if !resolves || !rule.initiators.iter().any(|peer| affected.contains(peer)) {
            continue;
        }
        let many = |peer: &&Peer| **peer == Peer::Any || network(peer).is_some_and(is_wide);
        let Some(wide) = rule.responders.iter().find(many) else { continue };
        let message = format!(
            "{} lets whoever is in {} answer for the names of other rules",
            quote(&rule_text(policy, rule)),
            quote(&policy.peer_name(*wide))
        );
        let found = Diagnostic::warning(ANY_RESOLVER, message)
            .at(rule.location.clone(), "asks here")
            .help("name the resolvers one by one: devices, `gateway`, or a network of single addresses");
        let other = relying.iter().find(|other| other.location != rule.location);
        out.push(match other {
            Some(other) => found.also(other.location.clone(), "and opens what the answer says"),
            None => found,
        });
    }
}

/// Whether it has prefixes of more than one address.
fn is_wide(network: &Network) -> bool {
    network.cidrs.iter().any(|cidr| cidr.prefix_len() < cidr.max_prefix_len())
}
