//! Networks that are known by DNS names. In: the rules. Out: places where such a network cannot stand, and devices
//! that may reach one and may not ask a resolver for it.
//!
//! The addresses behind a name are those that a device was answered, so a device that asks nobody reaches nothing, and
//! before a device asked nobody can be told apart who starts from such a network.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use crate::{
    diagnostic::{At, Collector, Diagnostic, quote},
    model::{DeviceId, Peer, Rule, Selector},
    policy::{
        raw::{Direction, RawFile, RawNetwork, RawPeer},
        reader::Leaf,
        values::{TCP, UDP},
    },
};

/// RFC 1035 4.2.
const DNS: u16 = 53;

/// A network without prefixes only answers.
pub(super) fn check_entries(names: &Names<'_>, files: &[&RawFile], out: &mut Collector<'_>) {
    let networks: Vec<&RawNetwork> = names.networks.values().map(|entry| entry.raw).collect();
    let nameless = |peer: &Leaf<RawPeer>| nameless(names, &networks, peer);
    let of_devices = files.iter().flat_map(|file| &file.devices).flat_map(|device| &device.allow);
    let of_classes = files.iter().flat_map(|file| &file.classes).flat_map(|class| &class.allow);
    for allow in of_devices.chain(of_classes).filter(|allow| allow.direction == Some(Direction::From)) {
        for (peer, network) in allow.peers.iter().filter_map(|peer| Some((peer, nameless(peer)?))) {
            let help = "its addresses are those a resolver answered a device that asked: give it `cidr`, or turn the \
                        entry round: `to`";
            refuse("BH0414", peer, network, "nobody starts a conversation from a name", help, out);
        }
    }
    for (peer, network) in
        files.iter().flat_map(|file| &file.quarantine).filter_map(|peer| Some((peer, nameless(peer)?)))
    {
        let help = "nothing would be let through: give the network `cidr`";
        refuse("BH0415", peer, network, "a quarantined device asks for none", help, out);
    }
}

/// The network without prefixes that a peer is or holds.
fn nameless<'r>(
    names: &Names<'r>,
    networks: &[&'r RawNetwork],
    peer: &Leaf<RawPeer>,
) -> Option<&'r RawNetwork> {
    match &peer.value {
        RawPeer::Named(name) => {
            names.networks.get(name.as_str()).map(|entry| entry.raw).filter(|raw| raw.is_by_name)
        }
        RawPeer::Group(name) => {
            let held = names.groups.get(name.as_str())?.networks.iter();
            held.filter_map(|id| networks.get(id.0 as usize).copied()).find(|raw| raw.is_by_name)
        }
        RawPeer::Gateway
        | RawPeer::Broadcast
        | RawPeer::Any
        | RawPeer::Multicast(_)
        | RawPeer::Zone(_)
        | RawPeer::Class(_) => None,
    }
}

fn refuse(
    code: &'static str,
    peer: &Leaf<RawPeer>,
    network: &RawNetwork,
    what: &str,
    help: &str,
    out: &mut Collector<'_>,
) {
    let message = format!("network {} has DNS names only, and {what}", quote(&network.name.value));
    let found = Diagnostic::error(code, message)
        .at(out.locate(peer.at), "only ever an end that answers")
        .also(out.locate(network.name.at), "without `cidr`");
    out.push(found.help(help));
}

/// Devices that may reach a network by name, and whom no rule lets ask for the name.
pub(super) fn check_resolvers(
    names: &Names<'_>,
    rules: &[(At, Rule)],
    services: &[&[Selector]],
    out: &mut Collector<'_>,
) {
    let networks: Vec<&RawNetwork> = names.networks.values().map(|entry| entry.raw).collect();
    let by_name = |peer: &Peer| {
        let raw = networks.get(peer.network()?.0 as usize).copied();
        raw.filter(|raw| !raw.names.is_empty())
    };
    if !networks.iter().any(|raw| !raw.names.is_empty()) {
        return;
    }
    let asks = |selector: &Selector| {
        matches!(selector.protocol, UDP | TCP) && (selector.low..=selector.high).contains(&DNS)
    };
    let asks: Vec<bool> = services.iter().map(|selectors| selectors.iter().any(asks)).collect();
    let mut asking: BTreeSet<Peer> = BTreeSet::new();
    for (_, rule) in rules {
        if rule.services.iter().any(|id| asks.get(id.0 as usize).copied().unwrap_or_default()) {
            // Any device may ask the device that lets everybody start.
            if rule.initiators.contains(&Peer::Any) {
                return;
            }
            asking.extend(rule.initiators.iter().copied());
        }
    }
    let asking: BTreeSet<DeviceId> =
        asking.into_iter().flat_map(|peer| names.devices_of(peer)).copied().collect();
    let devices: Vec<&str> = names.devices.keys().copied().collect();
    // How many devices behind an end do not ask, and the first of them: a class is the end of many rules.
    let mut silent: BTreeMap<Peer, (usize, Option<DeviceId>)> = BTreeMap::new();
    let mut silent = |peer: &Peer| {
        *silent.entry(*peer).or_insert_with(|| {
            let mut devices = names.devices_of(*peer).iter().filter(|id| !asking.contains(id));
            let first = devices.next().copied();
            (devices.count() + usize::from(first.is_some()), first)
        })
    };
    for (at, rule) in rules {
        let Some(network) = rule.responders.iter().find_map(by_name) else { continue };
        let (count, first) = rule
            .initiators
            .iter()
            .map(&mut silent)
            .fold((0, None), |all, some| (all.0 + some.0, all.1.or(some.1)));
        let Some(first) = first.and_then(|id: DeviceId| devices.get(id.0 as usize)) else { continue };
        let who = match count {
            0 | 1 => format!("device {}", quote(first)),
            2.. => format!("device {} and {} more", quote(first), count - 1),
        };
        let message = format!("no rule lets {who} ask a resolver");
        let found = Diagnostic::warning("BH0505", message)
            .at(out.locate(*at), "reached by name, so never")
            .also(out.locate(network.name.at), "known by its DNS names");
        out.push(found.help("add an entry with `service = \"dns\"` and `to` the resolver"));
    }
}
