//! Host against kernel: the same frames, policies and settings for both; any difference ends the round.
//!
//! A round is made from its seed alone, so that a difference which the counters show only after a while is found again
//! frame by frame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bulkhead_agent::{
    compile::{Host, Memory, Placed, Revision, Tables},
    dataplane::{Dataplane, Moment, Sizes, XdpAction, detach},
};
use bulkhead_common::{
    decide::{Action, Decision, Verdict, decide},
    layout::{Budget, Flow, FlowKey, InterfaceCounters, Traffic},
    parse::parse,
    reason::{Grant, Reason},
};
use bulkhead_tests::lab::Room;

use super::{
    CACHE, COUNTER, Setup, calendar,
    expect::word,
    gateway, invariants, invent, moment, mutate, named, open,
    random::{self, Random},
    setup::ENDLESS,
    tables, text,
};

const SIZES: Sizes =
    Sizes { devices: 256, rules: 4096, flows: 1 << 17, violations: 1024, ring_bytes: 1 << 16, cache: CACHE };
/// Policies of the packet table, under which one stretch in four is fought; the others have one of their own.
const TEXTS: &[&str] =
    &["cell.toml", "cell-held.toml", "plant.toml", "plant.toml", "served.toml", "sets.toml", "named.toml"];
/// What the message of a broken invariant begins with: both sides may well agree on it.
pub const BROKEN: &str = "a broken promise: ";
/// Frames under one policy and one setup.
const STRETCH: usize = 2000;
/// Frames that a frame may be told again after: more kinds than the cache has room for.
const AGAIN: usize = 300;

/// What both have counted. Device counters by id and code, rules by id.
#[derive(Default, PartialEq, Eq)]
struct Counted {
    devices: BTreeMap<(u32, u8), u64>,
    rules: BTreeMap<u32, (u64, u64)>,
    interface: InterfaceCounters,
    violations: u64,
}

impl Counted {
    fn host(&mut self, decision: &Decision, device: u32, rule: u32, len: usize) {
        let (code, denied) = match decision.verdict {
            Verdict::Allow(grant) => (grant.code(), false),
            Verdict::Deny(reason) => (reason.code(), true),
        };
        *self.devices.entry((device, code)).or_default() += 1;
        if rule != 0 {
            let traffic = self.rules.entry(rule).or_default();
            *traffic = (traffic.0 + 1, traffic.1 + len as u64);
        }
        let add = |to: &mut Traffic| *to = Traffic { packets: to.packets + 1, bytes: to.bytes + len as u64 };
        add(&mut self.interface.seen);
        match decision.action {
            Action::Drop => add(&mut self.interface.dropped),
            Action::Pass => add(&mut self.interface.passed),
        }
        if denied && decision.action == Action::Pass {
            add(&mut self.interface.would_drop);
        }
        self.violations += u64::from(denied);
    }

    /// The counters of devices up to an id, and of some rules.
    fn kernel(dataplane: &Dataplane, devices: u32, rules: &[u32]) -> Self {
        dataplane.collect().unwrap_or_else(|error| panic!("{error}"));
        let mut counted = Self::default();
        for id in 0..=devices {
            let counts = dataplane.device_counts(id).expect("the id is in the map");
            for (count, code) in counts.into_iter().zip(0..).filter(|(count, _)| *count != 0) {
                counted.devices.insert((id, code), count);
            }
        }
        for id in rules {
            let Traffic { packets, bytes } = dataplane.rule_counts(*id).expect("the id is in the map");
            if packets != 0 {
                counted.rules.insert(*id, (packets, bytes));
            }
        }
        let interface = dataplane.interface_counts(COUNTER).expect("the interface has counters");
        // The host remembers none.
        counted.interface = InterfaceCounters { remembered: 0, ..interface };
        let tally = dataplane.tally().expect("the tally is readable");
        assert_eq!(
            tally.violations,
            tally.delivered + tally.aggregated + tally.lost,
            "a violation without a trace"
        );
        let refused = (tally.flows_refused, tally.fragments_refused, tally.leases_refused);
        assert_eq!(refused, (0, 0, 0), "the tables are large enough");
        counted.violations = tally.violations;
        counted
    }

    /// What differs, one line each, of rules only those that were looked at.
    fn difference(&self, kernel: &Self, rules: &[u32]) -> String {
        let mut lines = Vec::new();
        let keys = self.devices.keys().chain(kernel.devices.keys());
        for key in keys {
            let (host, kernel) = (self.devices.get(key), kernel.devices.get(key));
            if host != kernel {
                lines.push(format!("device {} `{}`: host {host:?}, kernel {kernel:?}", key.0, word(key.1)));
            }
        }
        for key in rules {
            let (host, kernel) = (self.rules.get(key), kernel.rules.get(key));
            if host != kernel {
                lines.push(format!("rule {key}: host {host:?}, kernel {kernel:?}"));
            }
        }
        if self.interface != kernel.interface {
            lines.push(format!("interface: host {:?}, kernel {:?}", self.interface, kernel.interface));
        }
        if self.violations != kernel.violations {
            lines.push(format!("violations: host {}, kernel {}", self.violations, kernel.violations));
        }
        lines.sort();
        lines.dedup();
        lines.join("\n")
    }
}

