//! Watches devices after a change: when legitimate traffic of one suffers, it goes back to what it had before ([`back`]).
//!
//! In: what the kernel drops ([`super::suspects`]), what devices do steadily ([`super::heard`]), changes of policy and mode. Out: trips,
//! each with its story. Two things trip: a packet was dropped that the rules before the change allowed ([`denied`]), and a conversation
//! that was steady before it is not answered any more ([`silence`]). Who is watched, until when, and for what, is on the disk before the
//! change is acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    agent::{Agent, world},
    changes::{Change, kept_failed},
    clock::clocks,
    heard::SharedBeats,
    policies::{self, Candidate},
    trail::Act,
};
use crate::{
    compile::{Host, Placed, Tables},
    config::duration::spell,
    control::{Applied, Failure},
    dataplane::monotonic_ns,
    diagnostic::counted,
    model::{Device, Mode, Policy},
    rollout::{Moment, Side, touched},
    store::{
        Deadline, KeptBeat, MOST_BEATS, Override, Overrides, Store, Touched, WATCH, Watched, Watching, Who,
    },
};

mod back;
mod denied;
mod silence;
mod story;
mod told;

/// What was in force before a change.
pub(super) struct Before {
    pub(super) policy: Policy,
    pub(super) tables: Arc<Tables>,
}

impl Before {
    fn side(&self) -> Side<'_> {
        Side { policy: &self.policy, tables: &self.tables }
    }
}

/// Who is watched.
pub(super) struct Watcher {
    pub(super) kept: Watching,
    /// None where no history is kept: then nobody looks at conversations.
    beats: Option<SharedBeats>,
    /// When this agent began to watch each device, and after how many looks.
    since: BTreeMap<String, (Moment, u64)>,
    /// By the number of the revision.
    before: BTreeMap<u64, Arc<Before>>,
    /// Devices that are not heard at all, and of which nothing was dropped.
    silent: BTreeSet<String>,
    /// Devices that should have gone back and could not: when it is tried again.
    failed: BTreeMap<String, Instant>,
    /// When suspects were last asked about.
    asked: Instant,
    /// How often something went back since the agent began.
    went_back: u64,
}

/// A change that is watched once it is made.
pub(super) struct Armed {
    former: Watching,
    number: u64,
    before: Arc<Before>,
    names: BTreeSet<String>,
    time: Duration,
}

impl Watcher {
    /// Goes on with what an earlier agent watched.
    pub(super) fn restore(
        store: &Store,
        beats: Option<SharedBeats>,
        warnings: &mut BTreeMap<&'static str, String>,
    ) -> Self {
        let kept = store.load::<Watching>(WATCH).unwrap_or_else(|error| {
            let note = format!(
                "which devices were watched after a change is lost, and they are not any more: {error}"
            );
            tracing::error!("{note}");
            warnings.insert("watch", note);
            None
        });
        Self {
            kept: kept.unwrap_or_default(),
            beats,
            since: BTreeMap::new(),
            before: BTreeMap::new(),
            silent: BTreeSet::new(),
            failed: BTreeMap::new(),
            asked: Instant::now(),
            went_back: 0,
        }
    }

    /// Devices that are watched, those that went back since the agent began, and those of which nobody has taken note.
    pub(super) fn counts(&self) -> [u64; 3] {
        let count = |some: usize| u64::try_from(some).unwrap_or(u64::MAX);
        [count(self.kept.devices.len()), self.went_back, count(self.kept.unread().count())]
    }

    fn is_watching(&self) -> bool {
        !self.kept.devices.is_empty()
    }

    /// When the watch of a device begins, as beats count.
    fn now(&self) -> (Moment, u64) {
        let looks = self.beats.as_ref().map_or(0, |beats| beats.lock().looks());
        (Duration::from_secs(monotonic_ns() / 1_000_000_000), looks)
    }
}

