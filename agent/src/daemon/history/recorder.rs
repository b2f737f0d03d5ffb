//! The thread of the history: what it is told, and what a look at the kernel's flows says, is added up in memory and written now and then.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use bulkhead_common::wire::mac;

use super::{
    super::{
        collector::Elsewhere,
        heard::Heard,
        stretch::{Looked, Stretch, moved},
    },
    Said,
};
use crate::{
    control::HistoryStatus,
    dataplane::{DataplaneError, FlowReader, LeaseReader, Tally, TallyReader, monotonic_ns},
    history::{Added, History, HistoryError, Limits, Watched, is_worth_writing},
    model::Mac,
    observe::{Clock, Conversations, Denial, Denied, Leased, Look},
    traffic::{Day, Row, Sum, Unseen, Why},
};

/// How often the kernel's flows are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A look may take so much of the time: with very many flows there are fewer looks.
const LOOK_SHARE: u32 = 50;
/// Whose an address is may change: leases are no older than this when packets are looked at.
const LEASES_EVERY: Duration = Duration::from_secs(1);
/// Flows that are looked at.
const MOST_FLOWS: usize = 1 << 18;
/// Rows that wait in memory, of some 200 bytes.
const MOST_ROWS: usize = 1 << 16;
/// Rows that wait are written early when there are more, but no more often than this.
const EARLY: (usize, Duration) = (MOST_ROWS / 2, Duration::from_secs(5));

/// What is asked of the kernel.
pub(super) struct Kernel {
    pub(super) flows: FlowReader,
    pub(super) leases: LeaseReader,
    pub(super) tally: TallyReader,
}

/// Where everything goes.
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) limits: Limits,
    pub(super) history: Option<History>,
}

/// What the kernel had counted, up to which everything is accounted for.
#[derive(Clone, Copy)]
struct Accounted {
    /// Flows made that nobody read.
    unread: u64,
    /// Denied packets that were told to nobody.
    lost: u64,
}

/// The thread.
pub(super) struct Recorder {
    /// None where nobody is heard.
    pub(super) elsewhere: Option<Elsewhere>,
    kernel: Kernel,
    target: Target,
    missed: Arc<AtomicU64>,
    status: Arc<Mutex<HistoryStatus>>,
    conversations: Conversations,
    pub(super) heard: Heard,
    denied: Denied,
    leased: Leased,
    leases_read: Instant,
    sum: Sum,
    /// What is missing and not written yet, by reason.
    unseen: BTreeMap<Why, Unseen>,
    /// What the agent has been looking at since it began.
    all: Stretch,
    /// And since it last wrote.
    since: Stretch,
    /// Flows made that were not read until the last look.
    unread: u64,
    /// None before the first look.
    accounted: Option<Accounted>,
    /// Rows in the file of the present day.
    today: u64,
    /// The file says since when it is watched, and nothing else: this agent began it.
    is_bare: bool,
    /// Damaged files, by those who had the history open before.
    set_aside: u64,
    trouble: Option<String>,
}

impl Recorder {
    pub(super) fn new(
        kernel: Kernel,
        target: Target,
        clock: Clock,
        missed: Arc<AtomicU64>,
        status: Arc<Mutex<HistoryStatus>>,
    ) -> Self {
        let since = Stretch::begin(&clock);
        let mut recorder = Self {
            elsewhere: None,
            kernel,
            target,
            missed,
            status,
            conversations: Conversations::new(clock.mono_ns),
            heard: Heard::default(),
            denied: Denied::default(),
            leased: Leased::new(),
            leases_read: Instant::now(),
            sum: Sum::new(MOST_ROWS),
            unseen: BTreeMap::new(),
            all: since,
            since,
            unread: u64::MAX,
            accounted: None,
            today: 0,
            is_bare: false,
            set_aside: 0,
            trouble: None,
        };
        let now = clock.wall.as_second();
        match recorder.open(&clock).and_then(|history| history.unwatched(now)) {
            Ok(None) => match recorder.target.history.as_ref().map(History::first_day) {
                // The clock is behind all that is written: what was before is in it.
                Some(Ok(Some(_))) => {}
                // Whatever the kernel remembers is in no history yet.
                _ => {
                    recorder.conversations = Conversations::new(0);
                    recorder.begin(now);
                }
            },
            Ok(Some(_)) if recorder.has_no_row() => recorder.conversations = Conversations::new(0),
            Ok(Some(ago)) => {
                // What began after the last agent's end is nobody's yet.
                let ago = ago.saturating_sub(1).saturating_mul(1_000_000_000);
                recorder.conversations = Conversations::new(clock.mono_ns.saturating_sub(ago));
            }
            Err(error) => recorder.is_in_trouble(&error),
        }
        recorder.tell_status();
        recorder
    }

