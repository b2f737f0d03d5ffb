//! Who the ends of a kind of conversation are under a policy.

use std::net::IpAddr;

use super::Setting;
use crate::{
    compile::{Known, network_of},
    model::{Device, DeviceId},
    traffic::End,
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

    /// The same end for whoever looks for rules near it.
    pub(super) fn known(&self, end: &End, device: u32) -> Known {
        Known {
            device: device.checked_sub(1).map(DeviceId),
            ip: end.address,
            gateway: end.address.is_some_and(|address| self.is_gateway(address)),
        }
    }
}
