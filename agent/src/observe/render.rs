//! Joins an aggregate with names and wall-clock time: numbers in, a [`Violation`] out.

use std::{fmt::Write as _, net::IpAddr};

use bulkhead_common::{
    address::Address,
    reason::Reason,
    wire::{ethertype, mac, protocol},
};
use jiff::{SignedDuration, Timestamp};

use super::{Aggregate, Fold, Names, Sample, Tried, severity::severity};
use crate::{
    model::{Mac, Mode},
    record::{Action, End, Icmp, Scan, VERSION, Verdict, Violation},
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
    let Aggregate { ref key, packets, bytes, first_ns, last_ns, ref sample, ref fold } = *aggregate;
    let (scan, others) = match fold {
        Fold::Alike => (None, false),
        Fold::Scan(tried) => (Some(&**tried), false),
        Fold::Others => (None, true),
    };
    let to_one = scan.is_none_or(|tried| tried.hosts == 1);
    let one_service = scan.is_none_or(|tried| tried.ports == 1);
    let mixed = others || scan.is_some_and(|tried| tried.mixed);
    let reason = Reason::from_code(key.reason);
    let generation = key.generation;
    let criticality = names.criticality(generation, key.device);
    // A scan is as bad as what it does to the worst of the devices that it meets.
    let worst =
        scan.and_then(|tried| tried.devices.iter().filter_map(|id| names.criticality(generation, *id)).max());
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
    let impostor = scan.map_or(is_impostor(reason), |tried| {
        tried.reasons.iter().any(|code| is_impostor(Reason::from_code(*code)))
    });
    let sender = if impostor && !others {
        names.device_of_mac(generation, mac::from_octets(key.source_mac))
    } else {
        names.device(generation, key.source_device).or_else(|| network(key.source))
    };
    let receiver = names.device(generation, key.destination_device).or_else(|| network(key.destination));
    let receiver = receiver.filter(|_| to_one);
    let is_ip = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6);
    let transport = is_ip && !mixed && one_service && has_transport(reason, key.port);
    let with_ports = transport && matches!(key.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let is_icmp = protocol::is_icmp(key.protocol);
    let [kind, code] = key.port.to_be_bytes();
    let keyed = with_ports.then_some(key.port);
    let other = sample.as_ref().map(|sample| sample.other_port);
    let other = other.filter(|port| with_ports && *port != 0 && scan.is_none());
    let answer = with_ports && key.answer != 0;
    let (source_port, destination_port) = if answer { (keyed, other) } else { (other, keyed) };
    Violation {
        v: VERSION,
        time: rfc3339(clock.at(last_ns)),
        first: rfc3339(clock.at(first_ns)),
        gateway: teller.gateway.clone(),
        boot: teller.boot.clone(),
        seq,
        severity: severity(reason, key.dropped != 0, worst.or(criticality)),
        revision: names.revision(generation).map(str::to_owned),
        device: names.device(generation, key.device),
        criticality: criticality.map(|criticality| criticality.name().to_owned()),
        mode: Mode::from_code(key.mode),
        verdict: Verdict::Deny,
        action: if key.dropped == 0 { Action::Passed } else { Action::Dropped },
        reason: reason.map_or_else(|| format!("code-{}", key.reason), |r| r.name().to_owned()),
        explanation: explanation(reason, scan),
        source: End {
            name: sender,
            mac: (!others).then(|| Mac(key.source_mac).to_string()),
            ip: ip(key.source),
            port: source_port,
        },
        destination: End {
            name: receiver,
            mac: (!others && to_one).then(|| Mac(key.destination_mac).to_string()),
            ip: ip(key.destination).filter(|_| to_one),
            port: destination_port,
        },
        protocol: if mixed { "mixed".to_owned() } else { protocol_word(key.ethertype, key.protocol) },
        icmp: (transport && is_icmp).then_some(Icmp { r#type: kind, code }),
        vlan: Some(key.vlan).filter(|vlan| *vlan != 0),
        inner_vlan: Some(key.inner_vlan).filter(|vlan| *vlan != 0),
        interface: names.interface(key.ifindex),
        answer,
        others,
        scan: scan.map(counts),
        packet: sample.as_deref().map(Sample::bytes).filter(|bytes| !bytes.is_empty()).map(hex),
        count: packets,
        bytes,
    }
}

fn counts(tried: &Tried) -> Scan {
    let Tried { hosts, ports, devices, at_least, reasons: _, mixed: _ } = tried;
    let devices = u64::try_from(devices.len()).unwrap_or(u64::MAX);
    Scan { hosts: *hosts, ports: *ports, devices, at_least: *at_least }
}

fn explanation(reason: Option<Reason>, scan: Option<&Tried>) -> String {
    let text = reason.map_or("a reason this agent does not know", Reason::text);
    match scan {
        Some(_) => format!("one source tries many targets; most often: {text}"),
        None => text.to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Nothing fails that writes to memory.
        let _ = write!(text, "{byte:02x}");
        text
    })
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
