//! The policy that an agent starts with: the one in force when the last agent ended, and only then the files.
//!
//! A rollback is not undone by a reboot: the configured files are taken over at start only if they are others than those
//! taken over last. Files that cannot be used change nothing. A change that waits for its confirmation goes on waiting,
//! or is undone before the first packet when its time is over. Damage never brings back what was taken back, or what
//! nobody had confirmed; what became of it is in the audit trail before the start can fail.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    clock::clocks,
    policies::{self, Candidate, Gate, Maker, Origin, Passed, Refused, whole},
    start::StartError,
};
use crate::{
    compile::Limits,
    config::Config,
    files::read_policy,
    policy::SourceFile,
    store::{
        FoundPointer, LAST_GOOD, LastGood, Overrides, Pending, Pointer, Record, Revisions, Store, StoreError,
        Who,
        audit::{self, Action, Event, Outcome, Trail},
        digest, salvage,
    },
};

/// Problems by subject.
type Warnings = BTreeMap<&'static str, String>;

/// What the agent begins with.
pub(super) struct First {
    pub(super) candidate: Candidate,
    pub(super) origin: Origin,
    pub(super) from: String,
    pub(super) pointer: Pointer,
    pub(super) then: Then,
    /// Entries of the trail that could not be written.
    pub(super) missed: u64,
}

/// What is left to do once it is enforced.
pub(super) enum Then {
    /// It is not kept yet.
    Keep,
    /// It was kept.
    Go,
}

/// What the first policy is found with.
pub(super) struct Beginning<'a> {
    pub(super) config: &'a Config,
    pub(super) store: &'a Store,
    pub(super) trail: &'a Trail,
    pub(super) overrides: &'a Overrides,
    pub(super) limits: &'a Limits,
    pub(super) maker: &'a mut Maker,
    pub(super) warnings: &'a mut Warnings,
}

/// Why another revision than the one in force begins.
struct Turn {
    action: Action,
    why: String,
}

