//! The agent's state and what each input does to it.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use bulkhead_common::layout::Event;
use tokio::sync::{Semaphore, broadcast};

use super::{
    calendar::Calendar,
    changes::{Wanted, millis},
    clock::counters,
    drift::Watch,
    first::{Beginning, First},
    history::HistoryKeeper,
    hits::HitKeeper,
    input::Input,
    inventory::InventoryKeeper,
    leases::LeaseKeeper,
    names::NameKeeper,
    nics::Nics,
    pace::Pace,
    policies::{Candidate, Maker, Origin, Refused},
    receivers::Receivers,
    refusals::Refusals,
    report::Reporter,
    rollback::{FailedReturn, Former},
    routes::Settling,
    series::Series,
    shadow::ShadowKeeper,
    stages::{self, Trials},
    start::{StartError, runtime, sizes},
    watch::Watcher,
};
use crate::{
    compile::{Limits, Tables},
    config::Config,
    control::Failure,
    dataplane::{
        Applied, Dataplane, DataplaneError, EventReader, LinkNews, Pins, PinsLock, SampleReader, monotonic_ns,
    },
    model::Policy,
    observe::Teller,
    record::Record,
    store::{
        OVERRIDES, Overrides, Pointer, Stages, Store, TextLayer, Who,
        audit::{Action, Bounds, Trail},
    },
};

/// How often NICs and addresses are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a look at the counters waits for processors that have counted something and do not let the agent run.
const COUNTED_WITHIN: Duration = Duration::from_millis(100);
/// How old they may be before that is told.
const COUNTS_ARE_OLD: Duration = Duration::from_secs(5);
/// Counters are numbered from 1; number 0 is for packets of no device, and allowed by no rule.
pub(super) const NOBODY: u32 = 1;
/// Bytes of one event in the ring: its header of 8 (`BPF_RINGBUF_HDR_SZ`) and the event.
const EVENT_BYTES: usize = 8 + size_of::<Event>();

/// What is in force.
pub(super) struct InForce {
    pub(super) layers: Vec<TextLayer>,
    pub(super) policy: Policy,
    pub(super) origin: Origin,
    /// The path that it was read from.
    pub(super) from: String,
}

/// The running agent.
pub struct Agent {
    pub(super) config: Config,
    pub(super) gateway: String,
    pub(super) since: String,
    pub(super) dataplane: Dataplane,
    pub(super) nics: Nics,
    pub(super) overrides: Overrides,
    pub(super) in_force: InForce,
    pub(super) reporter: Reporter,
    /// Problems that stay until mended, by subject.
    pub(super) warnings: std::collections::BTreeMap<&'static str, String>,
    /// Why the configured files cannot be used.
    pub(super) unusable_files: Option<String>,
    pub(super) store: Store,
    /// Which kept revision is in force; number 0 when it could not be kept.
    pub(super) pointer: Pointer,
    pub(super) trail: Trail,
    /// Entries of the trail that could not be written.
    pub(super) missed: u64,
    pub(super) refusals: Refusals,
    /// What comes back without a confirmation, while one is awaited: the disk may not have it any more then.
    pub(super) former: Option<Former>,
    /// The return that failed last.
    pub(super) return_failed: Option<FailedReturn>,
    /// Held for as long as the agent lives.
    _pins: Option<PinsLock>,
    pub(super) limits: Limits,
    pub(super) maker: Maker,
    /// Whether the first change after the start was made as quick as the others.
    rehearsed: bool,
    pub(super) looked: Instant,
    /// What was heard of interfaces since the start.
    pub(super) link_news: LinkNews,
    /// The same of routes and neighbours, where it matters.
    pub(super) route_news: LinkNews,
    /// When ways are forgotten once more.
    pub(super) settling: Settling,
    /// When events and repeats are taken.
    pace: Pace,
    /// Where receivers are that sinks name.
    pub(super) receivers: Receivers,
    pub(super) leases: LeaseKeeper,
    pub(super) names: NameKeeper,
    /// One place: a plan takes memory and a processor.
    pub(super) planning: Arc<Semaphore>,
    /// The same for a look at all flows.
    pub(super) reading: Arc<Semaphore>,
    /// Flows that made room, as metrics were told last.
    pub(super) flows_evicted: Arc<AtomicU64>,
    /// Who has series of its own in the metrics.
    pub(super) series: Arc<Mutex<Series>>,
    pub(super) hits: HitKeeper,
    /// Who talks to whom, where that is remembered.
    pub(super) history: Option<HistoryKeeper>,
    /// Who says what of himself, where that is heard.
    pub(super) inventory: Option<InventoryKeeper>,
    pub(super) calendar: Calendar,
    pub(super) drift: Watch,
    /// Who is watched after a change.
    pub(super) watcher: Watcher,
    /// What is judged beside the policy in force.
    pub(super) shadow: ShadowKeeper,
    /// Where devices are on their way into enforcement.
    pub(super) stages: Stages,
    /// What is heard of those that are canaries.
    pub(super) trials: Trials,
}

