//! Names of peers -> ids. In: one written peer. Out: the devices, networks and words it stands for.

use std::collections::BTreeSet;

use super::{names::Names, zones};
use crate::{
    diagnostic::{Collector, Diagnostic, quote},
    model::{DeviceId, Peer, Word},
    policy::{raw::RawPeer, reader::Leaf, values::hints::several},
};

/// What a written peer stands for; empty when that was reported.
pub(super) fn expand(names: &Names<'_>, peer: &Leaf<RawPeer>, out: &mut Collector<'_>) -> Vec<Peer> {
    match &peer.value {
        RawPeer::Gateway => vec![Peer::Gateway],
        RawPeer::Broadcast => vec![Peer::Broadcast],
        RawPeer::Any => vec![Peer::Any],
        RawPeer::Multicast(name) => match names.multicasts.get(name.as_str()) {
            Some(group) => vec![Peer::Multicast(group.id)],
            None => {
                let help = match out.suggest(name, names.multicasts.keys().copied()) {
                    Some(meant) => format!("did you mean `multicast:{meant}`?"),
                    None => format!("declare it: `[multicast.{name}]` with `ip` or `mac`"),
                };
                unknown(peer, "BH0320", format!("unknown multicast group {}", quote(name)), help, out)
            }
        },
        RawPeer::Zone(zone) => match names.zones.get(zone.as_str()) {
            Some(named) if !names.devices_of(Peer::Zone(named.id)).is_empty() => vec![Peer::Zone(named.id)],
            None if names.declare_zones() => {
                zones::undeclared(names, peer, zone, "zone:", out);
                Vec::new()
            }
            Some(_) | None => {
                let inhabited = names.zones.iter().filter(|(_, zone)| zone.named.is_some());
                let help = match out.suggest(zone, inhabited.map(|(name, _)| *name)) {
                    Some(meant) => format!("did you mean `zone:{meant}`?"),
                    None => format!("give a device `zone = \"{zone}\"`"),
                };
                unknown(peer, "BH0302", format!("no device is in zone {}", quote(zone)), help, out)
            }
        },
        RawPeer::Class(class) => match names.classes.get(class.as_str()) {
            Some(named) if !names.devices_of(Peer::Class(named.id)).is_empty() => vec![Peer::Class(named.id)],
            None if names.lost_classes.contains(class.as_str()) => Vec::new(),
            Some(_) | None => {
                let inhabited = names
                    .classes
                    .iter()
                    .filter(|(_, class)| !names.devices_of(Peer::Class(class.id)).is_empty());
                let help = match out.suggest(class, inhabited.map(|(name, _)| *name)) {
                    Some(meant) => format!("did you mean `class:{meant}`?"),
                    None => format!("give a device `class = \"{class}\"`"),
                };
                unknown(peer, "BH0303", format!("no device is of class {}", quote(class)), help, out)
            }
        },
        RawPeer::Group(group) => match names.groups.get(group.as_str()) {
            Some(named) => {
                let held = named.networks.iter().copied().map(Peer::Network);
                let held: Vec<Peer> = named.id.map(Peer::Group).into_iter().chain(held).collect();
                if held.is_empty() && named.is_whole {
                    let found = Diagnostic::error("BH0328", format!("group {} holds nothing", quote(group)))
                        .at(out.locate(peer.at), "")
                        .also(out.locate(named.raw.name.at), "declared here")
                        .help("give it `members`, or take it out of the rule");
                    out.push(found);
                }
                held
            }
            None => {
                unknown_group(peer, group, names.groups.keys().copied(), out);
                Vec::new()
            }
        },
        RawPeer::Named(name) => {
            if let Some(device) = names.devices.get(name.as_str()) {
                return vec![Peer::Device(device.id)];
            }
            if let Some(network) = names.networks.get(name.as_str()) {
                return vec![Peer::Network(network.id)];
            }
            let message = format!("unknown device or network {}", quote(name));
            let help = help_for(names, name, out);
            unknown(peer, "BH0301", message, help, out)
        }
    }
}

