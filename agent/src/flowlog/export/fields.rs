//! The fields of an exported record that say something of a flow, by the numbers that IANA gives them; of RFC 3954 and RFC 7011 alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netflow_parser::{
    FieldValue, V9Field,
    variable_versions::ipfix::lookup::{
        IANAIPFixField as Iana, IPFixField, ReverseInformationElement as Back,
    },
};

use crate::model::Mac;

/// Seconds between 1900, where the clock of NTP begins (RFC 5905 6), and 1970.
const NTP: i64 = 2_208_988_800;

/// What one direction of a record counts and bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Direction {
    /// Since the last record of this flow; where they are not told, since it began.
    pub(super) packets: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) flags: Option<u8>,
    pub(super) start: Moment,
    pub(super) end: Moment,
}

/// A time in the forms in which it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// ms since 1970.
    pub(super) absolute: Option<i64>,
    /// ms since the exporter started, of which 32 bits are told.
    pub(super) uptime: Option<u32>,
    /// Microseconds before the message was sent.
    pub(super) before: Option<u64>,
}

/// Fields of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) addresses: [Option<IpAddr>; 2],
    pub(super) macs: [Option<Mac>; 2],
    pub(super) ethertype: Option<u16>,
    pub(super) protocol: Option<u8>,
    pub(super) ports: [Option<u16>; 2],
    /// `type << 8 | code`, as one field.
    pub(super) icmp: Option<u16>,
    pub(super) icmp_type: Option<u8>,
    pub(super) icmp_code: Option<u8>,
    /// From the source to the destination, and back (RFC 5103).
    pub(super) ways: [Direction; 2],
    /// ms.
    pub(super) lasted: Option<u64>,
    /// When the exporter started, ms since 1970.
    pub(super) started: Option<i64>,
    /// Of RFC 5103 6.3: 1 says that the source began, 2 that the destination did.
    pub(super) biflow: Option<u8>,
    /// One packet of so many is looked at.
    pub(super) sampled: Option<u64>,
    /// Packets that are looked at, and left out, by turns (RFC 5477).
    pub(super) sampled_by_turns: [Option<u64>; 2],
}

impl Fields {
    pub(super) fn v9(pairs: &[(V9Field, FieldValue)]) -> Self {
        let mut fields = Self::default();
        let mut bytes = Vec::new();
        for (field, value) in pairs {
            fields.take((*field).into(), raw(value, &mut bytes));
        }
        fields
    }

    pub(super) fn ipfix(pairs: &[(IPFixField, FieldValue)]) -> Self {
        let mut fields = Self::default();
        let mut bytes = Vec::new();
        for (field, value) in pairs {
            let bytes = raw(value, &mut bytes);
            #[allow(
                clippy::wildcard_enum_match_arm,
                reason = "of some thousand fields these say something of a flow"
            )]
            match field {
                IPFixField::IANA(field) => {
                    if let Some(id) = iana(*field) {
                        fields.take(id, bytes);
                    }
                }
                IPFixField::ReverseInformationElement(field) => {
                    if let Some(id) = back(*field) {
                        fields.ways[1].take(id, bytes);
                    }
                }
                _ => {}
            }
        }
        fields
    }

    /// Takes one field by its number.
    fn take(&mut self, id: u16, bytes: &[u8]) {
        let whole = || number(bytes);
        let word = || number(bytes).and_then(|number| u16::try_from(number).ok());
        let byte = || number(bytes).and_then(|number| u8::try_from(number).ok());
        match id {
            4 => self.protocol = byte(),
            7 => self.ports[0] = word(),
            11 => self.ports[1] = word(),
            8 | 27 => fill(&mut self.addresses[0], address(bytes)),
            12 | 28 => fill(&mut self.addresses[1], address(bytes)),
            32 | 139 => self.icmp = word().filter(|both| *both != 0).or(self.icmp),
            176 | 178 => self.icmp_type = byte(),
            177 | 179 => self.icmp_code = byte(),
            34 | 50 => self.sampled = whole(),
            305 => self.sampled_by_turns[0] = whole(),
            306 => self.sampled_by_turns[1] = whole(),
            56 => self.macs[0] = bytes.try_into().ok().map(Mac),
            80 => self.macs[1] = bytes.try_into().ok().map(Mac),
            160 => self.started = whole().and_then(|ms| i64::try_from(ms).ok()),
            161 => self.lasted = whole(),
            239 => self.biflow = byte(),
            256 => self.ethertype = word(),
            // What the responder sent, in records that have both directions without RFC 5103.
            231 => self.ways[0].bytes = whole(),
            232 => self.ways[1].bytes = whole(),
            298 => self.ways[0].packets = whole(),
            299 => self.ways[1].packets = whole(),
            _ => self.ways[0].take(id, bytes),
        }
    }
}

