//! What is allowed already: the first packet of a kind of flow is made up and given to [`decide`], the function that enforces.
//!
//! In: a policy, where and how the agent runs, kinds of flow. Out: whether the policy allows it. Where a device must be seen (its segment and VLAN) is
//! no matter of rules and is left out; a rule that holds at times counts as open, unless its time is over for good.

use std::{collections::BTreeSet, net::IpAddr};

use bulkhead_common::{
    address::Address,
    decide::{Verdict, decide},
    layout::{Lease, SegmentRow, Settings},
    lookup::{infrastructure, segment_flag},
    parse::{self, Packet},
    wire::{ethertype, icmp, mac, protocol, pseudo, tcp},
};
use jiff::Timestamp;

use super::{Party, Who};
use crate::{
    compile::{Host, Limits, Memory, Placed, Tables, TooLarge, compile},
    model::{Mac, Policy},
    traffic::{End, Kind},
};

/// Where and how the agent runs, as far as verdicts depend on it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Every kind of segment, see [`crate::config::Config::alike`].
    pub segments: Vec<SegmentRow>,
    /// The management pin, who is trusted.
    pub placed: Placed,
    /// The gateway's own addresses.
    pub own: BTreeSet<IpAddr>,
}

impl Default for Surroundings {
    /// One segment with the whole infrastructure set, no pin, no address.
    fn default() -> Self {
        let flags = segment_flag::TRUSTED;
        let segment = SegmentRow { infrastructure: infrastructure::ALL, flags, ..SegmentRow::default() };
        Self { segments: vec![segment], placed: Placed::default(), own: BTreeSet::new() }
    }
}

/// What a policy says of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is allowed.
    Allowed,
    /// A rule allowed it whose time is over.
    Expired,
    /// Nothing allows it.
    Denied,
}

/// A policy that can be asked.
pub struct Judge {
    policy: Policy,
    tables: Tables,
    surroundings: Surroundings,
    now: Timestamp,
}

/// A source port that no service has.
const EPHEMERAL: u16 = 49_999;
/// Locally administered addresses of nobody: a stranger, and the router in between.
const STRANGER: u64 = 0x02_bb_00_00_00_01;
const NEXT_HOP: u64 = 0x02_bb_00_00_00_02;

impl Judge {
    /// Of a policy, at a time.
    ///
    /// # Errors
    /// [`TooLarge`] when no table holds it.
    pub fn new(policy: &Policy, surroundings: Surroundings, now: Timestamp) -> Result<Self, TooLarge> {
        let mut policy = policy.clone();
        for device in &mut policy.devices {
            (device.segment, device.vlan) = (None, None);
        }
        let tables = compile(&policy, &Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX })?;
        Ok(Self { policy, tables, surroundings, now })
    }

    /// The tables behind the answers.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Asks about kinds.
    pub fn ask(&self) -> Asking<'_> {
        let Surroundings { segments, placed, own } = &self.surroundings;
        let open = vec![u64::MAX; self.tables.schedules.len()];
        let holds = |set: &Vec<_>| set.iter().any(|one: &crate::model::Schedule| !one.has_expired(self.now));
        let today = self.tables.schedules.iter().map(|set| if holds(set) { u64::MAX } else { 0 }).collect();
        let host = |segment: &SegmentRow, deadlines: &Vec<u64>| {
            // Nothing is taken on trust, and no flow is one too many.
            let settings = Settings { adopt_until: 0, flow_cap: 0, ..placed.settings };
            let gateway = own.clone();
            let deadlines = deadlines.clone();
            Host::new(
                &self.tables,
                Placed { segment: *segment, settings, gateway, deadlines, ..placed.clone() },
            )
        };
        let hosts = |deadlines: Vec<u64>| segments.iter().map(|segment| host(segment, &deadlines)).collect();
        let own = &self.surroundings.own;
        Asking {
            who: Who::new(&self.policy, own),
            policy: &self.policy,
            today: hosts(today),
            open: hosts(open),
        }
    }
}

/// Questions in a row.
pub struct Asking<'j> {
    who: Who<'j>,
    policy: &'j Policy,
    today: Vec<Host<'j>>,
    open: Vec<Host<'j>>,
}

