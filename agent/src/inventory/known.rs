//! Who is in the policy, and whether somebody on the wire is one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Device, Kind, Of};
use crate::model::{Mac, Policy};

/// Names that the policy's language keeps for itself.
const RESERVED: [&str; 4] = ["any", "broadcast", "gateway", "multicast"];

/// Who is in the policy.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Known {
    macs: BTreeMap<Mac, String>,
    /// Of devices without a hardware address.
    addresses: BTreeMap<IpAddr, String>,
    taken: BTreeSet<String>,
}

impl Known {
    /// The devices of a policy.
    pub fn of(policy: &Policy) -> Self {
        let mut known = Self::default();
        for device in &policy.devices {
            known.macs.extend(device.macs.iter().map(|mac| (*mac, device.name.clone())));
            if device.macs.is_empty() {
                known
                    .addresses
                    .extend(device.addresses.iter().map(|address| (*address, device.name.clone())));
            }
            known.taken.insert(device.name.clone());
        }
        known.taken.extend(policy.networks.iter().map(|network| network.name.clone()));
        known
    }

    /// The name of a device in the policy.
    pub fn name(&self, of: Of) -> Option<&str> {
        match of {
            Of::Mac(mac) => self.macs.get(&mac),
            Of::Address(address) => self.addresses.get(&address),
        }
        .map(String::as_str)
    }

    /// The same; of a stranger that announced on its link an address of a device without a hardware address, and uses no other IPv4 address
    /// than that device's, the name of that.
    pub fn name_of(&self, device: &Device) -> Option<&str> {
        if let Some(name) = self.name(device.of) {
            return Some(name);
        }
        let announced =
            device.facts.iter().filter(|fact| fact.kind == Kind::Address && fact.evidence.is_of_the_link());
        let announced = announced.filter_map(|fact| fact.value.parse().ok());
        let name = announced.filter_map(|address: IpAddr| self.addresses.get(&address)).next()?;
        let all_of_it = || {
            let own = device.addresses();
            own.iter()
                .filter(|address| address.is_ipv4())
                .all(|address| self.addresses.get(address) == Some(name))
        };
        (!device.router && all_of_it()).then_some(name)
    }

    /// The name of a device without a hardware address in the policy, of one that uses an address of it and is not taken for it.
    pub fn maybe(&self, device: &Device) -> Option<&str> {
        if self.name_of(device).is_some() {
            return None;
        }
        device.addresses().iter().find_map(|address| self.addresses.get(address)).map(String::as_str)
    }

    /// Names that a new device cannot have: of devices and networks, and those that mean something else.
    pub fn taken(&self) -> BTreeSet<String> {
        self.taken.iter().cloned().chain(RESERVED.map(str::to_owned)).collect()
    }
}
