//! The two system calls without a wrapper.
#![allow(unsafe_code, reason = "system calls that neither aya nor nix wraps")]

use std::io;

use super::DataplaneError;

/// Waits until every packet that is being judged now has been judged.
///
/// MEMBARRIER_CMD_GLOBAL waits for an RCU grace period (membarrier(2), Linux 4.3), and an XDP program
/// runs inside one RCU read-side section.
///
/// # Errors
/// When the kernel has no such barrier.
pub fn rcu_grace() -> Result<(), DataplaneError> {
    // SAFETY: the call takes three integers and touches no memory of ours.
    // JUSTIFICATION: neither libc nor nix wraps membarrier(2).
    let done = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done == 0 {
        return Ok(());
    }
    Err(DataplaneError::System { act: "wait for packets in flight", source: io::Error::last_os_error() })
}

/// The clock that packets are stamped with, ns: CLOCK_MONOTONIC, as `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    let time =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}
