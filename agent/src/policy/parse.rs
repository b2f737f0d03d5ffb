//! Text -> Raw. In: one policy file. Out: its contents with every leaf checked by itself; all problems reported.

use std::net::IpAddr;

use toml::de::DeTable;

use super::{
    cascade::POLICY_ROOT,
    language::{CLASS, DEVICE, QUARANTINE, ROOT},
    raw::{RawClass, RawDevice, RawFile},
    reader::{Leaf, Reader},
};
use crate::{
    diagnostic::{Collector, Diagnostic, FileId, quote},
    model::{Criticality, Mode},
};

mod allow;
mod network;
mod services;
mod terms;
pub(super) use terms::SOURCES;
mod zones;

/// The only version of the language so far.
const VERSION: i64 = 1;

pub(super) const MODES: [(&str, Mode); 3] = [
    (Mode::Monitor.name(), Mode::Monitor),
    (Mode::Enforce.name(), Mode::Enforce),
    (Mode::Quarantine.name(), Mode::Quarantine),
];
pub(super) const CRITICALITIES: [(&str, Criticality); 4] = [
    (Criticality::Low.name(), Criticality::Low),
    (Criticality::Medium.name(), Criticality::Medium),
    (Criticality::High.name(), Criticality::High),
    (Criticality::Safety.name(), Criticality::Safety),
];

/// Reads one file. Says also whether its notation was right: if not, more may be missing than the file's author left out.
pub(super) fn parse(file: FileId, out: &mut Collector<'_>) -> (RawFile, bool) {
    let text = out.sources().text(file).clone();
    let mut reader = Reader { file, out };
    let (document, clean) = reader.document(&text);
    let root = document.get_ref();
    reader.keys(root, &ROOT, POLICY_ROOT);
    version(&mut reader, root);
    let mut raw = RawFile::default();
    for (name, table) in reader.named_tables(root, "device") {
        raw.devices.push(device(&mut reader, name, table));
    }
    for (name, table) in reader.named_tables(root, "class") {
        raw.classes.push(class(&mut reader, name, table));
    }
    for (name, table) in reader.named_tables(root, "zone") {
        raw.zones.push(zones::zone(&mut reader, name, table));
    }
    for (name, table) in reader.named_tables(root, "group") {
        raw.groups.push(zones::group(&mut reader, name, table));
    }
    for (at, table) in reader.tables(root, "conduit", "[[conduit]]") {
        raw.conduits.push(zones::conduit(&mut reader, at, table));
    }
    for (name, table) in reader.named_tables(root, "network") {
        raw.networks.push(network::network(&mut reader, name, table));
    }
    for (name, table) in reader.named_tables(root, "multicast") {
        raw.multicasts.push(services::group(&mut reader, name, table));
    }
    for (name, table) in reader.named_tables(root, "service") {
        raw.services.push(services::service(&mut reader, name, table));
    }
    if let Some((_, table)) = reader.table(root, "quarantine") {
        reader.keys(table, &QUARANTINE, "`[quarantine]`");
        prose(&mut reader, table, "comment");
        let names = reader.strings(table, "peers");
        raw.quarantine =
            names.iter().flat_map(|names| &names.value).filter_map(|name| reader.peer(name)).collect();
    }
    (raw, clean)
}

fn version(reader: &mut Reader<'_, '_>, root: &DeTable<'_>) {
    if !root.contains_key("version") {
        let location = reader.locate(0..0);
        let found = Diagnostic::error("BH0006", "the file does not say its version");
        return reader.out.push(found.at(location, "").help("start the file with `version = 1`"));
    }
    let Some(version) = reader.integer(root, "version") else { return };
    if version.value != VERSION {
        let location = reader.out.locate(version.at);
        let found = Diagnostic::error("BH0007", format!("version `{}` is not known", version.value));
        reader.out.push(found.at(location, "").help("this agent reads `version = 1`"));
    }
}

fn device(reader: &mut Reader<'_, '_>, name: Leaf<String>, table: &DeTable<'_>) -> RawDevice {
    peer_name(reader, &name, "device");
    let what = format!("device {}", quote(&name.value));
    reader.keys(table, &DEVICE, &what);
    let macs = reader.strings(table, "mac");
    let macs = macs.iter().flat_map(|list| &list.value).filter_map(|leaf| reader.mac(leaf)).collect();
    let (addresses, dynamic) = addresses(reader, table, &what);
    if is_absent(table, "mac") && is_absent(table, "ip") {
        let location = reader.out.locate(name.at);
        let found = Diagnostic::error("BH0401", format!("{what} has neither `mac` nor `ip`"));
        let help = "say how its packets are recognised: `mac = \"00:1d:9c:c7:b0:70\"`, `ip = \"10.20.1.11\"`, or both";
        reader.out.push(found.at(location, "").help(help));
    }
    let zone = reader.string(table, "zone").filter(|zone| reader.name(zone, "zone"));
    let class = reader.string(table, "class");
    let (criticality, mode) = defaults(reader, table);
    RawDevice {
        macs,
        addresses,
        dynamic,
        segment: reader.string(table, "segment").and_then(|leaf| reader.segment(leaf)),
        vlan: vlan(reader, table),
        zone,
        class,
        criticality,
        mode,
        comment: prose(reader, table, "comment"),
        allow: reader.allow(table, &format!("[[device.{}.allow]]", name.value), &what),
        name,
    }
}

