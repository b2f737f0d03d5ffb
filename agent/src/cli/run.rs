//! `bulkhead run`: the daemon.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use super::{Cli, Exit};
use crate::daemon::{self, Log};

pub(super) fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let filter = EnvFilter::try_from_env("BULKHEAD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Log)
        // It would tell of them on the very standard error that refused them.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let config = cli.config()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to make the event loop")?;
    runtime.block_on(daemon::run(config))?;
    Ok(Exit::Fine)
}
