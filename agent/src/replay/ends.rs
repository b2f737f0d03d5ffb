//! Who the ends of a kind of conversation are under a policy.

use std::net::IpAddr;

use bulkhead_common::lookup::shape;

use super::Setting;
use crate::{
    compile::{Known, Party, ServicePrefix, Who, network_of},
    model::{Device, DeviceId},
    traffic::{End, Kind, Service},
};

impl<'a> Setting<'a> {
    /// The device with a dense id.
    pub(super) fn device(&self, id: u32) -> Option<&'a Device> {
        self.policy.devices.get((id as usize).checked_sub(1)?)
    }

    /// What a person calls an end.
    pub(super) fn name_of(&self, end: &End, device: u32) -> Option<String> {
        if let Some(device) = self.device(device) {
            return Some(device.name.clone());
        }
        let address = end.address?;
        if self.is_gateway(address) {
            return Some("gateway".to_owned());
        }
        network_of(self.policy, address)
    }

    pub(super) fn is_gateway(&self, address: IpAddr) -> bool {
        self.placed.gateway.contains(&address)
    }

    /// Whether a rule allows it to the device that begins, under a name that the device may have learned for the address: one that may be
    /// anywhere and that nothing else in the policy means.
    pub(super) fn is_by_name(&self, who: &Who<'_>, kind: &Kind, [from, to]: [u32; 2]) -> bool {
        let Some(address) = kind.to.address else { return false };
        if from == 0 || to != 0 || self.tables.shapes & shape::NAMED == 0 {
            return false;
        }
        if who.receiver(&kind.to) != Party::Internet {
            return false;
        }
        let Some(class) = self.class_of(kind.service) else { return false };
        self.tables.named_for(from).any(|(peer, permissions)| {
            permissions.iter().any(|one| one.class == class)
                && !peer.except.iter().any(|prefix| prefix.contains(&address))
        })
    }

    /// The class of a service, if rules name it.
    fn class_of(&self, Service { protocol, number }: Service) -> Option<u32> {
        let around = |bits| self.tables.services.get(&ServicePrefix::around(protocol, number, bits)).copied();
        (0..=24).rev().find_map(around)
    }

    /// The same end for whoever looks for rules near it.
    pub(super) fn known(&self, end: &End, device: u32) -> Known {
        Known {
            device: device.checked_sub(1).map(DeviceId),
            ip: end.address,
            gateway: end.address.is_some_and(|address| self.is_gateway(address)),
        }
    }
}
