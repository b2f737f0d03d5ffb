//! The numbers for monitoring systems.
//!
//! What the agent knows anyway is gathered in its loop. Counters of devices and rules take a call of the kernel each, and flows
//! one each to be counted: they are read beside the loop, through handles of their own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bulkhead_common::forward::fate;
use jiff::Timestamp;

use super::{
    Agent,
    answers::UNMANAGED,
    input::Scrape,
    log,
    series::{Series, labels},
};
use crate::{
    compile::Tables,
    control::{HistoryStatus, InventoryStatus, SinkStatus},
    dataplane::{AttachMode, CounterReader, DataplaneError, FlowReader, StableIds},
    metrics::{
        HistoryNumbers, InterfaceNumbers, InventoryNumbers, SinkNumbers, Snapshot, SpoolNumbers, TableNumbers,
    },
};

/// The counters of traffic of which neither end is a device.
const NO_DEVICE: u32 = 0;

/// What is left to read, and what is known already.
pub struct Gathered {
    known: Snapshot,
    counters: CounterReader,
    flows: FlowReader,
    policy: Option<(Arc<Tables>, StableIds)>,
    flows_limit: u64,
    flows_made: u64,
    /// The most that was told of flows that made room. Flows come and go while they are counted, and a counter that goes back
    /// would be taken for one that began anew.
    flows_evicted: Arc<AtomicU64>,
    series: Arc<Mutex<Series>>,
}

impl Agent {
    /// The metrics endpoint has something.
    pub(super) fn scraped(&mut self, scrape: Scrape) {
        match scrape {
            // Whoever asked may have left.
            Scrape::Wanted(back) => {
                self.sweep();
                drop(back.send(self.gather_metrics()));
            }
            Scrape::Listens(Ok(())) => drop(self.warnings.remove("metrics")),
            Scrape::Listens(Err(why)) => drop(self.warnings.insert("metrics", why)),
        }
    }

    fn gather_metrics(&self) -> Result<Gathered, DataplaneError> {
        let applied = self.dataplane.applied();
        let (tally, counts) = (self.dataplane.tally()?, self.reporter.counts());
        let names = applied.map(|applied| self.names.status(&applied.tables)).unwrap_or_default();
        let sizes = self.dataplane.sizes();
        let interfaces = self.nics.list.iter().map(|nic| {
            Ok(InterfaceNumbers {
                name: nic.config.name.clone(),
                attached: nic.attached.map_or("none", AttachMode::name).to_owned(),
                counters: self.dataplane.interface_counts(nic.counter)?,
            })
        });
        let table = |name, entries: usize, limit: u64| TableNumbers { name, entries: entries as u64, limit };
        let [violations, aggregates, most_aggregates] = self.reporter.distinct();
        let size = |of: fn(&Tables) -> usize| applied.map_or(0, |applied| of(&applied.tables));
        let tables = vec![
            table("devices", size(|tables| tables.devices.len()), self.limits.devices.into()),
            table("rules", size(|tables| tables.rules.len()), self.limits.rules.into()),
            table("rows", size(|tables| tables.rows.len()), self.limits.rows.into()),
            table("leases", self.dataplane.leases()?.len(), sizes.devices.into()),
            table("names", names.known, self.config.limits.names.into()),
            table("violations", violations, sizes.violations.into()),
            table("aggregates", aggregates, most_aggregates as u64),
        ];
        let known = Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: seconds(&self.since).unwrap_or_default(),
            warnings: self.all_warnings().len() as u64,
            revision: self.revision(),
            number: self.pointer.current,
            made: self.calendar.when_made().map(since_1970),
            confirmed: self.pointer.confirmed.as_deref().and_then(seconds),
            pending: self.pointer.pending.is_some(),
            rollout: self.watcher.counts(),
            shadow: self.shadow_numbers(),
            rollout_stages: self.stage_counts().into_iter().map(|(word, n)| (word, n as u64)).collect(),
            modes: self.modes(),
            honest: self.reporter.honesty.status().map(|status| status.faults.is_empty()),
            interfaces: interfaces.collect::<Result<_, DataplaneError>>()?,
            violations: tally.violations,
            stages: vec![
                ("delivered", tally.delivered),
                ("aggregated", tally.aggregated),
                ("lost", tally.lost),
                ("taken", counts.taken),
                ("told", counts.told),
            ],
            waiting: counts.pending,
            tables,
            refused: vec![
                ("flows", tally.flows_refused),
                ("fragments", tally.fragments_refused),
                ("leases", tally.leases_refused),
                ("samples", tally.samples_lost),
                ("names", names.full),
                ("log", log::refused()),
            ],
            forwarded: match self.config.forwards_directly() {
                true => fate::NAMES.into_iter().zip(self.dataplane.forwarded()?).collect(),
                false => Vec::new(),
            },
            sinks: self.reporter.sinks().into_iter().map(sink).collect(),
            history: self.history.as_ref().map(|keeper| history(keeper.status())),
            inventory: self.inventory.as_ref().map(|keeper| inventory(keeper.status())),
            // Read beside the loop.
            devices: Vec::new(),
            rules: Vec::new(),
            flows_evicted: 0,
        };
        Ok(Gathered {
            known,
            counters: self.dataplane.counter_reader()?,
            flows: self.dataplane.flow_reader()?,
            policy: applied.map(|applied| (Arc::clone(&applied.tables), applied.ids.clone())),
            flows_limit: sizes.flows.into(),
            flows_made: tally.flows_made,
            flows_evicted: Arc::clone(&self.flows_evicted),
            series: Arc::clone(&self.series),
        })
    }
}

