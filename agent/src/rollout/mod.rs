//! How a policy comes in force step by step. In: policies, and what devices do steadily. Out: the policy of a step, whom a change touches,
//! what has stopped after it, and whether tables allowed that.

mod beats;
mod only;
mod talk;
mod touched;

pub use beats::{Beats, LOOKS, Moment, PERIODS, Steady};
pub use only::{NotApart, known, only};
pub use talk::{Sent, Side, Talk};
pub use touched::{holders, touched};
