//! What a policy newly claims about who a device is. A claim that is not true cuts the device off: its packets come from
//! another hardware address, VLAN, place or address than the tables say.
//!
//! In: both policies, and what is remembered. Out: devices with such a claim. Where the policy in force knew better,
//! conversations are judged by that (see [`super::flows`]); of what it left open nobody knows the truth.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bulkhead_common::{lookup::shape, wire::mac};
use serde::{Deserialize, Serialize};

use super::{DeviceSaid, KnownFlow, Listed, Side, World, said};
use crate::model::{Criticality, Device, Policy};

/// A device that is cut off if what is new about it is not true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityChange {
    /// Its name.
    pub device: String,
    /// How much harm its stop does.
    pub criticality: String,
    /// What is new, by its word in the policy: before and after.
    pub properties: BTreeMap<String, [Option<String>; 2]>,
    /// Conversations of it that were looked at.
    pub flows: usize,
}

/// The device that is meant by an end of a conversation, under both policies: of the new one the device that has its
/// address, as the tables will say, or else the one of the same name.
pub(super) fn of_end<'p>(
    id: u32,
    address: IpAddr,
    (old, new): (&Side<'p>, &Side<'p>),
    owners: &BTreeMap<IpAddr, &'p Device>,
) -> [Option<&'p Device>; 2] {
    let name = old.tables.device(id).map(|device| device.name.as_str());
    let by_name = |policy: &'p Policy| name.and_then(|name| policy.device(name)).map(|(_, device)| device);
    [by_name(old.policy), owners.get(&address).copied().or_else(|| by_name(new.policy))]
}

/// Whose each address is.
pub(super) fn owners(policy: &Policy) -> BTreeMap<IpAddr, &Device> {
    policy.devices.iter().flat_map(|device| device.addresses.iter().map(move |ip| (*ip, device))).collect()
}

pub(super) fn changes(
    (old, new): (&Side<'_>, &Side<'_>),
    known: Option<(&[KnownFlow], &World)>,
    most: usize,
) -> Listed<IdentityChange> {
    if new.tables.shapes & shape::ENFORCING == 0 {
        // Nothing is dropped, whoever says what.
        return Listed::default();
    }
    let owners = owners(new.policy);
    let mut flows: BTreeMap<&str, usize> = BTreeMap::new();
    let mut strangers: BTreeSet<&str> = BTreeSet::new();
    for flow in known.map(|(flows, _)| flows).unwrap_or_default() {
        for (id, address) in flow.devices.into_iter().zip([flow.from, flow.to]) {
            let [before, Some(after)] = of_end(id, address, (old, new), &owners) else { continue };
            *flows.entry(&after.name).or_default() += 1;
            if before.is_none() && old.policy.device(&after.name).is_none() {
                strangers.insert(&after.name);
            }
        }
    }
    let leased = leases(known.map(|(_, world)| world));
    let mut found: Vec<(Criticality, IdentityChange)> = Vec::new();
    for device in &new.policy.devices {
        let before = old.policy.device(&device.name).map(|(_, device)| device);
        // A device that comes has nothing to lose, unless its address is in use.
        if before.is_none() && !strangers.contains(device.name.as_str()) {
            continue;
        }
        let words = claims(before, device, &leased);
        if words.is_empty() {
            continue;
        }
        let [was, is] = [
            before.map(|device| said::properties(old.policy, device)),
            Some(said::properties(new.policy, device)),
        ];
        let of =
            |side: &Option<DeviceSaid>, word: &str| side.as_ref().and_then(|said| said.get(word)).cloned();
        let properties = words.into_iter().map(|word| (word.to_owned(), [of(&was, word), of(&is, word)]));
        let change = IdentityChange {
            device: device.name.clone(),
            criticality: device.criticality.name().to_owned(),
            properties: properties.collect(),
            flows: flows.get(device.name.as_str()).copied().unwrap_or(0),
        };
        found.push((device.criticality, change));
    }
    found.sort_by(|a, b| {
        (Reverse(a.0), Reverse(a.1.flows), &a.1.device).cmp(&(Reverse(b.0), Reverse(b.1.flows), &b.1.device))
    });
    Listed::of(found.into_iter().map(|(_, change)| change).collect(), most)
}

/// Hardware addresses that have leased an address.
fn leases(world: Option<&World>) -> BTreeSet<u64> {
    let current = world.into_iter().flat_map(|world| {
        world.leases.values().filter(|lease| lease.expires > world.now).map(|lease| lease.mac)
    });
    current.collect()
}

/// What is claimed of a device that was not before.
fn claims(before: Option<&Device>, after: &Device, leased: &BTreeSet<u64>) -> Vec<&'static str> {
    let mut words = Vec::new();
    let macs = before.map(|device| device.macs.as_slice()).unwrap_or_default();
    let stays = |mac: &crate::model::Mac| after.macs.contains(mac);
    // Of several it uses the one that has a lease, as far as anybody knows.
    let mut in_use = macs.iter().filter(|own| leased.contains(&mac::from_octets(own.0))).peekable();
    let all_stay = if in_use.peek().is_some() { in_use.all(stays) } else { macs.iter().all(stays) };
    if !after.macs.is_empty() && (macs.is_empty() || !all_stay) {
        words.push("mac");
    }
    if after.vlan.is_some() && before.and_then(|device| device.vlan) != after.vlan {
        words.push("vlan");
    }
    if after.segment.is_some() && before.and_then(|device| device.segment.as_ref()) != after.segment.as_ref()
    {
        words.push("segment");
    }
    if let Some(before) = before {
        let address_goes = before.addresses.iter().any(|own| !after.addresses.contains(own));
        if address_goes || (before.dynamic && !after.dynamic) {
            words.push("ip");
        }
    }
    words
}
