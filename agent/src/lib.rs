//! The Bulkhead agent: policy files in, enforced BPF maps out, violations back.
//!
//! Modules by rank; a module imports only from lower ranks (see `docs/architecture.md`).

pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod diagnostic;
pub mod files;
pub mod language;
pub mod lease;
pub mod model;
pub mod observe;
pub mod policy;
pub mod report;
pub mod resolver;
pub mod rollout;
pub mod signing;
pub mod sink;
pub mod store;
