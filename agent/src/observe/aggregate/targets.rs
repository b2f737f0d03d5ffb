//! What one source tries: its targets, each counted once.
//!
//! In: keys of violations and how many packets each had. Out: what they have in common, and a [`Tried`]. Bounded: TCP and
//! UDP ports are exact, of hosts, devices and everything else so many are told apart as [`DISTINCT`] says.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_common::{
    address::Address,
    layout::ViolationKey,
    wire::{ethertype, protocol, pseudo},
};

use super::packets::Tried;

/// Hosts that are told apart; devices, and ports that are neither of TCP nor of UDP, likewise.
pub(super) const DISTINCT: usize = 1024;

/// An address; where a frame has none, the hardware address.
type Host = (Address, [u8; 6]);

/// A bit for each port of a protocol.
struct Ports(Box<[u64; 1024]>);

impl Ports {
    fn insert(&mut self, port: u16) {
        self.0[usize::from(port / 64)] |= 1 << (port % 64);
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// What was tried since the last record.
#[derive(Default)]
pub(super) struct Targets {
    /// The first key, without what others do not share.
    common: Option<ViolationKey>,
    hosts: BTreeSet<Host>,
    tcp: Option<Ports>,
    udp: Option<Ports>,
    /// Protocol and number.
    rest: BTreeSet<(u8, u16)>,
    devices: BTreeSet<u32>,
    /// Packets by reason.
    reasons: BTreeMap<u8, u64>,
    mixed: bool,
    beyond: bool,
}

impl Targets {
    pub(super) fn add(&mut self, key: &ViolationKey, packets: u64) {
        let ViolationKey { destination, destination_mac, device, port, reason, .. } = *key;
        let has_address = !destination.is_unspecified();
        let host = (destination, if has_address { [0; 6] } else { destination_mac });
        let mut fits = put(&mut self.hosts, host);
        if device != 0 {
            fits &= put(&mut self.devices, device);
        }
        let is_ip = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6);
        let ports = match key.protocol {
            protocol::TCP if is_ip => Some(&mut self.tcp),
            protocol::UDP if is_ip => Some(&mut self.udp),
            _ => None,
        };
        match ports {
            Some(ports) => ports.get_or_insert_with(|| Ports(Box::new([0; 1024]))).insert(port),
            None if is_ip => fits &= put(&mut self.rest, (key.protocol, port)),
            None => fits &= put(&mut self.rest, (pseudo::ETHERTYPE, key.ethertype)),
        }
        self.beyond |= !fits;
        *self.reasons.entry(reason).or_default() += packets;
        self.common = Some(match self.common {
            Some(common) => {
                self.mixed |= (common.ethertype, common.protocol) != (key.ethertype, key.protocol);
                shared(&common, key)
            }
            None => *key,
        });
    }

    /// What was tried, as the key of all of it and the counts.
    pub(super) fn tried(self) -> (ViolationKey, Tried) {
        let most = self.reasons.iter().max_by_key(|(code, packets)| (**packets, u8::MAX - **code));
        let reason = most.map_or(0, |(code, _)| *code);
        let ports = |ports: &Option<Ports>| ports.as_ref().map_or(0, Ports::len);
        let tried = Tried {
            hosts: count(&self.hosts),
            ports: ports(&self.tcp) + ports(&self.udp) + count(&self.rest),
            devices: self.devices,
            at_least: self.beyond,
            reasons: self.reasons.into_keys().collect(),
            mixed: self.mixed,
        };
        (ViolationKey { reason, ..self.common.unwrap_or_default() }, tried)
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.hosts.len(), self.rest.len(), self.devices.len()]
    }
}

fn count<T>(set: &BTreeSet<T>) -> u64 {
    u64::try_from(set.len()).unwrap_or(u64::MAX)
}

/// Whether it is in the set now.
fn put<T: Ord>(set: &mut BTreeSet<T>, one: T) -> bool {
    if set.len() >= DISTINCT {
        return set.contains(&one);
    }
    set.insert(one);
    true
}

