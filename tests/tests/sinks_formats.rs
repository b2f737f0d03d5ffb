//! Records with hostile names, in every format, read back by whoever did not write them: JSON Schemas, a syslog parser, and
//! readers of CEF and LEEF made from their descriptions.
//!
//! `BULKHEAD_RECORDS=10000000` tries as many instead of 20,000, `BULKHEAD_SEED` others.

use std::{env, fs};

use bulkhead_agent::{
    record::{Format, Record},
    sink::{
        LONGEST, encode, encode_within,
        syslog::{Encoder, FACILITY, MAX_DATAGRAM},
    },
};
use jsonschema::Validator;
use serde_json::Value;
use syslog_loose::{Protocol, Variant, parse_message_with_year_exact};

mod formats {
    pub(super) mod hostile;
    pub(super) mod readers;
}
use formats::{
    hostile::Random,
    readers::{cef, leef},
};

/// What a reader found that every record has.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    kind: String,
    gateway: String,
    boot: String,
    seq: u64,
    count: u64,
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("`{name}={text}` is no number")))
}

fn validator(path: &str) -> Validator {
    let text = fs::read_to_string(path).expect("part of the checkout");
    let schema = serde_json::from_str(&text).expect("it is JSON");
    jsonschema::validator_for(&schema).expect("it is a JSON Schema")
}

/// The schemas of the formats that are JSON.
struct Schemas {
    native: Validator,
    ecs: Validator,
    ocsf: Validator,
}

impl Schemas {
    fn read() -> Self {
        Self {
            native: validator("../docs/records.schema.json"),
            ecs: validator("tests/formats/ecs.schema.json"),
            ocsf: validator("tests/formats/ocsf.schema.json"),
        }
    }

    /// What is in a line, or why it is none of the format.
    fn found(&self, format: Format, line: &str) -> Result<Found, String> {
        match format {
            Format::Native => in_json(&self.native, line, "", "/count"),
            Format::Ecs => in_json(&self.ecs, line, "/bulkhead", "/bulkhead/count"),
            Format::Ocsf => in_json(&self.ocsf, line, "/unmapped", "/count"),
            Format::Cef => {
                let event = cef(line)?;
                let field = |name: &str| event.fields.get(name).cloned().ok_or(format!("no {name}"));
                labelled(&event.fields)?;
                found(field("cat")?, field("dvchost")?, field("cs5")?, &field("cn1")?, &field("cnt")?)
            }
            Format::Leef => {
                let event = leef(line)?;
                let field = |name: &str| event.fields.get(name).cloned().ok_or(format!("no {name}"));
                found(field("cat")?, field("gateway")?, field("boot")?, &field("seq")?, &field("count")?)
            }
        }
    }
}

fn found(kind: String, gateway: String, boot: String, seq: &str, count: &str) -> Result<Found, String> {
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
    Ok(Found { kind, gateway, boot, seq: number(seq)?, count: number(count)? })
}

fn in_json(schema: &Validator, line: &str, below: &str, count: &str) -> Result<Found, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(error) = schema.iter_errors(&value).next() {
        return Err(format!("{}: {error}", error.instance_path()));
    }
    let text = |name: &str| {
        let found = value.pointer(&format!("{below}/{name}")).and_then(Value::as_str);
        found.map(str::to_owned).ok_or(format!("no {name}"))
    };
    let seq = value.pointer(&format!("{below}/seq")).and_then(Value::as_u64).ok_or("no seq")?;
    let count = value.pointer(count).and_then(Value::as_u64).ok_or("no count")?;
    Ok(Found { kind: text("kind")?, gateway: text("gateway")?, boot: text("boot")?, seq, count })
}

/// Fields without a meaning of their own say what they mean, and labels have a field.
fn labelled(fields: &std::collections::BTreeMap<String, String>) -> Result<(), String> {
    for name in fields.keys() {
        let custom = ["cs", "cn", "c6a", "flexString", "flexNumber"]
            .iter()
            .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u8>().is_ok()));
        let other = match name.strip_suffix("Label") {
            Some(field) => field.to_owned(),
            None if custom => format!("{name}Label"),
            None => continue,
        };
        if !fields.contains_key(&other) {
            return Err(format!("{name} without {other}"));
        }
    }
    Ok(())
}

/// Whether nothing in a line ends it, or shows it otherwise than it is.
fn is_one_line(format: Format, line: &str) -> bool {
    line.chars().all(|c| match c {
        '\t' => format == Format::Leef,
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => false,
        other => !other.is_control(),
    })
}

fn expected(record: &Record) -> Found {
    let (kind, gateway) = match record {
        Record::Violation(one) => ("violation", &one.gateway),
        Record::Gap(one) => ("gap", &one.gateway),
        Record::Heartbeat(one) => ("heartbeat", &one.gateway),
        Record::Alarm(one) => ("alarm", &one.gateway),
        Record::Inventory(one) => ("inventory", &one.gateway),
    };
    let id = record.id();
    Found {
        kind: kind.to_owned(),
        gateway: gateway.clone(),
        boot: id.boot,
        seq: id.seq,
        count: record.count(),
    }
}

