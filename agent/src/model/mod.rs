//! What a policy means, after every name has been resolved: only valid values exist here.
//!
//! In: nothing (these are values). Out: [`Policy`], which [`crate::compile`] turns into tables.
//! Every list is sorted by name, so that the same files give the same policy in any order.

use std::net::IpAddr;

use ipnet::IpNet;

pub use bulkhead_common::{mode::Mode, wire::pseudo};

use crate::diagnostic::Location;

mod mac;
pub use mac::{Mac, ParseMacError};

/// Index of a device in [`Policy::devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u32);

/// Index of a network in [`Policy::networks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u32);

/// Index of a multicast group in [`Policy::groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

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
    /// Every multicast group, built-in ones included, sorted by name.
    pub groups: Vec<Group>,
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
    /// Addresses that may be used by this device and by no other, IPv4 before IPv6. Sorted.
    pub addresses: Vec<IpAddr>,
    /// Whether it has, besides `addresses`, what a DHCP server leases to it. Only with at least one MAC.
    pub dynamic: bool,
    /// The segment the device must be seen on, by its name in the agent's configuration; `None` accepts any.
    pub segment: Option<String>,
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
    /// Prefixes without host bits, IPv4 before IPv6, sorted, without duplicates.
    pub cidrs: Vec<IpNet>,
    /// Free text of the policy's author.
    pub comment: Option<String>,
    /// Where the network is declared.
    pub location: Location,
}

/// Many receivers behind one destination: only ever the end that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How rules name it, `multicast:` included.
    pub name: String,
    /// Prefixes of multicast addresses, sorted, without duplicates.
    pub cidrs: Vec<IpNet>,
    /// Hardware addresses of frames that are not IP, sorted, without duplicates.
    pub macs: Vec<Mac>,
    /// Whether it comes from the built-in library rather than from the user's files.
    pub built_in: bool,
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

/// One range of a transport protocol's ports (or of ICMP's types, of ethertypes, of LLC addresses).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// IP protocol number, such as 6 for TCP; or [`pseudo::ETHERTYPE`] or [`pseudo::LLC`].
    pub protocol: u8,
    /// First responder port; for ICMP and ICMPv6 `type << 8 | code`, for frames the ethertype or the destination
    /// service access point, for protocols without ports 0. `low <= high` always.
    pub low: u16,
    /// Last responder port, inclusive.
    pub high: u16,
}

/// What a packet must be for a selector to match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// A frame that is no IP packet: its ends are hardware addresses.
    Link,
    /// An IP packet: its ends are addresses.
    Network,
}

impl Selector {
    /// What a packet must be for the selector to match it.
    pub fn layer(&self) -> Layer {
        if matches!(self.protocol, pseudo::ETHERTYPE | pseudo::LLC) { Layer::Link } else { Layer::Network }
    }
}

/// One end of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A device of this policy.
    Device(DeviceId),
    /// A network of this policy.
    Network(NetworkId),
    /// A multicast group; only as responder.
    Group(GroupId),
    /// The gateway's own addresses.
    Gateway,
    /// Everybody on the segment at once; only as responder.
    Broadcast,
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
            Peer::Group(id) => &self.groups[id.0 as usize].name,
            Peer::Gateway => "gateway",
            Peer::Broadcast => "broadcast",
            Peer::Any => "any",
        }
    }

    /// The device that owns `address`.
    pub fn device_of(&self, address: IpAddr) -> Option<&Device> {
        self.devices.iter().find(|d| d.addresses.contains(&address))
    }
}
