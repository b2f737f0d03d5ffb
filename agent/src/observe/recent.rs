//! The last records, in memory, for whoever asks the agent what is going on.
//!
//! In: records in the order of their `seq`. Out: the newest ones, or those after a given `seq`. Bounded;
//! what was pushed out is counted, and is in the file all the same.

use std::collections::VecDeque;

use crate::record::Record;

/// The last records.
pub struct Recent {
    capacity: usize,
    /// Oldest first, ascending by `seq`.
    records: VecDeque<Record>,
    forgotten: u64,
}

impl Recent {
    /// Keeps the last `capacity` records (at least one).
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), records: VecDeque::new(), forgotten: 0 }
    }

    /// Adds the newest record. Its `seq` is greater than every earlier one's.
    pub fn push(&mut self, record: Record) {
        if self.records.len() == self.capacity {
            self.records.pop_front();
            self.forgotten += 1;
        }
        self.records.push_back(record);
    }

    /// The last `count` records, oldest first.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &Record> {
        self.records.iter().skip(self.records.len().saturating_sub(count))
    }

    /// Every record after `seq`, oldest first: what a follower who has `seq` has not seen.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Record> {
        self.records.iter().skip(self.records.partition_point(|record| record.seq() <= seq))
    }

    /// The record with this `seq`, unless it was pushed out.
    pub fn get(&self, seq: u64) -> Option<&Record> {
        let at = self.records.binary_search_by_key(&seq, Record::seq).ok()?;
        self.records.get(at)
    }

    /// Records that were pushed out by newer ones.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::{super::render::tests::example, *};
    use crate::record::Violation;

    fn filled() -> Recent {
        let mut recent = Recent::new(3);
        for seq in 1..=5 {
            recent.push(Record::Violation(Box::new(Violation { seq, ..example() })));
        }
        recent
    }

    fn seqs<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<u64> {
        records.map(Record::seq).collect()
    }

    #[test]
    fn the_newest_stay_and_the_others_are_counted() {
        let recent = filled();
        assert_eq!(seqs(recent.last(10)), [3, 4, 5]);
        assert_eq!(seqs(recent.last(2)), [4, 5]);
        assert_eq!(recent.forgotten(), 2);
    }

    #[test]
    fn follower_gets_what_it_has_not_seen() {
        let recent = filled();
        assert_eq!(seqs(recent.after(0)), [3, 4, 5]);
        assert_eq!(seqs(recent.after(4)), [5]);
        assert_eq!(seqs(recent.after(5)), [0; 0]);
    }

    #[test]
    fn record_is_found_by_its_number() {
        let recent = filled();
        assert_eq!(recent.get(4).map(Record::seq), Some(4));
        assert_eq!(recent.get(2), None);
        assert_eq!(recent.get(6), None);
    }
}
