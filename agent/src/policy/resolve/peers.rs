//! Names of peers -> ids. In: one written peer. Out: the devices, networks and words it stands for.

use super::names::Names;
use crate::{
    diagnostic::{Collector, Diagnostic, quote},
    model::{DeviceId, Peer},
    policy::{raw::RawPeer, reader::Leaf, values::hints::several},
};

/// What a written peer stands for; empty when that was reported.
pub(super) fn expand(names: &Names<'_>, peer: &Leaf<RawPeer>, out: &mut Collector<'_>) -> Vec<Peer> {
    match &peer.value {
        RawPeer::Gateway => vec![Peer::Gateway],
        RawPeer::Broadcast => vec![Peer::Broadcast],
        RawPeer::Any => vec![Peer::Any],
        RawPeer::Group(name) => match names.groups.get(name.as_str()) {
            Some(group) => vec![Peer::Group(group.id)],
            None => {
                let help = match out.suggest(name, names.groups.keys().copied()) {
                    Some(meant) => format!("did you mean `multicast:{meant}`?"),
                    None => format!("declare it: `[multicast.{name}]` with `ip` or `mac`"),
                };
                unknown(peer, "BH0320", format!("unknown multicast group {}", quote(name)), help, out)
            }
        },
        RawPeer::Zone(zone) => match names.zones.get(zone.as_str()) {
            Some(devices) => devices.iter().copied().map(Peer::Device).collect(),
            None => {
                let meant = out.suggest(zone, names.zones.keys().copied());
                let help = match meant {
                    Some(meant) => format!("did you mean `zone:{meant}`?"),
                    None => format!("give a device `zone = \"{zone}\"`"),
                };
                unknown(peer, "BH0302", format!("no device is in zone {}", quote(zone)), help, out)
            }
        },
        RawPeer::Class(class) => match names.class_members.get(class.as_str()) {
            Some(devices) => devices.iter().copied().map(Peer::Device).collect(),
            None => {
                let meant = out.suggest(class, names.class_members.keys().copied());
                let help = match meant {
                    Some(meant) => format!("did you mean `class:{meant}`?"),
                    None => format!("give a device `class = \"{class}\"`"),
                };
                unknown(peer, "BH0303", format!("no device is of class {}", quote(class)), help, out)
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
    let declared = names.devices.keys().chain(names.networks.keys()).copied();
    match out.suggest(name, declared.chain(["gateway", "broadcast", "any"])) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if names.groups.contains_key(name) => {
            format!("to name the multicast group write `{}`, or declare a device or network", word(name))
        }
        None => "declare it with `[device.NAME]` or `[network.NAME]`".to_owned(),
    }
}

/// How rules name a multicast group.
pub(super) fn word(group: &str) -> String {
    format!("multicast:{group}")
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

/// Remembers the devices among the peers as named by some rule.
pub(super) fn mark(peers: &[Peer], used: &mut [bool]) {
    for peer in peers {
        match peer {
            Peer::Device(DeviceId(id)) => {
                if let Some(used) = used.get_mut(*id as usize) {
                    *used = true;
                }
            }
            Peer::Network(_) | Peer::Group(_) | Peer::Gateway | Peer::Broadcast | Peer::Any => {}
        }
    }
}
