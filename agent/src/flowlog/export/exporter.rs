//! One exporter: its templates, the numbers of its messages, and what it says of itself.

use netflow_parser::{
    NetflowPacket, NetflowParser,
    static_versions::v5,
    variable_versions::{PendingFlowsConfig, ipfix, v9},
};

use super::{
    Heard,
    fields::{Fields, taken},
    record,
    record::Sent,
};

/// Templates of an exporter, each of so many fields at most.
const TEMPLATES: usize = 128;
const FIELDS: usize = 128;
/// Records of a set: as many as 64 KiB hold of the shortest that say something of a flow.
const RECORDS: usize = 8192;
/// What waits for its template: templates, sets of each, bytes of all.
const PENDING: (usize, usize, usize) = (32, 64, 1 << 17);
/// An exporter that is so many numbers further has begun anew.
const ANEW: u32 = 1 << 20;

/// What is known of an exporter.
pub(super) struct Exporter {
    parser: NetflowParser,
    /// The number of the next message; none when it is not known.
    expected: Option<u32>,
    /// Whether the message at hand has other records than those that were sent with it.
    is_mixed: bool,
    /// When it started, ms since 1970.
    started: Option<i64>,
    /// Whether it has told of a flow.
    pub(super) has_told: bool,
    /// When it told something last.
    pub(super) turn: u64,
}

/// One message.
pub(super) struct Message {
    pub(super) sent: Sent,
    pub(super) records: Vec<Fields>,
    /// One packet of so many was looked at, where that is said.
    pub(super) sampled: Option<u64>,
}

impl Default for Exporter {
    fn default() -> Self {
        let (templates, sets, bytes) = PENDING;
        let mut pending = PendingFlowsConfig::new(templates);
        (pending.max_entries_per_template, pending.max_total_bytes) = (sets, bytes);
        let parser = NetflowParser::builder()
            .with_allowed_versions(&[5, 9, 10])
            .with_cache_size(TEMPLATES)
            .with_max_field_count(FIELDS)
            .with_max_records_per_flowset(RECORDS)
            .with_max_error_sample_size(1)
            .with_pending_flows(pending)
            .build()
            .expect("none of the bounds is zero");
        Self { parser, expected: None, is_mixed: false, started: None, has_told: false, turn: 0 }
    }
}

impl Exporter {
    /// The message of a datagram, which has one (RFC 7011 10.3.3: the bounds of what is decoded are those of a message); what cannot be read, and
    /// what follows, is counted.
    pub(super) fn read(&mut self, datagram: &[u8], heard: &mut Heard) -> Option<NetflowPacket> {
        let before = self.waits();
        let mut packets = self.parser.iter_packets(datagram);
        let packet = packets.next().and_then(Result::ok);
        let is_damaged = packet.is_none() || !packets.remaining().is_empty();
        heard.damaged += u64::from(is_damaged);
        let waits = self.waits();
        let [cached, replayed, failed] = [0, 1, 2].map(|at| waits[at] - before[at]);
        heard.without_template = (heard.without_template + cached).saturating_sub(replayed + failed);
        heard.damaged_sets += failed;
        // Records of another message are among them, or some of this one are not.
        self.is_mixed = waits != before || is_damaged;
        packet
    }

    /// Sets that waited, that were read after all, and that could not be read then.
    fn waits(&self) -> [u64; 3] {
        let v9 = self.parser.v9_cache_info().metrics;
        let ipfix = self.parser.ipfix_cache_info().metrics;
        [
            v9.pending_cached + ipfix.pending_cached,
            v9.pending_replayed + ipfix.pending_replayed,
            v9.pending_replay_failed + ipfix.pending_replay_failed,
        ]
    }

