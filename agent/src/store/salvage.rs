//! What is known of the pointer when it and its copy are lost.
//!
//! In: the records that can be read, and the audit trail. Out: a pointer that is never too trusting: nothing that waited
//! for a confirmation that the trail does not tell of, nothing that the revision found does not follow from, and no
//! older signed set than any revision had.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Pointer, Record,
    audit::{Action, Event, Outcome},
    pointer::MAX_ROLLED_BACK,
};

/// The pointer, as far as it is known from elsewhere; `last` is the highest number there is.
pub fn salvage(records: &BTreeMap<u64, Record>, trail: &[&Event], last: u64) -> Pointer {
    let done = || trail.iter().rev().filter(|event| event.result == Outcome::Ok);
    let number = |event: &Event| event.target.as_ref()?.parse::<u64>().ok().filter(|number| *number > 0);
    let confirmed =
        |wanted: u64| done().any(|event| event.action == Action::Confirm && number(event) == Some(wanted));
    let told = done().find_map(|event| match event.action {
        Action::Start | Action::Fallback | Action::Confirm | Action::Rollback | Action::AutoRollback => {
            number(event)
        }
        Action::Apply | Action::Reload | Action::TrafficRollback => {
            let made = records.values().rev().find(|record| record.revision == event.after);
            made.map(|record| record.number)
        }
        Action::Repair
        | Action::Mode
        | Action::Quarantine
        | Action::Release
        | Action::Acknowledge
        | Action::ShadowSet
        | Action::ShadowClear
        | Action::StageAdvance
        | Action::StageBack
        | Action::StageAccept
        | Action::StageWithdraw
        | Action::Detach => None,
    });
    let mut current = told.or_else(|| {
        // It may have been rolled back; the one before it was in force for long enough to be followed by it.
        let newest = records.values().next_back()?;
        Some(newest.before.unwrap_or(newest.number))
    });
    let mut line = BTreeSet::new();
    while let Some(record) = current.and_then(|number| records.get(&number)) {
        if !record.waits || confirmed(record.number) {
            break;
        }
        current = record.before.filter(|before| *before < record.number);
    }
    let mut at = current;
    while let Some(number) = at {
        line.insert(number);
        at = records.get(&number).and_then(|record| record.before).filter(|before| *before < number);
    }
    let mut rolled_back: BTreeSet<u64> =
        records.keys().copied().filter(|number| !line.contains(number)).collect();
    while rolled_back.len() > MAX_ROLLED_BACK {
        rolled_back.pop_first();
    }
    let accepted = records.values().filter_map(|record| record.accepted.clone());
    Pointer {
        current: current.unwrap_or_default(),
        last,
        accepted: accepted.max_by_key(|accepted| accepted.number),
        rolled_back,
        ..Pointer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{AcceptedSet, Who};

    fn record(number: u64, before: Option<u64>) -> Record {
        Record {
            number,
            revision: format!("{number:012x}"),
            at: String::new(),
            by: Who::default(),
            origin: "files".into(),
            from: String::new(),
            reason: None,
            signed: None,
            changes: String::new(),
            before,
            waits: false,
            accepted: None,
            layers: Vec::new(),
        }
    }

    fn did(action: Action, target: &str, after: u64) -> Event {
        let target = Some(target.to_owned());
        let after = format!("{after:012x}");
        Event { result: Outcome::Ok, target, after, ..Event::begun(action, Who::default()) }
    }

    fn salvaged(records: &[Record], trail: &[Event]) -> (u64, Vec<u64>) {
        let records = records.iter().map(|record| (record.number, record.clone())).collect();
        let found = salvage(&records, &trail.iter().collect::<Vec<_>>(), 9);
        assert_eq!((found.last, &found.pending, &found.configured), (9, &None, &None));
        (found.current, found.rolled_back.into_iter().collect())
    }

    #[test]
    fn the_trail_tells_which_was_in_force_last() {
        let records = [record(1, None), record(2, Some(1)), record(3, Some(1))];
        let mut trail = vec![did(Action::Start, "1", 1), did(Action::Apply, "/etc/policy", 2)];
        assert_eq!(salvaged(&records[..2], &trail), (2, vec![]));
        trail.push(did(Action::Rollback, "1", 1));
        assert_eq!(salvaged(&records[..2], &trail), (1, vec![2]));
        trail.push(did(Action::Apply, "/etc/policy", 3));
        // A mode set by hand makes other tables of the same revision.
        trail.push(did(Action::Mode, "plc monitor", 77));
        let failed = Event { result: Outcome::Failed, ..did(Action::Rollback, "1", 77) };
        trail.push(failed);
        assert_eq!(salvaged(&records, &trail), (3, vec![2]));
    }

    #[test]
    fn what_waited_is_trusted_only_if_the_trail_tells_of_its_confirmation() {
        let records = [record(1, None), Record { waits: true, ..record(2, Some(1)) }];
        let mut trail = vec![did(Action::Start, "1", 1), did(Action::Apply, "/etc/policy", 2)];
        assert_eq!(salvaged(&records, &trail), (1, vec![2]));
        trail.push(did(Action::Confirm, "2", 2));
        trail.push(did(Action::Start, "2", 2));
        assert_eq!(salvaged(&records, &trail), (2, vec![]));
    }

    #[test]
    fn without_a_trail_the_newest_is_not_trusted() {
        let records = [record(1, None), record(2, Some(1)), record(4, Some(2))];
        assert_eq!(salvaged(&records, &[]), (2, vec![4]));
        assert_eq!(salvaged(&records[..1], &[]), (1, vec![]));
        assert_eq!(salvaged(&[], &[]), (0, vec![]));
    }

    #[test]
    fn what_a_lost_record_does_not_lead_to_is_not_trusted() {
        let records = [record(1, None), record(2, Some(1))];
        assert_eq!(salvaged(&records, &[did(Action::Start, "3", 3)]), (3, vec![1, 2]));
    }

    #[test]
    fn the_accepted_set_never_falls() {
        let accepted = |number| Some(AcceptedSet { number, digest: String::new() });
        let mut newer = record(2, Some(1));
        newer.accepted = accepted(9);
        let older = Record { accepted: accepted(7), ..record(3, Some(2)) };
        let records = BTreeMap::from([(1, record(1, None)), (2, newer), (3, older)]);
        assert_eq!(salvage(&records, &[], 3).accepted, accepted(9));
    }
}
