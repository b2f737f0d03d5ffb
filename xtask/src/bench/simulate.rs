//! `cargo xtask bench simulate`: what it takes to hold a policy against a history.
//!
//! In: rounds, and which rows. Out: rows of the common table. The measuring half is `tests/benches/replay`.

use anyhow::Result;

use super::{RatioArgs, packets::measured, rows::Row};

/// Measure `simulate` over ten million rows: time and memory
///
/// In an optimised build, without root. Exit code 1 means that a target was missed.
#[derive(clap::Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    pub(super) ratios: RatioArgs,
}

/// Measures every row that is asked for.
pub(super) fn rows(args: &RatioArgs) -> Result<Vec<Row>> {
    measured("replay", &[], args)
}