    /// Sets that wait for their template.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.parser.v9_cache_info().pending_flow_count + self.parser.ipfix_cache_info().pending_flow_count
    }

    /// What a message says.
    pub(super) fn message(&mut self, packet: NetflowPacket, heard: &mut Heard) -> Message {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the type promises that there may be more")]
        match packet {
            NetflowPacket::V5(message) => self.v5(&message, heard),
            NetflowPacket::V9(message) => self.v9(&message, heard),
            NetflowPacket::IPFix(message) => self.ipfix(&message, heard),
            // No other version is let through.
            _ => Message {
                sent: Sent { at: 0, uptime: None, started: None },
                records: Vec::new(),
                sampled: None,
            },
        }
    }

    fn v5(&mut self, message: &v5::V5, heard: &mut Heard) -> Message {
        let v5::Header {
            sys_up_time, unix_secs, unix_nsecs, flow_sequence, sampling_interval, count, ..
        } = message.header;
        self.number(flow_sequence, Some(count.into()), heard);
        let at = i64::from(unix_secs) * 1000 + i64::from(unix_nsecs / 1_000_000);
        // The first two bits say how.
        let sampled = u64::from(sampling_interval & 0x3fff);
        Message {
            sent: Sent { at, uptime: Some(sys_up_time), started: None },
            records: message.flowsets.iter().map(record::v5).collect(),
            sampled: Some(sampled).filter(|every| *every > 1),
        }
    }

    fn v9(&mut self, message: &v9::V9, heard: &mut Heard) -> Message {
        let v9::Header { sys_up_time, unix_secs, sequence_number, .. } = message.header;
        self.number(sequence_number, Some(1), heard);
        let (mut records, mut about) = (Vec::new(), Vec::new());
        for set in &message.flowsets {
            match &set.body {
                v9::FlowSetBody::Data(data) => {
                    let bytes = |pairs: &v9::V9FlowRecord| pairs.iter().map(|(_, value)| taken(value)).sum();
                    count_rest(set.header.length, data.fields.iter().map(bytes), heard);
                    records.extend(data.fields.iter().map(|pairs| Fields::v9(pairs)));
                }
                v9::FlowSetBody::OptionsData(data) => {
                    about.extend(data.fields.iter().map(|one| Fields::v9(&one.options_fields)));
                }
                v9::FlowSetBody::NoTemplate(_) => heard.without_template += 1,
                v9::FlowSetBody::Template(_)
                | v9::FlowSetBody::OptionsTemplate(_)
                | v9::FlowSetBody::Empty => {}
            }
        }
        let sampled = self.about(&about, &records);
        let at = i64::from(unix_secs) * 1000;
        Message { sent: Sent { at, uptime: Some(sys_up_time), started: self.started }, records, sampled }
    }

    fn ipfix(&mut self, message: &ipfix::IPFix, heard: &mut Heard) -> Message {
        let ipfix::Header { export_time, sequence_number, .. } = message.header;
        let (mut records, mut about) = (Vec::new(), Vec::new());
        let mut is_whole = !self.is_mixed;
        for set in &message.flowsets {
            let bytes = |pairs: &ipfix::IPFixFlowRecord| pairs.iter().map(|(_, value)| taken(value)).sum();
            match &set.body {
                ipfix::FlowSetBody::Data(data) => {
                    count_rest(set.header.length, data.fields.iter().map(bytes), heard);
                    records.extend(data.fields.iter().map(|pairs| Fields::ipfix(pairs)));
                }
                ipfix::FlowSetBody::V9Data(data) => {
                    records.extend(data.fields.iter().map(|pairs| Fields::v9(pairs)));
                }
                ipfix::FlowSetBody::OptionsData(data) => {
                    about.extend(data.fields.iter().map(|pairs| Fields::ipfix(pairs)));
                }
                ipfix::FlowSetBody::V9OptionsData(data) => {
                    about.extend(data.fields.iter().map(|one| Fields::v9(&one.options_fields)));
                }
                ipfix::FlowSetBody::NoTemplate(_) => {
                    heard.without_template += 1;
                    is_whole = false;
                }
                ipfix::FlowSetBody::Template(_)
                | ipfix::FlowSetBody::Templates(_)
                | ipfix::FlowSetBody::V9Template(_)
                | ipfix::FlowSetBody::V9Templates(_)
                | ipfix::FlowSetBody::OptionsTemplate(_)
                | ipfix::FlowSetBody::OptionsTemplates(_)
                | ipfix::FlowSetBody::V9OptionsTemplate(_)
                | ipfix::FlowSetBody::V9OptionsTemplates(_)
                | ipfix::FlowSetBody::Empty => {}
            }
        }
        // RFC 7011 3.1: data records of either kind are numbered, templates are not.
        let read = (records.len() + about.len()) as u64;
        self.number(sequence_number, is_whole.then_some(read), heard);
        let sampled = self.about(&about, &records);
        let at = i64::from(export_time) * 1000;
        Message { sent: Sent { at, uptime: None, started: self.started }, records, sampled }
    }

    /// Compares the number of a message with the one that was expected; `count` is how much further the next one is, where that is known.
    fn number(&mut self, number: u32, count: Option<u64>, heard: &mut Heard) {
        if let Some(expected) = self.expected {
            let ahead = number.wrapping_sub(expected);
            if ahead < ANEW {
                heard.missing += u64::from(ahead);
            }
        }
        let next = count.and_then(|count| u32::try_from(count).ok());
        self.expected = next.map(|count| number.wrapping_add(count));
    }

    /// What the exporter says of itself, and of each record; how many packets it looks at, where it does not look at all.
    fn about(&mut self, about: &[Fields], records: &[Fields]) -> Option<u64> {
        let mut sampled = None;
        for fields in about.iter().chain(records) {
            self.started = fields.started.or(self.started);
            let by_turns = match fields.sampled_by_turns {
                [Some(taken), Some(left)] if taken > 0 => Some((taken.saturating_add(left)).div_ceil(taken)),
                _ => None,
            };
            sampled = fields.sampled.or(by_turns).filter(|every| *every > 1).or(sampled);
        }
        sampled
    }
}

/// Counts a set of which a whole record or more was not read. What follows the last record is shorter than any (RFC 7011 3.3.1).
fn count_rest(length: u16, records: impl Iterator<Item = usize>, heard: &mut Heard) {
    let (mut read, mut shortest) = (0, usize::MAX);
    for record in records {
        (read, shortest) = (read + record, shortest.min(record));
    }
    let body = usize::from(length).saturating_sub(4);
    if body.saturating_sub(read) >= shortest.min(body).max(1) && (shortest != usize::MAX || body > 0) {
        heard.damaged_sets += 1;
    }
}
