//! What one run of a program takes: the time of a thread on its processor, many runs at once.
//!
//! In: programs. Out: ns. An empty program, the generator in front of an empty program, and the generator in front of the program that
//! is looked at take turns within a round: what else the machine has to do then changes all three.

use std::time::Duration;

use anyhow::{Context, Error, Result};
use bulkhead_tests::lab::{
    napi,
    program::{Jump, Program},
    stream::{Order, Stream},
};
use nix::time::{ClockId, clock_gettime};

/// The most packets of one slice.
const SLICE: u32 = 125_000;
/// About how long one may take, ns.
const SLICE_TAKES: f64 = 25e6;
/// Turns within a round: an odd number has a middle.
const TURNS: usize = 9;
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
    /// Percent of the packets that were decided: no remembered verdict answered them.
    pub(super) decided: f64,
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

    /// Takes the time: the middle of all turns, whose three times are of one moment.
    pub(super) fn round(&mut self, unit: &Unit) -> Result<Sample> {
        let (mut empties, mut packets) = ([0.0; TURNS], [0.0; TURNS]);
        for turn in 0..TURNS {
            let frame = self.frame(self.slice);
            let take = |program| Ok::<_, Error>(time(program, &frame, self.slice)? / f64::from(self.slice));
            let (empty, base, full) = (take(&unit.empty)?, take(&self.base)?, take(&self.full)?);
            (empties[turn], packets[turn]) = (empty, empty + full - base);
        }
        Ok(Sample { empty: middle(empties), packet: middle(packets), decided: 100.0 })
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

fn middle(mut turns: [f64; TURNS]) -> f64 {
    turns.sort_by(f64::total_cmp);
    turns[TURNS / 2]
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
    napi::pin(0, *napi::processors()?.last().context("no processor")?)
}
