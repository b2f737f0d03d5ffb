//! Kernel samples become facts a person can read: repeats are folded, numbers become names.
//!
//! In: events and drained repeats as the kernel wrote them, and the tables they were decided by. Out:
//! [`Violation`] records. Nothing here reads a clock or a socket; time and samples are arguments.
//!
//! [`Aggregator`] counts, [`Names`] knows what numbers were called under which generation, [`render`]
//! joins the two, [`Recent`] keeps the last records for whoever asks, and [`Tolerated`] what was denied and passed.

mod aggregate;
mod names;
mod recent;
mod record;
mod render;
mod severity;
mod tolerated;

pub use aggregate::{Aggregate, Aggregator, Fold, IDLE, Sample, Totals, Tried};
pub use names::{GENERATIONS, Names};
pub use recent::Recent;
pub use record::{
    Action, Cause, End, Gap, Heartbeat, Icmp, Modes, Record, RecordId, Scan, Severity, VERSION, Verdict,
    Violation, schema,
};
pub use render::{Clock, Teller, render};
pub use tolerated::{Forgotten, Passed, Tolerated};
