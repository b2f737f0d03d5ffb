//! The `bulkhead` command.

use std::process::ExitCode;

use bulkhead_agent::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    Cli::parse().execute().into()
}
