//! Keeps the kernel's leases true: the time that a server really gave, forgotten when it is over, remembered over a
//! reboot.
//!
//! The kernel binds an address the moment a server names it, for a while; here the answer is read and the while
//! becomes the lease. Leases are kept in the state folder by the wall clock, because the kernel's own clock ends with
//! the boot.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bulkhead_common::{address::Address, layout::Lease, lookup::device_flag, wire::mac};
use jiff::{SignedDuration, Timestamp};

use super::Agent;
use crate::{
    control::LeaseStatus,
    dataplane::{Dataplane, DataplaneError, monotonic_ns},
    lease::granted,
    model::Mac,
    store::{KeptLease, LEASES, Leases, Store},
};

/// How often leases are looked through and written: a lease is hours long, and a disk may be an SD card.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// In ns.
const SECOND: u64 = 1_000_000_000;

/// What the agent knows of leases besides the kernel's table.
pub(super) struct LeaseKeeper {
    looked: Option<Instant>,
    /// What is in the state folder.
    kept: Leases,
    /// Answers of servers that were read.
    pub(super) read: u64,
}

impl LeaseKeeper {
    /// Puts back what the state folder remembers and the kernel does not: it does after an agent's restart, not after
    /// the machine's.
    pub(super) fn restore(store: &Store, dataplane: &mut Dataplane) -> Result<Self, DataplaneError> {
        let kept: Leases = match store.load(LEASES) {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                // Devices ask for their leases again in time.
                tracing::error!("leases that were remembered are lost: {error}");
                Leases::default()
            }
        };
        let known = dataplane.leases()?;
        let (wall, now) = (Timestamp::now(), monotonic_ns());
        for (address, lease) in kept.alive(wall, now) {
            if !known.iter().any(|(there, _)| *there == address)
                && let Err(error) = dataplane.set_lease(address, lease)
            {
                tracing::error!("a lease that was remembered is lost: {error}");
            }
        }
        Ok(Self { looked: None, kept, read: 0 })
    }
}

impl Agent {
    /// Reads the answer of a server, which the data path allowed at a time.
    pub(super) fn take_leases(&mut self, frame: &[u8], time: u64) {
        self.leases.read += 1;
        for granted in granted(frame) {
            let tables = self.dataplane.applied().map(|applied| &applied.tables);
            let row = tables.and_then(|tables| tables.macs.get(&granted.mac));
            let is_clients = row.is_some_and(|row| row.flags & device_flag::LEASED != 0);
            if !is_clients || granted.address.is_martian_source() {
                continue;
            }
            let length = match granted.seconds {
                u32::MAX => u64::MAX,
                seconds => u64::from(seconds) * SECOND,
            };
            let lease = Lease { mac: granted.mac, expires: time.saturating_add(length), length };
            match self.dataplane.set_lease(granted.address, lease) {
                Ok(()) => {
                    let mac = Mac(mac::octets(granted.mac)).to_string();
                    let address = std::net::IpAddr::from(granted.address);
                    tracing::info!(%address, mac, seconds = granted.seconds, "lease");
                }
                Err(error) => tracing::error!("{error}"),
            }
        }
    }

    /// The leases that are not over, by hardware address.
    pub(super) fn leased(&self) -> Result<BTreeMap<u64, Vec<LeaseStatus>>, DataplaneError> {
        let now = monotonic_ns();
        let mut leased: BTreeMap<u64, Vec<LeaseStatus>> = BTreeMap::new();
        for (address, lease) in self.dataplane.leases()? {
            if lease.expires > now {
                leased.entry(lease.mac).or_default().push(LeaseStatus {
                    address: std::net::IpAddr::from(address).to_string(),
                    seconds_left: (lease.expires != u64::MAX).then(|| (lease.expires - now) / 1_000_000_000),
                });
            }
        }
        Ok(leased)
    }

    /// Forgets leases that are over, and writes down what has changed.
    pub(super) fn look_after_leases(&mut self) {
        if self.leases.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.leases.looked = Some(Instant::now());
        if let Err(error) = self.keep_leases() {
            tracing::error!("{error}");
        }
    }

    /// Forgets what is over and writes the rest to the state folder, if it is other than what is there.
    pub(super) fn keep_leases(&mut self) -> Result<(), DataplaneError> {
        let (wall, now) = (Timestamp::now(), monotonic_ns());
        let mut alive = Vec::new();
        for (address, lease) in self.dataplane.leases()? {
            if lease.expires <= now {
                self.dataplane.remove_lease(address)?;
            } else {
                alive.push((address, lease));
            }
        }
        let leases = Leases::at(wall, now, &alive);
        if leases.same_as(&self.leases.kept) {
            return Ok(());
        }
        match self.store.save(LEASES, &leases) {
            Ok(()) => self.leases.kept = leases,
            Err(error) => {
                tracing::error!("leases could not be written, and will be lost with a reboot: {error}")
            }
        }
        Ok(())
    }
}

