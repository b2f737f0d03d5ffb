//! A packet of a watched device was dropped: would it have passed before the change?
//!
//! Both policies are asked with the function that judges packets, about the conversation that the packet looks like: the one before must
//! allow it, and the one in force must not. Modes are not asked: from monitor to enforce no verdict changes.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use bulkhead_common::{
    decide::{Decision, Verdict},
    reason::Reason,
    wire::mac,
};

use super::{
    super::{agent::Agent, clock::clocks},
    Before,
    back::AGAIN,
    story::{Trip, placed},
    whose,
};
use crate::{
    compile::{Placed, Who, is_allowed},
    control::Failure,
    model::{Mac, Mode},
    observe::{Denial, Leased},
    record::Trigger,
    rollout::{Sent, Side, Talk},
    store::{Touched, Watched},
    traffic::{End, Kind},
};

/// Suspects that come as events are asked about no more often than this: tables are made ready for it each time.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Who is to go back, and of whom something was dropped that was allowed before.
struct Asked {
    trips: Vec<Trip>,
    harmed: BTreeSet<String>,
}

impl Agent {
    /// The same while events come: a trip is not to wait for the next tick, and a flood not to keep the agent busy.
    pub(in crate::daemon) fn ask_about_new_suspects(&mut self) {
        if self.reporter.suspects.is_due() && self.watcher.asked.elapsed() >= ASK_EVERY {
            self.ask_about_suspects();
        }
    }

    /// Asks about what was dropped, and lets those devices go back of which it says so.
    pub(super) fn ask_about_suspects(&mut self) {
        let due = self.reporter.suspects.due();
        if due.is_empty() {
            return;
        }
        if let Err(failure) = self.ask_about(&due) {
            // As soon as it may be known.
            self.watcher.asked = Instant::now() + AGAIN;
            self.reporter.suspects.give_back(due);
            self.warn_of_unknown(&failure);
        } else {
            self.watcher.asked = Instant::now();
            self.warnings.remove("watch-before");
        }
    }

    pub(super) fn warn_of_unknown(&mut self, failure: &Failure) {
        let note = format!(
            "what was allowed before the change is not known, and nobody goes back for what suffers now: {}",
            failure.message
        );
        if self.warnings.insert("watch-before", note.clone()).as_ref() != Some(&note) {
            tracing::error!("{note}");
        }
    }

