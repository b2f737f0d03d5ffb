//! A lab to look around in: brings one up, prints how to enter each machine, and holds it until stdin ends or ctrl-c.
//!
//! In: `routed` (default) or `bridged`. Out: one line per machine. Nothing is left behind, however it ends.

use std::{
    io::{self, Write},
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use bulkhead_tests::lab::{Lab, interrupted, on_interrupt, requirements};

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
    on_interrupt()?;
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
    wait_for_end();
    drop(lab);
    child.wait()?;
    writeln!(out, "down")?;
    Ok(())
}

fn wait_for_end() {
    let (end, ended) = mpsc::channel::<()>();
    // Never joined: a read of a terminal ends only with the process.
    thread::spawn(move || {
        // Whether stdin ended or broke, nobody holds the lab any more; dropping the sender says so.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        drop(end);
    });
    while !interrupted() && ended.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {}
}
