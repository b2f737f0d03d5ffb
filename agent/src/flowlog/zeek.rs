//! `conn.log` of Zeek, as lines of tab-separated values or of JSON (docs.zeek.org, `base/protocols/conn/main.zeek`).

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use serde_json::Value;

use super::{Fields, Flow, Said, protocol_of, service};

/// Columns of a log: a line of fields at most.
const MOST_COLUMNS: usize = 1024;

/// What the lines in front of a log say.
#[derive(Default)]
pub(super) struct Header {
    separator: Option<char>,
    unset: Option<String>,
    empty: Option<String>,
}

/// Where the fields of a line are.
pub(super) struct Columns {
    names: Vec<String>,
    separator: char,
    unset: String,
    empty: String,
}

impl Header {
    /// Takes in a line that began with `#`; the columns, when it names them.
    pub(super) fn line(&mut self, line: &str) -> Result<Option<Columns>, String> {
        if let Some(told) = line.strip_prefix("separator ") {
            let code = told.strip_prefix("\\x").and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let one = told.chars().next().filter(|_| told.chars().count() == 1);
            let separator = code.map(char::from).or(one);
            self.separator = Some(separator.ok_or_else(|| "its `#separator` is no character".to_owned())?);
            return Ok(None);
        }
        let separator = self.separator.unwrap_or('\t');
        let mut parts = line.split(separator);
        match parts.next() {
            Some("unset_field") => self.unset = parts.next().map(str::to_owned),
            Some("empty_field") => self.empty = parts.next().map(str::to_owned),
            Some("path") => match parts.next() {
                Some("conn") => {}
                path => return Err(format!("it is the log `{}`", path.unwrap_or_default().escape_debug())),
            },
            Some("fields") => {
                let names: Vec<String> = parts.take(MOST_COLUMNS).map(str::to_owned).collect();
                for needed in ["ts", "id.orig_h", "id.resp_h", "id.resp_p", "proto"] {
                    if !names.iter().any(|name| name == needed) {
                        return Err(format!("its `#fields` have no `{needed}`"));
                    }
                }
                let word =
                    |told: &Option<String>, default: &str| told.clone().unwrap_or_else(|| default.to_owned());
                let (unset, empty) = (word(&self.unset, "-"), word(&self.empty, "(empty)"));
                return Ok(Some(Columns { names, separator, unset, empty }));
            }
            // Others say when it was written, and of which types fields are.
            Some(_) | None => {}
        }
        Ok(None)
    }
}

impl Columns {
    /// # Errors
    /// When the line was cut off: it has fewer fields than there are columns.
    pub(super) fn fields<'l>(&'l self, line: &'l str) -> Result<Fields<'l>, String> {
        if line.split(self.separator).count() < self.names.len() {
            return Err("it has fewer fields than `#fields` names".to_owned());
        }
        let pairs = self.names.iter().map(String::as_str).zip(line.split(self.separator));
        let there = pairs.filter(|(_, value)| *value != self.unset && *value != self.empty);
        Ok(Fields(there.map(|(name, value)| (name, Cow::Borrowed(value))).collect()))
    }
}

/// The fields of a line of JSON; keys have points in them, or stand in an object `id`.
pub(super) fn json(line: &str) -> Result<Fields<'static>, String> {
    const IDS: [(&str, &str); 4] =
        [("id.orig_h", "orig_h"), ("id.orig_p", "orig_p"), ("id.resp_h", "resp_h"), ("id.resp_p", "resp_p")];
    const OTHERS: [&str; 11] = [
        "ts",
        "proto",
        "duration",
        "orig_bytes",
        "resp_bytes",
        "conn_state",
        "history",
        "orig_pkts",
        "resp_pkts",
        "orig_ip_bytes",
        "resp_ip_bytes",
    ];
    let value: Value = serde_json::from_str(line).map_err(|_| "it is no JSON".to_owned())?;
    let object = value.as_object().ok_or_else(|| "it is no JSON object".to_owned())?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(Cow::Owned(text.clone())),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let mut fields = BTreeMap::new();
    for (name, inner) in IDS {
        let found = object.get(name).or_else(|| object.get("id")?.get(inner));
        fields.extend(found.and_then(text).map(|value| (name, value)));
    }
    for name in OTHERS.into_iter().chain(["ip_proto"]) {
        fields.extend(object.get(name).and_then(text).map(|value| (name, value)));
    }
    Ok(Fields(fields))
}

/// The flow of a line.
pub(super) fn flow(fields: &Fields<'_>) -> Result<Flow, String> {
    let (from, to): (IpAddr, IpAddr) = (fields.needed("id.orig_h")?, fields.needed("id.resp_h")?);
    let word: String = fields.needed("proto")?;
    let protocol = match fields.text("ip_proto") {
        Some(_) => fields.needed("ip_proto")?,
        None => protocol_of(&word, from)?,
    };
    let ports = [fields.number("id.orig_p")?, fields.number("id.resp_p")?];
    let packets = [fields.number("orig_pkts")?, fields.number("resp_pkts")?];
    // Of addresses and what is above them where it is told, else of what the transport carries.
    let bytes = |side: &str| match fields.text(&format!("{side}_ip_bytes")) {
        Some(_) => fields.needed(&format!("{side}_ip_bytes")),
        None => fields.number(&format!("{side}_bytes")),
    };
    let bytes = [bytes("orig")?, bytes("resp")?];
    let state = fields.text("conn_state").unwrap_or_default();
    let history = fields.text("history").unwrap_or_default();
    // Attempts that nobody took up: no answer, refused, or given up before there was one.
    let attempt = ["S0", "REJ", "RSTOS0", "SH"].contains(&state);
    let is_heard = packets[1] > 0 || (fields.text("resp_pkts").is_none() && bytes[1] > 0);
    // Who began is a guess where the beginning was not seen, or Zeek has turned the ends around (`^`).
    let guessed = ["OTH", "SHR", "RSTRH"].contains(&state) || history.starts_with('^');
    Said {
        from,
        to,
        service: service(protocol, ports)?,
        begun: fields.moment("ts")?,
        lasted: fields.number("duration")?,
        packets,
        bytes,
        answered: is_heard && !attempt,
        opened: !guessed,
    }
    .flow()
}
