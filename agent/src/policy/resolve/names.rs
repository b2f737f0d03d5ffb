//! What each name stands for. In: the contents of all files. Out: sorted indexes; names declared twice.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    groups::{self, NamedGroup},
    index::Index,
    members::Members,
    services::{self, Traffic},
};
use crate::{
    diagnostic::{Collector, Diagnostic, quote},
    model::{ClassId, DeviceId, Mac, MulticastId, NetworkId, Peer, ZoneId},
    policy::{
        library::built_in_groups,
        raw::{RawClass, RawDevice, RawFile, RawMulticast, RawNetwork, RawZone},
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

/// A zone that is declared, or that some device is in.
pub(super) struct NamedZone<'r> {
    pub(super) id: ZoneId,
    pub(super) declared: Option<&'r RawZone>,
    /// The first device's word for it, in order of the devices' names.
    pub(super) named: Option<&'r Leaf<String>>,
}

/// Every name, over all files.
pub(super) struct Names<'r> {
    pub(super) devices: Index<'r, Entry<'r, DeviceId, RawDevice>>,
    pub(super) networks: Index<'r, Entry<'r, NetworkId, RawNetwork>>,
    pub(super) classes: Index<'r, Entry<'r, ClassId, RawClass>>,
    /// Classes that devices name and nobody declares.
    pub(super) lost_classes: BTreeSet<&'r str>,
    pub(super) zones: Index<'r, NamedZone<'r>>,
    pub(super) groups: Index<'r, NamedGroup<'r>>,
    /// The devices of each class, zone and group.
    pub(super) members: Members,
    /// Multicast groups by their names without the prefix.
    pub(super) multicasts: Index<'r, NamedMulticast<'r>>,
    pub(super) services: Index<'r, Traffic<'r>>,
}

impl<'r> Names<'r> {
    pub(super) fn collect(files: &'r [RawFile], out: &mut Collector<'_>) -> Self {
        let devices = files.iter().flat_map(|file| &file.devices);
        let devices = unique(devices, |d| &d.name, ("BH0305", "device"), out);
        let networks = files.iter().flat_map(|file| &file.networks);
        let networks = unique(networks, |n| &n.name, ("BH0306", "network"), out);
        let classes = files.iter().flat_map(|file| &file.classes);
        let classes = unique(classes, |c| &c.name, ("BH0308", "class"), out);
        let zones = files.iter().flat_map(|file| &file.zones);
        let zones = unique(zones, |z| &z.name, ("BH0331", "zone"), out);
        let groups = files.iter().flat_map(|file| &file.groups);
        let groups = unique(groups, |g| &g.name, ("BH0329", "group"), out);
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
        let services = services::collect(files, out);
        let mut names = Self::index(devices, networks, classes, zones);
        names.multicasts = multicasts;
        names.services = services.into_iter().collect();
        let (groups, devices) = groups::flatten(&names, &groups, out);
        names.groups = groups.into_iter().collect();
        names.members.set_groups(devices);
        names
    }

    /// The devices a peer stands for, if it stands for devices.
    pub(super) fn devices_of(&self, peer: Peer) -> &[DeviceId] {
        self.members.of(peer)
    }

    /// Whether somebody wrote down which zones there are.
    pub(super) fn declare_zones(&self) -> bool {
        self.zones.values().any(|zone| zone.declared.is_some())
    }

    fn index(
        devices: BTreeMap<&'r str, &'r RawDevice>,
        networks: BTreeMap<&'r str, &'r RawNetwork>,
        classes: BTreeMap<&'r str, &'r RawClass>,
        declared: BTreeMap<&'r str, &'r RawZone>,
    ) -> Self {
        let mut named: BTreeMap<&'r str, Option<&'r Leaf<String>>> =
            declared.keys().map(|name| (*name, None)).collect();
        for zone in devices.values().filter_map(|raw| raw.zone.as_ref()) {
            named.entry(&zone.value).or_default().get_or_insert(zone);
        }
        let zones: Index<'r, NamedZone<'r>> = (0..)
            .map(ZoneId)
            .zip(named)
            .map(|(id, (name, named))| (name, NamedZone { id, declared: declared.get(name).copied(), named }))
            .collect();
        let classes: Index<'r, Entry<'r, ClassId, RawClass>> =
            (0..).map(ClassId).zip(classes).map(|(id, (name, raw))| (name, Entry { id, raw })).collect();
        let mut members = Members::new(devices.len(), classes.len(), zones.len());
        let mut lost_classes = BTreeSet::new();
        let devices: Index<'r, _> = (0..)
            .map(DeviceId)
            .zip(devices)
            .map(|(id, (name, raw))| {
                if let Some(zone) = raw.zone.as_ref().and_then(|zone| zones.get(zone.value.as_str())) {
                    members.add_to_zone(zone.id, id);
                }
                match raw.class.as_ref().map(|class| (class, classes.get(class.value.as_str()))) {
                    Some((_, Some(class))) => members.add_to_class(class.id, id),
                    Some((class, None)) => {
                        lost_classes.insert(class.value.as_str());
                    }
                    None => {}
                }
                (name, Entry { id, raw })
            })
            .collect();
        let networks =
            (0..).map(NetworkId).zip(networks).map(|(id, (name, raw))| (name, Entry { id, raw })).collect();
        let (groups, multicasts, services) = (Index::default(), Index::default(), Index::default());
        Self { devices, networks, classes, lost_classes, zones, groups, members, multicasts, services }
    }
}

/// The built-in multicast groups and those of the user's files, numbered in the order of their names.
fn multicasts<'r>(files: &'r [RawFile], out: &mut Collector<'_>) -> Index<'r, NamedMulticast<'r>> {
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
pub(super) fn unique<'r, T>(
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
                    .help(join(what)),
            ),
            None => {
                found.insert(&leaf.value, one);
            }
        }
    }
    found
}

fn join(what: &str) -> String {
    let rename = format!("rename one of the two {}", plural(what));
    match what {
        "device" => format!("a device stands whole in one file: join both with all their rules, or {rename}"),
        _ => format!("join both into one, or {rename}"),
    }
}

fn plural(what: &str) -> String {
    if what.ends_with('s') { format!("{what}es") } else { format!("{what}s") }
}

/// Two leaves in the order of a reader.
fn ordered<'l, T>(a: &'l Leaf<T>, b: &'l Leaf<T>) -> (&'l Leaf<T>, &'l Leaf<T>) {
    if a.at <= b.at { (a, b) } else { (b, a) }
}
