//! What a receiver somewhere else is to get: records on their way into its spool, and what the disk did not take of them.
//!
//! In: every record. Out: the same in the spool; in the place of those that it refused, once it takes records again, a `disk` gap
//! that names the first and the last of them and has their packets. Until then they are owed by the feed, and by nobody else.

use std::time::{Duration, Instant};

use super::ledger::Account;
use crate::{
    record::{Debt, Record, RecordId},
    sink,
    spool::{MAX_RECORD, Spool, Stamp},
};

/// The way into a spool.
pub(super) struct Feed {
    spool: Spool,
    gateway: String,
    /// How often a disk that refuses is tried when there is nothing else to tell.
    every: Duration,
    /// Records that are added together.
    batch: Vec<Entry>,
    debt: Option<Debt>,
    /// When the disk was tried last.
    tried: Instant,
    /// Records that were refused since the agent began.
    refused: u64,
}

/// A record on its way: which it is, its packets, its text.
type Entry = (Stamp, u64, String);

impl Feed {
    pub(super) fn new(spool: Spool, gateway: &str, every: Duration) -> Self {
        Self {
            spool,
            gateway: gateway.to_owned(),
            every,
            batch: Vec::new(),
            debt: None,
            tried: Instant::now(),
            refused: 0,
        }
    }

    /// Adds a record to the batch.
    pub(super) fn write(&mut self, record: &Record) {
        let entry = (stamp(record), record.count(), record.to_json());
        if entry.2.len() > MAX_RECORD {
            // What is before it must not become part of the same debt.
            self.flush();
            return self.refuse(&[entry]);
        }
        self.batch.push(entry);
    }

    /// Adds the batch to the spool, behind a gap for what was refused before it.
    pub(super) fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let is_time = !batch.is_empty() || self.tried.elapsed() >= self.every;
        let gap = self.debt.as_ref().filter(|_| is_time).map(|debt| {
            let gap = debt.gap(sink::now());
            (stamp(&gap), debt.packets(), gap.to_json())
        });
        let all = || gap.iter().chain(&batch);
        if all().next().is_none() {
            return;
        }
        let refused = self.spool.append(all().map(|(stamp, count, text)| (*stamp, *count, text.as_str())));
        // It refuses from one record on, so the gap is the last to be refused.
        if refused < all().count() {
            self.debt = None;
        }
        if refused > 0 {
            self.tried = Instant::now();
        }
        self.refuse(&batch[batch.len().saturating_sub(refused)..]);
    }

    /// What it accounts for: what is owed to the receiver already is owed by nobody else.
    pub(super) fn account(&self) -> Account {
        let owed = self.debt.as_ref().map_or(0, Debt::packets);
        Account { packets: self.spool.accounted() + owed, is_new: self.spool.is_new() }
    }

    /// Records that were refused since the agent began.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    fn refuse(&mut self, records: &[Entry]) {
        self.refused += records.len() as u64;
        for (Stamp { boot, seq }, count, _) in records {
            let id = RecordId { boot: format!("{boot:016x}"), seq: *seq };
            Debt::add(&mut self.debt, &self.gateway, id, *count);
        }
    }
}