impl Agent {
    /// Brings a candidate in force, and watches whom it touches.
    pub(super) fn take_over_watched(
        &mut self,
        act: &mut Act,
        change: Change,
        by: &Who,
        watch: Option<Duration>,
    ) -> Result<Applied, Failure> {
        let armed = self.arm_watch(&change.candidate, watch.unwrap_or(self.config.rollout.watch))?;
        let ended = self.take_over(act, change, by);
        match (ended, armed) {
            (Ok(mut applied), Some(armed)) => {
                self.begin_watch(armed, &mut applied);
                Ok(applied)
            }
            (Err(failure), Some(armed)) => {
                self.watcher.kept = armed.former;
                self.keep_watch();
                Err(failure)
            }
            (ended, None) => ended,
        }
    }

    /// Writes down whom a change will touch. An agent that is killed right after the change goes on watching. Whoever changes the policy again
    /// has looked at what he changed before, and may mean to take something away: that is watched no longer.
    fn arm_watch(&mut self, candidate: &Candidate, time: Duration) -> Result<Option<Armed>, Failure> {
        let before = self.pointer.current;
        let Some(applied) = self.dataplane.applied() else { return Ok(None) };
        if before == 0 || candidate.layers == self.in_force.layers {
            return Ok(None);
        }
        let tables = Arc::clone(&applied.tables);
        let mut names = BTreeSet::new();
        if !time.is_zero() {
            names = touched(&self.in_force.policy, &candidate.policy);
        }
        // Who is cut off, or is to be, has nothing that could be broken.
        let is_to_be = |name: &str| {
            candidate.policy.device(name).is_some_and(|(_, device)| device.mode == Mode::Quarantine)
        };
        names.retain(|name| self.mode_of(name) != Some(Mode::Quarantine) && !is_to_be(name));
        let former = self.watcher.kept.clone();
        self.watcher.kept.devices.retain(|_, watched| matches!(watched.change, Touched::Mode { .. }));
        if names.is_empty() && self.watcher.kept.devices.len() == former.devices.len() {
            return Ok(None);
        }
        let number = match self.store.next_number(&self.pointer) {
            Ok(number) => number,
            Err(error) => {
                self.watcher.kept = former;
                return Err(kept_failed(error));
            }
        };
        let old = Arc::new(Before { policy: self.in_force.policy.clone(), tables });
        let mut steady = self.steady_of(&old, &names);
        let deadline = Deadline::after(time, &clocks());
        for name in &names {
            let watched = Watched {
                since: jiff::Timestamp::now(),
                deadline: deadline.clone(),
                change: Touched::Policy { number, before, touched: names.len() },
                steady: steady.remove(name).unwrap_or_default(),
            };
            self.watcher.kept.devices.insert(name.clone(), watched);
        }
        if let Err(error) = self.store.save(WATCH, &self.watcher.kept) {
            self.watcher.kept = former;
            return Err(kept_failed(error));
        }
        Ok(Some(Armed { former, number, before: old, names, time }))
    }

    fn begin_watch(&mut self, armed: Armed, applied: &mut Applied) {
        let Armed { former, number, before, names, time } = armed;
        for name in former.devices.keys().filter(|name| !self.watcher.kept.devices.contains_key(*name)) {
            tracing::info!("`{name}` is watched no longer: the policy was changed again");
            self.watcher.since.remove(name);
            self.watcher.silent.remove(name);
            self.watcher.failed.remove(name);
        }
        self.watcher.before.clear();
        let first = names.first().and_then(|name| self.watcher.kept.devices.get(name));
        let Some(Touched::Policy { before: back_to, .. }) = first.map(|watched| &watched.change) else {
            self.reporter.suspects.watch(self.watcher.is_watching(), true);
            return;
        };
        self.watcher.before.insert(*back_to, before);
        let now = self.watcher.now();
        for name in &names {
            self.watcher.since.insert(name.clone(), now);
            self.watcher.silent.remove(name);
        }
        self.reporter.suspects.watch(true, true);
        let who = counted(names.len(), "device");
        tracing::info!(number, devices = names.len(), "watched for {}", spell(time));
        applied.notes.push(format!(
            "{who} watched for {}: one of which traffic suffers goes back by itself (`bulkhead rollout`)",
            spell(time)
        ));
        if self.watcher.beats.is_none() {
            applied.notes.push(
                "no history is kept (`[history]`): conversations that stop without a denied packet are not noticed"
                    .to_owned(),
            );
        }
    }

