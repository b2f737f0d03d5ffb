//! `bulkhead devices`.

use serde::Serialize;

use super::{
    Cli, Exit, Output,
    inventory::{known_as, live, vendors},
    print_json, table, unexpected,
};
use crate::{
    control::{Body, DeviceStatus, Identity, LeaseStatus, NameStatus, Request},
    diagnostic::{counted, escape},
    inventory::{Kind, Listed, Of},
};

/// Devices that are not in the policy and are listed; the inventory has the others.
const MOST_UNKNOWN: usize = 50;

/// A device that is not in the policy, for programs.
#[derive(Serialize)]
struct Unknown<'l> {
    /// What it is listed by.
    name: String,
    /// `unknown`.
    mode: &'static str,
    mac: Vec<String>,
    ip: Vec<String>,
    /// What it said of itself.
    inventory: &'l Listed,
}

/// All of them, for programs.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'l> {
    Device(&'l DeviceStatus),
    Unknown(Unknown<'l>),
}

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
            say!("error: unknown device `{name}`");
            if name.parse::<Of>().is_ok() {
                say!("hint: `bulkhead inventory {name}` tells what it says of itself");
            }
            return Ok(Exit::Found);
        }
    }
    let unknown = if args.device.is_none() { unknown(cli) } else { Vec::new() };
    if args.output.json {
        let lines: Vec<Line<'_>> = devices.iter().map(Line::Device).chain(unknown.iter().map(line)).collect();
        print_json(&lines)?;
        return Ok(Exit::Fine);
    }
    if let (Some(_), [device]) = (&args.device, &devices[..]) {
        out!("{}  {}  {}", device.name, device.mode, device.place);
        out!("mac {}\nip  {}\nsegment {}", hardware(device), addresses(device), place(device));
        if let Some(changed) = &device.changed {
            out!("mode changed {changed}");
        }
        if !device.names.is_empty() {
            let mut rows = table::table(&["NAME", "ADDRESS", "KNOWN FOR"]);
            for NameStatus { name, address, seconds_left } in &device.names {
                rows.add_row([name.clone(), address.clone(), left(*seconds_left)]);
            }
            table::print(&rows);
        }
        let mut rows = table::table(&["REASON", "PACKETS"]);
        for (word, count) in &device.counts {
            rows.add_row([word.clone(), count.to_string()]);
        }
        table::print(&rows);
        return Ok(Exit::Fine);
    }
    let mut rows = table::table(&[
        "DEVICE",
        "MODE",
        "CRITICALITY",
        "MAC",
        "IP",
        "SEGMENT",
        "ALLOWED",
        "DENIED",
        "DENIED BECAUSE",
    ]);
    for device in devices {
        let reasons = device.counts.iter().filter(|(word, _)| is_reason(word));
        let reasons: Vec<String> = reasons.map(|(word, count)| format!("{word} {count}")).collect();
        let (mac, ip, place) = (hardware(&device), addresses(&device), place(&device));
        let mode = if device.changed.is_some() { format!("{} (by hand)", device.mode) } else { device.mode };
        rows.add_row([
            device.name,
            mode,
            device.criticality,
            mac,
            ip,
            place,
            device.allowed.to_string(),
            device.denied.to_string(),
            reasons.join(", "),
        ]);
    }
    table::print(&rows);
    if !unknown.is_empty() {
        list(&unknown);
    }
    Ok(Exit::Fine)
}

/// Who is heard and is not in the policy; nobody where no inventory is kept.
fn unknown(cli: &Cli) -> Vec<Listed> {
    let Ok(told) = live::ask(cli, &vendors::found().0) else { return Vec::new() };
    let mut unknown = told.report.devices;
    unknown.retain(|listed| listed.known.is_none());
    unknown
}

fn line(listed: &Listed) -> Line<'_> {
    Line::Unknown(Unknown {
        name: listed.device.of.to_string(),
        mode: "unknown",
        mac: match listed.device.of {
            Of::Mac(mac) => vec![mac.to_string()],
            Of::Address(_) => Vec::new(),
        },
        ip: listed.addresses.iter().map(ToString::to_string).collect(),
        inventory: listed,
    })
}

/// A line for each that is not in the policy.
fn list(unknown: &[Listed]) {
    out!("");
    let mut rows = table::table(&[
        "NOT IN THE POLICY",
        "MAYBE",
        "IP",
        "ON",
        "REGISTERED",
        "NAME",
        "MODEL",
        "MAY BE",
        "LAST SEEN",
    ]);
    for listed in unknown.iter().take(MOST_UNKNOWN) {
        let device = &listed.device;
        let said = |kind| device.of_kind(kind).first().map(|fact| escape(&fact.value)).unwrap_or_default();
        let addresses: Vec<String> = listed.addresses.iter().map(ToString::to_string).collect();
        let suggested = listed.suggested.as_ref();
        rows.add_row([
            device.of.to_string(),
            known_as(listed),
            addresses.join(" "),
            device.on.as_deref().map(escape).unwrap_or_default(),
            listed.registered.as_ref().map(|vendor| escape(&vendor.to_string())).unwrap_or_default(),
            said(Kind::Name),
            said(Kind::Model),
            suggested.map(|s| format!("{} ({})", s.class, s.confidence.name())).unwrap_or_default(),
            device.last.to_string(),
        ]);
    }
    table::print(&rows);
    if let Some(more @ 1..) = unknown.len().checked_sub(MOST_UNKNOWN) {
        say!("{} more: `bulkhead inventory --unknown`", counted(more as u64, "device"));
    }
}

/// Hardware addresses, or that there are none to bind the addresses to.
fn hardware(device: &DeviceStatus) -> String {
    match device.identity {
        Some(Identity::Address) => "weak: address only".to_owned(),
        Some(Identity::Mac) | None => device.mac.join(" "),
    }
}

/// Its own addresses, then leased ones: `10.20.1.77 (lease, 52m)`.
fn addresses(device: &DeviceStatus) -> String {
    let leased = device.leases.iter().map(|LeaseStatus { address, seconds_left }| match seconds_left {
        Some(seconds) => format!("{address} (lease, {})", left(*seconds)),
        None => format!("{address} (lease)"),
    });
    let mut all: Vec<String> = device.ip.iter().cloned().chain(leased).collect();
    if device.dhcp && device.leases.is_empty() {
        all.push("dhcp (no lease seen)".to_owned());
    }
    all.join(" ")
}

/// Where it must be seen.
fn place(device: &DeviceStatus) -> String {
    let vlan = device.vlan.map(|vlan| format!("vlan {vlan}"));
    let words: Vec<String> = device.segment.clone().into_iter().chain(vlan).collect();
    if words.is_empty() && device.identity.is_some() { "any".to_owned() } else { words.join(" ") }
}

/// In the largest unit of which there is at least one.
pub(super) fn left(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400.. => format!("{}d", seconds / 86_400),
    }
}

fn is_reason(word: &str) -> bool {
    bulkhead_common::reason::Reason::ALL.iter().any(|reason| reason.name() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_lease_is_told_in_one_unit() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3170, "52m"), (7199, "1h"), (86_400, "1d"), (604_799, "6d")]
        {
            assert_eq!(left(seconds), text);
        }
    }
}
