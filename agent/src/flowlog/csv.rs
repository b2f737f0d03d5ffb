//! Comma-separated values (RFC 4180) whose first line names the fields: `time`, `from`, `to`, `protocol`, `port`; and where they are known `seconds`,
//! `packets_from`, `packets_to`, `bytes_from`, `bytes_to`, `answered`.

use std::{borrow::Cow, net::IpAddr};

use super::{Fields, Flow, Said, fields::wrong, protocol_of, service};

/// Names that mean something.
const NAMES: [&str; 11] = [
    "time",
    "from",
    "to",
    "protocol",
    "port",
    "seconds",
    "packets_from",
    "packets_to",
    "bytes_from",
    "bytes_to",
    "answered",
];
/// Those that are always there.
const NEEDED: [&str; 5] = ["time", "from", "to", "protocol", "port"];

/// Where the fields of a line are.
pub(super) struct Columns(Vec<String>);

impl Columns {
    /// The columns that the first line names.
    pub(super) fn of(line: &str) -> Result<Self, String> {
        let names: Vec<String> =
            split(line)?.into_iter().map(|name| name.trim().to_ascii_lowercase()).collect();
        if let Some(missing) = NEEDED.iter().find(|needed| !names.iter().any(|name| name == *needed)) {
            if names.len() == 1 && line.contains(';') {
                return Err("the fields of its first line are separated by `;`: separate all of them by `,`"
                    .to_owned());
            }
            return Err(format!("its first line does not name `{missing}`"));
        }
        Ok(Self(names))
    }

    pub(super) fn fields<'l>(&'l self, line: &'l str) -> Result<Fields<'l>, String> {
        let values = split(line)?;
        if values.len() != self.0.len() {
            return Err("it has not as many fields as the first line".to_owned());
        }
        let pairs = self.0.iter().map(String::as_str).zip(values);
        let there = pairs.filter(|(name, value)| NAMES.contains(name) && !value.trim().is_empty());
        Ok(Fields(there.map(|(name, value)| (name, Cow::Owned(value.trim().to_owned()))).collect()))
    }
}

/// The values of a line. A value over several lines is none of a flow's.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let mut record = csv::StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(true) => Ok(record.iter().map(str::to_owned).collect()),
        Ok(false) | Err(_) => Err("it is no CSV".to_owned()),
    }
}

/// The flow of a line.
pub(super) fn flow(fields: &Fields<'_>) -> Result<Flow, String> {
    let (from, to): (IpAddr, IpAddr) = (fields.needed("from")?, fields.needed("to")?);
    let word: String = fields.needed("protocol")?;
    let protocol = protocol_of(&word, from)?;
    // Of ICMP `8` or `8/0`: type and code.
    let port: String = fields.needed("port")?;
    let (kind, code) = port.split_once('/').unwrap_or((&port, "0"));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong("port"));
    let ports = match protocol {
        bulkhead_common::wire::protocol::ICMP | bulkhead_common::wire::protocol::ICMPV6 => {
            [number(kind)?, number(code)?]
        }
        _ => [0, number(&port)?],
    };
    let packets = [fields.number("packets_from")?, fields.number("packets_to")?];
    let answered = match fields.text("answered") {
        Some("yes" | "true" | "1") => true,
        Some("no" | "false" | "0") => false,
        Some(_) => return Err("`answered` is neither `yes` nor `no`".to_owned()),
        None => packets[1] > 0,
    };
    Said {
        from,
        to,
        service: service(protocol, ports)?,
        begun: fields.moment("time")?,
        lasted: fields.number("seconds")?,
        packets,
        bytes: [fields.number("bytes_from")?, fields.number("bytes_to")?],
        answered,
        // Whoever wrote `from` knew.
        opened: true,
    }
    .flow()
}
