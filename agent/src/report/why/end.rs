//! One end of a question: the address and hardware address with which the made-up packet is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_common::wire::mac;
use ipnet::IpNet;

use super::{
    AskError, Learned,
    world::{Family, World},
};
use crate::{
    diagnostic::closest,
    model::{Device, Mac, Multicast, Network, Policy, covers},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// With which address of a family it is asked; none when it has no such.
    pub(super) address: Option<IpAddr>,
    pub(super) mac: u64,
    /// Whether `mac` is its own, so that frames can be between it and others.
    pub(super) framed: bool,
    pub(super) vlan: u16,
    pub(super) kind: Kind,
    /// The word by which rules mean it.
    pub(super) word: String,
    /// Whether the address is one of many that the word stands for.
    pub(super) sample: bool,
    /// Whether the address is made up for one that a lease gives.
    pub(super) leased: bool,
    /// The names of a network that is known by nothing else, when the address is made up for one behind them.
    pub(super) supposed: Option<Vec<String>>,
}

/// What decides how a packet goes to it and comes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One host.
    One,
    /// This gateway.
    Gateway,
    /// A multicast group or everybody.
    Many,
}

impl End {
    fn new(word: &str, address: Option<IpAddr>, nobody: u64) -> Self {
        Self {
            address,
            mac: nobody,
            framed: false,
            vlan: 0,
            kind: Kind::One,
            word: word.to_owned(),
            sample: false,
            leased: false,
            supposed: None,
        }
    }

