//! `cargo xtask bench flood`: what it costs to be flooded with packets that are denied, and with flows that are allowed, and who waits for it.
//!
//! In: how many packets, and how often. Out: packets a second, the agent's time on a processor and its memory; how long the first
//! violation of another device took to its record in the log; what conversations lost that went on meanwhile. The flood comes over
//! a cable of its own, as fast as one processor can make it; the gateway judges it on that processor too.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bulkhead_tests::lab::{
    Agent, Lab, Topology,
    churn::{self, Churn},
    on_interrupt,
    onslaught::{self, Onslaught},
    requirements,
    spent::Memory,
};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{AgentArgs, compile, rows::Target, spread::Spread};
use crate::Outcome;

/// Measure an agent that is flooded, with denied packets and with allowed ones that each begin a flow
///
/// A release build of the agent enforces in the lab while packets from random sources to random ports come as fast as one processor can
/// make them (root; Linux 5.18 or newer): first denied ones, and meanwhile twenty other devices are sent one denied packet each; then
/// by another policy allowed ones, and meanwhile three devices poll a PLC. Exit code 1 means that a target was missed.
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
    target: Option<Target>,
    of: fn(&Round) -> f64,
}

/// What was found of both floods.
struct Round {
    denied: Onslaught,
    new: Churn,
}

const fn figure(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    target: Option<Target>,
    of: fn(&Round) -> f64,
) -> Figure {
    Figure { name, title, unit, target, of }
}

const NONE: Option<Target> = Some(Target::Most(0.0));

const FIGURES: [Figure; 15] = [
    figure("rate", "denied packets sent", "million a second", None, |round| {
        rate(round.denied.sent, round.denied.took)
    }),
    figure("judged", "  of which reached the gateway", "%", None, judged),
    figure("agent-cpu", "  the agent's time on a processor", "% of one", Some(Target::Most(10.0)), |round| {
        share(round.denied.processor, round.denied.took)
    }),
    figure(
        "first-occurrence",
        "  first violation of another device to its record, longest",
        "ms",
        Some(Target::Most(1000.0)),
        longest,
    ),
    figure("agent-memory", "  memory of the agent before", "MiB", None, |round| mib(round.denied.before.now)),
    figure("agent-memory-peak", "    at its peak", "MiB", Some(Target::Most(160.0)), |round| {
        peak(round.denied.after)
    }),
    figure(
        "new-flows",
        "new flows, each of one allowed packet",
        "million a second",
        Some(Target::Least(0.1)),
        |round| rate(round.new.reached, round.new.took),
    ),
    figure("new-flows-sent", "  in a round", "million", None, |round| millions(round.new.reached)),
    figure(
        "new-flows-uncounted",
        "  difference between what came and what the agent counts",
        "packets",
        NONE,
        |round| count(round.new.uncounted()),
    ),
    figure("new-flows-denied", "  denied packets", "packets", NONE, |round| {
        count(round.new.status["violations"]["violations"].as_u64().unwrap_or(u64::MAX))
    }),
    figure("new-flows-polls", "  polls of three devices answered meanwhile", "polls", None, |round| {
        count(round.new.polls.iter().map(|polls| polls.ok).sum())
    }),
    figure("new-flows-lost", "    polls, sessions and segments that were lost", "", NONE, |round| {
        count(round.new.lost())
    }),
    figure("new-flows-table", "  flows over what the table has room for", "flows", NONE, |round| {
        count(round.new.number("flows").saturating_sub(round.new.number("flows_limit")))
    }),
    figure(
        "new-flows-cpu",
        "  the agent's time on a processor",
        "% of one",
        Some(Target::Most(10.0)),
        |round| share(round.new.processor, round.new.took),
    ),
    figure(
        "new-flows-memory",
        "  memory of the agent at its peak",
        "MiB",
        Some(Target::Most(160.0)),
        |round| peak(round.new.after),
    ),
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
        let denied = onslaught::run(&lab, &mut agent, args.packets).with_context(|| agent.log())?;
        let lab = Lab::build(Topology::Bridged, 1500)?;
        let mut agent = Agent::of(&lab, binary.clone(), &churn::policy(&lab))?;
        let new = churn::run(&lab, &mut agent, "", args.packets, |_| Ok(())).with_context(|| agent.log())?;
        rounds.push(Round { denied, new });
    }
    let spreads: Vec<(&Figure, Spread)> = FIGURES
        .iter()
        .filter_map(|figure| Some((figure, Spread::of(&rounds.iter().map(figure.of).collect::<Vec<_>>())?)))
        .collect();
    if args.agent.json {
        let figure = |(figure, spread): &(&Figure, Spread)| {
            let Figure { name, unit, target, .. } = figure;
            let target = target.map(Target::value);
            let value = json!({ "unit": unit, "target": target, "median": spread.median, "min": spread.least, "max": spread.most });
            ((*name).to_owned(), value)
        };
        let figures: serde_json::Map<String, Value> = spreads.iter().map(figure).collect();
        println!("{}", json!({ "rounds": args.agent.rounds, "figures": figures }));
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "", "found", "target"]);
        for (Figure { title, unit, target, .. }, spread) in &spreads {
            let target = target.map(Target::cell).unwrap_or_default();
            table.add_row([(*title).to_owned(), (*unit).to_owned(), spread.cell(), target]);
        }
        for column in table.column_iter_mut().skip(2).take(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{}", table.trim_fmt());
    }
    let misses = |(figure, spread): &(&Figure, Spread)| {
        figure.target.is_some_and(|target| !target.holds(spread.median))
    };
    Ok(if spreads.iter().any(misses) { Outcome::Found } else { Outcome::Fine })
}

#[expect(clippy::cast_precision_loss, reason = "nobody sends 2^52 packets")]
fn count(packets: u64) -> f64 {
    packets as f64
}

fn millions(packets: u64) -> f64 {
    count(packets) / 1e6
}

fn rate(packets: u64, took: Duration) -> f64 {
    millions(packets) / took.as_secs_f64()
}

fn judged(Round { denied, .. }: &Round) -> f64 {
    let counted = denied.counts["violations"].as_u64().unwrap_or_default();
    count(counted) * 100.0 / count(denied.sent)
}

fn share(processor: Duration, took: Duration) -> f64 {
    processor.as_secs_f64() * 100.0 / took.as_secs_f64()
}

fn longest(Round { denied, .. }: &Round) -> f64 {
    let longest = denied.others.iter().map(|(took, _)| *took).max().unwrap_or(Duration::ZERO);
    longest.as_secs_f64() * 1e3
}

fn mib(kib: u32) -> f64 {
    f64::from(kib) / 1024.0
}

fn peak(memory: Memory) -> f64 {
    mib(memory.peak)
}
