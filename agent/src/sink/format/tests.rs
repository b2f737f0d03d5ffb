//! One record of each kind in each format, as receivers get it, and hostile names in all of them.

use std::{fs, path::PathBuf};

use super::*;
use crate::{
    model::Mode,
    record::{
        Action, Alarm, Cause, End, Event, Gap, Heartbeat, Modes, Novelty, Scan, Severity, Sighting, Trigger,
        VERSION as RECORDS, Verdict, Violation,
    },
};

const DOCUMENT: &str = "docs/sinks.md";
/// The version that the documentation and the snapshot show.
const SHOWN: &str = "0.1.0";

/// A violation, a gap and a heartbeat.
pub(in crate::sink) fn examples() -> [Record; 5] {
    let boot = || "5f0c2b9a41d84c6e".to_owned();
    let violation = Violation {
        v: RECORDS,
        time: "2026-03-02T10:00:07.250001Z".into(),
        first: "2026-03-02T10:00:00.000000Z".into(),
        gateway: "gw-7".into(),
        boot: boot(),
        seq: 42,
        severity: Severity::Medium,
        revision: Some("c4c4c4c4c4c4".into()),
        device: Some("press-plc".into()),
        criticality: Some("medium".into()),
        mode: Mode::Enforce,
        verdict: Verdict::Deny,
        action: Action::Dropped,
        reason: "no-rule".into(),
        explanation: "both ends are known, and no rule lets the one talk to the other".into(),
        source: End {
            name: Some("office".into()),
            mac: Some("02:00:00:00:00:66".into()),
            ip: Some([10, 9, 8, 66].into()),
            port: Some(49_152),
        },
        destination: End {
            name: Some("press-plc".into()),
            mac: Some("00:1d:9c:00:00:01".into()),
            ip: Some([10, 20, 1, 11].into()),
            port: Some(502),
        },
        protocol: "tcp".into(),
        icmp: None,
        vlan: None,
        inner_vlan: None,
        interface: "eth1".into(),
        answer: false,
        others: false,
        scan: None,
        packet: Some("001d9c0000010200000000660800".into()),
        count: 3,
        bytes: 180,
    };
    let gap = Gap {
        v: RECORDS,
        time: "2026-03-02T10:00:10.000000Z".into(),
        gateway: "gw-7".into(),
        boot: boot(),
        seq: 10,
        cause: Cause::Spool,
        explanation: "the spool was full".into(),
        first: Some("5f0c2b9a41d84c6e-7".into()),
        last: Some("5f0c2b9a41d84c6e-9".into()),
        count: 12,
    };
    let heartbeat = Heartbeat {
        v: RECORDS,
        time: "2026-03-02T10:01:00.000000Z".into(),
        gateway: "gw-7".into(),
        boot: boot(),
        seq: 44,
        revision: Some("c4c4c4c4c4c4".into()),
        modes: Modes { monitor: 2, enforce: 7, quarantine: 1 },
        violations: 1234,
        warnings: Vec::new(),
        count: 0,
    };
    let alarm = Alarm {
        v: RECORDS,
        time: "2026-03-02T10:01:07.000000Z".into(),
        gateway: "gw-7".into(),
        boot: boot(),
        seq: 45,
        severity: Severity::High,
        revision: Some("d5d5d5d5d5d5".into()),
        alarm: Event::WentBack,
        device: Some("press-plc".into()),
        criticality: Some("high".into()),
        trigger: Trigger::Denied,
        source: End { name: Some("hmi".into()), mac: None, ip: Some([10, 20, 2, 20].into()), port: None },
        destination: End {
            name: Some("press-plc".into()),
            mac: None,
            ip: Some([10, 20, 1, 11].into()),
            port: Some(502),
        },
        protocol: "tcp".into(),
        explanation: "revision 8 dropped what revision 7 allowed".into(),
        count: 0,
    };
    [
        Record::Violation(Box::new(violation)),
        Record::Gap(gap),
        Record::Heartbeat(heartbeat),
        Record::Alarm(Box::new(alarm)),
        Record::Inventory(Box::new(sighting())),
    ]
}

fn sighting() -> Sighting {
    let word = |word: &str| Some(word.to_owned());
    Sighting {
        v: RECORDS,
        time: "2026-03-02T10:01:09.000000Z".into(),
        gateway: "gw-7".into(),
        boot: "5f0c2b9a41d84c6e".into(),
        seq: 46,
        severity: Severity::Medium,
        change: Novelty::Changed,
        device: word("press-plc"),
        source: End {
            name: word("press-plc"),
            mac: word("00:80:f4:0e:11:5a"),
            ip: Some([10, 20, 1, 11].into()),
            port: None,
        },
        interface: word("eth1"),
        fact: word("firmware"),
        before: word("v2.60"),
        now: word("v=2.70|"),
        evidence: word("modbus"),
        explanation: "`press-plc` changed its firmware".into(),
        more: 0,
        count: 0,
    }
}

