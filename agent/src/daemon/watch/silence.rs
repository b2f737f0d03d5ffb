//! A conversation that was steady before a change is not answered any more: whose is it, and can the change be why?
//!
//! The gateway does nothing to a device but drop packets. A device that is not heard at all, and of which nothing was dropped since the
//! change, was switched off or has lost its link: it does not go back, and is watched anew when it is heard again.

use std::{sync::Arc, time::Duration};

use bulkhead_common::decide::Verdict;

use super::{
    super::agent::Agent,
    Before,
    story::{Trip, placed},
    whose,
};
use crate::{
    compile::{Placed, Who, is_allowed},
    control::Failure,
    model::Mode,
    record::Trigger,
    rollout::{Moment, Side, Steady, Talk},
    store::{Touched, Watched},
    traffic::End,
};

/// What beats say of a device.
struct Heard {
    /// The conversation that has been silent for longest, in its periods.
    stopped: Option<(Steady, Duration)>,
    /// Whether the device was heard of late, whomever it talked to.
    is_there: bool,
    /// Whether the other end of that conversation was.
    partner_is_there: bool,
}

impl Agent {
    /// Looks whether anything has stopped, and lets those devices go back.
    pub(super) fn look_for_silence(&mut self) {
        let Some(beats) = self.watcher.beats.clone() else { return };
        let names: Vec<String> = self.watcher.kept.devices.keys().cloned().collect();
        for name in names {
            let Some(watched) = self.watcher.kept.devices.get(&name).cloned() else { continue };
            if watched.steady.is_empty() || self.mode_of(&name) == Some(Mode::Quarantine) {
                continue;
            }
            let now = self.watcher.now();
            let since = *self.watcher.since.entry(name.clone()).or_insert(now);
            let before = match self.before_of(&watched) {
                Ok(before) => before,
                Err(failure) => {
                    // Nothing could come back.
                    tracing::error!(
                        "`{name}` is watched no longer: what it had before is not known: {}",
                        failure.message
                    );
                    self.forget_watch(&name);
                    self.keep_watch();
                    continue;
                }
            };
            let heard = heard_of(&beats.lock(), &before, &name, &watched, since, now.0);
            let Heard { stopped, is_there, partner_is_there } = heard;
            if is_there && self.watcher.silent.remove(&name) {
                tracing::info!("`{name}` is heard again, and watched anew");
                self.watcher.since.insert(name, now);
                continue;
            }
            let Some((steady, silent)) = stopped else { continue };
            let gone = !is_there;
            if gone && self.dropped_of(&name) == 0 {
                if self.watcher.silent.insert(name.clone()) {
                    tracing::warn!(
                        "`{name}` is silent altogether, and nothing of it was dropped: it is off or has lost its link, and keeps the change"
                    );
                }
                continue;
            }
            match self.stopped(&name, &watched, &before, &steady, silent, (gone, partner_is_there)) {
                Ok(Some(trip)) => self.go_back(trip),
                // It is another's rule, and he is watched too.
                Ok(None) => {}
                Err(failure) => tracing::error!("{}", failure.message),
            }
        }
    }

    fn before_of(&mut self, watched: &Watched) -> Result<Arc<Before>, Failure> {
        match watched.change {
            Touched::Policy { before, .. } => self.before(before),
            // A mode changes no verdict: what is in force says who is who.
            Touched::Mode { .. } => self.before(self.pointer.current),
        }
    }

    /// Packets of a device that were dropped since the last change.
    fn dropped_of(&self, name: &str) -> u64 {
        let id = self.in_force.policy.device(name).and_then(|(id, _)| {
            let applied = self.dataplane.applied()?;
            applied.ids.devices.get(id.0 as usize).copied()
        });
        id.map_or(0, |id| self.reporter.suspects.dropped(id))
    }

    fn stopped(
        &self,
        name: &str,
        watched: &Watched,
        before: &Before,
        steady: &Steady,
        silent: Duration,
        (gone, partner_is_there): (bool, bool),
    ) -> Result<Option<Trip>, Failure> {
        let Some(applied) = self.dataplane.applied() else { return Ok(None) };
        let (old, kind) = (before.side(), steady.kind);
        let here = Placed { gateway: self.nics.addresses.clone(), ..Placed::default() };
        let talk = |side: &Side<'_>| Talk::of(&kind, None, &Who::new(side.policy, &here));
        let was = self.hosts(old.tables, None)?.iter().map(|host| talk(&old).judged(host)).find(is_allowed);
        if let (Some(decision), Touched::Policy { before: number, .. }) = (was, &watched.change) {
            let ends = [&kind.from, &kind.to].map(|end| old.device_at(end));
            let is_watched = |other: &str| {
                let other = self.watcher.kept.devices.get(other);
                other.and_then(super::denied::policy_before) == Some(*number)
            };
            if whose(&old, decision.rule, ends, is_watched).is_some_and(|device| device.name != name) {
                return Ok(None);
            }
        }
        let new = Side { policy: &self.in_force.policy, tables: &applied.tables };
        let verdicts: Vec<_> =
            self.hosts(new.tables, None)?.iter().map(|host| talk(&new).judged(host)).collect();
        let reason = match verdicts.iter().find(|decision| is_allowed(decision)).or(verdicts.first()) {
            Some(decision) => match decision.verdict {
                Verdict::Deny(reason) => Some(reason),
                Verdict::Allow(_) => None,
            },
            None => None,
        };
        // The other end is off, and nothing that is in force stops it.
        if reason.is_none() && !partner_is_there {
            return Ok(None);
        }
        let is_cut_off = |end: &End| {
            old.device_at(end).is_some_and(|device| self.mode_of(&device.name) == Some(Mode::Quarantine))
        };
        if is_cut_off(&kind.from) || is_cut_off(&kind.to) {
            return Ok(None);
        }
        let rule = was.and_then(|decision| old.tables.rule(decision.rule));
        Ok(Some(Trip {
            device: name.to_owned(),
            trigger: Trigger::Stopped,
            kind,
            reason,
            rule: rule.map(placed),
            silent: Some((silent, steady.period)),
            gone,
        }))
    }
}

fn heard_of(
    beats: &crate::rollout::Beats,
    before: &Before,
    name: &str,
    watched: &Watched,
    since: (Moment, u64),
    now: Moment,
) -> Heard {
    let steady = || watched.steady.iter().map(crate::store::KeptBeat::read);
    let stopped = steady().filter_map(|one| Some((one, beats.stopped(&one, since)?)));
    let stopped = stopped.max_by_key(|(one, silent)| silent.as_secs() / one.period.as_secs().max(1));
    let Some((conversation, silent)) = stopped else {
        // Whether it is there is asked of those alone that were not.
        return Heard { stopped, is_there: true, partner_is_there: true };
    };
    let is_him = |end: &End| before.side().device_at(end).is_some_and(|device| device.name == name);
    // After the conversation had ended: the last words of that one are no sign.
    let is_since = |at: Moment| now.saturating_sub(at).saturating_add(conversation.period) < silent;
    let is_there = beats.last_heard(is_him).is_some_and(is_since);
    let ends = [conversation.kind.from, conversation.kind.to];
    let is_partner = |end: &End| ends.contains(end) && !is_him(end);
    let partner_is_there = beats.last_heard(is_partner).is_some_and(is_since);
    Heard { stopped, is_there, partner_is_there }
}
