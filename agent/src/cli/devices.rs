//! `bulkhead devices`.

use super::{Cli, Exit, Output, print_json, table, unexpected};
use crate::control::{Body, Request};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show every reason with its count, for this device only
    device: Option<String>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Devices)?;
    let Body::Devices(mut devices) = body else { return Err(unexpected(&body)) };
    if let Some(name) = &args.device {
        devices.retain(|d| d.name == *name);
        if devices.is_empty() {
            eprintln!("error: unknown device `{name}`");
            return Ok(Exit::Found);
        }
    }
    if args.output.json {
        print_json(&devices)?;
        return Ok(Exit::Fine);
    }
    if let (Some(_), [device]) = (&args.device, &devices[..]) {
        out!("{}  {}  {}", device.name, device.mode, device.place);
        out!("mac {}\nip  {}", device.mac.join(" "), device.ip.join(" "));
        if let Some(changed) = &device.changed {
            out!("mode changed {changed}");
        }
        let mut rows = table::table(&["REASON", "PACKETS"]);
        for (word, count) in &device.counts {
            rows.add_row([word.clone(), count.to_string()]);
        }
        table::print(&rows);
        return Ok(Exit::Fine);
    }
    let mut rows =
        table::table(&["DEVICE", "MODE", "CRITICALITY", "MAC", "IP", "ALLOWED", "DENIED", "DENIED BECAUSE"]);
    for device in devices {
        let reasons = device.counts.iter().filter(|(word, _)| is_reason(word));
        let reasons: Vec<String> = reasons.map(|(word, count)| format!("{word} {count}")).collect();
        let mode = if device.changed.is_some() { format!("{} (by hand)", device.mode) } else { device.mode };
        rows.add_row([
            device.name,
            mode,
            device.criticality,
            device.mac.join(" "),
            device.ip.join(" "),
            device.allowed.to_string(),
            device.denied.to_string(),
            reasons.join(", "),
        ]);
    }
    table::print(&rows);
    Ok(Exit::Fine)
}

fn is_reason(word: &str) -> bool {
    bulkhead_common::reason::Reason::ALL.iter().any(|reason| reason.name() == word)
}
