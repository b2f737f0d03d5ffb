//! What a running process takes. In: its id. Out: numbers of the kernel.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sys::time::TimeSpec,
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// KiB now (`VmRSS` of proc(5)).
    pub now: u32,
    /// KiB at its peak (`VmHWM`).
    pub peak: u32,
}

/// Time that it has had on a processor, threads that ended included.
pub fn processor(pid: u32) -> Result<Duration> {
    let pid = Pid::from_raw(i32::try_from(pid).context("no process has such an id")?);
    let clock = clock_getcpuclockid(pid).context("failed to find the agent's clock")?;
    let time: TimeSpec = clock_gettime(clock).context("failed to read the agent's clock")?;
    Ok(Duration::from(time))
}

/// Its memory.
pub fn memory(pid: u32) -> Result<Memory> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/status")).context("failed to read the agent's status")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
        number.with_context(|| format!("no `{name}` in the agent's status"))
    };
    Ok(Memory { now: field("VmRSS")?, peak: field("VmHWM")? })
}

/// Kernel memory in KiB of the BPF maps that a process holds open. Tables that only a pin or another
/// table holds are not among them.
pub fn maps(pid: u32) -> Result<f64> {
    Ok(each_map(pid)?.into_values().sum())
}

/// The same of each map, by its id.
pub fn each_map(pid: u32) -> Result<BTreeMap<u64, f64>> {
    let mut found: BTreeMap<u64, f64> = BTreeMap::new();
    let folder = format!("/proc/{pid}/fdinfo");
    for entry in fs::read_dir(&folder).with_context(|| format!("failed to list `{folder}`"))? {
        // A descriptor may be closed while they are listed.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            #[expect(clippy::cast_precision_loss, reason = "a map has less than 2^52 bytes")]
            found.insert(id, bytes as f64 / 1024.0);
        }
    }
    Ok(found)
}
