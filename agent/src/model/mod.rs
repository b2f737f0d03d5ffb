//! What a policy means, after every name has been resolved: only valid values exist here.
//!
//! In: nothing (these are values). Out: [`Policy`], which [`crate::compile`] turns into tables.
//! Every list is sorted by name, so that the same files give the same policy in any order.

use std::{borrow::Cow, net::IpAddr};

use ipnet::IpNet;

pub use bulkhead_common::{mode::Mode, wire::pseudo};

use crate::diagnostic::Location;

mod domain;
mod mac;
mod schedule;
mod spelled;
pub use domain::covers;
pub use mac::{Mac, ParseMacError};
pub use schedule::{DAYS, Schedule, Window, clock, time_zone, time_zones};
pub use spelled::spelled;

/// Index of a device in [`Policy::devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u32);

/// Index of a network in [`Policy::networks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u32);

/// Index of a class in [`Policy::classes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

/// Index of a zone in [`Policy::zones`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(pub u32);

/// Index of a group of devices in [`Policy::groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// Index of a multicast group in [`Policy::multicasts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MulticastId(pub u32);

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
    /// Declared classes, sorted by name.
    pub classes: Vec<Class>,
    /// Zones that some device is in or somebody declared, sorted by name.
    pub zones: Vec<Zone>,
    /// Groups that hold a device, sorted by name.
    pub groups: Vec<Group>,
    /// Every multicast group, built-in ones included, sorted by name.
    pub multicasts: Vec<Multicast>,
    /// The services that some rule or the user's files mention, sorted by name.
    pub services: Vec<Service>,
    /// Sorted by (holder, location): the order in which a reader meets them.
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
    /// IEC 62443 zone; rules may name it as `zone:NAME`.
    pub zone: Option<ZoneId>,
    /// Template whose allow list the device inherits; rules may name `class:NAME`.
    pub class: Option<ClassId>,
    /// Groups it is a member of, sorted; rules may name them as `group:NAME`.
    pub groups: Vec<GroupId>,
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

impl Criticality {
    /// The word for it in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Safety => "safety",
        }
    }
}

/// A template: the allow list that all its devices inherit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The user's name for it, without the prefix `class:`.
    pub name: String,
    /// Free text of the policy's author.
    pub comment: Option<String>,
    /// Where it is declared.
    pub location: Location,
}

/// Devices with one security need (IEC 62443-3-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The user's name for it, without the prefix `zone:`.
    pub name: String,
    /// Free text of the policy's author.
    pub comment: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where it is declared; where it is not, the first device that is in it.
    pub location: Location,
}

/// Devices that rules name together. What else a group holds stands in the rules that name it: its networks beside
/// the group, and where it holds no device, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The user's name for it, without the prefix `group:`.
    pub name: String,
    /// Free text of the policy's author.
    pub comment: Option<String>,
    /// Where it is declared.
    pub location: Location,
}

/// A named list of prefixes that is not a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The user's name for it.
    pub name: String,
    /// Prefixes without host bits, IPv4 before IPv6, sorted, without duplicates.
    pub cidrs: Vec<IpNet>,
    /// Prefixes that are not part of it although `cidrs` hold them; likewise.
    pub except: Vec<IpNet>,
    /// DNS names whose addresses, as a device learned them from its resolver, are part of it for that device: in
    /// lower case, without the final dot, a leading `*.` for every name below. Sorted. As the end that starts, the
    /// network is its prefixes alone, and it is not written there when it has none.
    pub names: Vec<String>,
    /// Free text of the policy's author.
    pub comment: Option<String>,
    /// Where the network is declared.
    pub location: Location,
}

/// Many receivers behind one destination: only ever the end that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multicast {
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
    /// Every device of a class.
    Class(ClassId),
    /// Every device in a zone.
    Zone(ZoneId),
    /// Every device of a group.
    Group(GroupId),
    /// A network of this policy.
    Network(NetworkId),
    /// A multicast group; only as responder.
    Multicast(MulticastId),
    /// The gateway's own addresses.
    Gateway,
    /// Everybody on the segment at once; only as responder.
    Broadcast,
    /// Every address, known or not.
    Any,
}

/// In whose name a rule is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// An entry of a device.
    Device(DeviceId),
    /// An entry of a class: each of its devices has it.
    Class(ClassId),
    /// A conduit between two zones.
    Conduit,
}

/// How a rule came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Source {
    /// A person wrote it.
    #[default]
    Hand,
    /// It was proposed from observed traffic, and adopted.
    Learned,
    /// It comes from a manufacturer's usage description (RFC 8520).
    Mud,
}

impl Source {
    /// The word for it in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Learned => "learned",
            Self::Mud => "mud",
        }
    }
}

