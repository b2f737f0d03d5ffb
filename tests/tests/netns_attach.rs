//! How the program gets on a NIC, stays there and leaves it: other programs, other agents, other versions.

mod gateway;

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use bulkhead_agent::dataplane::AttachMode;
use bulkhead_tests::lab::{
    Agent, Poller, agent_binary,
    modbus::Plc,
    topology::{DEVICE_SIDE, MODBUS, UPLINK},
    wait::wait_for,
};
use gateway::{
    PINS, SILENCE, SOON, bulkhead, configure, enforces, policy, program_on, require_lab, run, status,
};
use serde_json::json;

#[test]
fn foreign_program_is_reported_with_its_id_and_left_alone() {
    let test = "foreign_program_is_reported_with_its_id_and_left_alone";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    // To an agent with pins of its own the first one's program is somebody else's.
    let elsewhere = [
        ("/sys/fs/bpf/bulkhead", "/sys/fs/bpf/elsewhere"),
        ("/run/bulkhead/state", "/run/bulkhead/state-2"),
        ("/run/bulkhead/api.sock", "/run/bulkhead/api-2.sock"),
        ("/run/bulkhead/violations.jsonl", "/run/bulkhead/violations-2.jsonl"),
    ];
    configure(&lab.gateway, "other.toml", &elsewhere);
    let before = [DEVICE_SIDE, UPLINK].map(|name| program_on(&lab, name).expect("a program"));
    let (code, said) = run(&lab, "other.toml", &["run"]);
    assert_eq!(code, 2, "{said}");
    for (name, (mode, program)) in [DEVICE_SIDE, UPLINK].iter().zip(before) {
        assert_eq!(mode, AttachMode::Native);
        let foreign = format!("`{name}` already runs the XDP program with id {program}, which is not ours");
        assert!(said.contains(&foreign) && said.contains("hint: "), "{said}");
        assert!(said.contains("another agent of Bulkhead"), "{said}");
    }
    let (code, said) = run(&lab, "other.toml", &["doctor"]);
    assert!(code == 1 && said.contains(&format!("(id {})", before[0].1)), "{said}");
    assert!(said.contains("of another Bulkhead, with other pins") && !said.contains("xdp off"), "{said}");
    assert_eq!([DEVICE_SIDE, UPLINK].map(|name| program_on(&lab, name).expect("a program")), before);
    assert!(enforces(&lab));
    assert_eq!(status(&agent)["warnings"], json!([]));
}

#[test]
fn doctor_tells_an_agent_that_died_from_one_that_runs() {
    let test = "doctor_tells_an_agent_that_died_from_one_that_runs";
    let Some(lab) = require_lab(test) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let (_, program) = program_on(&lab, UPLINK).expect("a program");
    let attached = format!("interface plant0: program attached in native mode (id {program})");
    let (_, said) = bulkhead(&lab, &["doctor"]);
    assert!(said.contains(&attached) && said.contains("agent: answers on"), "{said}");
    // Who may not read the pins is not told to remove what enforces.
    let mut command = Command::new(agent_binary().expect("a binary"));
    command.arg("--config").arg(lab.gateway.room.inside("bulkhead.toml")).arg("doctor").uid(65_534);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = lab.gateway.namespace.spawn_child(command);
    let Output { stdout, stderr, .. } = child.and_then(Child::wait_with_output).expect("it runs");
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.contains("whose it is cannot be told") && said.contains("fix: run as root"), "{said}");
    assert!(!said.contains("xdp off"), "{said}");
    agent.kill9().expect("killed");
    let (code, said) = bulkhead(&lab, &["doctor"]);
    assert!(code == 1 && said.contains(&attached), "{code} {said}");
    assert!(said.contains("enforcement goes on without an agent on cell0, plant0"), "{said}");
    assert!(said.contains("fix: start it: bulkhead run"), "{said}");
}