impl Beginning<'_> {
    /// What to enforce before anything else is read.
    pub(super) fn first_policy(mut self) -> Result<First, StartError> {
        let mut kept = self.store.revisions().unwrap_or_else(|error| {
            self.note("revisions", format!("the kept revisions cannot be listed: {}", error.caused()));
            Revisions { records: BTreeMap::new(), broken: vec![error] }
        });
        let FoundPointer { pointer, damage } = self.store.find_pointer();
        let mut turn = None;
        for error in &damage {
            self.note("damage", format!("the state folder was damaged: {}", error.caused()));
        }
        let pointer = match pointer {
            Some(pointer) => pointer,
            None => {
                let Some(pointer) = self.salvaged(&kept, &damage) else {
                    return match self.left_by_an_older_agent() {
                        Some(first) => Ok(first),
                        None => self.read_files(Pointer::default(), 0),
                    };
                };
                let why = "which revision was in force is not known any more, and what the audit trail and the records tell decides".to_owned();
                self.note("damage", why.clone());
                turn = Some(Turn { action: Action::Fallback, why });
                pointer
            }
        };
        let back_to = pointer.pending.as_ref().map(|pending| pending.back_to);
        for number in [Some(pointer.current), back_to].into_iter().flatten() {
            // One by one they may still be read when their folder cannot.
            if let Some(record) = self.store.record(number).ok().flatten() {
                kept.records.entry(number).or_insert(record);
            }
        }
        let (pointer, undone) = settle(pointer);
        let before = |number: u64| kept.records.get(&number).map(|record| record.revision.clone());
        let mut was = before(pointer.current).unwrap_or_default();
        if let Some(Pending { number, .. }) = undone {
            was = before(number).unwrap_or_default();
            let why = format!("revision {number} was not confirmed in time");
            tracing::warn!("{why}");
            turn = Some(Turn { action: Action::AutoRollback, why });
        }
        let (usable, problem) = self.newest_usable(&kept, &pointer);
        let number = usable.as_ref().map(|(record, _)| record.number);
        if let Some(problem) = problem {
            let instead =
                number.map_or("the configured files".to_owned(), |number| format!("revision {number}"));
            self.note("fallback", format!("{problem}; the agent began with {instead}"));
            let Turn { action, why } = turn.unwrap_or(Turn { action: Action::Fallback, why: String::new() });
            let why = if why.is_empty() { problem } else { format!("{why}; {problem}") };
            turn = Some(Turn { action, why });
        }
        let missed = turn.map_or(0, |turn| self.tell(turn, number, was, usable.as_ref()));
        let Some((record, candidate)) = usable else {
            let pointer =
                Pointer { current: 0, pending: None, configured: None, taken_over: None, ..pointer };
            return self.read_files(pointer, missed);
        };
        let pointer =
            if record.number == pointer.current { pointer } else { fallen_back(pointer, record.number) };
        if let Err(error) = self.store.point(&pointer) {
            let error = error.caused();
            self.note("store", format!("which revision is in force could not be written down: {error}"));
        }
        Ok(First {
            candidate,
            origin: Origin::named(&record.origin),
            from: record.from.clone(),
            pointer,
            then: Then::Go,
            missed,
        })
    }

    /// What is known of a lost pointer; `None` when there never was one.
    fn salvaged(&mut self, kept: &Revisions, damage: &[StoreError]) -> Option<Pointer> {
        let chain = audit::verify(self.store.folder()).unwrap_or_default();
        let trail: Vec<&Event> = chain.entries.iter().map(|(_, entry)| &entry.event).collect();
        let last = self.store.next_number(&Pointer::default()).map_or(0, |next| next - 1);
        // The first revision of all may be on the disk when the power goes before anything points at it.
        if damage.is_empty() && (last == 0 || last == 1 && trail.is_empty()) {
            return None;
        }
        // They may be those of a change that was taken back: they are enforced when somebody says so.
        let configured = read_policy(&self.config.policy).ok().map(whole);
        let configured = configured.and_then(|layers| Some(digest(&layers.first()?.kept().files)));
        Some(Pointer { configured, ..salvage(&kept.records, &trail, last) })
    }

    /// The revision in force, or else the newest that is whole and was not taken back; and why not the former.
    fn newest_usable<'k>(
        &mut self,
        kept: &'k Revisions,
        pointer: &Pointer,
    ) -> (Option<(&'k Record, Candidate)>, Option<String>) {
        let others = kept.records.keys().rev().filter(|number| {
            **number != pointer.current
                && **number <= pointer.last
                && !pointer.rolled_back.contains(number)
                && pointer.pending.as_ref().is_none_or(|pending| **number <= pending.back_to)
        });
        let mut problem = None;
        for number in Some(&pointer.current).filter(|current| **current != 0).into_iter().chain(others) {
            let usable = match kept.records.get(number) {
                None => Err(format!("its record is damaged or gone{}", named(&kept.broken))),
                Some(record) => self.store.texts(record).map_err(|error| error.caused()).and_then(|layers| {
                    let candidate = self.maker.prepare(layers, self.overrides, self.limits);
                    candidate.map(|candidate| (record, candidate)).map_err(|error| error.to_string())
                }),
            };
            match usable {
                Ok(found) => return (Some(found), problem),
                Err(error) => {
                    problem.get_or_insert(format!(
                        "revision {number}, which was in force, could not be used: {error}"
                    ));
                }
            }
        }
        (None, problem)
    }

    /// Writes into the trail that another revision begins than the one that was in force. Returns how many entries are
    /// missing there.
    fn tell(
        &mut self,
        turn: Turn,
        number: Option<u64>,
        before: String,
        usable: Option<&(&Record, Candidate)>,
    ) -> u64 {
        let Turn { action, why } = turn;
        let event = Event {
            result: Outcome::Ok,
            target: number.map(|number| number.to_string()),
            message: Some(why),
            before,
            after: usable.map(|(_, candidate)| candidate.tables.revision.to_string()).unwrap_or_default(),
            ..Event::begun(action, Who::agent("start"))
        };
        match self.trail.append(event, jiff::Timestamp::now().to_string()) {
            Ok(_) => 0,
            Err(error) => {
                self.note("audit", format!("the audit trail cannot be written: {}", error.caused()));
                1
            }
        }
    }

    /// The only policy there is; nothing enforces without one.
    fn read_files(self, mut pointer: Pointer, missed: u64) -> Result<First, StartError> {
        let Self { config, overrides, limits, maker, .. } = self;
        let gate = Gate {
            signing: &config.signing,
            accepted: pointer.accepted(),
            in_force: None,
            allow_older: false,
        };
        let refused = |error: Refused| StartError::Policy(error.to_string());
        let Passed { files, signed: _, accepted, notes } =
            policies::from_path(&config.policy, &gate).map_err(refused)?;
        let mut candidate = maker.prepare(whole(files), overrides, limits).map_err(refused)?;
        candidate.doubts.note(&notes);
        if let Some(accepted) = accepted {
            pointer.accept(accepted);
        }
        let from = config.policy.display().to_string();
        Ok(First { candidate, origin: Origin::Files, from, pointer, then: Then::Keep, missed })
    }

    /// The one policy that agents kept before they kept revisions.
    fn left_by_an_older_agent(&self) -> Option<First> {
        let last: LastGood = self.store.load(LAST_GOOD).ok().flatten()?;
        let files = last.files.into_iter().map(|f| SourceFile { path: f.path, text: f.text }).collect();
        let candidate = policies::prepare(whole(files), self.overrides, self.limits).ok()?;
        let from = LAST_GOOD.to_owned();
        let pointer = Pointer::default();
        Some(First { candidate, origin: Origin::Pushed, from, pointer, then: Then::Keep, missed: 0 })
    }

    fn note(&mut self, subject: &'static str, note: String) {
        tracing::error!("{note}");
        match self.warnings.entry(subject) {
            Entry::Vacant(none) => drop(none.insert(note)),
            Entry::Occupied(mut others) => *others.get_mut() += &format!("\n{note}"),
        }
    }
}