    pub(super) fn run(mut self, said: &Receiver<Said>, ends: &AtomicBool, flush: Duration) {
        self.look();
        let mut look_at = Instant::now() + LOOK_EVERY;
        let (mut written, mut times) = (Instant::now(), 0);
        loop {
            let many = self.sum.len() >= EARLY.0 && written.elapsed() >= EARLY.1;
            let write_at = written + flush * (times + 1);
            let wait = look_at.min(write_at).saturating_duration_since(Instant::now());
            let is_alone = match said.recv_timeout(if many { Duration::ZERO } else { wait }) {
                Ok(Said::Denied(denied)) => {
                    self.take(&denied);
                    false
                }
                Ok(Said::Elsewhere(rows)) => {
                    self.elsewhere_tells(rows);
                    false
                }
                Ok(Said::Write(done)) => {
                    let unseen = self.look();
                    self.write();
                    (written, times) = (Instant::now(), 0);
                    // Whoever asked may have left.
                    let _ = done.try_send(self.trouble.clone().or(unseen));
                    false
                }
                Ok(Said::Stop) | Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let stops = is_alone || ends.load(Ordering::Acquire);
            if stops {
                // What was said before the end.
                said.try_iter().for_each(|said| match said {
                    Said::Denied(denied) => self.take(&denied),
                    Said::Elsewhere(rows) => self.elsewhere_tells(rows),
                    Said::Write(_) | Said::Stop => {}
                });
            }
            let now = Instant::now();
            if stops || now >= look_at {
                self.look();
                look_at = Instant::now() + LOOK_EVERY.max(now.elapsed() * LOOK_SHARE);
            }
            if now >= write_at {
                times += 1;
            }
            if stops || many || is_worth_writing(self.sum.len(), self.today, times) {
                self.write();
                (written, times) = (Instant::now(), 0);
            }
            if stops {
                return;
            }
        }
    }

    /// Takes denied packets.
    fn take(&mut self, denied: &[Denial]) {
        let clock = clock();
        if self.leases_read.elapsed() >= LEASES_EVERY
            && let Err(error) = self.read_leases(&clock)
        {
            tracing::error!("{error}");
        }
        for denial in denied {
            if denial.is_untold() {
                let at = |mono: u64| clock.at(mono).as_second();
                self.miss(Why::Untold, at(denial.first), at(denial.last), denial.packets);
            } else if let Some((kind, seen)) = self.denied.take(denial, &clock, &self.leased) {
                self.heard.take(kind, &seen, &clock);
                self.sum.add(kind, &seen);
                // A packet that was dropped is no conversation.
                if denial.key.dropped == 0 {
                    self.elsewhere.iter_mut().for_each(|elsewhere| elsewhere.note(&kind, &seen));
                }
            }
        }
    }

    /// Takes what exporters told of; it waits for the next look.
    fn elsewhere_tells(&mut self, rows: Vec<Row>) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.wait(rows);
        }
    }

    /// Looks at the kernel's flows, and accounts for those that are not there any more. Answers why it could not.
    fn look(&mut self) -> Option<String> {
        let failed = self.try_look().err().map(|error| format!("the flows could not be looked at: {error}"));
        if let Some(failed) = &failed {
            tracing::error!("{failed}");
        }
        let missed = self.missed.swap(0, Ordering::Relaxed);
        let Watched { from, to } = self.since.up_to(&clock()).watched;
        self.miss(Why::Untold, from, to, missed);
        failed
    }

    fn try_look(&mut self) -> Result<(), DataplaneError> {
        let clock = clock();
        self.read_leases(&clock)?;
        // Before the flows: one that is made meanwhile is met before it is counted, and not the other way round.
        let tally = self.kernel.tally.read()?;
        let Self { conversations, sum, leased, elsewhere, heard, .. } = self;
        let look = Look { clock, leased };
        conversations.begin();
        self.kernel.flows.each(MOST_FLOWS, |key, flow| {
            if let Some((kind, seen)) = conversations.take(key, flow, &look) {
                heard.take(kind, &seen, &clock);
                sum.add(kind, &seen);
                elsewhere.iter_mut().for_each(|elsewhere| elsewhere.note(&kind, &seen));
            }
        })?;
        elsewhere.iter_mut().for_each(|elsewhere| elsewhere.looked(sum));
        conversations.end(clock.mono_ns);
        heard.looked(&clock);
        let unread = |tally: &Tally| {
            tally.flows_made.saturating_add(tally.flows_refused).saturating_sub(conversations.met())
        };
        let Some(before) = self.accounted else {
            // Whatever was made until now is looked at next time, or was before the agent.
            let tally = self.kernel.tally.read()?;
            self.accounted = Some(Accounted { unread: unread(&tally), lost: tally.lost });
            return Ok(());
        };
        // A walk through a table that changes misses some, and the next one meets them.
        let now = unread(&tally);
        let unread = now.min(std::mem::replace(&mut self.unread, now)).max(before.unread);
        let lost = tally.lost.max(before.lost);
        self.accounted = Some(Accounted { unread, lost });
        let Watched { from, to } = self.since.up_to(&clock).watched;
        self.miss(Why::Forgotten, from, to, unread - before.unread);
        self.miss(Why::Untold, from, to, lost - before.lost);
        Ok(())
    }

    fn read_leases(&mut self, clock: &Clock) -> Result<(), DataplaneError> {
        self.leases_read = Instant::now();
        let leases = self.kernel.leases.read()?;
        let live = leases.into_iter().filter(|(_, lease)| lease.expires > clock.mono_ns);
        self.leased = live.map(|(address, lease)| (address, Mac(mac::octets(lease.mac)))).collect();
        Ok(())
    }

    /// Notes that something is missing.
    fn miss(&mut self, why: Why, from: i64, to: i64, count: u64) {
        if count == 0 {
            return;
        }
        let one = self.unseen.entry(why).or_insert(Unseen { from, to, why, count: 0 });
        (one.from, one.to) = (one.from.min(from), one.to.max(to));
        one.count = one.count.saturating_add(count);
        self.change(|status| status.refused = status.refused.saturating_add(count));
    }

    /// Writes what was added up. What cannot be written stays in memory, as far as there is room.
    fn write(&mut self) {
        let clock = clock();
        let Looked { watched, is_apart } = self.since.up_to(&clock);
        let (mut rows, refused) = self.sum.take();
        if is_apart {
            let by = self.since.was_set_by(&clock);
            rows = rows.into_iter().map(|row| moved(row, watched, by)).collect();
            // What is missing is missing within that time, too.
            for gap in self.unseen.values_mut().filter(|gap| gap.why != Why::Stopped) {
                (gap.from, gap.to) = (gap.from.max(watched.from).min(watched.to), watched.to);
            }
        }
        let why = if self.trouble.is_some() { Why::Unwritten } else { Why::Full };
        self.miss(why, watched.from, watched.to, refused);
        // A history that began under a clock that was wrong begins when it is right.
        if is_apart && self.is_bare {
            self.begin(watched.from);
        }
        // To open it may tell of another gap, and so does a clock that was set.
        let opened = self.open(&clock).and_then(|history| history.watched_until(watched.from));
        let ended = opened.and_then(|until| {
            if is_apart {
                self.nobody_looked(until, watched.from);
            }
            let unseen: Vec<Unseen> = self.unseen.values().copied().collect();
            self.open(&clock)?.add(&rows, &unseen, Some(watched))
        });
        match ended {
            Ok(Added { rows, refused }) => {
                self.unseen.clear();
                self.is_bare = false;
                self.since = Stretch::begin(&clock);
                let (history, today) = (self.target.history.as_ref(), Day::of(watched.to));
                self.today = history.and_then(|history| history.rows_of(today).ok()).unwrap_or(0);
                if self.trouble.take().is_some() {
                    tracing::info!("the history is written again");
                }
                self.change(|status| {
                    status.written_rows += rows;
                    status.refused = status.refused.saturating_add(refused);
                    status.written = Some(jiff::Timestamp::now().to_string());
                });
            }
            Err(error) => {
                rows.iter().for_each(|row| self.sum.add(row.kind, &row.seen));
                self.is_in_trouble(&error);
                // It is opened anew, whatever became of it.
                self.set_aside += self.target.history.take().map_or(0, |history| history.set_aside());
            }
        }
        self.tell_status();
    }

    /// The history; opened when it was not yet, and then it is known how long nobody looked.
    fn open(&mut self, clock: &Clock) -> Result<&mut History, HistoryError> {
        let opened = match self.target.history.take() {
            Some(opened) => opened,
            None => {
                let opened = History::open(&self.target.path, self.target.limits)?;
                let began = self.all.up_to(clock).watched.from;
                self.nobody_looked(opened.watched_until(began)?, began);
                opened
            }
        };
        Ok(self.target.history.insert(opened))
    }

    /// Says at once that it is watched from now on: whoever comes after a kill knows then since when nobody looked.
    fn begin(&mut self, now: i64) {
        let Some(history) = &mut self.target.history else { return };
        match history.begin(now) {
            Ok(()) => self.is_bare = true,
            Err(error) => self.is_in_trouble(&error),
        }
    }

    /// Whether an agent before this one began the history and came to nothing.
    fn has_no_row(&self) -> bool {
        self.target.history.as_ref().is_some_and(|history| history.rows().is_ok_and(|rows| rows == 0))
    }

    /// Notes that nobody looked between two times, if there was somebody before.
    fn nobody_looked(&mut self, since: Option<i64>, until: i64) {
        if let Some(from) = since.filter(|since| *since < until) {
            let gap = self.unseen.entry(Why::Stopped).or_insert(Unseen {
                from,
                to: until,
                why: Why::Stopped,
                count: 0,
            });
            (gap.from, gap.to) = (gap.from.min(from), gap.to.max(until));
        }
    }

    fn is_in_trouble(&mut self, error: &HistoryError) {
        let trouble = error.caused();
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::error!("{trouble}; what is new waits in memory");
        }
        self.trouble = Some(trouble);
    }

    /// Says how it goes; what cannot be told stays as it was.
    fn tell_status(&self) {
        let Some(history) = &self.target.history else {
            return self.change(|status| status.problem.clone_from(&self.trouble));
        };
        // Asked before the status is locked: the agent's loop reads it, and must not wait for a disk.
        let first = history.first_day().ok().flatten();
        let (bytes, rows, gone) = (history.bytes().ok(), history.rows().ok(), history.gone().ok());
        self.change(|status| {
            status.bytes = bytes.unwrap_or(status.bytes);
            status.rows = rows.unwrap_or(status.rows);
            status.gone_rows = gone.map_or(status.gone_rows, |gone| gone.rows);
            status.set_aside = self.set_aside + history.set_aside();
            status.since = first.map(|day| day.to_string()).or(status.since.take());
            status.problem.clone_from(&self.trouble);
        });
    }

    fn change(&self, change: impl FnOnce(&mut HistoryStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

pub(in crate::daemon) fn clock() -> Clock {
    Clock { wall: jiff::Timestamp::now(), mono_ns: monotonic_ns() }
}
