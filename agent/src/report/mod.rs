//! Answers about a policy that need no kernel: values in, values out.

pub mod plan;
pub mod why;
