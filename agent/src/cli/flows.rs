//! `bulkhead flows`: the conversations under way.

use super::{Cli, Exit, Output, devices::left, print_json, table, unexpected};
use crate::{
    control::{Body, FlowEnd, FlowList, FlowStatus, Request},
    diagnostic::counted,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only those with this device, by its name, or with this address
    #[arg(value_name = "DEVICE|ADDRESS")]
    of: Option<String>,
    /// How many at most: those under way first, and of them those heard last (the agent tells of 10000)
    #[arg(long, short = 'n', default_value_t = 100, value_name = "N")]
    last: usize,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Flows { of: args.of.clone(), last: args.last })?;
    let Body::Flows(list) = body else { return Err(unexpected(&body)) };
    if args.output.json {
        print_json(&list)?;
        return Ok(Exit::Fine);
    }
    let FlowList { flows, live, expired, more, cut } = list;
    if !flows.is_empty() {
        let header =
            ["DEVICE", "FROM", "TO", "SERVICE", "STATE", "AGE", "IDLE", "SENT", "ANSWERED", "RULE", "PLACE"];
        let mut rows = table::table(&header);
        for flow in &flows {
            rows.add_row(row(flow));
        }
        table::print(&rows);
    }
    say!("{}, {expired} over and not forgotten yet", counted(live, "live conversation"));
    if more > 0 {
        say!("{more} more are left out: `--last N` shows more, a device or an address fewer");
    }
    if cut {
        say!("the kernel remembers more than were looked at");
    }
    Ok(Exit::Fine)
}

fn row(flow: &FlowStatus) -> [String; 11] {
    [
        flow.device.clone().unwrap_or_else(|| "-".to_owned()),
        end(&flow.from),
        // The port says no more than the service.
        end(&FlowEnd { port: None, ..flow.to.clone() }),
        flow.service.clone(),
        state(flow),
        left(flow.age_seconds),
        left(flow.idle_seconds),
        volume(flow.bytes_from),
        volume(flow.bytes_to),
        rule(flow),
        flow.place.clone().unwrap_or_default(),
    ]
}

/// The rule's text.
pub(super) fn rule(flow: &FlowStatus) -> String {
    flow.rule.clone().unwrap_or_else(|| "(no rule of the policy in force)".to_owned())
}

/// Like `812 B`, `1.5 kB` or `12 MB`.
pub(super) fn volume(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    let Some((size, unit)) = units.into_iter().find(|(size, _)| bytes >= *size) else {
        return format!("{bytes} B");
    };
    let (whole, tenth) = (bytes / size, bytes % size * 10 / size);
    if whole < 10 { format!("{whole}.{tenth} {unit}") } else { format!("{whole} {unit}") }
}

/// Like `open`, `live` where there is no more to say, or `expired`.
pub(super) fn state(flow: &FlowStatus) -> String {
    let word = if flow.live { flow.state.as_deref().unwrap_or("live") } else { "expired" };
    word.to_owned()
}

/// Like `hmi`, and its address where nobody is called so.
pub(super) fn who(end: &FlowEnd) -> String {
    end.name.clone().unwrap_or_else(|| self::end(&FlowEnd { port: None, ..end.clone() }))
}

/// Like `hmi (10.20.2.20:49152)`.
pub(super) fn end(end: &FlowEnd) -> String {
    let FlowEnd { name, ip, port } = end;
    let address = match (ip, port) {
        (None, _) => "a group".to_owned(),
        (Some(ip), None) => ip.to_string(),
        (Some(ip), Some(port)) => std::net::SocketAddr::new(*ip, *port).to_string(),
    };
    name.as_ref().map_or(address.clone(), |name| format!("{name} ({address})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowStatus {
        FlowStatus {
            device: Some("plc".to_owned()),
            live: true,
            from: FlowEnd { name: Some("hmi".to_owned()), ip: "fd00::20".parse().ok(), port: Some(49_152) },
            to: FlowEnd { name: None, ip: None, port: Some(502) },
            service: "modbus".to_owned(),
            selector: "tcp/502".to_owned(),
            state: Some("open".to_owned()),
            age_seconds: 7300,
            idle_seconds: 61,
            packets_from: 3,
            packets_to: 2,
            bytes_from: 180,
            bytes_to: 1_250_000,
            rule: None,
            holder: None,
            place: None,
        }
    }

    #[test]
    fn a_row_names_ends_state_and_rule() {
        let said = row(&flow()).join(" | ");
        assert_eq!(
            said,
            "plc | hmi ([fd00::20]:49152) | a group | modbus | open | 2h | 1m | 180 B | 1.2 MB | (no rule of the policy in force) | "
        );
        assert_eq!([999, 1000, 99_999, 3_000_000_000].map(volume), ["999 B", "1.0 kB", "99 kB", "3.0 GB"]);
        assert_eq!(state(&FlowStatus { live: false, ..flow() }), "expired");
        assert_eq!(state(&FlowStatus { state: None, ..flow() }), "live");
    }
}
