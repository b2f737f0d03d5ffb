//! Packets that were dropped while devices are watched, until it is asked whether the policy before would have let them pass.
//!
//! In: what is denied, on its way to the log. Out: each violation once. A flood of different ones fills its place and is counted from
//! then on: whoever sends it keeps no more than his own packets from being asked about, and the next look has room again.

use std::collections::BTreeSet;

use bulkhead_common::layout::ViolationKey;

use crate::observe::Denial;

/// Violations that wait to be asked about.
const WAITING: usize = 256;
/// Violations that were asked about, and are not again.
const ASKED: usize = 8192;

/// Dropped packets of devices that are watched.
#[derive(Default)]
pub(super) struct Suspects {
    is_watching: bool,
    asked: BTreeSet<ViolationKey>,
    waiting: Vec<Denial>,
    /// Violations that found no place.
    left_out: u64,
}

impl Suspects {
    /// Whether anybody is watched from now on. What was asked about before another change is asked about again.
    pub(super) fn watch(&mut self, is_watching: bool, anew: bool) {
        if !is_watching || anew {
            self.asked.clear();
            self.waiting.clear();
        }
        self.is_watching = is_watching;
    }

    /// Takes what is denied.
    pub(super) fn take(&mut self, denied: &[Denial]) {
        if !self.is_watching {
            return;
        }
        for denial in denied.iter().filter(|denial| denial.key.dropped != 0) {
            let key = &denial.key;
            if self.asked.contains(key) {
                continue;
            }
            if self.waiting.len() >= WAITING {
                self.left_out += 1;
                continue;
            }
            if self.asked.len() >= ASKED {
                // Some are asked about a second time.
                self.asked.clear();
            }
            self.asked.insert(*key);
            self.waiting.push(*denial);
        }
    }

    /// Those to be asked about now.
    pub(super) fn due(&mut self) -> Vec<Denial> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn is_due(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Those that could not be asked about, for another time. What came meanwhile is as good.
    pub(super) fn give_back(&mut self, due: Vec<Denial>) {
        let room = WAITING.saturating_sub(self.waiting.len());
        self.left_out += due.len().saturating_sub(room) as u64;
        self.waiting.extend(due.into_iter().take(room));
    }

    /// Violations that nobody asked about, since the agent began.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(port: u16, dropped: u8) -> Denial {
        let key = ViolationKey { port, dropped, device: 7, ..ViolationKey::default() };
        Denial { key, packets: 2, bytes: 120, first: 0, last: 0, alone: None }
    }

    #[test]
    fn what_is_dropped_is_asked_about_once_while_somebody_watches() {
        let mut suspects = Suspects::default();
        suspects.take(&[denial(1, 1)]);
        assert!(!suspects.is_due(), "nobody watches");
        suspects.watch(true, true);
        suspects.take(&[denial(1, 1), denial(1, 1), denial(2, 0)]);
        let due = suspects.due();
        assert_eq!(due.len(), 1);
        suspects.take(&[denial(1, 1)]);
        assert!(!suspects.is_due());
        suspects.give_back(due);
        assert!(suspects.is_due(), "it could not be asked about");
        suspects.watch(true, true);
        suspects.take(&[denial(1, 1)]);
        assert!(suspects.is_due(), "it is another change");
        suspects.watch(false, false);
        assert!(!suspects.is_due());
    }

    #[test]
    fn a_flood_is_bounded_and_counted() {
        let mut suspects = Suspects::default();
        suspects.watch(true, true);
        let flood: Vec<Denial> = (0..1000).map(|port| denial(port, 1)).collect();
        suspects.take(&flood);
        let due = suspects.due();
        assert_eq!((due.len(), suspects.left_out()), (WAITING, 1000 - WAITING as u64));
        suspects.take(&flood);
        suspects.give_back(due);
        assert_eq!(suspects.due().len(), WAITING);
    }
}