#[test]
fn enforcement_ends_with_detach_and_nothing_else() {
    let test = "enforcement_ends_with_detach_and_nothing_else";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let (code, said) = {
        let agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
        let Output { status, stderr, .. } = agent.cli(&["detach", "--yes"]).expect("it runs");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    assert!(code == Some(0) && said.contains("nothing is enforced"), "{said}");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    assert!(enforces(&lab));
    assert_eq!(agent.stop().expect("it stops").code(), Some(0));
    assert!(enforces(&lab), "stopping is not detaching");
    assert!(!lab.gateway.room.outside("api.sock").exists());
    let (code, said) = bulkhead(&lab, &["detach"]);
    assert!(code == 1 && said.contains("cell0, plant0") && said.contains("--yes"), "{said}");
    assert!(enforces(&lab), "without --yes nothing changes");
    let (code, said) = bulkhead(&lab, &["status"]);
    assert!(code == 2 && said.contains("no agent answers"), "{said}");

    // One interface, then all.
    let (code, said) = bulkhead(&lab, &["detach", "--interface", DEVICE_SIDE, "--yes"]);
    assert_eq!((code, program_on(&lab, DEVICE_SIDE)), (0, None), "{said}");
    assert!(enforces(&lab), "the uplink still does");
    let (code, said) = bulkhead(&lab, &["detach", "--yes"]);
    assert!(code == 0 && said.contains("enforcement ended on plant0"), "{said}");
    assert_eq!(program_on(&lab, UPLINK), None);
    assert!(!lab.gateway.room.pin_outside(PINS).exists(), "no pin is left");
    assert!(!enforces(&lab));
}

#[test]
fn generic_mode_is_used_only_when_configured_and_shown_loudly() {
    let test = "generic_mode_is_used_only_when_configured_and_shown_loudly";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    let uplink = "role = \"uplink\"";
    configure(&lab.gateway, "bulkhead.toml", &[(uplink, "role = \"uplink\"\nattach = \"generic\"")]);
    agent.start().expect("it starts");
    assert_eq!(program_on(&lab, UPLINK).map(|(mode, _)| mode), Some(AttachMode::Generic));
    assert_eq!(program_on(&lab, DEVICE_SIDE).map(|(mode, _)| mode), Some(AttachMode::Native));
    let (code, said) = bulkhead(&lab, &["status"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("`plant0` is enforced in GENERIC mode") && said.contains("GENERIC (slow)"),
        "{said}"
    );
    assert!(enforces(&lab));
}

#[test]
fn pins_of_another_layout_are_refused_and_go_on_enforcing() {
    let test = "pins_of_another_layout_are_refused_and_go_on_enforcing";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    agent.stop().expect("it stops");
    // A map of another type where ours should be.
    let pin = |name: &str| lab.gateway.room.pin_outside(&format!("{PINS}/{name}"));
    fs::remove_file(pin("HEADS")).expect("removed");
    fs::rename(pin("FLOWS"), pin("HEADS")).expect("renamed");
    let (code, said) = bulkhead(&lab, &["run"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("HEADS` has type LruHash") && said.contains("expected type Array"), "{said}");
    assert!(said.contains("hint: ") && said.contains("`bulkhead detach`"), "{said}");
    assert!(enforces(&lab), "what enforced goes on");
    // What the hint says works.
    let (code, said) = bulkhead(&lab, &["detach", "--yes"]);
    assert_eq!(code, 0, "{said}");
    agent.start().expect("it starts anew");
    assert!(enforces(&lab));
    assert_eq!(status(&agent)["warnings"], json!([]));
    agent.stop().expect("it stops");

    // Foreign maps without any link: the hint must work as well.
    let (code, said) = bulkhead(&lab, &["detach", "--interface", DEVICE_SIDE, "--yes"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = bulkhead(&lab, &["detach", "--interface", UPLINK, "--yes"]);
    assert_eq!(code, 0, "{said}");
    fs::remove_file(pin("HEADS")).expect("removed");
    fs::rename(pin("FLOWS"), pin("HEADS")).expect("renamed");
    assert_eq!(bulkhead(&lab, &["run"]).0, 2);
    let (code, said) = bulkhead(&lab, &["detach", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("nothing was enforced; removed flows and counters"), "{said}");
    assert!(!lab.gateway.room.pin_outside(PINS).exists(), "no pin is left");
    agent.start().expect("it starts anew");
    assert!(enforces(&lab));
}

#[test]
fn pins_of_another_version_are_named_and_go_on_enforcing() {
    let test = "pins_of_another_version_are_named_and_go_on_enforcing";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    agent.stop().expect("it stops");
    let (_, program) = program_on(&lab, UPLINK).expect("a program");
    let pin = |name: &str| lab.gateway.room.pin_outside(&format!("bulkhead/{name}"));
    fs::rename(pin("v5"), pin("v0")).expect("renamed");
    let (code, said) = bulkhead(&lab, &["run"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&format!("id {program}")) && said.contains("bulkhead/v0"), "{said}");
    assert!(enforces(&lab));
    assert_eq!(program_on(&lab, UPLINK).map(|(_, id)| id), Some(program));
}

#[test]
fn detach_is_refused_while_an_agent_runs() {
    let test = "detach_is_refused_while_an_agent_runs";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let pid = agent.pid().expect("it runs");
    // With and without its socket.
    configure(&lab.gateway, "deaf.toml", &[("api.sock", "api-2.sock")]);
    for config in ["bulkhead.toml", "deaf.toml"] {
        for args in [&["detach", "--yes"][..], &["detach", "--interface", UPLINK, "--yes"]] {
            let (code, said) = run(&lab, config, args);
            assert!(code == 1 && said.contains(&format!("pid {pid}")), "{code} {said}");
            assert!(said.contains("systemctl stop bulkhead"), "{said}");
        }
    }
    let (code, said) = bulkhead(&lab, &["detach", "--interface", "plant9", "--yes"]);
    assert!(code == 2 && said.contains("`plant9`") && said.contains("cell0, plant0"), "{code} {said}");
    assert_eq!(status(&agent)["warnings"], json!([]));
    assert!(enforces(&lab));
    agent.stop().expect("it stops");
    let (code, said) = bulkhead(&lab, &["detach", "--interface", UPLINK, "--yes"]);
    assert!(code == 0 && said.contains("enforcement ended on plant0"), "{code} {said}");
}

#[test]
fn second_agent_on_the_same_pins_is_refused() {
    let test = "second_agent_on_the_same_pins_is_refused";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let pid = agent.pid().expect("it runs");
    let before = status(&agent);
    let elsewhere = [
        ("/run/bulkhead/state", "/run/bulkhead/state-2"),
        ("/run/bulkhead/api.sock", "/run/bulkhead/api-2.sock"),
        ("/run/bulkhead/violations.jsonl", "/run/bulkhead/violations-2.jsonl"),
    ];
    configure(&lab.gateway, "other.toml", &elsewhere);
    let (code, said) = run(&lab, "other.toml", &["run"]);
    assert!(code == 2 && said.contains(&format!("in use by another agent (pid {pid})")), "{code} {said}");
    let after = status(&agent);
    for key in ["pid", "generation", "revision", "warnings"] {
        assert_eq!(before[key], after[key], "{said}");
    }
    // The lock dies with the process, however it dies.
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    assert!(enforces(&lab));
}

#[test]
fn agent_whose_pins_were_removed_pins_anew() {
    let test = "agent_whose_pins_were_removed_pins_anew";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    fs::remove_dir_all(lab.gateway.room.pin_outside(PINS)).expect("removed");
    wait_for("the NICs to be attached again", SOON, || {
        let there = [DEVICE_SIDE, UPLINK].iter().all(|name| program_on(&lab, name).is_some());
        Ok((there && agent.log().matches("attached to `").count() == 4).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {}\n{}", status(&agent), agent.log()));
    assert!(lab.gateway.room.pin_outside(PINS).join("links").join(UPLINK).exists());
    assert!(enforces(&lab));
}

#[test]
fn second_agent_on_the_same_state_is_refused() {
    let test = "second_agent_on_the_same_state_is_refused";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let before = status(&agent);
    let (code, said) = bulkhead(&lab, &["run"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("/run/bulkhead/state"), "{said}");
    let after = status(&agent);
    for key in ["pid", "generation", "revision", "warnings"] {
        assert_eq!(before[key], after[key], "{said}");
    }
    assert!(enforces(&lab));
}

#[test]
fn agent_with_other_limits_keeps_the_maps_and_warns() {
    let test = "agent_with_other_limits_keeps_the_maps_and_warns";
    let Some(lab) = require_lab(test) else { return };
    let plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.write_config("\n[limits]\nflows = 2048\n").expect("written");
    agent.start().expect("it starts");
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(5)).expect("a first poll");
    agent.stop().expect("it stops");
    agent.write_config("\n[limits]\nflows = 4096\nviolations = 256\n").expect("written");
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!(now["flows_limit"], 2048, "{now}");
    let warning = now["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("table sizes differ") && warning.contains("bulkhead detach"), "{now}");
    let polls = poller.wait_for_more(20, SOON).expect("polls go on");
    assert_eq!((polls.failed, polls.reconnects), (0, 0));
    assert_eq!(plc.asked_by(lab.host("hmi").ip).connections, 1);
    drop(poller);
    assert!(enforces(&lab));
    // As the warning says.
    agent.stop().expect("it stops");
    assert_eq!(bulkhead(&lab, &["detach", "--yes"]).0, 0);
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["flows_limit"], &now["warnings"]), (&json!(4096), &json!([])));
}

#[test]
fn session_older_than_the_agent_goes_on_within_the_window_of_adoption() {
    let test = "session_older_than_the_agent_goes_on_within_the_window_of_adoption";
    let Some(lab) = require_lab(test) else { return };
    let plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let every = Duration::from_millis(5);
    let poller = Poller::start(lab.host("hmi"), lab.modbus(), every).expect("a first poll");
    let stranger = Poller::start(lab.attacker(), lab.modbus(), every).expect("nobody enforces yet");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.write_config("\n[flows]\nmidstream = \"strict\"\n").expect("written");
    agent.start().expect("it starts");
    let polls = poller.wait_for_more(50, SOON).expect("the session is adopted");
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    assert_eq!(plc.asked_by(lab.host("hmi").ip).connections, 1);
    // What no rule allows is not adopted, however old it is.
    wait_for("the stranger to lose its session", SOON, || Ok((stranger.polls().failed > 0).then_some(())))
        .expect("it is cut off");
    assert!(stranger.wait_for_more(1, SILENCE).is_err());
    let counts = agent.cli_json(&["devices", "plc", "--json"]).expect("devices")[0]["counts"].clone();
    assert!(counts["adopted"].as_u64() > Some(0), "{counts}");
}

#[test]
fn session_older_than_the_agent_is_denied_when_nothing_is_adopted() {
    let test = "session_older_than_the_agent_is_denied_when_nothing_is_adopted";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(5)).expect("a first poll");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.write_config("\n[flows]\nmidstream = \"strict\"\nadopt_for = \"0s\"\n").expect("written");
    agent.start().expect("it starts");
    agent
        .wait_violation("a segment without a flow", SOON, |record| record["reason"] == "no-flow")
        .expect("told");
    // A new connection is one that the program has seen from its start.
    let polls = wait_for("a session made anew", SOON, || {
        let polls = poller.polls();
        Ok((polls.reconnects > 0).then_some(polls))
    });
    assert!(polls.expect("the poller tries again").failed > 0);
    poller.wait_for_more(10, SOON).expect("polls go on");
}

#[test]
fn status_and_doctor_show_what_each_segment_lets_through() {
    let test = "status_and_doctor_show_what_each_segment_lets_through";
    let Some(lab) = require_lab(test) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    let line = "\n[segment.line-3]\ninterface = \"cell0\"\nvlan = 10\nunmanaged = \"drop\"\nrouters = [\"10.20.1.1\"]\n\
                infrastructure = { lldp = false, ptp = false }\n";
    agent.write_config(line).expect("written");
    agent.start().expect("it starts");
    let now = status(&agent);
    let segments = now["segments"].as_array().expect("a list");
    let facts = |at: usize| {
        let s = &segments[at];
        json!([s["name"], s["id"], s["interface"], s["vlan"], s["unmanaged"], s["trusted"], s["routers"]])
    };
    assert_eq!(segments.len(), 3, "{now}");
    assert_eq!(facts(0), json!(["cell0", 64789, "cell0", null, "monitor", false, []]));
    assert_eq!(facts(1), json!(["line-3", 10375, "cell0", 10, "drop", false, ["10.20.1.1"]]));
    assert_eq!(facts(2), json!(["plant0", 15457, "plant0", null, "monitor", true, []]));
    assert_eq!(segments[1]["infrastructure"]["lldp"], false);
    assert_eq!(segments[0]["infrastructure"]["lldp"], true);
    let (code, said) = bulkhead(&lab, &["status"]);
    assert!(code == 0 && said.contains("always on   differs by segment"), "{said}");
    assert!(said.contains("all but lldp, ptp"), "{said}");
    let (_, said) = bulkhead(&lab, &["doctor"]);
    let line = "segment line-3 (VLAN 10 of cell0): always on: all but lldp, ptp; not trusted";
    assert!(said.contains(line) && said.contains("segment plant0: always on: all; trusted"), "{said}");
}
