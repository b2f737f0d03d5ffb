//! The Bulkhead agent: policy files in, enforced BPF maps out, violations back.
//!
//! Modules by rank; a module imports only from lower ranks (see `docs/architecture.md`).

// They panic when nobody reads; the commands print with words that do not, and the daemon logs.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod capture;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod diagnostic;
pub mod files;
pub mod flowlog;
pub mod history;
pub mod inventory;
pub mod language;
pub mod learn;
pub mod lease;
pub mod lint;
pub mod metrics;
pub mod model;
pub mod mud;
pub mod observe;
pub mod policy;
pub mod record;
pub mod replay;
pub mod report;
pub mod resolver;
pub mod rollout;
pub mod signing;
pub mod sink;
pub mod spool;
pub mod store;
pub mod traffic;
