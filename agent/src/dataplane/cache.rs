//! The verdict cache, from user space: how large it is, what the program must know of it, and how its counts come into the
//! counters that are exact.
//!
//! Each CPU has a part of its own, which only programs on that CPU touch. So [`Dataplane::collect`] has the `sweep` of the
//! object run on each of them ([`super::sweepers`]).

use std::{collections::BTreeSet, fs::File, io::Read, os::fd::AsFd, time::Duration};

use aya::{Ebpf, EbpfLoader, maps::PerCpuValues, programs::Xdp, util::nr_cpus};
use bulkhead_common::{
    cache::{Entry4, Entry6, WAYS},
    forward::{self, Hop},
    layout::Sweep,
};
use nix::time::{ClockId, clock_getres};

use super::{Dataplane, DataplaneError, read, sweepers::Sweepers};

/// Random numbers from the kernel (urandom(4)).
const RANDOM: &str = "/dev/urandom";
/// The program that empties a CPU's part.
pub(super) const SWEEP: &str = "sweep";
/// Bytes that the cache takes of the kernel's memory at most, whatever the number of CPUs.
const MOST: usize = 64 << 20;
/// How long a change waits for the counters: numbers of devices, rules and interfaces may change hands in it.
const CHANGE_WAITS: Duration = Duration::from_secs(1);
/// Verdicts that a conversation should find room for on a processor: it has two directions, and a set of four places takes what its hash
/// brings there.
pub const VERDICTS_OF_ONE: u32 = 4;
/// Entries for IPv4 to each one for IPv6, which is twice as large: each family gets the same memory.
const V4_TO_V6: u32 = 2;

/// Sets of the cache over all CPUs, of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSizes {
    /// For IPv4.
    pub v4: u32,
    /// For IPv6.
    pub v6: u32,
    /// Of ways that packets take, where an interface forwards directly; 0 where none does. It may change with every start.
    pub hops: u32,
}

impl CacheSizes {
    /// Room for so many verdicts on each CPU, in whole powers of two; less on a machine with very many CPUs.
    pub fn holding(verdicts: u32) -> Self {
        let cpus = u32::try_from(cpus()).unwrap_or(1);
        let sets = |verdicts: u32, entry: usize| {
            let most = u32::try_from(MOST / 2 / entry / cpus as usize).unwrap_or(u32::MAX);
            let sets = verdicts.min(most) / u32::try_from(WAYS).unwrap_or(1);
            power_of_two_below(sets.max(1)) * cpus
        };
        let v6 = sets(verdicts / V4_TO_V6, size_of::<Entry6>());
        Self { v4: sets(verdicts, size_of::<Entry4>()), v6, hops: 0 }
    }

    /// The same, with room for ways: as many bytes as for verdicts on IPv4.
    #[must_use]
    pub fn with_hops(self) -> Self {
        let times = forward::WAYS * size_of::<Hop>() / (WAYS * size_of::<Entry4>());
        Self { hops: self.v4 / u32::try_from(times).unwrap_or(1), ..self }
    }

    /// Verdicts of IPv4 that each CPU can remember.
    pub fn verdicts(self) -> u32 {
        self.each().v4 * u32::try_from(WAYS).unwrap_or(1)
    }

    /// Sets of one CPU.
    fn each(self) -> Self {
        let cpus = u32::try_from(cpus()).unwrap_or(1);
        let of_one = |sets: u32| power_of_two_below(sets / cpus);
        Self { v4: of_one(self.v4), v6: of_one(self.v6), hops: of_one(self.hops) }
    }
}

/// CPUs that there may ever be while the machine runs; their numbers are below it.
pub(super) fn cpus() -> usize {
    nr_cpus().unwrap_or(1).max(1)
}

/// The largest power of two that is not above a number; 0 of 0.
fn power_of_two_below(number: u32) -> u32 {
    number.checked_ilog2().map_or(0, |log| 1 << log)
}

/// What the program must know when it is loaded: an attacker who knew the seeds could make flows meet in one set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants {
    sets_v4: u32,
    sets_v6: u32,
    hop_sets: u32,
    seeds: [u64; 2],
    tick: u32,
}

