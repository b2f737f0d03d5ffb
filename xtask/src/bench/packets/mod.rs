//! `cargo xtask bench packets`: what one packet costs the program, over what an empty program costs.

use anyhow::Result;

use super::{RatioArgs, rows::Row};

/// Measure what one packet costs
#[derive(clap::Args)]
pub(super) struct PacketsArgs {
    #[command(flatten)]
    pub(super) ratios: RatioArgs,
}

/// Measures every row.
pub(super) fn rows(_args: &RatioArgs) -> Result<Vec<Row>> {
    Ok(Vec::new())
}
