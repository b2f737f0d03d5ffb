//! `[segment.NAME]`, and the switches that interfaces and segments share.

use std::net::IpAddr;

use toml::de::DeTable;

use super::{
    super::{
        Fragments, Host, Infrastructure, Interface, Segment, Unmanaged,
        language::{INFRASTRUCTURE, SEGMENT},
    },
    size, word_or,
};
use crate::{
    diagnostic::{At, Diagnostic, quote},
    model::Mac,
    policy::reader::{Leaf, Reader, list},
};

pub(in crate::config) const UNMANAGED: [(&str, Unmanaged); 3] =
    [("drop", Unmanaged::Drop), ("monitor", Unmanaged::Monitor), ("pass", Unmanaged::Pass)];
pub(in crate::config) const FRAGMENTS: [(&str, Fragments); 2] =
    [("track", Fragments::Track), ("drop", Fragments::Drop)];

/// Segments together with the interfaces' own.
const MAX_SEGMENTS: usize = 512;
/// Servers or routers of one segment: more than a plant has.
const MAX_LISTED: usize = 64;

/// What a segment has wrong with its place.
const PLACE: &str = "BH0612";
/// What a server or router has wrong.
const LISTED: &str = "BH0613";

/// The segment that an interface is by itself and says nothing of.
pub(super) fn plain(interface: &str, infrastructure: Infrastructure) -> Segment {
    Segment {
        name: interface.to_owned(),
        interface: interface.to_owned(),
        vlan: None,
        unmanaged: Unmanaged::default(),
        management: false,
        trusted: false,
        fragments: Fragments::default(),
        dhcp_servers: Vec::new(),
        routers: Vec::new(),
        infrastructure,
    }
}

/// All segments by name: the interfaces' `own`, and those of `[segment.NAME]`.
pub(super) fn segments(
    reader: &mut Reader<'_, '_>,
    root: &DeTable<'_>,
    interfaces: &[Interface],
    own: Vec<Segment>,
) -> Vec<Segment> {
    let mut found = own;
    let tables = reader.named_tables(root, "segment");
    if let Some((name, _)) = tables.get(MAX_SEGMENTS.saturating_sub(found.len())) {
        let message = format!("{} segments are too many", tables.len());
        let help = format!("at most {MAX_SEGMENTS} are kept, interfaces included");
        reader.refuse::<()>(PLACE, name, message, &help);
    }
    let room = MAX_SEGMENTS.saturating_sub(found.len());
    for (name, table) in tables.into_iter().take(room) {
        found.extend(segment(reader, &name, table, interfaces, &found));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn segment(
    reader: &mut Reader<'_, '_>,
    name: &Leaf<String>,
    table: &DeTable<'_>,
    interfaces: &[Interface],
    before: &[Segment],
) -> Option<Segment> {
    let what = format!("segment {}", quote(&name.value));
    reader.keys(table, &SEGMENT, &what);
    let named = reader.name(name, "segment");
    if interfaces.iter().any(|i| i.name == name.value) {
        let message = format!("{} is an interface, and a segment of that name already", quote(&name.value));
        reader.refuse::<()>(PLACE, name, message, "give the segment another name");
    }
    let vlan = table.contains_key("vlan").then(|| size(reader, table, "vlan", 1..=4094, 1));
    let interface = reader.string(table, "interface");
    let own = match &interface {
        Some(leaf) => own_segment(reader, leaf, interfaces, before),
        None => None,
    };
    // Without an interface the switches are read for their problems alone.
    let default = own.cloned().unwrap_or_else(|| plain("", Infrastructure::default()));
    let segment = switches(reader, table, &what, default);
    let missing = [("interface", table.contains_key("interface")), ("vlan", vlan.is_some())];
    for (key, _) in missing.into_iter().filter(|(_, given)| !given) {
        let message = format!("{what} has no `{key}`");
        let help = "write `interface = \"eth1\"` and `vlan = 10`; the other frames of an interface are a segment of its own name";
        reader.refuse::<()>(PLACE, name, message, help);
    }
    let (own, vlan) = (own?, u16::try_from(vlan?).ok()?);
    if let Some(other) = before.iter().find(|s| s.interface == own.interface && s.vlan == Some(vlan)) {
        let message = format!("VLAN {vlan} of `{}` is segment `{}` already", own.interface, other.name);
        reader.refuse::<()>(PLACE, name, message, "remove one of the two");
        return None;
    }
    named.then(|| Segment { name: name.value.clone(), vlan: Some(vlan), ..segment })
}

/// The segment that an interface is by itself.
fn own_segment<'s>(
    reader: &mut Reader<'_, '_>,
    leaf: &Leaf<String>,
    interfaces: &[Interface],
    before: &'s [Segment],
) -> Option<&'s Segment> {
    let own = before.iter().find(|s| s.vlan.is_none() && s.interface == leaf.value);
    if own.is_none() {
        let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
        let help = match reader.out.suggest(&leaf.value, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("configured are {}", list(&names)),
        };
        let message = format!("the interface {} is not configured", quote(&leaf.value));
        reader.refuse::<()>(PLACE, leaf, message, &help);
    }
    own
}

