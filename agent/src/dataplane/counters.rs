//! Exact counters, summed over the CPUs at the moment of asking.
//!
//! Each takes a call: whoever wants those of all devices and rules reads them through handles of its own, beside the agent's
//! other work.

use std::iter;

use aya::maps::{MapData, MapInfo, PerCpuArray};
use bulkhead_common::{
    layout::{InterfaceCounters, Traffic, tally},
    reason::CODES,
};

use super::{Dataplane, DataplaneError, read, reopen};

/// Packets of one device by the code of their grant or reason.
pub type DeviceCounts = [u64; CODES as usize];

/// What became of the denied packets. `violations = delivered + aggregated + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Packets with a deny verdict.
    pub violations: u64,
    /// Became an event in the ring.
    pub delivered: u64,
    /// Counted in the table of repeats.
    pub aggregated: u64,
    /// Found room in neither; still in the device counters.
    pub lost: u64,
    /// Flows that could not be remembered.
    pub flows_refused: u64,
    /// Flows that were remembered anew: what is not in the table any more made room for others.
    pub flows_made: u64,
    /// First fragments that could not be remembered.
    pub fragments_refused: u64,
    /// Leases that could not be remembered.
    pub leases_refused: u64,
    /// Answers of DHCP servers that user space did not get to read.
    pub samples_lost: u64,
}

/// Reads the counters of devices and rules.
pub struct CounterReader {
    devices: PerCpuArray<MapData, DeviceCounts>,
    rules: PerCpuArray<MapData, Traffic>,
}

/// Reads what became of denied packets and of flows.
pub struct TallyReader(PerCpuArray<MapData, u64>);

impl TallyReader {
    /// As [`Dataplane::tally`].
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read(&self) -> Result<Tally, DataplaneError> {
        read_tally(&self.0)
    }
}

impl CounterReader {
    /// As [`Dataplane::device_counts`].
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn device(&self, id: u32) -> Result<DeviceCounts, DataplaneError> {
        device_counts(&self.devices, id)
    }

    /// As [`Dataplane::rule_counts`].
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn rule(&self, id: u32) -> Result<Traffic, DataplaneError> {
        rule_counts(&self.rules, id)
    }
}

impl Dataplane {
    /// Counts of the device with a stable id; id 0 is traffic of which neither end is managed.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn device_counts(&self, id: u32) -> Result<DeviceCounts, DataplaneError> {
        device_counts(&self.device_counts, id)
    }

    /// Packets and bytes that the rule with a stable id allowed.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn rule_counts(&self, id: u32) -> Result<Traffic, DataplaneError> {
        rule_counts(&self.rule_counts, id)
    }

    /// Handles to the counters of devices and rules that do not need the data path.
    ///
    /// # Errors
    /// When a pinned map cannot be opened.
    pub fn counter_reader(&self) -> Result<CounterReader, DataplaneError> {
        let (devices, rules) = (self.another_handle("DEVICE_COUNTS")?, self.another_handle("RULE_COUNTS")?);
        Ok(CounterReader {
            devices: PerCpuArray::try_from(devices).map_err(reopen("DEVICE_COUNTS"))?,
            rules: PerCpuArray::try_from(rules).map_err(reopen("RULE_COUNTS"))?,
        })
    }

    /// Counters of the interface with a counter index.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn interface_counts(&self, index: u32) -> Result<InterfaceCounters, DataplaneError> {
        let cpus = self.port_counts.get(&index, 0).map_err(read("PORT_COUNTS"))?;
        Ok(cpus.iter().fold(InterfaceCounters::default(), |sum, cpu| InterfaceCounters {
            seen: add(sum.seen, cpu.seen),
            passed: add(sum.passed, cpu.passed),
            dropped: add(sum.dropped, cpu.dropped),
            would_drop: add(sum.would_drop, cpu.would_drop),
            remembered: sum.remembered + cpu.remembered,
        }))
    }

    /// The number of a map of counters, in this boot: those of another one began at nothing.
    ///
    /// # Errors
    /// When the kernel does not say what it is.
    pub fn counters(&self, map: &'static str) -> Result<u32, DataplaneError> {
        let open = |source| DataplaneError::Map { act: "ask", map, source };
        Ok(MapInfo::from_pin(self.pins.map(map)).map_err(open)?.id())
    }

    /// What became of the denied packets so far.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn tally(&self) -> Result<Tally, DataplaneError> {
        read_tally(&self.tally)
    }

    /// A handle to the tally that does not need the data path.
    ///
    /// # Errors
    /// When the pinned map cannot be opened.
    pub fn tally_reader(&self) -> Result<TallyReader, DataplaneError> {
        let map = self.another_handle("TALLY")?;
        Ok(TallyReader(PerCpuArray::try_from(map).map_err(reopen("TALLY"))?))
    }
}

fn read_tally(map: &PerCpuArray<MapData, u64>) -> Result<Tally, DataplaneError> {
    let get = |index: u32| -> Result<u64, DataplaneError> {
        let cpus = map.get(&index, 0).map_err(read("TALLY"))?;
        Ok(cpus.iter().sum())
    };
    // The total is read last: a packet in flight is then missing from it rather than from its parts.
    let (delivered, aggregated, lost) = (get(tally::DELIVERED)?, get(tally::AGGREGATED)?, get(tally::LOST)?);
    Ok(Tally {
        delivered,
        aggregated,
        lost,
        flows_refused: get(tally::FLOWS_REFUSED)?,
        flows_made: get(tally::FLOWS_MADE)?,
        fragments_refused: get(tally::FRAGMENTS_REFUSED)?,
        leases_refused: get(tally::LEASES_REFUSED)?,
        samples_lost: get(tally::SAMPLES_LOST)?,
        violations: get(tally::VIOLATIONS)?,
    })
}

fn device_counts(
    counters: &PerCpuArray<MapData, DeviceCounts>,
    id: u32,
) -> Result<DeviceCounts, DataplaneError> {
    let cpus = counters.get(&id, 0).map_err(read("DEVICE_COUNTS"))?;
    let mut sum = [0; CODES as usize];
    for cpu in cpus.iter() {
        for (total, count) in iter::zip(&mut sum, cpu) {
            *total += count;
        }
    }
    Ok(sum)
}

fn rule_counts(counters: &PerCpuArray<MapData, Traffic>, id: u32) -> Result<Traffic, DataplaneError> {
    let cpus = counters.get(&id, 0).map_err(read("RULE_COUNTS"))?;
    Ok(cpus.iter().copied().fold(Traffic::default(), add))
}

fn add(a: Traffic, b: Traffic) -> Traffic {
    Traffic { packets: a.packets + b.packets, bytes: a.bytes + b.bytes }
}