impl Agent {
    /// Opens the data path, enforces the policy and attaches, in this order: no packet ever meets a
    /// program without a policy.
    ///
    /// # Errors
    /// [`StartError`]; what enforced before is left as it was.
    pub fn start(
        config: Config,
        gateway: String,
        boot: String,
        now: String,
    ) -> Result<(Self, EventReader, SampleReader), StartError> {
        let store = Store::open(&config.state)?;
        let mut warnings = std::collections::BTreeMap::new();
        // Modes set by hand are worth less than enforcement: without them the policy's hold.
        let overrides: Overrides = match store.load(OVERRIDES) {
            Ok(found) => found.unwrap_or_default(),
            Err(error) => {
                let note =
                    format!("modes set by hand are lost, the policy's hold until one is set again: {error}");
                tracing::error!("{note}");
                warnings.insert("overrides", note);
                Overrides::default()
            }
        };
        let pins = Pins::below(&config.pins);
        pins.create()?;
        let lock = pins.lock()?;
        let (mut dataplane, events, samples) = Dataplane::open(&config.pins, sizes(&config))?;
        let in_force = dataplane.sizes();
        let limits = Limits {
            devices: in_force.devices.saturating_sub(NOBODY),
            rules: in_force.rules.saturating_sub(NOBODY),
            rows: config.limits.rows,
        };
        if in_force != sizes(&config) {
            let note = "table sizes differ from the configuration: they change when the maps are made anew, that is after `bulkhead detach`\nhint: stop the agent, `bulkhead detach --yes`, and start it; nothing is enforced between the two";
            warnings.insert("sizes", note.to_owned());
        }
        let mut maker = Maker::default();
        let bounds = Bounds { file_bytes: config.audit.file_bytes.into(), files: config.audit.files };
        let trail = Trail::new(&config.state, bounds);
        let beginning = Beginning {
            config: &config,
            store: &store,
            trail: &trail,
            overrides: &overrides,
            limits: &limits,
            maker: &mut maker,
            warnings: &mut warnings,
        };
        let First { candidate, origin, from, pointer, then, missed } = beginning.first_policy()?;
        let mut nics = Nics::new(&config, &mut dataplane)?;
        dataplane.configure(&runtime(&config, &Receivers::new(), &dataplane)?)?;
        let Candidate { layers, policy, tables, doubts } = candidate;
        let begun = Instant::now();
        dataplane.make_room_for_names(config.limits.names);
        let known = (&tables, &nics.addresses);
        let names = NameKeeper::restore(&store, config.names, config.limits.names, &dataplane, known)?;
        let mut calendar = Calendar::new(&store, &pointer);
        let (moment, look) = calendar.moment(&names, &tables);
        let applied = dataplane.apply(tables, &nics.addresses, &config.segment_ids(), &moment)?;
        calendar.keep(look);
        let revision = applied.tables.revision;
        let generation = applied.generation;
        let (load_ms, flip_ms) = (millis(begun.elapsed()), millis(applied.flip));
        tracing::info!(%revision, generation, policy = origin.name(), load_ms, flip_ms, "policy applied");
        let doubts = doubts.told(&policy);
        if !doubts.is_empty() {
            tracing::warn!("{doubts}");
        }
        let leases = LeaseKeeper::restore(&store, &mut dataplane)?;
        let hits = HitKeeper::restore(&store, &dataplane);
        for news in nics.look_after(&mut dataplane, Instant::now())? {
            // What is wrong from the start is as wrong as what goes wrong later.
            if nics.list.iter().any(|nic| nic.problems().contains(&news)) {
                tracing::error!("{news}");
            } else {
                tracing::info!("{news}");
            }
        }
        if nics.list.iter().all(|nic| nic.attached.is_none()) {
            let problems: Vec<String> = nics.list.iter().filter_map(|nic| nic.problem.clone()).collect();
            return Err(StartError::Attach(problems.join("\n")));
        }
        // Enforcement comes first: what waits in the spools is read from the disk.
        let counters = counters(&dataplane, "TALLY")?;
        let history =
            config.history.as_ref().map(|history| HistoryKeeper::begin(history, &dataplane)).transpose()?;
        let beats = history.as_ref().map(|history| history.beats.clone());
        let watcher = Watcher::restore(&store, &pointer, beats, &mut warnings);
        let shadow = ShadowKeeper::new(history.as_ref().map(|history| history.shadow.clone()));
        let stages = stages::restore(&store, &mut warnings);
        let mut reporter = Reporter::new(&config, Teller { gateway: gateway.clone(), boot }, &counters);
        reporter.history = history.as_ref().map(HistoryKeeper::teller);
        let inventory =
            config.inventory.as_ref().map(|config| InventoryKeeper::begin(config, &store, &policy));
        let mut agent = Self {
            in_force: InForce { layers, policy, origin, from },
            config,
            gateway,
            since: now,
            dataplane,
            nics,
            overrides,
            reporter,
            warnings,
            unusable_files: None,
            store,
            pointer,
            trail,
            missed,
            refusals: Refusals::default(),
            former: None,
            return_failed: None,
            _pins: lock,
            limits,
            maker,
            rehearsed: false,
            looked: Instant::now(),
            link_news: LinkNews::default(),
            route_news: LinkNews::default(),
            settling: Settling::default(),
            pace: Pace::default(),
            receivers: Receivers::new(),
            leases,
            names,
            planning: Arc::new(Semaphore::new(1)),
            reading: Arc::new(Semaphore::new(1)),
            flows_evicted: Arc::default(),
            series: Arc::default(),
            hits,
            history,
            inventory,
            calendar,
            drift: Watch::new(),
            watcher,
            shadow,
            stages,
            trials: Trials::default(),
        };
        agent.learn();
        agent.reporter.begin(&agent.dataplane);
        if let Some(tables) = agent.dataplane.applied().map(|applied| applied.tables.clone()) {
            agent.warn_of_the_clock(&tables);
        }
        agent.finish_returns();
        agent.begin_with(then);
        agent.restore_shadow();
        Ok((agent, events, samples))
    }

