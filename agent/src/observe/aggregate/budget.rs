//! How many violations may be told one by one: so many new ones of a device and reason in an interval, and so many of all.
//!
//! In: keys of violations that are new, and the time. Out: whether one may be told by itself. What is denied because of one
//! device leaves the budgets of the others alone, and the first one of a device and reason needs none of what is for all.

use std::collections::BTreeMap;

use bulkhead_common::layout::ViolationKey;

/// Device and reason.
type Class = (u32, u8);

struct Budget {
    since: u64,
    used: usize,
}

impl Budget {
    fn renew(&mut self, now: u64, interval: u64) {
        if now.saturating_sub(self.since) >= interval {
            *self = Self { since: now, used: 0 };
        }
    }
}

/// New violations that are told one by one in an interval, besides the first one of each device and reason.
pub(super) const OF_ALL: usize = 4096;

/// What is left of each budget.
pub(super) struct Budgets {
    /// As many classes are told apart; a further one has nothing to spend.
    capacity: usize,
    interval: u64,
    firsts: usize,
    classes: BTreeMap<Class, Budget>,
    all: Budget,
}

impl Budgets {
    pub(super) fn new(capacity: usize, interval: u64, firsts: usize) -> Self {
        let all = Budget { since: 0, used: 0 };
        Self { capacity, interval, firsts, classes: BTreeMap::new(), all }
    }

    /// Takes one out of the budget of a violation's device and reason, if something is left.
    pub(super) fn allows(&mut self, key: &ViolationKey, now: u64) -> bool {
        let class = (key.device, key.reason);
        // What is over is forgotten by the clock, and not here: a full table would be walked for every packet.
        if !self.classes.contains_key(&class) && self.classes.len() >= self.capacity {
            return false;
        }
        let budget = self.classes.entry(class).or_insert(Budget { since: now, used: 0 });
        budget.renew(now, self.interval);
        self.all.renew(now, self.interval);
        let is_first = budget.used == 0;
        if budget.used >= self.firsts || (!is_first && self.all.used >= OF_ALL) {
            return false;
        }
        budget.used += 1;
        self.all.used += usize::from(!is_first);
        true
    }

    /// Forgets those whose interval is over.
    pub(super) fn forget(&mut self, now: u64) {
        let interval = self.interval;
        self.classes.retain(|_, budget| now.saturating_sub(budget.since) < interval);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }
}
