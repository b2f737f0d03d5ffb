//! Who is at an end. In: a policy, the gateway's own addresses, an end as it was seen. Out: the device, the host of a network, the
//! group that it is, or that nobody knows it.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
};

use bulkhead_common::{address::Address, wire::mac};
use ipnet::IpNet;

use crate::{
    model::{DeviceId, Mac, Mode, NetworkId, Policy},
    traffic::End,
};

/// One end of a talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A device of the policy.
    Device(DeviceId),
    /// This gateway.
    Gateway,
    /// A host of a network of the policy, the smallest around it.
    Host(IpAddr, NetworkId),
    /// A multicast group.
    Group(IpAddr),
    /// A group of frames that are not IP.
    Frames(Mac),
    /// Everybody on the segment.
    Broadcast,
    /// Hosts of the Internet that no network of the policy holds, all of them.
    Internet,
    /// Hosts that nobody knows, all of them.
    Unknown,
    /// Hosts that have no address yet, all of them: they ask for one, or whether one is free.
    Nobody,
}

impl Party {
    /// The device that it is.
    pub fn device(self) -> Option<DeviceId> {
        if let Self::Device(id) = self { Some(id) } else { None }
    }

    /// The host of a network that it is.
    pub fn host(self) -> Option<IpAddr> {
        if let Self::Host(address, _) = self { Some(address) } else { None }
    }

    /// Whether many receive what goes there.
    pub fn is_many(self) -> bool {
        matches!(self, Self::Group(_) | Self::Frames(_) | Self::Broadcast)
    }
}

/// As many addresses are everybody: a network that is larger knows nobody.
const EVERYBODY_V4: u8 = 8;
const EVERYBODY_V6: u8 = 32;

/// Who is who.
pub struct Who<'p> {
    policy: &'p Policy,
    own: &'p BTreeSet<IpAddr>,
    by_mac: HashMap<Mac, DeviceId>,
    by_address: HashMap<IpAddr, DeviceId>,
    /// Prefixes of networks, the longest first.
    networks: Vec<(IpNet, NetworkId)>,
    /// The last address of each IPv4 prefix: there go datagrams to everybody in it (RFC 919 7).
    ends: BTreeSet<IpAddr>,
}

impl<'p> Who<'p> {
    /// Of a policy, on a gateway with these addresses.
    pub fn new(policy: &'p Policy, own: &'p BTreeSet<IpAddr>) -> Self {
        let ids = || (0..).map(DeviceId).zip(&policy.devices);
        let by_mac = ids().flat_map(|(id, device)| device.macs.iter().map(move |mac| (*mac, id))).collect();
        let by_address =
            ids().flat_map(|(id, device)| device.addresses.iter().map(move |ip| (*ip, id))).collect();
        let with_id = (0..).map(NetworkId).zip(&policy.networks);
        let mut networks: Vec<(IpNet, NetworkId)> = with_id
            .flat_map(|(id, network)| network.cidrs.iter().map(move |cidr| (*cidr, id)))
            .filter(|(cidr, _)| !is_everybody(cidr))
            .collect();
        networks.sort_by_key(|(cidr, id)| (std::cmp::Reverse(cidr.prefix_len()), *id));
        let prefixes = policy.networks.iter().flat_map(|network| &network.cidrs);
        let ends = prefixes.filter(|cidr| cidr.addr().is_ipv4() && cidr.prefix_len() < 31);
        Self { policy, own, by_mac, by_address, networks, ends: ends.map(IpNet::broadcast).collect() }
    }

    /// The policy.
    pub fn policy(&self) -> &'p Policy {
        self.policy
    }

    /// Who began.
    pub fn sender(&self, end: &End) -> Party {
        let party = self.party(end);
        // Nobody sends from a group: whoever seems to is not known.
        if party.is_many() { Party::Unknown } else { party }
    }

    /// Who answers.
    pub fn receiver(&self, end: &End) -> Party {
        self.party(end)
    }

    fn party(&self, end: &End) -> Party {
        let named = end.mac.and_then(|mac| self.by_mac.get(&mac).copied());
        let Some(address) = end.address else {
            return match (named, end.mac) {
                (Some(id), _) => Party::Device(id),
                (None, Some(Mac(octets))) if mac::from_octets(octets) == mac::BROADCAST => Party::Broadcast,
                (None, Some(mac)) if mac.is_group() => Party::Frames(mac),
                (None, _) => Party::Unknown,
            };
        };
        let owner = self.by_address.get(&address).copied();
        match (named, owner) {
            // Two devices at once: somebody uses an address that is not his.
            (Some(id), Some(owner)) if id != owner => return Party::Unknown,
            (Some(id), _) => return Party::Device(id),
            // A lease says who it was, and it was nobody of the policy.
            (None, Some(_)) if end.mac.is_some() => return Party::Unknown,
            (None, Some(id)) => return Party::Device(id),
            (None, None) => {}
        }
        if self.own.contains(&address) {
            return Party::Gateway;
        }
        let wide = Address::from(address);
        if wide.is_unspecified() {
            return Party::Nobody;
        }
        if address == IpAddr::from(std::net::Ipv4Addr::BROADCAST) || self.ends.contains(&address) {
            return Party::Broadcast;
        }
        if wide.is_multicast() {
            return Party::Group(address);
        }
        // Many IPv6 hosts make their addresses of their hardware address.
        let maker = Mac(mac::octets(wide.eui64_maker()));
        if let Some(id) = self.by_mac.get(&maker) {
            return Party::Device(*id);
        }
        let holding = |(cidr, id): &&(IpNet, NetworkId)| {
            cidr.contains(&address) && self.policy.networks[id.0 as usize].holds(address)
        };
        match self.networks.iter().find(holding) {
            Some((_, id)) => Party::Host(address, *id),
            None if is_global(address) => Party::Internet,
            None => Party::Unknown,
        }
    }

    /// Whether it is a device that was cut off.
    pub fn is_quarantined(&self, party: Party) -> bool {
        party.device().is_some_and(|id| self.policy.devices[id.0 as usize].mode == Mode::Quarantine)
    }

    /// What a reader calls it.
    pub fn name(&self, party: Party) -> String {
        match party {
            Party::Device(id) => self.policy.devices[id.0 as usize].name.clone(),
            Party::Gateway => "gateway".to_owned(),
            Party::Host(address, id) => format!("{address} ({})", self.policy.networks[id.0 as usize].name),
            Party::Group(address) => {
                match self.group(|group| group.cidrs.iter().any(|c| c.contains(&address))) {
                    Some(name) => format!("{name} ({address})"),
                    None => address.to_string(),
                }
            }
            Party::Frames(mac) => match self.group(|group| group.macs.binary_search(&mac).is_ok()) {
                Some(name) => format!("{name} ({mac})"),
                None => mac.to_string(),
            },
            Party::Broadcast => "broadcast".to_owned(),
            Party::Internet => "the internet".to_owned(),
            Party::Unknown => "unknown hosts".to_owned(),
            Party::Nobody => "hosts without an address".to_owned(),
        }
    }

    /// The smallest multicast group of the policy that is meant.
    pub(super) fn group(&self, is_meant: impl Fn(&crate::model::Multicast) -> bool) -> Option<&'p str> {
        let meant = self.policy.multicasts.iter().filter(|group| is_meant(group));
        meant.min_by_key(|group| (receivers(group), &group.name)).map(|group| group.name.as_str())
    }
}