    /// Does what an input asks for.
    pub fn step(&mut self, input: Input, events: &mut EventReader) -> ControlFlow<()> {
        match input {
            Input::Events => {
                let most = Pace::step(self.ring_events());
                let taken = self.reporter.take_events(events, most);
                self.pace.took(taken, most, Instant::now());
                self.ask_about_new_suspects();
            }
            Input::Samples(samples) => self.take_samples(&samples),
            Input::Overheard(frames) => self.take_overheard(&frames),
            Input::Links(news) => self.heard_of_links(news),
            Input::Routes(news) => self.heard_of_routes(news),
            Input::Settled => self.settle(),
            Input::Tick => self.tick(events),
            Input::Asked(asked) => self.asked(asked, events),
            Input::Metrics(scrape) => self.scraped(scrape),
            Input::Reload => {
                self.reporter.reopen();
                match self.apply(Action::Reload, Wanted::default(), &Who::agent("SIGHUP")) {
                    Ok(applied) => {
                        tracing::info!(revision = applied.revision, changed = applied.changed, "reloaded")
                    }
                    Err(failure) => tracing::error!("{}", failure.message),
                }
            }
            Input::Stop => {
                self.collect(events);
                self.end_inventory();
                self.reporter.finish();
                if let Some(history) = &self.history {
                    history.finish();
                }
                self.tell_the_rest_of_refusals();
                if let Err(error) = self.keep_leases() {
                    tracing::error!("{error}");
                }
                self.keep_names();
                self.keep_all_hits();
                // What goes on without an agent must be there when it goes.
                if let Err(error) = self.look_after_nics(Instant::now()) {
                    tracing::error!("{error}");
                }
                for nic in self.nics.list.iter().filter(|nic| nic.attached.is_none()) {
                    tracing::error!("nothing is enforced on `{}`", nic.config.name);
                }
                match self.nics.leave() {
                    Ok(news) => news.iter().for_each(|news| tracing::warn!("{news}")),
                    Err(error) => tracing::error!("{error}"),
                }
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Records as they are written.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Record>> {
        self.reporter.follow()
    }

    /// Until when no events are taken. Then they are: there may be some that nobody wakes the agent for.
    pub fn rests_until(&self) -> Option<Instant> {
        self.pace.rests_until()
    }

    /// Takes over everything the kernel has to tell at this moment, and not what a flood adds meanwhile.
    pub(super) fn collect(&mut self, events: &mut EventReader) {
        self.sweep();
        // Before anything is taken over: what is counted here has arrived by the next time.
        let tally = self.dataplane.tally();
        let full_ring = self.ring_events();
        self.reporter.take_events(events, full_ring);
        let mut repeats = Vec::new();
        let drained = self.dataplane.drain_repeats(&mut repeats);
        // What was taken is told, whatever failed after it.
        self.reporter.take_repeats(&repeats);
        let tally = tally
            .and_then(|tally| drained.map(|()| tally))
            .inspect_err(|error| tracing::error!("{error}"))
            .ok();
        // A drain ends with a grace period: events of the packets before it are in the ring now.
        let taken = self.reporter.take_events(events, full_ring);
        self.pace.took(taken, full_ring, Instant::now());
        self.pace.drained(repeats.len(), self.dataplane.sizes().violations as usize, Instant::now());
        self.reporter.reckon(tally.as_ref());
    }

    /// Brings the counters up to what the kernel's verdict cache has counted so far, if that does not take too long.
    pub(super) fn sweep(&mut self) {
        match self.dataplane.collect_within(COUNTED_WITHIN) {
            Ok(()) => drop(self.warnings.remove("sweep")),
            // A processor may be busy for a moment.
            Err(_)
                if (Duration::from_nanos(1)..COUNTS_ARE_OLD).contains(&self.dataplane.counters_behind()) => {}
            Err(error) => drop(self.warnings.insert("sweep", format!("counters may be behind: {error}"))),
        }
    }

    /// Events for which the ring has room.
    fn ring_events(&self) -> usize {
        self.dataplane.sizes().ring_bytes as usize / EVENT_BYTES + 1
    }

    fn tick(&mut self, events: &mut EventReader) {
        if self.pace.drains(Instant::now()) {
            self.collect(events);
        } else {
            self.sweep();
        }
        self.reporter.tick(monotonic_ns());
        self.look_after_leases();
        self.look_after_names();
        self.look_after_receivers();
        self.look_after_hits();
        self.look_after_pending();
        self.look_after_watch();
        self.look_after_shadow();
        self.look_after_stages();
        self.tell_of_sightings();
        self.tell_of_refusals();
        self.look_at_the_calendar();
        self.look_for_drift();
        if self.look_for_honesty() {
            self.tell_of_life();
        }
        if !std::mem::replace(&mut self.rehearsed, true)
            && let Err(error) = self.dataplane.rehearse()
        {
            tracing::warn!("the next change takes longer: {error}");
        }
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look();
        }
    }

    /// Brings tables in force, with what they depend on besides themselves at this moment.
    pub(super) fn enforce(&mut self, tables: impl Into<Arc<Tables>>) -> Result<&Applied, DataplaneError> {
        let tables = tables.into();
        let (moment, look) = self.calendar.moment(&self.names, &tables);
        let applied =
            self.dataplane.apply(tables, &self.nics.addresses, &self.config.segment_ids(), &moment)?;
        self.calendar.keep(look);
        Ok(applied)
    }

    pub(super) fn revision(&self) -> String {
        self.dataplane.applied().map(|a| a.tables.revision.to_string()).unwrap_or_default()
    }
}

pub(super) fn user(message: impl Into<String>) -> Failure {
    Failure { message: message.into(), found: true }
}

/// A policy that stays outside. Its diagnostics begin with `error`, so what they mean comes first.
pub(super) fn refused(error: &Refused, in_force: &str) -> Failure {
    let found = match error {
        Refused::Invalid(_)
        | Refused::NotApart(_)
        | Refused::TooMany
        | Refused::TooLarge(_)
        | Refused::NoFiles => true,
        Refused::Read(error) => error.found(),
    };
    Failure {
        message: format!("the policy is refused, revision {in_force} goes on enforcing\n{error}"),
        found,
    }
}

pub(super) fn world(error: impl std::fmt::Display) -> Failure {
    Failure { message: error.to_string(), found: false }
}
