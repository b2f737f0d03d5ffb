//! What a policy means, after every name has been resolved: only valid values exist here.
//!
//! In: nothing (these are values). Out: [`Policy`], which [`crate::compile`] turns into tables.
//! Every list is sorted by name, so that the same files give the same policy in any order.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

pub use bulkhead_common::mode::Mode;

use crate::diagnostic::Location;

mod mac;
pub use mac::{Mac, ParseMacError};

/// Index of a device in [`Policy::devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u32);

/// Index of a network in [`Policy::networks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u32);

/// Index of a service in [`Policy::services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// Index of a rule in [`Policy::rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// All resolved rules of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// Sorted by name; names are unique.
    pub devices: Vec<Device>,
    /// Sorted by name; names are unique and differ from every device's name.
    pub networks: Vec<Network>,
    /// The services that some rule or the user's files mention, sorted by name.
    pub services: Vec<Service>,
    /// Sorted by (device name, location): the order in which a reader meets them.
    pub rules: Vec<Rule>,
    /// Who a quarantined device may still talk to, in both directions. Sorted, without duplicates.
    pub remediation: Vec<Peer>,
}

/// What a policy protects: a name and the identities by which its packets are recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The user's name for it, at most 63 bytes of `[a-z0-9._-]`.
    pub name: String,
    /// Hardware addresses; empty for a device behind a router (weak identity). Sorted.
    pub macs: Vec<Mac>,
    /// IPv4 addresses that may be used by this device and by no other. Sorted.
    pub addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses, recorded but not yet decided by the data path. Sorted.
    pub addresses_v6: Vec<std::net::Ipv6Addr>,
    /// The VLAN the device must be seen on (1-4094); `None` accepts any tag or none.
    pub vlan: Option<u16>,
    /// IEC 62443 zone, a label that rules may name as `zone:NAME`.
    pub zone: Option<String>,
    /// Template whose allow list the device inherits; rules may name `class:NAME`.
    pub class: Option<String>,
    /// How much harm a stop of this device does.
    pub criticality: Criticality,
    /// Whether a denied packet of this device is dropped.
    pub mode: Mode,
    /// Free text of the policy's author.
    pub comment: Option<String>,
    /// Where the device is declared.
    pub location: Location,
}

/// How much harm a stop of a device does, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Criticality {
    /// Nobody notices.
    Low,
    /// Work goes on with effort.
    #[default]
    Medium,
    /// Production or care stops.
    High,
    /// People may be hurt.
    Safety,
}

/// A named list of prefixes that is not a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The user's name for it.
    pub name: String,
    /// Prefixes without host bits, sorted, without duplicates. IPv6 ones are recorded but not yet decided.
    pub cidrs: Vec<IpNet>,
    /// Free text of the policy's author.
    pub comment: Option<String>,
    /// Where the network is declared.
    pub location: Location,
}

/// A named protocol with its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name rules use.
    pub name: String,
    /// What traffic it is, sorted, adjacent ranges of one protocol folded. Never empty.
    pub selectors: Vec<Selector>,
    /// Whether it comes from the built-in library rather than from the user's files.
    pub built_in: bool,
}

/// One range of a transport protocol's ports (or of ICMP's types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// IP protocol number: 6 TCP, 17 UDP, 1 ICMP.
    pub protocol: u8,
    /// First responder port; for ICMP `type << 8 | code`. `low <= high` always.
    pub low: u16,
    /// Last responder port, inclusive.
    pub high: u16,
}

/// One end of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A device of this policy.
    Device(DeviceId),
    /// A network of this policy.
    Network(NetworkId),
    /// The gateway's own addresses.
    Gateway,
    /// Every address, known or not.
    Any,
}

/// One permission: who may start a conversation with whom, over what. Replies are implied.
///
/// One `allow` entry of one device is one rule; an entry of a class is one rule for each device of the class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The device in whose allow list the rule stands.
    pub device: DeviceId,
    /// The class it was inherited from, if it was.
    pub class: Option<String>,
    /// Who starts the conversation. Sorted, never empty, without the device itself when `to` was used.
    pub initiators: Vec<Peer>,
    /// Who answers. Sorted, never empty. Either `initiators` or `responders` is exactly `[Device(device)]`.
    pub responders: Vec<Peer>,
    /// Sorted, never empty.
    pub services: Vec<ServiceId>,
    /// Why the rule exists, in its author's words.
    pub comment: Option<String>,
    /// Who answers for the rule.
    pub owner: Option<String>,
    /// The change it was made under.
    pub ticket: Option<String>,
    /// File, line and column of the entry.
    pub location: Location,
}

impl Policy {
    /// The device called `name`.
    pub fn device(&self, name: &str) -> Option<(DeviceId, &Device)> {
        let at = self.devices.binary_search_by(|d| d.name.as_str().cmp(name)).ok()?;
        Some((DeviceId(u32::try_from(at).ok()?), &self.devices[at]))
    }

    /// The service called `name`, among those this policy carries.
    pub fn service(&self, name: &str) -> Option<(ServiceId, &Service)> {
        let at = self.services.binary_search_by(|s| s.name.as_str().cmp(name)).ok()?;
        Some((ServiceId(u32::try_from(at).ok()?), &self.services[at]))
    }

    /// What the user calls a peer.
    pub fn peer_name(&self, peer: Peer) -> &str {
        match peer {
            Peer::Device(id) => &self.devices[id.0 as usize].name,
            Peer::Network(id) => &self.networks[id.0 as usize].name,
            Peer::Gateway => "gateway",
            Peer::Any => "any",
        }
    }

    /// The device that owns `address`.
    pub fn device_of(&self, address: IpAddr) -> Option<&Device> {
        self.devices.iter().find(|d| match address {
            IpAddr::V4(v4) => d.addresses.contains(&v4),
            IpAddr::V6(v6) => d.addresses_v6.contains(&v6),
        })
    }
}
