//! What a policy would do with what really happened: recorded frames, or rows of a history, meet its tables.
//!
//! In: a [`Setting`] (a policy, its tables, how the agent runs) and traffic, from [`Frames`] frame by frame or from [`rows`] kind by kind.
//! Out: a [`Report`], bounded whatever the traffic. The function that judges is [`bulkhead_common::decide::decide`], on the tables as the
//! host has them; nothing here decides, it only counts, and says what helps.

use std::{borrow::Cow, collections::BTreeMap};

use bulkhead_common::layout::SegmentRow;
use jiff::Timestamp;

use crate::{
    compile::{Placed, Tables},
    model::{Mode, Policy},
};

pub mod beside;
mod ends;
mod frames;
mod kinds;
mod recorded;
mod report;
mod rows;
mod tally;
mod text;
mod touching;
mod words;
pub use frames::{Frames, Judged};
pub use recorded::{NoPart, Recorded};
pub use report::{Break, DeviceBreaks, Other, Report, RuleUse, Rules, Totals, VERSION};
pub use rows::{Rows, rows};
pub use touching::{Hurt, Touching, break_id};

/// Entries of each list of a report; what is beyond is counted.
pub const LISTED: usize = 500;

/// A policy, and where and how packets meet it.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// What it says.
    pub policy: &'a Policy,
    /// What packets meet.
    pub tables: &'a Tables,
    /// How the agent runs. Schedules are opened by the time of the traffic, not by [`Placed::deadlines`].
    pub placed: &'a Placed,
    /// Where traffic may be seen, at least one place.
    pub places: &'a [Place],
    /// What time it is: what has expired by then does not hold, whenever the traffic was.
    pub now: Timestamp,
}

/// An interface, with those of its VLANs that are segments of their own.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The interface itself.
    pub segment: SegmentRow,
    /// By VLAN.
    pub vlans: BTreeMap<u16, SegmentRow>,
    /// Whether it is any segment: where it is not known where packets arrive, each sender is taken to be on the segment on which its
    /// device must be seen.
    pub anywhere: bool,
}

/// The same policy, every device of it that only monitors in enforcement.
pub fn as_enforced(policy: &Policy) -> Cow<'_, Policy> {
    if policy.devices.iter().all(|device| device.mode != Mode::Monitor) {
        return Cow::Borrowed(policy);
    }
    let mut policy = policy.clone();
    let monitored = policy.devices.iter_mut().filter(|device| device.mode == Mode::Monitor);
    monitored.for_each(|device| device.mode = Mode::Enforce);
    Cow::Owned(policy)
}

#[cfg(test)]
mod tests;
