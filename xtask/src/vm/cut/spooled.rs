//! Which records may be missing after a cut: those that the agent had not called synced.
//!
//! In: how far the gateway said that records are on the disk, and after a boot which ones a receiver has got. Out: how many
//! of those that were promised were found, or which are missing. What was received once is nobody's worry any more: the
//! agent may have removed it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Everything that was promised, and everything that was received, by agent run.
#[derive(Debug, Default)]
pub(super) struct Spooled {
    /// The last record of the run that was called synced.
    promised: BTreeMap<String, u64>,
    received: BTreeMap<String, BTreeSet<u64>>,
}

/// What was found behind a cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survived {
    /// Records that were called synced, and that nobody had received before.
    pub(super) synced: usize,
    /// Others of the same runs, which the disk happened to have.
    pub(super) beyond: usize,
}

impl Spooled {
    /// The gateway says how far records are on the disk; `null` when none is.
    pub(super) fn promises(&mut self, said: &Value) -> Result<(), String> {
        if said["synced"].is_null() {
            return Ok(());
        }
        let id = said["synced"].as_str().and_then(|id| id.split_once('-'));
        let (run, number) = id
            .and_then(|(run, number)| Some((run, number.parse::<u64>().ok()?)))
            .ok_or_else(|| format!("`synced` is no record: {said}"))?;
        let last = self.promised.entry(run.to_owned()).or_default();
        if number < *last {
            return Err(format!("{run}-{last} was synced, and later only {run}-{number}"));
        }
        *last = number;
        Ok(())
    }

    /// The gateway is back, and a receiver has got what its disk had.
    pub(super) fn finds(&mut self, said: &Value) -> Result<Survived, String> {
        let received =
            said["received"].as_object().ok_or_else(|| format!("nothing is `received`: {said}"))?;
        let mut survived = Survived::default();
        for (run, ranges) in received {
            let numbers = self.received.entry(run.clone()).or_default();
            // Of the run that has just begun nothing was at stake.
            let promised = self.promised.get(run);
            for number in ranges.as_array().into_iter().flatten().flat_map(numbers_of) {
                let is_new = numbers.insert(number);
                survived.synced += usize::from(is_new && promised.is_some_and(|last| number <= *last));
                survived.beyond += usize::from(is_new && promised.is_some_and(|last| number > *last));
            }
        }
        let none = BTreeSet::new();
        let missing: Vec<String> = std::mem::take(&mut self.promised)
            .into_iter()
            .flat_map(|(run, last)| {
                let numbers = self.received.get(&run).unwrap_or(&none);
                let missing: Vec<u64> = (1..=last).filter(|number| !numbers.contains(number)).collect();
                missing.into_iter().map(move |number| format!("{run}-{number}"))
            })
            .collect();
        if missing.is_empty() {
            // The agent that has just begun may have told how far it is.
            self.promises(said)?;
            return Ok(survived);
        }
        let count = missing.len();
        Err(format!("{count} records that were synced are missing: {}", missing.join(", ")))
    }
}

/// The numbers of a range.
fn numbers_of(range: &Value) -> impl Iterator<Item = u64> {
    let end = |at: usize| range[at].as_u64();
    end(0).zip(end(1)).into_iter().flat_map(|(first, last)| first..=last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn promised(id: &str) -> Spooled {
        let mut spooled = Spooled::default();
        spooled
            .finds(&json!({ "received": { "aa": [[1, 2]] }, "synced": null }))
            .expect("nothing was promised");
        spooled.promises(&json!({ "synced": id })).expect("an id");
        spooled
    }

    #[test]
    fn what_was_synced_must_be_found_and_what_was_not_may_be() {
        for (ranges, synced, beyond) in
            [(json!([[1, 5]]), 3, 0), (json!([[1, 7]]), 3, 2), (json!([[3, 5], [7, 7]]), 3, 1)]
        {
            let found = json!({ "received": { "aa": ranges, "bb": [[1, 1]] }, "synced": "bb-1" });
            assert_eq!(promised("aa-5").finds(&found), Ok(Survived { synced, beyond }));
        }
    }

    #[test]
    fn missing_ones_are_named() {
        let wrong =
            |received: Value| promised("aa-5").finds(&json!({ "received": received })).expect_err("missing");
        assert_eq!(
            wrong(json!({ "aa": [[1, 3], [6, 9]] })),
            "2 records that were synced are missing: aa-4, aa-5"
        );
        assert!(wrong(json!({ "bb": [[1, 9]] })).contains("3 records"));
    }

    #[test]
    fn what_was_received_once_may_be_gone_and_a_start_that_was_cut_takes_no_promise_back() {
        let mut spooled = promised("aa-5");
        assert!(spooled.finds(&json!({ "received": { "aa": [[3, 5]] }, "synced": "aa-5" })).is_ok());
        assert_eq!(spooled.finds(&json!({ "received": { "bb": [[1, 1]] } })), Ok(Survived::default()));
        spooled.promises(&json!({ "synced": "bb-4" })).expect("an id");
        spooled.promises(&json!({ "synced": null })).expect("of a run that was cut before it had any");
        spooled.promises(&json!({ "synced": "cc-1" })).expect("an id");
        assert!(
            spooled
                .finds(&json!({ "received": { "bb": [[1, 4]] } }))
                .is_err_and(|said| said.contains("cc-1"))
        );
    }

    #[test]
    fn promise_is_not_taken_back() {
        assert!(promised("aa-5").promises(&json!({ "synced": "aa-4" })).is_err());
        assert!(promised("aa-5").promises(&json!({ "synced": "aa" })).is_err());
    }
}
