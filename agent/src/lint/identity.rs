//! Devices that others are easily taken for. In: a policy. Out: one warning about all devices that are enforced and known
//! by their address alone, though their hardware address could be seen; one for each whose hardware address changes.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::Findings;
use crate::{
    diagnostic::{Diagnostic, quote},
    model::{Device, Mac, Policy},
};

/// Devices without a hardware address.
const ADDRESS_ALONE: &str = "BH0511";
/// A hardware address that nobody gave to a manufacturer.
const LOCAL_MAC: &str = "BH0512";

/// Names that are listed in one message.
const MOST_NAMED: usize = 8;

/// Set in addresses that a host made up (IEEE 802-2014 8.2.2).
const LOCAL: u8 = 2;
/// What QEMU gives its guests: local by that bit, and as lasting as the guest's configuration.
const GUESTS: [u8; 3] = [0x52, 0x54, 0x00];

pub(super) fn check(policy: &Policy, out: &mut Findings) {
    address_alone(policy, out);
    for device in &policy.devices {
        let Some(mac) = device.macs.iter().find(|mac| is_made_up(**mac)) else { continue };
        let message =
            format!("`{mac}` of device {} is made up by a host, and may change", quote(&device.name));
        let help = "switch random MAC addresses off on the device, and write the one it was made with";
        out.push(Diagnostic::warning(LOCAL_MAC, message).at(device.location.clone(), "").help(help));
    }
}

fn is_made_up(mac: Mac) -> bool {
    mac.0[0] & LOCAL != 0 && !mac.0.starts_with(&GUESTS)
}

/// Behind a router nobody's hardware address is seen, and nothing can be written. Where a neighbour's is seen it can.
fn address_alone(policy: &Policy, out: &mut Findings) {
    let lans: BTreeSet<IpNet> =
        policy.devices.iter().filter(|d| !d.macs.is_empty()).flat_map(around).collect();
    let all_alike = policy.devices.iter().all(|device| device.macs.is_empty());
    let is_seen = |device: &Device| {
        let is_placed = device.vlan.is_some() || device.segment.is_some();
        all_alike || is_placed || around(device).any(|lan| lans.contains(&lan))
    };
    let weak: Vec<&Device> = policy
        .devices
        .iter()
        .filter(|device| device.mode.enforces() && device.macs.is_empty() && is_seen(device))
        .collect();
    let [first, others @ ..] = &weak[..] else { return };
    let message = if others.is_empty() {
        format!("device {} is enforced and known by its address alone", quote(&first.name))
    } else {
        let names: Vec<&str> = weak.iter().take(MOST_NAMED).map(|device| device.name.as_str()).collect();
        let more = weak.len() - names.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!(
            "{} devices are enforced and known by their address alone: {}{more}",
            weak.len(),
            names.join(", ")
        )
    };
    let help = "add `mac = [\"...\"]`: without it whoever takes the address has the device's permissions";
    out.push(Diagnostic::warning(ADDRESS_ALONE, message).at(first.location.clone(), "").help(help));
}

/// The LANs a device is on, if they are as large as LANs usually are.
fn around(device: &Device) -> impl Iterator<Item = IpNet> {
    device.addresses.iter().filter_map(|address| {
        let bits = match address {
            IpAddr::V4(_) => 24,
            IpAddr::V6(_) => 64,
        };
        IpNet::new(*address, bits).ok().map(|net| net.trunc())
    })
}
