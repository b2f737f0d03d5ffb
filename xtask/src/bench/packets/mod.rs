//! `cargo xtask bench packets`: what one packet costs the program, over what it costs an empty one, and others.
//!
//! In: rounds and groups. Out: rows of the common table. The kernel runs the program on frames of its own (BPF_PROG_TEST_RUN), so
//! that no driver and no wire is in the figures. [`lines`] says what is measured; a [`gate`] is the product with a policy of some size,
//! [`filter`] is somebody else's; [`clock`] takes the time. Each scenario proves by exact counters that it measured what it says.

mod clock;
mod filter;
mod gate;
mod lines;

use anyhow::{Context, Result, anyhow, ensure};
use bulkhead_tests::lab::{Namespace, Room, interrupted, program::Program, requirements};

use super::{
    RatioArgs,
    rows::{Found, Row, ratios},
};
use clock::{Probe, Sample, Unit};
use filter::Filter;
use gate::Gate;
use lines::{Line, Over, Scenario, Subject};

/// Measure what a packet costs the program, over what it costs an empty one
///
/// The kernel runs the loaded program on generated frames of many flows, in turn with an empty program and with others (root). Exit
/// code 1 means that a target was missed.
#[derive(clap::Args)]
pub(super) struct PacketsArgs {
    #[command(flatten)]
    pub(super) ratios: RatioArgs,
}

/// What is looked at.
struct Site<'a> {
    room: &'a Room,
    gates: Vec<Gate>,
    filters: Vec<(Subject, Result<Filter, Found>)>,
    unit: Unit,
}

/// A scenario and what each round found.
struct Series {
    scenario: Scenario,
    probe: Result<Probe, Found>,
    samples: Vec<Sample>,
}

/// Measures every row of the chosen groups.
pub(super) fn rows(args: &RatioArgs) -> Result<Vec<Row>> {
    let only = args.only.as_deref().unwrap_or_default();
    let lines: Vec<Line> = lines::all().into_iter().filter(|line| line.group.starts_with(only)).collect();
    ensure!(!lines.is_empty(), "no group of packets begins with `{only}`: {}", lines::groups().join(", "));
    requirements().map_err(|reason| anyhow!("packets need the lab: {reason}"))?;
    let (namespace, room) = Namespace::with_room("packets")?;
    namespace.run(|| measure(&room, lines, args.rounds))
}

fn measure(room: &Room, lines: Vec<Line>, rounds: u32) -> Result<Vec<Row>> {
    clock::stay_on_one_processor()?;
    let mut site = Site { room, gates: Vec::new(), filters: Vec::new(), unit: Unit::new()? };
    let mut all: Vec<Series> = Vec::new();
    for scenario in lines.iter().flat_map(Line::scenarios) {
        if !all.iter().any(|known| known.scenario == scenario) {
            let probe = site.probe(&scenario)?;
            all.push(Series { scenario, probe, samples: Vec::new() });
        }
    }
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}: {} scenarios", all.len());
        for series in &mut all {
            ensure!(!interrupted(), "interrupted");
            let Ok(probe) = &mut series.probe else { continue };
            match site.round(&series.scenario, probe) {
                Ok(sample) => series.samples.push(sample),
                Err(error) => series.probe = Err(Found::Failed(format!("{error:#}"))),
            }
        }
    }
    let mut rows: Vec<Row> = lines.iter().map(|line| row(line, &all)).collect();
    rows.extend(site.gates.iter().flat_map(Gate::memory));
    Ok(rows)
}

impl Site<'_> {
    /// What runs a scenario's packets through its subject.
    fn probe(&mut self, scenario: &Scenario) -> Result<Result<Probe, Found>> {
        let Site { room, gates, filters, unit } = self;
        match scenario.subject {
            Subject::Gate(grid) => {
                if !gates.iter().any(|gate| gate.grid == grid) {
                    eprintln!("{} devices, {} rules in effect", grid.devices, grid.rules());
                    gates.push(Gate::open(room, grid)?);
                }
            }
            Subject::Filter(features) => {
                if !filters.iter().any(|(known, _)| *known == scenario.subject) {
                    eprintln!("xdp-filter, features `{}`", features.name());
                    filters.push((scenario.subject, Filter::load(features, scenario.stream.grid)));
                }
            }
        }
        match program(gates, filters, scenario.subject) {
            Ok(program) => Probe::new(&scenario.stream, program, unit).map(Ok),
            Err(found) => Ok(Err(found)),
        }
    }

    fn round(&mut self, scenario: &Scenario, probe: &mut Probe) -> Result<Sample> {
        match scenario.subject {
            Subject::Gate(grid) => {
                let gate = self.gates.iter_mut().find(|gate| gate.grid == grid).context("no such gate")?;
                gate.round(scenario, probe, &self.unit)
            }
            Subject::Filter(_) => {
                let (_, filter) =
                    self.filters.iter().find(|(known, _)| *known == scenario.subject).context("no filter")?;
                match filter {
                    Ok(filter) => filter.round(&scenario.stream, probe, &self.unit),
                    Err(found) => Err(anyhow!("{found:?}")),
                }
            }
        }
    }
}

fn program<'a>(
    gates: &'a [Gate],
    filters: &'a [(Subject, Result<Filter, Found>)],
    subject: Subject,
) -> Result<&'a Program, Found> {
    match subject {
        Subject::Gate(grid) => {
            let gate = gates.iter().find(|gate| gate.grid == grid);
            gate.map(|gate| &gate.program).ok_or_else(|| Found::Failed("no such gate".to_owned()))
        }
        Subject::Filter(_) => match filters.iter().find(|(known, _)| *known == subject) {
            Some((_, Ok(filter))) => Ok(&filter.program),
            Some((_, Err(found))) => Err(found.clone()),
            None => Err(Found::Failed("no such filter".to_owned())),
        },
    }
}

/// The row of a line, of what the rounds found.
fn row(line: &Line, all: &[Series]) -> Row {
    let Line { group, name, scenario, over, target } = line;
    let series = |scenario: &Scenario| all.iter().find(|series| series.scenario == *scenario);
    let packets = |series: &Series| series.samples.iter().map(|sample| sample.packet).collect::<Vec<f64>>();
    let row = |packets: &[f64]| {
        let row = Row::new(group, name, "ns", packets);
        match target {
            Some(target) => row.target(*target),
            None => row,
        }
    };
    let both = match over {
        Over::Empty => [series(scenario), series(scenario)],
        Over::Other(_, other) => [series(scenario), series(other)],
    };
    let [Some(own), Some(other)] = both else { return row(&[]) };
    for failed in [own, other] {
        if let Err(found) = &failed.probe {
            return row(&[]).without(found.clone());
        }
    }
    let own_packets = packets(own);
    match over {
        Over::Empty => {
            let empty: Vec<f64> = own.samples.iter().map(|sample| sample.empty).collect();
            row(&own_packets).over("1 empty", &ratios(&own_packets, &empty))
        }
        Over::Other(word, _) => row(&own_packets).over(word, &ratios(&own_packets, &packets(other))),
    }
}
