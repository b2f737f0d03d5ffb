//! A device, in the words of the control socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name; `(unmanaged)` for traffic of which neither end is a device.
    pub name: String,
    /// Its mode.
    pub mode: String,
    /// Who changed the mode beside the policy, when and why.
    pub changed: Option<String>,
    /// How much harm its stop does.
    pub criticality: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// Hardware addresses.
    pub mac: Vec<String>,
    /// Addresses of its own.
    pub ip: Vec<String>,
    /// Whether it has, besides, what a DHCP server leases to it.
    #[serde(default)]
    pub dhcp: bool,
    /// What a DHCP server has leased to it, as far as the gateway has seen it.
    #[serde(default)]
    pub leases: Vec<LeaseStatus>,
    /// What it has learned by the names that its rules name.
    #[serde(default)]
    pub names: Vec<NameStatus>,
    /// What its packets are recognised by; none for `(unmanaged)`.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// The segment it must be seen on.
    #[serde(default)]
    pub segment: Option<String>,
    /// The VLAN it must be seen on.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// `file:line` of its declaration.
    pub place: String,
    /// Packets allowed, counted for this device.
    pub allowed: u64,
    /// Packets denied, counted for this device.
    pub denied: u64,
    /// Packets by the word of their grant or reason.
    pub counts: BTreeMap<String, u64>,
}

/// What a device's packets are recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// Its hardware address, to which its addresses are bound.
    Mac,
    /// Nothing but its address, which anybody on its way could use: weak.
    Address,
}

/// An address that a DHCP server has leased to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// The address.
    pub address: String,
    /// For how many seconds more; none for ever.
    pub seconds_left: Option<u64>,
}

/// An address behind a name, as the device's resolver told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameStatus {
    /// The name.
    pub name: String,
    /// The address.
    pub address: String,
    /// For how many seconds more it is known, if nothing renews it.
    pub seconds_left: u64,
}
