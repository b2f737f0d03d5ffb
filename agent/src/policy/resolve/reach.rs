//! Whether a rule can allow anything. In: rules with their peers and services. Out: every device, group and peer
//! that none of a service's packets can come from or go to.
//!
//! A service is IP, or frames that are not, or both. The first needs an address at each end, the second a
//! hardware address. A rule that lacks it would allow nothing, without a word.

use std::collections::{BTreeSet, HashSet};

use super::{names::Names, peers};
use crate::{
    diagnostic::{At, Collector, Diagnostic, quote},
    model::{DeviceId, Layer, Peer, Rule, Selector},
    policy::{
        raw::{Direction, RawAllow, RawFile, RawPeer},
        reader::Leaf,
    },
};

/// Only who answers can be many at once, and frames that are not IP have hardware addresses at their ends: what is
/// wrong with an entry by itself, whichever devices it stands for.
pub(super) fn check_entries(names: &Names<'_>, files: &[&RawFile], out: &mut Collector<'_>) {
    let frames: HashSet<&str> = names
        .services
        .iter()
        .filter(|(_, (selectors, _))| only(selectors) == Some(Layer::Link))
        .map(|(name, _)| *name)
        .collect();
    let of_devices = files.iter().flat_map(|file| &file.devices).flat_map(|device| &device.allow);
    let of_classes = files.iter().flat_map(|file| &file.classes).flat_map(|class| &class.allow);
    for allow in of_devices.chain(of_classes) {
        if allow.direction == Some(Direction::From) {
            for peer in allow.peers.iter().filter(|peer| is_many(&peer.value)) {
                many(
                    peer,
                    "starts a conversation",
                    "turn the entry round: `to`, if the device sends to it",
                    out,
                );
            }
        }
        frames_to_addresses(names, &frames, allow, out);
    }
    for peer in files.iter().flat_map(|file| &file.quarantine).filter(|peer| is_many(&peer.value)) {
        many(peer, "mends a device", "name the few peers a quarantined device needs to be mended", out);
    }
}

fn is_many(peer: &RawPeer) -> bool {
    match peer {
        RawPeer::Multicast(_) | RawPeer::Broadcast => true,
        RawPeer::Gateway
        | RawPeer::Any
        | RawPeer::Zone(_)
        | RawPeer::Class(_)
        | RawPeer::Group(_)
        | RawPeer::Named(_) => false,
    }
}

fn many(peer: &Leaf<RawPeer>, what: &str, help: &str, out: &mut Collector<'_>) {
    let name = match &peer.value {
        RawPeer::Multicast(name) => format!("multicast:{name}"),
        RawPeer::Broadcast => "broadcast".to_owned(),
        RawPeer::Gateway
        | RawPeer::Any
        | RawPeer::Zone(_)
        | RawPeer::Class(_)
        | RawPeer::Group(_)
        | RawPeer::Named(_) => return,
    };
    let location = out.locate(peer.at);
    let found = Diagnostic::error("BH0316", format!("nobody {what} from {}", quote(&name)));
    out.push(found.at(location, "only ever the end that answers").help(help));
}

/// A service of nothing but frames between a device and what has only addresses.
fn frames_to_addresses(names: &Names<'_>, frames: &HashSet<&str>, allow: &RawAllow, out: &mut Collector<'_>) {
    let found = allow.services.iter().find(|leaf| frames.contains(leaf.value.as_str()));
    let Some(service) = found else { return };
    let mut seen = BTreeSet::new();
    for peer in allow.peers.iter().filter(|peer| seen.insert(&peer.value)) {
        let what = match &peer.value {
            RawPeer::Gateway => "the gateway",
            RawPeer::Named(name) if names.networks.contains_key(name.as_str()) => "a network",
            RawPeer::Group(name)
                if names.groups.get(name.as_str()).is_some_and(|group| group.id.is_none()) =>
            {
                "a network"
            }
            RawPeer::Named(_)
            | RawPeer::Broadcast
            | RawPeer::Any
            | RawPeer::Multicast(_)
            | RawPeer::Zone(_)
            | RawPeer::Class(_)
            | RawPeer::Group(_) => continue,
        };
        let message =
            format!("service {} is not IP, and {what} is known by IP addresses", quote(&service.value));
        let found = Diagnostic::error("BH0317", message)
            .at(out.locate(peer.at), "an end without a hardware address")
            .also(out.locate(service.at), "frames of their own kind")
            .help("name devices, `multicast:NAME`, `broadcast` or `any`");
        out.push(found);
    }
}

