//! Which conversation a record tells of, in the words of `why`; or why no rule is the answer to it.

use bulkhead_common::{
    reason::Reason,
    wire::{ethertype, icmp, protocol},
};
use ipnet::IpNet;

use crate::{
    model::{Policy, Selector, pseudo},
    policy::{Remedy, called},
    record::{End, Violation},
};

/// Ports from here on are what clients ask from (RFC 6335 6 begins a little later, Linux here).
const EPHEMERAL: u16 = 32_768;

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant<'r> {
    /// Packets that a rule could allow.
    Conversation(Conversation<'r>),
    /// Packets of one of the two, whichever a rule allows: its beginning was not seen or is forgotten.
    Either([Conversation<'r>; 2]),
    /// Something else, and what to do about it.
    Nothing(String),
}

/// A conversation that a rule could allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conversation<'r> {
    /// Who starts it, as `why` is asked.
    pub(super) from: String,
    /// Who answers.
    pub(super) to: String,
    /// Over what.
    pub(super) service: String,
    /// The two ends.
    pub(super) ends: [&'r End; 2],
    /// Why it is not the one that the packets seem to begin.
    pub(super) note: Option<String>,
}

/// Understands a record.
pub(super) fn meant<'r>(record: &'r Violation, policy: &Policy) -> Meant<'r> {
    let Some(reason) = Reason::ALL.iter().copied().find(|reason| reason.name() == record.reason) else {
        return nothing("its reason is one that this agent does not know");
    };
    if record.scan.is_some() {
        return nothing("it is a scan: somebody tries what there is, and no rule should let him");
    }
    if record.others {
        return nothing(
            "it stands for many that were too different to tell apart: none of them can be named",
        );
    }
    let of = |way| conversation(record, policy, way);
    let found = match Remedy::of(reason) {
        Remedy::Rule if is_answer(record) => of(Way::Back),
        Remedy::Rule => of(Way::There),
        Remedy::Flow if is_answer(record) => of(Way::Back),
        Remedy::Flow => match (of(Way::There), of(Way::Back)) {
            (Ok(there), Ok(back)) => return Meant::Either([there, back]),
            (found, Err(_)) | (Err(_), found) => found,
        },
        Remedy::Other(why) => return Meant::Nothing(with_command(why, record)),
    };
    match found {
        Ok(conversation) => Meant::Conversation(conversation),
        Err(why) => nothing(why),
    }
}

/// Whether the packets go the way of the conversation that they belong to, or answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

/// The conversation that the packets belong to if they go this way; or why no rule can name it.
fn conversation<'r>(
    record: &'r Violation,
    policy: &Policy,
    way: Way,
) -> Result<Conversation<'r>, &'static str> {
    let Violation { source, destination, icmp, .. } = record;
    let kind = icmp.map(|icmp| icmp.r#type);
    let (ends, port, kind) = match way {
        Way::There => ([source, destination], destination.port, kind),
        Way::Back => ([destination, source], source.port, kind.and_then(|reply| request_of(record, reply))),
    };
    let selector = selector(record, port, kind)
        .ok_or("a rule names services, and what these packets carry is none that can be named")?;
    let [Some(from), Some(to)] = ends.map(|end| word(end, policy)) else {
        return Err(
            "a rule names ends by device or address, and one end here has neither: make it a device by its hardware address first",
        );
    };
    let both_of_clients =
        [source, destination].iter().all(|end| end.port.is_some_and(|port| port >= EPHEMERAL));
    let note = match way {
        Way::Back => Some("its packets are answers: the conversation is the one that they answer".to_owned()),
        Way::There if both_of_clients => source.port.map(|port| {
            format!(
                "both its ports are such as clients use: if these packets are answers, ask for {to} -> {from} {}/{port}",
                record.protocol
            )
        }),
        Way::There => None,
    };
    Ok(Conversation { from, to, service: called(policy, selector), ends, note })
}

/// In monitor mode what is not allowed is answered, and the answers are told of as well.
fn is_answer(record: &Violation) -> bool {
    record.answer || record.icmp.is_some_and(|icmp| request_of(record, icmp.r#type).is_some())
}

/// The type of the ICMP message that a reply of this type answers.
fn request_of(record: &Violation, reply: u8) -> Option<u8> {
    let protocol = if record.protocol == "icmp" { protocol::ICMP } else { protocol::ICMPV6 };
    icmp::request_of(protocol, reply)
}

fn nothing(why: &str) -> Meant<'static> {
    Meant::Nothing(why.to_owned())
}

/// The advice, with the device that it is about.
fn with_command(advice: &str, record: &Violation) -> String {
    match &record.device {
        Some(device) => advice.replace("DEVICE", device),
        None => advice.to_owned(),
    }
}

/// What a rule would have to name.
fn selector(record: &Violation, port: Option<u16>, kind: Option<u8>) -> Option<Selector> {
    let one = |protocol: u8, at: u16| Some(Selector { protocol, low: at, high: at });
    let whole = |protocol: u8| Some(Selector { protocol, low: 0, high: u16::MAX });
    let frame = |kind: u16| one(pseudo::ETHERTYPE, kind);
    let icmp = |protocol: u8| one(protocol, u16::from(kind?) << 8);
    match record.protocol.as_str() {
        "tcp" => one(protocol::TCP, port?),
        "udp" => one(protocol::UDP, port?),
        "sctp" => one(protocol::SCTP, port?),
        "icmp" => icmp(protocol::ICMP),
        "icmpv6" => icmp(protocol::ICMPV6),
        "igmp" => whole(protocol::IGMP),
        "gre" => whole(47),
        "esp" => whole(50),
        "ah" => whole(51),
        "ospf" => whole(89),
        "vrrp" => whole(112),
        "lldp" => frame(ethertype::LLDP),
        "eapol" => frame(ethertype::EAPOL),
        "ptp" => frame(ethertype::PTP),
        other => match other.split_once('/') {
            Some(("ip", number)) => whole(number.parse().ok()?),
            Some(_) => None,
            None => frame(u16::from_str_radix(other.strip_prefix("0x")?, 16).ok()?),
        },
    }
}

/// An end as a rule would name it, and no more than it: a wider network that has a name is not asked for.
fn word(end: &End, policy: &Policy) -> Option<String> {
    let device = end.name.as_ref().filter(|name| policy.device(name).is_some());
    if let Some(name) = device.or(end.name.as_ref().filter(|name| *name == "gateway")) {
        return Some(name.clone());
    }
    let address = end.ip?;
    let alone = IpNet::from(address);
    let network = policy.networks.iter().find(|one| one.cidrs == [alone] && one.names.is_empty());
    Some(network.map_or_else(|| address.to_string(), |network| network.name.clone()))
}
