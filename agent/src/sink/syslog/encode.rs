//! A record as an RFC 5424 message.
//!
//! In: a record and the language of its text. Out: header, structured data, text. The structured data has what tells a record
//! from every other, whatever the text is written in. The text is a machine's, so no byte order mark is in front of it
//! (RFC 5424 6.4 asks for one before free text only).

use std::fmt::Write;

use super::super::format::{Level, cause, encode_within, severity_of, tame};
use crate::record::{Format, Record, RecordId, Severity};

/// `local0` (RFC 5424 6.2.1).
pub const FACILITY: u8 = 16;

/// The name of our structured data. 32473 is the enterprise number of examples (RFC 5612): the product has none of its own.
const SD_ID: &str = "bulkhead@32473";

/// Longest name of a gateway in a header, bytes: what Linux allows a host (`HOST_NAME_MAX`, hostname(7)).
const MAX_HOST: usize = 64;

/// Longest name of a gateway in the structured data where no text fits behind a longer one, bytes.
const MAX_GATEWAY: usize = 32;

/// How records become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoder {
    /// The language of the text.
    pub format: Format,
    /// The number of the facility.
    pub facility: u8,
    /// Longest message, bytes.
    pub limit: usize,
}

impl Encoder {
    /// One message. `None` when even the shortest form of the record is longer than the limit.
    pub fn message(&self, record: &Record) -> Option<String> {
        [usize::MAX, MAX_GATEWAY].into_iter().find_map(|most| {
            let head = head(record, self.facility, most);
            let room = self.limit.checked_sub(head.len() + 1)?;
            let text = encode_within(self.format, record, room.min(super::super::LONGEST))?;
            Some(format!("{head} {text}"))
        })
    }
}

/// Everything before the text, with so many bytes of the gateway's name in the structured data.
fn head(record: &Record, facility: u8, most: usize) -> String {
    let record = tame(record, Level::FULL);
    let (kind, time, gateway, why) = match &record {
        Record::Violation(one) => ("violation", &one.time, &one.gateway, None),
        Record::Gap(one) => ("gap", &one.time, &one.gateway, Some(cause(one.cause))),
        Record::Heartbeat(one) => ("heartbeat", &one.time, &one.gateway, None),
        Record::Alarm(one) => ("alarm", &one.time, &one.gateway, None),
        Record::Inventory(one) => ("inventory", &one.time, &one.gateway, None),
    };
    let RecordId { boot, seq } = record.id();
    let value = u32::from(facility) * 8 + u32::from(priority(severity_of(&record)));
    let mut out = format!("<{value}>1 {time} {} bulkhead - {kind} [{SD_ID}", host(gateway));
    parameter(&mut out, "gateway", cut(gateway, most));
    parameter(&mut out, "boot", &boot);
    parameter(&mut out, "seq", &seq.to_string());
    parameter(&mut out, "count", &record.count().to_string());
    // Where one stands for others its number is not its own.
    why.into_iter().for_each(|why| parameter(&mut out, "cause", why));
    out.push(']');
    out
}

/// The severity of syslog (RFC 5424 6.2.1): `crit`, `err`, `warning`, `notice`, `info`.
pub(in crate::sink) fn priority(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::High => 3,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Info => 6,
    }
}

/// HOSTNAME: `-` where nothing is left. RFC 5424 allows all printable ASCII there, and readers stumble over a colon; the
/// text has the name in full.
fn host(gateway: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let shown: String = gateway.chars().filter(plain).take(MAX_HOST).collect();
    if shown.is_empty() { "-".to_owned() } else { shown }
}

/// The first bytes of a text, to the end of a character.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    &text[..end]
}

/// An SD-PARAM (RFC 5424 6.3.3).
fn parameter(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, " {name}=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}
