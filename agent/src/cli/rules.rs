//! `bulkhead rules`.

use super::{Cli, Exit, Output, print_json, table, unexpected};
use crate::control::{Body, Request};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only rules that never allowed a packet
    #[arg(long)]
    unused: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let body = cli.ask(&Request::Rules)?;
    let Body::Rules(mut rules) = body else { return Err(unexpected(&body)) };
    if args.unused {
        rules.retain(|r| r.packets == 0);
    }
    if args.output.json {
        print_json(&rules)?;
        return Ok(Exit::Fine);
    }
    let mut rows = table::table(&["HOLDER", "RULE", "HOLDS", "PACKETS", "BYTES", "PLACE", "COMMENT"]);
    for rule in rules {
        rows.add_row([
            rule.holder,
            rule.rule,
            match (rule.schedule, rule.open) {
                (None, _) => "always".to_owned(),
                (Some(schedule), true) => schedule,
                (Some(schedule), false) => format!("{schedule} (closed now)"),
            },
            rule.packets.to_string(),
            rule.bytes.to_string(),
            rule.place,
            rule.comment.unwrap_or_default(),
        ]);
    }
    table::print(&rows);
    Ok(Exit::Fine)
}
