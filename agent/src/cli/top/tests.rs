//! The screen as it is seen, and what keys do to it.

use std::{collections::BTreeMap, time::Duration};

use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};

use super::{
    draw::{draw, per_second},
    state::{Act, Input, Key, List, Over, Seen, State, step},
};
use crate::{
    control::{DeviceStatus, Explained, FlowEnd, FlowList, FlowStatus, Status},
    model::Mode,
};

fn status(seen: u64, dropped: u64, warnings: &[&str]) -> Status {
    let interface = json!({
        "name": "eth1", "role": "device-side", "attached": "native", "unmanaged": "pass", "problem": null,
        "seen": seen, "passed": seen - dropped, "dropped": dropped, "would_drop": 0,
    });
    serde_json::from_value(json!({
        "gateway": "gw-7", "version": "0.1.0", "pid": 7, "since": "2026-03-02T10:00:00Z", "revision": "c4c4c4c4c4c4",
        "generation": 3, "policy": "files", "warnings": warnings,
        "modes": { "enforce": 1, "monitor": 1, "quarantine": 0 }, "infrastructure": {}, "management": "none",
        "interfaces": [interface], "flows": 2, "flows_limit": 131_072, "flows_evicted": 0, "fragments_refused": 0,
        "leases": 0, "leases_refused": 0, "samples_lost": 0,
        "violations": {
            "violations": 3, "delivered": 1, "aggregated": 2, "lost": 0, "foreign": 0, "taken": 3, "told": 3, "pending": 0,
            "written": 2, "refused": 0,
        },
    }))
    .expect("a status")
}

fn device(name: &str, mode: &str, allowed: u64, denied: u64) -> DeviceStatus {
    serde_json::from_value(json!({
        "name": name, "mode": mode, "changed": null, "criticality": "high", "zone": "cell-1", "class": null,
        "mac": ["00:1d:9c:c7:b0:70"], "ip": ["10.20.1.11"], "place": "p.toml:3", "allowed": allowed, "denied": denied,
        "counts": {},
    }))
    .expect("a device")
}

fn flow() -> FlowStatus {
    let end = |name: &str, ip: &str, port| FlowEnd {
        name: Some(name.to_owned()),
        ip: ip.parse().ok(),
        port: Some(port),
    };
    FlowStatus {
        device: Some("plc".to_owned()),
        live: true,
        from: end("hmi", "10.20.2.20", 49_152),
        to: end("plc", "10.20.1.11", 502),
        service: "modbus".to_owned(),
        selector: "tcp/502".to_owned(),
        state: Some("open".to_owned()),
        age_seconds: 90,
        idle_seconds: 1,
        packets_from: 9,
        packets_to: 8,
        bytes_from: 700,
        bytes_to: 640,
        rule: Some("hmi -> plc modbus".to_owned()),
        holder: Some("device plc".to_owned()),
        place: Some("p.toml:9".to_owned()),
    }
}

fn violation(seq: u64, severity: &str) -> Value {
    json!({
        "time": format!("2026-03-02T10:00:0{seq}.250001Z"), "boot": "5f0c2b9a41d84c6e", "seq": seq, "severity": severity,
        "action": "dropped", "reason": "unknown-peer", "protocol": "tcp", "count": seq, "device": "plc", "interface": "eth0",
        "source": { "name": null, "mac": "02:00:00:00:00:66", "ip": "10.9.8.66", "port": 50_000 },
        "destination": { "name": "plc", "mac": "02:00:00:00:00:01", "ip": "10.20.1.11", "port": 502 },
    })
}

/// What the agent says after so many seconds.
fn seen(seconds: u64) -> Input {
    let denied = 50 * seconds;
    Input::Seen(Box::new(Seen {
        at: Duration::from_secs(seconds),
        status: status(1000 * seconds, denied, &[]),
        devices: vec![
            device("hmi", "monitor", 90 * seconds, 0),
            device("plc", "enforce", 100 * seconds, denied),
            device("(unmanaged)", "", 7, 0),
        ],
        flows: Some((
            "hmi".to_owned(),
            FlowList { flows: vec![flow()], live: 1, expired: 0, more: 0, cut: false },
        )),
        violations: vec![violation(2, "high"), violation(1, "low")],
    }))
}

/// A state after two answers.
fn watching() -> State {
    let mut state = State::default();
    for seconds in [2, 4] {
        assert_eq!(step(&mut state, seen(seconds)), None);
    }
    state
}

fn press(state: &mut State, keys: &str) -> Vec<Act> {
    keys.chars().filter_map(|key| step(state, Input::Key(Key::Char(key)))).collect()
}

/// The screen as text.
fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen in memory");
    terminal.draw(|frame| draw(frame, state)).expect("it is drawn");
    terminal.backend().to_string()
}

#[test]
fn the_screen_shows_devices_rates_conversations_and_violations() {
    insta::assert_snapshot!("watching", screen(&watching(), 110, 24));
}

#[test]
fn warnings_and_an_agent_that_is_gone_are_loud() {
    let mut state = watching();
    let warned = Seen {
        at: Duration::from_secs(6),
        status: Status {
            modes: BTreeMap::from([("monitor".to_owned(), 2)]),
            ..status(0, 0, &["the violation log refuses records: disk full\nmore", "second"])
        },
        devices: Vec::new(),
        flows: None,
        violations: Vec::new(),
    };
    step(&mut state, Input::Seen(Box::new(warned)));
    step(&mut state, Input::Failed("no agent answers on `/run/bulkhead/api.sock`".to_owned()));
    insta::assert_snapshot!("gone", screen(&state, 100, 16));
}

