//! What was read from a spool, as messages.
//!
//! In: records, and holes where some were. Out: a message each. A hole is told as a gap, which has no number of its own: it has the
//! one of the record that follows the hole, and stands for everything from `first` up to there.

use crate::{
    record::{Cause, Gap, Record, RecordId},
    sink::syslog::Encoder,
    spool::{Hole, Item, Stamp},
};

/// In which words records go.
pub(super) struct Wording {
    /// The gateway's name.
    pub(super) gateway: String,
    pub(super) encoder: Encoder,
}

/// A message, as far as one could be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// `None` when nothing fits.
    pub(super) message: Option<String>,
    /// Whether it is what was read; else a gap stands for that.
    pub(super) whole: bool,
}

impl Wording {
    /// The message for what was read at a time (RFC 3339).
    pub(super) fn tell(&self, item: Item, now: &str) -> Told {
        match item {
            Item::Record { stamp, count, text } => {
                let record = serde_json::from_str(&text).ok();
                let message = record.and_then(|record: Record| self.encoder.message(&record));
                let whole = message.is_some();
                let instead =
                    || self.encoder.message(&Record::Gap(self.gap(Cause::Unsendable, stamp, count, now)));
                Told { message: message.or_else(instead), whole }
            }
            Item::Hole(hole) => Told { message: self.encoder.message(&self.hole(hole, now)), whole: true },
        }
    }

    fn hole(&self, Hole { after, before, count }: Hole, now: &str) -> Record {
        let first = after.map(|after| Stamp { seq: after.seq + 1, ..after });
        // Before the first record of a run is the last one of another, which nobody knows any more.
        let last = (before.seq > 1).then(|| Stamp { seq: before.seq - 1, ..before });
        Record::Gap(Gap {
            first: first.map(|stamp| stamp.to_string()),
            last: last.map(|stamp| stamp.to_string()),
            ..self.gap(Cause::Spool, before, count, now)
        })
    }

    fn gap(&self, cause: Cause, Stamp { boot, seq }: Stamp, count: u64, now: &str) -> Gap {
        let id = RecordId { boot: format!("{boot:016x}"), seq };
        Gap::new(id, &self.gateway, now.to_owned(), cause, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::Format,
        sink::syslog::{FACILITY, MAX_DATAGRAM},
    };

    const NOW: &str = "2026-03-02T10:00:10.000000Z";

    fn wording(format: Format) -> Wording {
        let encoder = Encoder { format, facility: FACILITY, limit: MAX_DATAGRAM };
        Wording { gateway: "gw-7".into(), encoder }
    }

    fn stamp(boot: u64, seq: u64) -> Stamp {
        Stamp { boot, seq }
    }

    /// The gap that a hole is told as.
    fn gap(after: Option<Stamp>, before: Stamp) -> Gap {
        let told = wording(Format::Native).tell(Item::Hole(Hole { after, before, count: 5 }), NOW);
        assert!(told.whole);
        let message = told.message.expect("it fits");
        let text = message.split_once("] ").expect("a text").1;
        let Ok(Record::Gap(gap)) = serde_json::from_str(text) else { panic!("a gap: {text}") };
        assert_eq!((gap.cause, gap.count), (Cause::Spool, 5));
        gap
    }

    #[test]
    fn hole_has_a_range_and_the_number_of_what_follows_it() {
        let gap = gap(Some(stamp(7, 3)), stamp(7, 10));
        assert_eq!(
            (gap.first.as_deref(), gap.last.as_deref()),
            (Some("0000000000000007-4"), Some("0000000000000007-9"))
        );
        assert_eq!((gap.boot.as_str(), gap.seq), ("0000000000000007", 10));
    }

    #[test]
    fn hole_up_to_the_first_record_of_a_run_ends_there_all_the_same() {
        let gap = gap(Some(stamp(7, 3)), stamp(8, 1));
        assert_eq!((gap.first.as_deref(), gap.last), (Some("0000000000000007-4"), None));
        assert_eq!((gap.boot.as_str(), gap.seq), ("0000000000000008", 1));
    }

    #[test]
    fn hole_at_the_beginning_has_an_open_one() {
        let gap = gap(None, stamp(7, 2));
        assert_eq!((gap.first, gap.last.as_deref()), (None, Some("0000000000000007-1")));
    }

    #[test]
    fn hole_is_taken_for_no_record_that_follows_it_in_any_format() {
        let hole = Item::Hole(Hole { after: None, before: stamp(7, 2), count: 5 });
        for (format, id) in [
            (Format::Ecs, "\"id\":\"0000000000000007-2-gap\""),
            (Format::Ocsf, "\"uid\":\"0000000000000007-2-gap\""),
            (Format::Cef, "externalId=0000000000000007-2-gap "),
            (Format::Leef, "cause=spool"),
        ] {
            let message = wording(format).tell(hole.clone(), NOW).message.expect("it fits");
            assert!(message.contains(id), "{message}");
            assert!(message.contains(" seq=\"2\" count=\"5\" cause=\"spool\"] "), "{message}");
        }
    }

    #[test]
    fn record_that_makes_no_message_is_told_with_its_number_and_why() {
        let damaged = Item::Record { stamp: stamp(7, 2), count: 5, text: "{".into() };
        let Told { message, whole } = wording(Format::Ecs).tell(damaged, NOW);
        let message = message.expect("it fits");
        assert!(!whole);
        assert!(
            message.contains("\"id\":\"0000000000000007-2\"") && message.contains("\"unsendable\""),
            "{message}"
        );
        assert!(message.contains(" seq=\"2\" count=\"5\" cause=\"unsendable\"] "), "{message}");
    }
}