/// What interfaces and segments can say alike; what is not said is as in `default`.
pub(super) fn switches(
    reader: &mut Reader<'_, '_>,
    table: &DeTable<'_>,
    what: &str,
    default: Segment,
) -> Segment {
    let flag = |reader: &mut Reader<'_, '_>, key, default| {
        reader.boolean(table, key).map_or(default, |leaf| leaf.value)
    };
    let trusted = flag(reader, "trusted", default.trusted);
    let dhcp_servers = listed(reader, table, "dhcp_servers", trusted);
    let routers = listed(reader, table, "routers", trusted);
    let infrastructure = match reader.table(table, "infrastructure") {
        Some((_, own)) => {
            infrastructure(reader, own, &format!("`[infrastructure]` of {what}"), default.infrastructure)
        }
        None => default.infrastructure,
    };
    Segment {
        unmanaged: word_or(reader, table, "unmanaged", &UNMANAGED, default.unmanaged),
        management: flag(reader, "management", default.management),
        trusted,
        fragments: word_or(reader, table, "fragments", &FRAGMENTS, default.fragments),
        dhcp_servers: dhcp_servers.unwrap_or(default.dhcp_servers),
        routers: routers.unwrap_or(default.routers),
        infrastructure,
        ..default
    }
}

/// Each protocol beside the policy; what is not said is as in `default`.
pub(super) fn infrastructure(
    reader: &mut Reader<'_, '_>,
    table: &DeTable<'_>,
    what: &str,
    default: Infrastructure,
) -> Infrastructure {
    reader.keys(table, &INFRASTRUCTURE, what);
    let mut flag = |key, default| reader.boolean(table, key).map_or(default, |leaf| leaf.value);
    Infrastructure {
        arp: flag("arp", default.arp),
        dhcp_client: flag("dhcp_client", default.dhcp_client),
        ipv6_nd: flag("ipv6_nd", default.ipv6_nd),
        multicast_membership: flag("multicast_membership", default.multicast_membership),
        lldp: flag("lldp", default.lldp),
        stp: flag("stp", default.stp),
        redundancy: flag("redundancy", default.redundancy),
        eapol: flag("eapol", default.eapol),
        ptp: flag("ptp", default.ptp),
    }
}

/// A sorted list of servers or routers; `None` when the key is absent.
fn listed(reader: &mut Reader<'_, '_>, table: &DeTable<'_>, key: &str, trusted: bool) -> Option<Vec<Host>> {
    let leaves = reader.strings(table, key)?;
    if leaves.value.len() > MAX_LISTED {
        let message = format!("`{key}` has {} entries", leaves.value.len());
        report(reader, leaves.at, Diagnostic::error(LISTED, message), &format!("write at most {MAX_LISTED}"));
    }
    if trusted && !leaves.value.is_empty() {
        let found = Diagnostic::warning(LISTED, format!("`{key}` has no effect on a trusted segment"));
        report(reader, leaves.at, found, "write `trusted = false`, so that only these may be here");
    }
    let mut found: Vec<Host> =
        leaves.value.iter().take(MAX_LISTED).filter_map(|leaf| host(reader, leaf)).collect();
    found.sort();
    found.dedup();
    Some(found)
}

fn host(reader: &mut Reader<'_, '_>, leaf: &Leaf<String>) -> Option<Host> {
    let mac = leaf.value.parse::<Mac>().ok().filter(|mac| !mac.is_group());
    let parsed = leaf.value.parse::<IpAddr>().ok().filter(is_one_host).map(Host::Address);
    let parsed = parsed.or(mac.map(Host::Mac));
    if parsed.is_none() {
        let message = format!("{} is no address of a host", quote(&leaf.value));
        let help = "write its IP address or its MAC address, as in `10.20.1.1` or `00:1d:9c:c7:b0:70`";
        return reader.refuse(LISTED, leaf, message, help);
    }
    parsed
}

fn is_one_host(address: &IpAddr) -> bool {
    let broadcast = *address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    !(address.is_multicast() || address.is_unspecified() || address.is_loopback() || broadcast)
}

fn report(reader: &mut Reader<'_, '_>, at: At, found: Diagnostic, help: &str) {
    let location = reader.out.locate(at);
    reader.out.push(found.at(location, "").help(help));
}
