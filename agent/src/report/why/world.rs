//! Which addresses are whose. In: the policy and the gateway's own addresses. Out: an address for a name that stands
//! for many, which is nobody else's: neither the gateway's own nor a device's, and of the smaller networks inside a
//! network none, if it has such a host.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::Learned;
use crate::model::Policy;

/// The two kinds of addresses a packet can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            Self::V6 => Ipv6Addr::from(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Whose addresses are not to be taken for somebody else's.
pub(super) struct World<'p> {
    pub(super) policy: &'p Policy,
    /// The gateway's own addresses.
    pub(super) own: &'p BTreeSet<IpAddr>,
    /// What the end that starts has learned by name.
    pub(super) learned: &'p [Learned],
    /// Addresses of all devices.
    devices: BTreeSet<IpAddr>,
    /// Prefixes of all networks.
    networks: BTreeSet<IpNet>,
}

impl<'p> World<'p> {
    pub(super) fn new(policy: &'p Policy, own: &'p BTreeSet<IpAddr>, learned: &'p [Learned]) -> Self {
        Self {
            policy,
            own,
            learned,
            devices: policy.devices.iter().flat_map(|device| device.addresses.iter().copied()).collect(),
            networks: policy.networks.iter().flat_map(|network| network.cidrs.iter().copied()).collect(),
        }
    }

    /// Whether no device and no gateway has the address, nor `other`, the other end.
    fn is_free(&self, address: IpAddr, other: Option<IpAddr>) -> bool {
        !self.own.contains(&address) && !self.devices.contains(&address) && other != Some(address)
    }

    /// The first and last address a host can have. The first of an IPv6 prefix is its routers' (RFC 4291 2.6.1).
    fn hosts(net: &IpNet) -> (u128, u128) {
        let (first, last) = (number(net.network()), number(net.broadcast()));
        match net {
            IpNet::V4(v4) if v4.prefix_len() < 31 => (first + 1, last - 1),
            IpNet::V6(v6) if v6.prefix_len() < 127 => (first + 1, last),
            IpNet::V4(_) | IpNet::V6(_) => (first, last),
        }
    }

    /// A host of one of the prefixes that is nobody's, outside smaller networks if there is one.
    pub(super) fn host(&self, cidrs: &[IpNet], other: Option<IpAddr>) -> Option<IpAddr> {
        let free = |net: &IpNet, from: u128| {
            let (first, last) = Self::hosts(net);
            let family = Family::of(&net.network());
            let mut hosts = (from.max(first)..=last).map(|number| family.address(number));
            hosts.find(|host| self.is_free(*host, other))
        };
        let innermost = |cidr: &IpNet| {
            let inside: Vec<&IpNet> =
                self.networks.iter().filter(|net| cidr.contains(*net) && *net != cidr).collect();
            // Behind the end of a smaller network begins what is not in it.
            let starts = inside.iter().filter_map(|net| number(net.broadcast()).checked_add(1));
            let starts: BTreeSet<u128> = starts.chain([number(cidr.network())]).collect();
            starts.into_iter().find_map(|start| {
                let host = free(cidr, start)?;
                (!inside.iter().any(|net| net.contains(&host))).then_some(host)
            })
        };
        cidrs.iter().find_map(innermost).or_else(|| cidrs.iter().find_map(|cidr| free(cidr, 0)))
    }

    /// An address for documentation (RFC 5737, RFC 3849) that no network has either.
    pub(super) fn stranger(&self, family: Family, other: Option<IpAddr>) -> Option<IpAddr> {
        let blocks = match family {
            Family::V4 => vec![[192, 0, 2], [198, 51, 100], [203, 0, 113]],
            Family::V6 => Vec::new(),
        };
        let v4 = blocks.into_iter().flat_map(|[a, b, c]| (99..255).map(move |d| Ipv4Addr::new(a, b, c, d)));
        let v6 = (0x99..0xffff_u16).map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        let v6 = v6.filter(|_| family == Family::V6);
        let mut all = v4.map(IpAddr::from).chain(v6.map(IpAddr::from));
        all.find(|host| self.is_free(*host, other) && !self.networks.iter().any(|net| net.contains(host)))
    }
}
