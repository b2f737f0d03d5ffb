//! What the control socket says of sinks.

use serde::{Deserialize, Serialize};

/// Where records go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Its destination, as configured: `file:/path`.
    pub to: String,
    /// What its receiver reads: `native`, `ecs`, `ocsf`, `cef` or `leef`.
    pub format: String,
    /// Records that it took.
    pub written: u64,
    /// Records that it refused.
    pub refused: u64,
    /// Whether it refused the last one.
    pub failing: bool,
    /// Why it last refused one, even if it took others since.
    pub last_error: Option<String>,
    /// What waits for a receiver somewhere else; `None` for a sink of this machine.
    #[serde(default)]
    pub spool: Option<SpoolStatus>,
}

impl SinkStatus {
    /// What is wrong with it, behind its name: records that wait are not lost.
    pub fn trouble(&self) -> Option<String> {
        let why = self.last_error.as_deref().filter(|_| self.failing)?;
        Some(match self.spool.as_ref().filter(|spool| !spool.failing) {
            Some(spool) if spool.connected => format!("has trouble with its spool, and records wait: {why}"),
            Some(_) => format!("cannot reach its receiver, and records wait: {why}"),
            None => format!("refuses records, which are lost: {why}"),
        })
    }
}

/// What waits for a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether the spool itself refused the last record.
    #[serde(default)]
    pub failing: bool,
    /// Bytes that are kept because the receiver has not surely read them.
    pub waiting_bytes: u64,
    /// Bytes of them that were not sent over the present connection; the others were, and are with the receiver if it is well.
    #[serde(default)]
    pub unsent_bytes: u64,
    /// Denied packets that these records account for.
    pub waiting_packets: u64,
    /// Bytes that were dropped before they were surely read, because the spool was full. The receiver may have them.
    pub dropped_bytes: u64,
    /// The last record that is surely on the disk, as its id `BOOT-SEQ`: a power cut takes none up to it.
    #[serde(default)]
    pub synced: Option<String>,
    /// Messages sent, those that were sent again included.
    pub sent: u64,
    /// Records that no message could be made of, those that were tried again included: a gap with cause `unsendable` is told
    /// instead of each.
    pub unsendable: u64,
    /// Connections that could not be made, or broke.
    pub failures: u64,
}

/// What the agent's own packets met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// When they were sent last: RFC 3339.
    pub checked: String,
    /// What was not as it should be; empty when all was.
    pub faults: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_is_away_costs_nothing_and_a_sink_that_refuses_does() {
        let error = Some("connection refused".to_owned());
        let spool = |failing| Some(SpoolStatus { failing, ..SpoolStatus::default() });
        let of = |failing, spool| SinkStatus {
            failing,
            last_error: error.clone(),
            spool,
            ..SinkStatus::default()
        };
        let refuses = Some("refuses records, which are lost: connection refused".to_owned());
        let waits = Some("cannot reach its receiver, and records wait: connection refused".to_owned());
        assert_eq!(of(true, None).trouble(), refuses);
        assert_eq!(of(true, spool(true)).trouble(), refuses);
        assert_eq!(of(true, spool(false)).trouble(), waits);
        // What went wrong once is no trouble any more.
        assert_eq!(of(false, None).trouble(), None);
    }
}
