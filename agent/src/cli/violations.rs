//! `bulkhead violations`: what was denied, and why.

use serde_json::Value;

use super::{Cli, Exit, Output, print};
use crate::control::{Body, Request, client};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on with new ones until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many of the past (the agent remembers 1024)
    #[arg(long, short = 'n', default_value_t = 50, value_name = "N")]
    last: usize,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let request = Request::Violations { last: args.last, follow: args.follow };
    let sent = client::send(&cli.socket()?, &request);
    cli.note_enforcement(sent.as_ref().err());
    let mut answers = sent?;
    while let Some(body) = answers.next_body()? {
        if print::reader_has_left() {
            return Ok(Exit::Fine);
        }
        match body {
            Body::Violation(record) if args.output.json => out!("{record}"),
            Body::Violation(record) => out!("{}", line(&record)),
            Body::Missed(count) => {
                say!("{count} records were missed: this reader was too slow; the log has them")
            }
            Body::End if !args.follow => break,
            Body::End => answers.patiently()?,
            Body::Status(_)
            | Body::Devices(_)
            | Body::Rules(_)
            | Body::Why(_)
            | Body::Explained(_)
            | Body::Flows(_)
            | Body::Plan(_)
            | Body::Applied(_)
            | Body::Revisions(_)
            | Body::Drift(_) => {
                return Err(super::unexpected(&body));
            }
        }
    }
    if args.follow {
        say!("the agent ended the stream: it stopped, or this reader was too slow");
        return Ok(Exit::CouldNotRun);
    }
    Ok(Exit::Fine)
}

/// One record in one line.
pub(super) fn line(record: &Value) -> String {
    match record["kind"].as_str() {
        Some("gap") => gap(record),
        Some("heartbeat") => heartbeat(record),
        _ => violation(record),
    }
}

/// A text of a record; nothing where it is null.
fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn gap(record: &Value) -> String {
    let word = |key: &str| text(&record[key]).unwrap_or_default();
    format!(
        "{}  gap        {:<24}  x{}  {}",
        word("time"),
        word("cause"),
        record["count"],
        word("explanation")
    )
}

fn heartbeat(record: &Value) -> String {
    let modes = &record["modes"];
    let warnings = record["warnings"].as_array().map_or(0, Vec::len);
    let warnings = if warnings == 0 { String::new() } else { format!("  warnings {warnings}") };
    format!(
        "{}  heartbeat  violations {}  monitor {}  enforce {}  quarantine {}{warnings}",
        text(&record["time"]).unwrap_or_default(),
        record["violations"],
        modes["monitor"],
        modes["enforce"],
        modes["quarantine"],
    )
}

fn violation(record: &Value) -> String {
    let scan = &record["scan"];
    let end = |end: &Value| {
        if record["others"] == true {
            return "(others)".to_owned();
        }
        let who = text(&end["name"]).or_else(|| text(&end["ip"])).or_else(|| text(&end["mac"]));
        let address = text(&end["ip"]).filter(|ip| who.as_ref() != Some(ip));
        let who = who.unwrap_or_else(|| if scan.is_null() { "?" } else { "(many)" }.to_owned());
        address.map_or(who.clone(), |ip| format!("{who} ({ip})"))
    };
    let word = |key: &str| text(&record[key]).unwrap_or_default();
    // A port says over what; of ICMP the type does, of an answer the port of the server.
    let answer = record["answer"] == true;
    let server = if answer { "source" } else { "destination" };
    let port = record[server]["port"].as_u64().or_else(|| record["icmp"]["type"].as_u64());
    let port = port.map(|p| format!("/{p}")).unwrap_or_default();
    let port = if answer { format!("{port} answers") } else { port };
    let interface = text(&record["interface"]).map(|name| format!("  on {name}")).unwrap_or_default();
    let vlan = record["vlan"].as_u64().map(|id| format!(" vlan {id}")).unwrap_or_default();
    // What `why` takes.
    let id = text(&record["boot"]).map(|boot| format!("  id {boot}-{}", record["seq"])).unwrap_or_default();
    format!(
        "{}  {:<9}  {:<24}  {} -> {}  {}{port}  x{}  device {}{interface}{vlan}{}{id}",
        word("time"),
        if word("action") == "passed" { "would-drop".to_owned() } else { word("action") },
        word("reason"),
        end(&record["source"]),
        end(&record["destination"]),
        word("protocol"),
        record["count"],
        text(&record["device"]).unwrap_or_else(|| "-".to_owned()),
        tried(scan),
    )
}

