//! `bulkhead status`: the page an operator reads at 3 a.m.

use std::{collections::BTreeMap, time::Duration};

use bulkhead_common::forward::fate;

use super::{Cli, Exit, Output, print_json, table, unexpected};
use crate::{
    config::Forward,
    control::{
        Body, FilesStatus, ForwardStatus, InterfaceStatus, NamesStatus, Request, SegmentStatus, SinkStatus,
        Status,
    },
    diagnostic::counted,
    rollout::Stage,
};

mod kept;
pub(super) use kept::lost;
use kept::{collected, heard, remembered, shadow_line};

/// Devices named on the page.
const NAMED: usize = 10;

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
    out!("{}: {}", status.gateway, headline(status));
    for warning in &status.warnings {
        out!("! {}", warning.replace('\n', "\n  "));
    }
    out!(
        "\npolicy      revision {} (number {}, generation {}, from {})",
        status.revision,
        status.number,
        status.generation,
        status.policy
    );
    match &status.files {
        FilesStatus::InForce => {}
        FilesStatus::Differ(why) => out!("files       differ from what is in force: {why}"),
        FilesStatus::Unreadable(why) => out!("files       cannot be read: {}", why.replace('\n', "; ")),
    }
    out!("devices     {enforce} enforce, {monitor} monitor, {quarantine} quarantine");
    let staged = |stage: &Stage| status.stages.get(stage.name()).is_some_and(|count| *count > 0);
    if Stage::ALL.iter().skip(1).any(staged) {
        let stages = Stage::ALL.map(|stage| (stage.name(), status.stages.get(stage.name()).copied()));
        let stages = stages.map(|(word, count)| format!("{} {word}", count.unwrap_or(0)));
        out!("stages      {}", stages.join(", "));
    }
    if !status.quarantined.is_empty() {
        out!("quarantine  {}", some(status.quarantined.iter().cloned()));
    }
    if !status.by_hand.is_empty() {
        let modes = status.by_hand.iter().map(|(device, mode)| format!("{device} {mode}"));
        out!("by hand     {}", some(modes));
    }
    out!("always on   {}", always_on(status));
    out!("management  {}", status.management);
    out!(
        "flows       {} of {} remembered, {} made room for others, {} refused; {} fragmented packets refused",
        status.flows,
        status.flows_limit,
        status.flows_evicted,
        status.flows_refused,
        status.fragments_refused
    );
    out!(
        "verdicts    {} of {} packets answered from memory, the others by looking everything up; room for {} verdicts on each processor",
        status.remembered(),
        status.seen(),
        status.verdicts_limit
    );
    if let Some(forwarded) = &status.forwarded {
        out!("forwarding  {}", sent(forwarded));
    }
    if status.leases > 0 || status.leases_refused > 0 || status.samples_lost > 0 {
        out!(
            "leases      {}, {} refused, {} answers of DHCP servers and resolvers lost",
            status.leases,
            status.leases_refused,
            status.samples_lost
        );
    }
    let names = status.names;
    if names != NamesStatus::default() {
        out!(
            "names       {} addresses known by name; {} refused for want of room, {} protected, {} unusable",
            names.known,
            names.full,
            names.protected,
            names.unusable
        );
    }
    if let Some(shadow) = &status.shadow {
        out!("shadow      {}", shadow_line(shadow));
    }
    if let Some(history) = &status.history {
        out!("history     {}", remembered(history));
        if let Some(collector) = &history.collector {
            out!("collector   {}", collected(collector));
        }
    }
    if let Some(inventory) = &status.inventory {
        out!("inventory   {}", heard(inventory));
    }
    let v = status.violations;
    out!(
        "violations  {} = {} delivered + {} aggregated + {} lost; {} records written, {} refused, {} packets pending, {} evicted",
        v.violations,
        v.delivered,
        v.aggregated,
        v.lost,
        v.written,
        v.refused,
        v.pending,
        v.evicted
    );
    if let Some(probe) = &status.probe {
        match &probe.faults[..] {
            [] => out!("probe       packets met what their mode says, at {}", probe.checked),
            faults => out!("probe       FAILED at {}: {}", probe.checked, faults.join("; ")),
        }
    }
    if let Some(why) = &status.no_probe {
        out!("probe       none: {why}");
    }
    status.sinks.iter().for_each(|sink| out!("sink        {}", fares(sink)));
    if status.log_refused > 0 {
        out!(
            "log         {} messages refused: nobody reads standard error, or its disk is full",
            status.log_refused
        );
    }
    out!("agent       {} pid {} since {}\n", status.version, status.pid, status.since);
    let mut rows = table::table(&[
        "INTERFACE",
        "ROLE",
        "ATTACHED",
        "PROGRAM",
        "UNMANAGED",
        "SEEN",
        "PASSED",
        "DROPPED",
        "WOULD-DROP",
    ]);
    for i in &status.interfaces {
        let attached = match i.attached.as_str() {
            "generic" => "GENERIC (slow)".to_owned(),
            "none" if i.state == "missing" => "MISSING".to_owned(),
            "none" => "NO".to_owned(),
            native => native.to_owned(),
        };
        rows.add_row([
            i.name.clone(),
            match &i.pair {
                Some(peer) => format!("{}, pair with {peer}", i.role),
                None if i.forward == Forward::Direct.name() => format!("{}, direct", i.role),
                None => i.role.clone(),
            },
            attached,
            i.program.clone(),
            i.unmanaged.clone(),
            i.seen.to_string(),
            i.passed.to_string(),
            i.dropped.to_string(),
            i.would_drop.to_string(),
        ]);
    }
    table::print(&rows);
    out!("");
    segments(&status.segments);
    for i in &status.interfaces {
        if let Some(open) = i.open_us {
            let open = Duration::from_micros(open);
            out!("\n{} came while the agent ran, and was open for {open:.1?} until it was attached", i.name);
        }
    }
    if status.link_news_lost > 0 {
        out!("\nnews of interfaces were lost {} times; all were looked at instead", status.link_news_lost);
    }
}

