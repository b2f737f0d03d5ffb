//! Policy in, tables out: what the kernel looks up, sized and sorted, each row knowing its rule.
//!
//! Pure and deterministic: the same policy gives the same tables and the same [`Revision`]. Ids here are
//! dense (a device's or rule's place in the policy, plus one); the data path translates them into ids
//! that stay the same for as long as its counters live.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_common::{
    layout::{AddressRow, MacRow, RuleKey},
    lookup::{address_flag, class, identity, shape},
    wire::mac,
};
use ipnet::Ipv4Net;

use crate::{
    diagnostic::Location,
    model::{Criticality, Device, DeviceId, Layer, Mode, Peer, Policy, Rule},
};

mod host;
mod identities;
mod revision;
mod services;
pub use host::{Host, Placed};
pub use revision::Revision;
pub use services::{ServicePrefix, prefixes_of};

use identities::Identities;
use services::Services;

/// Value of a row that is no rule's: a remediation peer of quarantined devices.
pub const NO_RULE: u32 = u32::MAX;

/// How much the kernel has room for. A policy that needs more is refused whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Devices, each with its counters.
    pub devices: u32,
    /// Rules, each with its counters.
    pub rules: u32,
    /// Rows of the rule table, and of each other table.
    pub rows: u32,
}

/// The policy needs more room than the limits give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy needs {needed} {what}, and `limits.{what}` is {limit}")]
pub struct TooLarge {
    /// Which limit, by its name in the configuration.
    pub what: &'static str,
    /// What the policy needs; at least this many, for rows.
    pub needed: u64,
    /// What the configuration gives.
    pub limit: u32,
}

/// A device as the tables keep it, in the order of its dense id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// The user's name for it.
    pub name: String,
    /// What a denied packet of it meets.
    pub mode: Mode,
    /// How much harm its stop does.
    pub criticality: Criticality,
    /// Where it is declared.
    pub location: Location,
}

/// A rule as the tables keep it, in the order of its dense id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleEntry {
    /// The rule in one line of the user's words; equal texts are the same rule across revisions.
    pub text: String,
    /// The device in whose allow list it stands.
    pub device: String,
    /// The class it was inherited from.
    pub class: Option<String>,
    /// Why it exists, in its author's words.
    pub comment: Option<String>,
    /// Where it stands.
    pub location: Location,
}

/// Everything the kernel needs of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Content hash of what follows, places in files excepted.
    pub revision: Revision,
    /// Device `i` has the dense id `i + 1`.
    pub devices: Vec<DeviceEntry>,
    /// Rule `i` has the dense id `i + 1`.
    pub rules: Vec<RuleEntry>,
    /// By hardware address as a number.
    pub macs: BTreeMap<u64, MacRow>,
    /// By IPv4 address as a number.
    pub addresses: BTreeMap<u32, AddressRow>,
    /// By IPv6 address, in the order of the wire.
    pub addresses_v6: BTreeMap<[u8; 16], AddressRow>,
    /// Identity of every prefix that a network names.
    pub networks: BTreeMap<Ipv4Net, u32>,
    /// Service class of every range of ports that a rule names.
    pub services: BTreeMap<ServicePrefix, u32>,
    /// Dense rule id (or [`NO_RULE`]) of every permitted combination.
    pub rows: BTreeMap<RuleKey, u32>,
    /// Which kinds of rows there are, see [`shape`].
    pub shapes: u32,
}

/// Compiles a policy.
///
/// # Errors
/// [`TooLarge`] when it does not fit the limits; nothing is truncated.
pub fn compile(policy: &Policy, limits: &Limits) -> Result<Tables, TooLarge> {
    fits("devices", policy.devices.len(), limits.devices)?;
    fits("rules", policy.rules.len(), limits.rules)?;
    let identities = Identities::of(policy);
    let services = Services::of(policy);
    let rules = ordered(policy);
    let mut tables = Tables {
        revision: Revision::default(),
        devices: policy.devices.iter().map(device_entry).collect(),
        rules: rules.iter().map(|(entry, _)| entry.clone()).collect(),
        macs: macs(policy),
        addresses: addresses(policy, &identities),
        addresses_v6: BTreeMap::new(),
        networks: identities
            .networks()
            .into_iter()
            .filter_map(|(p, i)| if let ipnet::IpNet::V4(p) = p { Some((p, i)) } else { None })
            .collect(),
        services: services.prefixes(),
        rows: BTreeMap::new(),
        shapes: if policy.devices.iter().any(|d| d.mode != Mode::Monitor) { shape::ENFORCING } else { 0 },
    };
    fill_rows(&mut tables, (policy, &rules), &identities, &services, limits)?;
    fits("rows", tables.macs.len(), limits.rows)?;
    fits("rows", tables.addresses.len(), limits.rows)?;
    fits("rows", tables.addresses_v6.len(), limits.rows)?;
    fits("rows", tables.networks.len(), limits.rows)?;
    fits("rows", tables.services.len(), limits.rows)?;
    tables.revision = revision::of(&tables);
    Ok(tables)
}

fn fits(what: &'static str, needed: usize, limit: u32) -> Result<(), TooLarge> {
    if needed as u64 > u64::from(limit) {
        return Err(TooLarge { what, needed: needed as u64, limit });
    }
    Ok(())
}

/// The dense id of a place in a list that was checked against [`Limits`].
fn dense(index: usize) -> u32 {
    u32::try_from(index + 1).expect("limits are 32 bits wide and were checked first")
}

fn device_entry(device: &Device) -> DeviceEntry {
    DeviceEntry {
        name: device.name.clone(),
        mode: device.mode,
        criticality: device.criticality,
        location: device.location.clone(),
    }
}

