//! The clocks that a deadline needs, and a name for the counters of the kernel that no later boot has again.

use std::{fs, time::Duration};

use nix::time::{ClockId, clock_gettime};

use crate::{
    dataplane::{Dataplane, DataplaneError},
    store::Clocks,
};

/// Names the boot, 36 characters (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What they say now.
pub(super) fn clocks() -> Clocks {
    // Without `/proc` the wall clock decides.
    let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has this clock");
    Clocks { boot, up: Duration::from(up), wall: jiff::Timestamp::now() }
}

/// Names the counters in a map of the kernel, by the boot and the map: either alone may be another's number.
///
/// # Errors
/// When the kernel does not say which map it is.
pub(super) fn counters(dataplane: &Dataplane, map: &'static str) -> Result<String, DataplaneError> {
    Ok(format!("{} {}", clocks().boot, dataplane.counters(map)?))
}