    /// What devices do steadily, by their names.
    pub(super) fn steady_of(
        &self,
        before: &Before,
        names: &BTreeSet<String>,
    ) -> BTreeMap<String, Vec<KeptBeat>> {
        let mut found: BTreeMap<String, Vec<KeptBeat>> = BTreeMap::new();
        let Some(beats) = &self.watcher.beats else { return found };
        let mut steady = beats.lock().steady(|_| true);
        // Of very many those that tell soonest.
        steady.sort_by_key(|one| one.period);
        for one in &steady {
            let ends: BTreeSet<&str> = [&one.kind.from, &one.kind.to]
                .into_iter()
                .filter_map(|end| before.side().device_at(end))
                .map(|device| device.name.as_str())
                .collect();
            for name in ends.into_iter().filter(|name| names.contains(*name)) {
                let list = found.entry(name.to_owned()).or_default();
                if list.len() < MOST_BEATS {
                    list.push(KeptBeat::of(one));
                }
            }
        }
        found
    }

    /// A device's mode was set by hand, or released: `to` is what it is now, `from` what it was, and `before` what was set by hand then.
    pub(super) fn mode_was_set(
        &mut self,
        device: &str,
        (from, to): (Option<Mode>, Option<Mode>),
        before: Option<Override>,
        watch: Option<Duration>,
        applied: &mut Applied,
    ) {
        let time = watch.unwrap_or(self.config.rollout.watch);
        let known = self.watcher.kept.devices.get(device).map(|watched| &watched.change);
        let is_over = matches!(known, Some(Touched::Mode { .. })) || to == Some(Mode::Quarantine);
        let removed = is_over && self.watcher.kept.devices.contains_key(device);
        if removed {
            self.forget_watch(device);
        }
        let begins = !time.is_zero()
            && self.pointer.current != 0
            && (from, to) == (Some(Mode::Monitor), Some(Mode::Enforce));
        if begins && let Some(now) = self.dataplane.applied() {
            let names = BTreeSet::from([device.to_owned()]);
            let here = Before { policy: self.in_force.policy.clone(), tables: Arc::clone(&now.tables) };
            let steady = self.steady_of(&here, &names).remove(device).unwrap_or_default();
            let watched = Watched {
                since: jiff::Timestamp::now(),
                deadline: Deadline::after(time, &clocks()),
                change: Touched::Mode { from: Mode::Monitor, before },
                steady,
            };
            self.watcher.kept.devices.insert(device.to_owned(), watched);
            let now = self.watcher.now();
            self.watcher.since.insert(device.to_owned(), now);
            self.watcher.silent.remove(device);
            self.reporter.suspects.watch(true, true);
            applied.notes.push(format!(
                "`{device}` is watched for {}: if what it does steadily stops, it goes back to monitor by itself (`bulkhead rollout`)",
                spell(time)
            ));
        }
        if removed || begins {
            self.keep_watch();
        }
    }

    /// Looks after those that are watched.
    pub(super) fn look_after_watch(&mut self) {
        self.end_watches();
        if !self.watcher.is_watching() {
            return;
        }
        self.ask_about_suspects();
        self.look_for_silence();
    }

    /// Ends what is over: by its time, because its change was taken back, or because the device is cut off.
    fn end_watches(&mut self) {
        if !self.watcher.is_watching() {
            return;
        }
        // After a start nobody has told it yet.
        self.reporter.suspects.watch(true, false);
        let now = clocks();
        let mut over = Vec::new();
        for (name, watched) in &self.watcher.kept.devices {
            let is_in_force = match &watched.change {
                Touched::Policy { number, .. } => {
                    *number <= self.pointer.current
                        && !self.pointer.rolled_back.contains(number)
                        && self.mode_of(name) != Some(Mode::Quarantine)
                }
                Touched::Mode { .. } => self.mode_of(name) == Some(Mode::Enforce),
            };
            if !is_in_force {
                over.push(name.clone());
            } else if watched.deadline.left(&now).is_none() {
                if self.watcher.silent.contains(name) {
                    tracing::warn!(
                        "`{name}` was silent when its watch ended: whether the change suits it is not known"
                    );
                } else {
                    tracing::info!("`{name}` is watched no longer: nothing suffered, the change is kept");
                }
                over.push(name.clone());
            }
        }
        if over.is_empty() {
            return;
        }
        for name in &over {
            self.forget_watch(name);
        }
        self.keep_watch();
    }

