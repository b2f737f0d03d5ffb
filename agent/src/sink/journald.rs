//! Records as entries of the systemd journal, by its native protocol (systemd, `JOURNAL_NATIVE_PROTOCOL`): one datagram a
//! record, a field a line.
//!
//! In: records. Out: `MESSAGE`, `PRIORITY` and a field `BULKHEAD_…` for each field of the record, so that `journalctl
//! BULKHEAD_DEVICE=press-plc` finds it; a record in another format is in `BULKHEAD_RECORD`. Nobody waits: a journal that is
//! full or not there refuses, and that is counted.

use std::{io, os::unix::net::UnixDatagram, path::PathBuf};

use serde_json::Value;

use super::{
    Status, encode,
    format::{Level, sentence, severity_of, tame},
};
use crate::record::{Format, Record};

/// The facility local0, as `SYSLOG_FACILITY` has it (RFC 5424 6.2.1).
const FACILITY: &str = "16";

/// A journal.
pub(super) struct Journal {
    path: PathBuf,
    /// `None` when the next record has to make it.
    socket: Option<UnixDatagram>,
    status: Status,
}

impl Journal {
    /// The journal behind a socket; whether it is there shows with each record.
    pub(super) fn open(path: PathBuf) -> Self {
        let status = Status::of(path.display().to_string());
        let mut journal = Self { path, socket: None, status };
        journal.reopen();
        journal
    }

    pub(super) fn reopen(&mut self) {
        self.socket = None;
        if let Err(cause) = self.ready() {
            self.refuse(0, &cause);
        }
    }

    /// One entry.
    pub(super) fn write(&mut self, record: &Record, format: Format) {
        let entry = entry(record, format);
        let sent = self.ready().and_then(|socket| socket.send(entry.as_bytes()));
        match sent {
            Ok(_) => {
                self.status.written += 1;
                self.status.failing = false;
            }
            Err(cause) => {
                // A journal that was restarted listens on a new socket of the same name.
                if cause.kind() != io::ErrorKind::WouldBlock {
                    self.socket = None;
                }
                self.refuse(1, &cause);
            }
        }
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    fn refuse(&mut self, records: u64, cause: &io::Error) {
        let path = self.path.display();
        let full = cause.kind() == io::ErrorKind::WouldBlock;
        let why = if full { "it is full".to_owned() } else { cause.to_string() };
        self.status.refuse(records, format!("failed to write to the journal `{path}`: {why}"));
    }

    fn ready(&mut self) -> io::Result<&UnixDatagram> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(&self.path)?;
                socket
            }
        };
        Ok(self.socket.insert(socket))
    }
}

/// The datagram of a record.
fn entry(record: &Record, format: Format) -> String {
    let record = &tame(record, Level::FULL);
    let mut out = String::new();
    put(&mut out, "MESSAGE", &sentence(record));
    put(&mut out, "PRIORITY", &super::syslog::priority(severity_of(record)).to_string());
    put(&mut out, "SYSLOG_IDENTIFIER", "bulkhead");
    put(&mut out, "SYSLOG_FACILITY", FACILITY);
    flatten(&mut out, "BULKHEAD", &serde_json::to_value(record).unwrap_or_default());
    if format != Format::Native {
        put(&mut out, "BULKHEAD_RECORD", &encode(format, record));
    }
    out
}

/// A field. No value has an end of line, which the protocol would write otherwise.
fn put(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push('=');
    out.push_str(value);
    out.push('\n');
}

/// A field for each leaf, named by the way to it; what is absent has none.
fn flatten(out: &mut String, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (field, value) in fields {
                flatten(out, &format!("{name}_{}", field.to_uppercase()), value);
            }
        }
        // A field may come several times.
        Value::Array(values) => values.iter().for_each(|value| flatten(out, name, value)),
        Value::String(text) => put(out, name, text),
        Value::Bool(_) | Value::Number(_) => put(out, name, &value.to_string()),
    }
}

#[cfg(test)]
mod tests;