/// The layer of all selectors, if they share one.
fn only(selectors: &[Selector]) -> Option<Layer> {
    let first = selectors.first()?.layer();
    selectors.iter().all(|selector| selector.layer() == first).then_some(first)
}

/// Each device or group that lacks what a service needs is reported once for either layer, at the first rule that
/// names it. Of rules that are not new nothing was reported last time, so nothing is now.
pub(super) fn check_ends(
    names: &Names<'_>,
    rules: &[(At, Rule)],
    is_new: impl Fn(&At) -> bool,
    services: &[&[Selector]],
    out: &mut Collector<'_>,
) {
    let layers: Vec<Option<Layer>> = services.iter().map(|selectors| only(selectors)).collect();
    let devices: Vec<_> = names.devices.values().map(|entry| entry.raw).collect();
    let groups: Vec<_> = names.multicasts.values().collect();
    let mut asked = HashSet::new();
    let mut reported = BTreeSet::new();
    for (at, rule) in rules.iter().filter(|(at, _)| is_new(at)) {
        let mut needed: Vec<Layer> =
            rule.services.iter().filter_map(|id| layers.get(id.0 as usize).copied().flatten()).collect();
        needed.sort();
        needed.dedup();
        let ends = rule.initiators.iter().chain(&rule.responders);
        for (peer, layer) in ends.flat_map(|peer| needed.iter().map(move |layer| (*peer, *layer))) {
            if !asked.insert((peer, layer)) {
                continue;
            }
            let reaches = |id: &DeviceId| {
                devices.get(id.0 as usize).is_some_and(|raw| match layer {
                    Layer::Network => raw.dynamic || !raw.addresses.is_empty(),
                    Layer::Link => !raw.macs.is_empty(),
                })
            };
            let members = names.devices_of(peer);
            // Whoever is put in a zone or a group for other reasons is not meant; one that holds nobody who is, is a slip.
            let is_mixed = match peer {
                Peer::Zone(_) | Peer::Group(_) => members.iter().any(reaches),
                Peer::Device(_)
                | Peer::Class(_)
                | Peer::Network(_)
                | Peer::Multicast(_)
                | Peer::Gateway
                | Peer::Broadcast
                | Peer::Any => false,
            };
            for id in members.iter().filter(|id| !is_mixed && !reaches(id)) {
                let Some(raw) = devices.get(id.0 as usize) else { continue };
                if reported.insert((*id, layer)) {
                    let found = device(&raw.name, layer, out);
                    out.push(found.at(out.locate(*at), "named by this rule"));
                }
            }
            if let Peer::Multicast(id) = peer
                && let Some(group) = groups.get(id.0 as usize)
            {
                let reaches = match layer {
                    Layer::Network => !group.cidrs.is_empty(),
                    Layer::Link => !group.macs.is_empty(),
                };
                if !reaches {
                    out.push(self::group(group.name, layer).at(out.locate(*at), "named by this rule"));
                }
            }
        }
    }
}

fn device(name: &Leaf<String>, layer: Layer, out: &Collector<'_>) -> Diagnostic {
    let (code, lacks, help) = match layer {
        Layer::Network => (
            "BH0315",
            "no address, so no rule about an IP service can let it talk",
            format!("add `ip = [\"...\"]` or `ip = \"dhcp\"` to `[device.{}]`", name.value),
        ),
        Layer::Link => (
            "BH0318",
            "no MAC address, so no rule about frames that are not IP can let it talk",
            format!("add `mac = [\"...\"]` to `[device.{}]`", name.value),
        ),
    };
    Diagnostic::error(code, format!("device {} has {lacks}", quote(&name.value)))
        .also(out.locate(name.at), "declared here")
        .help(help)
}

fn group(name: &str, layer: Layer) -> Diagnostic {
    let (lacks, help) = match layer {
        Layer::Network => ("no IP address, and the service is IP", "name a group with `ip`, or `broadcast`"),
        Layer::Link => {
            ("no MAC address, and the service is not IP", "name a group with `mac`, or `broadcast`")
        }
    };
    Diagnostic::error("BH0319", format!("{} has {lacks}", quote(&peers::word(name)))).help(help)
}
