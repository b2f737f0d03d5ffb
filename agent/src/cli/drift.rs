//! `bulkhead drift`: does the kernel hold what the agent put there.

use super::{Cli, Exit, Output, print_json, unexpected};
use crate::control::{Body, DriftStatus, Request};

pub(super) fn run(cli: &Cli, output: Output) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Drift)?;
    let Body::Drift(status) = body else { return Err(unexpected(&body)) };
    let exit = if status.found.is_empty() { Exit::Fine } else { Exit::Found };
    if output.json {
        print_json(&status)?;
        return Ok(exit);
    }
    let DriftStatus { checked: _, took_us, found, repaired } = status;
    for one in &found {
        out!("{one}");
    }
    if found.is_empty() {
        out!("the kernel holds what the agent put there (compared in {} ms)", took_us.div_ceil(1000));
    }
    if repaired > 0 {
        let times = if repaired == 1 { "once".to_owned() } else { format!("{repaired} times") };
        say!("written anew {times} since the agent started; `bulkhead audit-log` says when and why");
    }
    Ok(exit)
}
