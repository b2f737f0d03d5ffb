//! What one run of a program takes: the time of a thread on its processor, many runs at once.
//!
//! In: programs. Out: ns. An empty program, the generator in front of an empty program, and the generator in front of the program that
//! is looked at take turns within a round: what else the machine has to do then changes all three.

use std::time::Duration;

use anyhow::{Context, Result};
use bulkhead_tests::lab::{
    program::{Jump, Program},
    stream::{Order, Stream},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// The most packets of one slice.
const SLICE: u32 = 125_000;
/// About how long one may take, ns.
const SLICE_TAKES: f64 = 25e6;
/// Turns within a round.
const TURNS: u32 = 8;
/// Packets before the first slice, at least.
const WARM: u64 = 20_000;

/// The empty program: alone it is the unit.
pub(super) struct Unit {
    empty: Program,
    jump: Jump,
}

/// A stream's generator, in front of the empty program and of the one that is looked at.
pub(super) struct Probe {
    base: Program,
    full: Program,
    in_turn: Program,
    /// The kernel forgets where it leads when it is closed.
    _jump: Jump,
    stream: Stream,
    /// Packets so far: no slice has those of another one.
    next: u32,
    /// Packets of a slice.
    slice: u32,
    /// Packets that the program has seen since it was last asked.
    seen: u64,
}

/// What one round found, ns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// The empty program alone.
    pub(super) empty: f64,
    /// The same, and what the program costs more than it behind the generator.
    pub(super) packet: f64,
}

impl Unit {
    pub(super) fn new() -> Result<Self> {
        let empty = Program::empty()?;
        let jump = Jump::to(&empty)?;
        Ok(Self { empty, jump })
    }
}

impl Probe {
    pub(super) fn new(stream: &Stream, program: &Program, unit: &Unit) -> Result<Self> {
        let jump = Jump::to(program)?;
        let order = if is_endless(stream) { Order::Apart } else { Order::Mixed };
        Ok(Self {
            base: stream.program(order, &unit.jump)?,
            full: stream.program(order, &jump)?,
            in_turn: stream.program(Order::InTurn, &jump)?,
            _jump: jump,
            stream: *stream,
            next: 0,
            slice: SLICE,
            seen: 0,
        })
    }

    /// Sends one packet of each flow, another kind of packet if need be, and returns what the last one met.
    pub(super) fn once(&self) -> Result<u32> {
        let flows = u32::try_from(self.stream.flows()).context("too many flows to send each once")?;
        self.in_turn.run(&self.stream.frame(0), flows)
    }

    /// Sends the packet of one flow, and returns what it met.
    pub(super) fn single(&self, flow: u32) -> Result<u32> {
        self.in_turn.run(&self.stream.frame(flow), 1)
    }

    /// Warms up: the caches have what they can have. Slow programs get shorter slices.
    pub(super) fn warm(&mut self) -> Result<()> {
        let packets = u32::try_from((2 * self.stream.flows()).clamp(WARM, u64::from(SLICE)))?;
        let frame = self.frame(packets);
        time(&self.base, &frame, packets)?;
        let each = time(&self.full, &frame, packets)? / f64::from(packets);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1, at most a slice"
        )]
        let fitting = (SLICE_TAKES / each).clamp(1.0, f64::from(SLICE)) as u32;
        self.slice = fitting;
        Ok(())
    }

    /// Takes the time, all turns together.
    pub(super) fn round(&mut self, unit: &Unit) -> Result<Sample> {
        let mut sums = [0.0; 3];
        for _ in 0..TURNS {
            let frame = self.frame(self.slice);
            for (sum, program) in sums.iter_mut().zip([&unit.empty, &self.base, &self.full]) {
                *sum += time(program, &frame, self.slice)?;
            }
        }
        let [empty, base, full] = sums.map(|sum| sum / f64::from(self.slice * TURNS));
        Ok(Sample { empty, packet: empty + full - base })
    }

    /// The frame in front of the next packets.
    fn frame(&mut self, packets: u32) -> Vec<u8> {
        let frame = self.stream.frame(self.next);
        self.next = self.next.wrapping_add(packets);
        self.seen += u64::from(packets);
        frame
    }

    /// Packets that the program has seen since this was last asked.
    pub(super) fn take_seen(&mut self) -> u64 {
        std::mem::take(&mut self.seen)
    }
}

/// Whether there are so many flows that none comes twice: they are not sent once before.
pub(super) fn is_endless(stream: &Stream) -> bool {
    stream.bits > 16
}

/// ns of some packets.
fn time(program: &Program, frame: &[u8], packets: u32) -> Result<f64> {
    let began = now()?;
    program.run(frame, packets)?;
    Ok((now()? - began).as_secs_f64() * 1e9)
}

fn now() -> Result<Duration> {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("failed to read the thread's clock")?;
    Ok(Duration::from(now))
}

/// Keeps the calling thread where it may be last: the first processor serves more interrupts.
pub(super) fn stay_on_one_processor() -> Result<()> {
    let this = Pid::from_raw(0);
    let may = sched_getaffinity(this).context("failed to ask for processors")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| may.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("no processor")?).context("failed to name a processor")?;
    sched_setaffinity(this, &one).context("failed to stay on one processor")
}