impl Asking<'_> {
    /// Whether a flow of this kind may begin, wherever its first packet arrives.
    pub fn about(&mut self, kind: &Kind) -> Said {
        let leases = [kind.from, kind.to].into_iter().filter_map(|end| {
            let (address, Mac(octets)) = (end.address?, end.mac?);
            Some((
                Address::from(address),
                Lease { mac: mac::from_octets(octets), expires: u64::MAX, length: u64::MAX },
            ))
        });
        let memory = Memory { leases: leases.collect(), ..Memory::default() };
        let Some(packet) = self.packet(kind) else { return Said::Denied };
        let allowed = |hosts: &mut Vec<Host<'_>>| {
            hosts.iter_mut().all(|host| {
                host.adopt(memory.clone(), 1);
                matches!(decide(&packet, host).verdict, Verdict::Allow(_))
            })
        };
        if allowed(&mut self.today) {
            Said::Allowed
        } else if allowed(&mut self.open) {
            Said::Expired
        } else {
            Said::Denied
        }
    }

    /// The packet with which it begins. What the gateway itself sends is not judged, only the answer.
    fn packet(&self, kind: &Kind) -> Option<Packet> {
        let Kind { from, to, service } = *kind;
        let hardware = |end: End, nobody| self.hardware(end, nobody);
        let (source_mac, destination_mac) = (hardware(from, STRANGER), hardware(to, NEXT_HOP));
        let (Some(source), Some(destination)) = (from.address, to.address) else {
            let is_llc = service.protocol == pseudo::LLC;
            return Some(Packet {
                len: 60,
                kind: parse::Kind::Other,
                // Of an LLC frame the field is its length (IEEE 802.3-2018 3.2.6).
                ethertype: if is_llc { 46 } else { service.number },
                service_port: if is_llc { service.number } else { 0 },
                source_mac,
                destination_mac,
                ..Packet::EMPTY
            });
        };
        let [icmp_type, _] = service.number.to_be_bytes();
        let is_icmp = protocol::is_icmp(service.protocol);
        let has_ports = matches!(service.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let port = if has_ports { service.number } else { 0 };
        let question = Packet {
            len: 60,
            kind: parse::Kind::Ip,
            ethertype: if source.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 },
            source_mac,
            destination_mac,
            source: source.into(),
            destination: destination.into(),
            protocol: service.protocol,
            hops: if destination.is_multicast() { 1 } else { 64 },
            source_port: if has_ports { EPHEMERAL } else { 0 },
            destination_port: port,
            service_port: service.number,
            icmp_type: if is_icmp { icmp_type } else { 0 },
            tcp_flags: if service.protocol == protocol::TCP { tcp::SYN } else { 0 },
            ..Packet::EMPTY
        };
        if self.who.sender(&from) != Party::Gateway {
            return Some(question);
        }
        let reply = |kind: &u8| icmp::request_of(service.protocol, *kind) == Some(icmp_type);
        let icmp_type = if is_icmp { (0..=u8::MAX).find(reply)? } else { 0 };
        Some(Packet {
            source: question.destination,
            destination: question.source,
            source_mac: destination_mac,
            destination_mac: NEXT_HOP,
            source_port: port,
            destination_port: question.source_port,
            service_port: if is_icmp { u16::from(icmp_type) << 8 } else { question.source_port },
            icmp_type,
            tcp_flags: if service.protocol == protocol::TCP { tcp::SYN | tcp::ACK } else { 0 },
            ..question
        })
    }

    fn hardware(&self, end: End, nobody: u64) -> u64 {
        if let Some(Mac(octets)) = end.mac {
            return mac::from_octets(octets);
        }
        match (self.who.receiver(&end), end.address) {
            (Party::Group(group), _) => mac::from_octets(Mac::of_group(group).0),
            (Party::Broadcast, _) => mac::BROADCAST,
            (Party::Device(id), _) => {
                let first = self.policy.devices[id.0 as usize].macs.first();
                first.map_or(nobody, |Mac(octets)| mac::from_octets(*octets))
            }
            _ => nobody,
        }
    }
}