/// What two violations of one source have in common; zero where they differ. Protocol and EtherType stay the first one's:
/// without them nobody could say what kind of address the source has.
fn shared(one: &ViolationKey, other: &ViolationKey) -> ViolationKey {
    fn same<T: PartialEq + Default>(one: T, other: T) -> T {
        if one == other { one } else { T::default() }
    }
    ViolationKey {
        source: one.source,
        destination: same(one.destination, other.destination),
        device: same(one.device, other.device),
        source_device: same(one.source_device, other.source_device),
        destination_device: same(one.destination_device, other.destination_device),
        ifindex: one.ifindex,
        source_mac: one.source_mac,
        destination_mac: same(one.destination_mac, other.destination_mac),
        vlan: same(one.vlan, other.vlan),
        inner_vlan: same(one.inner_vlan, other.inner_vlan),
        ethertype: one.ethertype,
        port: same(one.port, other.port),
        protocol: one.protocol,
        reason: one.reason,
        dropped: one.dropped,
        // The codes rise with strictness.
        mode: one.mode.max(other.mode),
        generation: one.generation,
        answer: same(one.answer, other.answer),
        others: 0,
        pad: [0; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(destination: u32, number: u8, port: u16) -> ViolationKey {
        let destination = Address::v4(destination);
        ViolationKey {
            destination,
            ethertype: ethertype::IPV4,
            protocol: number,
            port,
            device: 7,
            reason: 52,
            ..ViolationKey::default()
        }
    }

    #[test]
    fn ports_of_tcp_and_udp_are_counted_to_the_last() {
        let mut targets = Targets::default();
        for port in 0..=u16::MAX {
            targets.add(&key(1, protocol::TCP, port), 1);
        }
        targets.add(&key(1, protocol::UDP, 53), 1);
        targets.add(&key(1, protocol::UDP, 53), 1);
        let (common, tried) = targets.tried();
        assert_eq!((tried.hosts, tried.ports, tried.at_least, tried.mixed), (1, 65_537, false, true));
        assert_eq!((common.destination, common.device, common.port), (Address::v4(1), 7, 0));
    }

    #[test]
    fn more_hosts_than_are_told_apart_are_a_lower_bound() {
        let mut targets = Targets::default();
        for host in 1..=2000 {
            targets.add(&ViolationKey { device: host, ..key(host, protocol::TCP, 502) }, 1);
        }
        let (common, tried) = targets.tried();
        assert_eq!((tried.hosts, tried.devices.len(), tried.ports), (1024, 1024, 1));
        assert!(tried.at_least);
        assert_eq!((common.destination, common.device, common.port), (Address::UNSPECIFIED, 0, 502));
    }

    #[test]
    fn known_target_does_not_make_a_full_set_a_lower_bound() {
        let mut targets = Targets::default();
        for host in 1..=1024 {
            targets.add(&key(host, protocol::ICMP, 8 << 8), 1);
        }
        targets.add(&key(5, protocol::ICMP, 8 << 8), 1);
        assert!(!targets.tried().1.at_least);
    }

    #[test]
    fn reason_is_the_one_of_most_packets_and_of_several_the_first() {
        let mut targets = Targets::default();
        for (reason, packets) in [(60, 2), (50, 5), (40, 5)] {
            targets.add(&ViolationKey { reason, ..key(1, protocol::TCP, 1) }, packets);
        }
        let (common, tried) = targets.tried();
        assert_eq!((common.reason, tried.reasons), (40, BTreeSet::from([40, 50, 60])));
    }

    #[test]
    fn frames_without_addresses_are_told_apart_by_hardware_address_and_ethertype() {
        let mut targets = Targets::default();
        for (octet, kind) in [(1, 0x8892), (2, 0x8892), (2, 0x88cc)] {
            let destination_mac = [2, 0, 0, 0, 0, octet];
            let ethertype = kind;
            targets.add(&ViolationKey { destination_mac, ethertype, ..ViolationKey::default() }, 1);
        }
        let (_, tried) = targets.tried();
        assert_eq!((tried.hosts, tried.ports, tried.devices.len(), tried.mixed), (2, 2, 0, true));
    }
}
