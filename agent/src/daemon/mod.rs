//! The running agent: owns the clock, signals, sockets and the only select loop.
//!
//! [`run`] turns whatever happens into an [`Input`]; [`Agent::step`] answers each with effects on the data
//! path, the log and the askers. Nothing here decides about packets.

mod agent;
mod answers;
mod asked;
mod begin;
mod calendar;
mod changes;
mod clock;
mod door;
mod drift;
mod explain;
mod feed;
mod first;
mod flows;
mod forgotten;
mod forward;
mod heard;
mod history;
mod hits;
mod honesty;
mod input;
mod leases;
mod ledger;
mod log;
mod metrics;
mod mirror;
mod modes;
mod names;
mod nic;
mod nics;
mod ourselves;
mod pace;
mod pairs;
mod past;
mod plan;
mod policies;
mod receivers;
mod refusals;
mod remote;
mod report;
mod revisions;
mod rollback;
mod routes;
mod run;
mod scrape;
mod series;
mod serve;
mod sinks;
mod standing;
mod start;
mod summary;
mod suspects;
mod trail;
mod watch;
mod wording;

pub use agent::{Agent, StartError};
pub use input::Input;
pub use log::Log;
pub use ourselves::own;
pub use remote::receiver;
pub use run::run;
pub use sinks::JOURNAL;
pub use start::sizes;
