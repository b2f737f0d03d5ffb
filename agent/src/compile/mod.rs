//! Policy in, tables out: what the kernel looks up, sized and sorted, each row knowing its rule.
//!
//! Pure and deterministic: the same policy gives the same tables and the same [`Revision`]. Ids here are
//! dense (a device's or rule's place in the policy, plus one); the data path translates them into ids
//! that stay the same for as long as its counters live.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use bulkhead_common::{
    address::Address,
    layout::{EndRow, RuleKey, RuleRow},
    lookup::{device_flag, shape},
    wire::mac,
};
use ipnet::IpNet;

use crate::{
    diagnostic::Location,
    model::{Criticality, Device, DeviceId, Mode, Policy, Rule, Schedule, Source},
};

mod begun;
pub mod flat;
mod host;
mod identities;
mod moment;
mod named;
mod nearest;
mod numbers;
mod opening;
mod revision;
mod rows;
mod services;
mod supposed;
mod who;
pub use begun::{Begun, Field, is_allowed};
pub use host::{Host, Memory, Placed, wide};
pub use moment::Calendar;
pub use named::{NamedPeer, NamedPermission};
pub use nearest::{Known, RuleRef, nearest, network_of};
pub use opening::{NEXT_HOP, Opening, STRANGER, Seat};
pub use revision::Revision;
pub use services::{ServicePrefix, prefixes_of};
pub use supposed::Supposed;
pub use who::{Party, Who, hosts, is_global, pair, receivers};

use identities::{Identities, Names};
use services::Services;

/// Numbers for the segments that tables name, where no configuration gives them any.
pub fn numbered_segments(tables: &Tables) -> BTreeMap<String, u16> {
    tables.segments.iter().cloned().zip(1..).collect()
}

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
#[error("the policy needs {needed} {what}, and {} is {limit}", if *what == "schedules" { "their bound".to_owned() } else { format!("`limits.{what}`") })]
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
    /// In whose name it is written: `device NAME`, `class NAME` or `conduit`.
    pub holder: String,
    /// When it holds; `None` always.
    pub schedule: Option<Schedule>,
    /// Why it exists, in its author's words.
    pub comment: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The change it was made under.
    pub ticket: Option<String>,
    /// How it came to be.
    pub source: Source,
    /// Where it stands.
    pub location: Location,
}

/// Everything the kernel needs of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Content hash of what follows, places in files excepted.
    pub revision: Revision,
    /// Sorted by name. Device `i` has the dense id `i + 1`.
    pub devices: Vec<DeviceEntry>,
    /// Rule `i` has the dense id `i + 1`.
    pub rules: Vec<RuleEntry>,
    /// Schedule `i` is `i + 1` in the rows; it is open whenever one of these is.
    pub schedules: Vec<Vec<Schedule>>,
    /// What devices may do at addresses that they learn by name.
    pub named: Vec<NamedPeer>,
    /// Who is in which of them: dense id of the device and place, ascending.
    pub by_name: Vec<(u32, u32)>,
    /// Names of the segments that devices must be seen on, sorted. Segment `i` is `i + 1` in the rows below.
    pub segments: Vec<String>,
    /// Devices and groups by hardware address as a number; a group has no device.
    pub macs: BTreeMap<u64, EndRow>,
    /// Devices by address, of both families.
    pub addresses: BTreeMap<Address, EndRow>,
    /// Identity of every prefix that a network or a group has. The families are apart: no IPv6 prefix holds an IPv4
    /// address, and where the data path's one trie would have it so, `0.0.0.0/0` is a row that says nobody.
    pub networks: BTreeMap<IpNet, u32>,
    /// Identity of a leased address: by the identity of its device's hardware address and that of the longest
    /// prefix around it. Where there is no row, it is that of the hardware address.
    pub leased: BTreeMap<(u32, u32), u32>,
    /// Service class of every range of ports that a rule names.
    pub services: BTreeMap<ServicePrefix, u32>,
    /// Dense rule id (or [`NO_RULE`]) and schedule of every permitted combination. A device in a key has its dense id.
    pub rows: BTreeMap<RuleKey, RuleRow>,
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
    let (entries, rules) = ordered(policy);
    let segments = segments(policy);
    let rows = rows::of(policy, &rules, &identities, &services, limits)?;
    let mut tables = Tables {
        revision: Revision::default(),
        devices: policy.devices.iter().map(device_entry).collect(),
        rules: entries,
        macs: macs(policy, &segments, &identities),
        addresses: addresses(policy, &segments, &identities),
        segments,
        networks: identities.networks(),
        leased: identities.leased(),
        services: services.prefixes(),
        rows: rows.rows,
        schedules: rows.schedules,
        by_name: named::by_device(&rows.named),
        named: rows.named,
        shapes: rows.shapes | states(policy),
    };
    fits("rows", tables.macs.len(), limits.rows)?;
    fits("rows", tables.addresses.len(), limits.rows)?;
    fits("rows", tables.leased.len(), limits.rows)?;
    fits("rows", tables.networks.len(), limits.rows)?;
    fits("rows", tables.services.len(), limits.rows)?;
    mark_by_name(&mut tables);
    tables.revision = revision::of(&tables);
    Ok(tables)
}

