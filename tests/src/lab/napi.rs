//! Who processes what an interface receives: kernel threads of its own (threaded NAPI, Linux 5.12), so that the kernel says how long
//! they worked.
//!
//! In: an interface that receives through NAPI. Out: its threads, on a processor of our choice, and the time they have had on it.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use super::{namespace::Namespace, sys};

/// The threads of one interface.
pub struct Napi {
    threads: Vec<i32>,
}

impl Napi {
    /// Gives an interface threads. The namespace must have a room: its `/sys` shows the namespace's interfaces.
    pub fn threaded(namespace: &Namespace, interface: &str) -> Result<Self> {
        // Other namespaces may have an interface of the same name.
        let before = threads(interface)?;
        let root = format!("/proc/self/task/{}/root", namespace.tid());
        let switch = format!("{root}/sys/class/net/{interface}/threaded");
        fs::write(&switch, "1").with_context(|| format!("failed to give `{interface}` threads"))?;
        let threads: Vec<i32> = threads(interface)?.difference(&before).copied().collect();
        ensure!(!threads.is_empty(), "`{interface}` has got no threads");
        Ok(Self { threads })
    }

    /// Keeps the threads on one processor, before everything there that has a lower priority.
    pub fn pin(&self, processor: usize, priority: i32) -> Result<()> {
        for thread in &self.threads {
            pin(*thread, processor)?;
            first_in_turn(*thread, priority)?;
        }
        Ok(())
    }

    /// How long the threads have worked. Exact while they have nothing to do.
    pub fn worked(&self) -> Result<Duration> {
        let nanoseconds = self.threads.iter().map(|thread| {
            let text = fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
            let first = text.split_whitespace().next().context("an empty schedstat")?;
            Ok(first.parse::<u64>()?)
        });
        let all: Result<u64> = nanoseconds.sum();
        Ok(Duration::from_nanos(all.context("the threads of an interface are gone")?))
    }
}

/// The processors that this process may use, lowest first.
pub fn processors() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("failed to ask for the processors")?;
    Ok((0..CpuSet::count()).filter(|processor| set.is_set(*processor).unwrap_or(false)).collect())
}

/// Keeps a thread on one processor; 0 is the calling one.
pub fn pin(thread: i32, processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(thread), &set)
        .with_context(|| format!("failed to keep a thread on processor {processor}"))
}

/// Gives a thread a turn before everything on its processor that has no such priority, from 1 up; 0 is the calling one.
pub fn first_in_turn(thread: i32, priority: i32) -> Result<()> {
    sys::first_in_turn(thread, priority).context("failed to give a thread priority")
}

/// All threads of interfaces of this name, in whatever namespace.
fn threads(interface: &str) -> Result<BTreeSet<i32>> {
    let start = format!("napi/{interface}-");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").context("failed to list `/proc`")? {
        let name = entry?.file_name();
        let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while they are listed.
        let Ok(comm) = fs::read_to_string(format!("/proc/{thread}/comm")) else { continue };
        if comm.starts_with(&start) {
            found.insert(thread);
        }
    }
    Ok(found)
}