/// What left without the kernel, and what did not, in one line.
fn sent(forwarded: &ForwardStatus) -> String {
    let ForwardStatus { direct, kernel, route_news, route_news_lost } = forwarded;
    let by_kernel: u64 = kernel.values().sum();
    let why: Vec<String> =
        kernel.iter().map(|(why, packets)| format!("{packets} {}", plainly(why))).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
    let lost = match route_news_lost {
        0 => String::new(),
        lost => format!("; news of them were lost {lost} times"),
    };
    format!(
        "{direct} packets sent on directly, {by_kernel} left to the kernel{why}; routes and neighbours changed {route_news} times since the start{lost}"
    )
}

/// Why the kernel got a packet, in words. Another version of the agent may have reasons of its own.
fn plainly(why: &str) -> &str {
    const WORDS: [&str; fate::COUNT as usize] = [
        "directly",
        "no plain TCP or UDP",
        "at the end of their time to live",
        "for the gateway itself or without a route",
        "without a plain route",
        "for a next hop not yet known",
        "too large",
        "out of an interface that does not forward directly",
        "with another way back",
        "to keep neighbours known",
    ];
    fate::NAMES.iter().zip(WORDS).find(|(name, _)| **name == why).map_or(why, |(_, words)| words)
}

/// How a sink fares, in one line.
fn fares(sink: &SinkStatus) -> String {
    let SinkStatus { name, to, format, written, refused, failing: _, last_error: _, spool } = sink;
    let trouble = sink.trouble().map(|trouble| format!("FAILING: {trouble}; ")).unwrap_or_default();
    let waits = spool.as_ref().map(|spool| {
        let (bytes, packets) = (spool.waiting_bytes, spool.waiting_packets);
        let dropped = match spool.dropped_bytes {
            0 => String::new(),
            dropped => format!(", {dropped} bytes dropped before they were surely read"),
        };
        let unsendable = match spool.unsendable {
            0 => String::new(),
            unsendable => format!(", {unsendable} records told as gaps, being unsendable"),
        };
        let unsent = spool.unsent_bytes;
        let sent = bytes.saturating_sub(unsent);
        let where_to = format!("{unsent} not sent, {sent} sent and not surely read");
        format!("; {bytes} bytes of {packets} packets wait ({where_to}){dropped}{unsendable}")
    });
    let waits = waits.unwrap_or_default();
    format!("{name}: {to}, {format}; {trouble}{written} records written, {refused} refused{waits}")
}