/// What has become of a change that waited.
fn settle(pointer: Pointer) -> (Pointer, Option<Pending>) {
    let Some(pending) = pointer.pending.clone() else { return (pointer, None) };
    if pending.number != pointer.current {
        // It was cut off before it came in force.
        return (Pointer { pending: None, ..pointer }, None);
    }
    match pending.deadline.carried_over(&clocks()) {
        Some(deadline) => (Pointer { pending: Some(Pending { deadline, ..pending }), ..pointer }, None),
        None => (pointer.back(pending.back_to), Some(pending)),
    }
}

/// The pointer when what was in force cannot be used.
fn fallen_back(pointer: Pointer, number: u64) -> Pointer {
    if pointer.pending.is_some() {
        // Nobody had confirmed it: it is undone.
        return pointer.back(number);
    }
    // The configured files are as good as it was and mend it, unless they are those of a change that was taken back.
    let mend = pointer.taken_over == Some(pointer.current);
    let configured = pointer.configured.clone().filter(|_| !mend);
    Pointer { current: number, configured, ..pointer }
}

fn named(broken: &[StoreError]) -> String {
    broken.iter().map(|error| format!(", {}", error.caused())).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::store::Deadline;

    /// Number 3 is in force; the files were taken over by `taken_over`.
    fn pointer(taken_over: u64) -> Pointer {
        let configured = Some("digest".to_owned());
        let rolled_back = BTreeSet::from([2]);
        Pointer {
            current: 3,
            last: 3,
            configured,
            taken_over: Some(taken_over),
            rolled_back,
            ..Pointer::default()
        }
    }

    #[test]
    fn files_mend_a_damaged_revision_unless_they_were_taken_back() {
        let mended = fallen_back(pointer(3), 1);
        assert_eq!((mended.current, mended.configured), (1, None));
        // Somebody pushed the third; the files are those of the second, which was rolled back.
        let other = fallen_back(pointer(2), 1);
        assert_eq!((other.current, other.configured.as_deref()), (1, Some("digest")));
        assert_eq!(other.rolled_back, BTreeSet::from([2]));
    }

    #[test]
    fn a_change_that_waited_is_taken_back_with_its_damage() {
        let deadline = Deadline::after(Duration::from_secs(600), &clocks());
        let pending = Pending { number: 3, back_to: 1, deadline, by: Who::agent("test"), accepted: None };
        let undone = fallen_back(Pointer { pending: Some(pending), ..pointer(3) }, 1);
        assert_eq!((undone.current, undone.pending, undone.configured.as_deref()), (1, None, Some("digest")));
        assert_eq!(undone.rolled_back, BTreeSet::from([2, 3]));
    }
}
