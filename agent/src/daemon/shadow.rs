//! The shadow: a proposed policy that is judged beside the one in force on what really happens, without touching a packet.
//!
//! In: its texts, checked as `apply` checks them; what the thread of the history sees ([`judge`]). Out: what would break and what would open
//! ([`told`]). The loop keeps the texts on the disk and says how the gateway stands; a thread of its own does the judging.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{self, Receiver, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bulkhead_common::layout::Settings;

use super::{
    agent::{Agent, refused, user, world},
    changes::{PATH_BYTES, kept_failed},
    ourselves::not_ourselves,
    plan::known_segments,
    policies::{self, Gate, Passed},
    trail::{Act, plain, sayable},
};
use crate::{
    compile::{Placed, Tables},
    control::{Applied, Failure},
    policy::SourceFile,
    replay::Place,
    store::{KeptShadow, Overrides, SHADOW, TextLayer, Who, audit::Action},
};

mod judge;
mod told;

use judge::{Both, World};
pub(super) use judge::{ShadowTeller, SharedShadow};

/// How often the thread is told how the gateway stands: learned names, its own addresses.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// The proposed policy.
#[derive(Default)]
pub(super) struct ShadowKeeper {
    /// None where no history is kept: nobody sees anything.
    shared: Option<SharedShadow>,
    thread: Option<JoinHandle<()>>,
    kept: Option<KeptShadow>,
    /// Its texts, compiled or not.
    layer: Option<TextLayer>,
    /// The modes set by hand that it was compiled with.
    overrides: Overrides,
    made: Option<Both>,
    /// What comes of it when it is being compiled.
    making: Option<Receiver<Result<Both, String>>>,
    /// The policy in force as the thread has it.
    in_force: Option<Both>,
    epoch: u64,
    told: Option<Instant>,
    /// Why it is not judged.
    problem: Option<String>,
}

impl ShadowKeeper {
    /// None is set yet.
    pub(super) fn new(shared: Option<SharedShadow>) -> Self {
        Self { shared, ..Self::default() }
    }

    /// What is said while it is compiled.
    fn is_making(&self) -> Option<String> {
        self.making.as_ref().map(|_| "it is being compiled, and judged in a moment".to_owned())
    }

