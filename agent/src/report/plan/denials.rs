//! What is denied and passes today, because no end of it enforces: under the new policy, would it be dropped? Each kind of
//! packet that the agent remembers meets the new tables, as far as its verdict is a matter of tables; what is wrong with a
//! packet by itself stays wrong, and only the modes decide.
//!
//! In: both policies, and what the agent remembers. Out: what would be dropped from now on, and of what was not kept the
//! counts, for the devices that newly enforce.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use bulkhead_common::{
    address::Address,
    decide::{Action, Decision, Verdict, decide},
    layout::{SegmentRow, ViolationKey},
    lookup::shape,
    parse::{Kind, Packet},
    reason::Reason,
    wire::{EPHEMERAL_PORTS, ethertype, mac, protocol, tcp},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Listed, Side, World, flows};
use crate::{
    compile::{Host, Memory, Placed, Supposed},
    model::{Criticality, Mac, Selector, spelled},
};

/// Packets that were denied and passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDenial {
    /// The packet. Its ids are the kernel's: `ends` says whose they are.
    pub key: ViolationKey,
    /// The device they were counted for, the sending and the receiving one: names in the old policy.
    pub ends: [Option<String>; 3],
    /// What sender and receiver are called: a device, `gateway` or a network.
    pub names: [Option<String>; 2],
    /// Where they arrived.
    pub segment: SegmentRow,
    /// The port that `key` leaves out, of one of them; 0 when it is not known.
    pub other_port: u16,
    /// How many.
    pub packets: u64,
    /// For how long there was none.
    pub idle: Duration,
    /// How long ago the first was.
    pub age: Duration,
}

/// Denied packets of which only the count is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCount {
    /// The device they were counted for, by its name in the old policy.
    pub device: String,
    /// [`Reason`] as a byte.
    pub reason: u8,
    /// How many.
    pub packets: u64,
}

/// What the agent remembers of denied packets.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// What passed.
    pub passed: Vec<KnownDenial>,
    /// What was not kept, because there was no room or it was before the agent began.
    pub uncounted: Vec<KnownCount>,
    /// For how long the agent remembers at all.
    pub remembered: Duration,
    /// Denied packets that were told to nobody since.
    pub lost: u64,
}

/// Denied packets that pass today and would be dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Who sends them: a device, `gateway` or a network; nothing known otherwise.
    pub from: Option<String>,
    /// Its address; its hardware address where frames have no other.
    pub from_address: String,
    /// To whom.
    pub to: Option<String>,
    /// Its address.
    pub to_address: String,
    /// Like `tcp/502`; of what looks like a server's answer `answer from tcp/502`.
    pub service: String,
    /// How many.
    pub packets: u64,
    /// For how many seconds there was none.
    pub idle_seconds: u64,
    /// How many seconds ago the first was.
    pub first_seconds: u64,
    /// How much harm a stop of the more critical end does.
    pub criticality: Option<String>,
    /// The word for why it would be denied.
    pub reason: String,
    /// The same as a sentence.
    pub explanation: String,
}

/// Denied packets of a device of which the agent does not know who sent them, or when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncounted {
    /// Its name.
    pub device: String,
    /// How many, by the word of the reason.
    pub packets: BTreeMap<String, u64>,
}

/// What is denied and passes, and would be dropped.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Denials {
    /// Devices that newly enforce, sorted.
    pub enforcing: Listed<String>,
    /// Kinds of packets that were looked at.
    pub looked_at: usize,
    /// What would be dropped.
    pub drop: Listed<Drops>,
    /// What may be dropped besides.
    pub unknown: Listed<Uncounted>,
    /// For how many seconds the agent remembers.
    pub remembered_seconds: u64,
    /// Denied packets that were told to nobody since.
    pub lost: u64,
}

/// Both policies where every packet is judged alike.
struct Places<'a> {
    row: SegmentRow,
    hosts: [Host<'a>; 2],
}

impl<'a> Places<'a> {
    fn new(row: SegmentRow, (old, new): (&Side<'a>, &Side<'a>), world: &World, now: Timestamp) -> Self {
        let hosts = [old, new].map(|side| {
            let placed =
                Placed { deadlines: side.tables.deadlines_as_of(now, now), ..flows::placed(world, row) };
            let mut host = Host::new(side.tables, placed);
            host.set_now(world.now);
            host.adopt(Memory { leases: world.leases.clone(), ..Memory::default() }, 1);
            host
        });
        Self { row, hosts }
    }

    fn reschedule(&mut self, (old, new): (&Side<'a>, &Side<'a>), then: Timestamp, now: Timestamp) {
        let [before, after] = &mut self.hosts;
        before.reschedule(old.tables.deadlines_as_of(then, now));
        after.reschedule(new.tables.deadlines_as_of(then, now));
    }

