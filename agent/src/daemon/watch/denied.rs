//! A packet of a watched device was dropped: would it have passed before the change?
//!
//! Both policies are asked with the function that judges packets, about the conversation that the packet looks like: the one before must
//! allow it, and the one in force must not. Modes are not asked: from monitor to enforce no verdict changes.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use bulkhead_common::{
    decide::{Decision, Verdict},
    reason::Reason,
    wire::mac,
};

use super::{
    super::agent::Agent,
    Before,
    story::{Trip, placed},
    whose,
};
use crate::{
    compile::{Placed, Who, is_allowed},
    model::{Mac, Mode},
    observe::{Denial, Leased},
    record::Trigger,
    rollout::{Sent, Side, Talk},
    store::Touched,
};

/// Suspects that come as events are asked about no more often than this: tables are made ready for it each time.
const ASK_EVERY: Duration = Duration::from_millis(50);

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
        self.watcher.asked = Instant::now();
        let mut numbers: Vec<u64> = self.watcher.kept.devices.values().filter_map(policy_before).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let trips = self.before(number).and_then(|before| self.asked_about(&due, number, &before));
            match trips {
                Ok(trips) => trips.into_iter().for_each(|trip| self.go_back(trip)),
                Err(failure) => {
                    tracing::error!("what revision {number} said is not known: {}", failure.message)
                }
            }
        }
    }

    fn asked_about(
        &mut self,
        due: &[Denial],
        number: u64,
        before: &Arc<Before>,
    ) -> Result<Vec<Trip>, crate::control::Failure> {
        let Some(applied) = self.dataplane.applied() else { return Ok(Vec::new()) };
        let tables = Arc::clone(&applied.tables);
        let leased = self.leased_now()?;
        let (old, new) = (before.side(), Side { policy: &self.in_force.policy, tables: &tables });
        let is_watched =
            |name: &str| self.watcher.kept.devices.get(name).and_then(policy_before) == Some(number);
        let here = Placed { gateway: self.nics.addresses.clone(), ..Placed::default() };
        let (were, are) = (Who::new(old.policy, &here), Who::new(new.policy, &here));
        let mut hosts = BTreeMap::new();
        let mut trips: BTreeMap<String, Trip> = BTreeMap::new();
        for denial in due {
            let Some((kind, answers)) = denial.looks_like(&leased) else { continue };
            // Who is cut off was cut off on purpose, whoever talked to him before.
            if Reason::from_code(denial.key.reason) == Some(Reason::Quarantined) {
                continue;
            }
            let ends = [&kind.from, &kind.to].map(|end| old.device_at(end));
            if ends.iter().flatten().any(|device| self.mode_of(&device.name) == Some(Mode::Quarantine)) {
                continue;
            }
            if !ends.iter().flatten().any(|device| is_watched(&device.name)) {
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
            let Some(device) = whose(&old, allowed.rule, ends, is_watched) else { continue };
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
                trigger: Trigger::Denied,
                kind,
                reason: seen.or(reason),
                rule: rule.map(placed),
                silent: None,
                gone: false,
            };
            trips.insert(device.name.clone(), trip);
        }
        Ok(trips.into_values().collect())
    }

    /// Whose addresses are leased now.
    fn leased_now(&self) -> Result<Leased, crate::control::Failure> {
        let leases = self.dataplane.leases().map_err(super::super::agent::world)?;
        let now = crate::dataplane::monotonic_ns();
        let live = leases.into_iter().filter(|(_, lease)| lease.expires > now);
        Ok(live.map(|(address, lease)| (address, Mac(mac::octets(lease.mac)))).collect())
    }
}

/// The revision before the one that touched a device.
pub(super) fn policy_before(watched: &crate::store::Watched) -> Option<u64> {
    match watched.change {
        Touched::Policy { before, .. } => Some(before),
        Touched::Mode { .. } => None,
    }
}