/// The rules by device and text. Where an entry stands decides only between equal texts: moving it within the
/// files must change neither the revision nor which of two overlapping rules is counted.
fn ordered(policy: &Policy) -> Vec<(RuleEntry, &Rule)> {
    let mut rules: Vec<(RuleEntry, &Rule)> =
        policy.rules.iter().map(|rule| (rule_entry(policy, rule), rule)).collect();
    let place = |location: &Location| (location.path.clone(), location.line, location.column);
    rules.sort_by_cached_key(|(entry, rule)| (rule.device, entry.text.clone(), place(&entry.location)));
    rules
}

fn rule_entry(policy: &Policy, rule: &Rule) -> RuleEntry {
    let device = policy.devices[rule.device.0 as usize].name.clone();
    let peers = |list: &[Peer]| list.iter().map(|p| policy.peer_name(*p)).collect::<Vec<_>>().join(", ");
    let services: Vec<&str> =
        rule.services.iter().map(|s| policy.services[s.0 as usize].name.as_str()).collect();
    RuleEntry {
        text: format!("{} -> {} {}", peers(&rule.initiators), peers(&rule.responders), services.join(", ")),
        device,
        class: rule.class.clone(),
        comment: rule.comment.clone(),
        location: rule.location.clone(),
    }
}

fn macs(policy: &Policy) -> BTreeMap<u64, MacRow> {
    let rows = policy.devices.iter().enumerate().flat_map(|(index, device)| {
        let row =
            MacRow { device: dense(index), vlan: device.vlan.unwrap_or(0), mode: device.mode.code(), pad: 0 };
        device.macs.iter().map(move |m| (mac::from_octets(m.0), row))
    });
    rows.collect()
}

fn addresses(policy: &Policy, identities: &Identities) -> BTreeMap<u32, AddressRow> {
    let rows = policy.devices.iter().enumerate().flat_map(|(index, device)| {
        let flags = if device.macs.is_empty() { 0 } else { address_flag::HAS_MAC };
        device.addresses.iter().filter_map(move |address| {
            let row = AddressRow {
                device: dense(index),
                identity: identities.of_address(*address),
                mode: device.mode.code(),
                flags,
                vlan: device.vlan.unwrap_or(0),
            };
            if let std::net::IpAddr::V4(v4) = address { Some((u32::from(*v4), row)) } else { None }
        })
    });
    rows.collect()
}

fn fill_rows(
    tables: &mut Tables,
    (policy, rules): (&Policy, &[(RuleEntry, &Rule)]),
    identities: &Identities,
    services: &Services,
    limits: &Limits,
) -> Result<(), TooLarge> {
    for (index, (_, rule)) in rules.iter().enumerate() {
        let id = dense(index);
        for layer in [Layer::Network, Layer::Link] {
            let classes: BTreeSet<u32> =
                rule.services.iter().flat_map(|service| services.classes_of(*service, layer)).collect();
            if classes.is_empty() {
                continue;
            }
            let ends = |peers: &[Peer]| -> Vec<u32> {
                peers.iter().flat_map(|peer| identities.of_peer(*peer, layer)).collect()
            };
            let (initiators, responders) = (ends(&rule.initiators), ends(&rule.responders));
            // Frames have no flows that would admit an answer, so their permission holds for whoever may answer.
            let answering = match layer {
                Layer::Network => Vec::new(),
                Layer::Link => {
                    let one = |peer: &Peer| !matches!(peer, Peer::Group(_) | Peer::Broadcast);
                    ends(&rule.responders.iter().copied().filter(one).collect::<Vec<_>>())
                }
            };
            for (from, to) in [(&initiators, &responders), (&answering, &initiators)] {
                for (initiator, responder) in from.iter().flat_map(|from| to.iter().map(|to| (*from, *to))) {
                    tables.permit(initiator, responder, &classes, id);
                    fits("rows", tables.rows.len(), limits.rows)?;
                }
            }
        }
    }
    for peer in policy.remediation.iter().flat_map(|p| identities.of_peer(*p, Layer::Network)) {
        let class = class::REMEDIATION;
        tables.rows.insert(RuleKey { initiator: identity::ANY, responder: peer, class }, NO_RULE);
        tables.rows.insert(RuleKey { initiator: peer, responder: identity::ANY, class }, NO_RULE);
        tables.shapes |= shape::ANY_INITIATOR | shape::ANY_RESPONDER;
    }
    fits("rows", tables.rows.len(), limits.rows)
}

impl Tables {
    /// Adds the rows by which `initiator` may use `classes` of services of `responder`.
    fn permit(&mut self, initiator: u32, responder: u32, classes: &BTreeSet<u32>, rule: u32) {
        self.shapes |= match (initiator, responder) {
            (identity::ANY, _) => shape::ANY_INITIATOR,
            (_, identity::ANY) => shape::ANY_RESPONDER,
            (_, _) => shape::EXACT,
        };
        for class in classes.iter().copied().chain([class::PAIR]) {
            // Of rules that overlap, the first in the order of the tables is the one that is counted.
            self.rows.entry(RuleKey { initiator, responder, class }).or_insert(rule);
        }
    }

    /// The device with a dense id.
    pub fn device(&self, id: u32) -> Option<&DeviceEntry> {
        self.devices.get((id as usize).checked_sub(1)?)
    }

    /// The rule with a dense id.
    pub fn rule(&self, id: u32) -> Option<&RuleEntry> {
        self.rules.get((id as usize).checked_sub(1)?)
    }

    /// The dense id of the device called `name`.
    pub fn device_id(&self, name: &str) -> Option<DeviceId> {
        let at = self.devices.iter().position(|d| d.name == name)?;
        u32::try_from(at).ok().map(DeviceId)
    }
}

#[cfg(test)]
mod tests;