/// At how many addresses a group receives.
pub(super) fn receivers(group: &crate::model::Multicast) -> u64 {
    group.cidrs.iter().map(hosts).fold(group.macs.len() as u64, u64::saturating_add)
}

/// Addresses of a prefix.
pub(super) fn hosts(cidr: &IpNet) -> u64 {
    let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
    1_u64.checked_shl(bits).unwrap_or(u64::MAX)
}

fn is_everybody(cidr: &IpNet) -> bool {
    match cidr {
        IpNet::V4(v4) => v4.prefix_len() <= EVERYBODY_V4 && !v4.network().is_private(),
        IpNet::V6(v6) => v6.prefix_len() < EVERYBODY_V6 && !v6.network().is_unique_local(),
    }
}

/// Whether an address may be anywhere: neither private (RFC 1918, RFC 6598, RFC 4193) nor of the link (RFC 3927, RFC 4291 2.5.6) nor this
/// host's.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, _, _] = v4.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            !(v4.is_private() || v4.is_link_local() || v4.is_loopback() || shared || a == 0 || a >= 240)
        }
        IpAddr::V6(v6) => {
            let is_local = v6.is_unique_local() || v6.is_unicast_link_local() || v6 == Ipv6Addr::LOCALHOST;
            !(is_local || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{SourceFile, resolve_texts};

    fn policy() -> Policy {
        let text = r#"version = 1
[device.hmi]
mac = "02:00:00:00:00:01"
ip = "dhcp"
[device.plc]
ip = ["10.1.0.2", "fd00::2"]
[network.office]
cidr = "10.2.0.0/16"
[network.printers]
cidr = "10.2.3.0/24"
except = "10.2.3.9/32"
[network.all]
cidr = "0.0.0.0/0"
"#;
        let files = [SourceFile { path: "p.toml".into(), text: text.into() }];
        resolve_texts(&files).policy.expect("it is valid")
    }

    #[test]
    fn ends_are_told_apart() {
        let policy = policy();
        let own = BTreeSet::from([IpAddr::from([10, 1, 0, 1])]);
        let who = Who::new(&policy, &own);
        let [hmi, plc] = ["hmi", "plc"].map(|name| Party::Device(policy.device(name).expect("there").0));
        let at = |text: &str| who.receiver(&End::at(text.parse().expect("an address")));
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let leased = |text: &str, mac| who.sender(&End::leased(text.parse().expect("an address"), mac));
        assert_eq!((at("10.1.0.2"), at("fd00::2"), at("10.1.0.1")), (plc, plc, Party::Gateway));
        assert_eq!(leased("10.1.0.77", mac), hmi, "by its hardware address first");
        assert_eq!(leased("10.1.0.2", mac), Party::Unknown, "the address of another device");
        assert_eq!(leased("10.1.0.77", Mac([2, 0, 0, 0, 0, 9])), Party::Unknown);
        assert_eq!(at("fe80::ff:fe00:1"), hmi, "made of its hardware address");
        let name = |text: &str| who.name(at(text));
        assert_eq!(name("10.2.3.4"), "10.2.3.4 (printers)");
        assert_eq!(name("10.2.3.9"), "10.2.3.9 (office)", "not part of the smaller one");
        assert_eq!((at("10.1.0.77"), at("8.8.8.8")), (Party::Unknown, Party::Internet), "`all` knows nobody");
        assert_eq!((at("10.2.255.255"), at("255.255.255.255")), (Party::Broadcast, Party::Broadcast));
        assert_eq!(name("224.0.0.251"), "multicast:mdns (224.0.0.251)");
        assert_eq!(at("0.0.0.0"), Party::Nobody);
        assert_eq!(who.sender(&End::at(IpAddr::from([224, 0, 0, 251]))), Party::Unknown);
        assert_eq!(who.sender(&End::hardware(mac)), hmi);
        assert_eq!(
            who.receiver(&End::hardware(Mac([1, 0x0c, 0xcd, 1, 0, 7]))),
            Party::Frames(Mac([1, 0x0c, 0xcd, 1, 0, 7]))
        );
    }
}
