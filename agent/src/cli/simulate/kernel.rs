//! The same frames through the real program, by BPF_PROG_TEST_RUN: whether the kernel says what the host says.
//!
//! Program and maps are private, pinned where only this process sees them, and attached to nothing. Time is left out:
//! the kernel's clock is not that of a recording, so on both sides nothing expires, and schedules are turned by the recording.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use bulkhead_common::{
    decide::{Action, Decision, Verdict, decide},
    layout::{SegmentKey, SegmentRow, Settings},
    lookup::{ANY_VLAN, Rules, segment_flag},
    parse::parse,
    reason::{Grant, Reason},
};
use jiff::Timestamp;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    capture::Frame,
    compile::{Host, Placed, Supposed},
    config::Config,
    daemon::sizes,
    dataplane::{Dataplane, Moment, Runtime, Sizes, XdpAction},
    replay::{Place, Setting},
};

/// The loopback interface, from which test frames come: the first of every namespace.
const LO: u32 = 1;
/// Index of its counters.
const COUNTER: u32 = 1;
/// The shortest frame that the kernel runs, and the longest: a page without headroom and tail.
const RUNS: std::ops::RangeInclusive<usize> = 14..=3520;
/// ns of a minute.
const MINUTE: u64 = 60_000_000_000;
/// Where a BPF file system can be: the kernel makes the folder.
const PINS: &str = "/sys/fs/bpf";
/// Flows that are remembered.
const FLOWS: u32 = 1 << 18;

/// A BPF file system that only this thread sees: whatever ends the process, nothing of it stays, and an agent's pins are out of reach.
fn private_pins() -> nix::Result<PathBuf> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some("bpf"), PINS, Some("bpf"), MsFlags::empty(), NONE)?;
    Ok(Path::new(PINS).join("simulate"))
}

/// What was compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Compared {
    /// Frames that both judged.
    pub(super) frames: u64,
    /// Frames that the kernel cannot run.
    pub(super) left_out: u64,
    /// How much differs.
    pub(super) differences: u64,
    /// What differs first.
    pub(super) first: Option<String>,
}

/// The program in the kernel, and its twin here.
pub(super) struct Kernel<'a> {
    setting: Setting<'a>,
    host: Host<'a>,
    dataplane: Dataplane,
    runtime: Runtime,
    ids: Vec<u32>,
    adopt_until: u64,
    adopting: bool,
    minute: Option<u64>,
    /// Place and segment at which both are.
    place: Option<(usize, u16)>,
    counted: BTreeMap<(u32, u8), u64>,
    compared: Compared,
}

impl<'a> Kernel<'a> {
    /// Loads the program. `adopt_until` is on the clock of the frames.
    pub(super) fn new(setting: Setting<'a>, config: &Config, adopt_until: u64) -> anyhow::Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "--bpf needs root: it loads a BPF program");
        let pins = private_pins().context("failed to make a private BPF file system")?;
        let room = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(16);
        let tables = setting.tables;
        let Sizes { cache, .. } = sizes(config);
        let wanted = Sizes {
            devices: room(tables.devices.len()),
            rules: room(tables.rules.len()),
            flows: FLOWS,
            violations: 1024,
            ring_bytes: 1 << 16,
            cache,
        };
        let (mut dataplane, _, _) =
            Dataplane::open(&pins, wanted).context("failed to load the BPF program")?;
        let settings = Settings {
            adopt_until: u64::MAX,
            tcp_idle: u64::MAX,
            opening_idle: u64::MAX,
            closing_idle: u64::MAX,
            udp_idle: u64::MAX,
            icmp_idle: u64::MAX,
            fragment_idle: u64::MAX,
            lease_idle: u64::MAX,
            flow_window: u64::MAX,
            flow_cap: 0,
            flags: setting.placed.settings.flags,
        };
        let runtime = Runtime {
            settings,
            management_peers: setting.placed.management_peers.clone(),
            management_services: setting.placed.management_services.clone(),
            trusted: setting.placed.trusted.clone(),
        };
        dataplane.configure(&runtime)?;
        let applied = dataplane.apply(
            tables.clone(),
            &setting.placed.gateway,
            &setting.placed.segments,
            &Moment { deadlines: vec![0; tables.schedules.len()], named: setting.placed.named.clone() },
        )?;
        let ids = (0..=tables.devices.len()).map(|id| applied.ids.device(u32::try_from(id).unwrap_or(0)));
        let ids: Vec<u32> = ids.collect();
        let generation = applied.generation;
        let mut host = Host::new(tables, Placed { settings, ..setting.placed.clone() });
        host.adopt(Default::default(), generation);
        Ok(Self {
            setting,
            host,
            dataplane,
            runtime,
            ids,
            adopt_until,
            adopting: true,
            minute: None,
            place: None,
            counted: BTreeMap::new(),
            compared: Compared::default(),
        })
    }

