//! What the kernel tells, on its way to the log and the screens.

use std::sync::Arc;

use bulkhead_common::layout::{Repeats, ViolationKey};
use tokio::sync::broadcast;

use super::{
    history::HistoryTeller, honesty::Honesty, ledger::Ledger, nics::Nics, past::Began, receivers::Receivers,
    remote::Home, sinks::Sinks, suspects::Suspects,
};
use crate::{
    config::Config,
    control::{SinkStatus, ViolationStatus},
    dataplane::{Dataplane, EventReader, Tally, kernel_version, monotonic_ns},
    model::Policy,
    observe::{Aggregate, Aggregator, Clock, Denial, Names, Recent, Teller, Tolerated, render},
    record::{Alarm, Gap, Heartbeat, Modes, Record, RecordId, Sighting, VERSION},
    sink,
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
    ledger: Ledger,
    /// Repeats that the last drain found.
    drained: usize,
    /// The agent's own packets.
    pub(super) honesty: Honesty,
    /// Who remembers who talks to whom.
    pub(super) history: Option<HistoryTeller>,
    /// Dropped packets of devices that are watched.
    pub(super) suspects: Suspects,
}

impl Reporter {
    /// `counters` names what the kernel counts with.
    pub(super) fn new(config: &Config, teller: Teller, counters: &str) -> Self {
        let home = Home {
            state: &config.state,
            gateway: &teller.gateway,
            counters,
            summary: config.violations.summary,
        };
        let sinks = Sinks::open(&config.sinks, home);
        Self {
            teller,
            names: Names::default(),
            tolerated: Tolerated::default(),
            began: Began::default(),
            aggregator: Aggregator::new(DISTINCT, config.violations.summary, FIRSTS),
            recent: Recent::new(RECENT),
            sinks,
            followers: broadcast::channel(RECENT).0,
            seq: 0,
            ledger: Ledger::default(),
            drained: 0,
            honesty: Honesty::new(config, kernel_version().1),
            history: None,
            suspects: Suspects::default(),
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

    /// Takes at most `most` events out of the ring; how many.
    pub(super) fn take_events(&mut self, events: &mut EventReader, most: usize) -> usize {
        let mut left = most;
        while left > 0 {
            // Told chunk by chunk: what is taken must not pile up before it is written.
            let chunk = left.min(CHUNK);
            left -= chunk;
            let mut told = Vec::new();
            let mut denied = Vec::new();
            let mut taken = 0;
            while taken < chunk
                && let Some(event) = events.next_record()
            {
                taken += 1;
                if self.honesty.take(&event.key, 1) {
                    continue;
                }
                self.tolerated.event(&event);
                denied.push(Denial::event(&event));
                told.extend(self.aggregator.event(&event));
            }
            self.remember(denied);
            self.tell(told);
            if taken < chunk {
                return most - left - (chunk - taken);
            }
        }
        most
    }

    pub(super) fn take_repeats(&mut self, repeats: &[(ViolationKey, Repeats)]) {
        self.drained = repeats.len();
        for chunk in repeats.chunks(CHUNK) {
            let mut told = Vec::new();
            let mut denied = Vec::new();
            for (key, repeats) in chunk {
                if self.honesty.take(key, repeats.packets) {
                    continue;
                }
                self.tolerated.repeats(key, repeats);
                denied.push(Denial::repeats(key, repeats));
                told.extend(self.aggregator.repeats(key, repeats));
            }
            self.remember(denied);
            self.tell(told);
        }
    }

    fn remember(&mut self, denied: Vec<Denial>) {
        self.suspects.take(&denied);
        if let Some(history) = &self.history {
            history.tell(denied);
        }
    }

    pub(super) fn tick(&mut self, now: u64) {
        let told = self.aggregator.tick(now);
        self.tell(told);
    }

    /// Tells everything that is pending, and takes leave of whoever is told.
    pub(super) fn finish(&mut self) {
        let told = self.aggregator.flush();
        self.tell(told);
        self.sinks.close();
    }

    /// Owns up to what is counted and will never be told. `tally` was read before everything the kernel had to tell was
    /// taken over; `None` when that failed.
    pub(super) fn reckon(&mut self, tally: Option<&Tally>) {
        let Some(tally) = tally else { return self.ledger.skip() };
        let pending = self.aggregator.pending() + self.honesty.untold();
        for owed in self.ledger.reckon(tally, pending, &self.sinks.accounts()) {
            self.seq += 1;
            let id = RecordId { boot: self.teller.boot.clone(), seq: self.seq };
            let gap = Gap::new(id, &self.teller.gateway, sink::now(), owed.cause, 0);
            self.sinks.owe(&gap, &owed);
            self.show(Record::Gap(Gap { count: owed.most(), ..gap }));
        }
        self.sinks.flush();
    }

    /// Tells at once what the agent did by itself; its number, time and gateway are put into it.
    pub(super) fn alarm(&mut self, alarm: Alarm) {
        self.seq += 1;
        let (gateway, boot) = (self.teller.gateway.clone(), self.teller.boot.clone());
        let record =
            Record::Alarm(Box::new(Alarm { time: sink::now(), gateway, boot, seq: self.seq, ..alarm }));
        self.sinks.write(&record);
        self.sinks.flush();
        self.show(record);
    }

    /// Tells what is new about devices; number and gateway are put into it.
    pub(super) fn sightings(&mut self, sightings: Vec<Sighting>) {
        if sightings.is_empty() {
            return;
        }
        for sighting in sightings {
            self.seq += 1;
            let (gateway, boot) = (self.teller.gateway.clone(), self.teller.boot.clone());
            let record = Record::Inventory(Box::new(Sighting { gateway, boot, seq: self.seq, ..sighting }));
            self.sinks.write(&record);
            self.show(record);
        }
        self.sinks.flush();
    }

    /// Tells that the agent is there.
    pub(super) fn heartbeat(
        &mut self,
        violations: u64,
        revision: Option<String>,
        modes: Modes,
        warnings: &[String],
    ) {
        self.seq += 1;
        let count = self.honesty.untold();
        let record = Record::Heartbeat(Heartbeat {
            v: VERSION,
            time: sink::now(),
            gateway: self.teller.gateway.clone(),
            boot: self.teller.boot.clone(),
            seq: self.seq,
            revision,
            modes,
            violations,
            warnings: warnings.iter().map(|warning| in_a_line(warning)).collect(),
            count,
        });
        self.honesty.told(count);
        self.sinks.write(&record);
        self.sinks.flush();
        self.show(record);
    }

    /// Shows a record to whoever asks the agent.
    fn show(&mut self, record: Record) {
        // Nobody may be following.
        let _ = self.followers.send(Arc::new(record.clone()));
        self.recent.push(record);
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
            self.show(record);
        }
        self.sinks.flush();
    }

    /// The last records, oldest first.
    pub(super) fn recent(&self, last: usize) -> impl Iterator<Item = &Record> {
        self.recent.last(last)
    }

    /// A record, if it is still remembered.
    pub(super) fn find(&self, boot: &str, seq: u64) -> Option<&Record> {
        self.recent.get(seq).filter(|record| record.id().boot == boot)
    }

    /// The agent run, and the last record of it that was told.
    pub(super) fn run(&self) -> (&str, u64) {
        (&self.teller.boot, self.seq)
    }

    /// Where those are now that take connections and are found by a name.
    pub(super) fn receivers(&self) -> Receivers {
        self.sinks.receivers()
    }

    /// What to say of spools that belong to no sink.
    pub(super) fn forgotten(&self) -> impl Iterator<Item = String> {
        self.sinks.forgotten()
    }

    /// How each sink fares.
    pub(super) fn sinks(&self) -> Vec<SinkStatus> {
        self.sinks.status()
    }

    /// Distinct violations: those that the kernel held at the last drain, those that the agent tells apart, and for how many
    /// the agent has room.
    pub(super) fn distinct(&self) -> [usize; 3] {
        [self.drained, self.aggregator.totals().entries, DISTINCT]
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

/// A warning as a record has it: what stands behind a line break on a screen follows a semicolon.
fn in_a_line(warning: &str) -> String {
    warning.replace("\nhint: ", "; ").replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_of_a_record_is_one_line() {
        let warning = "`g0` takes VLAN tags off (rxvlan)\nhint: ethtool -K g0 rxvlan off\nonce more";
        let line = "`g0` takes VLAN tags off (rxvlan); ethtool -K g0 rxvlan off; once more";
        assert_eq!(in_a_line(warning), line);
    }
}
