//! Kernel samples become facts a person can read: repeats are folded, numbers become names.
//!
//! In: events and drained repeats as the kernel wrote them, and the tables they were decided by. Out:
//! [`Violation`](crate::record::Violation) records. Nothing here reads a clock or a socket; time and samples are arguments.
//!
//! [`Aggregator`] counts, [`Names`] knows what numbers were called under which generation, [`render`]
//! joins the two, [`Recent`] keeps the last records for whoever asks, and [`Tolerated`] what was denied and passed.
//!
//! For the history, [`Conversations`] and [`Denied`] say who began to talk to whom, and how much.

mod aggregate;
mod conversations;
mod denied;
mod names;
mod recent;
mod render;
mod severity;
mod tolerated;

pub use aggregate::{Aggregate, Aggregator, Fold, IDLE, Sample, Totals, Tried};
pub use conversations::{Conversations, Leased, Look, Spoken};
pub use denied::{Denial, Denied};
pub use names::{GENERATIONS, Names};
pub use recent::Recent;
pub use render::{Clock, Teller, render};
pub use tolerated::{Forgotten, Passed, Tolerated};