impl Direction {
    fn take(&mut self, id: u16, bytes: &[u8]) {
        let whole = || number(bytes);
        match id {
            1 => self.bytes = whole(),
            2 => self.packets = whole(),
            // Totals since the flow began are counted once where the other is told as well.
            85 => self.bytes = self.bytes.or_else(whole),
            86 => self.packets = self.packets.or_else(whole),
            // The low byte has all of the bits that matter here; some exporters send two bytes (RFC 7125).
            6 => self.flags = bytes.last().copied(),
            22 => self.start.uptime = whole().and_then(|ms| u32::try_from(ms).ok()),
            21 => self.end.uptime = whole().and_then(|ms| u32::try_from(ms).ok()),
            150 => fill(&mut self.start.absolute, whole().and_then(seconds)),
            151 => fill(&mut self.end.absolute, whole().and_then(seconds)),
            152 => self.start.absolute = whole().and_then(|ms| i64::try_from(ms).ok()),
            153 => self.end.absolute = whole().and_then(|ms| i64::try_from(ms).ok()),
            154 | 156 => self.start.absolute = whole().map(ntp),
            155 | 157 => self.end.absolute = whole().map(ntp),
            158 => self.start.before = whole(),
            159 => self.end.before = whole(),
            _ => {}
        }
    }

    /// Whether it counts or bounds anything.
    pub(super) fn is_told(&self) -> bool {
        self.packets.is_some_and(|packets| packets > 0) || self.bytes.is_some_and(|bytes| bytes > 0)
    }
}

/// The bytes of a value as they were sent.
fn raw<'b>(value: &FieldValue, into: &'b mut Vec<u8>) -> &'b [u8] {
    into.clear();
    // A value that cannot be written again says nothing.
    if value.write_be_bytes(into).is_err() {
        into.clear();
    }
    into
}

/// Bytes that a value has taken at most: what is of any length has its own in front (RFC 7011 7).
pub(super) fn taken(value: &FieldValue) -> usize {
    let length = if matches!(value, FieldValue::String(_) | FieldValue::Vec(_)) { 3 } else { 0 };
    value.byte_len() + length
}

/// A number of any length that fits (RFC 7011 6.2: leading zeros may be left out).
fn number(bytes: &[u8]) -> Option<u64> {
    let significant = bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &bytes[at..]);
    let fits = !bytes.is_empty() && significant.len() <= 8;
    fits.then(|| significant.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(Ipv4Addr::from(v4))).filter(|address| !address.is_unspecified());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(Ipv6Addr::from(v6))).filter(|address| !address.is_unspecified())
}

/// Records have fields of both families at times, and nothing in one of them.
fn fill<T>(place: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *place = value;
    }
}

fn seconds(seconds: u64) -> Option<i64> {
    i64::try_from(seconds).ok()?.checked_mul(1000)
}

