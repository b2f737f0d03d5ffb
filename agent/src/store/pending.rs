//! A change that waits for its confirmation, and when it is undone without one.
//!
//! In: the clocks, as arguments. Out: how much time is left. Within one boot the kernel's own clock counts, which
//! nobody sets. It ends with the boot, so after one the wall clock decides; one that went backwards has nothing to
//! say, and then the time is over.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{AcceptedSet, Who};

/// The clocks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Names the boot (`/proc/sys/kernel/random/boot_id`); empty when it is not known.
    pub boot: String,
    /// Since that boot, suspended time included (`CLOCK_BOOTTIME`).
    pub up: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

/// A moment that survives the agent and the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The boot in which it was set.
    boot: String,
    /// The moment in that boot, milliseconds.
    up_ms: u64,
    /// When it was set.
    set: Timestamp,
    /// The moment by the wall clock.
    pub until: Timestamp,
}

/// A change that is undone unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The revision that waits.
    pub number: u64,
    /// The revision that comes back.
    pub back_to: u64,
    /// When.
    pub deadline: Deadline,
    /// Who made the change.
    pub by: Who,
    /// The newest signed set that was in force before it: what nobody confirms was never accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedSet>,
}

impl Deadline {
    /// The moment `time` from now.
    pub fn after(time: Duration, now: &Clocks) -> Self {
        let up = now.up.saturating_add(time).as_millis();
        let until = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        Self {
            boot: now.boot.clone(),
            up_ms: u64::try_from(up).unwrap_or(u64::MAX),
            set: now.wall,
            until: now.wall.saturating_add(until).unwrap_or(Timestamp::MAX),
        }
    }

    /// The time left; `None` when it is over.
    pub fn left(&self, now: &Clocks) -> Option<Duration> {
        let left = if self.is_of(now) {
            Duration::from_millis(self.up_ms).checked_sub(now.up)?
        } else {
            if now.wall < self.set {
                return None;
            }
            Duration::try_from(self.until.duration_since(now.wall)).ok()?
        };
        (!left.is_zero()).then_some(left)
    }

    /// The same moment by the clocks of this boot; `None` when it is over.
    pub fn carried_over(&self, now: &Clocks) -> Option<Self> {
        let left = self.left(now)?;
        if self.is_of(now) {
            return Some(self.clone());
        }
        Some(Self { until: self.until, ..Self::after(left, now) })
    }

    fn is_of(&self, now: &Clocks) -> bool {
        !self.boot.is_empty() && self.boot == now.boot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn clocks(boot: &str, up: u64, wall: &str) -> Clocks {
        Clocks { boot: boot.into(), up: Duration::from_secs(up), wall: wall.parse().expect("a time") }
    }

    fn armed() -> Deadline {
        Deadline::after(10 * MINUTE, &clocks("a", 1000, "2026-11-22T10:00:00Z"))
    }

    #[test]
    fn within_a_boot_only_its_own_clock_counts() {
        let deadline = armed();
        assert_eq!(deadline.left(&clocks("a", 1000, "2026-11-22T10:00:00Z")), Some(10 * MINUTE));
        // Whatever is done to the wall clock.
        assert_eq!(deadline.left(&clocks("a", 1060, "2036-01-01T00:00:00Z")), Some(9 * MINUTE));
        assert_eq!(deadline.left(&clocks("a", 1060, "1970-01-01T00:00:00Z")), Some(9 * MINUTE));
        assert_eq!(deadline.left(&clocks("a", 1600, "2026-11-22T10:00:00Z")), None);
        assert_eq!(deadline.left(&clocks("a", 5000, "2026-11-22T10:00:00Z")), None);
    }

    #[test]
    fn after_a_boot_the_wall_clock_decides() {
        let deadline = armed();
        assert_eq!(deadline.left(&clocks("b", 20, "2026-11-22T10:04:00Z")), Some(6 * MINUTE));
        assert_eq!(deadline.left(&clocks("b", 20, "2026-11-22T10:10:00Z")), None);
        assert_eq!(deadline.left(&clocks("b", 20, "2027-11-22T10:10:00Z")), None);
    }

    #[test]
    fn a_clock_that_went_back_over_a_boot_ends_the_time() {
        assert_eq!(armed().left(&clocks("b", 20, "2026-11-22T09:59:59Z")), None);
        assert_eq!(armed().left(&clocks("b", 20, "1970-01-01T00:00:20Z")), None);
    }

    #[test]
    fn an_unknown_boot_is_another_one() {
        let deadline = Deadline::after(MINUTE, &clocks("", 1000, "2026-11-22T10:00:00Z"));
        assert_eq!(deadline.left(&clocks("", 3, "2026-11-22T10:00:40Z")), Some(MINUTE / 3));
    }

    #[test]
    fn carried_over_a_boot_it_is_the_same_moment_by_the_new_clock() {
        let now = clocks("b", 20, "2026-11-22T10:04:00Z");
        let carried = armed().carried_over(&now).expect("six minutes are left");
        assert_eq!(carried.left(&now), Some(6 * MINUTE));
        assert_eq!(carried.left(&clocks("b", 80, "1970-01-01T00:00:00Z")), Some(5 * MINUTE));
        assert_eq!(carried.until, armed().until);
        // A clock that goes back over the next boot, though not behind the first, ends it as well.
        assert_eq!(carried.left(&clocks("c", 5, "2026-11-22T10:03:59Z")), None);
        assert_eq!(armed().carried_over(&clocks("b", 20, "2026-11-22T10:10:00Z")), None);
        let same = clocks("a", 1200, "2026-11-22T10:03:20Z");
        assert_eq!(armed().carried_over(&same), Some(armed()));
    }
}
