//! What was seen becomes what is allowed: the baseline of each device, and a policy that admits it and little else.
//!
//! In: a policy, which says who is who, and rows of what was seen, read twice. Out: what is habit, what is not and why, and text for a
//! policy file. Nothing here opens a file or asks a clock.
//!
//! The steps, each a module: [`Who`] says who is at each end, [`scan`] finds who tries many, [`habit`] adds up, [`judge`] asks what
//! is allowed already, [`fate`] says of each habit whether it is learned, `baseline` tells it device by device, and [`propose`]
//! writes it down. [`compare`] puts a manufacturer's word beside it.

mod baseline;
pub mod compare;
mod fate;
mod habit;
mod judge;
mod learner;
pub mod propose;
mod scan;
mod settings;

pub use crate::compile::{Party, Who};
pub use baseline::{Baseline, DeviceReport, Gap, HabitLine, Scan, Tally, Watch, baseline};
pub use fate::{Doubt, Fate, Left, fates};
pub use habit::{Habit, Times, Week};
pub use judge::{Judge, Surroundings};
pub use learner::{Counts, First, Found, Presence, Second};
pub use scan::{Scanned, Scans, Source};
pub use settings::{Settings, Span};

use crate::traffic::{Kind, Service};

/// Who talks to whom over what, by their names in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Talk {
    /// Who begins.
    pub from: Party,
    /// Who answers.
    pub to: Party,
    /// Over what.
    pub service: Service,
}

impl Talk {
    /// What a kind belongs to.
    fn of(who: &Who<'_>, kind: &Kind) -> Self {
        let [from, to] = who.parties(kind).map(|(party, _)| party);
        Self { from, to, service: kind.service.unit() }
    }
}

#[cfg(test)]
mod tests;
