//! Flows become rows: those of one kind and day are added up, in so much memory and no more.

use std::collections::BTreeMap;

use super::{Day, Hours, Kind, Row, Seen};

/// The longest time that one flow is spread over: a clock that was wrong makes no more rows than these.
const MOST_DAYS: i32 = 400;

/// Rows, and how many there may be.
#[derive(Debug)]
pub struct Sum {
    rows: BTreeMap<(Kind, Day), Seen>,
    most: usize,
    refused: u64,
}

impl Sum {
    /// None yet, and never more than `most`.
    pub fn new(most: usize) -> Self {
        Self { rows: BTreeMap::new(), most, refused: 0 }
    }

    /// Adds what was seen of a kind. What goes on over several days is present in all of their hours, and counted on the first.
    pub fn add(&mut self, kind: Kind, seen: &Seen) {
        let begun = Day::of(seen.first);
        let ended = Day::of(seen.last.max(seen.first)).min(Day(begun.0.saturating_add(MOST_DAYS)));
        for day in (begun.0..=ended.0).map(Day) {
            let part = if begun == ended {
                *seen
            } else {
                let (first, last) = (seen.first.max(day.begin()), seen.last.min(day.end() - 1));
                let hours = Hours::between(day, first, last);
                if day == begun {
                    Seen { first, last, hours, ..*seen }
                } else {
                    Seen { last, hours, pause: seen.pause, ..Seen::at(first) }
                }
            };
            self.add_part(kind, day, &part);
        }
    }

    fn add_part(&mut self, kind: Kind, day: Day, seen: &Seen) {
        if let Some(there) = self.rows.get_mut(&(kind, day)) {
            there.add(seen);
        } else if self.rows.len() < self.most {
            self.rows.insert((kind, day), *seen);
        } else {
            self.refused = self.refused.saturating_add(seen.flows.max(1));
        }
    }

    /// Flows for which there was no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows in order.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.rows.iter().map(|((kind, day), seen)| Row { kind: *kind, day: *day, seen: *seen })
    }

    /// Takes all rows, and the number of flows that were refused, and begins anew.
    pub fn take(&mut self) -> (Vec<Row>, u64) {
        let rows = std::mem::take(&mut self.rows);
        let rows = rows.into_iter().map(|((kind, day), seen)| Row { kind, day, seen }).collect();
        (rows, std::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use bulkhead_common::wire::protocol;

    use super::*;
    use crate::traffic::{End, Service};

    const DAY: i64 = 86_400;

    fn kind(last: u8) -> Kind {
        Kind {
            from: End::at(IpAddr::from([10, 0, 0, 1])),
            to: End::at(IpAddr::from([10, 0, 1, last])),
            service: Service { protocol: protocol::TCP, number: 502 },
        }
    }

    fn flow(first: i64, last: i64) -> Seen {
        let hours = Hours::between(Day::of(first), first, last);
        Seen { flows: 1, packets: [3, 2], last, hours, ..Seen::at(first) }
    }

    #[test]
    fn flows_of_one_kind_and_day_are_one_row() {
        let mut sum = Sum::new(10);
        sum.add(kind(1), &flow(100, 200));
        sum.add(kind(2), &flow(100, 200));
        sum.add(kind(1), &flow(7_300, 7_400));
        let (rows, refused) = sum.take();
        assert_eq!((rows.len(), refused), (2, 0));
        assert_eq!((rows[0].seen.flows, rows[0].seen.packets, rows[0].seen.hours.bits()), (2, [6, 4], 0b101));
        assert!(sum.is_empty());
    }

    #[test]
    fn flow_over_midnight_is_there_on_each_day_and_counted_once() {
        let mut sum = Sum::new(10);
        sum.add(kind(1), &flow(DAY - 10, 2 * DAY + 3_700));
        let rows: Vec<Row> = sum.rows().collect();
        assert_eq!(rows.iter().map(|row| row.day.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(rows.iter().map(|row| row.seen.flows).collect::<Vec<_>>(), [1, 0, 0]);
        assert_eq!(rows.iter().map(|row| row.seen.packets).collect::<Vec<_>>(), [[3, 2], [0, 0], [0, 0]]);
        assert_eq!(
            rows.iter().map(|row| row.seen.hours.bits()).collect::<Vec<_>>(),
            [1 << 23, (1 << 24) - 1, 0b11]
        );
        assert_eq!((rows[0].seen.last, rows[1].seen.first, rows[1].seen.last), (DAY - 1, DAY, 2 * DAY - 1));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut sum = Sum::new(1);
        sum.add(kind(1), &flow(100, 200));
        sum.add(kind(2), &flow(100, 200));
        sum.add(kind(2), &Seen { flows: 4, ..flow(100, 200) });
        sum.add(kind(1), &flow(300, 400));
        assert_eq!((sum.len(), sum.refused()), (1, 5));
    }

    #[test]
    fn clock_that_was_wrong_makes_no_rows_without_end() {
        let mut sum = Sum::new(usize::MAX);
        sum.add(kind(1), &flow(0, i64::MAX));
        assert_eq!(sum.len(), 401);
    }
}
