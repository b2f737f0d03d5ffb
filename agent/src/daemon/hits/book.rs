//! What each rule has allowed. In: what the kernel has counted under an id, and the time. Out: totals that go on where
//! counters begin anew, and the time of the last hit.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::store::KeptHits;

/// What a rule says, and in whose name: 32 hexadecimal digits. Where it stands is no part of it, nor when it holds.
pub(super) type Name = String;

/// The name of a rule; of several that differ in when they hold alone, of the `nth`.
pub(super) fn name_of(holder: &str, text: &str, nth: u32) -> Name {
    let digest = Sha256::digest(format!("{holder}\n{text}\n{nth}"));
    digest[..16].iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// Hits by rule.
#[derive(Debug, Default)]
pub(super) struct Book {
    rules: BTreeMap<Name, KeptHits>,
}

impl From<BTreeMap<Name, KeptHits>> for Book {
    fn from(rules: BTreeMap<Name, KeptHits>) -> Self {
        Self { rules }
    }
}

impl Book {
    pub(super) fn kept(&self) -> BTreeMap<Name, KeptHits> {
        self.rules.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<KeptHits> {
        self.rules.get(name).copied()
    }

    /// The kernel's counters are others: they have counted nothing of what is known.
    pub(super) fn begin_anew(&mut self) {
        self.rules.values_mut().for_each(|hits| (hits.id, hits.counted) = (0, [0; 2]));
    }

    /// Makes the book one of these rules, each with its stable id, and of at most `most` others: those that were hit or came
    /// last. Whether anything changed.
    pub(super) fn place(&mut self, rules: &[(Name, u32)], most: usize, now: Timestamp) -> bool {
        let before = self.rules.len();
        let mut changed = false;
        let names: BTreeSet<&str> = rules.iter().map(|(name, _)| name.as_str()).collect();
        let ids: BTreeSet<u32> = rules.iter().map(|(_, id)| *id).collect();
        let mut gone: Vec<(Reverse<Timestamp>, Name)> = Vec::new();
        for (name, hits) in &mut self.rules {
            if names.contains(name.as_str()) {
                continue;
            }
            gone.push((Reverse(hits.last.unwrap_or(hits.since)), name.clone()));
            // Its counter was cleared when the number changed hands.
            if ids.contains(&hits.id) {
                (hits.id, hits.counted) = (0, [0; 2]);
                changed = true;
            }
        }
        gone.sort_unstable();
        for (_, name) in gone.iter().skip(most) {
            self.rules.remove(name);
            changed = true;
        }
        for (name, id) in rules {
            self.rules.entry(name.clone()).or_insert(KeptHits {
                packets: 0,
                bytes: 0,
                last: None,
                since: now,
                id: *id,
                counted: [0; 2],
            });
        }
        changed || self.rules.len() != before
    }

    /// Takes over what the kernel has counted for a rule by now. Whether that was news.
    pub(super) fn note(&mut self, name: &str, id: u32, counted: [u64; 2], now: Timestamp) -> bool {
        let Some(hits) = self.rules.get_mut(name) else { return false };
        let is_same = hits.id == id && counted[0] >= hits.counted[0] && counted[1] >= hits.counted[1];
        let before = if is_same { hits.counted } else { [0; 2] };
        let packets = counted[0].saturating_sub(before[0]);
        let changed = !is_same || packets > 0;
        hits.packets += packets;
        hits.bytes += counted[1].saturating_sub(before[1]);
        (hits.id, hits.counted) = (id, counted);
        if packets > 0 {
            hits.last = Some(now);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn rule(name: &str, id: u32) -> (Name, u32) {
        (name.to_owned(), id)
    }

    fn told(book: &Book, name: &str) -> (u64, u64, Option<i64>) {
        let hits = book.get(name).expect("it is known");
        (hits.packets, hits.bytes, hits.last.map(Timestamp::as_second))
    }

    #[test]
    fn totals_go_on_over_agents_and_boots() {
        let mut book = Book::default();
        assert!(book.place(&[rule("a", 1)], 10, at(0)));
        assert!(!book.place(&[rule("a", 1)], 10, at(1)), "nothing changed");
        assert!(!book.note("a", 1, [0, 0], at(2)));
        assert_eq!(told(&book, "a"), (0, 0, None));
        assert!(book.note("a", 1, [5, 500], at(3)));
        assert!(!book.note("a", 1, [5, 500], at(4)));
        assert_eq!(told(&book, "a"), (5, 500, Some(3)));
        // Another agent, the same counters.
        let mut book = Book::from(book.kept());
        assert!(book.note("a", 1, [7, 700], at(5)));
        assert_eq!(told(&book, "a"), (7, 700, Some(5)));
        // A boot: they begin at nothing, however far they have come when they are looked at.
        book.begin_anew();
        assert!(book.note("a", 1, [9, 900], at(6)));
        assert_eq!(told(&book, "a"), (16, 1600, Some(6)));
        assert_eq!(book.get("a").map(|hits| hits.since), Some(at(0)));
    }

    #[test]
    fn a_number_that_changes_hands_takes_no_hits_along() {
        let mut book = Book::default();
        book.place(&[rule("a", 1)], 10, at(0));
        book.note("a", 1, [5, 500], at(1));
        book.place(&[rule("b", 1)], 10, at(2));
        book.note("b", 1, [3, 300], at(3));
        assert_eq!((told(&book, "a"), told(&book, "b")), ((5, 500, Some(1)), (3, 300, Some(3))));
        // It comes back under another number, and under its own.
        book.place(&[rule("a", 2), rule("b", 1)], 10, at(4));
        book.note("a", 2, [6, 600], at(5));
        assert_eq!(told(&book, "a"), (11, 1100, Some(5)));
    }

    #[test]
    fn of_rules_that_are_gone_the_last_used_stay() {
        let mut book = Book::default();
        let all: Vec<_> = (1..=4).map(|id| rule(&format!("r{id}"), id)).collect();
        book.place(&all, 10, at(0));
        for (name, id) in &all {
            book.note(name, *id, [1, 1], at(i64::from(*id)));
        }
        assert!(book.place(&[rule("new", 9)], 2, at(9)));
        let left: Vec<String> = book.kept().into_keys().collect();
        assert_eq!(left, ["new", "r3", "r4"]);
    }

    #[test]
    fn a_name_is_what_a_rule_says() {
        let name = name_of("device plc", "hmi -> plc modbus", 0);
        assert_eq!((name.len(), &name), (32, &name_of("device plc", "hmi -> plc modbus", 0)));
        assert_ne!(name, name_of("device plc", "hmi -> plc modbus", 1));
        assert_ne!(name, name_of("class plc", "hmi -> plc modbus", 0));
    }
}
