//! Who is at an end. In: a policy, the gateway's own addresses, an end as it was seen. Out: the device, the host of a network, the
//! group that it is, or that nobody knows it. Whoever reads what was seen asks here, so that all of them answer alike.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bulkhead_common::{
    address::Address,
    wire::{mac, protocol, pseudo},
};
use ipnet::{IpNet, Ipv6Net};
use prefix_trie::PrefixMap;

use super::{Placed, wide};
use crate::{
    model::{Device, DeviceId, Mac, Mode, Multicast, NetworkId, Policy},
    traffic::{End, Kind},
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
    /// A multicast group; one that a policy knows by an IPv4 and an IPv6 address and by nothing else by the former.
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
    placed: &'p Placed,
    by_mac: HashMap<Mac, DeviceId>,
    by_address: HashMap<IpAddr, DeviceId>,
    /// Prefixes of networks, each with those that have it, in their order.
    networks: PrefixMap<Ipv6Net, Vec<NetworkId>>,
    /// The IPv4 address of groups that are one by an IPv4 and an IPv6 address.
    pairs: HashMap<IpAddr, IpAddr>,
}

impl<'p> Who<'p> {
    /// Of a policy, on a gateway that is placed so.
    pub fn new(policy: &'p Policy, placed: &'p Placed) -> Self {
        let ids = || (0..).map(DeviceId).zip(&policy.devices);
        let by_mac = ids().flat_map(|(id, device)| device.macs.iter().map(move |mac| (*mac, id))).collect();
        let by_address =
            ids().flat_map(|(id, device)| device.addresses.iter().map(move |ip| (*ip, id))).collect();
        let with_id = (0..).map(NetworkId).zip(&policy.networks);
        let cidrs = with_id.flat_map(|(id, network)| network.cidrs.iter().map(move |cidr| (cidr, id)));
        let mut networks: PrefixMap<Ipv6Net, Vec<NetworkId>> = PrefixMap::new();
        for (cidr, id) in cidrs.filter(|(cidr, _)| !is_everybody(cidr)) {
            networks.entry(wide(cidr)).or_default().push(id);
        }
        let mut who = Self { policy, placed, by_mac, by_address, networks, pairs: HashMap::new() };
        let pairs = policy.multicasts.iter().filter_map(|group| Some((group, pair(group)?)));
        let is_meant =
            |group: &Multicast, address| who.group_of(address).is_some_and(|one| one.name == group.name);
        let pairs = pairs.filter(|(group, both)| both.iter().all(|address| is_meant(group, *address)));
        who.pairs = pairs.map(|(_, [v4, v6])| (v6, v4)).collect();
        who
    }

    /// The policy.
    pub fn policy(&self) -> &'p Policy {
        self.policy
    }

    /// Who began and who answers, each with the end as it was seen. Of frames that are not IP nothing tells who began and rules let
    /// both speak, so they stand in one order whoever was seen first.
    pub fn parties(&self, kind: &Kind) -> [(Party, End); 2] {
        let from = self.sender(&kind.from);
        let to = match (self.receiver(&kind.to), kind.to.address) {
            // A connection is between two (RFC 9293 3.9.2.3): whoever answers there is a host.
            (Party::Broadcast, Some(address)) if is_connected(kind.service.protocol) => self.host(address),
            (to, _) => to,
        };
        let is_frame = matches!(kind.service.protocol, pseudo::ETHERTYPE | pseudo::LLC);
        if is_frame && !to.is_many() && to < from {
            return [(to, kind.to), (from, kind.from)];
        }
        [(from, kind.from), (to, kind.to)]
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
        if self.placed.gateway.contains(&address) {
            return Party::Gateway;
        }
        let wide = Address::from(address);
        if wide.is_unspecified() {
            return Party::Nobody;
        }
        // The last address of a network of the policy is a host's: such a network need not be what shares a wire (RFC 919 7).
        let is_everybody = end.mac.is_some_and(|Mac(octets)| mac::from_octets(octets) == mac::BROADCAST)
            || address == IpAddr::from(Ipv4Addr::BROADCAST)
            || self.placed.broadcasts.contains(&address);
        if is_everybody {
            return Party::Broadcast;
        }
        if wide.is_multicast() {
            return Party::Group(self.pairs.get(&address).copied().unwrap_or(address));
        }
        match self.maker(address) {
            Some((id, _)) => Party::Device(id),
            None => self.host(address),
        }
    }

    /// The device of whose hardware address an IPv6 address is made, and that hardware address (RFC 4291 appendix A).
    pub fn maker(&self, address: IpAddr) -> Option<(DeviceId, Mac)> {
        let mac = Mac(mac::octets(Address::from(address).eui64_maker()));
        self.by_mac.get(&mac).map(|id| (*id, mac))
    }

    /// A host that is no device.
    fn host(&self, address: IpAddr) -> Party {
        let wide = Ipv6Net::from(Ipv6Addr::from(Address::from(address).octets()));
        let holds = |id: &&NetworkId| self.policy.networks[id.0 as usize].holds(address);
        // From the widest prefix to the longest.
        let around = self.networks.cover_values(&wide).filter_map(|ids| ids.iter().find(holds)).last();
        match around {
            Some(id) => Party::Host(address, *id),
            None if is_global(address) => Party::Internet,
            None => Party::Unknown,
        }
    }

    /// A device.
    pub fn device(&self, id: DeviceId) -> &'p Device {
        &self.policy.devices[id.0 as usize]
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
            Party::Group(address) => match self.group_of(address) {
                Some(group) => format!("{} ({address})", group.name),
                None => address.to_string(),
            },
            Party::Frames(mac) => match self.group(|group| group.macs.binary_search(&mac).is_ok()) {
                Some(group) => format!("{} ({mac})", group.name),
                None => mac.to_string(),
            },
            Party::Broadcast => "broadcast".to_owned(),
            Party::Internet => "the internet".to_owned(),
            Party::Unknown => "unknown hosts".to_owned(),
            Party::Nobody => "hosts without an address".to_owned(),
        }
    }

    /// The smallest multicast group of the policy that is meant.
    fn group(&self, is_meant: impl Fn(&Multicast) -> bool) -> Option<&'p Multicast> {
        let meant = self.policy.multicasts.iter().filter(|group| is_meant(group));
        meant.min_by_key(|group| (receivers(group), &group.name))
    }

    fn group_of(&self, address: IpAddr) -> Option<&'p Multicast> {
        self.group(|group| group.cidrs.iter().any(|cidr| cidr.contains(&address)))
    }
}

