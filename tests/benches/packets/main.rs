//! What one packet costs the program, over what it costs an empty one, and others: the measuring half of `cargo xtask bench packets`,
//! which is built after xtask, as everything that needs the agent.
//!
//! In: rounds, and how the rows begin. Out: rows as JSON. The kernel runs the program on frames of its own (BPF_PROG_TEST_RUN), so
//! that no driver and no wire is in the figures. [`lines`] says what is measured; a [`gate`] is the product with a policy of some size,
//! [`filter`] is somebody else's; [`clock`] takes the time. Each scenario proves by exact counters that it measured what it says.

mod clock;
mod filter;
mod gate;
mod lines;
mod rows;

use std::env;

use anyhow::{Context, Result, anyhow, ensure};
use bulkhead_agent::dataplane::CacheSizes;
use bulkhead_tests::{
    grid::Grid,
    lab::{Namespace, Room, interrupted, on_interrupt, requirements},
};

use clock::{Probe, Sample, Unit};
use filter::{Features, Filter};
use gate::Gate;
use lines::{GRIDS, Line, Over, Scenario, Subject};
use rows::{Missing, Row};

fn main() -> Result<()> {
    // Cargo adds an argument of its own.
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let rounds = arguments.next().context("how many rounds?")?.parse().context("rounds are a number")?;
    let only = arguments.next().unwrap_or_default();
    on_interrupt()?;
    println!("{}", rows::document(&measure(rounds, &only)?));
    Ok(())
}

/// Measures every row whose title begins so.
fn measure(rounds: u32, only: &str) -> Result<Vec<Row>> {
    let wants = |group: &str, name: &str| format!("{group}: {name}").starts_with(only);
    let lines: Vec<Line> = lines::all().into_iter().filter(|line| wants(line.group, &line.name)).collect();
    let grids = GRIDS.into_iter().filter(|grid| wants(gate::MEMORY, &gate::memory_name(*grid)));
    let grids: Vec<Grid> = grids.collect();
    if lines.is_empty() && grids.is_empty() {
        return Ok(Vec::new());
    }
    requirements().map_err(|reason| anyhow!("packets need the lab: {reason}"))?;
    let (namespace, room) = Namespace::with_room("packets")?;
    namespace.run(|| {
        clock::stay_on_one_processor()?;
        let mut site = Site { room: &room, gates: Vec::new(), filters: Vec::new() };
        let mut rows = site.measure(&lines, rounds)?;
        for grid in grids {
            rows.push(site.gate(grid, lines::VERDICTS)?.memory());
        }
        Ok(rows)
    })
}

/// A scenario and what each round found.
struct Series {
    scenario: Scenario,
    /// Why nothing further is measured, or with what.
    probe: Result<Probe, Missing>,
    samples: Vec<Sample>,
}

/// What is looked at, each loaded when it is first needed.
struct Site<'a> {
    room: &'a Room,
    gates: Vec<Gate>,
    filters: Vec<(Features, Result<Filter, Missing>)>,
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
                    Err(error) => *probe = Err(Missing::Failed(format!("{error:#}"))),
                }
            }
        }
        let decided = lines.iter().filter(|line| line.is_remembered()).map(|line| decided(line, &all));
        Ok(lines.iter().map(|line| row(line, &all)).chain(decided).collect())
    }

    /// What runs a scenario's packets through its subject.
    fn probe(&mut self, scenario: &Scenario, unit: &Unit) -> Result<Result<Probe, Missing>> {
        let Scenario { subject, stream, .. } = scenario;
        let program = match subject {
            Subject::Gate(_, verdicts) if CacheSizes::holding(*verdicts).verdicts() < *verdicts => {
                return Ok(Err(Missing::Absent(format!(
                    "{verdicts} verdicts on each of so many processors"
                ))));
            }
            Subject::Gate(grid, verdicts) => &self.gate(*grid, *verdicts)?.program,
            Subject::Filter(features) => match self.filter(*features, stream.grid) {
                Ok(filter) => &filter.program,
                Err(found) => return Ok(Err(found.clone())),
            },
        };
        Probe::new(stream, program, unit).map(Ok)
    }

    fn round(&mut self, scenario: &Scenario, probe: &mut Probe, unit: &Unit) -> Result<Sample> {
        match scenario.subject {
            Subject::Gate(grid, verdicts) => self.gate(grid, verdicts)?.round(scenario, probe, unit),
            Subject::Filter(features) => match self.filter(features, scenario.stream.grid) {
                Ok(filter) => filter.round(&scenario.stream, probe, unit),
                Err(found) => Err(anyhow!("{found:?}")),
            },
        }
    }

    /// The product with the policy of a grid and room for so many verdicts.
    fn gate(&mut self, grid: Grid, verdicts: u32) -> Result<&mut Gate> {
        let known = self.gates.iter().position(|gate| (gate.grid, gate.verdicts) == (grid, verdicts));
        let at = known.unwrap_or(self.gates.len());
        if known.is_none() {
            eprintln!("{} devices, {} rules in effect", grid.devices, grid.rules());
            self.gates.push(Gate::open(self.room, grid, verdicts)?);
        }
        Ok(&mut self.gates[at])
    }

    /// xdp-filter, or why there is none.
    fn filter(&mut self, features: Features, grid: Grid) -> &Result<Filter, Missing> {
        let known = self.filters.iter().position(|(known, _)| *known == features);
        let at = known.unwrap_or(self.filters.len());
        if known.is_none() {
            eprintln!("xdp-filter, features `{}`", features.name());
            self.filters.push((features, Filter::load(features, grid)));
        }
        &self.filters[at].1
    }
}

/// How many packets of a line no remembered verdict answered, in percent.
fn decided(line: &Line, all: &[Series]) -> Row {
    let row = Row { unit: "%", ..Row::new(line.group, &format!("{}, of which decided", line.name)) };
    let Some(series) = all.iter().find(|series| series.scenario == line.scenario) else { return row };
    let missing = series.probe.as_ref().err().cloned();
    Row { samples: series.samples.iter().map(|sample| sample.decided).collect(), missing, ..row }
}

/// The row of a line, of what the rounds found.
fn row(line: &Line, all: &[Series]) -> Row {
    let Line { group, name, scenario, over, most } = line;
    let (word, other) = match over {
        Over::Empty => ("1 empty", scenario),
        Over::Other(word, other) => (*word, other),
    };
    let found = |scenario: &Scenario| all.iter().find(|series| series.scenario == *scenario);
    let row = Row { over: word, most: *most, ..Row::new(group, name) };
    let (Some(own), Some(other)) = (found(scenario), found(other)) else { return row };
    if let Some(missing) = own.probe.as_ref().err().or(other.probe.as_ref().err()) {
        return Row { missing: Some(missing.clone()), ..row };
    }
    let packets = |series: &Series| series.samples.iter().map(|sample| sample.packet).collect();
    let others = match over {
        Over::Empty => own.samples.iter().map(|sample| sample.empty).collect(),
        Over::Other(..) => packets(other),
    };
    Row { samples: packets(own), others, ..row }
}
