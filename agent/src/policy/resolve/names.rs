//! What each name stands for. In: the contents of all files. Out: sorted indexes; names declared twice.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::{
    diagnostic::{Collector, Diagnostic, quote},
    model::{ClassId, DeviceId, Mac, MulticastId, NetworkId, Peer, Selector, ZoneId},
    policy::{
        library::{built_in, built_in_groups},
        raw::{RawClass, RawDevice, RawFile, RawMulticast, RawNetwork},
        reader::Leaf,
    },
};

/// A declared thing and its index in the policy.
pub(super) struct Entry<'r, I, T> {
    pub(super) id: I,
    pub(super) raw: &'r T,
}

/// A multicast group, wherever it is declared.
pub(super) struct NamedMulticast<'r> {
    pub(super) id: MulticastId,
    pub(super) name: &'r str,
    pub(super) cidrs: &'r [IpNet],
    pub(super) macs: &'r [Mac],
    pub(super) built_in: bool,
}

/// Every name, over all files.
pub(super) struct Names<'r> {
    pub(super) devices: BTreeMap<&'r str, Entry<'r, DeviceId, RawDevice>>,
    pub(super) networks: BTreeMap<&'r str, Entry<'r, NetworkId, RawNetwork>>,
    pub(super) classes: BTreeMap<&'r str, Entry<'r, ClassId, RawClass>>,
    /// Devices by zone, in order of name; the zone's number is its place.
    pub(super) zones: BTreeMap<&'r str, Vec<DeviceId>>,
    /// Devices by class, in order of name.
    pub(super) class_members: BTreeMap<&'r str, Vec<DeviceId>>,
    /// Multicast groups by their names without the prefix.
    pub(super) multicasts: BTreeMap<&'r str, NamedMulticast<'r>>,
    /// Selectors, and whether the service is built in.
    pub(super) services: BTreeMap<&'r str, (&'r [Selector], bool)>,
}

impl<'r> Names<'r> {
    /// The number of a zone that some device is in.
    pub(super) fn zone(&self, name: &str) -> Option<ZoneId> {
        (0..).map(ZoneId).zip(self.zones.keys()).find_map(|(id, zone)| (*zone == name).then_some(id))
    }

    /// The devices a peer stands for, if it stands for devices.
    pub(super) fn devices_of(&self, peer: Peer) -> Vec<DeviceId> {
        let at = |id: u32| id as usize;
        match peer {
            Peer::Device(id) => vec![id],
            Peer::Class(id) => {
                let name = self.classes.keys().nth(at(id.0));
                name.and_then(|name| self.class_members.get(name)).cloned().unwrap_or_default()
            }
            Peer::Zone(id) => self.zones.values().nth(at(id.0)).cloned().unwrap_or_default(),
            Peer::Group(_)
            | Peer::Network(_)
            | Peer::Multicast(_)
            | Peer::Gateway
            | Peer::Broadcast
            | Peer::Any => Vec::new(),
        }
    }

    pub(super) fn collect(files: &'r [RawFile], out: &mut Collector<'_>) -> Self {
        let devices = files.iter().flat_map(|file| &file.devices);
        let devices = unique(devices, |d| &d.name, ("BH0305", "device"), out);
        let networks = files.iter().flat_map(|file| &file.networks);
        let networks = unique(networks, |n| &n.name, ("BH0306", "network"), out);
        let classes = files.iter().flat_map(|file| &file.classes);
        let classes = unique(classes, |c| &c.name, ("BH0308", "class"), out);
        let own = files.iter().flat_map(|file| &file.services);
        let own = unique(own, |s| &s.name, ("BH0307", "service"), out);
        for (name, network) in &networks {
            if let Some(device) = devices.get(name) {
                let (first, second) = ordered(&device.name, &network.name);
                let found = Diagnostic::error("BH0309", format!("`{name}` is a device and a network"))
                    .at(out.locate(second.at), "declared again")
                    .also(out.locate(first.at), "declared first here")
                    .help("rules name both without a prefix: rename one of them");
                out.push(found);
            }
        }
        let multicasts = multicasts(files, out);
        let mut services: BTreeMap<&str, (&[Selector], bool)> = built_in()
            .iter()
            .map(|(name, selectors)| (name.as_str(), (selectors.as_slice(), true)))
            .collect();
        for (name, service) in own {
            let built_in = services.insert(name, (service.selectors.as_slice(), false));
            if built_in.is_some() {
                let found = Diagnostic::error("BH0310", format!("service `{name}` is built in"))
                    .at(out.locate(service.name.at), "would change what others mean by it")
                    .help(format!("use the built-in one, or rename yours, as in `plant-{name}`"));
                out.push(found);
            }
        }
        Self::index(devices, networks, classes, multicasts, services)
    }

