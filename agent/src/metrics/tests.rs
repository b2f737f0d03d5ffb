//! Pages of metrics: every family is told, in both formats, with bounded labels.

use std::collections::BTreeSet;

use bulkhead_common::layout::{InterfaceCounters, Traffic};

use super::*;

/// A gateway of which everything is known.
fn full() -> Snapshot {
    let traffic = |packets| Traffic { packets, bytes: packets * 60 };
    Snapshot {
        version: "1.0".to_owned(),
        started: 1.5,
        warnings: 2,
        revision: "c4c4c4c4c4c4".to_owned(),
        number: 7,
        made: Some(3.0),
        confirmed: None,
        pending: true,
        honest: Some(true),
        interfaces: vec![InterfaceNumbers {
            name: "eth\\0\"\n".to_owned(),
            attached: "native".to_owned(),
            counters: InterfaceCounters {
                seen: traffic(9),
                passed: traffic(5),
                dropped: traffic(4),
                would_drop: traffic(1),
            },
        }],
        devices: vec![DeviceNumbers { name: "plc".to_owned(), packets: vec![("deny", "no-rule", 4)] }],
        rules: vec![RuleNumbers { rule: "plant.toml:7".to_owned(), traffic: traffic(3) }],
        violations: 4,
        stages: vec![("delivered", 1), ("aggregated", 3)],
        waiting: 1,
        tables: vec![TableNumbers { name: "flows", entries: 3, limit: 10 }],
        refused: vec![("flows", 1)],
        flows_evicted: 1,
        sinks: vec![SinkNumbers {
            name: "siem".to_owned(),
            up: true,
            records: vec![("taken", 3)],
            spool: Some(SpoolNumbers { bytes: 1, packets: 2, dropped: 3, failures: 4 }),
        }],
        ..Snapshot::default()
    }
}

#[test]
fn every_family_is_told_with_its_labels_and_no_other() {
    let page = open_metrics(full());
    assert!(page.ends_with("# EOF\n"), "{page}");
    for family in FAMILIES {
        let line = page.lines().find(|line| line.starts_with(&family.sample()));
        let line = line.unwrap_or_else(|| panic!("`{}` is missing in\n{page}", family.sample()));
        let labels = line.split_once('{').map(|(_, rest)| rest).unwrap_or_default();
        for label in family.labels {
            assert!(labels.contains(&format!("{label}=\"")), "`{label}` is missing in {line}");
        }
        assert_eq!(labels.matches("=\"").count(), family.labels.len(), "{line}");
    }
    let samples: BTreeSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    assert_eq!(
        samples,
        FAMILIES.iter().map(Family::sample).collect::<Vec<_>>().iter().map(String::as_str).collect()
    );
}

#[test]
fn what_a_name_holds_breaks_no_line() {
    let page = open_metrics(full());
    let line =
        page.lines().find(|line| line.starts_with("bulkhead_interface_attached")).expect("it is there");
    assert_eq!(line, r#"bulkhead_interface_attached{interface="eth\\0\"\n",attached="native"} 1.0"#);
}

#[test]
fn the_older_format_names_counters_by_their_samples() {
    let page = classic(&open_metrics(full()));
    assert!(page.contains("# TYPE bulkhead_violations_total counter\nbulkhead_violations_total 4"), "{page}");
    assert!(page.contains("# TYPE bulkhead_change_pending gauge\nbulkhead_change_pending 1"), "{page}");
    assert!(!page.contains("EOF"), "{page}");
}

#[test]
fn labels_are_bounded_and_sums_are_kept() {
    let devices = (0..3 * MOST_DEVICES as u64).map(|n| DeviceNumbers {
        name: format!("device-{n}"),
        packets: vec![("deny", "no-rule", n), ("allow", "rule", 1)],
    });
    let rules = (0..3 * MOST_RULES as u64)
        .map(|n| RuleNumbers { rule: format!("a.toml:{n}"), traffic: Traffic { packets: n, bytes: n } });
    let page = open_metrics(Snapshot { devices: devices.collect(), rules: rules.collect(), ..full() });
    let numbers = |family: &str| -> Vec<f64> {
        let lines = page.lines().filter(|line| line.starts_with(family));
        lines.map(|line| line.rsplit(' ').next().expect("a number").parse().expect("a number")).collect()
    };
    let denied = numbers("bulkhead_device_packets_total");
    let all: f64 = (0..3000_u32).map(|n| f64::from(n) + 1.0).sum();
    assert_eq!((denied.len(), denied.iter().sum::<f64>()), (2 * (MOST_DEVICES + 1), all));
    let hits = numbers("bulkhead_rule_packets_total");
    assert_eq!((hits.len(), hits.iter().sum::<f64>()), (MOST_RULES + 1, (0..3000_u32).map(f64::from).sum()));
}