    /// Both judge a frame that was seen at a place. `whole` is what is known of it and zeros for the rest, which nobody reads.
    pub(super) fn arrive(&mut self, frame: &Frame<'_>, place: usize, number: u64) -> anyhow::Result<()> {
        let length = frame.length as usize;
        if !RUNS.contains(&length) {
            self.compared.left_out += 1;
            return Ok(());
        }
        let mut whole = frame.bytes.to_vec();
        whole.resize(length, 0);
        let packet = parse(whole.as_slice());
        self.turn(frame.time)?;
        let Place { segment, vlans, anywhere } = self.setting.places.get(place).cloned().unwrap_or_default();
        let at = if anywhere {
            let row = self.host.mac(packet.source_mac);
            let own = if row.device != 0 { row.segment } else { self.host.endpoint(&packet.source).segment };
            if own == 0 { segment.segment } else { own }
        } else {
            segment.segment
        };
        if self.place != Some((place, at)) {
            let flags =
                if vlans.is_empty() { segment.flags } else { segment.flags | segment_flag::HAS_VLANS };
            let row = SegmentRow { segment: at, counter: COUNTER, redirect: 0, flags, ..segment };
            self.stand(row, &vlans)?;
            self.host.move_to(row, vlans);
            self.place = Some((place, at));
        }
        let segment = if anywhere { at } else { 0 };
        let decision = decide(&packet, &Supposed { rules: &self.host, segment, leases: [None; 2] });
        let action = self.dataplane.test_run(&whole)?;
        self.compared.frames += 1;
        let code = match decision.verdict {
            Verdict::Allow(grant) => grant.code(),
            Verdict::Deny(reason) => reason.code(),
        };
        *self.counted.entry((decision.device, code)).or_default() += 1;
        if action != wanted(&decision) {
            let hex: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
            self.differ(format!(
                "frame {number} at {}: the kernel says {action:?}, the host {decision:?}\n  {hex}",
                Timestamp::from_nanosecond(frame.time.into())
                    .map(|time| time.to_string())
                    .unwrap_or_default(),
            ));
        }
        Ok(())
    }

    /// What came of it: at the end every counter is looked at as well, so that a frame that passes for another reason is found too.
    pub(super) fn finish(mut self) -> anyhow::Result<Compared> {
        self.dataplane.collect()?;
        for (device, id) in (0..).zip(self.ids.clone()) {
            let counts = self.dataplane.device_counts(id)?;
            for (count, code) in counts.into_iter().zip(0_u8..) {
                let ours = self.counted.get(&(device, code)).copied().unwrap_or(0);
                if ours != count {
                    let name = self.setting.tables.device(device).map_or("no device", |device| &device.name);
                    let word = Reason::from_code(code).map(|reason| reason.name());
                    let word = word.or_else(|| Grant::from_code(code).map(|grant| grant.name()));
                    let word = word.unwrap_or("a reason that is not known");
                    self.differ(format!("{word} of {name}: the kernel counts {count}, the host {ours}"));
                }
            }
        }
        Ok(std::mem::take(&mut self.compared))
    }

    fn differ(&mut self, what: String) {
        self.compared.differences += 1;
        self.compared.first.get_or_insert(what);
    }

    /// Turns adoption and schedules to the moment of a frame.
    fn turn(&mut self, time: u64) -> anyhow::Result<()> {
        if self.adopting && time >= self.adopt_until {
            self.adopting = false;
            self.runtime.settings.adopt_until = 0;
            self.dataplane.configure(&self.runtime)?;
            self.host.configure(self.runtime.settings);
        }
        let minute = time / MINUTE;
        if !self.setting.tables.schedules.is_empty() && self.minute != Some(minute) {
            self.minute = Some(minute);
            let seconds = i64::try_from(minute * 60).unwrap_or(i64::MAX);
            let then = Timestamp::from_second(seconds).unwrap_or(self.setting.now);
            let deadlines = self.setting.tables.deadlines_as_of(then, self.setting.now);
            self.dataplane.reschedule(&deadlines)?;
            self.host.reschedule(deadlines);
        }
        Ok(())
    }

    fn stand(&mut self, row: SegmentRow, vlans: &BTreeMap<u16, SegmentRow>) -> anyhow::Result<()> {
        let key = |vlan| SegmentKey { ifindex: LO, vlan, pad: 0 };
        let vlans = vlans.iter().map(|(vlan, row)| (key(*vlan), SegmentRow { counter: COUNTER, ..*row }));
        let rows: Vec<(SegmentKey, SegmentRow)> = vlans.chain([(key(ANY_VLAN), row)]).collect();
        for (key, row) in &rows {
            self.dataplane.set_segment(*key, *row)?;
        }
        self.dataplane.retain_segments(&rows.iter().map(|(key, _)| *key).collect())?;
        Ok(())
    }
}

/// What the program must return.
fn wanted(decision: &Decision) -> XdpAction {
    match decision.action {
        Action::Pass => XdpAction::Pass,
        Action::Drop => XdpAction::Drop,
    }
}
