//! One look at one lane. In: how long. Out: what a packet cost the gateway's thread, once everything that was sent is done with; or why that
//! says nothing.
//!
//! Both ends of a window are moments at which nothing is on the way: every counter and every clock is then exact.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bulkhead_tests::lab::{
    link::{self, Counted},
    traffic::{self, Traffic, Turn, WARM_UP},
    wait::wait_for,
};

use super::{
    lane::{GEN, Lane, SINK},
    peers,
    scenario::{Filter, Group, Scenario},
};

/// The queue of a gateway at its slowest is empty after this.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When it began.
    pub(super) at: Instant,
    /// Nanoseconds of the gateway's thread for a packet that it took.
    pub(super) cost: f64,
}

/// All counters, at a moment at which nothing is on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Still {
    pub(super) source: Counted,
    pub(super) taken: u64,
    pub(super) outward: Counted,
    pub(super) arrived: u64,
    pub(super) worked: Duration,
}

impl Still {
    /// Waits until the gateway has taken everything that was sent and could be queued, and its thread rests.
    pub(super) fn of(lane: &Lane<'_>, sent: u64, before: Counted) -> Result<Self> {
        let ground = lane.ground;
        wait_for("the gateway to take what was sent", DRAINED_WITHIN, || {
            let done = link::counted(&ground.source, GEN)?.done_since(before);
            Ok((done >= sent).then_some(()))
        })?;
        let mut last = Self::now(lane)?;
        wait_for("the gateway to rest", DRAINED_WITHIN, || {
            let now = Self::now(lane)?;
            let rests = now.worked == last.worked && now.arrived == last.arrived;
            last = now;
            Ok(rests.then_some(now))
        })
    }

    pub(super) fn now(lane: &Lane<'_>) -> Result<Self> {
        let ground = lane.ground;
        let gateway = &ground.gateway.namespace;
        Ok(Self {
            source: link::counted(&ground.source, GEN)?,
            taken: link::counted(gateway, &ground.inward)?.received,
            outward: link::counted(gateway, &ground.outward)?,
            arrived: link::counted(&ground.sink, SINK)?.received,
            worked: lane.napi.worked()?,
        })
    }
}

/// Warms the lane up, and measures it.
pub(super) fn measure(
    lane: &Lane<'_>,
    traffic: &Arc<Traffic>,
    scenario: &Scenario,
    how_long: Duration,
    first: bool,
) -> Result<Window> {
    let send = |how_long| {
        let before = link::counted(&lane.ground.source, GEN)?;
        let sent = traffic::run_for(&lane.ground.source, GEN, traffic, Turn::ALLOWED, how_long)?;
        Still::of(lane, sent.allowed + sent.forbidden, before)
    };
    let mut before = send(WARM_UP)?;
    if let (Filter::Peer(peer), true) = (scenario.filter, first)
        && peer.wants_answers()
    {
        peers::answer(lane.ground)?;
        before = send(WARM_UP)?;
    }
    let at = Instant::now();
    let after = send(how_long)?;
    let taken = after.taken - before.taken;
    let arrived = after.arrived - before.arrived;
    ensure!(taken > 0, "the gateway has taken nothing");
    #[expect(clippy::cast_precision_loss, reason = "nobody sends 2^52 packets")]
    let (packets, share) = (taken as f64, arrived as f64 * 100.0 / taken as f64);
    match scenario.group {
        Group::Drop => ensure!(arrived == 0, "{arrived} of {taken} packets have arrived, which should not"),
        Group::Forward => {
            ensure!(
                share > 90.0,
                "{share:.1} % of {taken} packets have arrived (lost behind it: {})",
                lost(&before, &after)?
            );
        }
    }
    let worked = (after.worked - before.worked).as_secs_f64();
    let cost = worked * 1e9 / packets;
    let busy = worked * 100.0 / how_long.as_secs_f64();
    eprintln!("  {}: {cost:.0} ns, the gateway's processor busy for {busy:.0} %", scenario.name);
    Ok(Window { at, cost })
}

/// Frames that the sink's queue had no room for.
fn lost(before: &Still, after: &Still) -> Result<u64> {
    after.outward.unsent.checked_sub(before.outward.unsent).context("a counter has gone back")
}