/// What a round consists of.
pub struct Fight<'a> {
    pub seed: u64,
    pub frames: usize,
    /// Frames between two looks at the counters.
    pub every: usize,
    pub corpus: &'a [Vec<u8>],
    /// A grant that the host takes for a denial, to see whether that is found out.
    pub deaf: Option<Grant>,
}

/// Both sides of one round.
struct Duel<'a> {
    dataplane: Dataplane,
    counted: Counted,
    memory: Memory,
    /// The highest stable ids of devices and rules so far.
    highest: (u32, u32),
    /// Revisions of the policies so far.
    policies: BTreeSet<Revision>,
    fight: &'a Fight<'a>,
}

/// What a round has met.
#[derive(Debug, Default)]
pub struct Met {
    pub frames: u64,
    /// Revisions of the policies.
    pub policies: BTreeSet<Revision>,
    /// How often each grant and reason, by code.
    pub words: BTreeMap<u8, u64>,
    /// Frames that were answered from the verdict cache.
    pub remembered: u64,
}

impl Met {
    pub fn add(&mut self, other: Self) {
        let Self { frames, policies, words, remembered } = other;
        self.frames += frames;
        self.remembered += remembered;
        self.policies.extend(policies);
        words.into_iter().for_each(|(code, count)| *self.words.entry(code).or_default() += count);
    }
}

/// Runs a round. `Err` says what differs, and where.
pub fn round(room: &Room, pins: &str, fight: &Fight<'_>) -> Result<Met, String> {
    let mut random = Random::new(fight.seed);
    let compiled = |text: String| (tables(&[("policy.toml", &text)]), text);
    let written: Vec<(Tables, String)> = TEXTS.iter().map(|name| compiled(text(name))).collect();
    // The reader of events is dropped: the ring fills, and no verdict may depend on it.
    let (dataplane, _) = open(room, pins, SIZES);
    let mut duel = Duel {
        dataplane,
        counted: Counted::default(),
        memory: Memory::default(),
        highest: (0, 0),
        policies: BTreeSet::new(),
        fight,
    };
    let mut result = Ok(());
    for _ in 0..fight.frames.div_ceil(STRETCH) {
        let invented;
        let (tables, text) = if random.once_in(4) {
            random.pick(&written)
        } else {
            invented = compiled(invent::policy(&mut random, invent::ANY));
            &invented
        };
        let setup = random::setup(&mut random);
        duel.policies.insert(tables.revision);
        result = duel.stretch(&mut random, tables, &setup);
        if let Err(what) = &mut result {
            what.push_str(&format!("\n{setup:?}\npolicy:\n{text}"));
            break;
        }
    }
    let Duel { dataplane, counted, memory: _, highest: _, policies, fight: _ } = duel;
    let remembered = dataplane.interface_counts(COUNTER).expect("the interface has counters").remembered;
    let frames = counted.interface.seen.packets;
    let mut met = Met { frames, policies, words: BTreeMap::new(), remembered };
    for ((_, code), count) in &counted.devices {
        *met.words.entry(*code).or_default() += count;
    }
    drop(dataplane);
    detach(&room.pin_outside(pins)).expect("pins can be removed");
    result.map(|()| met)
}

