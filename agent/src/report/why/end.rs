//! One end of a question: the address and hardware address with which the made-up packet is sent.
//!
//! A name that stands for many addresses is asked with one of them, which must be nobody else's: neither
//! the gateway's own nor a device's, and of the smaller networks inside a network none, if it has such a host.

use std::{collections::BTreeSet, net::Ipv4Addr};

use bulkhead_common::wire::mac;
use ipnet::{IpNet, Ipv4Net};

use super::AskError;
use crate::{
    diagnostic::closest,
    model::{Device, Policy},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) address: Ipv4Addr,
    pub(super) mac: u64,
    pub(super) vlan: u16,
    /// Whether it is this gateway.
    pub(super) gateway: bool,
    /// The word by which rules mean it.
    pub(super) word: String,
    /// Whether the address is one of many that the word stands for.
    pub(super) sample: bool,
}

/// Whose addresses are not to be taken for somebody else's.
pub(super) struct World<'p> {
    pub(super) policy: &'p Policy,
    /// The gateway's own addresses.
    pub(super) own: &'p BTreeSet<Ipv4Addr>,
    /// Addresses of all devices.
    devices: BTreeSet<Ipv4Addr>,
    /// Prefixes of all networks.
    networks: BTreeSet<Ipv4Net>,
}

impl<'p> World<'p> {
    pub(super) fn new(policy: &'p Policy, own: &'p BTreeSet<Ipv4Addr>) -> Self {
        let cidrs = policy.networks.iter().flat_map(|network| &network.cidrs);
        let v4 = |cidr: &IpNet| match cidr {
            IpNet::V4(v4) => Some(*v4),
            IpNet::V6(_) => None,
        };
        Self {
            policy,
            own,
            devices: policy
                .devices
                .iter()
                .flat_map(|device| device.addresses.iter().copied())
                .filter_map(|a| if let std::net::IpAddr::V4(v) = a { Some(v) } else { None })
                .collect(),
            networks: cidrs.filter_map(v4).collect(),
        }
    }

    /// Whether no device and no gateway has the address, nor `other`, the other end.
    fn is_free(&self, address: Ipv4Addr, other: Option<Ipv4Addr>) -> bool {
        !self.own.contains(&address) && !self.devices.contains(&address) && other != Some(address)
    }

    /// A host of one of the prefixes that is nobody's, outside smaller networks if there is one.
    fn host(&self, cidrs: &[Ipv4Net], other: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let free = |net: &Ipv4Net| net.hosts().find(|host| self.is_free(*host, other));
        let innermost = |cidr: &Ipv4Net| {
            let smaller = |net: &&Ipv4Net| cidr.contains(*net) && *net != cidr;
            let inside: Vec<&Ipv4Net> = self.networks.iter().filter(smaller).collect();
            // Behind the end of a smaller network begins what is not in it.
            let starts = inside.iter().filter_map(|net| u32::from(net.broadcast()).checked_add(1));
            let starts: BTreeSet<u32> = starts.chain([u32::from(cidr.network())]).collect();
            let last = u32::from(cidr.hosts().next_back()?);
            let first = u32::from(cidr.hosts().next()?);
            starts.into_iter().find_map(|start| {
                let mut hosts = (start.max(first)..=last).map(Ipv4Addr::from);
                let host = hosts.find(|host| self.is_free(*host, other))?;
                (!inside.iter().any(|net| net.contains(&host))).then_some(host)
            })
        };
        cidrs.iter().find_map(innermost).or_else(|| cidrs.iter().find_map(free))
    }

    /// An address for documentation (RFC 5737) that no network has either.
    fn stranger(&self, other: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let blocks = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];
        let mut all =
            blocks.into_iter().flat_map(|[a, b, c]| (99..255).map(move |d| Ipv4Addr::new(a, b, c, d)));
        all.find(|host| self.is_free(*host, other) && !self.networks.iter().any(|net| net.contains(host)))
    }
}

impl End {
    /// Understands one word; `other` is the address of the end understood before.
    pub(super) fn named(
        world: &World<'_>,
        name: &str,
        nobody: u64,
        other: Option<Ipv4Addr>,
    ) -> Result<Self, AskError> {
        let policy = world.policy;
        let end = |address: Ipv4Addr, word: &str| Self {
            address,
            mac: nobody,
            vlan: 0,
            gateway: false,
            word: word.to_owned(),
            sample: false,
        };
        let no_address = || AskError::NoAddress { name: name.to_owned() };
        if name == "gateway" {
            let own = world.own.iter().copied().find(|address| !address.is_loopback());
            // Documentation address (RFC 5737) when the question is asked away from a gateway.
            let address = own.unwrap_or(Ipv4Addr::new(192, 0, 2, 1));
            return Ok(Self { gateway: true, ..end(address, name) });
        }
        if name == "any" {
            let address = world.stranger(other).ok_or_else(no_address)?;
            return Ok(Self { sample: true, ..end(address, name) });
        }
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            if world.own.contains(&address) {
                return Ok(Self { gateway: true, ..end(address, "gateway") });
            }
            return Ok(match policy.device_of(address.into()) {
                // An address of a device means the device: rules name it so.
                Some(device) => Self::device(device, end(address, &device.name)),
                None => end(address, name),
            });
        }
        if let Some((_, device)) = policy.device(name) {
            let address = device
                .addresses
                .iter()
                .find_map(|a| if let std::net::IpAddr::V4(v) = a { Some(*v) } else { None })
                .ok_or_else(no_address)?;
            return Ok(Self::device(device, end(address, name)));
        }
        if let Some(network) = policy.networks.iter().find(|n| n.name == name) {
            let cidrs: Vec<Ipv4Net> = (network.cidrs.iter())
                .filter_map(|cidr| match cidr {
                    IpNet::V4(v4) => Some(*v4),
                    IpNet::V6(_) => None,
                })
                .collect();
            if cidrs.is_empty() {
                return Err(no_address());
            }
            let no_host = || AskError::NoHost { name: name.to_owned() };
            let address = world.host(&cidrs, other).ok_or_else(no_host)?;
            return Ok(Self { sample: true, ..end(address, name) });
        }
        let names = policy.devices.iter().map(|d| d.name.as_str());
        let names = names.chain(policy.networks.iter().map(|n| n.name.as_str())).chain(["gateway", "any"]);
        let hint = closest(name, names).map(str::to_owned);
        Err(AskError::Unknown { name: name.to_owned(), kind: "device, network or address", hint })
    }

    fn device(device: &Device, end: Self) -> Self {
        let mac = device.macs.first().map_or(end.mac, |m| mac::from_octets(m.0));
        Self { mac, vlan: device.vlan.unwrap_or(0), ..end }
    }
}
