//! The sinks of this gateway: every record goes to each.
//!
//! In: records. Out: each of them in the file, on the stream and in the journal that the configuration names, and a line in the
//! agent's own log when a sink begins or ceases to refuse them.

use std::path::PathBuf;

use crate::{
    config::{Destination, Sink},
    control::SinkStatus,
    record::Record,
    sink::{Local, Place},
};

/// Where the journal takes records (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The sinks.
pub(super) struct Sinks(Vec<Open>);

/// One that is on this machine. Those of the network read their spools, in threads of their own.
struct Open {
    sink: Sink,
    local: Local,
    told_failure: bool,
}

impl Sinks {
    pub(super) fn open(sinks: &[Sink]) -> Self {
        let open = |sink: &Sink| {
            let place = match &sink.to {
                Destination::Stdout => Place::Stdout,
                Destination::Journald => Place::Journal(PathBuf::from(JOURNAL)),
                Destination::File { path, rotate_bytes, keep } => {
                    Place::File { path: path.clone(), rotate_bytes: u64::from(*rotate_bytes), keep: *keep }
                }
                Destination::Syslog(_) => return None,
            };
            Some(Open { local: Local::open(place, sink.format), sink: sink.clone(), told_failure: false })
        };
        Self(sinks.iter().filter_map(open).collect())
    }

    /// Adds a record to the batch of each.
    pub(super) fn write(&mut self, record: &Record) {
        self.0.iter_mut().for_each(|open| open.local.write(record));
    }

    /// Writes the batches, and tells of sinks that began or ceased to fail.
    pub(super) fn flush(&mut self) {
        for Open { sink, local, told_failure } in &mut self.0 {
            local.flush();
            let status = local.status();
            match (status.failing, *told_failure) {
                (true, false) => {
                    let why = status.last_error.as_deref().unwrap_or_default();
                    tracing::error!("sink `{}` refuses records: {why}", sink.name);
                }
                (false, true) => tracing::info!("sink `{}` takes records again", sink.name),
                (true, true) | (false, false) => {}
            }
            *told_failure = status.failing;
        }
    }

    /// Opens all of them anew, as after somebody else rotated a file.
    pub(super) fn reopen(&mut self) {
        self.0.iter_mut().for_each(|open| open.local.reopen());
    }

    /// How each fares.
    pub(super) fn status(&self) -> Vec<SinkStatus> {
        let status = |Open { sink, local, .. }: &Open| {
            let status = local.status();
            SinkStatus {
                name: sink.name.clone(),
                to: sink.to(),
                format: sink.format.name().to_owned(),
                written: status.written,
                refused: status.refused,
                failing: status.failing,
                last_error: status.last_error.clone(),
            }
        };
        self.0.iter().map(status).collect()
    }
}