#[test]
fn help_and_explanations_lie_over_the_lists() {
    let mut state = watching();
    assert_eq!(press(&mut state, "?"), []);
    insta::assert_snapshot!("help", screen(&state, 100, 24));
    assert_eq!(press(&mut state, "x"), []);
    assert_eq!(state.over, Over::Nothing, "any key closes it");
    // The newest is selected; the second after one step down.
    let id = |seq: u64| Act::Explain { id: format!("5f0c2b9a41d84c6e-{seq}") };
    assert_eq!(press(&mut state, "w"), [id(2)]);
    step(&mut state, Input::Key(Key::Tab));
    assert_eq!(step(&mut state, Input::Key(Key::Down(1))), None);
    assert_eq!((state.list, press(&mut state, "w")), (List::Violations, vec![id(1)]));
    let explained = Explained {
        id: "5f0c2b9a41d84c6e-1".to_owned(),
        record: Value::Null,
        told: vec!["1 packet from 10.9.8.66 to plc over tcp/502".to_owned()],
        today: None,
        nearest: Vec::new(),
        snippet: Some("[[device.plc.allow]]\nfrom = [\"host-10-9-8-66\"]\n".to_owned()),
        warnings: vec!["one end is nobody that the policy knows".to_owned()],
    };
    step(&mut state, Input::Explained(Box::new(explained)));
    insta::assert_snapshot!("explained", screen(&state, 100, 24));
}

#[test]
fn a_change_is_asked_about_before_it_is_made() {
    let mut state = watching();
    let enforce = |device: &str| Act::Change { device: device.to_owned(), mode: Mode::Enforce };
    // The first device is selected; what is not a yes is a no.
    assert_eq!(press(&mut state, "mn"), []);
    assert_eq!(state.message.as_deref(), Some("nothing was changed"));
    assert_eq!(press(&mut state, "my"), [enforce("hmi")]);
    let look = step(&mut state, Input::Key(Key::Down(1)));
    assert_eq!(look, Some(Act::Look { of: Some("plc".to_owned()) }));
    assert!(state.flows().is_none(), "those of another device are not shown as its own");
    assert_eq!(press(&mut state, "Q"), []);
    insta::assert_snapshot!("quarantine", screen(&state, 100, 20));
    assert_eq!(press(&mut state, "y"), [Act::Change { device: "plc".to_owned(), mode: Mode::Quarantine }]);
    assert_eq!(press(&mut state, "ry"), [Act::Release { device: "plc".to_owned() }]);
    step(&mut state, Input::Done("plc: enforce -> quarantine".to_owned()));
    assert!(screen(&state, 100, 20).contains("plc: enforce -> quarantine"));
    // Nobody's traffic has no mode.
    step(&mut state, Input::Key(Key::Down(9)));
    assert_eq!(press(&mut state, "my"), []);
    assert_eq!(state.device(), None);
    assert_eq!(press(&mut state, "q"), [Act::Quit]);
}

#[test]
fn a_filter_hides_what_does_not_hold_it() {
    let mut state = watching();
    // Every letter is a letter now, also those that are commands.
    assert_eq!(press(&mut state, "/plq"), []);
    step(&mut state, Input::Key(Key::Back));
    press(&mut state, "c");
    step(&mut state, Input::Key(Key::Enter));
    assert_eq!(state.over, Over::Nothing);
    insta::assert_snapshot!("filtered", screen(&state, 100, 20));
    assert_eq!((state.device(), state.violations().len()), (Some("plc"), 2));
    press(&mut state, "/nothing-like-it");
    assert_eq!((state.devices().len(), state.violations().len(), state.device()), (0, 0, None));
    assert_eq!(press(&mut state, "\u{7f}"), []);
    // With nothing to select nothing happens.
    step(&mut state, Input::Key(Key::Escape));
    assert_eq!(state.devices().len(), 3);
}

#[test]
fn keys_without_anything_to_act_on_do_nothing() {
    let mut state = State::default();
    assert_eq!(press(&mut state, "mQrw?x"), []);
    for key in [Key::Up(1), Key::Down(10), Key::Tab, Key::Enter, Key::Escape, Key::Back] {
        assert_eq!(step(&mut state, Input::Key(key)), None);
    }
    assert!(screen(&state, 40, 3).contains("asking the agent"));
    step(&mut state, seen(2));
    // A screen too small for anything is still no panic.
    for (width, height) in [(1, 1), (10, 3), (30, 8)] {
        screen(&state, width, height);
        press(&mut state, "?");
        screen(&state, width, height);
    }
    assert_eq!(step(&mut state, Input::Key(Key::Quit)), Some(Act::Quit));
}

#[test]
fn rates_are_short_whatever_they_are() {
    let said = [0.0, 0.04, 0.4, 9.94, 9.96, 87.4, 99_999.0, 123_456.0, 1_234_567.0].map(per_second);
    assert_eq!(said, ["0", "0", "0.4", "9.9", "10", "87", "99999", "123k", "1.2M"]);
}