/// Says of each device that some rule lets it use names: of nobody else are answers read.
fn mark_by_name(tables: &mut Tables) {
    let Tables { macs, addresses, by_name, .. } = tables;
    let is_in = |device| by_name.binary_search_by_key(&device, |(one, _)| *one).is_ok();
    let rows = macs.values_mut().chain(addresses.values_mut());
    rows.filter(|row| is_in(row.device)).for_each(|row| row.flags |= device_flag::BY_NAME);
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

/// The rules by holder, text and when they hold. Where an entry stands decides only between equals: moving it within
/// the files must change neither the revision nor which of two overlapping rules is counted.
fn ordered(policy: &Policy) -> (Vec<RuleEntry>, Vec<&Rule>) {
    let mut rules: Vec<(String, &Rule)> =
        policy.rules.iter().map(|rule| (text_of(policy, rule), rule)).collect();
    let place = |rule: &Rule| (rule.location.line, rule.location.column);
    // A policy has its rules by holder already, which leaves a few texts of each to be compared.
    rules.sort_by_key(|(_, rule)| rule.holder);
    for of_one in rules.chunk_by_mut(|(_, a), (_, b)| a.holder == b.holder) {
        of_one.sort_by(|(a, one), (b, other)| {
            let by_file = || one.location.path.cmp(&other.location.path);
            let by_time = || one.schedule.cmp(&other.schedule);
            a.cmp(b).then_with(by_time).then_with(by_file).then_with(|| place(one).cmp(&place(other)))
        });
    }
    let entry = |(text, rule): (String, &Rule)| RuleEntry {
        text,
        holder: policy.holder_name(rule.holder),
        schedule: rule.schedule.clone(),
        comment: rule.comment.clone(),
        owner: rule.owner.clone(),
        ticket: rule.ticket.clone(),
        source: rule.source,
        location: rule.location.clone(),
    };
    let by_place = rules.iter().map(|(_, rule)| *rule).collect();
    (rules.into_iter().map(entry).collect(), by_place)
}

fn text_of(policy: &Policy, rule: &Rule) -> String {
    let mut text = String::with_capacity(64);
    let mut list = |before: &str, names: &mut dyn Iterator<Item = Cow<'_, str>>| {
        text.push_str(before);
        for (index, name) in names.enumerate() {
            text.push_str(if index == 0 { "" } else { ", " });
            text.push_str(&name);
        }
    };
    let services = rule.services.iter().map(|s| policy.services[s.0 as usize].name.as_str());
    let [from, to] = policy.ends(rule);
    list("", &mut from.into_iter());
    list(" -> ", &mut to.into_iter());
    list(" ", &mut services.map(Cow::Borrowed));
    // There are as many as rules.
    text.shrink_to_fit();
    text
}

/// The bits of the shapes that say something of the devices.
fn states(policy: &Policy) -> u32 {
    let any = |holds: fn(&Device) -> bool, bit| if policy.devices.iter().any(holds) { bit } else { 0 };
    any(|device| device.mode.enforces(), shape::ENFORCING) | any(|device| device.dynamic, shape::LEASED)
}

fn segments(policy: &Policy) -> Vec<String> {
    let names: BTreeSet<&String> =
        policy.devices.iter().filter_map(|device| device.segment.as_ref()).collect();
    names.into_iter().cloned().collect()
}

/// How a row says where its device must be seen: the segment's place in the list plus one, 0 for anywhere.
fn place(device: &Device, segments: &[String]) -> u16 {
    let index = device.segment.as_ref().and_then(|name| segments.binary_search(name).ok());
    // There are no more segments than devices, whose number has 16 bits.
    index.map_or(0, |index| u16::try_from(index + 1).unwrap_or(u16::MAX))
}

fn flags(device: &Device, names: Names) -> u8 {
    let flag = |holds, flag| if holds { flag } else { 0 };
    flag(!device.macs.is_empty(), device_flag::HAS_MAC)
        | flag(device.dynamic, device_flag::LEASED)
        | flag(names.own, device_flag::NAMED)
}

/// What is known of a device, whichever of its addresses is met.
fn end(id: DeviceId, device: &Device, segments: &[String], names: Names) -> EndRow {
    EndRow {
        device: dense(id.0 as usize),
        identity: names.identity,
        class: names.class,
        zone: names.zone,
        segment: place(device, segments),
        vlan: device.vlan.unwrap_or(0),
        mode: device.mode.code(),
        flags: flags(device, names),
        pad: [0; 2],
    }
}

fn macs(policy: &Policy, segments: &[String], identities: &Identities) -> BTreeMap<u64, EndRow> {
    let groups = identities.receivers().iter();
    let groups = groups
        .map(|(m, identity)| (mac::from_octets(m.0), EndRow { identity: *identity, ..EndRow::default() }));
    let devices = (0..).map(DeviceId).zip(&policy.devices).flat_map(|(id, device)| {
        let row = end(id, device, segments, identities.of_device(id));
        device.macs.iter().map(move |m| (mac::from_octets(m.0), row))
    });
    groups.chain(devices).collect()
}

fn addresses(policy: &Policy, segments: &[String], identities: &Identities) -> BTreeMap<Address, EndRow> {
    let rows = (0..).map(DeviceId).zip(&policy.devices).flat_map(|(id, device)| {
        let row = end(id, device, segments, identities.of_device(id));
        device.addresses.iter().map(move |address| {
            let identity = identities.of_address(*address);
            (Address::from(*address), EndRow { identity, ..row })
        })
    });
    rows.collect()
}

impl Tables {
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
        let at = self.devices.binary_search_by(|device| device.name.as_str().cmp(name)).ok()?;
        u32::try_from(at).ok().map(DeviceId)
    }
}

#[cfg(test)]
mod tests;
