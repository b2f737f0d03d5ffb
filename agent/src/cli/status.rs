//! `bulkhead status`: the page an operator reads at 3 a.m.

use super::{Cli, Exit, Output, print_json, table, unexpected};
use crate::control::{Body, Request, Status};

pub(super) fn run(cli: &Cli, output: Output) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Status)?;
    let Body::Status(status) = body else { return Err(unexpected(&body)) };
    let exit = if status.warnings.is_empty() { Exit::Fine } else { Exit::Found };
    if output.json {
        print_json(&status)?;
    } else {
        print(&status);
    }
    Ok(exit)
}

fn print(status: &Status) {
    let count = |mode: &str| status.modes.get(mode).copied().unwrap_or(0);
    let (enforce, quarantine, monitor) = (count("enforce"), count("quarantine"), count("monitor"));
    let attached = status.interfaces.iter().filter(|i| i.attached != "none").count();
    let headline = match (attached, enforce + quarantine) {
        (0, _) => "NOT ENFORCING: no interface is attached",
        (_, 0) => "NOT ENFORCING: every device is in monitor mode",
        _ if attached < status.interfaces.len() => "ENFORCING, but not on every interface",
        _ => "ENFORCING",
    };
    println!("{}: {headline}", status.gateway);
    for warning in &status.warnings {
        println!("! {}", warning.replace('\n', "\n  "));
    }
    println!(
        "\npolicy      revision {} (generation {}, from {})",
        status.revision, status.generation, status.policy
    );
    println!("devices     {enforce} enforce, {monitor} monitor, {quarantine} quarantine");
    let infrastructure: Vec<String> = status
        .infrastructure
        .iter()
        .map(|(word, on)| format!("{word} {}", if *on { "on" } else { "OFF" }))
        .collect();
    println!("always on   {}", infrastructure.join(", "));
    println!("management  {}", status.management);
    println!("flows       {} of {}", status.flows, status.flows_limit);
    let v = status.violations;
    println!(
        "violations  {} = {} delivered + {} aggregated + {} lost; {} records written, {} refused, {} packets pending",
        v.violations, v.delivered, v.aggregated, v.lost, v.written, v.refused, v.pending
    );
    println!("agent       {} pid {} since {}\n", status.version, status.pid, status.since);
    let mut rows = table::table(&[
        "INTERFACE",
        "ROLE",
        "ATTACHED",
        "UNMANAGED",
        "SEEN",
        "PASSED",
        "DROPPED",
        "WOULD-DROP",
    ]);
    for i in &status.interfaces {
        let attached = match i.attached.as_str() {
            "generic" => "GENERIC (slow)".to_owned(),
            "none" => "NO".to_owned(),
            native => native.to_owned(),
        };
        rows.add_row([
            i.name.clone(),
            i.role.clone(),
            attached,
            i.unmanaged.clone(),
            i.seen.to_string(),
            i.passed.to_string(),
            i.dropped.to_string(),
            i.would_drop.to_string(),
        ]);
    }
    table::print(&rows);
}