/// What a scan has tried, behind everything else.
fn tried(scan: &Value) -> String {
    if scan.is_null() {
        return String::new();
    }
    let counted = |key: &str, one: &str| {
        let count = scan[key].as_u64().unwrap_or(0);
        format!("{count} {one}{}", if count == 1 { "" } else { "s" })
    };
    let bound = if scan["at_least"] == true { "at least " } else { "" };
    let [hosts, ports, devices] =
        [("hosts", "host"), ("ports", "port"), ("devices", "device")].map(|(key, one)| counted(key, one));
    format!("  scan of {bound}{hosts}, {ports}, {devices}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn line_ends_with_the_id_that_why_takes() {
        let record = json!({ "device": "plc", "count": 1, "boot": "5f0c2b9a41d84c6e", "seq": 42 });
        assert!(line(&record).ends_with("device plc  id 5f0c2b9a41d84c6e-42"), "{}", line(&record));
    }

    #[test]
    fn line_names_port_type_and_what_was_folded() {
        let end = json!({ "name": "plc", "mac": "02:00:00:00:00:01", "ip": "10.0.0.1", "port": 502 });
        let record = |protocol: &str, end: &Value, icmp: Value, others: bool| {
            let record = json!({
                "time": "T", "action": "dropped", "reason": "no-rule", "source": end, "destination": end,
                "protocol": protocol, "icmp": icmp, "others": others, "count": 3, "device": "plc",
            });
            line(&record).split_whitespace().skip(3).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            record("tcp", &end, Value::Null, false),
            "plc (10.0.0.1) -> plc (10.0.0.1) tcp/502 x3 device plc"
        );
        let none = json!({ "name": "plc", "mac": null, "ip": null, "port": null });
        let icmp = json!({ "type": 8, "code": 0 });
        assert_eq!(record("icmp", &none, icmp, false), "plc -> plc icmp/8 x3 device plc");
        assert_eq!(record("mixed", &none, Value::Null, true), "(others) -> (others) mixed x3 device plc");
        let answer = json!({
            "source": end, "destination": { "name": "hmi", "port": null }, "protocol": "tcp", "answer": true,
            "count": 2, "device": "hmi",
        });
        assert!(line(&answer).contains("plc (10.0.0.1) -> hmi  tcp/502 answers  x2"), "{}", line(&answer));
        let tagged = json!({ "device": "plc", "count": 1, "interface": "eth1", "vlan": 11 });
        assert!(line(&tagged).ends_with("x1  device plc  on eth1 vlan 11"), "{}", line(&tagged));
    }

    #[test]
    fn scan_says_how_much_it_tried() {
        let end = json!({ "name": null, "mac": "02:00:00:00:00:01", "ip": "10.0.0.1", "port": null });
        let many = json!({ "name": null, "mac": null, "ip": null, "port": 502 });
        let scan = |at_least: bool| json!({ "hosts": 1024, "ports": 1, "devices": 0, "at_least": at_least });
        let record = |at_least| {
            json!({
                "kind": "violation", "source": end, "destination": many, "protocol": "tcp", "count": 3,
                "scan": scan(at_least),
            })
        };
        let said = line(&record(false));
        let wanted = "10.0.0.1 -> (many)  tcp/502  x3  device -  scan of 1024 hosts, 1 port, 0 devices";
        assert!(said.ends_with(wanted), "{said}");
        assert!(line(&record(true)).contains("scan of at least 1024 hosts"), "{}", line(&record(true)));
    }

    #[test]
    fn gap_and_heartbeat_have_lines_of_their_own() {
        let gap =
            json!({ "kind": "gap", "time": "T", "cause": "ring", "explanation": "no room", "count": 7 });
        assert_eq!(line(&gap).split_whitespace().collect::<Vec<_>>().join(" "), "T gap ring x7 no room");
        let modes = json!({ "monitor": 1, "enforce": 2, "quarantine": 0 });
        let heartbeat = |warnings: Value| {
            line(&json!({
                "kind": "heartbeat", "time": "T", "modes": modes, "violations": 9, "warnings": warnings,
            }))
        };
        assert_eq!(heartbeat(json!([])), "T  heartbeat  violations 9  monitor 1  enforce 2  quarantine 0");
        assert!(heartbeat(json!(["`eth2` is missing"])).ends_with("quarantine 0  warnings 1"));
    }
}