    fn index(
        devices: BTreeMap<&'r str, &'r RawDevice>,
        networks: BTreeMap<&'r str, &'r RawNetwork>,
        classes: BTreeMap<&'r str, &'r RawClass>,
        multicasts: BTreeMap<&'r str, NamedMulticast<'r>>,
        services: BTreeMap<&'r str, (&'r [Selector], bool)>,
    ) -> Self {
        let mut zones: BTreeMap<&str, Vec<DeviceId>> = BTreeMap::new();
        let mut class_members: BTreeMap<&str, Vec<DeviceId>> = BTreeMap::new();
        // The files are bounded to far fewer than 2^32 bytes, so every name has a number.
        let devices: BTreeMap<_, _> = (0..)
            .map(DeviceId)
            .zip(devices)
            .map(|(id, (name, raw))| {
                if let Some(zone) = &raw.zone {
                    zones.entry(&zone.value).or_default().push(id);
                }
                if let Some(class) = &raw.class {
                    class_members.entry(&class.value).or_default().push(id);
                }
                (name, Entry { id, raw })
            })
            .collect();
        let networks =
            (0..).map(NetworkId).zip(networks).map(|(id, (name, raw))| (name, Entry { id, raw })).collect();
        let classes =
            (0..).map(ClassId).zip(classes).map(|(id, (name, raw))| (name, Entry { id, raw })).collect();
        Self { devices, networks, classes, zones, class_members, multicasts, services }
    }
}

/// The built-in multicast groups and those of the user's files, numbered in the order of their names.
fn multicasts<'r>(files: &'r [RawFile], out: &mut Collector<'_>) -> BTreeMap<&'r str, NamedMulticast<'r>> {
    let own = files.iter().flat_map(|file| &file.multicasts);
    let own = unique(own, |g| &g.name, ("BH0321", "multicast group"), out);
    for (name, group) in &own {
        if built_in_groups().contains_key(*name) {
            let found = Diagnostic::error("BH0322", format!("multicast group `{name}` is built in"))
                .at(out.locate(group.name.at), "would change what others mean by it")
                .help(format!("use the built-in one, or rename yours, as in `plant-{name}`"));
            out.push(found);
        }
    }
    let library = built_in_groups().iter().map(|(name, group)| (name.as_str(), (group, true)));
    let all: BTreeMap<&str, (&RawMulticast, bool)> =
        library.chain(own.into_iter().map(|(name, group)| (name, (group, false)))).collect();
    let numbered = (0..).map(MulticastId).zip(all);
    numbered
        .map(|(id, (name, (raw, built_in)))| {
            (name, NamedMulticast { id, name, cidrs: &raw.cidrs, macs: &raw.macs, built_in })
        })
        .collect()
}

/// The first of each name; the others are reported with both places.
fn unique<'r, T>(
    all: impl Iterator<Item = &'r T>,
    name: impl Fn(&'r T) -> &'r Leaf<String>,
    (code, what): (&'static str, &str),
    out: &mut Collector<'_>,
) -> BTreeMap<&'r str, &'r T> {
    let mut found: BTreeMap<&str, &T> = BTreeMap::new();
    for one in all {
        let leaf = name(one);
        match found.get(leaf.value.as_str()) {
            Some(first) => out.push(
                Diagnostic::error(code, format!("{what} {} is declared twice", quote(&leaf.value)))
                    .at(out.locate(leaf.at), "declared again")
                    .also(out.locate(name(first).at), "declared first here")
                    .help(format!("join both into one, or rename one of the two {}", plural(what))),
            ),
            None => {
                found.insert(&leaf.value, one);
            }
        }
    }
    found
}

fn plural(what: &str) -> String {
    if what.ends_with('s') { format!("{what}es") } else { format!("{what}s") }
}

/// Two leaves in the order of a reader.
fn ordered<'l, T>(a: &'l Leaf<T>, b: &'l Leaf<T>) -> (&'l Leaf<T>, &'l Leaf<T>) {
    if a.at <= b.at { (a, b) } else { (b, a) }
}