impl Constants {
    /// For a cache of these sizes.
    pub(super) fn of(sizes: CacheSizes) -> Result<Self, DataplaneError> {
        let CacheSizes { v4, v6, hops } = sizes.each();
        let mut seeds = [[0; 8]; 2];
        let fill = |seeds: &mut [[u8; 8]; 2]| File::open(RANDOM)?.read_exact(seeds.as_flattened_mut());
        fill(&mut seeds).map_err(|source| DataplaneError::System { act: "read random numbers", source })?;
        let seeds = seeds.map(u64::from_ne_bytes);
        Ok(Self { sets_v4: v4, sets_v6: v6, hop_sets: hops, seeds, tick: tick()? })
    }

    /// Writes them where the object has them.
    pub(super) fn put<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        let Self { sets_v4, sets_v6, hop_sets, seeds: [a, b], tick } = self;
        let numbers =
            [("CACHE_SETS_V4", sets_v4), ("CACHE_SETS_V6", sets_v6), ("HOP_SETS", hop_sets), ("TICK", tick)];
        for (name, value) in numbers {
            loader.override_global(name, value, true);
        }
        for (name, value) in [("CACHE_SEED_0", a), ("CACHE_SEED_1", b)] {
            loader.override_global(name, value, true);
        }
    }
}

/// Nanoseconds of a tick of the kernel's clock: what its coarse clocks resolve (clock_getres(2)).
fn tick() -> Result<u32, DataplaneError> {
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_err(|e| DataplaneError::System { act: "ask for the tick of the clock", source: e.into() })?;
    Ok(u32::try_from(resolution.tv_nsec()).unwrap_or(1).max(1))
}

impl Dataplane {
    /// Brings the counters and the flows up to what the verdict cache has counted so far. A thread on each CPU that remembers anything
    /// takes about a millisecond for it. What one that is not there has counted comes later: when its flows go on, or the
    /// CPU is back.
    ///
    /// # Errors
    /// When the kernel does not run the program, or not on a CPU that is there: the others are swept all the same.
    pub fn collect(&self) -> Result<(), DataplaneError> {
        self.sweepers.sweep(self.filled()?, None)
    }

    /// [`Dataplane::collect`] for somebody who cannot wait for longer than that. Who was late is not waited for again until it is done.
    ///
    /// # Errors
    /// As above, and [`DataplaneError::Late`] when a CPU does not let the agent run.
    pub fn collect_within(&self, most: Duration) -> Result<(), DataplaneError> {
        self.sweepers.sweep(self.filled()?, Some(most))
    }

    /// How old what is counted of the CPU is that is most behind; nothing while all are in time.
    pub fn counters_behind(&self) -> Duration {
        self.sweepers.behind()
    }

    /// [`Dataplane::collect_within`] where something else is being done, which no counter may stop.
    pub(super) fn collect_or_warn(&self) {
        if let Err(error) = self.collect_within(CHANGE_WAITS) {
            tracing::warn!("{error}; some packets may be counted for another device, rule or interface");
        }
    }

    /// The CPUs of which there may be anything to sweep.
    fn filled(&self) -> Result<BTreeSet<usize>, DataplaneError> {
        let sweeps: PerCpuValues<Sweep> = self.sweep.get(&0, 0).map_err(read("SWEEP"))?;
        Ok((0..).zip(sweeps.iter()).filter(|(_, sweep)| sweep.is_needed()).map(|(cpu, _)| cpu).collect())
    }
}

/// Those who sweep with the program of an object.
pub(super) fn sweepers(ebpf: &Ebpf, sizes: CacheSizes) -> Result<Sweepers, DataplaneError> {
    let program = ebpf.program(SWEEP).and_then(|program| <&Xdp>::try_from(program).ok());
    let program = program.expect("the object is built with this XDP program");
    let fd = program.fd().map_err(|source| DataplaneError::Program { name: SWEEP, source })?;
    let fd = fd.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|source| DataplaneError::System { act: "copy a descriptor", source })?;
    let CacheSizes { v4, v6, hops: _ } = sizes.each();
    Ok(Sweepers::new(fd, v4.max(v6)))
}
