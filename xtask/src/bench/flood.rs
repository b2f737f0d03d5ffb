//! `cargo xtask bench flood`: what it costs to be flooded with packets that are denied, and who waits for it.
//!
//! In: how many packets, and how often. Out: packets a second, the agent's time on a processor and its memory, and how long the first
//! violation of another device took to its record in the log. The flood comes over a cable of its own, as fast as one
//! processor can make it; the gateway judges it on that processor too.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bulkhead_tests::lab::{
    Agent, Lab, Topology, on_interrupt,
    onslaught::{self, Onslaught},
    requirements,
};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{AgentArgs, compile, spread::Spread};
use crate::Outcome;

/// Measure an agent that is flooded with denied packets
///
/// A release build of the agent enforces in the lab while packets from random sources to random ports come as fast as one processor can
/// make them (root; Linux 5.18 or newer); meanwhile twenty other devices are sent one denied packet each. Exit code 1 means that a
/// target was missed.
#[derive(clap::Args)]
pub(super) struct FloodArgs {
    /// How many packets at least in a round
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    packets: u64,
    #[command(flatten)]
    agent: AgentArgs,
}

/// A number of each round, and what is promised.
struct Figure {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    most: Option<f64>,
    of: fn(&Onslaught) -> f64,
}

const FIGURES: [Figure; 6] = [
    Figure { name: "rate", title: "packets sent", unit: "million a second", most: None, of: rate },
    Figure { name: "judged", title: "  of which reached the gateway", unit: "%", most: None, of: judged },
    Figure {
        name: "agent-cpu",
        title: "the agent's time on a processor",
        unit: "% of one",
        most: Some(10.0),
        of: processor,
    },
    Figure {
        name: "first-occurrence",
        title: "first violation of another device to its record, longest",
        unit: "ms",
        most: Some(1000.0),
        of: longest,
    },
    Figure { name: "agent-memory", title: "memory of the agent before", unit: "MiB", most: None, of: before },
    Figure { name: "agent-memory-peak", title: "  at its peak", unit: "MiB", most: Some(160.0), of: peak },
];

/// Runs the benchmark.
pub(super) fn run(args: &FloodArgs) -> Result<Outcome> {
    on_interrupt()?;
    requirements().map_err(|reason| anyhow!("the flood needs the lab: {reason}"))?;
    let binary = compile::binary(args.agent.binary.as_deref())?;
    let mut rounds = Vec::new();
    for round in 1..=args.agent.rounds {
        eprintln!("round {round} of {}", args.agent.rounds);
        let lab = Lab::build(Topology::Bridged, 1500)?;
        let mut agent = Agent::of(&lab, binary.clone(), &onslaught::policy(&lab))?;
        rounds.push(onslaught::run(&lab, &mut agent, args.packets).with_context(|| agent.log())?);
    }
    let spreads: Vec<(&Figure, Spread)> = FIGURES
        .iter()
        .filter_map(|figure| Some((figure, Spread::of(&rounds.iter().map(figure.of).collect::<Vec<_>>())?)))
        .collect();
    if args.agent.json {
        let figure = |(figure, spread): &(&Figure, Spread)| {
            let Figure { name, unit, most, .. } = figure;
            let value = json!({ "unit": unit, "target": most, "median": spread.median, "min": spread.least, "max": spread.most });
            ((*name).to_owned(), value)
        };
        let figures: serde_json::Map<String, Value> = spreads.iter().map(figure).collect();
        println!("{}", json!({ "rounds": args.agent.rounds, "figures": figures }));
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "", "found", "target"]);
        for (Figure { title, unit, most, .. }, spread) in &spreads {
            let target = most.map(|most| format!("<= {most}")).unwrap_or_default();
            table.add_row([(*title).to_owned(), (*unit).to_owned(), spread.cell(), target]);
        }
        for column in table.column_iter_mut().skip(2).take(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{}", table.trim_fmt());
    }
    let misses = |(figure, spread): &(&Figure, Spread)| figure.most.is_some_and(|most| spread.median > most);
    Ok(if spreads.iter().any(misses) { Outcome::Found } else { Outcome::Fine })
}

#[expect(clippy::cast_precision_loss, reason = "nobody sends 2^52 packets")]
fn rate(round: &Onslaught) -> f64 {
    round.sent as f64 / round.took.as_secs_f64() / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "nobody sends 2^52 packets")]
fn judged(round: &Onslaught) -> f64 {
    let counted = round.counts["violations"].as_u64().unwrap_or_default();
    counted as f64 * 100.0 / round.sent as f64
}

fn processor(round: &Onslaught) -> f64 {
    round.processor.as_secs_f64() * 100.0 / round.took.as_secs_f64()
}

fn longest(round: &Onslaught) -> f64 {
    let longest = round.others.iter().map(|(took, _)| *took).max().unwrap_or(Duration::ZERO);
    longest.as_secs_f64() * 1e3
}

fn before(round: &Onslaught) -> f64 {
    f64::from(round.before.now) / 1024.0
}

fn peak(round: &Onslaught) -> f64 {
    f64::from(round.after.peak) / 1024.0
}
