//! Who sweeps the verdict cache: a thread for each CPU that remembers anything, which waits there until it is asked.
//!
//! In: which CPUs, and how long the asker waits. Out: their counts are in the exact counters, or which CPU is late and how old its
//! counts are. A thread gets to run where nothing of a higher priority does (sched(7)), and that may be never: such a CPU holds up
//! neither whoever asks nor the counters of the others. What is asked for meanwhile is one request.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use aya::util::online_cpus;
use bulkhead_common::layout::Sweep;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{DataplaneError, kernel};

/// Bytes of the stack of a thread, which calls the kernel and little else.
const STACK: usize = 256 << 10;

/// The threads, made when they are first needed.
pub(super) struct Sweepers {
    work: Arc<Work>,
    places: Mutex<BTreeMap<usize, Arc<Place>>>,
}

/// What all of them do.
struct Work {
    program: OwnedFd,
    /// Sets that a CPU has, of the family that has more.
    sets: u32,
}

/// Where a thread and those who ask it meet.
struct Place {
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    /// How often it was asked, and up to which time it has done what it was asked for.
    wanted: u64,
    done: u64,
    /// When the last sweep that is done began.
    fresh: Instant,
    /// Somebody has waited in vain: nobody waits with a deadline again before it is done.
    is_late: bool,
    /// Why the last one failed.
    failed: Option<DataplaneError>,
    /// Nobody will ask any more.
    is_over: bool,
}

impl Sweepers {
    /// Threads that run this program over so many sets.
    pub(super) fn new(program: OwnedFd, sets: u32) -> Self {
        Self { work: Arc::new(Work { program, sets }), places: Mutex::default() }
    }

    /// Sweeps these CPUs, all at the same time, and waits until they are done, or as long as that.
    pub(super) fn sweep(&self, cpus: BTreeSet<usize>, most: Option<Duration>) -> Result<(), DataplaneError> {
        let deadline = most.map(|most| Instant::now() + most);
        let mut places = locked(&self.places);
        // Where nothing is remembered, nothing is old.
        places.iter().filter(|(cpu, _)| !cpus.contains(cpu)).for_each(|(_, place)| place.is_fresh());
        let asked: Vec<_> = cpus.into_iter().map(|cpu| (cpu, self.ask(cpu, &mut places))).collect();
        drop(places);
        let waited = asked.into_iter().map(|(cpu, asked)| {
            let (place, goal) = asked?;
            place.wait(cpu, goal, deadline)
        });
        waited.fold(Ok(()), Result::and)
    }

    /// How old the counts of the CPU are that is most behind; nothing when none is.
    pub(super) fn behind(&self) -> Duration {
        let places = locked(&self.places);
        let ages = places.values().map(|place| {
            let state = locked(&place.state);
            if state.is_late { state.fresh.elapsed() } else { Duration::ZERO }
        });
        ages.max().unwrap_or_default()
    }

    fn ask(
        &self,
        cpu: usize,
        places: &mut BTreeMap<usize, Arc<Place>>,
    ) -> Result<(Arc<Place>, u64), DataplaneError> {
        let place = match places.get(&cpu) {
            Some(place) => place,
            None => places.entry(cpu).or_insert(self.place(cpu)?),
        };
        let mut state = locked(&place.state);
        state.wanted += 1;
        place.moved.notify_all();
        Ok((Arc::clone(place), state.wanted))
    }

    /// A thread that waits to be asked.
    fn place(&self, cpu: usize) -> Result<Arc<Place>, DataplaneError> {
        let state =
            State { wanted: 0, done: 0, fresh: Instant::now(), is_late: false, failed: None, is_over: false };
        let place = Arc::new(Place { state: Mutex::new(state), moved: Condvar::new() });
        let (work, own) = (Arc::clone(&self.work), Arc::clone(&place));
        thread::Builder::new()
            .name(format!("sweep {cpu}"))
            .stack_size(STACK)
            .spawn(move || own.serve(cpu, &work))
            .map_err(|source| DataplaneError::System { act: "begin a thread that counts", source })?;
        Ok(place)
    }
}

impl Drop for Sweepers {
    /// Nobody waits for them: one may never get to run.
    fn drop(&mut self) {
        for place in locked(&self.places).values() {
            locked(&place.state).is_over = true;
            place.moved.notify_all();
        }
    }
}

impl Place {
    /// Sweeps whenever it was asked since it began the last time.
    fn serve(&self, cpu: usize, work: &Work) {
        loop {
            let mut state = locked(&self.state);
            while state.wanted == state.done && !state.is_over {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_over {
                return;
            }
            let goal = state.wanted;
            drop(state);
            let begun = Instant::now();
            let failed = work.sweep(cpu).err();
            let mut state = locked(&self.state);
            (state.done, state.fresh, state.is_late, state.failed) = (goal, begun, false, failed);
            self.moved.notify_all();
        }
    }

    /// There is nothing to do.
    fn is_fresh(&self) {
        let mut state = locked(&self.state);
        if state.wanted == state.done {
            state.fresh = Instant::now();
        }
    }

    /// Waits until what was asked for is done, not beyond the deadline.
    fn wait(&self, cpu: usize, goal: u64, deadline: Option<Instant>) -> Result<(), DataplaneError> {
        let mut state = locked(&self.state);
        while state.done < goal {
            let Some(deadline) = deadline else {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if state.is_late || left.is_zero() {
                state.is_late = true;
                return Err(DataplaneError::Late { cpu, age: state.fresh.elapsed() });
            }
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.failed.take().map_or(Ok(()), Err)
    }
}

impl Work {
    /// Empties what a CPU has counted, if it is there.
    fn sweep(&self, cpu: usize) -> Result<(), DataplaneError> {
        let mut one = CpuSet::new();
        if let Err(error) = one.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one)) {
            let is_there = online_cpus().is_ok_and(|online| online.iter().any(|one| *one as usize == cpu));
            let source = io::Error::from(error);
            let act = "run on each processor, as its counters need (a cpuset?)";
            return if is_there { Err(DataplaneError::System { act, source }) } else { Ok(()) };
        }
        let stride = usize::try_from(Sweep::STRIDE).unwrap_or(1);
        for begin in (0..self.sets).step_by(stride) {
            // The shortest frame there may be.
            let mut frame = [0; 14];
            frame[..4].copy_from_slice(&begin.to_ne_bytes());
            match kernel::run_once(self.program.as_fd(), &frame) {
                Ok(()) => {}
                // A signal that came meanwhile: it ran all the same.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(DataplaneError::System { act: "run the sweep", source }),
            }
        }
        Ok(())
    }
}

/// What is behind a lock. Whoever panicked with it left what is right word by word.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
