//! What was denied and passed, for whoever plans to enforce: what the agent saw since it began, and what the kernel had
//! counted before. In: what is remembered, and how old it may be. Out: a [`Past`], in names and not in the kernel's ids.

use std::{collections::BTreeMap, time::Duration};

use bulkhead_common::{
    layout::{SegmentRow, ViolationKey},
    reason::{CODES, Reason},
};

use super::report::Reporter;
use crate::{
    config::Config,
    dataplane::{Dataplane, DataplaneError, monotonic_ns},
    observe::{Aggregate, Clock, Fold, Forgotten, Passed, Teller, render},
    report::plan::{KnownCount, KnownDenial, Past},
};

/// What the kernel had counted when the agent began.
#[derive(Debug, Default)]
pub(super) struct Began {
    /// Monotonic time, ns.
    at: u64,
    /// Denied packets by the stable id of the device and the reason.
    counts: Vec<(u32, u8, u64)>,
    /// Denied packets that were told to nobody.
    lost: u64,
}

impl Began {
    /// Counts of the devices with these stable ids at this moment. What cannot be read is not known.
    pub(super) fn with(dataplane: &Dataplane, devices: &[u32]) -> Result<Self, DataplaneError> {
        let mut counts = Vec::new();
        for id in devices {
            let all = (0..).zip(dataplane.device_counts(*id)?).take(CODES as usize);
            let denied = all.filter(|(code, count)| *count > 0 && Reason::from_code(*code).is_some());
            counts.extend(denied.map(|(code, count)| (*id, code, count)));
        }
        Ok(Self { at: monotonic_ns(), counts, lost: dataplane.tally()?.lost })
    }
}

/// Names of the devices in force by their stable ids.
pub(super) type Devices = BTreeMap<u32, String>;

impl Reporter {
    /// What was denied and passed in the last `recent`.
    pub(super) fn past(
        &self,
        recent: Duration,
        dataplane: &Dataplane,
        config: &Config,
        devices: &Devices,
    ) -> Result<Past, DataplaneError> {
        let now = monotonic_ns();
        let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        let passed = self.tolerated.passed().filter(|one| since(one.last_ns) <= recent);
        let passed = passed.map(|one| self.denial(one, now, config, devices));
        let (forgotten, (beyond, last)) = self.tolerated.forgotten();
        let forgotten = forgotten.filter(|one| since(one.last_ns) <= recent);
        let mut uncounted: Vec<(u32, u8, u64)> = forgotten
            .map(|Forgotten { device, reason, packets, last_ns: _ }| (device, reason, packets))
            .collect();
        let remembered = since(self.began.at);
        if remembered < recent {
            uncounted.extend(&self.began.counts);
        }
        let counted = |(id, reason, packets): (u32, u8, u64)| {
            Some(KnownCount { device: devices.get(&id)?.clone(), reason, packets })
        };
        let beyond = if since(last) <= recent { beyond } else { 0 };
        Ok(Past {
            passed: passed.collect(),
            uncounted: uncounted.into_iter().filter_map(counted).collect(),
            remembered,
            lost: dataplane.tally()?.lost.saturating_sub(self.began.lost) + beyond,
        })
    }

    fn denial(&self, one: &Passed, now: u64, config: &Config, devices: &Devices) -> KnownDenial {
        let Passed { key, generation, packets, first_ns, last_ns, other_port } = *one;
        let aggregate = Aggregate {
            key: ViolationKey { generation, ..key },
            packets,
            bytes: 0,
            first_ns,
            last_ns,
            sample: None,
            fold: Fold::Alike,
        };
        let clock = Clock { wall: jiff::Timestamp::UNIX_EPOCH, mono_ns: now };
        let record = render(&aggregate, &self.names, &clock, &Teller::default(), 0);
        KnownDenial {
            key,
            ends: [key.device, key.source_device, key.destination_device].map(|id| devices.get(&id).cloned()),
            names: [record.source.name, record.destination.name],
            segment: segment(config, &record.interface, key.vlan),
            other_port,
            packets,
            idle: Duration::from_nanos(now.saturating_sub(last_ns)),
            age: Duration::from_nanos(now.saturating_sub(first_ns)),
        }
    }
}

/// What an interface and VLAN are by the configuration.
fn segment(config: &Config, interface: &str, vlan: u16) -> SegmentRow {
    let here = config.segments_on(interface);
    let own = here.iter().find(|(_, segment)| segment.vlan == Some(vlan)).or(here.first());
    own.map_or_else(SegmentRow::default, |(id, segment)| segment.row(*id))
}
