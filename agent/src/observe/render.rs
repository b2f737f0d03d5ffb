//! Joins an aggregate with names and wall-clock time: numbers in, a [`Violation`] out.

use std::net::IpAddr;

use bulkhead_common::{
    address::Address,
    reason::Reason,
    wire::{ethertype, mac, protocol},
};
use jiff::{SignedDuration, Timestamp};

use super::{Aggregate, Names, severity::severity};
use crate::{
    model::{Mac, Mode},
    record::{Action, End, Icmp, VERSION, Verdict, Violation},
};

/// The wall clock at a moment of the monotonic clock, by which kernel times are translated. To be read
/// anew for every batch, so that a corrected clock shows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock (`CLOCK_MONOTONIC`) at the same moment, ns.
    pub mono_ns: u64,
}

impl Clock {
    /// The wall-clock time of a monotonic one; the nearest representable where there is none.
    pub fn at(&self, mono_ns: u64) -> Timestamp {
        let away = i128::from(mono_ns) - i128::from(self.mono_ns);
        let seconds = i64::try_from(away.div_euclid(1_000_000_000)).unwrap_or_default();
        let rest = i32::try_from(away.rem_euclid(1_000_000_000)).unwrap_or_default();
        self.wall.saturating_add(SignedDuration::new(seconds, rest)).unwrap_or(self.wall)
    }
}

/// Who tells: the gateway's name and the agent run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Teller {
    /// The gateway's name.
    pub gateway: String,
    /// 16 hexadecimal digits, others in each run.
    pub boot: String,
}

/// The record of an aggregate. `seq` counts the records of this agent run.
pub fn render(aggregate: &Aggregate, names: &Names, clock: &Clock, teller: &Teller, seq: u64) -> Violation {
    let Aggregate { key, packets, bytes, first_ns, last_ns, source_port, others } = *aggregate;
    let reason = Reason::from_code(key.reason);
    let generation = key.generation;
    let criticality = names.criticality(generation, key.device);
    let addressed = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6 | ethertype::ARP);
    // Both are nobody's when the frame ended before its addresses; who asks for an address has none, alone.
    let read = addressed && !(key.source.is_unspecified() && key.destination.is_unspecified());
    // An IPv6 packet may carry what stands for an IPv4 address: it is shown as it was sent.
    let as_sent = |address: Address| match key.ethertype {
        ethertype::IPV6 => IpAddr::from(address.octets()),
        _ => IpAddr::from(address),
    };
    let ip = |address: Address| read.then(|| as_sent(address));
    let network = |address: Address| names.peer(generation, ip(address)?);
    let sender = if is_impostor(reason) && !others {
        names.device_of_mac(generation, mac::from_octets(key.source_mac))
    } else {
        names.device(generation, key.source_device).or_else(|| network(key.source))
    };
    let receiver = names.device(generation, key.destination_device).or_else(|| network(key.destination));
    let is_ip = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6);
    let transport = is_ip && has_transport(reason, key.port);
    let with_ports = transport && matches!(key.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let is_icmp = protocol::is_icmp(key.protocol);
    let [kind, code] = key.port.to_be_bytes();
    Violation {
        v: VERSION,
        time: rfc3339(clock.at(last_ns)),
        first: rfc3339(clock.at(first_ns)),
        gateway: teller.gateway.clone(),
        boot: teller.boot.clone(),
        seq,
        severity: severity(reason, key.dropped != 0, criticality),
        revision: names.revision(generation).map(str::to_owned),
        device: names.device(generation, key.device),
        criticality: criticality.map(|criticality| criticality.name().to_owned()),
        mode: Mode::from_code(key.mode),
        verdict: Verdict::Deny,
        action: if key.dropped == 0 { Action::Passed } else { Action::Dropped },
        reason: reason.map_or_else(|| format!("code-{}", key.reason), |r| r.name().to_owned()),
        explanation: reason.map_or("a reason this agent does not know", Reason::text).to_owned(),
        rule: None,
        source: End {
            name: sender,
            mac: (!others).then(|| Mac(key.source_mac).to_string()),
            ip: ip(key.source),
            port: Some(source_port).filter(|port| with_ports && *port != 0),
        },
        destination: End {
            name: receiver,
            mac: (!others).then(|| Mac(key.destination_mac).to_string()),
            ip: ip(key.destination),
            port: with_ports.then_some(key.port),
        },
        protocol: if others { "mixed".to_owned() } else { protocol_word(key.ethertype, key.protocol) },
        icmp: (transport && is_icmp).then_some(Icmp { r#type: kind, code }),
        vlan: Some(key.vlan).filter(|vlan| *vlan != 0),
        inner_vlan: Some(key.inner_vlan).filter(|vlan| *vlan != 0),
        interface: names.interface(key.ifindex),
        others,
        scan: None,
        packet: None,
        count: packets,
        bytes,
    }
}

fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Whether the sender's address is claimed by a frame that is not its owner's. Then only the hardware
/// address may name the sender: a record that gave the impostor its victim's name would accuse the victim.
fn is_impostor(reason: Option<Reason>) -> bool {
    matches!(
        reason,
        Some(
            Reason::SourceMacMismatch
                | Reason::ArpSenderMismatch
                | Reason::AddressConflict
                | Reason::NdMismatch
                | Reason::MartianSource
        )
    )
}

/// Whether the frame was read as far as its ports, or its ICMP type and code. What ended the reading early
/// may have come after them; then they are not zero.
fn has_transport(reason: Option<Reason>, port: u16) -> bool {
    let cut_short = matches!(
        reason,
        Some(
            Reason::Truncated
                | Reason::Ipv4Header
                | Reason::Ipv4Length
                | Reason::Ipv4Options
                | Reason::Ipv6Header
                | Reason::Ipv6Extension
                | Reason::Ipv6Routing
                | Reason::Fragment
                | Reason::FragmentHeader
                | Reason::FragmentTiny
                | Reason::FragmentOrphan
                | Reason::SctpHeader
                | Reason::TcpHeader
                | Reason::UdpLength
                | Reason::IcmpHeader
        )
    );
    !cut_short || port != 0
}

/// The protocol's usual word; a number where there is none.
fn protocol_word(kind: u16, number: u8) -> String {
    let word = match kind {
        ethertype::ARP => "arp",
        // The header was not read, or says 0, which is an IPv6 option (RFC 8200 4.3).
        ethertype::IPV6 if number == 0 => "ipv6",
        ethertype::IPV4 | ethertype::IPV6 => match number {
            0 => "ipv4",
            protocol::ICMP => "icmp",
            protocol::TCP => "tcp",
            protocol::UDP => "udp",
            protocol::ICMPV6 => "icmpv6",
            protocol::IGMP => "igmp",
            47 => "gre",
            50 => "esp",
            51 => "ah",
            89 => "ospf",
            112 => "vrrp",
            protocol::SCTP => "sctp",
            other => return format!("ip/{other}"),
        },
        ethertype::LLDP => "lldp",
        ethertype::EAPOL => "eapol",
        ethertype::PTP => "ptp",
        // Below it the field is a length (IEEE 802.3-2018 3.2.6).
        0..ethertype::FIRST => "802.3",
        other => return format!("{other:#06x}"),
    };
    word.to_owned()
}

#[cfg(test)]
pub(super) mod tests;
