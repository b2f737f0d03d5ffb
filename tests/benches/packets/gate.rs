//! The product with a policy of some size, and what it takes to know that a scenario measured what it says.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow, bail};
use bulkhead_agent::{
    compile::{Limits, Tables, compile},
    dataplane::{CacheSizes, Dataplane, Entry, EventReader, Moment, Runtime, Sizes},
    diagnostic::render_text,
    policy::{SourceFile, resolve_texts},
};
use bulkhead_common::{
    layout::{SegmentKey, SegmentRow, Settings},
    lookup::{ANY_VLAN, Unmanaged, infrastructure},
    reason::{CODES, Grant, Reason},
};
use bulkhead_tests::{
    grid::Grid,
    lab::{
        Room,
        program::Program,
        spent,
        stream::{Kind, Stream},
    },
};

use super::{
    clock::{self, Probe, Sample, Unit},
    lines::{self, Scenario, Verdict},
};
use crate::rows::Row;

/// The loopback interface of a namespace, from which test frames come.
const LO: u32 = 1;
/// Its counters.
const COUNTER: u32 = 1;
/// Room of the tables: the agent's defaults, and for as many devices as there are.
const LIMITS: Limits = Limits { devices: 4096, rules: 65_536, rows: 1 << 20 };
/// Flows remembered: more than any scenario has, so that none is pushed out but where that is what is measured.
const FLOWS: u32 = 1 << 17;
const VIOLATIONS: u32 = 8192;
const RING_BYTES: u32 = 256 << 10;
/// Longer than a round.
const HOUR: u64 = 3600 * 1_000_000_000;

/// The loaded program, its tables and what they take.
pub(super) struct Gate {
    pub(super) grid: Grid,
    pub(super) verdicts: u32,
    pub(super) program: Program,
    dataplane: Dataplane,
    events: EventReader,
    mib: f64,
}

impl Gate {
    pub(super) fn open(room: &Room, grid: Grid, verdicts: u32) -> Result<Self> {
        let limits = Limits { devices: LIMITS.devices.max(grid.devices + 2), ..LIMITS };
        let tables = tables(grid, &limits)?;
        let before = spent::maps(std::process::id())?;
        let Limits { devices, rules, rows: _ } = limits;
        let cache = CacheSizes::holding(verdicts);
        let sizes =
            Sizes { devices, rules, flows: FLOWS, violations: VIOLATIONS, ring_bytes: RING_BYTES, cache };
        let pins = room.pin_outside(&format!("grid-{}-{verdicts}", grid.devices));
        let (mut dataplane, events, _) = Dataplane::open(&pins, sizes)?;
        let key = SegmentKey { ifindex: LO, vlan: ANY_VLAN, pad: 0 };
        let row = SegmentRow {
            counter: COUNTER,
            redirect: 0,
            infrastructure: infrastructure::ALL,
            segment: 1,
            unmanaged: Unmanaged::Monitor.code(),
            flags: 0,
        };
        dataplane.set_segment(key, row)?;
        dataplane.apply(tables, &BTreeSet::new(), &BTreeMap::new(), &Moment::default())?;
        dataplane.rehearse()?;
        let programs = dataplane.programs()?;
        let (id, _) =
            programs.iter().find(|(_, entry)| *entry == Entry::Linear).context("it is not loaded")?;
        let program = Program::by_id(*id)?;
        let mib = (spent::maps(std::process::id())? - before) / 1024.0;
        Ok(Self { grid, verdicts, program, dataplane, events, mib })
    }

    /// Measures one round of a scenario, in which nothing else is remembered.
    pub(super) fn round(&mut self, scenario: &Scenario, probe: &mut Probe, unit: &Unit) -> Result<Sample> {
        self.configure(if scenario.forgetful { 0 } else { HOUR })?;
        self.dataplane.forget()?;
        self.drain()?;
        if !clock::is_endless(&scenario.stream) {
            self.establish(&scenario.stream, probe, unit)?;
        }
        let before = self.counts()?;
        let answered = self.answered()?;
        probe.warm()?;
        let sample = probe.round(unit)?;
        let seen = probe.take_seen();
        self.check(scenario.verdict, &before, seen)?;
        let answered = self.answered()? - answered;
        #[expect(clippy::cast_precision_loss, reason = "some million packets")]
        let decided = 100.0 * (seen - answered) as f64 / seen as f64;
        Ok(Sample { decided, ..sample })
    }

