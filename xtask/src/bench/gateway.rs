//! One agent's life on a gateway in a namespace. In: a site. Out: how long until it enforces, what one change takes, what
//! it holds in memory.
//!
//! The lab's PLC and HMI are two devices among the site's; the change is made to the PLC, in a file that a hundred others
//! are in, and a connection that only the new policy allows shows that it is in force.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bulkhead_tests::{
    lab::{
        Agent, Lab, Topology, spent,
        topology::{MODBUS, PLC},
        wait::check_interrupt,
    },
    site::Site,
};

use super::{
    compile::limits,
    report::{Size, What},
};

/// Beyond this nobody waits for an agent to start.
const START_WITHIN: Duration = Duration::from_secs(300);
/// A denied connection is dropped, so this is how long it takes to see that.
const DENIED: Duration = Duration::from_millis(300);
/// How often the one device is changed in one life of the agent.
const CHANGES: u32 = 4;

/// What the agent's log says of a change.
const PHASES: [(What, &str); 6] = [
    (What::Read, "read_ms="),
    (What::Resolve, "resolve_ms="),
    (What::Compile, "compile_ms="),
    (What::Keep, "keep_ms="),
    (What::Patch, "load_ms="),
    (What::Flip, "flip_ms="),
];

/// Starts an agent with empty tables, changes one device a few times, and ends everything.
pub(super) fn round(site: &Site, binary: &Path, size: &mut Size) -> Result<()> {
    let lab = Lab::build(Topology::Routed, 1500)?;
    let listener = lab.plc().namespace.run(|| TcpListener::bind(("0.0.0.0", MODBUS)));
    // Held, not used: the kernel accepts.
    let _listener = listener.context("failed to listen at the PLC")?;
    let changed = site.line(0);
    let denied = format!("{}{}", changed.text, devices(&lab, "opcua"));
    let allowed = format!("{}{}", changed.text, devices(&lab, "modbus"));
    let mut agent = Agent::of(&lab, binary.to_owned(), "version = 1\n")?;
    agent.write_config(&limits(site))?;
    let write = |name: &str, text: &str| {
        let path = format!("policy.d/{name}");
        lab.gateway.room.write(&path, text).with_context(|| format!("failed to write `{path}`"))
    };
    for file in site.files() {
        write(&file.name, &file.text)?;
    }
    write(&changed.name, &denied)?;

    let start = Instant::now();
    agent.start_within(START_WITHIN)?;
    size.add(What::Start, millis(start.elapsed()));
    took(&agent, size, What::Load, "load_ms=")?;
    let pid = agent.pid().context("the agent ended")?;
    size.add(What::Resident, f64::from(spent::memory(pid)?.now) / 1024.0);

    for (change, text) in (0..CHANGES).zip([&allowed, &denied].into_iter().cycle()) {
        check_interrupt()?;
        let before = spent::processor(pid)?;
        let saved = Instant::now();
        write(&changed.name, text)?;
        let output = agent.cli(&["apply"])?;
        let returned = millis(saved.elapsed());
        ensure!(output.status.success(), "`apply` failed: {}", String::from_utf8_lossy(&output.stderr));
        size.add(What::ChangeCpu, millis(spent::processor(pid)? - before));
        size.add(What::Returned, returned);
        // What is doubtful about a policy is found once it enforces.
        size.add(What::Change, returned - last(&agent, "told_ms=")?.unwrap_or_default());
        for (what, key) in PHASES {
            took(&agent, size, what, key)?;
        }
        let reaches = reaches(&lab);
        if reaches != (change % 2 == 0) {
            bail!("the change came back as done and is not in force");
        }
    }
    size.add(What::Peak, f64::from(spent::memory(pid)?.peak) / 1024.0);
    size.add(What::Maps, spent::maps(pid)? / 1024.0);
    agent.stop()?;
    Ok(())
}

/// The lab's own two devices, of which the HMI may ask the PLC over one service.
fn devices(lab: &Lab, service: &str) -> String {
    let device = |name| {
        let host = lab.host(name);
        format!("\n[device.{name}]\nmac = \"{}\"\nip = \"{}\"\nmode = \"enforce\"\n", host.mac, host.ip)
    };
    let allow = format!("\n[[device.{PLC}.allow]]\nfrom = \"hmi\"\nservice = \"{service}\"\n");
    format!("{}{}{allow}", device(PLC), device("hmi"))
}

fn reaches(lab: &Lab) -> bool {
    let plc = SocketAddr::V4(lab.modbus());
    lab.host("hmi").namespace.run(move || TcpStream::connect_timeout(&plc, DENIED).is_ok())
}

/// Adds the last number of the agent's log behind `key`, if it says one.
fn took(agent: &Agent<'_>, size: &mut Size, what: What, key: &str) -> Result<()> {
    if let Some(number) = last(agent, key)? {
        size.add(what, number);
    }
    Ok(())
}

fn last(agent: &Agent<'_>, key: &str) -> Result<Option<f64>> {
    let log = agent.log();
    let Some((_, after)) = log.rsplit_once(key) else { return Ok(None) };
    let number = after.split_whitespace().next().unwrap_or_default();
    number.parse().map(Some).with_context(|| format!("`{key}{number}` in the log of the agent"))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
