//! Which rows from elsewhere are new to the history, and how many of them find room in it.
//!
//! In: what the gateway has seen by itself, what exporters told of. Out: rows that the gateway did not see, after its next look at the
//! conversations. Of the room of a day half is left for what the gateway sees, and three quarters for what is answered: whoever scans a network
//! behind an exporter fills his part, and no more.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::MOST_ROWS;
use crate::traffic::{Day, Kind, Row, Seen, Service, Sum};

/// Conversations that are remembered; of twice as many the older half is forgotten.
const KINDS: usize = 1 << 15;
/// What an exporter tells is later than what the gateway saw, or earlier, by so much at most, s.
const APART: i64 = 300;
/// Days of which the rows are counted.
const DAYS: usize = 3;

/// What the history counts.
#[derive(Default)]
pub(super) struct Told {
    /// Conversations that the gateway sees by itself.
    pub(super) seen_here: AtomicU64,
    /// Conversations that found no room.
    pub(super) full: AtomicU64,
}

/// What the history asks of rows.
pub(in crate::daemon) struct Elsewhere {
    here: Here,
    /// Wait for a look: what was told of may have passed the gateway since the last one.
    waiting: Vec<Row>,
    room: Room,
    told: Arc<Told>,
}

impl Elsewhere {
    /// `most` rows are kept of a day.
    pub(super) fn new(most: u64, told: Arc<Told>) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { here: Here::default(), waiting: Vec::new(), room: Room::new(most / 2), told }
    }

    /// The gateway has seen a conversation, and let it pass.
    pub(in crate::daemon) fn note(&mut self, kind: &Kind, seen: &Seen) {
        self.here.note(kind, seen);
    }

    /// Takes what exporters told of, until the gateway has looked by itself.
    pub(in crate::daemon) fn wait(&mut self, rows: Vec<Row>) {
        self.waiting.extend(rows);
        let more = self.waiting.len().saturating_sub(2 * MOST_ROWS);
        let full: u64 = self.waiting.drain(..more).map(|row| row.seen.flows).sum();
        self.told.full.fetch_add(full, Ordering::Relaxed);
    }

    /// The gateway has looked: what it did not see is added.
    pub(in crate::daemon) fn looked(&mut self, sum: &mut Sum) {
        for row in self.waiting.drain(..) {
            if self.here.holds(&row) {
                self.told.seen_here.fetch_add(row.seen.flows, Ordering::Relaxed);
            } else if self.room.takes(&row) {
                sum.add(row.kind, &row.seen);
            } else {
                self.told.full.fetch_add(row.seen.flows, Ordering::Relaxed);
            }
        }
    }
}

/// Between whom, and over what.
type Conversation = (IpAddr, IpAddr, Service);

/// Conversations that the gateway has seen by itself, and when, s since 1970. An exporter elsewhere on the way tells of them again.
#[derive(Default)]
struct Here {
    young: HashMap<Conversation, (i64, i64)>,
    old: HashMap<Conversation, (i64, i64)>,
}

impl Here {
    fn note(&mut self, kind: &Kind, seen: &Seen) {
        let Some(conversation) = conversation(kind) else { return };
        if self.young.len() >= KINDS && !self.young.contains_key(&conversation) {
            self.old = std::mem::take(&mut self.young);
        }
        let known = self.old.remove(&conversation);
        let time = self.young.entry(conversation).or_insert(known.unwrap_or((seen.first, seen.last)));
        // After a long silence it is another one.
        *time = match *time {
            (first, last) if seen.first <= last.saturating_add(APART) => {
                (first.min(seen.first), last.max(seen.last))
            }
            _ => (seen.first, seen.last),
        };
    }

    /// Whether it saw what is told of.
    fn holds(&self, row: &Row) -> bool {
        let Some(conversation) = conversation(&row.kind) else { return false };
        let known = self.young.get(&conversation).or_else(|| self.old.get(&conversation));
        known.is_some_and(|(first, last)| {
            row.seen.first <= last.saturating_add(APART) && row.seen.last >= first.saturating_sub(APART)
        })
    }
}

/// Whoever of the two began.
fn conversation(kind: &Kind) -> Option<Conversation> {
    let (from, to) = (kind.from.address?, kind.to.address?);
    Some((from.min(to), from.max(to), kind.service))
}

