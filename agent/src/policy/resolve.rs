//! Raw -> Policy. In: the contents of all files. Out: names turned into ids, and every name that leads nowhere.
//!
//! The policy built beside errors is thrown away by the caller; it is built all the same, so that the
//! checks below see what the author wrote.

use std::collections::BTreeSet;

use super::{
    limits::MAX_DEVICES,
    raw::{RawClass, RawDevice, RawFile, RawNetwork, RawPeer},
};
use crate::{
    diagnostic::{Collector, Diagnostic, quote},
    model::{Class, ClassId, Device, GroupId, Mode, Multicast, Network, Peer, Policy, Service},
};

mod again;
mod by_name;
mod groups;
mod identity;
mod index;
mod members;
mod names;
mod peers;
mod reach;
mod rules;
mod services;
mod zones;

pub(super) use again::Known;

use again::Again;
use names::{Entry, NamedMulticast, Names};

/// The last reading, and which files are the same as they were then.
pub(super) type Last<'k> = Option<(Known, &'k [bool])>;

/// The policy, and what to `remember` of a reading without an error.
pub(super) fn resolve(
    files: &[RawFile],
    last: Last<'_>,
    remember: bool,
    out: &mut Collector<'_>,
) -> (Policy, Option<Known>) {
    let names = Names::collect(files, out);
    if let Some(device) = names.devices.values().nth(MAX_DEVICES) {
        let location = out.locate(device.raw.name.at);
        let found = Diagnostic::error("BH0406", format!("{} devices are too many", names.devices.len()));
        let help = format!("one gateway manages at most {MAX_DEVICES}: split the policy over gateways");
        out.push(found.at(location, "").help(help));
        return (Policy::default(), None);
    }
    identity::check(&names, out);
    classes(&names, files, out);
    zones::check(&names, files, out);
    groups::check(&names, out);
    let fingerprint = again::fingerprint(&names);
    let again = Again::new(last, &fingerprint);
    let changed: Vec<&RawFile> =
        files.iter().enumerate().filter(|(file, _)| again.of(*file).is_none()).map(|(_, raw)| raw).collect();
    reach::check_entries(&names, &changed, out);
    by_name::check_entries(&names, &changed, out);
    let built = rules::build(&names, files, again, remember.then_some(fingerprint), out);
    let remediation = remediation(&names, files, out);
    let mut used = built.used;
    for peer in &remediation {
        peers::mark(names.devices_of(*peer), &mut used);
    }
    unused_devices(&names, &used, out);
    let policy = Policy {
        devices: devices(&names, out),
        networks: names.networks.values().map(|entry| network(entry.raw, out)).collect(),
        classes: names.classes.values().map(|entry| class(entry.raw, out)).collect(),
        zones: zones::of(&names, out),
        groups: groups::of(&names, out),
        multicasts: names.multicasts.values().map(multicast).collect(),
        services: built
            .services
            .into_iter()
            .map(|(name, (selectors, built_in))| Service {
                name: name.to_owned(),
                selectors: selectors.into_owned(),
                built_in,
            })
            .collect(),
        rules: built.rules,
        remediation,
    };
    (policy, built.known.filter(|_| !out.has_errors()))
}

fn devices(names: &Names<'_>, out: &Collector<'_>) -> Vec<Device> {
    let groups = names.members.groups_by_device();
    names.devices.values().zip(groups).map(|(entry, groups)| device(names, entry.raw, groups, out)).collect()
}

/// The device's own word comes before that of its class.
fn mode(names: &Names<'_>, raw: &RawDevice) -> Mode {
    raw.mode.or_else(|| class_of(names, raw)?.raw.mode).unwrap_or_default()
}

fn class_of<'n, 'r>(names: &'n Names<'r>, raw: &RawDevice) -> Option<&'n Entry<'r, ClassId, RawClass>> {
    raw.class.as_ref().and_then(|class| names.classes.get(class.value.as_str()))
}

