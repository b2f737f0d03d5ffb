//! What the kernel tells, on its way to the log and the screens.

use std::sync::Arc;

use bulkhead_common::layout::{Repeats, ViolationKey};
use tokio::sync::broadcast;

use super::nics::Nics;
use crate::{
    config::{Config, ViolationFile},
    control::ViolationStatus,
    dataplane::{Dataplane, EventReader, monotonic_ns},
    observe::{Aggregate, Aggregator, Clock, Names, Recent, render},
    sink::{JsonLines, Target},
};

/// Distinct violations the agent tells apart at the same time.
const DISTINCT: usize = 65_536;
/// Violations kept for `bulkhead violations`.
pub(super) const RECENT: usize = 1024;

/// From event to record.
pub(super) struct Reporter {
    gateway: String,
    names: Names,
    aggregator: Aggregator,
    recent: Recent,
    log: JsonLines,
    followers: broadcast::Sender<Arc<serde_json::Value>>,
    seq: u64,
    taken: u64,
    told: u64,
    told_failure: bool,
}

impl Reporter {
    pub(super) fn new(config: &Config, gateway: String) -> Self {
        let target = match &config.violations.file {
            ViolationFile::Stdout => Target::Stdout,
            ViolationFile::Path(path) => Target::Path(path.clone()),
        };
        Self {
            gateway,
            names: Names::default(),
            aggregator: Aggregator::new(DISTINCT, config.violations.summary),
            recent: Recent::new(RECENT),
            log: JsonLines::open(target),
            followers: broadcast::channel(RECENT).0,
            seq: 0,
            taken: 0,
            told: 0,
            told_failure: false,
        }
    }

    /// Learns the names of the revision in force.
    pub(super) fn learn(&mut self, dataplane: &Dataplane, nics: &Nics) {
        self.names.set_interfaces(nics.names());
        if let Some(applied) = dataplane.applied() {
            self.names.learn(applied.generation, &applied.tables, &applied.ids.devices);
        }
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<serde_json::Value>> {
        self.followers.subscribe()
    }

    pub(super) fn reopen(&mut self) {
        self.log.reopen();
    }

    /// Takes at most `most` events out of the ring.
    pub(super) fn take_events(&mut self, events: &mut EventReader, most: usize) {
        let mut told = Vec::new();
        for _ in 0..most {
            let Some(event) = events.next_event() else { break };
            self.taken += 1;
            told.extend(self.aggregator.event(&event));
        }
        self.tell(told);
    }

    pub(super) fn take_repeats(&mut self, repeats: &[(ViolationKey, Repeats)]) {
        let mut told = Vec::new();
        for (key, repeats) in repeats {
            self.taken += repeats.packets;
            told.extend(self.aggregator.repeats(key, repeats));
        }
        self.tell(told);
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
        let clock = Clock::now(monotonic_ns());
        for aggregate in aggregates {
            self.seq += 1;
            self.told += aggregate.packets;
            let record = render(&aggregate, &self.names, &clock, &self.gateway, self.seq);
            let value = serde_json::to_value(&record).expect("a record is plain data with text keys");
            self.log.write(&serde_json::to_string(&record).expect("a record is plain data with text keys"));
            // Nobody may be following.
            let _ = self.followers.send(Arc::new(value.clone()));
            self.recent.push(value);
        }
        self.log.flush();
        match (self.log.failure(), self.told_failure) {
            (Some(failure), false) => tracing::error!("the violation log refuses records: {failure}"),
            (None, true) => tracing::info!("the violation log takes records again"),
            (Some(_), true) | (None, false) => {}
        }
        self.told_failure = self.log.failure().is_some();
    }

    /// The last records, oldest first.
    pub(super) fn recent(&self, last: usize) -> Vec<serde_json::Value> {
        self.recent.last(last)
    }

    /// Why the log does not take records, if it does not.
    pub(super) fn failure(&self) -> Option<String> {
        self.log.failure().map(str::to_owned)
    }

    /// Counts for `status`, the kernel's left out.
    pub(super) fn counts(&self) -> ViolationStatus {
        ViolationStatus {
            taken: self.taken,
            told: self.told,
            pending: self.aggregator.pending(),
            written: self.log.written(),
            refused: self.log.refused(),
            ..ViolationStatus::default()
        }
    }
}
