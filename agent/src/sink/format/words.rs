//! What several formats say alike: a sentence for people, and the numbers behind our words.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::record::{Action, Alarm, Cause, End, Gap, Heartbeat, Record, Severity, Sighting, Violation};

/// What happened, for whoever reads a list of records.
pub(in crate::sink) fn sentence(record: &Record) -> String {
    match record {
        Record::Violation(one) => {
            let Violation { action, protocol, source, destination, explanation, device, .. } = one.as_ref();
            let who = if one.others {
                format!("others of {}", device.as_deref().unwrap_or("nobody's device"))
            } else {
                format!("{} to {}", shown(source), shown(destination))
            };
            format!("{} {} of {protocol}, {who}: {explanation}", happened(*action), packets(one.count))
        }
        Record::Gap(Gap { count, explanation, .. }) => {
            format!("{} denied of which nothing else is known: {explanation}", packets(*count))
        }
        Record::Heartbeat(Heartbeat { modes, violations, warnings, .. }) => {
            let state = format!(
                "{} enforced, {} watched, {} cut off; {} denied so far",
                devices(modes.enforce),
                modes.monitor,
                modes.quarantine,
                packets(*violations)
            );
            if warnings.is_empty() { state } else { format!("{state}; {}", warnings.join("; ")) }
        }
        Record::Alarm(one) => {
            let Alarm { alarm, device, explanation, .. } = one.as_ref();
            format!("{} ({}): {explanation}", alarm.text(), device.as_deref().unwrap_or("several"))
        }
        Record::Inventory(one) => {
            let Sighting { change, explanation, .. } = one.as_ref();
            format!("{}: {explanation}", change.text())
        }
    }
}

fn devices(count: u64) -> String {
    if count == 1 { "1 device".to_owned() } else { format!("{count} devices") }
}

fn packets(count: u64) -> String {
    if count == 1 { "1 packet".to_owned() } else { format!("{count} packets") }
}

/// A name with its address: `office (10.9.8.66 port 49152)`.
fn shown(end: &End) -> String {
    let port = end.port.map(|port| format!(" port {port}")).unwrap_or_default();
    let address = end.ip.map(|ip| ip.to_string()).or_else(|| end.mac.clone());
    match (&end.name, address) {
        (Some(name), Some(address)) => format!("{name} ({address}{port})"),
        (Some(name), None) => name.clone(),
        (None, Some(address)) => format!("{address}{port}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// What became of the packets, in the words of a firewall.
pub(super) fn happened(action: Action) -> &'static str {
    match action {
        Action::Dropped => "dropped",
        Action::Passed => "would-drop",
    }
}

/// The word of a cause.
pub(in crate::sink) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Before => "before",
        Cause::Restart => "restart",
        Cause::Ring => "ring",
        Cause::Spool => "spool",
        Cause::Disk => "disk",
        Cause::Unsendable => "unsendable",
    }
}

/// The word of a severity.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// The severity of any record. What nobody can say more of is as grave as a violation of medium severity.
pub(in crate::sink) fn severity_of(record: &Record) -> Severity {
    match record {
        Record::Violation(one) => one.severity,
        Record::Gap(_) => Severity::Medium,
        Record::Heartbeat(one) if one.warnings.is_empty() => Severity::Info,
        Record::Heartbeat(_) => Severity::Medium,
        Record::Alarm(one) => one.severity,
        Record::Inventory(one) => one.severity,
    }
}

/// A severity from 1 to 10, as CEF and LEEF have it.
pub(super) fn of_ten(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

/// Milliseconds since the epoch of a time that was made harmless.
pub(super) fn millis(time: &str) -> i64 {
    time.parse::<Timestamp>().map(Timestamp::as_millisecond).unwrap_or_default()
}

/// The protocol's number (IANA), where it is one over IP.
pub(super) fn number(protocol: &str) -> Option<u8> {
    Some(match protocol {
        "icmp" => 1,
        "igmp" => 2,
        "tcp" => 6,
        "udp" => 17,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" => 58,
        "ospf" => 89,
        "vrrp" => 112,
        "sctp" => 132,
        other => return other.strip_prefix("ip/")?.parse().ok(),
    })
}

/// The version of IP, by either address.
pub(super) fn ip_version(one: &Violation) -> Option<u8> {
    // ARP shows IPv4 addresses and is no IP.
    let over_ip = one.protocol != "arp";
    one.source.ip.or(one.destination.ip).filter(|_| over_ip).map(|ip| match ip {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 6,
    })
}