/// The IPv4 and the IPv6 address of a group that has these and no other.
pub fn pair(group: &Multicast) -> Option<[IpAddr; 2]> {
    let [v4 @ IpNet::V4(_), v6 @ IpNet::V6(_)] = group.cidrs.as_slice() else { return None };
    let both = group.macs.is_empty() && hosts(v4) == 1 && hosts(v6) == 1;
    both.then(|| [v4.addr(), v6.addr()])
}

/// At how many addresses a group receives.
pub fn receivers(group: &Multicast) -> u64 {
    group.cidrs.iter().map(hosts).fold(group.macs.len() as u64, u64::saturating_add)
}

fn is_connected(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::SCTP)
}

/// Addresses of a prefix.
pub fn hosts(cidr: &IpNet) -> u64 {
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
pub fn is_global(address: IpAddr) -> bool {
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
        let placed = Placed {
            gateway: [IpAddr::from([10, 1, 0, 1])].into(),
            broadcasts: [IpAddr::from([10, 1, 0, 255])].into(),
            ..Placed::default()
        };
        let who = Who::new(&policy, &placed);
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
        assert_eq!((at("10.1.0.255"), at("255.255.255.255")), (Party::Broadcast, Party::Broadcast));
        assert_eq!(name("10.2.255.255"), "10.2.255.255 (office)", "networks of a policy are no segments");
        let everybody = mac::octets(mac::BROADCAST);
        assert_eq!(
            who.receiver(&End::leased([10, 2, 255, 255].into(), Mac(everybody))),
            Party::Broadcast,
            "it was seen to be"
        );
        assert_eq!(name("224.0.0.251"), "multicast:mdns (224.0.0.251)");
        assert_eq!(at("0.0.0.0"), Party::Nobody);
        assert_eq!(who.sender(&End::at(IpAddr::from([224, 0, 0, 251]))), Party::Unknown);
        assert_eq!(who.sender(&End::hardware(mac)), hmi);
        assert_eq!(
            who.receiver(&End::hardware(Mac([1, 0x0c, 0xcd, 1, 0, 7]))),
            Party::Frames(Mac([1, 0x0c, 0xcd, 1, 0, 7]))
        );
    }

    #[test]
    fn ends_of_a_kind_are_what_a_policy_can_tell_apart() {
        let policy = policy();
        let placed = Placed { broadcasts: [IpAddr::from([10, 2, 0, 255])].into(), ..Placed::default() };
        let who = Who::new(&policy, &placed);
        let parties = |from: End, to: End, protocol: u8| {
            let service = crate::traffic::Service { protocol, number: 502 };
            who.parties(&Kind { from, to, service }).map(|(party, _)| who.name(party))
        };
        let at = |text: &str| End::at(text.parse().expect("an address"));
        let (plc, last) = (at("10.1.0.2"), at("10.2.0.255"));
        assert_eq!(parties(plc, last, protocol::UDP), ["plc", "broadcast"]);
        assert_eq!(parties(plc, last, protocol::TCP), ["plc", "10.2.0.255 (office)"], "it is with one host");
        // Of frames nobody knows who began.
        let mac = |last| End::hardware(Mac([2, 0, 0, 0, 0, last]));
        let both = [(1, 9), (9, 1)].map(|(a, b)| parties(mac(a), mac(b), pseudo::ETHERTYPE));
        assert_eq!(both, [["hmi", "unknown hosts"], ["hmi", "unknown hosts"]]);
        let group = End::hardware(Mac([1, 0x0c, 0xcd, 1, 0, 7]));
        assert_eq!(parties(mac(9), group, pseudo::ETHERTYPE)[0], "unknown hosts");
        // A service has one group by two addresses.
        let [v4, v6] = ["224.0.0.251", "ff02::fb"].map(|group| who.receiver(&at(group)));
        assert_eq!(v4, v6);
        assert_ne!(v4, who.receiver(&at("224.0.0.250")));
    }
}
