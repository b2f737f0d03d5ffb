//! Which devices a peer stands for. In: all devices with their classes and zones, and the groups. Out: lists by id.

use crate::model::{ClassId, DeviceId, GroupId, Peer, ZoneId};

/// Devices by what rules call them together; each list is in the order of the devices' names.
#[derive(Default)]
pub(super) struct Members {
    /// Every device: a single one is a part of this list.
    all: Vec<DeviceId>,
    classes: Vec<Vec<DeviceId>>,
    zones: Vec<Vec<DeviceId>>,
    groups: Vec<Vec<DeviceId>>,
}

impl Members {
    pub(super) fn new(devices: usize, classes: usize, zones: usize) -> Self {
        // The files are bounded to far fewer than 2^32 bytes, so every name has a number.
        let all = (0..).map(DeviceId).take(devices).collect();
        Self { all, classes: vec![Vec::new(); classes], zones: vec![Vec::new(); zones], groups: Vec::new() }
    }

    pub(super) fn add_to_class(&mut self, class: ClassId, device: DeviceId) {
        if let Some(list) = self.classes.get_mut(class.0 as usize) {
            list.push(device);
        }
    }

    pub(super) fn add_to_zone(&mut self, zone: ZoneId, device: DeviceId) {
        if let Some(list) = self.zones.get_mut(zone.0 as usize) {
            list.push(device);
        }
    }

    pub(super) fn set_groups(&mut self, groups: Vec<Vec<DeviceId>>) {
        self.groups = groups;
    }

    /// The devices a peer stands for, if it stands for devices.
    pub(super) fn of(&self, peer: Peer) -> &[DeviceId] {
        let found = match peer {
            Peer::Device(DeviceId(id)) => self.all.get(id as usize..=id as usize),
            Peer::Class(ClassId(id)) => self.classes.get(id as usize).map(Vec::as_slice),
            Peer::Zone(ZoneId(id)) => self.zones.get(id as usize).map(Vec::as_slice),
            Peer::Group(GroupId(id)) => self.groups.get(id as usize).map(Vec::as_slice),
            Peer::Network(_) | Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast | Peer::Any => None,
        };
        found.unwrap_or_default()
    }

    /// For each device the groups that hold it, in order.
    pub(super) fn groups_by_device(&self) -> Vec<Vec<GroupId>> {
        let mut found = vec![Vec::new(); self.all.len()];
        for (id, devices) in (0..).map(GroupId).zip(&self.groups) {
            for device in devices {
                if let Some(groups) = found.get_mut(device.0 as usize) {
                    groups.push(id);
                }
            }
        }
        found
    }
}