    /// Whoever judges has failed, or never was.
    fn has_no_judge(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// What `apply` takes, for the shadow.
pub(super) struct WantedShadow {
    pub(super) files: Option<Vec<SourceFile>>,
    pub(super) from: Option<String>,
    pub(super) reason: Option<String>,
}

impl Agent {
    /// Judges a policy beside the one in force.
    pub(super) fn set_shadow(&mut self, wanted: WantedShadow, by: &Who) -> Result<Applied, Failure> {
        let from = match (&wanted.files, &wanted.from) {
            (None, _) => self.config.policy.display().to_string(),
            (Some(_), from) => from.clone().unwrap_or_else(|| "-".to_owned()),
        };
        let mut act = self.act(Action::ShadowSet, by, Some(from.clone()), wanted.reason.clone());
        let ended = self.try_set_shadow(&mut act, wanted, from, by);
        self.conclude(act, ended)
    }

    fn try_set_shadow(
        &mut self,
        act: &mut Act,
        wanted: WantedShadow,
        from: String,
        by: &Who,
    ) -> Result<Applied, Failure> {
        let WantedShadow { files, from: _, reason } = wanted;
        sayable(reason.as_deref())?;
        plain("the path the policy comes from", &from, PATH_BYTES)?;
        for file in files.iter().flatten() {
            plain("the path of a file", &file.path, PATH_BYTES)?;
        }
        // Signed as `apply` wants it, but for the age of a set: to look at it is no harm.
        let gate = Gate { signing: &self.config.signing, accepted: None, in_force: None, allow_older: true };
        let read = match files {
            Some(files) => policies::from_pushed(files, &gate),
            None => policies::from_path(&self.config.policy, &gate),
        };
        let made = read.and_then(|Passed { files, signed, accepted: _, notes }| {
            let candidate = policies::prepare(policies::whole(files), &self.overrides, &self.limits)?;
            Ok((not_ourselves(candidate)?, signed, notes))
        });
        let (candidate, signed, notes) = made.map_err(|error| refused(&error, &self.revision()))?;
        let segments: Vec<String> = self.config.segment_ids().into_keys().collect();
        known_segments(&candidate.tables, &segments)?;
        let policies::Candidate { layers, policy, tables, doubts } = candidate;
        let Some(layer) = layers.into_iter().next() else { return Err(user("no policy file came along")) };
        let revision = tables.revision.to_string();
        self.begin(act, self.revision())?;
        let kept = KeptShadow {
            since: jiff::Timestamp::now(),
            by: by.clone(),
            from,
            reason,
            signed: signed.as_ref().map(ToString::to_string),
            digest: String::new(),
            files: Vec::new(),
        };
        let kept = kept.sealed(&layer);
        self.store.save(SHADOW, &kept).map_err(kept_failed)?;
        let warnings = doubts.told(&policy) + &notes;
        let both = Both { policy: Arc::new(policy), tables: Arc::new(tables) };
        let mut applied = Applied { revision: self.revision(), warnings, ..Applied::default() };
        applied.notes.push(format!(
            "revision {revision} is judged beside the one in force from now on, and touches no packet: `bulkhead shadow` tells what differs"
        ));
        if Some(both.tables.revision) == self.dataplane.applied().map(|applied| applied.tables.revision) {
            applied.notes.push("it means the same as the policy in force: nothing can differ".to_owned());
        }
        if self.shadow.shared.is_none() {
            applied.notes.push(NOTHING_IS_SEEN.to_owned());
        }
        self.shadow.kept = Some(kept);
        self.warnings.remove("shadow");
        self.shadow.layer = Some(layer);
        self.shadow.overrides = self.overrides.clone();
        self.judge_shadow(both);
        Ok(applied)
    }

    /// Ends it.
    pub(super) fn clear_shadow(&mut self, reason: Option<String>, by: &Who) -> Result<Applied, Failure> {
        let target = self.shadow.kept.as_ref().map(|kept| kept.from.clone());
        let mut act = self.act(Action::ShadowClear, by, target, reason.clone());
        let ended = sayable(reason.as_deref()).and_then(|()| {
            let is_lost = self.warnings.contains_key("shadow");
            if self.shadow.kept.is_none() && !is_lost {
                return Err(user("no shadow is set\nhint: `bulkhead shadow set PATH` sets one"));
            }
            self.begin(&mut act, self.revision())?;
            self.store.remove(SHADOW).map_err(kept_failed)?;
            self.leave_shadow();
            let notes = vec!["the shadow is judged no longer".to_owned()];
            Ok(Applied { revision: self.revision(), notes, ..Applied::default() })
        });
        self.conclude(act, ended)
    }

    /// Goes on with the one that an earlier agent judged.
    pub(super) fn restore_shadow(&mut self) {
        let kept = match self.store.load::<KeptShadow>(SHADOW) {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(error) => return self.lost_shadow(&error.caused()),
        };
        let Some(layer) = kept.texts() else { return self.lost_shadow("its texts are not what was written") };
        self.shadow.kept = Some(kept);
        self.make_shadow(layer);
    }

    fn lost_shadow(&mut self, why: &str) {
        let note = format!(
            "the shadow is lost, and is judged no longer: {why}\nhint: `bulkhead shadow set PATH` sets it again, `bulkhead shadow clear` forgets it"
        );
        tracing::error!("{note}");
        self.warnings.insert("shadow", note);
    }

    /// Compiles it on a thread of its own; until that is done nothing is compared.
    fn make_shadow(&mut self, layer: TextLayer) {
        self.shadow.shared.iter().for_each(SharedShadow::leave);
        policies::leave(self.shadow.made.take());
        self.shadow.problem = None;
        self.shadow.layer = Some(layer.clone());
        self.shadow.overrides = self.overrides.clone();
        let (overrides, limits) = (self.overrides.clone(), self.limits);
        let (told, making) = mpsc::channel();
        let begun = thread::Builder::new().name("shadow-compile".to_owned()).spawn(move || {
            let made = match policies::prepare(vec![layer], &overrides, &limits) {
                Ok(policies::Candidate { policy, tables, .. }) => {
                    Ok(Both { policy: Arc::new(policy), tables: Arc::new(tables) })
                }
                Err(error) => Err(policies::one_line(&error.to_string())),
            };
            // Another one may have been set meanwhile.
            drop(told.send(made));
        });
        match begun {
            Ok(_) => self.shadow.making = Some(making),
            Err(error) => self.shadow_failed(format!("no thread can be begun for it: {error}")),
        }
    }

    /// It cannot be compiled; the next mode that is set by hand may help.
    fn shadow_failed(&mut self, why: String) {
        tracing::error!("the shadow cannot be judged: {why}");
        self.shadow.making = None;
        self.shadow.problem = Some(why);
    }

    fn judge_shadow(&mut self, both: Both) {
        self.shadow.made = Some(both);
        self.shadow.making = None;
        self.shadow.problem = None;
        self.shadow.epoch += 1;
        self.shadow.told = None;
        self.look_after_shadow();
    }

    fn leave_shadow(&mut self) {
        self.warnings.remove("shadow");
        self.shadow.shared.iter().for_each(SharedShadow::leave);
        let (shared, thread, epoch) =
            (self.shadow.shared.take(), self.shadow.thread.take(), self.shadow.epoch);
        let left =
            std::mem::replace(&mut self.shadow, ShadowKeeper { shared, thread, epoch, ..Default::default() });
        policies::leave(left);
    }

    /// A policy came in force for good: the shadow ends where it is that one.
    pub(super) fn shadow_after(&mut self, mut applied: Applied) -> Applied {
        let Some(layer) = &self.shadow.layer else { return applied };
        let is_it = match &self.in_force.layers[..] {
            [one] => one.only.is_empty() && texts(one) == texts(layer),
            _ => false,
        };
        if !is_it || self.pointer.pending.is_some() {
            return applied;
        }
        let from = self.shadow.kept.as_ref().map(|kept| kept.from.clone());
        match self.store.remove(SHADOW) {
            Ok(()) => {
                self.leave_shadow();
                applied.notes.push("the shadow has come in force, and is one no longer".to_owned());
                self.did(Action::ShadowClear, "apply", from, Some("it came in force".to_owned()));
            }
            Err(error) => applied.notes.push(format!("the shadow stays, although it is in force: {error}")),
        }
        applied
    }

    /// Tells the thread how the gateway stands.
    pub(super) fn look_after_shadow(&mut self) {
        if let Some(making) = &self.shadow.making {
            match making.try_recv() {
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.shadow_failed("whoever compiled it has failed".to_owned())
                }
                Ok(Err(why)) => self.shadow_failed(why),
                Ok(Ok(both)) if self.shadow.overrides == self.overrides => return self.judge_shadow(both),
                // Another mode was set meanwhile.
                Ok(Ok(both)) => policies::leave(both),
            }
        }
        if self.shadow.overrides != self.overrides
            && let Some(layer) = self.shadow.layer.clone()
        {
            return self.make_shadow(layer);
        }
        if self.shadow.made.is_none() {
            return;
        }
        let Some(applied) = self.dataplane.applied() else { return };
        let is_known =
            self.shadow.in_force.as_ref().is_some_and(|known| Arc::ptr_eq(&known.tables, &applied.tables));
        if is_known && self.shadow.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return;
        }
        let Some(shared) = self.shadow.shared.clone() else { return };
        if !is_known {
            let revision = |both: &Both| both.tables.revision;
            if self.shadow.in_force.as_ref().map(revision) != Some(applied.tables.revision) {
                self.shadow.epoch += 1;
            }
            let policy = Arc::new(self.in_force.policy.clone());
            self.shadow.in_force = Some(Both { policy, tables: Arc::clone(&applied.tables) });
        }
        self.shadow.told = Some(Instant::now());
        let (Some(now), Some(made)) = (self.shadow.in_force.clone(), &self.shadow.made) else { return };
        let then = made.clone();
        let placed = match self.shadow_placed([&now.tables, &then.tables]) {
            Ok(placed) => placed,
            Err(failure) => {
                return tracing::error!("the shadow is judged as the gateway stood: {}", failure.message);
            }
        };
        let places = self.config.interfaces.iter().map(|interface| {
            let rows: Vec<_> = self.config.segments_on(&interface.name);
            let rows = || rows.iter().map(|(id, segment)| (segment.vlan, segment.row(*id)));
            let own = rows().find(|(vlan, _)| vlan.is_none()).map(|(_, row)| row);
            let vlans = rows().filter_map(|(vlan, row)| Some((vlan?, row))).collect();
            Place { segment: own.unwrap_or_default(), vlans, anywhere: false }
        });
        let world = World {
            epoch: self.shadow.epoch,
            now,
            then,
            placed,
            places: places.collect(),
            clock_is_wrong: self.calendar.is_wrong(jiff::Timestamp::now()),
        };
        shared.compare(world);
        if self.shadow.has_no_judge() {
            match shared.begin() {
                Ok(thread) => {
                    self.shadow.thread = Some(thread);
                    self.shadow.problem = None;
                }
                Err(error) => self.shadow.problem = Some(format!("no thread can be begun for it: {error}")),
            }
        }
    }