/// Whether a name may be expected to come back as it is: short, and of characters that nobody has to fear.
fn is_harmless(name: &str) -> bool {
    name.len() <= 24 && name.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

/// Every format at its usual length, and one of them at the lengths that make it shorter.
fn check(schemas: &Schemas, record: &Record, shorter: usize) -> Result<(), String> {
    let wanted = expected(record);
    for (_, format) in Format::ALL {
        check_line(schemas, format, &encode(format, record), LONGEST, &wanted)?;
    }
    let (name, format) = Format::ALL[shorter % Format::ALL.len()];
    let small = encode_within(format, record, 2000).ok_or(format!("no {name} within 2000 bytes"))?;
    check_line(schemas, format, &small, 2000, &wanted)?;
    // Of a gap alone.
    let native = serde_json::to_value(record).expect("a record is strings and numbers");
    let cause = native["cause"].as_str();
    for limit in [MAX_DATAGRAM, 8192] {
        check_message(&Encoder { format, facility: FACILITY, limit }, record, &wanted, cause)
            .map_err(|why| format!("{name} as syslog of {limit} bytes: {why}"))?;
    }
    Ok(())
}

fn check_line(
    schemas: &Schemas,
    format: Format,
    line: &str,
    most: usize,
    wanted: &Found,
) -> Result<(), String> {
    let name = format.name();
    if line.len() > most || !is_one_line(format, line) {
        return Err(format!("{name} of {} bytes is no line: {line:?}", line.len()));
    }
    let mut there = schemas.found(format, line).map_err(|why| format!("{name}: {why}\n{line}"))?;
    if !is_harmless(&wanted.gateway) {
        there.gateway.clone_from(&wanted.gateway);
    }
    if there != *wanted {
        return Err(format!("{name}: {there:?} instead of {wanted:?}\n{line}"));
    }
    Ok(())
}

fn check_message(
    encoder: &Encoder,
    record: &Record,
    wanted: &Found,
    cause: Option<&str>,
) -> Result<(), String> {
    let text = encoder.message(record).ok_or("it does not fit")?;
    if text.len() > encoder.limit || !is_one_line(encoder.format, &text) {
        return Err(format!("it is no message: {text:?}"));
    }
    let read = parse_message_with_year_exact(&text, |_| 2026, Variant::RFC5424);
    let message = read.map_err(|why| format!("{why}\n{text}"))?;
    let [element] = message.structured_data.as_slice() else {
        return Err(format!("no structured data: {text}"));
    };
    let params: Vec<(&str, String)> =
        element.params().map(|(name, value)| (*name, value.to_owned())).collect();
    let names: Vec<&str> = params.iter().map(|(name, _)| *name).collect();
    let parts = (message.protocol.clone(), message.appname, message.msgid, element.id, names.as_slice());
    let right = (
        Protocol::RFC5424(1),
        Some("bulkhead"),
        Some(wanted.kind.as_str()),
        "bulkhead@32473",
        &["gateway", "boot", "seq", "count", "cause"][..4 + usize::from(cause.is_some())],
    );
    if parts != right {
        return Err(format!("{parts:?}\n{text}"));
    }
    let values: Vec<&str> = params.iter().skip(1).map(|(_, value)| value.as_str()).collect();
    let id = [wanted.boot.clone(), wanted.seq.to_string(), wanted.count.to_string()];
    if values != id.iter().map(String::as_str).chain(cause).collect::<Vec<_>>() {
        return Err(format!("{values:?}\n{text}"));
    }
    if is_harmless(&wanted.gateway) && params[0].1 != wanted.gateway {
        return Err(format!("{:?} instead of {:?}\n{text}", params[0].1, wanted.gateway));
    }
    let begins = match encoder.format {
        Format::Native | Format::Ecs | Format::Ocsf => "{",
        Format::Cef => "CEF:0|",
        Format::Leef => "LEEF:2.0|",
    };
    // A lone `-` stands for no name.
    let named = wanted.gateway.chars().any(|c| c.is_ascii_alphanumeric());
    if message.timestamp.is_none()
        || (named && message.hostname.is_none())
        || !message.msg.starts_with(begins)
    {
        return Err(format!("{message:?}"));
    }
    Ok(())
}

#[test]
fn no_name_makes_a_record_that_its_readers_do_not_read() {
    let schemas = Schemas::read();
    let (cases, seed) = (number("BULKHEAD_RECORDS", 20_000), number("BULKHEAD_SEED", 1));
    for case in 0..cases {
        let own = seed.wrapping_add(case);
        let record = Random::new(own).record();
        if let Err(why) = check(&schemas, &record, usize::try_from(own).unwrap_or_default()) {
            panic!("BULKHEAD_SEED={own} BULKHEAD_RECORDS=1\n{why}\n{record:?}");
        }
    }
}

#[test]
fn readers_refuse_what_is_broken() {
    let schemas = Schemas::read();
    let record = Random::new(7).record();
    for (name, format) in Format::ALL {
        let line = encode(format, &record);
        assert!(schemas.found(format, &line).is_ok(), "{name}");
        assert!(schemas.found(format, &line.chars().take(100).collect::<String>()).is_err(), "{name}");
    }
    for broken in [
        "CEF:0|V|P|1|id|a\\b|5|cat=x",
        "CEF:0|V|P|1|id|name|5|cat=a=b",
        "CEF:0|V|P|1|id|name|11|cat=a",
        "CEF:0|V|P|1|id|5|cat=a",
        "CEF:0|V|P|1|id|name|5|cat=a cat=b",
    ] {
        assert!(cef(broken).is_err(), "{broken}");
    }
    for broken in ["LEEF:2.0|V|P|1|id|x09|cat=a\tb", "LEEF:2.0|V|P|1|a|b|x09|cat=a", "LEEF:2.0|V|P|1|id|x09|"]
    {
        assert!(leef(broken).is_err(), "{broken}");
    }
    let event = cef(r"CEF:0|V|P|1|id|a\|b\\c|5|msg=x \= y \\ z cs1=w").expect("it is right");
    assert_eq!(event.header[4], r"a|b\c");
    assert_eq!(event.fields["msg"], r"x = y \ z");
}
