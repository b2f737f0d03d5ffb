//! `bulkhead inventory`: what devices say of themselves on the wire.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{Cli, Exit, Output, check::files_of, print, print_json, table};
use crate::{
    diagnostic::{counted, escape, render_text},
    inventory::{Inventory, Kind, Known, Listed, Report, stub},
    policy::resolve_texts,
};

mod captures;
pub(super) mod live;
pub(super) mod vendors;
mod which;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is listed are claims: any host can say anything of itself. Nothing is allowed by them.\n\n\
                  Exit codes: 0 fine; 1 there is no such device, or the policy is invalid; 2 it could not run, or a capture is damaged."
)]
pub(super) struct Args {
    /// Read recorded traffic, pcap or pcapng, instead of asking the running agent; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pcap: Vec<PathBuf>,
    /// The policy, a file or a folder: whoever is in it is listed by its name there. The agent knows its own
    #[arg(long, value_name = "PATH", requires = "pcap")]
    policy: Option<PathBuf>,
    /// Show everything that one device said, with its evidence and times. It may stand after the captures of `--pcap`
    #[arg(value_name = "MAC|IP", conflicts_with_all = ["stub", "changes"])]
    device: Option<String>,
    /// Print a policy entry for this device, for a person to finish
    #[arg(long, value_name = "MAC|IP", conflicts_with_all = ["json", "changes"])]
    stub: Option<String>,
    /// Print what was new: devices, addresses, and what they say of themselves
    #[arg(long)]
    changes: bool,
    /// Leave out devices that are in the policy
    #[arg(long)]
    unknown: bool,
    #[command(flatten)]
    output: Output,
}

/// What is known, from wherever it is.
pub(super) struct Told {
    pub(super) report: Report,
    /// Names that a new device cannot have.
    taken: BTreeSet<String>,
    /// Whether all of it was read.
    whole: bool,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let other = args.stub.as_deref().or(args.changes.then_some("--changes"));
    let (captures, device) = which::asked(&args.pcap, args.device.as_deref(), other)?;
    let told =
        if captures.is_empty() { Some(live::ask(cli, &vendors::read())?) } else { recorded(args, captures)? };
    let Some(Told { mut report, taken, whole }) = told else { return Ok(Exit::Found) };
    let mut rivals = Vec::new();
    if let Some(wanted) = args.stub.as_deref().or(device) {
        let found = which::find(&report, wanted)?;
        if let Some(listed) = &found {
            rivals = which::rivals(&report, listed);
        }
        report.devices = found.into_iter().collect();
        report.changes.retain(|change| report.devices.iter().any(|listed| listed.device.of == change.of));
        if report.devices.is_empty() {
            say!("error: nothing was heard of `{}`", escape(wanted));
            return Ok(Exit::Found);
        }
    }
    for rival in rivals {
        say!("note: another host uses an address of this one: {rival}");
    }
    if args.unknown {
        report.devices.retain(|listed| listed.known.is_none());
    }
    match (&args.stub, &report.devices[..]) {
        (Some(_), [listed]) => {
            if let Some(name) = &listed.known {
                say!("note: the policy has this device: `{}`", escape(name));
            }
            out!("{}", stub(listed, &taken).trim_end());
        }
        _ if args.output.json => print_json(&report)?,
        _ if args.changes => report.changes.iter().for_each(|change| out!("{}  {change}", change.time)),
        (None, [listed]) if device.is_some() => tell(listed),
        _ => list(&report),
    }
    Ok(if whole { Exit::Fine } else { Exit::CouldNotRun })
}

/// What captures tell; none if the policy is invalid.
fn recorded(args: &Args, captures: &[PathBuf]) -> anyhow::Result<Option<Told>> {
    let mut inventory = Inventory::default();
    if let Some(path) = &args.policy {
        let outcome = resolve_texts(&files_of(path)?);
        let Some(policy) = outcome.policy else {
            print::rendered(&render_text(&outcome.diagnostics, &outcome.sources, false));
            return Ok(None);
        };
        inventory.know(Known::of(&policy));
    }
    let whole = captures::read(captures, &mut inventory)?;
    let report = Report::new(&inventory, inventory.known(), &vendors::read());
    Ok(Some(Told { report, taken: inventory.known().taken(), whole }))
}

