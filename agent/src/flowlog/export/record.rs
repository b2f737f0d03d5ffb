//! One exported record becomes one or two directions of a conversation, with times since 1970.

use bulkhead_common::wire::{icmp, protocol, pseudo};
use netflow_parser::static_versions::v5;

use super::fields::{Direction, Fields, Moment};
use crate::{
    flowlog::MOST_SECONDS,
    traffic::{End, Service},
};

/// ms of the year 2200.
const YEAR_2200: i64 = 7_258_118_400_000;

/// When a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// ms since 1970.
    pub(super) at: i64,
    /// ms since the exporter started, of which 32 bits are told: NetFlow alone tells it.
    pub(super) uptime: Option<u32>,
    /// When the exporter started, ms since 1970: IPFIX tells it now and then.
    pub(super) started: Option<i64>,
}

/// What was sent from one end to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) protocol: u8,
    /// Of who sends, and of who receives; 0 of what has none.
    pub(super) ports: [u16; 2],
    /// What a rule would name where it is not a port: type and code of ICMP, the EtherType.
    pub(super) number: Option<u16>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// ms since 1970.
    pub(super) first: i64,
    /// ms since 1970.
    pub(super) last: i64,
    /// All TCP control bits that were seen; none where the exporter does not look at them.
    pub(super) flags: Option<u8>,
    /// Whether the exporter says that the sender began.
    pub(super) begins: Option<bool>,
}

impl Part {
    /// Whether it has ports.
    pub(super) fn is_ported(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
    }

    /// The service if the receiver is who answers.
    pub(super) fn service(&self, port: u16) -> Service {
        let number = self.number.unwrap_or(if self.is_ported() { port } else { 0 });
        Service { protocol: self.protocol, number }
    }
}

/// Why a record is no part of a conversation.
pub(super) type Why = &'static str;

impl Sent {
    /// ms since 1970 of a moment in whatever form; none where it is not told.
    fn moment(&self, told: Moment) -> Option<i64> {
        if let Some(at) = told.absolute {
            return Some(at);
        }
        if let Some(before) = told.before {
            return Some(self.at.saturating_sub(i64::try_from(before / 1000).unwrap_or(i64::MAX)));
        }
        let moment = told.uptime?;
        match (self.uptime, self.started) {
            // The counter begins anew every 49.7 days: what is told is less than half of that away.
            #[allow(clippy::cast_possible_wrap, reason = "the difference of two moments on a circle")]
            (Some(uptime), _) => Some(self.at - i64::from(uptime.wrapping_sub(moment) as i32)),
            (None, Some(started)) => {
                // As often around as the message was sent.
                let whole = self.at.saturating_sub(started);
                let low = u32::try_from(whole.rem_euclid(1 << 32)).unwrap_or_default();
                #[allow(clippy::cast_possible_wrap, reason = "the difference of two moments on a circle")]
                let ago = i64::from(low.wrapping_sub(moment) as i32);
                Some(self.at - ago)
            }
            (None, None) => None,
        }
    }

    /// From when to when, ms since 1970.
    fn times(&self, fields: &Fields, way: &Direction) -> Result<(i64, i64), Why> {
        let lasted = fields.lasted.and_then(|ms| i64::try_from(ms).ok());
        let told = (self.moment(way.start), self.moment(way.end));
        let between = match (way.start.uptime, way.end.uptime) {
            (Some(start), Some(end)) => i64::from(end.wrapping_sub(start)),
            _ => lasted.unwrap_or(0),
        };
        let (first, last) = match told {
            (Some(first), Some(last)) => (first.min(last), last),
            (Some(first), None) => (first, first.saturating_add(between)),
            (None, Some(last)) => (last.saturating_sub(between), last),
            // The exporter does not say when: when it sent, and how long it took, is known.
            (None, None) => (self.at.saturating_sub(between), self.at),
        };
        #[allow(clippy::cast_possible_truncation, reason = "a year in ms")]
        let most = MOST_SECONDS as i64 * 1000;
        if !(0..YEAR_2200).contains(&first) || !(0..YEAR_2200).contains(&last) || last - first > most {
            return Err("its times are none between 1970 and 2200, or longer than a year");
        }
        Ok((first, last))
    }
}