/// Enforcing or not, and why not.
pub(super) fn headline(status: &Status) -> String {
    let count = |mode: &str| status.modes.get(mode).copied().unwrap_or(0);
    let is_attached = |i: &&InterfaceStatus| i.attached != "none";
    let attached = status.interfaces.iter().filter(is_attached).count();
    let unmanaged = status.interfaces.iter().filter(is_attached).any(|i| i.unmanaged == "drop");
    let (enforced, watched) = (count("enforce") + count("quarantine"), count("monitor"));
    match (attached, enforced) {
        (0, _) => format!("NOT ENFORCING: no interface is attached: {}", gaps(&status.interfaces)),
        (_, 0) if unmanaged => {
            "ENFORCING for unmanaged traffic only: no device is in enforce mode".to_owned()
        }
        (_, 0) => "NOT ENFORCING: no device is in enforce mode".to_owned(),
        _ if attached < status.interfaces.len() => {
            format!("ENFORCING, but not on every interface: {}", gaps(&status.interfaces))
        }
        _ if watched > 0 => {
            format!(
                "ENFORCING for {enforced} of {}: the others are only watched",
                counted(enforced + watched, "device")
            )
        }
        _ => "ENFORCING".to_owned(),
    }
}

/// What is let through beside the policy, if it is the same everywhere.
fn always_on(status: &Status) -> String {
    let alike = |segment: &SegmentStatus| segment.infrastructure == status.infrastructure;
    if !status.segments.iter().all(alike) {
        return "differs by segment, see below".to_owned();
    }
    let words = status.infrastructure.iter();
    let words: Vec<String> =
        words.map(|(word, on)| format!("{word} {}", if *on { "on" } else { "OFF" })).collect();
    words.join(", ")
}

fn segments(list: &[SegmentStatus]) {
    let mut rows = table::table(&[
        "SEGMENT",
        "INTERFACE",
        "VLAN",
        "UNMANAGED",
        "MANAGEMENT",
        "DHCP SERVERS",
        "ROUTERS",
        "FRAGMENTS",
        "ALWAYS ON",
    ]);
    for segment in list {
        // Whoever is trusted may be anything.
        let allowed = |list: &[String]| match (segment.trusted, list) {
            (true, _) => "any".to_owned(),
            (false, []) => "none".to_owned(),
            (false, list) => list.join(", "),
        };
        rows.add_row([
            segment.name.clone(),
            segment.interface.clone(),
            segment.vlan.map_or("other".to_owned(), |vlan| vlan.to_string()),
            segment.unmanaged.clone(),
            if segment.management { "yes" } else { "no" }.to_owned(),
            allowed(&segment.dhcp_servers),
            allowed(&segment.routers),
            segment.fragments.clone(),
            all_but(&segment.infrastructure),
        ]);
    }
    table::print(&rows);
}

/// `all`, `none`, or what is missing.
pub(super) fn all_but(infrastructure: &BTreeMap<String, bool>) -> String {
    let off: Vec<&str> =
        infrastructure.iter().filter(|(_, on)| !**on).map(|(word, _)| word.as_str()).collect();
    match off.len() {
        0 => "all".to_owned(),
        n if n == infrastructure.len() => "NONE".to_owned(),
        _ => format!("all but {}", off.join(", ")),
    }
}

