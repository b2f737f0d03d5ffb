//! Every denied packet that the kernel counts is told once, or owned up to: what each sink somewhere else accounts for, and what
//! those of this machine do together, is held against the kernel's counters.
//!
//! In: the counters at each look, and what was accounted for by then. Out: the packets of which nothing will be told, and why.
//!
//! A packet is counted before it is handed over, and may be under way at a look. By the look after it has arrived, and what
//! was counted then and is still not there never will be.

use crate::{dataplane::Tally, record::Cause};

/// Packets to be owned up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    /// Why.
    pub(super) cause: Cause,
    /// Packets for each account.
    pub(super) packets: Vec<u64>,
}

/// What a sink accounts for, since the kernel's counters began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Packets.
    pub(super) packets: u64,
    /// Whether it had never taken anything when this run began.
    pub(super) is_new: bool,
}

/// What was looked at last.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What was counted at the last look.
    counted: Option<u64>,
    /// Packets that the kernel has lost, as far as they were owned up to; `None` before the first reckoning of this run.
    lost: Option<u64>,
}

impl Ledger {
    /// The look could not be made in full: what follows is no reckoning.
    pub(super) fn skip(&mut self) {
        self.counted = None;
    }

    /// Holds the counters, read before everything the kernel had to tell was taken over, against what was `pending` after
    /// it and what the sinks account for.
    pub(super) fn reckon(&mut self, tally: &Tally, pending: u64, accounts: &[Account]) -> Vec<Owed> {
        let Some(counted) = self.counted.replace(tally.violations) else { return Vec::new() };
        let missing = |account: &Account, more: u64| {
            counted.saturating_sub(account.packets.saturating_add(more + pending))
        };
        // What the kernel lost before this run is part of what is missing.
        let lost = self.lost.replace(tally.lost).map_or(0, |known| tally.lost.saturating_sub(known));
        // The kernel loses nothing else and a feed owes what its disk refused, so the rest is what was before this run. Packets
        // that arrive during the first look hide some of it, until all that is under way has been told.
        let of = |is_new: bool| {
            let all = accounts.iter().map(|one| if one.is_new == is_new { missing(one, lost) } else { 0 });
            all.collect::<Vec<_>>()
        };
        let ring = vec![lost; accounts.len()];
        let owed = [(Cause::Ring, ring), (Cause::Before, of(true)), (Cause::Restart, of(false))];
        owed.into_iter().filter_map(|(cause, packets)| Owed::some(cause, packets)).collect()
    }
}

impl Owed {
    /// What is owed to whoever is owed most.
    pub(super) fn most(&self) -> u64 {
        self.packets.iter().copied().max().unwrap_or_default()
    }

    fn some(cause: Cause, packets: Vec<u64>) -> Option<Self> {
        packets.iter().any(|packets| *packets > 0).then_some(Self { cause, packets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(violations: u64, lost: u64) -> Tally {
        Tally { violations, lost, ..Tally::default() }
    }

    fn old(packets: u64) -> Account {
        Account { packets, is_new: false }
    }

    #[test]
    fn what_is_under_way_is_not_missing() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.reckon(&tally(10, 0), 0, &[old(4)]), []);
        // All ten have arrived by now; of those counted since, none has.
        assert_eq!(ledger.reckon(&tally(25, 0), 2, &[old(8)]), []);
        assert_eq!(ledger.reckon(&tally(25, 0), 0, &[old(25)]), []);
    }

    #[test]
    fn a_killed_agent_owes_what_it_had_taken_and_a_new_sink_what_was_before_it() {
        let mut ledger = Ledger::default();
        let new = Account { packets: 0, is_new: true };
        assert_eq!(ledger.reckon(&tally(100, 7), 0, &[old(60), new]), []);
        let owed = ledger.reckon(&tally(100, 7), 10, &[old(60), new]);
        let before = Owed { cause: Cause::Before, packets: vec![0, 90] };
        let restart = Owed { cause: Cause::Restart, packets: vec![30, 0] };
        assert_eq!(owed, [before, restart]);
        assert_eq!(ledger.reckon(&tally(100, 7), 10, &[old(90), old(90)]), []);
    }

    #[test]
    fn what_the_kernel_lost_is_owed_once_and_to_everybody() {
        let mut ledger = Ledger::default();
        let _ = ledger.reckon(&tally(10, 1), 0, &[old(10)]);
        let _ = ledger.reckon(&tally(10, 1), 0, &[old(10)]);
        // Six more, of which four were lost between two reads: the ring's part is known before they are missing.
        let owed = ledger.reckon(&tally(16, 5), 0, &[old(12)]);
        assert_eq!(owed, [Owed { cause: Cause::Ring, packets: vec![4] }]);
        assert_eq!(ledger.reckon(&tally(16, 5), 0, &[old(16)]), []);
    }

    #[test]
    fn what_was_before_a_new_sink_is_so_also_when_it_has_told_something_by_then() {
        let mut ledger = Ledger::default();
        let new = |packets| Account { packets, is_new: true };
        assert_eq!(ledger.reckon(&tally(100, 0), 0, &[new(0), old(100)]), []);
        let owed = ledger.reckon(&tally(101, 0), 0, &[new(1), old(101)]);
        assert_eq!(owed, [Owed { cause: Cause::Before, packets: vec![99, 0] }]);
    }

    #[test]
    fn what_packets_of_this_run_hid_at_first_is_no_fault_of_the_ring() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.reckon(&tally(100, 0), 0, &[old(60)]), []);
        // Thirty more have arrived by then, and wait: ten are surely missing, and in truth forty.
        let owed = ledger.reckon(&tally(130, 0), 30, &[old(60)]);
        assert_eq!(owed, [Owed { cause: Cause::Restart, packets: vec![10] }]);
        let owed = ledger.reckon(&tally(130, 0), 0, &[old(100)]);
        assert_eq!(owed, [Owed { cause: Cause::Restart, packets: vec![30] }]);
        assert_eq!(ledger.reckon(&tally(130, 0), 0, &[old(130)]), []);
    }

    #[test]
    fn a_look_that_failed_proves_nothing() {
        let mut ledger = Ledger::default();
        let _ = ledger.reckon(&tally(5, 0), 0, &[old(5)]);
        ledger.skip();
        assert_eq!(ledger.reckon(&tally(9, 0), 0, &[old(5)]), []);
    }
}
