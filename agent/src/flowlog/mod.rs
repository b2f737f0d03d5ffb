//! Flows that other sensors have written down, for where the gateway is not in the way: lines of a log in, flows out; or datagrams of
//! exporters, see [`export`].
//!
//! Fields are found by their names, wherever they stand. A line that cannot be read is counted with the reason and the number of the first one
//! like it, and the others are read all the same. Nothing here opens a file, and one line is held at a time.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
    net::IpAddr,
};

use bulkhead_common::wire::protocol;

use crate::traffic::{End, Hours, Kind, Seen, Service};

mod csv;
pub mod export;
mod fields;
#[cfg(test)]
mod tests;
mod zeek;

use fields::Fields;

/// Bytes of the longest line that is read.
const MOST_LINE: u64 = 1 << 20;
/// The longest time that a flow is taken to have lasted, s: a year. Beyond it a clock was wrong.
const MOST_SECONDS: f64 = 366.0 * 86_400.0;

/// One flow of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who, whom, over what.
    pub kind: Kind,
    /// When and how much.
    pub seen: Seen,
}

/// What became of the lines of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Flows that were read.
    pub flows: u64,
    /// Lines that were left out, by the reason: how many, and the number of the first.
    pub left_out: BTreeMap<String, (u64, u64)>,
    /// Zeek says when it opened the log, and not when it closed it: it goes on writing, or the rest is missing.
    pub is_open: bool,
}

/// Why a log cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its first lines do not say what it is.
    #[error(
        "it is no log of flows: {0}\nhint: a conn.log of Zeek (TSV or JSON), or CSV whose first line names `time`, `from`, `to`, `protocol` and `port`"
    )]
    Unknown(String),
    /// A line is too long to be one.
    #[error("line {0} is longer than {MOST_LINE} bytes")]
    Long(u64),
    /// The world said no.
    #[error("failed to read line {line}")]
    Read {
        /// Its number.
        line: u64,
        /// Why.
        source: io::Error,
    },
}

/// Languages of logs.
enum Language {
    Zeek(zeek::Columns),
    Json,
    Csv(csv::Columns),
}

/// Reads a log, and hands each flow over.
///
/// # Errors
/// When it is no log of flows, or cannot be read to its end: what came before was handed over.
pub fn read(mut log: impl BufRead, mut each: impl FnMut(Flow)) -> Result<Lines, LogError> {
    let mut found = Lines::default();
    let mut language = None;
    let mut header = zeek::Header::default();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = log.by_ref().take(MOST_LINE + 1).read_until(b'\n', &mut bytes);
        if read.map_err(|source| LogError::Read { line: number, source })? == 0 {
            break;
        }
        if bytes.len() as u64 > MOST_LINE {
            return Err(LogError::Long(number));
        }
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}');
        if line.is_empty() {
            continue;
        }
        if let Some(told) = line.strip_prefix('#') {
            match told.split(|c: char| !c.is_ascii_alphabetic()).next() {
                Some("open") => found.is_open = true,
                Some("close") => found.is_open = false,
                Some(_) | None => {}
            }
            if let Some(columns) = header.line(told).map_err(LogError::Unknown)? {
                language = Some(Language::Zeek(columns));
            }
            continue;
        }
        let flow = match &language {
            // Zeek ends each line.
            Some(Language::Zeek(_)) if bytes.last() != Some(&b'\n') => {
                Err("it was cut off: no line ends there".to_owned())
            }
            Some(Language::Zeek(columns)) => columns.fields(line).and_then(|fields| zeek::flow(&fields)),
            Some(Language::Csv(columns)) => columns.fields(line).and_then(|fields| csv::flow(&fields)),
            Some(Language::Json) => zeek::json(line).and_then(|fields| zeek::flow(&fields)),
            None if line.starts_with('{') => {
                language = Some(Language::Json);
                zeek::json(line).and_then(|fields| zeek::flow(&fields))
            }
            None => {
                language = Some(Language::Csv(csv::Columns::of(line).map_err(LogError::Unknown)?));
                continue;
            }
        };
        match flow {
            Ok(flow) => {
                found.flows += 1;
                each(flow);
            }
            Err(why) => found.left_out.entry(why).or_insert((0, number)).0 += 1,
        }
    }
    if language.is_none() {
        return Err(LogError::Unknown("it has no line that says what its fields are".to_owned()));
    }
    Ok(found)
}

/// What a line says of a flow, as both languages have it.
struct Said {
    from: IpAddr,
    to: IpAddr,
    service: Service,
    /// Seconds since 1970.
    begun: f64,
    /// Seconds.
    lasted: f64,
    packets: [u64; 2],
    bytes: [u64; 2],
    answered: bool,
    /// Whether who began is known.
    opened: bool,
}

impl Said {
    fn flow(self) -> Result<Flow, String> {
        let Self { from, to, service, begun, lasted, packets, bytes, answered, opened } = self;
        if from.is_ipv4() != to.is_ipv4() {
            return Err("its ends have addresses of two families".to_owned());
        }
        if !(lasted.is_finite() && (0.0..=MOST_SECONDS).contains(&lasted)) {
            return Err("the duration is no time".to_owned());
        }
        let first = seconds(begun)?;
        let last = seconds(begun + lasted)?;
        let seen = Seen {
            flows: 1,
            opened: u64::from(opened),
            answered: u64::from(answered),
            packets,
            bytes,
            last,
            hours: Hours::between(crate::traffic::Day::of(first), first, last),
            ..Seen::at(first)
        };
        Ok(Flow { kind: Kind { from: End::at(from), to: End::at(to), service }, seen })
    }
}

/// Whole seconds of a time between the years 1970 and 2200.
fn seconds(time: f64) -> Result<i64, String> {
    const YEAR_2200: f64 = 7_258_118_400.0;
    if !(0.0..YEAR_2200).contains(&time) {
        return Err("the time is none between 1970 and 2200".to_owned());
    }
    #[allow(clippy::cast_possible_truncation, reason = "it is within the bounds")]
    Ok(time as i64)
}

/// A protocol by its word or number.
fn protocol_of(word: &str, from: IpAddr) -> Result<u8, String> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "sctp" => protocol::SCTP,
        "icmp" | "icmp6" | "icmpv6" => {
            if from.is_ipv4() {
                protocol::ICMP
            } else {
                protocol::ICMPV6
            }
        }
        other => other.parse().map_err(|_| "the protocol is not known".to_owned())?,
    })
}

/// What of a flow a rule would name: the responder's port, type and code of ICMP, nothing of what has neither.
fn service(protocol: u8, ports: [u16; 2]) -> Result<Service, String> {
    let number = match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => ports[1],
        protocol::ICMP | protocol::ICMPV6 => {
            let [kind, code] = ports.map(u8::try_from);
            match (kind, code) {
                (Ok(kind), Ok(code)) => u16::from_be_bytes([kind, code]),
                _ => return Err("type or code of ICMP is no byte".to_owned()),
            }
        }
        _ => 0,
    };
    Ok(Service { protocol, number })
}