    /// Understands one word, as an end of packets of a family; `other` is the address of the end understood before.
    pub(super) fn named(
        world: &World<'_>,
        name: &str,
        nobody: u64,
        family: Family,
        other: Option<IpAddr>,
    ) -> Result<Self, AskError> {
        let policy = world.policy;
        let of_family = |address: &IpAddr| Family::of(address) == family;
        match name {
            "gateway" => {
                let own = world.own.iter().copied().filter(of_family).find(|address| !address.is_loopback());
                // Documentation addresses (RFC 5737, RFC 3849) when the question is asked away from a gateway.
                let address = own.unwrap_or(match family {
                    Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
                    Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
                });
                return Ok(Self { kind: Kind::Gateway, ..Self::new(name, Some(address), nobody) });
            }
            "any" => {
                let address = world.stranger(family, other);
                return Ok(Self { sample: true, framed: true, ..Self::new(name, address, nobody) });
            }
            "broadcast" => return Ok(Self::broadcast(family)),
            _ => {}
        }
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(Self::literal(world, name, address, nobody, family));
        }
        if let Some((_, device)) = policy.device(name) {
            return Ok(Self::device(world, device, nobody, family, other));
        }
        if let Some(member) = several(policy, name) {
            return Err(AskError::Several { name: name.to_owned(), member });
        }
        if let Some(group) = policy.multicasts.iter().find(|group| group.name == name) {
            return Ok(Self::group(group, None, family));
        }
        if let Some(network) = policy.networks.iter().find(|n| n.name == name) {
            let cidrs: Vec<IpNet> =
                network.cidrs.iter().copied().filter(|cidr| of_family(&cidr.network())).collect();
            if cidrs.is_empty() && !network.names.is_empty() {
                return Ok(Self::by_name(world, network, nobody, family, other));
            }
            let no_host = || AskError::NoHost { name: name.to_owned() };
            let address =
                if cidrs.is_empty() { None } else { Some(world.host(&cidrs, other).ok_or_else(no_host)?) };
            return Ok(Self { sample: true, ..Self::new(name, address, nobody) });
        }
        let hint = closest(name, names(policy)).map(str::to_owned);
        Err(AskError::Unknown {
            name: name.to_owned(),
            kind: "device, network, multicast group or address",
            hint,
        })
    }

    /// A network at an address that was learned by one of its names, or as if one were.
    fn by_name(
        world: &World<'_>,
        network: &Network,
        nobody: u64,
        family: Family,
        other: Option<IpAddr>,
    ) -> Self {
        let is_its = |learned: &&Learned| {
            Family::of(&learned.address) == family
                && network.names.iter().any(|pattern| covers(pattern, &learned.name))
        };
        let learned = world.learned.iter().find(is_its).map(|learned| learned.address);
        let supposed = if learned.is_none() { Some(network.names.clone()) } else { None };
        let address = learned.or_else(|| world.stranger(family, other));
        Self { sample: learned.is_some(), supposed, ..Self::new(&network.name, address, nobody) }
    }

    fn broadcast(family: Family) -> Self {
        let address = match family {
            Family::V4 => Some(Ipv4Addr::BROADCAST.into()),
            Family::V6 => None,
        };
        Self { kind: Kind::Many, framed: true, ..Self::new("broadcast", address, mac::BROADCAST) }
    }

    fn literal(world: &World<'_>, name: &str, address: IpAddr, nobody: u64, family: Family) -> Self {
        let of_family = Some(address).filter(|address| Family::of(address) == family);
        if address == IpAddr::from(Ipv4Addr::BROADCAST) {
            return Self::broadcast(family);
        }
        if address.is_multicast() {
            let holds = |group: &&Multicast| group.cidrs.iter().any(|cidr| cidr.contains(&address));
            return match world.policy.multicasts.iter().find(holds) {
                Some(group) => Self::group(group, of_family, family),
                None => Self {
                    kind: Kind::Many,
                    ..Self::new(name, of_family, mac::from_octets(Mac::of_group(address).0))
                },
            };
        }
        if world.own.contains(&address) {
            return Self { kind: Kind::Gateway, ..Self::new("gateway", of_family, nobody) };
        }
        match world.policy.device_of(address) {
            // An address of a device means the device: rules name it so.
            Some(device) => Self::of_device(device, Self::new(&device.name, of_family, nobody)),
            None => Self::new(name, of_family, nobody),
        }
    }

    fn device(
        world: &World<'_>,
        device: &Device,
        nobody: u64,
        family: Family,
        other: Option<IpAddr>,
    ) -> Self {
        let own = device.addresses.iter().copied().find(|address| Family::of(address) == family);
        let leased = own.is_none() && device.dynamic;
        let address = if leased { world.stranger(family, other) } else { own };
        Self { leased, ..Self::of_device(device, Self::new(&device.name, address, nobody)) }
    }

    fn of_device(device: &Device, end: Self) -> Self {
        let mac = device.macs.first().map_or(end.mac, |m| mac::from_octets(m.0));
        Self { mac, framed: !device.macs.is_empty(), vlan: device.vlan.unwrap_or(0), ..end }
    }

    /// A group as the end of datagrams or, when it has none of the family, of frames.
    fn group(group: &Multicast, asked: Option<IpAddr>, family: Family) -> Self {
        let of_family = |address: &IpAddr| Family::of(address) == family;
        let address = asked.or_else(|| group.cidrs.iter().map(IpNet::addr).find(of_family));
        let mac = group.macs.first().map(|m| mac::from_octets(m.0));
        let several = group.cidrs.len() + group.macs.len() > 1;
        Self {
            kind: Kind::Many,
            framed: mac.is_some(),
            sample: several && asked.is_none(),
            ..Self::new(&group.name, address, mac.unwrap_or(0))
        }
    }

    /// The hardware address to which its packets of `address` go.
    pub(super) fn receiver(&self) -> u64 {
        match (self.kind, self.address) {
            (Kind::Many, Some(address)) if address.is_multicast() => {
                mac::from_octets(Mac::of_group(address).0)
            }
            (Kind::Many | Kind::One | Kind::Gateway, _) => self.mac,
        }
    }
}

/// For the name of a class, a group or a zone, one of its devices if it has any.
fn several(policy: &Policy, name: &str) -> Option<Option<String>> {
    let (kind, name) = name.split_once(':')?;
    let is_member: Box<dyn Fn(&Device) -> bool> = match kind {
        "class" => Box::new(|device| policy.class_of(device) == Some(name)),
        "zone" => Box::new(|device| policy.zone_of(device) == Some(name)),
        "group" => {
            Box::new(|device| device.groups.iter().any(|id| policy.groups[id.0 as usize].name == name))
        }
        _ => return None,
    };
    Some(policy.devices.iter().find(|device| is_member(device)).map(|device| device.name.clone()))
}

/// Every word that can be an end.
fn names(policy: &Policy) -> impl Iterator<Item = &str> {
    let devices = policy.devices.iter().map(|d| d.name.as_str());
    let networks = policy.networks.iter().map(|n| n.name.as_str());
    let groups = policy.multicasts.iter().map(|g| g.name.as_str());
    devices.chain(networks).chain(groups).chain(["gateway", "broadcast", "any"])
}