/// Rows from elsewhere, by day, as hashes: two that differ have the same one in one case of 2^64.
struct Room {
    most: usize,
    days: BTreeMap<Day, Rows>,
    hashed: RandomState,
}

#[derive(Default)]
struct Rows {
    all: HashSet<u64>,
    unanswered: usize,
}

impl Room {
    fn new(most: usize) -> Self {
        Self { most: most.max(2), days: BTreeMap::new(), hashed: RandomState::new() }
    }

    /// Whether there is room for a row, which then takes it.
    fn takes(&mut self, row: &Row) -> bool {
        let rows = self.days.entry(row.day).or_default();
        let hash = self.hashed.hash_one(row.kind);
        let is_unanswered = !row.seen.is_answered();
        let has_room = rows.all.contains(&hash)
            || rows.all.len() < self.most && !(is_unanswered && rows.unanswered >= self.most / 2);
        if has_room && rows.all.insert(hash) {
            rows.unanswered += usize::from(is_unanswered);
        }
        while self.days.len() > DAYS {
            self.days.pop_first();
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::End;

    const NOW: i64 = 1_700_000_000;

    fn row(from: [u8; 4], to: [u8; 4], number: u16, answered: u64) -> Row {
        let [from, to] = [from, to].map(|address| End::at(IpAddr::from(address)));
        let seen = Seen { flows: 2, opened: 2, answered, ..Seen::at(NOW) };
        Row { kind: Kind { from, to, service: Service { protocol: 17, number } }, day: Day::of(NOW), seen }
    }

    fn left(elsewhere: &mut Elsewhere, rows: Vec<Row>) -> usize {
        let mut sum = Sum::new(1 << 20);
        elsewhere.wait(rows);
        assert!(sum.is_empty(), "nothing before the gateway has looked");
        elsewhere.looked(&mut sum);
        sum.len()
    }

    #[test]
    fn what_the_gateway_sees_by_itself_is_not_taken_from_others() {
        let told = Arc::<Told>::default();
        let mut elsewhere = Elsewhere::new(1000, Arc::clone(&told));
        let (hmi, plc, other) = ([10, 0, 0, 8], [10, 0, 0, 9], [10, 0, 0, 7]);
        // It is seen after it was told of, and before anybody has looked.
        elsewhere.wait(vec![row(hmi, plc, 161, 1)]);
        let seen = row(plc, hmi, 161, 1);
        elsewhere.note(&seen.kind, &seen.seen);
        assert_eq!(left(&mut elsewhere, vec![row(hmi, other, 161, 1)]), 1);
        assert_eq!(told.seen_here.load(Ordering::Relaxed), 2);
        // Another service between the same two, and the same at another time.
        assert_eq!(left(&mut elsewhere, vec![row(hmi, plc, 162, 1)]), 1);
        let mut late = row(hmi, plc, 161, 1);
        (late.seen.first, late.seen.last) = (NOW + 3600, NOW + 3600);
        assert_eq!(left(&mut elsewhere, vec![late]), 1);
        // A flood of others makes room, and no more memory.
        for number in 0..3 * u32::try_from(KINDS).expect("small") {
            let [a, b, c, d] = number.to_be_bytes();
            let one = row([11 + a, b, c, d], plc, 161, 1);
            elsewhere.note(&one.kind, &one.seen);
        }
        assert!(elsewhere.here.young.len() + elsewhere.here.old.len() <= 2 * KINDS);
    }

    #[test]
    fn a_scan_elsewhere_leaves_room_for_what_is_answered_and_for_what_is_seen_here() {
        let told = Arc::<Told>::default();
        let mut elsewhere = Elsewhere::new(1000, Arc::clone(&told));
        let rows = |from: u8, answered: u64| {
            (0..1000_u16)
                .map(|number| row([10, 0, 0, from], [10, 0, 1, 1], number, answered))
                .collect::<Vec<_>>()
        };
        assert_eq!(left(&mut elsewhere, rows(1, 0)), 250);
        assert_eq!(told.full.load(Ordering::Relaxed), 1500);
        // What is known is added to.
        assert_eq!(left(&mut elsewhere, rows(1, 0)), 250);
        assert_eq!(left(&mut elsewhere, rows(2, 1)), 250);
        assert_eq!(left(&mut elsewhere, rows(3, 1)), 0);
    }
}
