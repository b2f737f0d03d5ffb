//! `cargo xtask bench history`: what it takes to remember flows.
//!
//! In: rounds, and which rows. Out: rows of the common table. The measuring half is `tests/benches/history`.

use anyhow::{Result, anyhow};
use bulkhead_tests::lab::requirements;

use super::{RatioArgs, packets::measured, rows::Row};

/// Measure the history: bytes written, time and memory to read it, and what it costs to look at conversations
///
/// As root, in an optimised build. Exit code 1 means that a target was missed.
#[derive(clap::Args)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    pub(super) ratios: RatioArgs,
}

/// Measures every row that is asked for.
pub(super) fn rows(args: &RatioArgs) -> Result<Vec<Row>> {
    requirements().map_err(|reason| anyhow!("flows need the lab: {reason}"))?;
    measured("history", &[], args)
}