    fn forget_watch(&mut self, name: &str) {
        self.watcher.kept.devices.remove(name);
        self.watcher.since.remove(name);
        self.watcher.silent.remove(name);
        self.watcher.failed.remove(name);
        if !self.watcher.is_watching() {
            self.watcher.before.clear();
            self.reporter.suspects.watch(false, false);
        }
    }

    /// Puts on the disk who is watched. What cannot be written is a warning: this agent knows it all the same.
    fn keep_watch(&mut self) {
        match self.store.save(WATCH, &self.watcher.kept) {
            Ok(()) => drop(self.warnings.remove("watch")),
            Err(error) => {
                let note = format!(
                    "which devices are watched would not survive a restart of the agent: {}",
                    error.caused()
                );
                tracing::error!("{note}");
                self.warnings.insert("watch", note);
            }
        }
    }

    /// What was in force under a number; compiled anew after a start.
    fn before(&mut self, number: u64) -> Result<Arc<Before>, Failure> {
        if let Some(known) = self.watcher.before.get(&number) {
            return Ok(Arc::clone(known));
        }
        let record = self.record_of(number)?;
        let layers = self.store.texts(&record).map_err(world)?;
        // Whoever was cut off then is not asked about.
        let Candidate { policy, tables, .. } =
            policies::prepare(layers, &Overrides::default(), &self.limits).map_err(world)?;
        let before = Arc::new(Before { policy, tables: Arc::new(tables) });
        self.watcher.before.insert(number, Arc::clone(&before));
        Ok(before)
    }

    /// Hosts of tables: where an interface is, or everywhere.
    fn hosts<'t>(&self, tables: &'t Tables, ifindex: Option<u32>) -> Result<Vec<Host<'t>>, Failure> {
        let deadlines = tables.deadlines(jiff::Timestamp::now(), monotonic_ns());
        let base = self.config.management.pin(Placed {
            settings: bulkhead_common::layout::Settings {
                adopt_until: 0,
                flow_cap: 0,
                ..self.dataplane.settings().map_err(world)?
            },
            gateway: self.nics.addresses.clone(),
            segments: self.config.segment_ids(),
            trusted: self.trusted_hosts(),
            named: self.names.rows(tables, &deadlines).into_iter().collect(),
            deadlines,
            ..Placed::default()
        });
        let nic = ifindex
            .and_then(|index| self.nics.list.iter().find(|nic| nic.indexes().any(|known| known == index)));
        let places: Vec<Placed> = match nic {
            Some(nic) => {
                let rows = || nic.segments.iter().map(|(id, segment)| (segment.vlan, segment.row(*id)));
                let own = rows().find(|(vlan, _)| vlan.is_none()).map(|(_, row)| row).unwrap_or_default();
                let vlans = rows().filter_map(|(vlan, row)| Some((vlan?, row))).collect();
                vec![Placed { segment: own, vlans, ..base }]
            }
            None => {
                let alike = self.config.alike().into_iter();
                alike.map(|(_, segment)| Placed { segment, ..base.clone() }).collect()
            }
        };
        let hosts = places.into_iter().map(|placed| {
            let host = Host::new(tables, placed);
            host.set_now(monotonic_ns());
            host
        });
        Ok(hosts.collect())
    }
}

/// Whose rule let a conversation begin: the end in whose name it stands, or else who answers, or who began; of those that are watched.
fn whose<'p>(
    side: &Side<'p>,
    rule: u32,
    ends: [Option<&'p Device>; 2],
    is_watched: impl Fn(&str) -> bool,
) -> Option<&'p Device> {
    let holder = side.tables.rule(rule).map(|rule| rule.holder.as_str()).unwrap_or_default();
    let is_holder = |device: &Device| {
        let class = device.class.map(|class| format!("class {}", side.policy.classes[class.0 as usize].name));
        holder == format!("device {}", device.name) || class.as_deref() == Some(holder)
    };
    let [from, to] = ends;
    let watched = || [to, from].into_iter().flatten().filter(|device| is_watched(&device.name));
    watched().find(|device| is_holder(device)).or_else(|| watched().next())
}
