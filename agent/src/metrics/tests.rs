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
        rollout: [3, 2, 1],
        shadow: (1_700_000_000.0, [5, 4, 3, 2]),
        rollout_stages: vec![("observe".to_owned(), 4), ("canary".to_owned(), 1)],
        honest: Some(true),
        interfaces: vec![InterfaceNumbers {
            name: "eth\\0\"\n".to_owned(),
            attached: "native".to_owned(),
            counters: InterfaceCounters {
                seen: traffic(9),
                passed: traffic(5),
                dropped: traffic(4),
                would_drop: traffic(1),
                remembered: 6,
            },
        }],
        devices: vec![DeviceNumbers { name: "plc".to_owned(), packets: vec![("deny", "no-rule", 4)] }],
        rules: vec![RuleNumbers {
            holder: "device plc".to_owned(),
            rule: "hmi -> plc modbus".to_owned(),
            traffic: traffic(3),
        }],
        violations: 4,
        stages: vec![("delivered", 1), ("aggregated", 3)],
        waiting: 1,
        tables: vec![TableNumbers { name: "flows", entries: 3, limit: 10 }],
        refused: vec![("flows", 1)],
        forwarded: vec![("direct", 7), ("ttl", 1)],
        flows_evicted: 1,
        sinks: vec![SinkNumbers {
            name: "siem".to_owned(),
            up: true,
            records: vec![("taken", 3)],
            spool: Some(SpoolNumbers { bytes: 1, packets: 2, dropped: 3, failures: 4 }),
        }],
        history: Some(HistoryNumbers {
            up: true,
            bytes: 5,
            limit: 9,
            rows: 2,
            written: 3,
            refused: 1,
            damaged: 1,
        }),
        inventory: Some(InventoryNumbers {
            up: true,
            devices: [4, 2],
            frames: 7,
            lost: [("over-budget", 1), ("dropped", 2), ("refused", 3), ("forgotten", 4)],
            untold: 5,
        }),
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
fn a_device_that_was_never_denied_anything_has_a_series_that_says_so() {
    let device = |name: &str, packets| DeviceNumbers { name: name.to_owned(), packets };
    let devices = vec![
        device("plc", vec![("allow", "rule", 9), ("deny", "no-rule", 4), ("deny", "spoofed-ip", 2)]),
        device("hmi", vec![]),
    ];
    let page = open_metrics(Snapshot { devices, ..full() });
    let denied: Vec<&str> =
        page.lines().filter(|line| line.starts_with("bulkhead_device_denied_packets_total")).collect();
    assert_eq!(
        denied,
        [
            r#"bulkhead_device_denied_packets_total{device="plc"} 6.0"#,
            r#"bulkhead_device_denied_packets_total{device="hmi"} 0.0"#
        ]
    );
    assert!(!page.contains(r#"bulkhead_device_packets_total{device="hmi""#), "{page}");
}