/// ms since 1970 of the timestamp of NTP (RFC 7011 6.1.9, 6.1.10).
fn ntp(stamp: u64) -> i64 {
    let (seconds, fraction) = (stamp >> 32, stamp & 0xffff_ffff);
    let ms = seconds * 1000 + ((fraction * 1000) >> 32);
    i64::try_from(ms).unwrap_or(i64::MAX) - NTP * 1000
}

#[allow(clippy::wildcard_enum_match_arm, reason = "of some thousand fields these say something of a flow")]
fn iana(field: Iana) -> Option<u16> {
    Some(match field {
        Iana::OctetDeltaCount => 1,
        Iana::PacketDeltaCount => 2,
        Iana::ProtocolIdentifier => 4,
        Iana::TcpControlBits => 6,
        Iana::SourceTransportPort | Iana::UdpSourcePort | Iana::TcpSourcePort => 7,
        Iana::SourceIpv4address => 8,
        Iana::DestinationTransportPort | Iana::UdpDestinationPort | Iana::TcpDestinationPort => 11,
        Iana::DestinationIpv4address => 12,
        Iana::FlowEndSysUpTime => 21,
        Iana::FlowStartSysUpTime => 22,
        Iana::SourceIpv6address => 27,
        Iana::DestinationIpv6address => 28,
        Iana::IcmpTypeCodeIpv4 => 32,
        Iana::SamplingInterval => 34,
        Iana::SamplerRandomInterval => 50,
        Iana::SourceMacaddress => 56,
        Iana::DestinationMacaddress => 80,
        Iana::OctetTotalCount => 85,
        Iana::PacketTotalCount => 86,
        Iana::IcmpTypeCodeIpv6 => 139,
        Iana::FlowStartSeconds => 150,
        Iana::FlowEndSeconds => 151,
        Iana::FlowStartMilliseconds => 152,
        Iana::FlowEndMilliseconds => 153,
        Iana::FlowStartMicroseconds => 154,
        Iana::FlowEndMicroseconds => 155,
        Iana::FlowStartNanoseconds => 156,
        Iana::FlowEndNanoseconds => 157,
        Iana::FlowStartDeltaMicroseconds => 158,
        Iana::FlowEndDeltaMicroseconds => 159,
        Iana::SystemInitTimeMilliseconds => 160,
        Iana::FlowDurationMilliseconds => 161,
        Iana::IcmpTypeIpv4 | Iana::IcmpTypeIpv6 => 176,
        Iana::IcmpCodeIpv4 | Iana::IcmpCodeIpv6 => 177,
        Iana::InitiatorOctets => 231,
        Iana::ResponderOctets => 232,
        Iana::BiflowDirection => 239,
        Iana::EthernetType => 256,
        Iana::InitiatorPackets => 298,
        Iana::ResponderPackets => 299,
        Iana::SamplingPacketInterval => 305,
        Iana::SamplingPacketSpace => 306,
        _ => return None,
    })
}

/// The same of the way back (RFC 5103).
#[allow(clippy::wildcard_enum_match_arm, reason = "of some thousand fields these say something of a flow")]
fn back(field: Back) -> Option<u16> {
    Some(match field {
        Back::ReverseOctetDeltaCount => 1,
        Back::ReversePacketDeltaCount => 2,
        Back::ReverseTcpControlBits => 6,
        Back::ReverseFlowEndSysUpTime => 21,
        Back::ReverseFlowStartSysUpTime => 22,
        Back::ReverseOctetTotalCount => 85,
        Back::ReversePacketTotalCount => 86,
        Back::ReverseFlowStartSeconds => 150,
        Back::ReverseFlowEndSeconds => 151,
        Back::ReverseFlowStartMilliseconds => 152,
        Back::ReverseFlowEndMilliseconds => 153,
        Back::ReverseFlowStartMicroseconds => 154,
        Back::ReverseFlowEndMicroseconds => 155,
        Back::ReverseFlowStartNanoseconds => 156,
        Back::ReverseFlowEndNanoseconds => 157,
        _ => return None,
    })
}
