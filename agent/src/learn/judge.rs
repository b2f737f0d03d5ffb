//! What is allowed already: the first packet of a kind of flow is made up and given to [`decide`], the function that enforces.
//!
//! In: a policy, where and how the agent runs, kinds of flow. Out: whether the policy allows it: always, at times, or no more.

use std::collections::BTreeSet;

use bulkhead_common::{
    decide::Decision,
    layout::{SegmentRow, Settings},
    lookup::{infrastructure, segment_flag},
};
use jiff::Timestamp;

use super::{Times, Who};
use crate::{
    compile::{
        Begun, Calendar, Field, Host, Limits, Placed, Tables, TooLarge, compile, is_allowed,
        numbered_segments,
    },
    model::{Policy, Schedule},
    traffic::Kind,
};

/// Where and how the agent runs, as far as verdicts depend on it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The segments.
    pub field: Field,
    /// The management pin, who is trusted, the gateway's own addresses.
    pub placed: Placed,
}

impl Default for Surroundings {
    /// Any segment, no pin, no address.
    fn default() -> Self {
        Self { field: Field::Anywhere(Self::any_segment()), placed: Placed::default() }
    }
}

impl Surroundings {
    /// A segment with the whole infrastructure set.
    pub fn any_segment() -> SegmentRow {
        let flags = segment_flag::TRUSTED;
        SegmentRow { infrastructure: infrastructure::ALL, flags, ..SegmentRow::default() }
    }
}

/// What a policy says of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is allowed.
    Allowed,
    /// A rule allows it at times.
    AtTimes,
    /// A rule allowed it whose time is over.
    Expired,
    /// Nothing allows it.
    Denied,
}

/// A policy that can be asked.
pub struct Judge {
    policy: Policy,
    tables: Tables,
    surroundings: Surroundings,
    now: Timestamp,
}

impl Judge {
    /// Of a policy, at a time.
    ///
    /// # Errors
    /// [`TooLarge`] when no table holds it.
    pub fn new(policy: &Policy, mut surroundings: Surroundings, now: Timestamp) -> Result<Self, TooLarge> {
        let policy = policy.clone();
        let tables = compile(&policy, &Limits { devices: u32::MAX, rules: u32::MAX, rows: u32::MAX })?;
        let Surroundings { field, placed } = &mut surroundings;
        match field {
            Field::Anywhere(_) => placed.segments = numbered_segments(&tables),
            // Where a device is seen of which the policy names another segment is no matter of rules: it has one of its own, of which nobody
            // else knows.
            Field::Segments(rows) => {
                for name in &tables.segments {
                    let taken: BTreeSet<u16> = placed.segments.values().copied().collect();
                    let free = (1..=u16::MAX).find(|number| !taken.contains(number));
                    if let (false, Some(segment)) = (placed.segments.contains_key(name), free) {
                        placed.segments.insert(name.clone(), segment);
                        rows.push((None, SegmentRow { segment, ..Surroundings::any_segment() }));
                    }
                }
            }
        }
        Ok(Self { policy, tables, surroundings, now })
    }

    /// The tables behind the answers.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Asks about kinds.
    pub fn ask(&self) -> Asking<'_> {
        let Surroundings { field, placed } = &self.surroundings;
        // Nothing is taken on trust, and no flow is one too many.
        let settings = Settings { adopt_until: 0, flow_cap: 0, ..placed.settings };
        let all = |open: &dyn Fn(&[Schedule]) -> bool| -> Vec<u64> {
            self.tables.schedules.iter().map(|set| if open(set) { u64::MAX } else { 0 }).collect()
        };
        let is_current = |one: &Schedule| !one.has_expired(self.now);
        Asking {
            who: Who::new(&self.policy, placed),
            calendar: Calendar::new(&self.tables, self.now),
            field,
            host: Host::new(&self.tables, Placed { settings, ..placed.clone() }),
            closed: all(&|_| false),
            today: all(&|set| set.iter().any(is_current)),
            open: all(&|_| true),
        }
    }
}

/// Questions in a row.
pub struct Asking<'j> {
    who: Who<'j>,
    calendar: Calendar<'j>,
    field: &'j Field,
    host: Host<'j>,
    /// Deadlines of the schedules where each is closed, where those are open that have not expired, and where all are.
    closed: Vec<u64>,
    today: Vec<u64>,
    open: Vec<u64>,
}

impl<'j> Asking<'j> {
    /// Who is who, as it is asked about.
    pub fn who(&self) -> &Who<'j> {
        &self.who
    }

    /// Whether a flow of this kind may begin, and be answered.
    pub fn about(&mut self, kind: &Kind) -> Said {
        let begun = Begun::of(kind, &self.who);
        if self.is_allowed(&begun, Opened::Closed) {
            return Said::Allowed;
        }
        // Without schedules that is all.
        if self.open.is_empty() {
            Said::Denied
        } else if self.is_allowed(&begun, Opened::Today) {
            Said::AtTimes
        } else if self.is_allowed(&begun, Opened::Open) {
            Said::Expired
        } else {
            Said::Denied
        }
    }

    /// Whether it may at all of these times, wherever in their hours it was. Of no time nobody knows.
    pub fn throughout(&mut self, kind: &Kind, times: &[Times]) -> bool {
        let begun = Begun::of(kind, &self.who);
        let mut asked: BTreeSet<Vec<u64>> = BTreeSet::new();
        let hours =
            times.iter().flat_map(|Times { day, first, last, hours }| hours.edges(*day, *first, *last));
        for (_, open) in hours.flat_map(|edges| self.calendar.during(edges)) {
            if asked.contains(&open) {
                continue;
            }
            self.host.reschedule(open.clone());
            if !is_allowed(&begun.meets(&mut self.host, self.field)) {
                return false;
            }
            asked.insert(open);
        }
        !times.is_empty()
    }

    /// The rule by which such a flow may begin, at some time at which its schedule is open; 0 where none has to allow it, none where it may
    /// not.
    pub fn rule(&mut self, kind: &Kind) -> Option<u32> {
        let begun = Begun::of(kind, &self.who);
        let decision = self.decided(&begun, Opened::Today);
        is_allowed(&decision).then_some(decision.rule)
    }

    fn is_allowed(&mut self, begun: &Begun, times: Opened) -> bool {
        is_allowed(&self.decided(begun, times))
    }

    fn decided(&mut self, begun: &Begun, times: Opened) -> Decision {
        let open = match times {
            Opened::Closed => &self.closed,
            Opened::Today => &self.today,
            Opened::Open => &self.open,
        };
        self.host.reschedule(open.clone());
        begun.meets(&mut self.host, self.field)
    }
}

/// Which schedules are open.
#[derive(Clone, Copy)]
enum Opened {
    Closed,
    Today,
    Open,
}
