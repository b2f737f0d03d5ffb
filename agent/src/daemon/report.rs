//! What the kernel tells, on its way to the log and the screens.

use std::sync::Arc;

use bulkhead_common::layout::{Repeats, ViolationKey};
use tokio::sync::broadcast;

use super::{nics::Nics, past::Began, sinks::Sinks};
use crate::{
    config::Config,
    control::{SinkStatus, ViolationStatus},
    dataplane::{Dataplane, EventReader, monotonic_ns},
    model::Policy,
    observe::{Aggregate, Aggregator, Clock, Names, Recent, Teller, Tolerated, render},
    record::{Record, Violation},
};

/// Distinct violations the agent tells apart at the same time.
const DISTINCT: usize = 65_536;
/// New violations of one device and reason told one by one in a summary interval.
const FIRSTS: usize = 256;
/// Events taken between two writes to the log.
const CHUNK: usize = 4096;
/// Violations kept for `bulkhead violations`.
pub(super) const RECENT: usize = 1024;

/// From event to record.
pub(super) struct Reporter {
    teller: Teller,
    pub(super) names: Names,
    /// What passed although it was denied, since the agent began.
    pub(super) tolerated: Tolerated,
    pub(super) began: Began,
    aggregator: Aggregator,
    recent: Recent,
    sinks: Sinks,
    followers: broadcast::Sender<Arc<Record>>,
    seq: u64,
}

impl Reporter {
    pub(super) fn new(config: &Config, teller: Teller) -> Self {
        Self {
            teller,
            names: Names::default(),
            tolerated: Tolerated::default(),
            began: Began::default(),
            aggregator: Aggregator::new(DISTINCT, config.violations.summary, FIRSTS),
            recent: Recent::new(RECENT),
            sinks: Sinks::open(&config.sinks),
            followers: broadcast::channel(RECENT).0,
            seq: 0,
        }
    }

    /// Learns what interfaces are called now, and which addresses are the gateway's own.
    pub(super) fn place(&mut self, nics: &Nics) {
        self.names.set_interfaces(nics.names());
        self.names.set_gateway(nics.addresses.clone());
    }

    /// Learns the names of the revision in force, and which revisions the kernel's slots hold.
    pub(super) fn learn(&mut self, dataplane: &Dataplane, nics: &Nics, policy: &Policy) {
        self.place(nics);
        for head in dataplane.heads().unwrap_or_default() {
            self.names.learn_head(&head);
        }
        if let Some(applied) = dataplane.applied() {
            self.names.learn(applied.generation, &applied.tables, &applied.ids.devices, policy);
        }
    }

    /// Remembers what the kernel had counted before the agent saw anything.
    pub(super) fn begin(&mut self, dataplane: &Dataplane) {
        let devices = dataplane.applied().map(|applied| applied.ids.devices.as_slice()).unwrap_or_default();
        match Began::with(dataplane, devices) {
            Ok(began) => self.began = began,
            Err(error) => tracing::error!("what was denied before is not known: {error}"),
        }
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<Record>> {
        self.followers.subscribe()
    }

    pub(super) fn reopen(&mut self) {
        self.sinks.reopen();
    }

    /// Takes at most `most` events out of the ring; whether more may be there.
    pub(super) fn take_events(&mut self, events: &mut EventReader, most: usize) -> bool {
        let mut left = most;
        while left > 0 {
            // Told chunk by chunk: what is taken must not pile up before it is written.
            let chunk = left.min(CHUNK);
            left -= chunk;
            let mut told = Vec::new();
            let mut taken = 0;
            while taken < chunk
                && let Some(event) = events.next_record()
            {
                taken += 1;
                self.tolerated.event(&event);
                told.extend(self.aggregator.event(&event));
            }
            self.tell(told);
            if taken < chunk {
                return false;
            }
        }
        true
    }

    pub(super) fn take_repeats(&mut self, repeats: &[(ViolationKey, Repeats)]) {
        for chunk in repeats.chunks(CHUNK) {
            chunk.iter().for_each(|(key, repeats)| self.tolerated.repeats(key, repeats));
            let told = chunk.iter().flat_map(|(key, repeats)| self.aggregator.repeats(key, repeats));
            let told = told.collect();
            self.tell(told);
        }
    }

    pub(super) fn tick(&mut self, now: u64) {
        let told = self.aggregator.tick(now);
        self.tell(told);
    }

    /// Tells everything that is pending.
    pub(super) fn flush(&mut self) {
        let told = self.aggregator.flush();
        self.tell(told);
    }

    fn tell(&mut self, aggregates: Vec<Aggregate>) {
        if aggregates.is_empty() {
            return;
        }
        let clock = Clock { wall: jiff::Timestamp::now(), mono_ns: monotonic_ns() };
        for aggregate in aggregates {
            self.seq += 1;
            let violation = render(&aggregate, &self.names, &clock, &self.teller, self.seq);
            let record = Record::Violation(Box::new(violation));
            self.sinks.write(&record);
            // Nobody may be following.
            let _ = self.followers.send(Arc::new(record.clone()));
            self.recent.push(record);
        }
        self.sinks.flush();
    }

    /// The last records, oldest first.
    pub(super) fn recent(&self, last: usize) -> impl Iterator<Item = &Record> {
        self.recent.last(last)
    }

    /// A record, if it is still remembered.
    pub(super) fn find(&self, boot: &str, seq: u64) -> Option<&Violation> {
        match self.recent.get(seq) {
            Some(Record::Violation(one)) if one.boot == boot => Some(one),
            Some(Record::Violation(_) | Record::Gap(_) | Record::Heartbeat(_)) | None => None,
        }
    }

    /// How each sink fares.
    pub(super) fn sinks(&self) -> Vec<SinkStatus> {
        self.sinks.status()
    }

    /// Counts for `status`, the kernel's left out.
    pub(super) fn counts(&self) -> ViolationStatus {
        let totals = self.aggregator.totals();
        ViolationStatus {
            taken: totals.taken,
            told: totals.told,
            pending: totals.pending,
            evicted: totals.evicted,
            scanning: u64::try_from(totals.scans).unwrap_or(u64::MAX),
            written: self.sinks().iter().map(|sink| sink.written).sum(),
            refused: self.sinks().iter().map(|sink| sink.refused).sum(),
            ..ViolationStatus::default()
        }
    }
}