impl Duel<'_> {
    fn stretch(&mut self, random: &mut Random, tables: &Tables, setup: &Setup) -> Result<(), String> {
        setup.configure(&mut self.dataplane);
        let moment = Moment { named: named::invented(random, tables), ..moment(tables, calendar()) };
        let applied = self.dataplane.apply(tables.clone(), &gateway(), &Setup::segments(), &moment);
        let applied = applied.unwrap_or_else(|error| panic!("{error}"));
        let ids = applied.ids.clone();
        let highest = |ids: &[u32], so_far: u32| ids.iter().copied().fold(so_far, u32::max);
        self.highest = (highest(&ids.devices, self.highest.0), highest(&ids.rules, self.highest.1));
        let mut host = made(tables, setup, &moment);
        let mut memory = std::mem::take(&mut self.memory);
        // Budgets are remembered by the ids that last.
        let dense = |stable: u32| (0..).take(tables.devices.len() + 1).find(|id| ids.device(*id) == stable);
        let elsewhere: Vec<(u32, Budget)> =
            memory.budgets.iter().filter(|(id, _)| dense(**id).is_none()).map(|(id, b)| (*id, *b)).collect();
        memory.budgets = memory.budgets.iter().filter_map(|(id, b)| Some((dense(*id)?, *b))).collect();
        let mut generation = applied.generation;
        host.adopt(memory, generation);
        let mut told: VecDeque<Vec<u8>> = VecDeque::new();
        for n in 1..=STRETCH {
            if random.once_in(500) {
                self.change(random, tables, setup, &moment);
                let next = self.dataplane.active().expect("readable").generation;
                if next != generation {
                    generation = next;
                    let memory = host.memory();
                    host = made(tables, setup, &moment);
                    host.adopt(memory, generation);
                }
            }
            let frame = again(random, &mut told, self.fight.corpus);
            let mut decision = decide(&parse(frame.as_slice()), &host);
            let promise = invariants::broken(&frame, tables, &decision);
            if let (Verdict::Allow(grant), Some(deaf)) = (decision.verdict, self.fight.deaf)
                && grant == deaf
            {
                decision.verdict = Verdict::Deny(Reason::NoRule);
            }
            let action = self.dataplane.test_run(&frame).unwrap_or_else(|error| panic!("{error}"));
            self.counted.host(&decision, ids.device(decision.device), ids.rule(decision.rule), frame.len());
            let wanted = match decision.action {
                Action::Pass => XdpAction::Pass,
                Action::Drop => XdpAction::Drop,
            };
            let mut differ = String::new();
            if let Some(promise) = promise {
                differ = format!("{BROKEN}{promise}");
            } else if action != wanted {
                differ = format!("the kernel says {action:?}");
            } else if n % self.fight.every == 0 || n == STRETCH {
                // Counters of other policies' rules stand still: enough to look at them at the end.
                let all: Vec<u32> = (1..=self.highest.1).collect();
                let rules = if n == STRETCH { &all } else { &ids.rules };
                let kernel = Counted::kernel(&self.dataplane, self.highest.0, rules);
                differ = self.counted.difference(&kernel, rules);
                if n == STRETCH {
                    differ.push_str(&self.other_flows(&host.memory()));
                }
            }
            if !differ.is_empty() {
                let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
                return Err(format!(
                    "{differ}\nframe: {hex}\nread as: {:?}\nhost: {decision:?}",
                    parse(frame.as_slice())
                ));
            }
        }
        self.memory = host.memory();
        let stable = self.memory.budgets.iter().map(|(id, budget)| (ids.device(*id), *budget));
        self.memory.budgets = stable.chain(elsewhere).collect();
        Ok(())
    }

    /// Flows that only one side has, or that are in another state. Packets of a flow that began again may be counted for the new one.
    fn other_flows(&self, memory: &Memory) -> String {
        let reader = self.dataplane.flow_reader().unwrap_or_else(|error| panic!("{error}"));
        let (flows, is_all) = reader.read(SIZES.flows as usize).unwrap_or_else(|error| panic!("{error}"));
        assert!(is_all, "there is room for all");
        let kernel: BTreeMap<FlowKey, Flow> = flows.into_iter().collect();
        let keys: BTreeSet<&FlowKey> = memory.flows.keys().chain(kernel.keys()).collect();
        let mut lines = Vec::new();
        for key in keys {
            let (ours, theirs) = (memory.flows.get(key), kernel.get(key));
            let same = ours.zip(theirs).is_some_and(|(ours, theirs)| {
                let more = |side: usize| {
                    theirs.packets[side] >= ours.packets[side] && theirs.bytes[side] >= ours.bytes[side]
                };
                (ours.state, ours.initiator) == (theirs.state, theirs.initiator) && more(0) && more(1)
            });
            if !same {
                lines.push(format!("{key:?}: host {ours:?}, kernel {theirs:?}"));
            }
        }
        lines.join("\n")
    }

    /// Something is written that changes no verdict: whatever is remembered is decided anew, or goes on.
    fn change(&mut self, random: &mut Random, tables: &Tables, setup: &Setup, moment: &Moment) {
        match random.below(4) {
            0 => setup.configure(&mut self.dataplane),
            1 => {
                let applied = self.dataplane.apply(tables.clone(), &gateway(), &Setup::segments(), moment);
                applied.map(drop).unwrap_or_else(|error| panic!("{error}"));
            }
            2 => {
                let mut drained = Vec::new();
                self.dataplane.drain_repeats(&mut drained).unwrap_or_else(|error| panic!("{error}"));
            }
            _ => self.dataplane.collect().unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

/// The host's side of what is in force.
fn made<'t>(tables: &'t Tables, setup: &Setup, moment: &Moment) -> Host<'t> {
    let mut host = Host::new(tables, Placed { named: moment.named.clone(), ..setup.placed(&ENDLESS) });
    host.reschedule(tables.deadlines(calendar(), 0));
    host
}

/// A frame of the corpus, or one that was told a while ago: as it was, with other control bits, or with something else that no
/// key has.
fn again(random: &mut Random, told: &mut VecDeque<Vec<u8>>, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = match told.len() {
        0 => mutate::frame(random, corpus),
        // The last one, up to four times in a row, or any of the last ones.
        known if random.once_in(2) => told[known - 1].clone(),
        known if random.once_in(2) => told[random.below(known)].clone(),
        _ => mutate::frame(random, corpus),
    };
    if random.once_in(8) {
        mutate::control(random, &mut frame);
    }
    if told.len() == AGAIN {
        told.pop_front();
    }
    told.push_back(frame.clone());
    frame
}