/// One permission: who may start a conversation with whom, over what. Replies are implied.
///
/// One `allow` entry or one conduit is one rule, for however many devices it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// In whose allow list the rule stands.
    pub holder: Holder,
    /// Who starts the conversation. Sorted, never empty, without the device itself when `to` was used.
    pub initiators: Vec<Peer>,
    /// Who answers. Sorted, never empty. Unless it is a conduit, either `initiators` or `responders` is the holder alone.
    pub responders: Vec<Peer>,
    /// What its author wrote at both ends, where that is not what `initiators` and `responders` are called: a group whose
    /// networks stand there.
    pub words: Option<Box<[Vec<Word>; 2]>>,
    /// Sorted, never empty.
    pub services: Vec<ServiceId>,
    /// When it holds; `None` always.
    pub schedule: Option<Schedule>,
    /// Why the rule exists, in its author's words.
    pub comment: Option<String>,
    /// Who answers for the rule.
    pub owner: Option<String>,
    /// The change it was made under.
    pub ticket: Option<String>,
    /// How it came to be.
    pub source: Source,
    /// File, line and column of the entry.
    pub location: Location,
}

/// A peer as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    /// As in `from` or `to`.
    pub text: String,
    /// The networks that a group holds.
    pub holds: Vec<NetworkId>,
}

impl Peer {
    /// The network that it is.
    pub fn network(self) -> Option<NetworkId> {
        if let Self::Network(id) = self { Some(id) } else { None }
    }

    /// The multicast group that it is.
    pub fn multicast(self) -> Option<MulticastId> {
        if let Self::Multicast(id) = self { Some(id) } else { None }
    }
}

impl Device {
    /// What rules may call it besides its own name, wherever it is: its class, its zone and its groups.
    pub fn roles(&self) -> impl Iterator<Item = Peer> {
        let class = self.class.map(Peer::Class);
        let zone = self.zone.map(Peer::Zone);
        let groups = self.groups.iter().copied().map(Peer::Group);
        class.into_iter().chain(zone).chain(groups)
    }

    /// The same, its own name first.
    pub fn peers(&self, id: DeviceId) -> impl Iterator<Item = Peer> {
        std::iter::once(Peer::Device(id)).chain(self.roles())
    }
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
    pub fn peer_name(&self, peer: Peer) -> Cow<'_, str> {
        match peer {
            Peer::Device(id) => self.devices[id.0 as usize].name.as_str().into(),
            Peer::Class(id) => format!("class:{}", self.classes[id.0 as usize].name).into(),
            Peer::Zone(id) => format!("zone:{}", self.zones[id.0 as usize].name).into(),
            Peer::Group(id) => format!("group:{}", self.groups[id.0 as usize].name).into(),
            Peer::Network(id) => self.networks[id.0 as usize].name.as_str().into(),
            Peer::Multicast(id) => self.multicasts[id.0 as usize].name.as_str().into(),
            Peer::Gateway => "gateway".into(),
            Peer::Broadcast => "broadcast".into(),
            Peer::Any => "any".into(),
        }
    }

    /// What the author of a rule calls who starts and who answers, sorted.
    pub fn ends(&self, rule: &Rule) -> [Vec<Cow<'_, str>>; 2] {
        match &rule.words {
            Some(words) => [&words[0], &words[1]]
                .map(|words| words.iter().map(|word| Cow::Owned(word.text.clone())).collect()),
            None => [&rule.initiators, &rule.responders]
                .map(|peers| peers.iter().map(|peer| self.peer_name(*peer)).collect()),
        }
    }

    /// What the user calls a holder of rules.
    pub fn holder_name(&self, holder: Holder) -> String {
        match holder {
            Holder::Device(id) => format!("device {}", self.devices[id.0 as usize].name),
            Holder::Class(id) => format!("class {}", self.classes[id.0 as usize].name),
            Holder::Conduit => "conduit".to_owned(),
        }
    }

    /// The name of a device's zone.
    pub fn zone_of(&self, device: &Device) -> Option<&str> {
        device.zone.map(|id| self.zones[id.0 as usize].name.as_str())
    }

    /// The name of a device's class.
    pub fn class_of(&self, device: &Device) -> Option<&str> {
        device.class.map(|id| self.classes[id.0 as usize].name.as_str())
    }

    /// Whether a rule that names `peer` means this device.
    pub fn means(&self, peer: Peer, id: DeviceId) -> bool {
        let device = &self.devices[id.0 as usize];
        match peer {
            Peer::Device(named) => named == id,
            Peer::Class(class) => device.class == Some(class),
            Peer::Zone(zone) => device.zone == Some(zone),
            Peer::Group(group) => device.groups.contains(&group),
            Peer::Network(network) => {
                let network = &self.networks[network.0 as usize];
                device.addresses.iter().any(|address| network.holds(*address))
            }
            Peer::Any => true,
            Peer::Multicast(_) | Peer::Gateway | Peer::Broadcast => false,
        }
    }

    /// The device that owns `address`.
    pub fn device_of(&self, address: IpAddr) -> Option<&Device> {
        self.devices.iter().find(|d| d.addresses.contains(&address))
    }
}

impl Network {
    /// Whether an address is part of it, as far as its prefixes say.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.cidrs.iter().any(|cidr| cidr.contains(&address))
            && !self.except.iter().any(|cidr| cidr.contains(&address))
    }
}
