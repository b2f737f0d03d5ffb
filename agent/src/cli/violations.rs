//! `bulkhead violations`: what was denied, and why.

use serde_json::Value;

use super::{Cli, Exit, Output};
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
    let mut answers = client::send(&cli.socket()?, &request)?;
    while let Some(body) = answers.next_body()? {
        match body {
            Body::Violation(record) if args.output.json => println!("{record}"),
            Body::Violation(record) => println!("{}", line(&record)),
            Body::Missed(count) => {
                eprintln!("{count} records were missed: this reader was too slow; the log has them")
            }
            Body::End if !args.follow => break,
            Body::End => {}
            Body::Status(_) | Body::Devices(_) | Body::Rules(_) | Body::Why(_) | Body::Applied(_) => {
                return Err(super::unexpected(&body));
            }
        }
    }
    Ok(Exit::Fine)
}

/// One record in one line.
fn line(record: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let end = |end: &Value| {
        let who = text(&end["name"]).or_else(|| text(&end["ip"])).or_else(|| text(&end["mac"]));
        let address = text(&end["ip"]).filter(|ip| who.as_ref() != Some(ip));
        let who = who.unwrap_or_else(|| "?".to_owned());
        address.map_or(who.clone(), |ip| format!("{who} ({ip})"))
    };
    let word = |key: &str| text(&record[key]).unwrap_or_default();
    let port = record["service_port"].as_u64().map(|p| format!("/{p}")).unwrap_or_default();
    format!(
        "{}  {:<9}  {:<24}  {} -> {}  {}{port}  x{}  device {}",
        word("time"),
        if word("action") == "passed" { "would-drop".to_owned() } else { word("action") },
        word("reason"),
        end(&record["source"]),
        end(&record["destination"]),
        word("protocol"),
        record["count"],
        text(&record["device"]).unwrap_or_else(|| "-".to_owned()),
    )
}
