//! A conversation that was steady before a change is not answered any more: whose is it, and can the change be why?
//!
//! The gateway does nothing to a device but drop packets. A device that is not heard at all, and of which nothing was dropped since the
//! change, was switched off or has lost its link: it does not go back, and is watched anew when it is heard again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bulkhead_common::decide::Verdict;

use super::{
    super::agent::Agent,
    Before,
    denied::does_steadily,
    story::{Trip, placed},
    whose,
};
use crate::{
    compile::{Placed, Who, is_allowed},
    control::Failure,
    model::Mode,
    record::Trigger,
    rollout::{Beats, Moment, Side, Steady, Talk},
    store::{Touched, Watched},
    traffic::{End, Kind},
};

/// Conversations of a device that have stopped.
struct Stopped {
    device: String,
    of_mode: bool,
    /// Each, and for how long; the one that has been silent for longest first, in its periods.
    all: Vec<(Steady, Duration)>,
}

/// What one of them says.
enum Word {
    /// The device is not heard either.
    Absent,
    /// The other end is off, and nothing that is in force stops it.
    Excused,
    /// It is a reason to go back.
    Trip(Box<Trip>),
}

/// What all of them say together: one that is excused excuses no other, and what the policy in force denies is told first.
fn sum_up(words: impl IntoIterator<Item = (Kind, Word)>) -> Option<(Kind, Word)> {
    let weight = |word: &Word| match word {
        Word::Trip(trip) if trip.reason.is_some() => 3,
        Word::Trip(_) => 2,
        Word::Excused => 1,
        Word::Absent => 0,
    };
    words.into_iter().reduce(|best, next| if weight(&next.1) > weight(&best.1) { next } else { best })
}

/// Whether both ends are there.
#[derive(Clone, Copy)]
struct There {
    device: bool,
    partner: bool,
}

impl Agent {
    /// Looks whether anything has stopped, and lets those devices go back.
    pub(super) fn look_for_silence(&mut self) {
        let Some(beats) = self.watcher.beats.clone() else { return };
        let all = self.find_stopped(&beats.lock());
        let silent: BTreeSet<&String> = all.iter().map(|stopped| &stopped.device).collect();
        let again: Vec<String> =
            self.watcher.silent.iter().filter(|name| !silent.contains(name)).cloned().collect();
        self.watcher.excused.retain(|name| silent.contains(name));
        let now = self.watcher.now();
        for name in again {
            self.heard_again(name, now);
        }
        if all.is_empty() {
            return;
        }
        // One walk for all of them.
        let heard = beats.lock().heard_last();
        let mut by_name: BTreeMap<u64, BTreeMap<String, Moment>> = BTreeMap::new();
        for Stopped { device, of_mode, all } in all {
            let Some(watched) = self.watcher.watched(&device, of_mode).cloned() else { continue };
            let number = super::denied::policy_before(&watched).unwrap_or(self.pointer.current);
            let before = match self.before_of(&watched) {
                Ok(before) => before,
                Err(failure) => {
                    self.warn_of_unknown(&failure);
                    continue;
                }
            };
            let names = by_name.entry(number).or_insert_with(|| heard_by_name(&heard, &before));
            let is_him = |end: &End| before.side().device_at(end).is_some_and(|one| one.name == device);
            let mut words = Vec::new();
            let mut is_back = false;
            for (steady, silent) in all {
                // After the conversation had ended: the last words of that one are no sign.
                let is_since = |at: &Moment| now.0.saturating_sub(*at).saturating_add(steady.period) < silent;
                let mut partners = [steady.kind.from, steady.kind.to].into_iter().filter(|end| !is_him(end));
                let there = There {
                    device: names.get(&device).is_some_and(is_since),
                    partner: partners.any(|end| heard.get(&end).is_some_and(is_since)),
                };
                is_back |= there.device && self.watcher.silent.contains(&device);
                if !there.device && !self.watcher.harmed.contains(&device) {
                    words.push((steady.kind, Word::Absent));
                    continue;
                }
                match self.stopped(&device, &watched, &before, &steady, silent, there) {
                    // Denied, as somebody has said that it may be.
                    Ok(Some(trip)) if trip.reason.is_some() && self.is_accepted(&device, &steady.kind) => {}
                    Ok(Some(trip)) if trip.reason.is_none() && !there.partner => {
                        words.push((steady.kind, Word::Excused));
                    }
                    Ok(Some(trip)) => words.push((steady.kind, Word::Trip(Box::new(trip)))),
                    // It is another's rule, and he is watched too.
                    Ok(None) => {}
                    Err(failure) => tracing::error!("{}", failure.message),
                }
            }
            if is_back {
                self.heard_again(device, now);
                continue;
            }
            match sum_up(words) {
                Some((_, Word::Trip(trip))) => self.go_back(*trip, 1),
                Some((kind, Word::Excused)) if self.watcher.excused.insert(device.clone()) => tracing::warn!(
                    "nothing is answered any more of {}: its other end is silent altogether and what is in force allows it, so nobody goes back for it",
                    self.talk(&kind)
                ),
                Some((_, Word::Absent)) if self.watcher.silent.insert(device.clone()) => tracing::warn!(
                    "`{device}` is silent altogether, and nothing of it was dropped that could be why: it is off or has lost its link, and keeps the change"
                ),
                Some((_, Word::Excused | Word::Absent)) | None => {}
            }
        }
    }

