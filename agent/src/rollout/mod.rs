//! How a policy comes in force step by step. In: policies. Out: the policy of a step.

mod only;

pub use only::{NotApart, known, only};