    fn ask_about(&mut self, due: &[Denial]) -> Result<(), Failure> {
        let leased = self.leased_now()?;
        self.note_steady(due, &leased);
        let mut numbers: Vec<u64> = self.watcher.kept.devices.values().filter_map(policy_before).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let before = self.before(number)?;
            // Who comes next is asked about with what the one before him has changed.
            loop {
                let Asked { trips, harmed } = self.asked_about(due, &leased, number, &before)?;
                self.watcher.harmed.extend(harmed);
                let together = trips.len();
                let next = trips.into_iter().find(|trip| !self.watcher.failed.contains_key(&trip.whose()));
                let Some(trip) = next else { break };
                self.go_back(trip, together);
            }
        }
        Ok(())
    }

    /// Notes whose steady conversations were dropped.
    fn note_steady(&mut self, due: &[Denial], leased: &Leased) {
        let Some(applied) = self.dataplane.applied() else { return };
        let side = Side { policy: &self.in_force.policy, tables: &applied.tables };
        let mut harmed = Vec::new();
        for (kind, _) in due.iter().filter_map(|denial| denial.looks_like(leased)) {
            for device in [&kind.from, &kind.to].into_iter().filter_map(|end| side.device_at(end)) {
                let watches = [false, true].map(|of_mode| self.watcher.watched(&device.name, of_mode));
                let is_steady = watches.into_iter().flatten().any(|watched| does_steadily(watched, &kind));
                if is_steady && !self.is_accepted(&device.name, &kind) {
                    harmed.push(device.name.clone());
                }
            }
        }
        self.watcher.harmed.extend(harmed);
    }

    fn asked_about(
        &mut self,
        due: &[Denial],
        leased: &Leased,
        number: u64,
        before: &Arc<Before>,
    ) -> Result<Asked, Failure> {
        let mut harmed = BTreeSet::new();
        let Some(applied) = self.dataplane.applied() else { return Ok(Asked { trips: Vec::new(), harmed }) };
        let tables = Arc::clone(&applied.tables);
        let clocks = clocks();
        let (old, new) = (before.side(), Side { policy: &self.in_force.policy, tables: &tables });
        let is_watched = |name: &str| {
            let watched = self.watcher.kept.devices.get(name);
            watched.is_some_and(|watched| {
                policy_before(watched) == Some(number) && watched.deadline.left(&clocks).is_some()
            })
        };
        let here = Placed { gateway: self.nics.addresses.clone(), ..Placed::default() };
        let (were, are) = (Who::new(old.policy, &here), Who::new(new.policy, &here));
        let mut hosts = BTreeMap::new();
        let mut trips: BTreeMap<String, Trip> = BTreeMap::new();
        for denial in due {
            let Some((kind, answers)) = denial.looks_like(leased) else { continue };
            // Who is cut off was cut off on purpose, whoever talked to him before.
            if Reason::from_code(denial.key.reason) == Some(Reason::Quarantined) {
                continue;
            }
            let ends = [&kind.from, &kind.to].map(|end| old.device_at(end));
            if ends.iter().flatten().any(|device| self.mode_of(&device.name) == Some(Mode::Quarantine)) {
                continue;
            }
            let suffers = |name: &str| is_watched(name) && !self.is_accepted(name, &kind);
            if !ends.iter().flatten().any(|device| suffers(&device.name)) {
                continue;
            }
            let ifindex = denial.key.ifindex;
            let (then, now) = match hosts.entry(ifindex) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new_one) => new_one
                    .insert((self.hosts(old.tables, Some(ifindex))?, self.hosts(new.tables, Some(ifindex))?)),
            };
            let sent = Some(Sent { answers, mac: Mac(denial.key.source_mac), vlan: denial.key.vlan });
            let was = Talk::of(&kind, sent, &were);
            let Some(allowed) = then.iter().map(|host| was.judged(host)).find(is_allowed) else { continue };
            let is = Talk::of(&kind, sent, &are);
            let verdicts: Vec<_> = now.iter().map(|host| is.judged(host)).collect();
            let is_cut_off = |decision: &Decision| decision.verdict == Verdict::Deny(Reason::Quarantined);
            if verdicts.iter().any(|decision| is_allowed(decision) || is_cut_off(decision)) {
                continue;
            }
            let all = ends.iter().flatten().filter(|device| !self.is_accepted(&device.name, &kind));
            harmed.extend(all.map(|device| device.name.clone()));
            let Some(device) = whose(&old, allowed.rule, ends, suffers) else { continue };
            if trips.contains_key(&device.name) {
                continue;
            }
            let reason = verdicts.first().and_then(|decision| match decision.verdict {
                Verdict::Deny(reason) => Some(reason),
                Verdict::Allow(_) => None,
            });
            let seen = Reason::from_code(denial.key.reason);
            let rule = old.tables.rule(allowed.rule);
            let trip = Trip {
                device: device.name.clone(),
                of_mode: false,
                trigger: Trigger::Denied,
                kind,
                reason: seen.or(reason),
                rule: rule.map(placed),
                silent: None,
                gone: false,
            };
            trips.insert(device.name.clone(), trip);
        }
        Ok(Asked { trips: trips.into_values().collect(), harmed })
    }

    /// Whose addresses are leased now.
    fn leased_now(&self) -> Result<Leased, Failure> {
        let leases = self.dataplane.leases().map_err(super::super::agent::world)?;
        let now = crate::dataplane::monotonic_ns();
        let live = leases.into_iter().filter(|(_, lease)| lease.expires > now);
        Ok(live.map(|(address, lease)| (address, Mac(mac::octets(lease.mac)))).collect())
    }
}

/// Whether a conversation is one of those that a device does steadily.
pub(super) fn does_steadily(watched: &Watched, kind: &Kind) -> bool {
    let is_same = |one: &End, other: &End| match (one.address, other.address) {
        (Some(one), Some(other)) => one == other,
        (_, _) => one.mac.is_some() && one.mac == other.mac,
    };
    watched.steady.iter().map(|beat| beat.read().kind).any(|steady| {
        steady.service == kind.service && is_same(&steady.from, &kind.from) && is_same(&steady.to, &kind.to)
    })
}

/// The revision before the one that touched a device.
pub(super) fn policy_before(watched: &Watched) -> Option<u64> {
    match watched.change {
        Touched::Policy { before, .. } => Some(before),
        Touched::Mode { .. } => None,
    }
}
