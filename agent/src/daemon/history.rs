//! The history of flows, beside the agent's loop: what the loop hears of denied packets, and what exporters elsewhere tell, goes to a
//! thread that adds it up and writes it now and then. Nothing here is waited for, but at the end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{
    collector::Collector,
    heard::{Heard, SharedBeats},
    shadow::SharedShadow,
};
use crate::{
    config,
    control::HistoryStatus,
    dataplane::{Dataplane, DataplaneError},
    history::Limits,
    observe::Denial,
    traffic::Row,
};

mod recorder;
#[cfg(test)]
mod tests;

pub(super) use recorder::clock;
use recorder::{Kernel, Recorder, Target};

/// Packets of the loop that wait to be looked at, in portions.
const PORTIONS: usize = 16;
/// At the end the agent waits so long for what is left to be written.
const LAST_WRITE: Duration = Duration::from_secs(10);

/// What the loop says.
enum Said {
    Denied(Vec<Denial>),
    /// What exporters elsewhere told of.
    Elsewhere(Vec<Row>),
    /// Write what there is, and say what is in the way.
    Write(SyncSender<Option<String>>),
    /// There is nothing more to come: a word that wakes the thread.
    Stop,
}

/// The loop's end.
pub(super) struct HistoryKeeper {
    /// What devices do steadily.
    pub(super) beats: SharedBeats,
    /// What judges all that is seen by a second policy.
    pub(super) shadow: SharedShadow,
    tell: SyncSender<Said>,
    missed: Arc<AtomicU64>,
    status: Arc<Mutex<HistoryStatus>>,
    /// The thread writes what is left and ends, once it has taken what was said.
    ends: Arc<AtomicBool>,
    done: Receiver<()>,
    collector: Option<Collector>,
}

/// Takes what is denied on its way to the log.
#[derive(Clone)]
pub(super) struct HistoryTeller {
    tell: SyncSender<Said>,
    missed: Arc<AtomicU64>,
}

impl HistoryTeller {
    /// Takes packets, or counts them when the history is behind.
    pub(super) fn tell(&self, denied: Vec<Denial>) {
        if denied.is_empty() {
            return;
        }
        let packets: u64 = denied.iter().map(|denial| denial.packets).sum();
        if self.tell.try_send(Said::Denied(denied)).is_err() {
            self.missed.fetch_add(packets, Ordering::Relaxed);
        }
    }
}

impl HistoryKeeper {
    /// Begins to remember.
    ///
    /// # Errors
    /// When a pinned map cannot be opened.
    pub(super) fn begin(config: &config::History, dataplane: &Dataplane) -> Result<Self, DataplaneError> {
        let (tell, said) = sync_channel(PORTIONS);
        let (finished, done) = sync_channel(1);
        let (missed, ends) = (Arc::default(), Arc::default());
        let file = config.file.display().to_string();
        let bytes_limit = config.file_bytes.into();
        let status = Arc::new(Mutex::new(HistoryStatus { file, bytes_limit, ..HistoryStatus::default() }));
        let (flows, leases, tally) =
            (dataplane.flow_reader()?, dataplane.lease_reader()?, dataplane.tally_reader()?);
        let collector = config.collector.as_ref().map(|collector| {
            let tell = tell.clone();
            let hand = move |rows| match tell.try_send(Said::Elsewhere(rows)) {
                Err(TrySendError::Full(Said::Elsewhere(rows))) => Err(rows),
                Ok(()) | Err(_) => Ok(()),
            };
            Collector::begin(collector, Box::new(hand))
        });
        let most = Limits { bytes: bytes_limit, days: config.days }.rows_of_a_day();
        let elsewhere = collector.as_ref().map(|collector| collector.elsewhere(most));
        let (its_missed, its_status, its_end) = (Arc::clone(&missed), Arc::clone(&status), Arc::clone(&ends));
        let beats = SharedBeats::default();
        let shadow = SharedShadow::default();
        let heard = Heard::new(&beats, &shadow);
        let limits = Limits { bytes: bytes_limit, days: config.days };
        let (path, flush) = (config.file.clone(), config.flush);
        // The thread may begin later, and conversations meanwhile.
        let begun = clock();
        thread::spawn(move || {
            let kernel = Kernel { flows, leases, tally };
            let target = Target { path, limits, history: None };
            let mut recorder = Recorder::new(kernel, target, begun, its_missed, its_status);
            (recorder.heard, recorder.elsewhere) = (heard, elsewhere);
            recorder.run(&said, &its_end, flush);
            let _ = finished.send(());
        });
        Ok(Self { beats, shadow, tell, missed, status, ends, done, collector })
    }

    pub(super) fn teller(&self) -> HistoryTeller {
        HistoryTeller { tell: self.tell.clone(), missed: Arc::clone(&self.missed) }
    }

    pub(super) fn status(&self) -> HistoryStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.collector = self.collector.as_ref().map(Collector::status);
        if let Err(TryRecvError::Disconnected) = self.done.try_recv() {
            // Nobody takes what is said to it any more.
            status.refused = status.refused.saturating_add(self.missed.load(Ordering::Relaxed));
            status.problem =
                Some("whoever keeps it has failed: nothing is added until the agent begins anew".to_owned());
        }
        status
    }

    /// Has everything written that was seen until now; none where too much waits already. Who receives is told what is in the way.
    pub(super) fn write_now(&self) -> Option<Receiver<Option<String>>> {
        let (done, written) = sync_channel(1);
        self.tell.try_send(Said::Write(done)).ok().map(|()| written)
    }

    /// Writes what is left.
    pub(super) fn finish(&self) {
        // What exporters told last comes before the end.
        self.collector.iter().for_each(Collector::finish);
        self.ends.store(true, Ordering::Release);
        // Where there is no room for the word, there is something else that wakes the thread.
        let _ = self.tell.try_send(Said::Stop);
        // A disk that hangs must not hold up the end of the agent.
        if self.done.recv_timeout(LAST_WRITE).is_err() {
            tracing::error!("the history of the last moments is not written");
        }
    }
}