/// Everything about one device.
fn tell(listed: &Listed) {
    let device = &listed.device;
    out!("{}  {}", device.of, named(listed));
    if let Some(vendor) = &listed.registered {
        out!("hardware   {}", escape(&vendor.to_string()));
    }
    if let Some(on) = &device.on {
        out!("heard on   {}", escape(on));
    }
    if let Some(router) = device.behind {
        out!("behind     {router}");
    }
    out!("seen       {} to {}, {}", device.first, device.last, counted(device.frames, "frame"));
    if let Some(suggested) = &listed.suggested {
        let because = suggested.because.join("; ");
        out!("suggested  {} ({}): {}", suggested.class, suggested.confidence.name(), escape(&because));
    }
    if device.refused > 0 {
        out!("refused    {}: no room for them", counted(device.refused, "claim"));
    }
    let mut rows = table::table(&["FACT", "VALUE", "EVIDENCE", "FROM", "FIRST", "LAST", "COUNT"]);
    for fact in &device.facts {
        rows.add_row([
            fact.kind.name().to_owned(),
            escape(&fact.value),
            fact.evidence.name().to_owned(),
            fact.from.map(|from| from.to_string()).unwrap_or_default(),
            fact.first.to_string(),
            fact.last.to_string(),
            fact.count.to_string(),
        ]);
    }
    table::print(&rows);
}

fn named(listed: &Listed) -> String {
    match (&listed.known, &listed.maybe) {
        (Some(name), _) => escape(name),
        (None, Some(name)) => format!("(not in the policy, and uses an address of `{}`)", escape(name)),
        (None, None) => "(not in the policy)".to_owned(),
    }
}

/// The name in the policy, with a `?` where it is only the address of that.
pub(super) fn known_as(listed: &Listed) -> String {
    match (&listed.known, &listed.maybe) {
        (Some(name), _) => escape(name),
        (None, Some(name)) => format!("{}?", escape(name)),
        (None, None) => "-".to_owned(),
    }
}

/// A line for each device.
fn list(report: &Report) {
    let mut rows = table::table(&[
        "DEVICE",
        "POLICY",
        "IP",
        "REGISTERED",
        "NAME",
        "MODEL",
        "FIRMWARE",
        "MAY BE",
        "LAST SEEN",
    ]);
    for listed in &report.devices {
        let device = &listed.device;
        let last_said =
            |kind| device.of_kind(kind).first().map(|fact| escape(&fact.value)).unwrap_or_default();
        let addresses: Vec<String> = listed.addresses.iter().map(ToString::to_string).collect();
        let suggested = listed.suggested.as_ref();
        rows.add_row([
            device.of.to_string(),
            known_as(listed),
            addresses.join(" "),
            listed.registered.as_ref().map(|vendor| escape(&vendor.to_string())).unwrap_or_default(),
            last_said(Kind::Name),
            last_said(Kind::Model),
            last_said(Kind::Firmware),
            suggested.map(|s| format!("{} ({})", s.class, s.confidence.name())).unwrap_or_default(),
            device.last.to_string(),
        ]);
    }
    table::print(&rows);
    for (name, several) in shared_names(report) {
        say!("note: several devices are `{}` by their addresses: {}", escape(name), several.join(", "));
    }
    if report.devices.is_empty() {
        say!(
            "note: devices are heard when they ask or announce something (ARP, DHCP, LLDP, ...) or accept a connection; one that goes on says nothing"
        );
    }
    let counts = report.counts;
    let strangers = report.devices.iter().filter(|listed| listed.known.is_none()).count();
    say!("{}, {strangers} not in the policy", counted(report.devices.len() as u64, "device"));
    if counts.refused_devices + counts.refused_facts + counts.forgotten > 0 {
        say!(
            "no room for {} of devices and {}; {} forgotten",
            counted(counts.refused_devices, "frame"),
            counted(counts.refused_facts, "claim"),
            counted(counts.forgotten, "stranger")
        );
    }
}

/// Names of the policy that several devices have or may have, of whom one at most has a hardware address of it.
fn shared_names(report: &Report) -> Vec<(&String, Vec<String>)> {
    let mut by_name: BTreeMap<&String, Vec<&Listed>> = BTreeMap::new();
    for listed in &report.devices {
        if let Some(name) = listed.known.as_ref().or(listed.maybe.as_ref()) {
            by_name.entry(name).or_default().push(listed);
        }
    }
    by_name.retain(|_, all| all.len() > 1 && all.iter().any(|listed| listed.maybe.is_some()));
    by_name
        .into_iter()
        .map(|(name, all)| (name, all.iter().map(|listed| listed.device.of.to_string()).collect()))
        .collect()
}
