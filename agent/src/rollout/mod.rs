//! How a policy comes in force step by step. In: policies, and what devices do steadily. Out: the policy of a step, whom a change touches,
//! what has stopped after it, whether tables allowed that, and the stages of a device with their gates.

mod beats;
mod only;
mod stage;
mod talk;
mod touched;

pub use beats::{Beats, LOOKS, Moment, PERIODS, Steady};
pub use only::{NotApart, known, only};
pub use stage::{Asked, Criterion, Gate, Pass, Stage, Standing};
pub use talk::{Sent, Side, Talk};
pub use touched::{holders, touched};
