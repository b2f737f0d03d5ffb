//! What changes cost while packets come, and whether a packet notices: the policy is replaced again and again, then the program with its
//! agent.
//!
//! In: a lane with an agent. Out: rows. The source sends allowed and forbidden frames in turn and never more at once than a queue holds, so
//! that every frame is accounted for: at the source, by the agent, at the sink.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bulkhead_tests::lab::{
    Agent, Seen, Sniffer,
    link::Counted,
    traffic::{FORBIDDEN, Running, Sent, Traffic, Turn, WARM_UP},
    wait::{check_interrupt, pass, wait_for},
};
use serde_json::json;

use super::{
    bulkhead::{self, Policy},
    lane::{GEN, Lane, SINK},
    window::Still,
};
use crate::bench::rows::{self, Row, Target};

pub(super) const TITLE: &str = "wire, change";
const QUIET: &str = "a packet while nothing changes";
/// How often the policy is replaced in a round.
const CHANGES: u32 = 10;
/// Seven of eight frames are allowed. A queue of a virtual cable holds two bursts.
const TURN: Turn = Turn { allowed: 7, forbidden: 1, burst: 128, paced: true };
/// The agent's counters are complete after this, whatever it gathers them from.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

/// One number of each round.
#[derive(Default)]
struct Samples {
    quiet: Vec<f64>,
    changing: Vec<f64>,
    replaced: Vec<f64>,
    sent: Vec<f64>,
    passed: Vec<f64>,
    lost: Vec<f64>,
    uncounted: Vec<f64>,
}

/// What the agent counts at the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Judged {
    seen: u64,
    passed: u64,
    dropped: u64,
}

/// What became of the frames of a window.
struct Window {
    sent: Sent,
    cost: f64,
    arrived: u64,
}

/// Measures all rounds.
pub(super) fn measure(
    lane: &mut Lane<'_>,
    traffic: &Arc<Traffic>,
    rounds: u32,
    how_long: Duration,
) -> Result<Vec<Row>> {
    let mut samples = Samples::default();
    let forbidden = |seen: &Seen| seen.transport().filter(|to| to.dst.port() >= FORBIDDEN).map(|_| ());
    window(lane, traffic, |_| pass(WARM_UP))?;
    for round in 1..=rounds {
        eprintln!("{TITLE}: round {round} of {rounds}");
        let sniffer = Sniffer::start(&lane.ground.sink, SINK, forbidden)?;
        let mut counted = judged(lane)?;
        let mut off = 0;
        let quiet = window(lane, traffic, |_| pass(how_long))?;
        off += uncounted(lane, "nothing changes", &mut counted, &quiet)?;
        let changing = window(lane, traffic, |agent| {
            let policies = [Policy::AllowsMore, Policy::Allows].into_iter().cycle();
            policies.zip(0..CHANGES).try_for_each(|(policy, _)| change(agent, policy))
        })?;
        off += uncounted(lane, "policies change", &mut counted, &changing)?;
        let replaced = window(lane, traffic, |agent| {
            ensure!(agent.stop()?.success(), "the agent ended with an error");
            agent.start()
        })?;
        off += uncounted(lane, "the agent restarts", &mut counted, &replaced)?;
        let wrong = sniffer.stop()?.get(&()).copied().unwrap_or(0);
        samples.add([&quiet, &changing, &replaced], wrong, off);
    }
    Ok(samples.rows())
}

