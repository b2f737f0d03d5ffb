//! The sinks of this gateway: every record goes to each.
//!
//! In: records. Out: each of them in the file, on the stream and in the journal that the configuration names, in the spool of
//! each receiver somewhere else, and a line in the agent's own log when a sink begins or ceases to refuse them.

use std::{path::PathBuf, time::Duration};

use super::{
    forgotten::Forgotten,
    ledger::{Account, Owed},
    receivers::Receivers,
    remote::{self, Home, Remote, SPOOLS},
};
use crate::{
    config::{Destination, Sink},
    control::SinkStatus,
    record::{Gap, Record},
    sink::{Local, Place},
    spool::Told,
};

/// Where the journal takes records (systemd-journald.service(8)).
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// How long an agent that ends waits for receivers. What they have not got by then they get from the next one.
const PARTING: Duration = Duration::from_secs(2);

/// Records that the sinks of this machine are told together. An agent that is killed when it has written them and not yet noted
/// so owes them again.
const TOGETHER: usize = 64;

/// The sinks.
pub(super) struct Sinks {
    local: Vec<Open>,
    /// What those of this machine account for.
    told: Told,
    /// Whether it was said that this cannot be written down.
    told_failure: bool,
    /// Records written since that was noted.
    unnoted: usize,
    remote: Vec<Remote>,
    /// Spools that an earlier configuration has left.
    forgotten: Vec<Forgotten>,
}

/// One that is on this machine.
struct Open {
    sink: Sink,
    local: Local,
    told_failure: bool,
}

impl Sinks {
    pub(super) fn open(sinks: &[Sink], home: Home<'_>) -> Self {
        let mut told = Told::open(home.state, home.counters);
        told.retain(|name| sinks.iter().any(|sink| sink.name == name));
        let open = |sink: &Sink| {
            let place = match &sink.to {
                Destination::Stdout => Place::Stdout,
                Destination::Journald => Place::Journal(PathBuf::from(JOURNAL)),
                Destination::File { path, rotate_bytes, keep } => {
                    Place::File { path: path.clone(), rotate_bytes: u64::from(*rotate_bytes), keep: *keep }
                }
                Destination::Syslog(_) => return None,
            };
            let local = Local::open(place, sink.format, told.debt(&sink.name).cloned());
            Some(Open { local, sink: sink.clone(), told_failure: false })
        };
        let remote = sinks.iter().filter_map(|sink| match &sink.to {
            Destination::Syslog(syslog) => Some(Remote::open(sink, syslog, home)),
            Destination::Stdout | Destination::Journald | Destination::File { .. } => None,
        });
        let spools = home.state.join(SPOOLS);
        let forgotten = Forgotten::find(&spools, sinks);
        forgotten.iter().filter_map(Forgotten::warning).for_each(|what| tracing::warn!("{what}"));
        Self {
            local: sinks.iter().filter_map(open).collect(),
            told,
            told_failure: false,
            unnoted: 0,
            forgotten,
            remote: remote.collect(),
        }
    }

    /// Adds a record to the batch of each.
    pub(super) fn write(&mut self, record: &Record) {
        self.local.iter_mut().for_each(|open| open.local.write(record));
        self.told.add(record.count());
        self.unnoted += 1;
        if self.unnoted >= TOGETHER {
            self.flush_here();
        }
        self.remote.iter_mut().for_each(|remote| remote.write(record));
    }

    /// Adds a gap, with what is owed to each.
    pub(super) fn owe(&mut self, gap: &Gap, owed: &Owed) {
        let with = |count| Record::Gap(Gap { count, ..gap.clone() });
        // Those of this machine come last, as in the accounts.
        for (remote, packets) in self.remote.iter_mut().zip(&owed.packets) {
            remote.write(&with(*packets));
        }
        let here = owed.packets.last().copied().unwrap_or_default();
        self.local.iter_mut().for_each(|open| open.local.write(&with(here)));
        self.told.add(here);
    }

    /// What each of those that are somewhere else accounts for, and those of this machine together.
    pub(super) fn accounts(&self) -> Vec<Account> {
        let here = Account { packets: self.told.accounted(), is_new: self.told.is_new() };
        self.remote.iter().map(Remote::account).chain([here]).collect()
    }

    /// Nothing more will be told.
    pub(super) fn close(&mut self) {
        let ending = std::mem::take(&mut self.remote).into_iter().filter_map(Remote::close);
        remote::wait(ending.collect(), PARTING);
    }

    /// Writes the batches, and tells of sinks that began or ceased to fail.
    pub(super) fn flush(&mut self) {
        self.flush_here();
        self.remote.iter_mut().for_each(Remote::flush);
    }

    fn flush_here(&mut self) {
        for Open { sink, local, told_failure } in &mut self.local {
            local.flush();
            let status = local.status();
            match (status.failing, *told_failure) {
                (true, false) => {
                    let why = status.last_error.as_deref().unwrap_or_default();
                    tracing::error!("sink `{}` refuses records, which are lost: {why}", sink.name);
                }
                (false, true) => tracing::info!("sink `{}` takes records again", sink.name),
                (true, true) | (false, false) => {}
            }
            *told_failure = status.failing;
            self.told.owe(&sink.name, local.debt());
        }
        if let Err(error) = self.told.keep()
            && !std::mem::replace(&mut self.told_failure, true)
        {
            tracing::error!("an agent that is killed will not know what was told: {error}");
        }
        self.unnoted = 0;
    }

    /// What to say of spools that belong to no sink, as long as they are there.
    pub(super) fn forgotten(&self) -> impl Iterator<Item = String> {
        self.forgotten.iter().filter_map(Forgotten::warning)
    }

    /// Opens all of them anew, as after somebody else rotated a file.
    pub(super) fn reopen(&mut self) {
        self.local.iter_mut().for_each(|open| open.local.reopen());
    }

    /// Where receivers were found that take connections, by the names of their sinks.
    pub(super) fn receivers(&self) -> Receivers {
        self.remote.iter().filter_map(Remote::receiver).collect()
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
                spool: None,
            }
        };
        self.local.iter().map(status).chain(self.remote.iter().map(Remote::status)).collect()
    }
}