    fn holds(&self, row: SegmentRow) -> bool {
        SegmentRow { segment: row.segment, ..self.row } == row
    }
}

pub(super) fn judge(
    (old, new): (&Side<'_>, &Side<'_>),
    past: &Past,
    world: &World,
    now: Timestamp,
    most: usize,
) -> Denials {
    let enforcing = newly_enforcing(old, new);
    let place = |row: &SegmentRow| Places::new(*row, (old, new), world, now);
    let mut hosts: Vec<Places<'_>> = world.segments.iter().map(place).collect();
    let mut passed: Vec<&KnownDenial> = past.passed.iter().collect();
    let timed = !old.tables.schedules.is_empty() || !new.tables.schedules.is_empty();
    if timed {
        passed.sort_by_key(|one| flows::minute(now, one.idle));
    }
    let mut then = now;
    let mut found: Vec<(Option<Criticality>, &KnownDenial, Reason)> = Vec::new();
    for one in passed {
        let seen = flows::minute(now, one.idle);
        if timed && seen != then {
            then = seen;
            hosts.iter_mut().for_each(|place| place.reschedule((old, new), then, now));
        }
        let place = hosts.iter().find(|place| place.holds(one.segment)).or(hosts.first());
        let Some(reason) = place.and_then(|place| would_be_dropped(one, (old, new), place)) else { continue };
        let ends = one.ends.iter().flatten().filter_map(|name| new.policy.device(name));
        found.push((ends.map(|(_, device)| device.criticality).max(), one, reason));
    }
    found.sort_by_key(|(criticality, one, _)| (Reverse(*criticality), one.idle, one.key, one.age));
    let total = found.len();
    let told = found.into_iter().take(most).map(|(criticality, one, reason)| said(criticality, one, reason));
    let drop: Vec<Drops> = told.collect();
    let mut unknown: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    for KnownCount { device, reason, packets } in &past.uncounted {
        let word = |code| Reason::from_code(code).map_or_else(|| format!("code-{code}"), |r| r.name().into());
        if enforcing.contains(device.as_str()) {
            *unknown.entry(device).or_default().entry(word(*reason)).or_default() += packets;
        }
    }
    let unknown = unknown.into_iter().map(|(device, packets)| Uncounted { device: device.into(), packets });
    Denials {
        enforcing: Listed::of(enforcing.into_iter().map(str::to_owned).collect(), most),
        looked_at: past.passed.len(),
        drop: Listed { more: total - drop.len(), list: drop },
        unknown: Listed::of(unknown.collect(), most),
        remembered_seconds: past.remembered.as_secs(),
        lost: past.lost,
    }
}

/// Devices that enforce under the new policy and not under the old one.
fn newly_enforcing<'p>(old: &Side<'_>, new: &Side<'p>) -> BTreeSet<&'p str> {
    let before = |name: &str| old.policy.device(name).is_some_and(|(_, device)| device.mode.enforces());
    let devices = new.policy.devices.iter().filter(|device| device.mode.enforces() && !before(&device.name));
    devices.map(|device| device.name.as_str()).collect()
}

/// Why a packet that passes today would be dropped, if it would.
fn would_be_dropped(
    one: &KnownDenial,
    (old, new): (&Side<'_>, &Side<'_>),
    place: &Places<'_>,
) -> Option<Reason> {
    let was = Reason::from_code(one.key.reason)?;
    let Some(packet) = again(one, was) else {
        return by_mode(one, was, (old, new)).then_some(was);
    };
    let drops = |decision: &Decision| decision.action == Action::Drop;
    let [before, after] = &place.hosts;
    let ask = |rules| decide(&packet, &Supposed { rules, segment: one.segment.segment, leases: [None; 2] });
    let decision = ask(after);
    match decision.verdict {
        // The answer to what the new rules let the other end ask: it comes with the question.
        Verdict::Deny(Reason::NoFlow) if was != Reason::NoFlow => None,
        Verdict::Deny(reason) => (drops(&decision) && !drops(&ask(before))).then_some(reason),
        Verdict::Allow(_) => None,
    }
}

/// Whether only the ends' modes let it pass, and the new ones do not.
fn by_mode(one: &KnownDenial, reason: Reason, (old, new): (&Side<'_>, &Side<'_>)) -> bool {
    let enforced = |side: &Side<'_>| {
        let devices = one.ends.iter().flatten().filter_map(|name| side.policy.device(name));
        let group = mac::from_octets(one.key.destination_mac) & mac::GROUP != 0;
        let unmanaged = one.ends.iter().all(Option::is_none);
        let everybody = (group || unmanaged) && concerns_everybody(reason);
        let managed = devices.into_iter().any(|(_, device)| device.mode.enforces());
        managed || (everybody && side.tables.shapes & shape::ENFORCING != 0)
    };
    enforced(new) && !enforced(old)
}

