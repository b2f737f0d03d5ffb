//! A snapshot, family by family.

use std::fmt;

use bulkhead_common::layout::Traffic;
use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{
    families::{self, Family, Kind},
    snapshot::Snapshot,
};

/// A sample: values of the family's labels, and the number.
type Sample<'s> = (Vec<&'s str>, f64);

pub(super) fn page(snapshot: &Snapshot, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut tell = |family: Family, samples: Vec<Sample<'_>>| write(&mut encoder, family, &samples);
    let s = snapshot;
    let one = |value: f64| vec![(Vec::new(), value)];
    tell(families::BUILD, vec![(vec![&s.version], 1.0)])?;
    tell(families::START, one(s.started))?;
    tell(families::WARNINGS, one(number(s.warnings)))?;
    tell(families::REVISION, vec![(vec![&s.revision], 1.0)])?;
    tell(families::REVISION_NUMBER, one(number(s.number)))?;
    tell(families::REVISION_TIME, one(s.made.unwrap_or(0.0)))?;
    tell(families::CONFIRMED, one(s.confirmed.unwrap_or(0.0)))?;
    tell(families::PENDING, one(flag(s.pending)))?;
    let [watched, went_back, unread] = s.rollout;
    tell(families::WATCHED, one(number(watched)))?;
    tell(families::WENT_BACK, one(number(went_back)))?;
    tell(families::UNREAD, one(number(unread)))?;
    let (set, [would_break, would_open, no_room, no_time]) = s.shadow;
    tell(families::SHADOW_SET, one(set))?;
    tell(families::SHADOW_KINDS, labelled(&[("break", would_break), ("open", would_open)]))?;
    tell(families::SHADOW_REFUSED, labelled(&[("room", no_room), ("time", no_time)]))?;
    let stages = s.rollout_stages.iter().map(|(word, n)| (vec![word.as_str()], number(*n)));
    tell(families::ROLLOUT_STAGES, stages.collect())?;
    let modes =
        [("monitor", s.modes.monitor), ("enforce", s.modes.enforce), ("quarantine", s.modes.quarantine)];
    tell(families::DEVICES, labelled(&modes))?;
    tell(families::HONEST, one(s.honest.map_or(-1.0, flag)))?;
    let attached = s.interfaces.iter().map(|i| (vec![i.name.as_str(), &i.attached], 1.0));
    tell(families::ATTACHED, attached.collect())?;
    let outcomes = |of: fn(&Traffic) -> u64| {
        let each = s.interfaces.iter().flat_map(move |i| {
            let c = &i.counters;
            [("passed", c.passed), ("dropped", c.dropped), ("would_drop", c.would_drop)]
                .map(|(word, traffic)| (vec![i.name.as_str(), word], number(of(&traffic))))
        });
        each.collect::<Vec<_>>()
    };
    tell(families::INTERFACE_PACKETS, outcomes(|traffic| traffic.packets))?;
    tell(families::INTERFACE_BYTES, outcomes(|traffic| traffic.bytes))?;
    let remembered = s.interfaces.iter().map(|one| (vec![&*one.name], number(one.counters.remembered)));
    tell(families::INTERFACE_REMEMBERED, remembered.collect())?;
    let packets = s.devices.iter().flat_map(|device| {
        let by = device.packets.iter();
        by.map(|(verdict, reason, n)| (vec![device.name.as_str(), verdict, reason], number(*n)))
    });
    tell(families::DEVICE_PACKETS, packets.collect())?;
    let denied = s.devices.iter().map(|device| (vec![device.name.as_str()], number(device.denied())));
    tell(families::DEVICE_DENIED, denied.collect())?;
    let hits = |of: fn(&Traffic) -> u64| {
        let each = s.rules.iter().map(move |one| (vec![&*one.holder, &*one.rule], number(of(&one.traffic))));
        each.collect()
    };
    tell(families::RULE_PACKETS, hits(|traffic| traffic.packets))?;
    tell(families::RULE_BYTES, hits(|traffic| traffic.bytes))?;
    tell(families::VIOLATIONS, one(number(s.violations)))?;
    tell(families::VIOLATION_STAGES, labelled(&s.stages))?;
    tell(families::VIOLATIONS_PENDING, one(number(s.waiting)))?;
    let tables = |of: fn(&super::TableNumbers) -> u64| {
        s.tables.iter().map(move |table| (vec![table.name], number(of(table)))).collect()
    };
    tell(families::TABLE_ENTRIES, tables(|table| table.entries))?;
    tell(families::TABLE_LIMIT, tables(|table| table.limit))?;
    tell(families::REFUSED, labelled(&s.refused))?;
    tell(families::FORWARDED, labelled(&s.forwarded))?;
    tell(families::FLOWS_EVICTED, one(number(s.flows_evicted)))?;
    let records = s.sinks.iter().flat_map(|sink| {
        sink.records.iter().map(|(outcome, n)| (vec![sink.name.as_str(), outcome], number(*n)))
    });
    tell(families::SINK_RECORDS, records.collect())?;
    tell(families::SINK_UP, s.sinks.iter().map(|sink| (vec![sink.name.as_str()], flag(sink.up))).collect())?;
    let spools = |of: fn(&super::snapshot::SpoolNumbers) -> u64| {
        let with =
            s.sinks.iter().filter_map(move |sink| Some((vec![sink.name.as_str()], of(sink.spool.as_ref()?))));
        with.map(|(labels, n)| (labels, number(n))).collect()
    };
    tell(families::SINK_WAITING, spools(|spool| spool.bytes))?;
    tell(families::SINK_PACKETS, spools(|spool| spool.packets))?;
    tell(families::SINK_DROPPED, spools(|spool| spool.dropped))?;
    tell(families::SINK_FAILURES, spools(|spool| spool.failures))?;
    let history = |of: fn(&super::HistoryNumbers) -> f64| {
        s.history.iter().map(|history| (Vec::new(), of(history))).collect::<Vec<_>>()
    };
    tell(families::HISTORY_UP, history(|history| flag(history.up)))?;
    tell(families::HISTORY_BYTES, history(|history| number(history.bytes)))?;
    tell(families::HISTORY_LIMIT, history(|history| number(history.limit)))?;
    tell(families::HISTORY_ROWS, history(|history| number(history.rows)))?;
    tell(families::HISTORY_WRITTEN, history(|history| number(history.written)))?;
    tell(families::HISTORY_REFUSED, history(|history| number(history.refused)))?;
    tell(families::HISTORY_DAMAGED, history(|history| number(history.damaged)))?;
    let inventory = s.inventory.iter();
    let alone = |of: fn(&super::InventoryNumbers) -> f64| {
        inventory.clone().map(|inventory| (Vec::new(), of(inventory))).collect::<Vec<_>>()
    };
    tell(families::INVENTORY_UP, alone(|inventory| flag(inventory.up)))?;
    let devices = inventory.clone().flat_map(|i| ["known", "unknown"].into_iter().zip(i.devices));
    tell(families::INVENTORY_DEVICES, devices.map(|(policy, n)| (vec![policy], number(n))).collect())?;
    tell(families::INVENTORY_FRAMES, alone(|inventory| number(inventory.frames)))?;
    let lost = inventory.clone().flat_map(|inventory| inventory.lost);
    tell(families::INVENTORY_LOST, lost.map(|(why, n)| (vec![why], number(n))).collect())?;
    tell(families::INVENTORY_UNTOLD, alone(|inventory| number(inventory.untold)))
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    family: Family,
    samples: &[Sample<'_>],
) -> Result<(), fmt::Error> {
    // A family without samples would be a promise that nobody keeps.
    if samples.is_empty() {
        return Ok(());
    }
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
    for (values, value) in samples {
        let labels: Vec<(&str, &str)> = family.labels.iter().copied().zip(values.iter().copied()).collect();
        let put = |mut metric: MetricEncoder<'_>| match family.kind {
            Kind::Counter => metric.encode_counter::<NoLabelSet, _, u64>(value, None),
            Kind::Gauge => metric.encode_gauge(value),
        };
        if labels.is_empty() {
            put(metric)?;
            return Ok(());
        }
        put(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Samples of a family with one label.
fn labelled<'s>(numbers: &'s [(&'static str, u64)]) -> Vec<Sample<'s>> {
    numbers.iter().map(|(word, n)| (vec![*word], number(*n))).collect()
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// A count as text has it: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "Prometheus keeps every number so")]
fn number(count: u64) -> f64 {
    count as f64
}
