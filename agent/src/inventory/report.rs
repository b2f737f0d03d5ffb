//! The inventory for people and programs: each device with who made it and what it may be.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Change, Counts, Device, Inventory, Known, Of, Suggested, Vendor, Vendors, class::suggested};

/// Version of [`Report`] as JSON.
pub const VERSION: u32 = 1;

/// Everything that is known.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub v: u32,
    /// The devices, by hardware address, then those behind routers by address.
    pub devices: Vec<Listed>,
    /// The last changes, the oldest first.
    pub changes: Vec<Change>,
    /// What was counted.
    pub counts: Counts,
}

/// A device.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name in the policy; none for an unknown one.
    pub known: Option<String>,
    /// The name of a device of the policy whose address it uses, without it being certain that it is that device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe: Option<String>,
    /// Whose its hardware address is; none behind a router.
    pub registered: Option<Vendor>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What it may be.
    pub suggested: Option<Suggested>,
    /// What it said.
    #[serde(flatten)]
    pub device: Device,
}

impl Report {
    /// The whole inventory.
    pub fn new(inventory: &Inventory, known: &Known, vendors: &Vendors) -> Self {
        Self {
            v: VERSION,
            devices: inventory
                .devices()
                .map(|device| Listed::new(Named::new(device, known), vendors))
                .collect(),
            changes: inventory.changes().cloned().collect(),
            counts: inventory.counts(),
        }
    }
}

/// A device with its name in the policy: what is told of it where the registries are not at hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    /// Its name in the policy; none for an unknown one.
    pub known: Option<String>,
    /// As [`Listed::maybe`].
    #[serde(default)]
    pub maybe: Option<String>,
    /// What it said.
    pub device: Device,
}

impl Named {
    /// Looks a device up.
    pub fn new(device: &Device, known: &Known) -> Self {
        Self {
            known: known.name_of(device).map(str::to_owned),
            maybe: known.maybe(device).map(str::to_owned),
            device: device.clone(),
        }
    }
}

impl Listed {
    /// Adds what the registries and the rules of classes say.
    pub fn new(Named { known, maybe, device }: Named, vendors: &Vendors) -> Self {
        let registered = match device.of {
            Of::Mac(mac) => Some(vendors.of(mac)),
            Of::Address(_) => None,
        };
        Self {
            known,
            maybe,
            suggested: suggested(&device, registered.as_ref().unwrap_or(&Vendor::Unknown)),
            registered,
            addresses: device.addresses(),
            device,
        }
    }
}