    /// What has been heard since so many looks: how many there were by now, when the last one ended, and when each device spoke last in what it
    /// was let, by the policy in force. None where no look has ended since.
    pub(in crate::daemon) fn heard_by_now(
        &mut self,
        looks: u64,
    ) -> Option<(u64, Moment, BTreeMap<String, Moment>)> {
        let beats = self.watcher.beats.clone()?;
        let (by_now, at, heard) = {
            let beats = beats.lock();
            (beats.looks(), beats.looked_last(), (beats.looks() != looks).then(|| beats.heard_last())?)
        };
        let before = self.before_now().ok()?;
        Some((by_now, at, heard_by_name(&heard, &before)))
    }

    /// Of each device that is watched the conversations that have stopped.
    fn find_stopped(&mut self, beats: &Beats) -> Vec<Stopped> {
        let began = (Duration::from_secs(crate::dataplane::monotonic_ns() / 1_000_000_000), beats.looks());
        let names: BTreeSet<String> = self.watcher.all().map(|(name, _)| name.clone()).collect();
        for name in names {
            self.watcher.since.entry(name).or_insert(began);
        }
        let stopped = self.watcher.all().filter_map(|(device, watched)| {
            if self.mode_of(device) == Some(Mode::Quarantine) {
                return None;
            }
            let since = *self.watcher.since.get(device)?;
            let steady = watched.steady.iter().map(crate::store::KeptBeat::read);
            let stopped = steady.filter_map(|one| Some((one, beats.stopped(&one, since)?)));
            let mut all: Vec<(Steady, Duration)> = stopped.collect();
            all.sort_by_key(|(one, silent)| Reverse(silent.as_secs() / one.period.as_secs().max(1)));
            let of_mode = matches!(watched.change, Touched::Mode { .. });
            (!all.is_empty()).then(|| Stopped { device: device.clone(), of_mode, all })
        });
        stopped.collect()
    }

    fn heard_again(&mut self, name: String, now: (Moment, u64)) {
        tracing::info!("`{name}` is heard again, and watched anew");
        self.watcher.silent.remove(&name);
        self.watcher.since.insert(name, now);
    }

    fn before_of(&mut self, watched: &Watched) -> Result<Arc<Before>, Failure> {
        match watched.change {
            Touched::Policy { before, .. } => self.before(before),
            // A mode changes no verdict: what is in force says who is who.
            Touched::Mode { .. } => self.before_now(),
        }
    }

    fn stopped(
        &self,
        name: &str,
        watched: &Watched,
        before: &Before,
        steady: &Steady,
        silent: Duration,
        there: There,
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
            let holder = whose(&old, decision.rule, ends, is_watched).map(|device| device.name.as_str());
            if holder.is_some_and(|holder| holder != name && self.would_notice(holder, &kind)) {
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
        let is_cut_off = |end: &End| {
            old.device_at(end).is_some_and(|device| self.mode_of(&device.name) == Some(Mode::Quarantine))
        };
        if is_cut_off(&kind.from) || is_cut_off(&kind.to) {
            return Ok(None);
        }
        let rule = was.and_then(|decision| old.tables.rule(decision.rule));
        Ok(Some(Trip {
            device: name.to_owned(),
            of_mode: matches!(watched.change, Touched::Mode { .. }),
            trigger: Trigger::Stopped,
            kind,
            reason,
            rule: rule.map(placed),
            silent: Some((silent, steady.period)),
            gone: !there.device,
        }))
    }

    /// Whether a conversation is one of those for which a device itself is watched: its list has an end, and who is off notices nothing.
    fn would_notice(&self, device: &str, kind: &Kind) -> bool {
        let watched = self.watcher.kept.devices.get(device);
        watched.is_some_and(|watched| does_steadily(watched, kind))
            && !self.watcher.silent.contains(device)
            && !self.is_accepted(device, kind)
    }
}

/// When each device was last heard.
fn heard_by_name(heard: &BTreeMap<End, Moment>, before: &Before) -> BTreeMap<String, Moment> {
    let mut names: BTreeMap<String, Moment> = BTreeMap::new();
    for (end, at) in heard {
        let Some(device) = before.side().device_at(end) else { continue };
        let known = names.entry(device.name.clone()).or_insert(*at);
        *known = (*at).max(*known);
    }
    names
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use bulkhead_common::reason::Reason;

    use super::*;
    use crate::traffic::Service;

    #[test]
    fn one_that_is_excused_excuses_no_other() {
        let end = |last| End::at(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
        let kind = |from| Kind { from: end(from), to: end(9), service: Service { protocol: 6, number: 502 } };
        let trip = |from, reason| {
            let trip = Trip {
                device: "plc".to_owned(),
                of_mode: true,
                trigger: Trigger::Stopped,
                kind: kind(from),
                reason,
                rule: None,
                silent: None,
                gone: false,
            };
            (kind(from), Word::Trip(Box::new(trip)))
        };
        let denied = Some(Reason::ServiceNotAllowed);
        let told = |words: Vec<(Kind, Word)>| {
            sum_up(words)
                .map(|(kind, word)| (kind.from, matches!(word, Word::Trip(_)), matches!(word, Word::Excused)))
        };
        let excused = || (kind(1), Word::Excused);
        assert_eq!(told(vec![excused(), trip(2, denied)]), Some((end(2), true, false)));
        assert_eq!(told(vec![trip(3, None), excused(), trip(2, denied)]), Some((end(2), true, false)));
        assert_eq!(told(vec![(kind(4), Word::Absent), trip(3, None)]), Some((end(3), true, false)));
        assert_eq!(told(vec![(kind(4), Word::Absent), excused()]), Some((end(1), false, true)));
        assert_eq!(told(vec![(kind(4), Word::Absent)]), Some((end(4), false, false)));
        assert_eq!(told(vec![]), None);
    }
}
