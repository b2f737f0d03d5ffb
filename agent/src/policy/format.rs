//! Policy -> text: the one way to write a policy down.
//!
//! In: a policy. Out: one policy file that resolves to the same policy, places and words for groups excepted. What a class gives its devices
//! stands with each device, and what a group holds besides devices in the rules that name it; both mean the same.

use crate::model::{
    ClassId, Criticality, Device, DeviceId, GroupId, Holder, Mode, Multicast, Network, Policy, Rule,
};

mod rules;
mod services;
pub(crate) mod text;

pub(crate) use services::table as service_table;
use text::{Table, Writer};

/// The policy as one file.
pub fn format(policy: &Policy) -> String {
    let mut out = Writer::new();
    for zone in &policy.zones {
        let mut table = Table::new(&["zone", &zone.name]);
        table.words("comment", zone.comment.as_deref());
        table.words("owner", zone.owner.as_deref());
        out.push(table);
    }
    for (group, members) in policy.groups.iter().zip(members(policy)) {
        let mut table = Table::new(&["group", &group.name]);
        table.list("members", members.into_iter());
        table.words("comment", group.comment.as_deref());
        out.push(table);
    }
    for network in &policy.networks {
        out.push(self::network(network));
    }
    for group in policy.multicasts.iter().filter(|group| !group.built_in) {
        out.push(multicast(group));
    }
    for service in policy.services.iter().filter(|service| !service.built_in) {
        out.push(service_table(&service.name, &service.selectors));
    }
    for (id, class) in (0..).map(ClassId).zip(&policy.classes) {
        let mut table = Table::new(&["class", &class.name]);
        table.words("comment", class.comment.as_deref());
        out.push(table);
        for rule in held(policy, Holder::Class(id)) {
            out.push(rules::entry(policy, rule, &["class", &class.name, "allow"]));
        }
    }
    for (id, device) in (0..).map(DeviceId).zip(&policy.devices) {
        out.push(self::device(policy, device));
        for rule in held(policy, Holder::Device(id)) {
            out.push(rules::entry(policy, rule, &["device", &device.name, "allow"]));
        }
    }
    for rule in held(policy, Holder::Conduit) {
        out.push(rules::conduit(policy, rule));
    }
    if !policy.remediation.is_empty() {
        let mut table = Table::new(&["quarantine"]);
        table.list("peers", policy.remediation.iter().map(|peer| policy.peer_name(*peer).into_owned()));
        out.push(table);
    }
    out.finish()
}

/// The rules of one holder, which stand together in a policy.
fn held(policy: &Policy, holder: Holder) -> &[Rule] {
    let start = policy.rules.partition_point(|rule| rule.holder < holder);
    let rest = &policy.rules[start..];
    &rest[..rest.partition_point(|rule| rule.holder == holder)]
}

/// The names of the devices of each group.
fn members(policy: &Policy) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new(); policy.groups.len()];
    for device in &policy.devices {
        for GroupId(id) in &device.groups {
            found[*id as usize].push(device.name.clone());
        }
    }
    found
}

fn device(policy: &Policy, device: &Device) -> Table {
    let Device {
        name,
        macs,
        addresses,
        dynamic,
        segment,
        vlan,
        zone: _,
        class: _,
        groups: _,
        criticality,
        mode,
        comment,
        location: _,
    } = device;
    let mut table = Table::new(&["device", name]);
    table.list("mac", macs.iter().map(ToString::to_string));
    let leased = dynamic.then(|| "dhcp".to_owned());
    table.list("ip", addresses.iter().map(ToString::to_string).chain(leased));
    table.words("segment", segment.as_deref());
    if let Some(vlan) = vlan {
        table.bare("vlan", vlan.to_string());
    }
    table.words("zone", policy.zone_of(device));
    table.words("class", policy.class_of(device));
    table.words("criticality", (*criticality != Criticality::default()).then(|| criticality.name()));
    table.words("mode", (*mode != Mode::default()).then(|| mode.name()));
    table.words("comment", comment.as_deref());
    table
}

fn network(network: &Network) -> Table {
    let Network { name, cidrs, except, names, comment, location: _ } = network;
    let mut table = Table::new(&["network", name]);
    table.list("cidr", cidrs.iter().map(ToString::to_string));
    table.list("except", except.iter().map(ToString::to_string));
    table.list("dns", names.iter().cloned());
    table.words("comment", comment.as_deref());
    table
}

fn multicast(group: &Multicast) -> Table {
    let Multicast { name, cidrs, macs, built_in: _ } = group;
    let mut table = Table::new(&["multicast", name.strip_prefix("multicast:").unwrap_or(name)]);
    table.list("ip", cidrs.iter().map(ToString::to_string));
    table.list("mac", macs.iter().map(ToString::to_string));
    table
}

#[cfg(test)]
mod tests;
