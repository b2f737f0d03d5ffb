//! What `[sink.NAME]` may say.

use super::PATH;
use crate::{
    config::parse::{FACILITIES, FRAMINGS},
    language::{Format, Table, integer, one, table, word, words},
    record,
};

/// Where records go.
static DESTINATION: Format = Format {
    name: "destination",
    doc: "`file:/path`, `stdout`, `journald`, `syslog+udp://HOST:PORT`, `syslog+tcp://HOST:PORT` or `syslog+tls://HOST:PORT`",
    pattern: "^(file:/[^\\u0000]*|stdout|journald|syslog\\+(udp|tcp|tls)://[^/]+)$",
    words: &["stdout", "journald"],
    number: None,
};

/// A host, to be found in a certificate.
static SERVER_NAME: Format = Format {
    name: "host",
    doc: "a DNS name or an IP address",
    pattern: "^[0-9A-Za-z._:-]+$",
    words: &[],
    number: None,
};

table! {
    /// Where violation records go, up to eight at once; see `docs/sinks.md`. Without any there is one, a file:
    /// `to = "file:/var/log/bulkhead/violations.jsonl"`.
    pub(in crate::config) static SINK = Table::of("[sink.NAME]").example(r#"
[sink.log]
to = "file:/var/log/bulkhead/violations.jsonl"

[sink.siem]
to     = "syslog+tls://siem.example.com"
format = "cef"
ca     = "/etc/bulkhead/siem-ca.pem"
"#);
    /// The destination. Ports are 514 for UDP and TCP and 6514 for TLS, unless written.
    "to": one(&DESTINATION).required().example(r#""syslog+tls://siem.example.com""#);
    /// What the receiver reads: the record's own JSON, Elastic Common Schema, OCSF, ArcSight CEF or QRadar LEEF.
    "format": word(FORMAT_WORDS).default(r#""native""#);
    /// `file:` alone: size at which the file is put aside as `NAME.1`, bytes.
    "rotate_bytes": integer(64 << 10, 1 << 30).default("67108864");
    /// `file:` alone: how many files that were put aside are kept.
    "keep": integer(1, 100).default("4");
    /// `syslog+…` alone: the facility of each message (RFC 5424 6.2.1).
    "facility": word(FACILITY_WORDS).default(r#""local0""#);
    /// `syslog+tcp:` alone: where a message ends. `newline` is for receivers that do not count octets.
    "framing": word(FRAMING_WORDS).default(r#""octet-counting""#);
    /// `syslog+tls:` alone: certificates of who may vouch for the receiver, PEM; left out, whom this system trusts.
    "ca": one(&PATH).example(r#""/etc/bulkhead/siem-ca.pem""#);
    /// `syslog+tls:` alone: the gateway's own certificate, PEM, for a receiver that asks for one. With `key`.
    "certificate": one(&PATH).example(r#""/etc/bulkhead/gateway.pem""#);
    /// `syslog+tls:` alone: the key of the certificate, PEM.
    "key": one(&PATH).example(r#""/etc/bulkhead/gateway.key""#);
    /// `syslog+tls:` alone: the name in the receiver's certificate, where it is not the host in `to`.
    "server_name": one(&SERVER_NAME).example(r#""siem.example.com""#);
    /// `syslog+…` alone: what is kept on the disk at most for a receiver that does not take it, bytes. TCP and TLS need 80 MiB.
    "spool_bytes": integer(1 << 20, 1 << 30).default("134217728");
}

const FORMAT_WORDS: &[&str] = &words(&record::Format::ALL);
const FACILITY_WORDS: &[&str] = &words(&FACILITIES);
const FRAMING_WORDS: &[&str] = &words(&FRAMINGS);
