//! `cargo xtask bench wire`: what a packet costs a gateway that receives it from a wire, beside what it costs with other filters and without
//! any.
//!
//! In: rounds and seconds. Out: rows. Real frames go from a source over a gateway to a sink, each a network namespace, over virtual
//! cables with native XDP. The cost is the time that the kernel thread of the gateway's interface has worked. [`scenario`] is
//! what is compared, [`lane`] one way for each of them, all of which stand while [`window`]s of one after the other are measured in
//! the order of [`rounds`]; [`change`] is what happens while something changes; [`bulkhead`] and [`peers`] are the filters.

mod bulkhead;
mod change;
mod lane;
mod peers;
mod rounds;
mod scenario;
mod window;

use std::{
    collections::BTreeMap,
    panic,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use bulkhead::Policy;
use bulkhead_tests::lab::{interrupted, napi, requirements};
use lane::{Ground, Lane, Shared};
use scenario::{Filter, Group, Scenario, Way};
use window::Window;

use super::{
    RatioArgs, compile,
    rows::{Found, Row, Target},
};

/// Measure what a packet costs a gateway, with Bulkhead, with others and without a filter
///
/// Packets of 4,096 flows go from namespace to namespace; what counts is the time of the gateway's kernel thread for each (root; Linux
/// 5.18 or newer; two processors). Filters that are not installed are left out. Exit code 1 means that a target was missed.
#[derive(clap::Args)]
pub(super) struct WireArgs {
    #[command(flatten)]
    pub(super) ratios: RatioArgs,
    /// How long each window is
    #[arg(long, value_name = "SECONDS", default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// An agent that is built already, instead of a release build of this checkout
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// How long a window is, if nobody says.
const SECONDS: u64 = 1;

/// What was found of a scenario.
#[derive(Default)]
struct Findings {
    windows: Vec<Window>,
    /// Why there is nothing to be found.
    without: Option<Found>,
}

/// All rows, of a release build of this checkout.
pub(super) fn rows(args: &RatioArgs) -> Result<Vec<Row>> {
    apart(args, SECONDS, None)
}

/// All rows.
pub(super) fn measure(args: &WireArgs) -> Result<Vec<Row>> {
    let WireArgs { ratios, seconds, binary } = args;
    apart(ratios, *seconds, binary.as_deref())
}

/// On a thread of its own, because it and everything that it starts keeps off the gateway's processor.
fn apart(args: &RatioArgs, seconds: u64, binary: Option<&Path>) -> Result<Vec<Row>> {
    thread::scope(|scope| {
        let measuring = scope.spawn(|| kept_apart(args, seconds, binary));
        measuring.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

fn kept_apart(args: &RatioArgs, seconds: u64, binary: Option<&Path>) -> Result<Vec<Row>> {
    let wanted: Vec<Scenario> = scenario::ALL.into_iter().filter(|scenario| wants(args, scenario)).collect();
    let changes = args.wants(change::TITLE, "");
    if wanted.is_empty() && !changes {
        return Ok(Vec::new());
    }
    requirements().map_err(|reason| anyhow!("the wire needs the lab: {reason}"))?;
    let binary = compile::binary(binary)?;
    // Its number is none of a scenario's.
    let changing = Ground::new(scenario::ALL.len(), Way::Redirected)?;
    let shared = Shared::new(&changing)?;
    napi::pin(0, shared.source)?;
    let how_long = Duration::from_secs(seconds);
    let mut rows = compared(&wanted, &shared, &binary, args.rounds, how_long)?;
    if changes {
        rows.extend(changed(&changing, &shared, &binary, args.rounds, how_long)?);
    }
    Ok(rows)
}

/// The rows of scenarios, which are measured in turn.
fn compared(
    wanted: &[Scenario],
    shared: &Shared,
    binary: &Path,
    rounds: u32,
    how_long: Duration,
) -> Result<Vec<Row>> {
    let mut findings: BTreeMap<&str, Findings> = BTreeMap::new();
    let mut without = |scenario: &Scenario, found| {
        ensure!(!interrupted(), "interrupted");
        findings.insert(scenario.name, Findings { without: Some(found), ..Findings::default() });
        Ok(())
    };
    let mut grounds = Vec::new();
    for (number, scenario) in wanted.iter().enumerate() {
        match scenario.filter.missing() {
            Some(program) => without(scenario, Found::Absent(format!("`{program}` is not installed")))?,
            None => grounds.push((*scenario, Ground::new(number, scenario.way)?)),
        }
    }
    let mut lanes = Vec::new();
    for (scenario, ground) in &grounds {
        eprintln!("preparing {}: {}", scenario.group.title(), scenario.name);
        match Lane::new(ground, scenario.way, &scenario.filter, shared, binary) {
            Ok(lane) => lanes.push((*scenario, lane)),
            Err(error) => without(scenario, Found::Failed(format!("{error:#}")))?,
        }
    }
    for round in (1..=rounds).filter(|_| !lanes.is_empty()) {
        eprintln!("round {round} of {rounds}");
        for group in Group::ALL {
            let lanes: Vec<_> = lanes.iter().filter(|(scenario, _)| scenario.group == group).collect();
            for (scenario, lane) in
                rounds::order(lanes.len(), round).into_iter().filter_map(|at| lanes.get(at))
            {
                let found = findings.entry(scenario.name).or_default();
                if found.without.is_some() {
                    continue;
                }
                match window::measure(lane, &shared.traffic, scenario, how_long, found.windows.is_empty()) {
                    Ok(window) => found.windows.push(window),
                    Err(error) => {
                        ensure!(!interrupted(), "interrupted");
                        eprintln!("  {}: {error:#}", scenario.name);
                        found.without = Some(Found::Failed(format!("{error:#}")));
                    }
                }
            }
        }
    }
    Ok(wanted.iter().map(|scenario| row(scenario, &findings)).collect())
}

/// The rows of changes under load. What keeps them from being measured is one row.
fn changed(
    ground: &Ground,
    shared: &Shared,
    binary: &Path,
    rounds: u32,
    how_long: Duration,
) -> Result<Vec<Row>> {
    let filter = Filter::Bulkhead(Policy::Allows);
    let measured = Lane::new(ground, Way::Redirected, &filter, shared, binary)
        .and_then(|mut lane| change::measure(&mut lane, &shared.traffic, rounds, how_long));
    ensure!(!interrupted(), "interrupted");
    Ok(measured.unwrap_or_else(|error| {
        vec![
            Row::new(change::TITLE, "packets while something changes", "", &[])
                .without(Found::Failed(format!("{error:#}"))),
        ]
    }))
}

/// A scenario that is asked for, and what such a one is measured over.
fn wants(args: &RatioArgs, scenario: &Scenario) -> bool {
    let starts = |scenario: &Scenario| args.wants(scenario.group.title(), scenario.name);
    let reference = scenario.name == scenario.group.reference();
    let group = || scenario::ALL.iter().any(|other| other.group == scenario.group && starts(other));
    starts(scenario)
        || reference && group()
        || scenario.name == scenario::REDIRECT
            && args.wants(scenario.group.title(), scenario.group.reference())
}

fn row(scenario: &Scenario, findings: &BTreeMap<&str, Findings>) -> Row {
    let Scenario { group, name, way: _, filter: _, target } = *scenario;
    let windows = |name| findings.get(name).map_or(&[][..], |found: &Findings| &found.windows);
    let own = windows(name);
    let costs: Vec<f64> = own.iter().map(|window| window.cost).collect();
    let mut row = Row::new(group.title(), name, "ns", &costs);
    let over = if name != group.reference() {
        Some((group.reference(), target))
    } else if group == Group::Forward {
        Some((scenario::REDIRECT, Some(scenario::OVER_REDIRECT)))
    } else {
        None
    };
    if let Some((over, target)) = over {
        // The reference has more windows than the others: each of theirs has its nearest, not the other way around.
        let ratios = if name == group.reference() {
            rounds::ratios(windows(over), own).iter().map(|ratio| 1.0 / ratio).collect()
        } else {
            rounds::ratios(own, windows(over))
        };
        row = row.over(over, &ratios);
        if let Some(target) = target.filter(|_: &Target| !ratios.is_empty()) {
            row = row.target(target);
        }
    }
    match findings.get(name).and_then(|found| found.without.clone()) {
        Some(why) => row.without(why),
        None => row,
    }
}