    /// Where packets meet tables, as the gateway stands now.
    fn shadow_placed(&self, tables: [&Tables; 2]) -> Result<[Placed; 2], Failure> {
        let settings = Settings { adopt_until: 0, flow_cap: 0, ..self.dataplane.settings().map_err(world)? };
        let base = self.config.management.pin(Placed {
            settings,
            gateway: self.nics.addresses.clone(),
            broadcasts: self.names.broadcasts().clone(),
            segments: self.config.segment_ids(),
            trusted: self.trusted_hosts(),
            ..Placed::default()
        });
        let (now, up) = (jiff::Timestamp::now(), crate::dataplane::monotonic_ns());
        Ok(tables.map(|tables| {
            let named = match tables.named.is_empty() {
                true => BTreeMap::new(),
                false => self.names.rows(tables, &tables.deadlines(now, up)).into_iter().collect(),
            };
            Placed { named, ..base.clone() }
        }))
    }
}

const NOTHING_IS_SEEN: &str =
    "no history is kept (`[history]`): nobody sees conversations, so nothing is compared";

/// What the files say, wherever they were read.
fn texts(layer: &TextLayer) -> Vec<&str> {
    let mut texts: Vec<&str> = layer.files.iter().map(|file| file.text.as_str()).collect();
    texts.sort_unstable();
    texts
}
