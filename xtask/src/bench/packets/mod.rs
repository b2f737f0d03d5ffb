//! `cargo xtask bench packets`: what one packet costs the program, over what it costs an empty one, and others.
//!
//! In: rounds, and which rows. Out: rows of the common table. The kernel runs the program on frames of its own (BPF_PROG_TEST_RUN), so
//! that no driver and no wire is in the figures. [`lines`] says what is measured; a [`gate`] is the product with a policy of some size,
//! [`filter`] is somebody else's; [`clock`] takes the time. Each scenario proves by exact counters that it measured what it says.

mod clock;
mod filter;
mod gate;
mod lines;

use anyhow::{Result, anyhow, ensure};
use bulkhead_tests::{
    grid::Grid,
    lab::{Namespace, Room, interrupted, requirements},
};

use super::{
    RatioArgs,
    rows::{Found, Row, ratios},
};
use clock::{Probe, Sample, Unit};
use filter::{Features, Filter};
use gate::Gate;
use lines::{GRIDS, Line, Over, Scenario, Subject};

/// Measure what a packet costs the program, over what it costs an empty one
///
/// The kernel runs the loaded program on generated frames of many flows, in turn with an empty program and with others (root); see
/// docs/performance.md for what each row means. Exit code 1 means that a target was missed.
#[derive(clap::Args)]
pub(super) struct PacketsArgs {
    #[command(flatten)]
    pub(super) ratios: RatioArgs,
}

/// Measures every row that is asked for.
pub(super) fn rows(args: &RatioArgs) -> Result<Vec<Row>> {
    let lines: Vec<Line> =
        lines::all().into_iter().filter(|line| args.wants(line.group, &line.name)).collect();
    let grids: Vec<Grid> =
        GRIDS.into_iter().filter(|grid| args.wants(gate::MEMORY, &gate::memory_name(*grid))).collect();
    if lines.is_empty() && grids.is_empty() {
        return Ok(Vec::new());
    }
    requirements().map_err(|reason| anyhow!("packets need the lab: {reason}"))?;
    let (namespace, room) = Namespace::with_room("packets")?;
    namespace.run(|| {
        clock::stay_on_one_processor()?;
        let mut site = Site { room: &room, gates: Vec::new(), filters: Vec::new() };
        let mut rows = site.measure(&lines, args.rounds)?;
        for grid in grids {
            rows.push(site.gate(grid)?.memory());
        }
        Ok(rows)
    })
}

/// A scenario and what each round found.
struct Series {
    scenario: Scenario,
    /// Why nothing further is measured, or with what.
    probe: Result<Probe, Found>,
    samples: Vec<Sample>,
}

/// What is looked at, each loaded when it is first needed.
struct Site<'a> {
    room: &'a Room,
    gates: Vec<Gate>,
    filters: Vec<(Features, Result<Filter, Found>)>,
}

impl Site<'_> {
    fn measure(&mut self, lines: &[Line], rounds: u32) -> Result<Vec<Row>> {
        let unit = Unit::new()?;
        let mut all: Vec<Series> = Vec::new();
        for scenario in lines.iter().flat_map(Line::scenarios) {
            if !all.iter().any(|known| known.scenario == scenario) {
                let probe = self.probe(&scenario, &unit)?;
                all.push(Series { scenario, probe, samples: Vec::new() });
            }
        }
        let scenarios = all.len();
        for round in (1..=rounds).filter(|_| scenarios > 0) {
            eprintln!("round {round} of {rounds}: {scenarios} scenarios");
            for Series { scenario, probe, samples } in &mut all {
                ensure!(!interrupted(), "interrupted");
                let Ok(ready) = probe else { continue };
                match self.round(scenario, ready, &unit) {
                    Ok(sample) => samples.push(sample),
                    Err(error) => *probe = Err(Found::Failed(format!("{error:#}"))),
                }
            }
        }
        Ok(lines.iter().map(|line| row(line, &all)).collect())
    }

    /// What runs a scenario's packets through its subject.
    fn probe(&mut self, scenario: &Scenario, unit: &Unit) -> Result<Result<Probe, Found>> {
        let Scenario { subject, stream, .. } = scenario;
        let program = match subject {
            Subject::Gate(grid) => &self.gate(*grid)?.program,
            Subject::Filter(features) => match self.filter(*features, stream.grid) {
                Ok(filter) => &filter.program,
                Err(found) => return Ok(Err(found.clone())),
            },
        };
        Probe::new(stream, program, unit).map(Ok)
    }

    fn round(&mut self, scenario: &Scenario, probe: &mut Probe, unit: &Unit) -> Result<Sample> {
        match scenario.subject {
            Subject::Gate(grid) => self.gate(grid)?.round(scenario, probe, unit),
            Subject::Filter(features) => match self.filter(features, scenario.stream.grid) {
                Ok(filter) => filter.round(&scenario.stream, probe, unit),
                Err(found) => Err(anyhow!("{found:?}")),
            },
        }
    }

    /// The product with the policy of a grid.
    fn gate(&mut self, grid: Grid) -> Result<&mut Gate> {
        let known = self.gates.iter().position(|gate| gate.grid == grid);
        let at = known.unwrap_or(self.gates.len());
        if known.is_none() {
            eprintln!("{} devices, {} rules in effect", grid.devices, grid.rules());
            self.gates.push(Gate::open(self.room, grid)?);
        }
        Ok(&mut self.gates[at])
    }

    /// xdp-filter, or why there is none.
    fn filter(&mut self, features: Features, grid: Grid) -> &Result<Filter, Found> {
        let known = self.filters.iter().position(|(known, _)| *known == features);
        let at = known.unwrap_or(self.filters.len());
        if known.is_none() {
            eprintln!("xdp-filter, features `{}`", features.name());
            self.filters.push((features, Filter::load(features, grid)));
        }
        &self.filters[at].1
    }
}

/// The row of a line, of what the rounds found.
fn row(line: &Line, all: &[Series]) -> Row {
    let Line { group, name, scenario, over, target } = line;
    let (word, other) = match over {
        Over::Empty => ("1 empty", scenario),
        Over::Other(word, other) => (*word, other),
    };
    let found = |scenario: &Scenario| {
        let series = all.iter().find(|series| series.scenario == *scenario)?;
        Some((&series.samples, series.probe.as_ref().err()))
    };
    let row = |samples: &[f64]| Row::new(group, name, "ns", samples).target(*target);
    let (Some((samples, failed)), Some((others, other_failed))) = (found(scenario), found(other)) else {
        return row(&[]);
    };
    if let Some(failed) = failed.or(other_failed) {
        return row(&[]).without(failed.clone());
    }
    let packets = |samples: &[Sample]| samples.iter().map(|sample| sample.packet).collect::<Vec<_>>();
    let (own, others) = match over {
        Over::Empty => (packets(samples), samples.iter().map(|sample| sample.empty).collect()),
        Over::Other(..) => (packets(samples), packets(others)),
    };
    row(&own).over(word, &ratios(&own, &others))
}