/// What was written at both ends, where a group holds networks: the rule has these, and not the group.
pub(super) fn words(names: &Names<'_>, ends: [&[&Leaf<RawPeer>]; 2]) -> Option<Box<[Vec<Word>; 2]>> {
    let networks = |peer: &RawPeer| match peer {
        RawPeer::Group(group) => {
            names.groups.get(group.as_str()).map(|group| group.networks.as_slice()).unwrap_or_default()
        }
        RawPeer::Gateway
        | RawPeer::Broadcast
        | RawPeer::Any
        | RawPeer::Multicast(_)
        | RawPeer::Zone(_)
        | RawPeer::Class(_)
        | RawPeer::Named(_) => &[],
    };
    ends.iter().flat_map(|peers| peers.iter()).find(|peer| !networks(&peer.value).is_empty())?;
    let said =
        |peer: &&Leaf<RawPeer>| Word { text: said(&peer.value), holds: networks(&peer.value).to_vec() };
    let sorted = |peers: &[&Leaf<RawPeer>]| {
        let words: BTreeSet<Word> = peers.iter().map(said).collect();
        words.into_iter().collect()
    };
    Some(Box::new(ends.map(sorted)))
}

/// A peer as it is written.
fn said(peer: &RawPeer) -> String {
    match peer {
        RawPeer::Gateway => "gateway".to_owned(),
        RawPeer::Broadcast => "broadcast".to_owned(),
        RawPeer::Any => "any".to_owned(),
        RawPeer::Multicast(name) => word(name),
        RawPeer::Zone(name) => format!("zone:{name}"),
        RawPeer::Class(name) => format!("class:{name}"),
        RawPeer::Group(name) => format!("group:{name}"),
        RawPeer::Named(name) => name.clone(),
    }
}

fn help_for(names: &Names<'_>, name: &str, out: &mut Collector<'_>) -> String {
    if names.zones.contains_key(name) {
        return format!("to name the zone write `zone:{name}`");
    }
    if names.classes.contains_key(name) {
        return format!("to name the class write `class:{name}`");
    }
    if let Some(help) = several(name) {
        return help;
    }
    if names.groups.contains_key(name) {
        return format!("to name the group write `group:{name}`");
    }
    let declared = names.devices.keys().chain(names.networks.keys()).copied();
    match out.suggest(name, declared.chain(["gateway", "broadcast", "any"])) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if names.multicasts.contains_key(name) => {
            format!("to name the multicast group write `{}`, or declare a device or network", word(name))
        }
        None => "declare it with `[device.NAME]` or `[network.NAME]`".to_owned(),
    }
}

/// How rules name a multicast group.
pub(super) fn word(group: &str) -> String {
    format!("multicast:{group}")
}

/// Reports a group that is declared nowhere.
pub(super) fn unknown_group<'n>(
    peer: &Leaf<RawPeer>,
    group: &str,
    known: impl IntoIterator<Item = &'n str>,
    out: &mut Collector<'_>,
) {
    let help = match out.suggest(group, known) {
        Some(meant) => format!("did you mean `group:{meant}`?"),
        None => format!("declare it: `[group.{group}]` with `members`"),
    };
    unknown(peer, "BH0330", format!("unknown group {}", quote(group)), help, out);
}

fn unknown(
    peer: &Leaf<RawPeer>,
    code: &'static str,
    message: String,
    help: String,
    out: &mut Collector<'_>,
) -> Vec<Peer> {
    let location = out.locate(peer.at);
    out.push(Diagnostic::error(code, message).at(location, "").help(help));
    Vec::new()
}

/// Remembers devices as named by some rule.
pub(super) fn mark(devices: &[DeviceId], used: &mut [bool]) {
    for DeviceId(id) in devices {
        if let Some(used) = used.get_mut(*id as usize) {
            *used = true;
        }
    }
}
