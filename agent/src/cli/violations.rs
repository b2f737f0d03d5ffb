//! `bulkhead violations`: what was denied, and why.

use std::collections::VecDeque;

use bulkhead_common::reason::Reason;
use serde_json::Value;

use super::{Cli, Exit, Output, print};
use crate::{
    control::{Body, Request, client},
    diagnostic::closest,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on with new ones until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many of the past (the agent remembers 1024)
    #[arg(long, short = 'n', default_value_t = 50, value_name = "N")]
    last: usize,
    /// Only violations of this device, or with it as one end; no gaps and heartbeats
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Only violations for this reason, such as `no-rule`; no gaps and heartbeats
    #[arg(long, value_name = "WORD", value_parser = reason)]
    reason: Option<&'static str>,
    #[command(flatten)]
    output: Output,
}

fn reason(word: &str) -> Result<&'static str, String> {
    let names = || Reason::ALL.iter().map(|reason| reason.name());
    names().find(|name| *name == word).ok_or_else(|| match closest(word, names()) {
        Some(near) => format!("there is no such reason: did you mean `{near}`?"),
        None => format!("there is no such reason: they are {}", names().collect::<Vec<_>>().join(", ")),
    })
}

impl Args {
    fn is_filter(&self) -> bool {
        self.device.is_some() || self.reason.is_some()
    }

    /// Whether a record is asked for.
    fn wants(&self, record: &Value) -> bool {
        let is = |value: &Value| value.as_str() == self.device.as_deref();
        let of_device = self.device.is_none()
            || is(&record["device"])
            || is(&record["source"]["name"])
            || is(&record["destination"]["name"]);
        of_device && self.reason.is_none_or(|reason| record["reason"] == reason)
    }