impl Gathered {
    /// Reads the rest.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub(super) fn read(self) -> Result<Snapshot, DataplaneError> {
        let Self { known, counters, flows, policy, flows_limit, flows_made, flows_evicted, series } = self;
        let flows = flows.count()? as u64;
        let evicted = flows_made.saturating_sub(flows);
        let evicted = flows_evicted.fetch_max(evicted, Ordering::Relaxed).max(evicted);
        let mut names = BTreeMap::from([(NO_DEVICE, UNMANAGED)]);
        let mut rules = BTreeMap::new();
        if let Some((tables, ids)) = &policy {
            names.extend(ids.devices.iter().copied().zip(tables.devices.iter().map(|one| one.name.as_str())));
            rules.extend(ids.rules.iter().copied().zip(labels(&tables.rules)));
        }
        let device = |id: &u32| counters.device(*id).map(|counts| (*id, counts));
        let device_counts = names.keys().map(device).collect::<Result<_, _>>()?;
        let rule = |id: &u32| counters.rule(*id).map(|counts| (*id, [counts.packets, counts.bytes]));
        let rule_counts = rules.keys().map(rule).collect::<Result<_, _>>()?;
        // Whoever panicked with it has left places that are right one by one.
        let mut series = series.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = series.devices(&names, &device_counts);
        let rules = series.rules(&rules, &rule_counts);
        let mut tables = known.tables;
        tables.insert(0, TableNumbers { name: "flows", entries: flows, limit: flows_limit });
        Ok(Snapshot { devices, rules, tables, flows_evicted: evicted, ..known })
    }
}

fn history(status: HistoryStatus) -> HistoryNumbers {
    HistoryNumbers {
        up: status.problem.is_none(),
        bytes: status.bytes,
        limit: status.bytes_limit,
        rows: status.rows,
        written: status.written_rows,
        refused: status.refused,
        damaged: status.set_aside,
    }
}

fn inventory(status: InventoryStatus) -> InventoryNumbers {
    InventoryNumbers {
        up: status.problem.is_none(),
        devices: [status.known, status.unknown],
        frames: status.frames,
        lost: [
            ("over-budget", status.over_budget),
            ("dropped", status.dropped),
            ("refused", status.refused),
            ("forgotten", status.forgotten),
        ],
        untold: status.untold,
    }
}

fn sink(status: SinkStatus) -> SinkNumbers {
    let SinkStatus { name, to: _, format: _, written, refused, failing, last_error: _, spool } = status;
    let mut records = vec![("taken", written), ("refused", refused)];
    records.extend(spool.iter().flat_map(|spool| [("sent", spool.sent), ("unsendable", spool.unsendable)]));
    let spool = spool.map(|spool| SpoolNumbers {
        bytes: spool.waiting_bytes,
        packets: spool.waiting_packets,
        dropped: spool.dropped_bytes,
        failures: spool.failures,
    });
    SinkNumbers { name, up: !failing, records, spool }
}

/// Seconds since 1970 of a time in RFC 3339.
fn seconds(time: &str) -> Option<f64> {
    time.parse().ok().map(since_1970)
}

fn since_1970(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SpoolStatus;

    #[test]
    fn a_sink_without_a_spool_has_no_numbers_of_one() {
        let local = SinkStatus { name: "log".to_owned(), written: 2, refused: 1, ..SinkStatus::default() };
        let spool = SpoolStatus {
            waiting_bytes: 5,
            waiting_packets: 4,
            sent: 3,
            unsendable: 1,
            ..SpoolStatus::default()
        };
        let remote = SinkStatus { failing: true, spool: Some(spool), ..local.clone() };
        let (local, remote) = (sink(local), sink(remote));
        assert_eq!((local.up, local.records, local.spool), (true, vec![("taken", 2), ("refused", 1)], None));
        let records = vec![("taken", 2), ("refused", 1), ("sent", 3), ("unsendable", 1)];
        assert_eq!((remote.up, remote.records), (false, records));
        assert_eq!(remote.spool, Some(SpoolNumbers { bytes: 5, packets: 4, dropped: 0, failures: 0 }));
    }

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:01:00.5Z"), Some(60.5));
        assert_eq!(seconds(""), None);
    }
}