/// Whether it attacks what stands between every device and the rest.
fn concerns_everybody(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::RogueRouter
            | Reason::RogueDhcp
            | Reason::Redirect
            | Reason::SourceMacMismatch
            | Reason::ArpSenderMismatch
            | Reason::NdMismatch
            | Reason::AddressConflict
    )
}

/// The packet, where the tables and what is known of it decide about it.
fn again(one: &KnownDenial, reason: Reason) -> Option<Packet> {
    let by_tables = matches!(
        reason,
        Reason::SourceAddressMismatch
            | Reason::SourceMacMismatch
            | Reason::DestinationMismatch
            | Reason::WrongVlan
            | Reason::WrongSegment
            | Reason::Quarantined
            | Reason::NoRule
            | Reason::UnknownPeer
            | Reason::ServiceNotAllowed
            | Reason::WrongDirection
            | Reason::NoFlow
            | Reason::IpProtocol
            | Reason::Ethertype
            | Reason::InfrastructureOff
            | Reason::Unmanaged
            | Reason::OutsideSchedule
    );
    let ViolationKey { ethertype: kind, protocol: number, port, .. } = one.key;
    let (source_port, destination_port) = ports(one);
    // ARP and neighbour discovery carry claims that nobody kept (RFC 4861 4: types 133 to 137).
    let [icmp_type, _] = port.to_be_bytes();
    let claims = kind == ethertype::ARP
        || (kind == ethertype::IPV6 && number == protocol::ICMPV6 && (133..=137).contains(&icmp_type));
    if !by_tables || claims {
        return None;
    }
    let icmp = protocol::is_icmp(number);
    Some(Packet {
        len: 60,
        kind: if matches!(kind, ethertype::IPV4 | ethertype::IPV6) { Kind::Ip } else { Kind::Other },
        ethertype: kind,
        vlan: one.key.vlan,
        inner_vlan: one.key.inner_vlan,
        source_mac: mac::from_octets(one.key.source_mac),
        destination_mac: mac::from_octets(one.key.destination_mac),
        source: one.key.source,
        destination: one.key.destination,
        protocol: number,
        hops: 64,
        source_port,
        destination_port,
        service_port: if icmp { port } else { destination_port },
        icmp_type: if icmp { icmp_type } else { 0 },
        // In the middle of a conversation: it may be a question or an answer.
        tcp_flags: if number == protocol::TCP { tcp::ACK } else { 0 },
        ..Packet::EMPTY
    })
}

/// Source and destination port; of ICMP the identifier is both.
fn ports(one: &KnownDenial) -> (u16, u16) {
    let KnownDenial { key, other_port: other, .. } = *one;
    if protocol::is_icmp(key.protocol) {
        return (other, other);
    }
    match (key.answer, other) {
        (0, other) => (other, key.port),
        // Nobody told of the client's port: it is one of those that clients have.
        (_, 0) => (key.port, EPHEMERAL_PORTS),
        (_, other) => (key.port, other),
    }
}

fn said(criticality: Option<Criticality>, one: &KnownDenial, reason: Reason) -> Drops {
    let KnownDenial { key, names: [from, to], packets, idle, age, .. } = one;
    let is_ip = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6);
    let address = |address: Address, own: [u8; 6]| match key.ethertype {
        // What stands for an IPv4 address is shown as it was sent.
        ethertype::IPV6 => IpAddr::from(address.octets()).to_string(),
        ethertype::IPV4 | ethertype::ARP => IpAddr::from(address).to_string(),
        _ => Mac(own).to_string(),
    };
    let service = if is_ip {
        let service = spelled(Selector { protocol: key.protocol, low: key.port, high: key.port });
        if key.answer == 0 { service } else { format!("answer from {service}") }
    } else if key.ethertype == ethertype::ARP {
        "arp".to_owned()
    } else {
        format!("ethertype {:#06x}", key.ethertype)
    };
    Drops {
        from: from.clone(),
        from_address: address(key.source, key.source_mac),
        to: to.clone(),
        to_address: address(key.destination, key.destination_mac),
        service,
        packets: *packets,
        idle_seconds: idle.as_secs(),
        first_seconds: age.as_secs(),
        criticality: criticality.map(|c| c.name().to_owned()),
        reason: reason.name().to_owned(),
        explanation: reason.text().to_owned(),
    }
}