    fn print(&self, record: &Value) {
        if self.output.json { out!("{record}") } else { out!("{}", line(record)) }
    }
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    // Of those that are asked for the last: the agent does not know which these are.
    let last = if args.is_filter() { usize::MAX } else { args.last };
    let request = Request::Violations { last, follow: args.follow };
    let sent = client::send(&cli.socket()?, &request);
    cli.note_enforcement(sent.as_ref().err());
    let mut answers = sent?;
    let mut past = Some(VecDeque::new());
    while let Some(body) = answers.next_body()? {
        if print::reader_has_left() {
            return Ok(Exit::Fine);
        }
        match body {
            Body::Violation(record) if !args.wants(&record) => {}
            Body::Violation(record) => match &mut past {
                Some(past) => {
                    past.push_back(record);
                    if past.len() > args.last {
                        past.pop_front();
                    }
                }
                None => args.print(&record),
            },
            Body::Missed(count) => {
                say!("{count} records were missed: this reader was too slow; the log has them")
            }
            Body::End => {
                past.take().into_iter().flatten().for_each(|record| args.print(&record));
                if !args.follow {
                    break;
                }
                answers.patiently()?;
            }
            Body::Status(_)
            | Body::Devices(_)
            | Body::Rules(_)
            | Body::Why(_)
            | Body::Explained(_)
            | Body::Flows(_)
            | Body::Plan(_)
            | Body::Rollout(_)
            | Body::Shadow(_)
            | Body::InForce(_)
            | Body::Inventory(_)
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
        Some("alarm") => alarm(record),
        Some("inventory") => sighting(record),
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

fn alarm(record: &Value) -> String {
    let word = |key: &str| text(&record[key]).unwrap_or_default();
    format!("{}  alarm      {:<24}  {}", word("time"), word("alarm"), word("explanation"))
}

fn sighting(record: &Value) -> String {
    let word = |key: &str| text(&record[key]).unwrap_or_default();
    format!("{}  inventory  {:<24}  {}", word("time"), word("change"), word("explanation"))
}

/// One record in so few words that they fit on a screen, what matters first: its date is that of all that is new.
pub(super) fn short(record: &Value) -> String {
    let word = |key: &str| text(&record[key]).unwrap_or_default();
    let time = word("time");
    let clock = time.get(11..19).unwrap_or(&time);
    if matches!(record["kind"].as_str(), Some("gap" | "heartbeat" | "alarm" | "inventory")) {
        let line = line(record);
        return format!("{clock}  {}", line.strip_prefix(&time).unwrap_or(&line).trim_start());
    }
    let who = |end: &Value| ends(record, end).0;
    let device = text(&record["device"]).map(|device| format!("{device}: ")).unwrap_or_default();
    let scan = tried(&record["scan"]);
    format!(
        "{clock}  {:<10}  {:<9}  x{:<5}  {device}{} -> {}{scan}  {}",
        action(record),
        service(record),
        record["count"].to_string(),
        who(&record["source"]),
        who(&record["destination"]),
        word("reason"),
    )
}

/// Who an end is, and its address where that is not said by it.
fn ends(record: &Value, end: &Value) -> (String, Option<String>) {
    if record["others"] == true {
        return ("(others)".to_owned(), None);
    }
    let who = text(&end["name"]).or_else(|| text(&end["ip"])).or_else(|| text(&end["mac"]));
    let address = text(&end["ip"]).filter(|ip| who.as_ref() != Some(ip));
    let many = || if record["scan"].is_null() { "?" } else { "(many)" }.to_owned();
    (who.unwrap_or_else(many), address)
}

/// What became of the packets.
fn action(record: &Value) -> String {
    let action = text(&record["action"]).unwrap_or_default();
    if action == "passed" { "would-drop".to_owned() } else { action }
}

/// Like `tcp/502`, or `tcp/502 answers`.
fn service(record: &Value) -> String {
    // A port says over what; of ICMP the type does, of an answer the port of the server.
    let answer = record["answer"] == true;
    let server = if answer { "source" } else { "destination" };
    let port = record[server]["port"].as_u64().or_else(|| record["icmp"]["type"].as_u64());
    let port = port.map(|p| format!("/{p}")).unwrap_or_default();
    let answers = if answer { " answers" } else { "" };
    format!("{}{port}{answers}", text(&record["protocol"]).unwrap_or_default())
}

fn violation(record: &Value) -> String {
    let end = |end: &Value| {
        let (who, address) = ends(record, end);
        address.map_or(who.clone(), |ip| format!("{who} ({ip})"))
    };
    let word = |key: &str| text(&record[key]).unwrap_or_default();
    let interface = text(&record["interface"]).map(|name| format!("  on {name}")).unwrap_or_default();
    let vlan = record["vlan"].as_u64().map(|id| format!(" vlan {id}")).unwrap_or_default();
    // What `why` takes.
    let id = text(&record["boot"]).map(|boot| format!("  id {boot}-{}", record["seq"])).unwrap_or_default();
    format!(
        "{}  {:<9}  {:<24}  {} -> {}  {}  x{}  device {}{interface}{vlan}{}{id}",
        word("time"),
        action(record),
        word("reason"),
        end(&record["source"]),
        end(&record["destination"]),
        service(record),
        record["count"],
        text(&record["device"]).unwrap_or_else(|| "-".to_owned()),
        tried(&record["scan"]),
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

    fn args(words: &[&str]) -> Result<Args, String> {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            args: Args,
        }
        let parsed = <Alone as clap::Parser>::try_parse_from([&["violations"], words].concat());
        parsed.map(|alone| alone.args).map_err(|error| error.to_string())
    }

    #[test]
    fn filter_knows_devices_at_either_end_and_reasons_by_their_word() {
        let record = |device: Option<&str>, source: &str, reason: &str| {
            json!({
                "kind": "violation", "device": device, "source": { "name": source }, "destination": { "name": null },
                "reason": reason,
            })
        };
        let of = |words: &[&str], record: &Value| args(words).expect("they are right").wants(record);
        let plc = record(Some("plc"), "hmi", "no-rule");
        let heartbeat = json!({ "kind": "heartbeat" });
        assert!(of(&[], &plc) && of(&[], &heartbeat));
        for (words, wanted) in [
            (&["--device", "plc"][..], true),
            (&["--device", "hmi"], true),
            (&["--device", "pl"], false),
            (&["--reason", "no-rule"], true),
            (&["--reason", "tcp-flags"], false),
            (&["--device", "plc", "--reason", "tcp-flags"], false),
        ] {
            assert_eq!((of(words, &plc), of(words, &heartbeat)), (wanted, false), "{words:?}");
        }
        // Nobody's device is not a device of any name.
        assert!(!of(&["--device", "plc"], &record(None, "x", "no-rule")));
        let wrong = |word| args(&["--reason", word]).map(|_| ()).expect_err("there is none");
        assert!(wrong("no-rul").contains("did you mean `no-rule`?"), "{}", wrong("no-rul"));
        assert!(wrong("xyz").contains("no-rule, ") && wrong("xyz").contains("tcp-flags"), "{}", wrong("xyz"));
    }

    #[test]
    fn short_line_has_what_matters_within_a_screen() {
        let record = json!({
            "kind": "violation", "time": "2026-03-02T10:00:02.250001Z", "action": "passed", "reason": "unknown-peer",
            "protocol": "tcp", "count": 12, "device": "press-plc",
            "source": { "name": null, "ip": "10.9.8.66" },
            "destination": { "name": "press-plc", "ip": "10.20.1.11", "port": 502 },
        });
        assert_eq!(
            short(&record),
            "10:00:02  would-drop  tcp/502    x12     press-plc: 10.9.8.66 -> press-plc  unknown-peer"
        );
        let gap = json!({ "kind": "gap", "time": "2026-03-02T10:00:02.250001Z", "cause": "ring", "explanation": "no room", "count": 7 });
        assert_eq!(
            short(&gap).split_whitespace().collect::<Vec<_>>().join(" "),
            "10:00:02 gap ring x7 no room"
        );
    }

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