/// The number of a record in the spool.
fn stamp(record: &Record) -> Stamp {
    let id = record.id();
    Stamp { boot: u64::from_str_radix(&id.boot, 16).unwrap_or_default(), seq: id.seq }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        daemon::ledger::Ledger,
        dataplane::Tally,
        record::{Heartbeat, Modes, VERSION},
        spool::{Item, Reader},
    };

    const BOOT: &str = "00000000000000aa";
    const NEVER: Duration = Duration::MAX;

    fn feed(folder: &Path, every: Duration) -> (Feed, Reader) {
        let (spool, reader) = Spool::open(folder, 1 << 20, "boot 1").expect("it opens");
        (Feed::new(spool, "gw-7", every), reader)
    }

    fn record(seq: u64, count: u64) -> Record {
        Record::Heartbeat(Heartbeat {
            v: VERSION,
            time: "2026-03-02T10:00:10.000000Z".to_owned(),
            gateway: "gw-7".to_owned(),
            boot: BOOT.to_owned(),
            seq,
            revision: None,
            modes: Modes::default(),
            violations: 0,
            warnings: Vec::new(),
            count,
        })
    }

    /// The first and the last record that a gap stands for.
    type Extent = Option<(String, String)>;

    /// Sequence and packets of each record, and of a gap which records it stands for.
    fn told(reader: &mut Reader) -> Vec<(u64, u64, Extent)> {
        let items = reader.read(1 << 20).expect("readable").into_iter();
        let texts = items.map(|(item, _)| match item {
            Item::Record { text, .. } => serde_json::from_str::<Record>(&text).expect("a record"),
            Item::Hole(hole) => panic!("{hole:?}"),
        });
        texts
            .map(|record| match &record {
                Record::Gap(gap) => (gap.seq, gap.count, gap.first.clone().zip(gap.last.clone())),
                Record::Heartbeat(one) => (one.seq, one.count, None),
                Record::Violation(one) => (one.seq, one.count, None),
                Record::Alarm(one) => (one.seq, one.count, None),
                Record::Inventory(one) => (one.seq, one.count, None),
            })
            .collect()
    }

    /// Where the first segment would be is a folder: nothing can be written.
    fn block(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("0000000000000000.seg");
        fs::create_dir(&path).expect("made");
        path
    }

    fn extent(first: u64, last: u64) -> Extent {
        Some((format!("{BOOT}-{first}"), format!("{BOOT}-{last}")))
    }

    #[test]
    fn what_a_disk_refused_is_owed_in_silence_and_told_once_with_its_range() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut feed, mut reader) = feed(dir.path(), NEVER);
        let blocked = block(dir.path());
        let mut ledger = Ledger::default();
        for seq in 1..=5 {
            feed.write(&record(seq, seq));
            feed.flush();
            // Every look finds the accounts complete: nothing is told to others.
            let counted = (1..=seq).sum();
            let tally = Tally { violations: counted, ..Tally::default() };
            let healthy = Account { packets: counted, is_new: false };
            assert_eq!(ledger.reckon(&tally, 0, &[feed.account(), healthy]), []);
        }
        assert_eq!((feed.refused(), feed.spool().counts().failing, feed.spool.accounted()), (5, true, 0));
        fs::remove_dir(blocked).expect("removed");
        // There is nothing to tell, and it is not time to try.
        feed.flush();
        assert_eq!(told(&mut reader), []);
        feed.write(&record(6, 6));
        feed.flush();
        feed.flush();
        assert_eq!(told(&mut reader), [(5, 15, extent(1, 5)), (6, 6, None)]);
        assert_eq!((feed.refused(), feed.spool().counts().failing, feed.account().packets), (5, false, 21));
    }

    #[test]
    fn a_disk_that_refused_is_tried_although_there_is_nothing_else_to_tell() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut feed, mut reader) = feed(dir.path(), Duration::ZERO);
        let blocked = block(dir.path());
        feed.write(&record(1, 3));
        feed.flush();
        feed.flush();
        assert_eq!((feed.refused(), told(&mut reader)), (1, vec![]));
        fs::remove_dir(blocked).expect("removed");
        feed.flush();
        feed.flush();
        assert_eq!(told(&mut reader), [(1, 3, extent(1, 1))]);
    }

    #[test]
    fn a_record_that_is_too_long_is_a_gap_in_its_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut feed, mut reader) = feed(dir.path(), NEVER);
        feed.write(&record(1, 1));
        let Record::Heartbeat(long) = record(2, 2) else { panic!("a heartbeat") };
        feed.write(&Record::Heartbeat(Heartbeat { warnings: vec!["x".repeat(MAX_RECORD)], ..long }));
        feed.write(&record(3, 3));
        feed.flush();
        let expected = [(1, 1, None), (2, 2, extent(2, 2)), (3, 3, None)];
        assert_eq!(told(&mut reader), expected);
    }
}