fn device(names: &Names<'_>, raw: &RawDevice, groups: Vec<GroupId>, out: &Collector<'_>) -> Device {
    let class = class_of(names, raw);
    let zone = raw.zone.as_ref().and_then(|zone| names.zones.get(zone.value.as_str()));
    let criticality = raw.criticality.or_else(|| class?.raw.criticality);
    Device {
        name: raw.name.value.clone(),
        macs: sorted(raw.macs.iter().map(|mac| mac.value).collect()),
        addresses: sorted(raw.addresses.iter().map(|address| address.value).collect()),
        dynamic: raw.dynamic,
        segment: raw.segment.clone(),
        vlan: raw.vlan,
        zone: zone.map(|zone| zone.id),
        class: class.map(|class| class.id),
        groups,
        criticality: criticality.unwrap_or_default(),
        mode: mode(names, raw),
        comment: raw.comment.clone(),
        location: out.locate(raw.name.at),
    }
}

fn network(raw: &RawNetwork, out: &Collector<'_>) -> Network {
    Network {
        name: raw.name.value.clone(),
        cidrs: sorted(raw.cidrs.iter().map(|cidr| cidr.value).collect()),
        except: sorted(raw.except.iter().map(|cidr| cidr.value).collect()),
        names: sorted(raw.names.iter().map(|name| name.value.clone()).collect()),
        comment: raw.comment.clone(),
        location: out.locate(raw.name.at),
    }
}

fn class(raw: &RawClass, out: &Collector<'_>) -> Class {
    Class { name: raw.name.value.clone(), comment: raw.comment.clone(), location: out.locate(raw.name.at) }
}

fn multicast(named: &NamedMulticast<'_>) -> Multicast {
    Multicast {
        name: peers::word(named.name),
        cidrs: sorted(named.cidrs.to_vec()),
        macs: sorted(named.macs.to_vec()),
        built_in: named.built_in,
    }
}

/// A device's class must be declared, and a declared class should have a device.
fn classes(names: &Names<'_>, files: &[RawFile], out: &mut Collector<'_>) {
    for device in files.iter().flat_map(|file| &file.devices) {
        let Some(class) = &device.class else { continue };
        if !names.classes.contains_key(class.value.as_str()) {
            let help = match out.suggest(&class.value, names.classes.keys().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "declare it with `[class.NAME]` and its `[[class.NAME.allow]]` entries".to_owned(),
            };
            let location = out.locate(class.at);
            let found = Diagnostic::error("BH0303", format!("unknown class {}", quote(&class.value)));
            out.push(found.at(location, "").help(help));
        }
    }
    for (name, class) in &names.classes {
        if names.devices_of(Peer::Class(class.id)).is_empty() {
            let location = out.locate(class.raw.name.at);
            let found = Diagnostic::warning("BH0501", format!("class `{name}` has no device"));
            let help = format!("give a device `class = \"{name}\"`, or remove the class");
            out.push(found.at(location, "").help(help));
        }
    }
}

fn remediation(names: &Names<'_>, files: &[RawFile], out: &mut Collector<'_>) -> Vec<Peer> {
    let mut all = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for peer in files.iter().flat_map(|file| &file.quarantine) {
        if !seen.insert(&peer.value) {
            continue;
        }
        if peer.value == RawPeer::Any {
            let location = out.locate(peer.at);
            let found = Diagnostic::error("BH0405", "a quarantine that lets everybody through is none");
            out.push(
                found.at(location, "").help("name the few peers a quarantined device needs to be mended"),
            );
        }
        all.extend(peers::expand(names, peer, out));
    }
    all.into_iter().collect()
}

/// A device nobody names in a rule is cut off in enforce mode, which its author may not know yet.
fn unused_devices(names: &Names<'_>, used: &[bool], out: &mut Collector<'_>) {
    for (device, _) in names.devices.values().zip(used).filter(|(_, used)| !**used) {
        if mode(names, device.raw) == Mode::Quarantine {
            continue;
        }
        let name = &device.raw.name.value;
        let location = out.locate(device.raw.name.at);
        let found = Diagnostic::warning("BH0502", format!("no rule names device {}", quote(name)));
        let help = format!(
            "add `[[device.{name}.allow]]`: in enforce mode it has only what rules of `any` and of networks around it allow"
        );
        out.push(found.at(location, "").help(help));
    }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}