/// Two clocks are read one after the other; what differs by less is the same.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

impl Leases {
    /// The kernel's leases by the wall clock.
    fn at(wall: Timestamp, now: u64, leases: &[(Address, Lease)]) -> Self {
        let until = |lease: &Lease| {
            if lease.expires == u64::MAX {
                return None;
            }
            let left = SignedDuration::from_nanos(i64::try_from(lease.expires - now).unwrap_or(i64::MAX));
            wall.saturating_add(left).ok()
        };
        let kept = leases.iter().map(|(address, lease)| KeptLease {
            address: (*address).into(),
            mac: Mac(mac::octets(lease.mac)).to_string(),
            until: until(lease),
            seconds: (lease.length != u64::MAX).then_some(lease.length / SECOND),
        });
        Self { at: Some(wall), leases: kept.collect() }
    }

    /// The leases that are not over, by the kernel's clock. A wall clock that went back lengthens none: what was left
    /// when they were written is the most there can be.
    fn alive(&self, wall: Timestamp, now: u64) -> Vec<(Address, Lease)> {
        let alive = self.leases.iter().filter_map(|kept| {
            let mac = mac::from_octets(kept.mac.parse::<Mac>().ok()?.0);
            let expires = match kept.until {
                None => u64::MAX,
                Some(until) => {
                    let longest = self.at.map(|at| until.duration_since(at));
                    let left = until.duration_since(wall);
                    let left = longest.map_or(left, |longest| left.min(longest));
                    now.saturating_add(u64::try_from(left.as_nanos()).ok().filter(|left| *left > 0)?)
                }
            };
            let length = kept.seconds.map_or(u64::MAX, |seconds| seconds.saturating_mul(SECOND));
            Some((kept.address.into(), Lease { mac, expires, length }))
        });
        alive.collect()
    }

    fn same_as(&self, other: &Self) -> bool {
        let same = |a: &KeptLease, b: &KeptLease| {
            let times = match (a.until, b.until) {
                (None, None) => true,
                (Some(a), Some(b)) => a.duration_since(b).abs() < SLACK,
                (Some(_), None) | (None, Some(_)) => false,
            };
            a.address == b.address && a.mac == b.mac && times
        };
        self.leases.len() == other.leases.len()
            && self.leases.iter().zip(&other.leases).all(|(a, b)| same(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn one(expires: u64) -> Vec<(Address, Lease)> {
        let address = Address::from(std::net::Ipv4Addr::new(10, 20, 1, 77));
        let length = if expires == u64::MAX { u64::MAX } else { 3600 * SECOND };
        vec![(address, Lease { mac: 0x001d_9cc7_b070, expires, length })]
    }

    #[test]
    fn a_lease_survives_a_boot_by_the_wall_clock() {
        let kept = Leases::at(time("2026-11-22T10:00:00Z"), 500 * SECOND, &one(4100 * SECOND));
        // An hour was left; ten minutes later, on a clock that began anew, fifty are.
        assert_eq!(kept.alive(time("2026-11-22T10:10:00Z"), 20 * SECOND), one(3020 * SECOND));
        assert_eq!(kept.alive(time("2026-11-22T11:00:00Z"), 20 * SECOND), []);
    }

    #[test]
    fn a_clock_that_went_back_lengthens_no_lease() {
        let kept = Leases::at(time("2026-11-22T10:00:00Z"), 500 * SECOND, &one(4100 * SECOND));
        assert_eq!(kept.alive(time("2020-01-01T00:00:00Z"), 0), one(3600 * SECOND));
    }

    #[test]
    fn a_lease_for_ever_stays_one() {
        let kept = Leases::at(time("2026-11-22T10:00:00Z"), 0, &one(u64::MAX));
        assert_eq!(kept.alive(time("2036-11-22T10:00:00Z"), 5), one(u64::MAX));
    }

    #[test]
    fn reading_the_clocks_again_is_no_change() {
        let first = Leases::at(time("2026-11-22T10:00:00Z"), 500 * SECOND, &one(4100 * SECOND));
        let later = Leases::at(time("2026-11-22T10:00:30.001Z"), 530 * SECOND, &one(4100 * SECOND));
        assert!(first.same_as(&later));
        let renewed = Leases::at(time("2026-11-22T10:00:30Z"), 530 * SECOND, &one(5000 * SECOND));
        assert!(!first.same_as(&renewed));
    }
}