/// The word in `ip` for an address that a lease gives.
const DHCP: &str = "dhcp";

/// A device's addresses, and whether a lease gives it more.
fn addresses(reader: &mut Reader<'_, '_>, table: &DeTable<'_>, what: &str) -> (Vec<Leaf<IpAddr>>, bool) {
    let list = reader.strings(table, "ip");
    let (leased, written): (Vec<_>, Vec<_>) =
        list.iter().flat_map(|list| &list.value).partition(|leaf| leaf.value == DHCP);
    if let (Some(leaf), true) = (leased.first(), is_absent(table, "mac")) {
        let help = "a lease is given to a hardware address: add `mac = [\"00:1d:9c:c7:b0:70\"]`";
        reader.refuse::<()>("BH0409", leaf, format!("{what} has `{DHCP}` but no `mac`"), help);
    }
    (written.into_iter().filter_map(|leaf| reader.address(leaf)).collect(), !leased.is_empty())
}

fn class(reader: &mut Reader<'_, '_>, name: Leaf<String>, table: &DeTable<'_>) -> RawClass {
    reader.name(&name, "class");
    let what = format!("class {}", quote(&name.value));
    reader.keys(table, &CLASS, &what);
    let (criticality, mode) = defaults(reader, table);
    RawClass {
        criticality,
        mode,
        comment: prose(reader, table, "comment"),
        allow: reader.allow(table, &format!("[[class.{}.allow]]", name.value), &what),
        name,
    }
}

/// What a device says of itself, or a class of its devices.
fn defaults(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> (Option<Criticality>, Option<Mode>) {
    let criticality = reader.string(table, "criticality");
    let criticality =
        criticality.and_then(|leaf| reader.word("BH0212", &leaf, "criticality", &CRITICALITIES));
    let mode = reader.string(table, "mode").and_then(|leaf| reader.word("BH0211", &leaf, "mode", &MODES));
    (criticality, mode)
}

fn vlan(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Option<u16> {
    let vlan = reader.integer(table, "vlan")?;
    // IEEE 802.1Q-2018 9.6: 0 is a priority tag without a VLAN, 4095 is reserved.
    if let Some(found) = u16::try_from(vlan.value).ok().filter(|vlan| (1..=4094).contains(vlan)) {
        return Some(found);
    }
    let location = reader.out.locate(vlan.at);
    let text =
        reader.out.sources().text(reader.file).get(location.span.clone()).unwrap_or_default().to_owned();
    let found = Diagnostic::error("BH0210", format!("VLAN {} does not exist", quote(&text)));
    reader.out.push(found.at(location, "").help("VLANs go from 1 to 4094; leave `vlan` out to accept any"));
    None
}

/// Peers are named without a prefix, so a device or network must not look like something else.
fn peer_name(reader: &mut Reader<'_, '_>, name: &Leaf<String>, what: &str) {
    let text = name.value.as_str();
    let help = if ["gateway", "broadcast", "any", "multicast"].contains(&text) {
        "rules use this word with a meaning of its own: choose another name"
    } else if ["zone:", "class:", "group:", "multicast:"].iter().any(|prefix| text.starts_with(prefix)) {
        "rules use this prefix with a meaning of its own: choose a name without it"
    } else if text.parse::<IpAddr>().is_ok() {
        "it looks like an address: choose a name, and give the address as a value"
    } else {
        reader.name(name, what);
        return;
    };
    reader.refuse::<()>("BH0105", name, format!("{} cannot be the name of a {what}", quote(text)), help);
}

/// Missing, or a list without elements: both leave nothing to work with.
fn is_absent(table: &DeTable<'_>, key: &str) -> bool {
    table.get(key).is_none_or(|value| value.get_ref().as_array().is_some_and(|list| list.is_empty()))
}

fn prose(reader: &mut Reader<'_, '_>, table: &DeTable<'_>, key: &str) -> Option<String> {
    let leaf = reader.string(table, key)?;
    reader.prose(leaf, key)
}
