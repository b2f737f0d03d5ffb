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
    changes::kept_failed,
    clock::clocks,
    heard::SharedBeats,
    policies::{self, Candidate},
};
use crate::{
    compile::{Host, Placed, Tables},
    control::Failure,
    dataplane::monotonic_ns,
    model::{Device, Mode, Policy},
    rollout::{Moment, Side},
    store::{Clocks, Overrides, Pointer, Store, Touched, WATCH, Watched, Watching},
};

mod accepted;
mod arm;
mod back;
mod denied;
mod silence;
mod story;
mod told;

pub(super) use back::WHO;
use story::Trip;

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
    /// Devices with a conversation that has stopped, and whose other end is not heard at all.
    excused: BTreeSet<String>,
    /// Devices that should have gone back and could not.
    failed: BTreeMap<(String, bool), Failed>,
    /// Devices of which something was dropped that the rules before allowed, or that they did steadily.
    harmed: BTreeSet<String>,
    /// The device whose watch is on the disk, and whose mode is about to be set.
    armed_mode: Option<String>,
    /// When suspects were last asked about.
    asked: Instant,
    /// How often something went back since the agent began.
    went_back: u64,
}

/// What could not go back, and is tried again.
struct Failed {
    /// From when on.
    again: Instant,
    trip: Trip,
    why: String,
}

impl Watcher {
    /// Goes on with what an earlier agent watched.
    pub(super) fn restore(
        store: &Store,
        pointer: &Pointer,
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
        let kept = still_watched(kept.unwrap_or_default(), pointer, &clocks());
        Self {
            kept,
            beats,
            since: BTreeMap::new(),
            before: BTreeMap::new(),
            silent: BTreeSet::new(),
            excused: BTreeSet::new(),
            failed: BTreeMap::new(),
            harmed: BTreeSet::new(),
            armed_mode: None,
            asked: Instant::now(),
            went_back: 0,
        }
    }

    /// Devices that are watched, those that went back since the agent began, and those of which nobody has taken note.
    pub(super) fn counts(&self) -> [u64; 3] {
        let count = |some: usize| u64::try_from(some).unwrap_or(u64::MAX);
        let more = self.kept.modes.keys().filter(|name| !self.kept.devices.contains_key(*name)).count();
        [count(self.kept.devices.len() + more), self.went_back, count(self.kept.unread().count())]
    }

    fn is_watching(&self) -> bool {
        !self.kept.devices.is_empty() || !self.kept.modes.is_empty()
    }

    /// Those that are watched after a change of policy, and those after a change of mode: a device may be both.
    fn all(&self) -> impl Iterator<Item = (&String, &Watched)> {
        self.kept.devices.iter().chain(&self.kept.modes)
    }

    /// The watch of a device after a change of one kind.
    fn watched(&self, device: &str, of_mode: bool) -> Option<&Watched> {
        if of_mode { self.kept.modes.get(device) } else { self.kept.devices.get(device) }
    }

    /// When the watch of a device begins, as beats count.
    fn now(&self) -> (Moment, u64) {
        let looks = self.beats.as_ref().map_or(0, |beats| beats.lock().looks());
        (Duration::from_secs(monotonic_ns() / 1_000_000_000), looks)
    }
}

impl Agent {
    /// Looks after those that are watched.
    pub(super) fn look_after_watch(&mut self) {
        self.end_watches();
        if !self.watcher.is_watching() {
            return;
        }
        self.try_again();
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
        for (name, watched) in self.watcher.all() {
            let (is_in_force, of_mode) = match &watched.change {
                Touched::Policy { number, .. } => {
                    let is_current =
                        *number <= self.pointer.current && !self.pointer.rolled_back.contains(number);
                    (is_current && self.mode_of(name) != Some(Mode::Quarantine), false)
                }
                Touched::Mode { .. } => (self.mode_of(name) == Some(Mode::Enforce), true),
            };
            let is_late = watched.deadline.left(&now).is_none();
            if is_in_force && is_late {
                if self.watcher.silent.contains(name) {
                    tracing::warn!(
                        "`{name}` was silent when its watch ended: whether the change suits it is not known"
                    );
                } else {
                    tracing::info!("`{name}` is watched no longer: nothing suffered, the change is kept");
                }
            }
            if is_late || !is_in_force {
                over.push((name.clone(), of_mode));
            }
        }
        self.forget_watches(over);
    }

    /// Ends watches, and writes that down.
    fn forget_watches(&mut self, over: Vec<(String, bool)>) {
        if over.is_empty() {
            return;
        }
        for (name, of_mode) in over {
            self.forget_watch(&name, of_mode);
        }
        self.keep_watch();
    }

    /// The policy is another one by hand: whoever did that has looked at what was changed before.
    pub(super) fn end_watches_of_policy(&mut self) {
        let names = self.watcher.kept.devices.keys();
        let over = names.map(|name| (name.clone(), false)).collect();
        self.forget_watches(over);
    }

    fn forget_watch(&mut self, name: &str, of_mode: bool) {
        let kept = &mut self.watcher.kept;
        drop(if of_mode { kept.modes.remove(name) } else { kept.devices.remove(name) });
        if !kept.devices.contains_key(name) && !kept.modes.contains_key(name) {
            self.watcher.since.remove(name);
            self.watcher.silent.remove(name);
            self.watcher.excused.remove(name);
            self.watcher.harmed.remove(name);
        }
        if self.watcher.failed.remove(&(name.to_owned(), of_mode)).is_some() {
            self.warn_of_failed();
        }
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
        Ok(self.remember_before(number, Before { policy, tables: Arc::new(tables) }))
    }

    /// What is in force; a mode changes no verdict, so what it was while another one was set says the same.
    fn before_now(&mut self) -> Result<Arc<Before>, Failure> {
        let number = self.pointer.current;
        if let Some(known) = self.watcher.before.get(&number) {
            return Ok(Arc::clone(known));
        }
        let Some(applied) = self.dataplane.applied() else { return Err(world("no policy is in force")) };
        let before = Before { policy: self.in_force.policy.clone(), tables: Arc::clone(&applied.tables) };
        Ok(self.remember_before(number, before))
    }

    /// Remembers it beside those that somebody is watched for.
    fn remember_before(&mut self, number: u64, before: Before) -> Arc<Before> {
        let before = Arc::new(before);
        let Watcher { before: known, kept, .. } = &mut self.watcher;
        let used: BTreeSet<u64> = kept.devices.values().filter_map(denied::policy_before).collect();
        let current = self.pointer.current;
        known.retain(|number, _| *number == current || used.contains(number));
        known.insert(number, Arc::clone(&before));
        before
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

/// Who is still watched at a start: not for a change that never came in force. Deadlines are those of this boot.
fn still_watched(mut kept: Watching, pointer: &Pointer, now: &Clocks) -> Watching {
    if let Some(armed) = kept.armed.take()
        && armed.number > pointer.last
    {
        kept.devices = armed.former;
    }
    for watched in kept.devices.values_mut().chain(kept.modes.values_mut()) {
        // One that is over is told of with the first look.
        watched.deadline = watched.deadline.carried_over(now).unwrap_or_else(|| watched.deadline.clone());
    }
    kept
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