    /// Sends one packet of each flow, or as many as it takes until the connection is open; and another one, which is remembered.
    fn establish(&self, stream: &Stream, probe: &Probe, unit: &Unit) -> Result<()> {
        if stream.kind == Kind::Ack {
            for kind in [Kind::Syn, Kind::SynAck] {
                Probe::new(&Stream { kind, ..*stream }, &self.program, unit)?.once()?;
            }
        }
        probe.once()?;
        probe.once().map(drop)
    }

    /// How long a flow may be silent, and nothing else.
    fn configure(&mut self, idle: u64) -> Result<()> {
        let settings = Settings {
            tcp_idle: idle,
            opening_idle: idle,
            closing_idle: idle,
            udp_idle: idle,
            icmp_idle: idle,
            fragment_idle: HOUR,
            lease_idle: HOUR,
            flow_window: 1_000_000_000,
            ..Settings::default()
        };
        Ok(self.dataplane.configure(&Runtime { settings, ..Runtime::default() })?)
    }

    /// Takes what there is to tell, as the agent does every second.
    fn drain(&mut self) -> Result<()> {
        while self.events.next_record().is_some() {}
        Ok(self.dataplane.drain_repeats(&mut Vec::new())?)
    }

    /// Packets of all devices by their codes, to the packet.
    fn counts(&mut self) -> Result<[u64; CODES as usize]> {
        self.dataplane.collect()?;
        let mut sum = [0; CODES as usize];
        for id in 0..=self.grid.devices {
            let counts = self.dataplane.device_counts(id)?;
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        Ok(sum)
    }

    /// Packets that remembered verdicts answered.
    fn answered(&self) -> Result<u64> {
        Ok(self.dataplane.interface_counts(COUNTER)?.remembered)
    }

    /// Whether all packets, and no others, met what they should.
    fn check(&mut self, verdict: Verdict, before: &[u64], packets: u64) -> Result<()> {
        let after = self.counts()?;
        let moved =
            (0_u8..).zip(before.iter().zip(after)).map(|(code, (before, after))| (code, after - before));
        let moved: Vec<(u8, u64)> = moved.filter(|(_, count)| *count > 0).collect();
        let expected = match verdict {
            Verdict::Allow(grant) => grant.code(),
            Verdict::Deny(reason) => reason.code(),
        };
        if moved == [(expected, packets)] {
            return Ok(());
        }
        let found: Vec<String> =
            moved.iter().map(|(code, count)| format!("{count} `{}`", word(*code))).collect();
        bail!("{packets} packets should have met `{}`, and there were {}", word(expected), found.join(", "))
    }

    /// What the tables take.
    pub(super) fn memory(&self) -> Row {
        Row { unit: "MiB", samples: vec![self.mib], ..Row::new(MEMORY, &memory_name(self.grid)) }
    }
}

/// The group of rows about memory.
pub(super) const MEMORY: &str = "memory";

/// The row of a grid in it.
pub(super) fn memory_name(grid: Grid) -> String {
    format!("{}, {FLOWS} flows", lines::size(grid))
}

fn word(code: u8) -> &'static str {
    let grant = Grant::from_code(code).map(Grant::name);
    grant.or_else(|| Reason::from_code(code).map(Reason::name)).unwrap_or("an unknown code")
}

fn tables(grid: Grid, limits: &Limits) -> Result<Tables> {
    let file = SourceFile { path: "grid.toml".into(), text: grid.policy() };
    let outcome = resolve_texts(&[file]);
    let refused = || anyhow!("{}", render_text(&outcome.diagnostics, &outcome.sources, false));
    let policy = outcome.policy.as_ref().ok_or_else(refused)?;
    Ok(compile(policy, limits)?)
}
