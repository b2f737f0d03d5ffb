//! A lab to look around in: brings one up, prints how to enter each machine, and holds it until stdin ends.
//!
//! In: `routed` (default) or `bridged`. Out: one line per machine. Nothing is left behind, however it ends.

use std::{
    io::{self, Read, Write},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Result, bail};
use bulkhead_tests::lab::{Lab, requirements};

fn main() -> ExitCode {
    if let Err(reason) = requirements() {
        eprintln!("error: {reason}");
        return ExitCode::from(2);
    }
    match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn hold() -> Result<()> {
    let lab = match std::env::args().nth(1).as_deref() {
        None | Some("routed") => Lab::routed()?,
        Some("bridged") => Lab::bridged()?,
        Some(other) => bail!("`{other}` is neither `routed` nor `bridged`"),
    };
    let mut out = io::stdout().lock();
    // A process that does nothing, for whoever wants to see that the gateway's children go with the lab.
    let mut idle = Command::new("cat");
    idle.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = lab.gateway.namespace.spawn_child(idle)?;
    writeln!(out, "child {}", child.id())?;
    writeln!(
        out,
        "gateway {} {} {}",
        lab.gateway.cell_ip,
        lab.gateway.plant_ip,
        lab.gateway.namespace.nsenter()
    )?;
    for host in lab.hosts() {
        writeln!(out, "{} {} {} {}", host.name, host.ip, host.mac, host.namespace.nsenter())?;
    }
    writeln!(out, "ready")?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(lab);
    child.wait()?;
    Ok(())
}