#[test]
fn each_kind_in_each_format() {
    let mut text = String::new();
    for (name, format) in Format::ALL {
        text += &format!("# {name}\n");
        for record in examples() {
            text += &encode(format, &record).replace(VERSION, SHOWN);
            text.push('\n');
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn documentation_shows_what_is_written() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = fs::read_to_string(root.join(DOCUMENT)).expect("the documentation is in the repository");
    let [violation, ..] = examples();
    for (name, format) in Format::ALL {
        let line = encode(format, &violation).replace(VERSION, SHOWN);
        // Tabs are easily lost in a document; it shows them as this arrow.
        let line = line.replace('\t', "→");
        assert!(document.lines().any(|shown| shown == line), "`{DOCUMENT}` must show, as {name}:\n{line}");
    }
}

/// Names that try to end a line, a header, a value, a text.
fn hostile() -> Record {
    const EVIL: &str = "a|b=c\\d\"e]f\ng\r\0\t\u{2028}\u{2029}\u{85}\u{202e}{}<>'%s ü x=y";
    let [violation, ..] = examples();
    let Record::Violation(mut one) = violation else { panic!("the first is a violation") };
    let evil = || EVIL.repeat(40);
    one.gateway = evil();
    one.interface = evil();
    one.explanation = evil();
    one.device = Some(evil());
    one.criticality = Some(evil());
    one.revision = Some(evil());
    one.reason = evil();
    one.protocol = evil();
    one.boot = evil();
    one.source.name = Some(evil());
    one.source.mac = Some(evil());
    one.destination.name = Some(evil());
    one.packet = Some("00".repeat(200));
    one.scan = Some(Scan { hosts: u64::MAX, ports: u64::MAX, devices: u64::MAX, at_least: true });
    Record::Violation(one)
}

#[test]
fn names_do_not_break_a_line_and_do_not_make_it_long() {
    for (name, format) in Format::ALL {
        for limit in [LONGEST, 2000] {
            let line =
                encode_within(format, &hostile(), limit).unwrap_or_else(|| panic!("no {name} in {limit}"));
            assert!(line.len() <= limit);
            let tabs = if format == Format::Leef { line.matches('\t').count() } else { 0 };
            let controls =
                line.chars().filter(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(c)).count();
            assert_eq!(controls, tabs, "{line}");
        }
    }
}

#[test]
fn bars_and_equals_signs_are_escaped_where_they_divide() {
    let [violation, gap, heartbeat, alarm, _] = examples();
    let Record::Violation(mut one) = violation else { panic!("the first is a violation") };
    one.explanation = r"a|b\c=d".into();
    one.device = Some(r"a|b\c=d".into());
    let line = encode(Format::Cef, &Record::Violation(one.clone()));
    assert!(line.contains(r"|no-rule|a\|b\\c=d|5|"), "{line}");
    assert!(line.contains(r" cs1=a|b\\c\=d cs1Label=device "), "{line}");
    let line = encode(Format::Leef, &Record::Violation(one));
    assert!(line.contains("|no-rule|x09|") && line.contains("\tdevice=a|b\\c=d\t"), "{line}");
    for record in [gap, heartbeat, alarm] {
        assert_eq!(encode(Format::Cef, &record).matches('|').count(), 7);
        assert_eq!(encode(Format::Leef, &record).matches('|').count(), 6);
    }
}

#[test]
fn cef_has_a_field_for_what_the_others_say_of_answers_others_and_warnings() {
    let [violation, _, heartbeat, _, _] = examples();
    let Record::Violation(mut one) = violation else { panic!("the first is a violation") };
    let mut cef = |answer, others| {
        (one.answer, one.others) = (answer, others);
        encode(Format::Cef, &Record::Violation(one.clone()))
    };
    assert!(!cef(false, false).contains("cs3"));
    assert!(cef(true, false).contains(" cs3=answer cs3Label=form "));
    assert!(cef(false, true).contains(" cs3=others cs3Label=form "));
    let Record::Heartbeat(mut one) = heartbeat else { panic!("the last is a heartbeat") };
    one.warnings = vec!["a=b".to_owned(), "c".to_owned()];
    let line = encode(Format::Cef, &Record::Heartbeat(one));
    assert!(line.contains(r" cs2=a\=b; c cs2Label=warnings "), "{line}");
}

#[test]
fn what_is_long_goes_before_what_is_needed() {
    let [violation, ..] = examples();
    let Record::Violation(mut one) = violation else { panic!("the first is a violation") };
    one.packet = Some("ab".repeat(400));
    let record = Record::Violation(one);
    assert!(encode(Format::Native, &record).contains(&"ab".repeat(400)));
    let small = encode_within(Format::Native, &record, 1000).expect("it fits without the frame");
    assert!(small.contains("\"packet\":null") && small.contains("press-plc"), "{small}");
    assert_eq!(encode_within(Format::Native, &record, 100), None);
}
