//! Exact counters: per-CPU, so no packet is ever lost to a race.

use bulkhead_common::{
    decide::{Action, Decision, Verdict},
    layout::Traffic,
    reason::CODES,
};

use crate::maps::{DEVICE_COUNTS, PORT_COUNTS, RULE_COUNTS};

#[inline(always)]
fn add(traffic: &mut Traffic, len: u32) {
    traffic.packets += 1;
    traffic.bytes += u64::from(len);
}

/// Counts a decided packet once for its device and reason, once for its rule, once for its interface.
#[inline(always)]
pub fn count(decision: &Decision, interface: u32, len: u32) {
    let (code, denied) = match decision.verdict {
        Verdict::Allow(grant) => (grant.code(), false),
        Verdict::Deny(reason) => (reason.code(), true),
    };
    device(decision.device, code);
    if decision.rule != 0
        && let Some(traffic) = RULE_COUNTS.get_ptr_mut(decision.rule)
    {
        // SAFETY: this CPU's own element; XDP is not preempted by XDP on one CPU.
        add(unsafe { &mut *traffic }, len);
    }
    port(decision.action, denied, interface, len);
}

/// Counts a packet for a device under the code of its grant or reason.
#[inline(always)]
pub fn device(id: u32, code: u8) {
    let Some(counts) = DEVICE_COUNTS.get_ptr_mut(id) else { return };
    // The compiler knows every code and drops the mask that the verifier needs; a volatile read makes it
    // forget.
    // SAFETY: reads a local.
    let code = unsafe { (&raw const code).read_volatile() } as usize & (CODES as usize - 1);
    // SAFETY: this CPU's own element, and `code` is below its length.
    unsafe { (*counts)[code] += 1 };
}

/// Counts a packet for its interface: `seen = passed + dropped`.
#[inline(always)]
pub fn port(action: Action, denied: bool, interface: u32, len: u32) {
    let Some(counters) = PORT_COUNTS.get_ptr_mut(interface) else { return };
    // SAFETY: as above.
    let counters = unsafe { &mut *counters };
    add(&mut counters.seen, len);
    match action {
        Action::Pass => {
            add(&mut counters.passed, len);
            if denied {
                add(&mut counters.would_drop, len);
            }
        }
        Action::Drop => add(&mut counters.dropped, len),
    }
}