/// Sends until something is done.
fn window(
    lane: &mut Lane<'_>,
    traffic: &Arc<Traffic>,
    act: impl FnOnce(&mut Agent<'_>) -> Result<()>,
) -> Result<Window> {
    let start = Still::now(lane)?;
    let running = Running::start(&lane.ground.source, GEN, traffic, TURN)?;
    let acted = act(lane.agent.as_mut().context("the lane has no agent")?);
    let sent = running.end()?;
    acted?;
    let end = Still::of(lane, sent.allowed + sent.forbidden, start.source)?;
    let full = |before: Counted, after: Counted| after.unsent - before.unsent;
    ensure!(full(start.source, end.source) == 0, "a frame found the gateway's queue full");
    ensure!(full(start.outward, end.outward) == 0, "a frame found the sink's queue full");
    let worked = (end.worked - start.worked).as_secs_f64();
    let cost = worked * 1e9 / count(end.taken - start.taken);
    Ok(Window { sent, cost, arrived: end.arrived - start.arrived })
}

fn change(agent: &Agent<'_>, policy: Policy) -> Result<()> {
    check_interrupt()?;
    agent.write_policy(&bulkhead::policy(policy))?;
    let output = agent.cli(&["apply"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`apply` failed: {}", said.trim());
    Ok(())
}

fn judged(lane: &Lane<'_>) -> Result<Judged> {
    let agent = lane.agent.as_ref().context("the lane has no agent")?;
    let answer = agent.ask(&json!({ "verb": "status" }))?;
    let interfaces = answer["ok"]["status"]["interfaces"].as_array();
    let interface =
        interfaces.and_then(|all| all.iter().find(|one| one["name"] == lane.ground.inward.as_str()));
    let interface = interface.with_context(|| format!("the status has no `{}`", lane.ground.inward))?;
    let of = |key: &str| interface[key].as_u64().with_context(|| format!("the status has no `{key}`"));
    Ok(Judged { seen: of("seen")?, passed: of("passed")?, dropped: of("dropped")? })
}

/// How far the agent's counters are from what was sent, once they had the time to be gathered; they are where to go on from.
fn uncounted(lane: &Lane<'_>, what: &str, counted: &mut Judged, window: &Window) -> Result<u64> {
    let Sent { allowed, forbidden } = window.sent;
    let expected = Judged {
        seen: counted.seen + allowed + forbidden,
        passed: counted.passed + allowed,
        dropped: counted.dropped + forbidden,
    };
    let all = wait_for("the agent's counters", COUNTED_WITHIN, || {
        Ok((judged(lane)? == expected).then_some(expected))
    });
    let found = match all {
        Ok(found) => found,
        Err(_) => judged(lane)?,
    };
    check_interrupt()?;
    let pairs = [
        ("seen", found.seen, expected.seen),
        ("passed", found.passed, expected.passed),
        ("dropped", found.dropped, expected.dropped),
    ];
    for (name, found, expected) in pairs.into_iter().filter(|(_, found, expected)| found != expected) {
        eprintln!("  while {what}: `{name}` is {found} and should be {expected}");
    }
    *counted = found;
    Ok(pairs.into_iter().map(|(_, found, expected)| found.abs_diff(expected)).sum())
}

impl Samples {
    fn add(&mut self, windows: [&Window; 3], wrong: u64, off: u64) {
        let sum = |of: fn(&Window) -> u64| windows.into_iter().map(of).sum::<u64>();
        let (allowed, forbidden) = (sum(|window| window.sent.allowed), sum(|window| window.sent.forbidden));
        let arrived = sum(|window| window.arrived).saturating_sub(wrong);
        let [quiet, changing, replaced] = windows.map(|window| window.cost);
        self.quiet.push(quiet);
        self.changing.push(changing);
        self.replaced.push(replaced);
        self.sent.push(count(allowed + forbidden) / 1e6);
        self.passed.push(count(wrong));
        self.lost.push(count(allowed.saturating_sub(arrived)));
        self.uncounted.push(count(off));
        eprintln!(
            "  {quiet:.0} ns, {changing:.0} ns while policies change, {replaced:.0} ns while the agent restarts"
        );
    }

    fn rows(&self) -> Vec<Row> {
        let Self { quiet, changing, replaced, sent, passed, lost, uncounted } = self;
        let cost = |name, samples: &[f64]| Row::new(TITLE, name, "ns", samples);
        let over = |name, samples: &[f64]| cost(name, samples).over(QUIET, &rows::ratios(samples, quiet));
        let none =
            |name, samples: &[f64]| Row::new(TITLE, name, "packets", samples).target(Target::Most(0.0));
        vec![
            cost(QUIET, quiet),
            over("a packet while the policy is replaced ten times", changing),
            over("a packet while the agent is stopped and started", replaced),
            Row::new(TITLE, "packets sent in a round, one of eight forbidden", "million", sent),
            none("forbidden packets that arrived", passed),
            none("allowed packets that did not", lost),
            none("difference between what was sent and what the agent counts", uncounted),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody sends 2^52 packets")]
fn count(packets: u64) -> f64 {
    packets as f64
}