/// The parts of a record: its direction, and the way back where that is told with it.
pub(super) fn parts(fields: &Fields, sent: &Sent) -> Result<(Part, Option<Part>), Why> {
    let (ends, protocol, ports, number) = who(fields)?;
    let [there, back] = &fields.ways;
    let begins = match fields.biflow {
        Some(1) => Some(true),
        Some(2) => Some(false),
        Some(_) | None => None,
    };
    let part = |way: &Direction, backward: bool| -> Result<Part, Why> {
        // The way back has the times of the flow where it has none of its own.
        let own = if way.start == Moment::default() && way.end == Moment::default() { there } else { way };
        let (first, last) = sent.times(fields, own)?;
        let side = usize::from(backward);
        // No flag at all was seen of TCP: nobody looked.
        let flags = way.flags.filter(|flags| protocol == protocol::TCP && *flags != 0);
        Ok(Part {
            from: ends[side],
            to: ends[1 - side],
            protocol,
            ports: [ports[side], ports[1 - side]],
            number: if backward { number.map(|number| reply(protocol, number)) } else { number },
            packets: way.packets.unwrap_or(0),
            bytes: way.bytes.unwrap_or(0),
            first,
            last,
            flags,
            begins: begins.map(|begins| begins != backward),
        })
    };
    if !there.is_told() && !back.is_told() {
        return Err("it counts no packets");
    }
    let forward = part(there, false)?;
    let backward = back.is_told().then(|| part(back, true)).transpose()?;
    Ok((forward, backward))
}

/// The ends of a record, the protocol, the ports, and the number where it is no port.
#[allow(clippy::type_complexity, reason = "it is taken apart at once")]
fn who(fields: &Fields) -> Result<([End; 2], u8, [u16; 2], Option<u16>), Why> {
    let [Some(source), Some(destination)] = fields.addresses else {
        let ([Some(source), Some(destination)], Some(ethertype)) = (fields.macs, fields.ethertype) else {
            return Err("it does not name both ends");
        };
        if matches!(ethertype, 0x0800 | 0x86dd) {
            return Err("it does not name both ends");
        }
        let ends = [source, destination].map(End::hardware);
        return Ok((ends, pseudo::ETHERTYPE, [0; 2], Some(ethertype)));
    };
    if source.is_ipv4() != destination.is_ipv4() {
        return Err("its ends have addresses of two families");
    }
    let protocol = fields.protocol.ok_or("it does not name the protocol")?;
    let ports = fields.ports.map(|port| port.unwrap_or(0));
    let is_icmp = protocol::is_icmp(protocol);
    // Older exporters have type and code in the port.
    let apart = fields.icmp_type.map(|kind| u16::from_be_bytes([kind, fields.icmp_code.unwrap_or(0)]));
    let number = is_icmp.then(|| apart.or(fields.icmp).unwrap_or(ports[1]));
    if let Some(number) = number
        && icmp::is_error(protocol, number.to_be_bytes()[0])
    {
        return Err("it is an ICMP error about another flow");
    }
    let ports = if is_icmp { [0; 2] } else { ports };
    Ok(([source, destination].map(End::at), protocol, ports, number))
}

/// Type and code of what answers.
fn reply(protocol: u8, number: u16) -> u16 {
    let [kind, _] = number.to_be_bytes();
    let reply = (0..=u8::MAX).find(|reply| icmp::request_of(protocol, *reply) == Some(kind));
    reply.map_or(number, |reply| u16::from(reply) << 8)
}

/// The fields of a record of version 5.
pub(super) fn v5(record: &v5::FlowSet) -> Fields {
    let way = Direction {
        packets: Some(record.d_pkts.into()),
        bytes: Some(record.d_octets.into()),
        flags: Some(record.tcp_flags),
        start: Moment { uptime: Some(record.first), ..Moment::default() },
        end: Moment { uptime: Some(record.last), ..Moment::default() },
    };
    Fields {
        addresses: [Some(record.src_addr.into()), Some(record.dst_addr.into())],
        protocol: Some(record.protocol_number),
        ports: [Some(record.src_port), Some(record.dst_port)],
        ways: [way, Direction::default()],
        ..Fields::default()
    }
}