/// Where nothing is enforced, and why.
fn gaps(interfaces: &[InterfaceStatus]) -> String {
    let gaps: Vec<String> = (interfaces.iter().filter(|i| i.attached == "none"))
        .map(|i| format!("`{}` is {}", i.name, i.state))
        .collect();
    some(gaps.into_iter())
}

/// The first few, and how many more there are.
fn some(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut text = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A gateway with so many devices enforced and watched, and interfaces with how they are attached.
    fn status(enforce: usize, monitor: usize, interfaces: &[(&str, &str)]) -> Status {
        let interfaces: Vec<_> = interfaces
            .iter()
            .map(|(attached, unmanaged)| {
                json!({
                    "name": "eth1", "role": "uplink", "state": "open", "attached": attached, "unmanaged": unmanaged,
                    "problem": null, "seen": 0, "passed": 0, "dropped": 0, "would_drop": 0,
                })
            })
            .collect();
        let status = json!({
            "gateway": "gw", "version": "", "pid": 1, "since": "", "revision": "", "generation": 1, "policy": "files",
            "warnings": [], "modes": { "enforce": enforce, "monitor": monitor, "quarantine": 0 }, "infrastructure": {},
            "management": "none", "interfaces": interfaces, "flows": 0, "flows_limit": 1, "flows_evicted": 0,
            "fragments_refused": 0, "leases": 0, "leases_refused": 0, "samples_lost": 0,
            "violations": {
                "violations": 0, "delivered": 0, "aggregated": 0, "lost": 0, "foreign": 0, "taken": 0, "told": 0,
                "pending": 0, "written": 0, "refused": 0,
            },
        });
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn packets_that_are_forwarded_are_told_in_plain_words() {
        let forwarded = |kernel: &[(&str, u64)], route_news_lost| ForwardStatus {
            direct: 2208,
            kernel: kernel.iter().map(|(why, packets)| ((*why).to_owned(), *packets)).collect(),
            route_news: 5,
            route_news_lost,
        };
        let changed = "routes and neighbours changed 5 times since the start";
        assert_eq!(
            sent(&forwarded(&[], 0)),
            format!("2208 packets sent on directly, 0 left to the kernel; {changed}")
        );
        assert_eq!(
            sent(&forwarded(&[("refresh", 14), ("kind", 1), ("of-another-version", 2)], 1)),
            format!(
                "2208 packets sent on directly, 17 left to the kernel (1 no plain TCP or UDP, 2 of-another-version, 14 to keep neighbours known); {changed}; news of them were lost 1 times"
            )
        );
        // Every reason has words of its own.
        let words: std::collections::BTreeSet<&str> = fate::NAMES.into_iter().map(plainly).collect();
        assert_eq!(words.len(), fate::NAMES.len());
        assert!(fate::NAMES[1..].iter().all(|name| plainly(name) != *name));
    }

    #[test]
    fn the_first_line_says_whether_it_enforces_and_why_not() {
        let (on, off) = (("native", "pass"), ("none", "pass"));
        for (status, wanted) in [
            (status(2, 0, &[on]), "ENFORCING"),
            (status(2, 0, &[off]), "NOT ENFORCING: no interface is attached: `eth1` is open"),
            (status(2, 1, &[on, off]), "ENFORCING, but not on every interface: `eth1` is open"),
            (status(1, 2, &[on]), "ENFORCING for 1 of 3 devices: the others are only watched"),
            (status(0, 2, &[on]), "NOT ENFORCING: no device is in enforce mode"),
            (
                status(0, 2, &[("native", "drop")]),
                "ENFORCING for unmanaged traffic only: no device is in enforce mode",
            ),
        ] {
            assert_eq!(headline(&status), wanted);
        }
    }
}
