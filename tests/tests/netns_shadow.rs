//! A proposed policy is judged beside the one in force on live traffic: what it would break and open is told, with the rules, while not one
//! packet is touched; it survives a restart, and ends when it comes in force.

mod plant;

use std::{fs, path::PathBuf, time::Duration};

use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology,
    modbus::Plc,
    topology::{MODBUS, PLC},
    wait::wait_for,
};
use plant::{SOON, device, require_lab};
use serde_json::Value;

const EVERY: Duration = Duration::from_millis(200);
/// Conversations are looked at every five seconds.
const LOOKS: Duration = Duration::from_secs(40);

/// The HMI asks the PLC over what is allowed to it; the workstation as well.
fn policy(lab: &Lab, of_hmi: &str, of_workstation: &str) -> String {
    let rule = |from: &str, services: &str| {
        format!("[[device.{PLC}.allow]]\nfrom = \"{from}\"\nservice = [{services}]\n\n")
    };
    [
        "version = 1\n\n".to_owned(),
        device(lab, PLC, "criticality = \"safety\""),
        rule("hmi", of_hmi),
        rule("engineering", of_workstation),
        device(lab, "hmi", ""),
        device(lab, "engineering", ""),
    ]
    .concat()
}

/// The state of the shadow, with the exit code.
fn shadow(agent: &Agent<'_>) -> (Value, Option<i32>) {
    let output = agent.cli(&["shadow", "--json"]).expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    (value, output.status.code())
}

fn kinds(status: &Value, list: &str) -> Vec<Value> {
    status[list]["list"].as_array().cloned().unwrap_or_default()
}

fn wait_for_kinds(agent: &Agent<'_>, list: &str) -> Vec<Value> {
    let found = wait_for("a difference", LOOKS, || {
        let kinds = kinds(&shadow(agent).0, list);
        Ok((!kinds.is_empty()).then_some(kinds))
    });
    found.unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", shadow(agent).0, agent.log()))
}

/// Waits until so many kinds more were judged.
fn wait_judged(agent: &Agent<'_>, more: u64) {
    let judged = || shadow(agent).0["counts"]["judged"].as_u64().unwrap_or_default();
    let before = judged();
    let ended = wait_for("judged kinds", LOOKS, || Ok((judged() >= before + more).then_some(())));
    ended.unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", shadow(agent).0, agent.log()));
}

fn proposed(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("proposed.toml");
    fs::write(&path, text).expect("there is room");
    path
}

fn set(agent: &Agent<'_>, path: &std::path::Path) -> String {
    let path = path.display().to_string();
    let output = agent.cli(&["shadow", "set", &path, "--reason", "a try"]).expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn trail(agent: &Agent<'_>) -> String {
    let output = agent.cli(&["audit-log", "--json"]).expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_a_proposed_policy_would_break_and_open_is_told_and_nothing_is_touched() {
    let test = "what_a_proposed_policy_would_break_and_open_is_told_and_nothing_is_touched";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let in_force = policy(&lab, "\"modbus\"", "\"ssh\"");
    let mut agent = Agent::new(&lab, &in_force).expect("an agent");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    hmi.wait_for_more(3, SOON).expect("polls");
    let (status, code) = shadow(&agent);
    assert_eq!((&status["set"], code), (&Value::Null, Some(2)), "nothing is compared");

    // The same policy beside itself: nothing differs, whatever passes and is denied.
    set(&agent, &proposed(&folder, &in_force));
    assert!(Poller::start(lab.host("engineering"), lab.modbus(), EVERY).is_err(), "it is denied");
    wait_judged(&agent, 3);
    let (status, code) = shadow(&agent);
    assert_eq!((kinds(&status, "would_break"), kinds(&status, "would_open")), (vec![], vec![]), "{status:#}");
    assert_eq!(code, Some(0));

    // The HMI's poll is forgotten, the workstation's is allowed.
    let text = policy(&lab, "\"ssh\"", "\"modbus\"");
    let said = set(&agent, &proposed(&folder, &text));
    assert!(said.contains("touches no packet"), "{said}");
    let revision = plant::status(&agent)["revision"].clone();
    let breaks = wait_for_kinds(&agent, "would_break");
    let one = &breaks[0];
    for (path, wanted) in [
        ("/device", PLC),
        ("/criticality", "safety"),
        ("/from", "hmi"),
        ("/to", PLC),
        ("/selector", "tcp/502"),
        ("/now/fate", "allowed"),
        ("/then/fate", "dropped"),
        ("/then/reason", "service-not-allowed"),
    ] {
        assert_eq!(one.pointer(path).and_then(Value::as_str), Some(wanted), "{path}: {one:#}");
    }
    let line =
        1 + in_force.lines().position(|line| line.contains(&format!("device.{PLC}.allow"))).expect("a rule");
    let place = one["now"]["rule"]["place"].as_str().unwrap_or_default();
    assert!(place.ends_with(&format!(":{line}")), "line {line}: {one:#}");
    assert_eq!(one["answered"], true, "{one:#}");
    assert_eq!(breaks.len(), 1, "{breaks:#?}");
    assert_eq!(shadow(&agent).1, Some(1));

    // The workstation is denied now, and the shadow would let it.
    assert!(Poller::start(lab.host("engineering"), lab.modbus(), EVERY).is_err(), "it is denied");
    let opens = wait_for_kinds(&agent, "would_open");
    assert_eq!((&opens[0]["from"], &opens[0]["now"]["fate"]), (&"engineering".into(), &"dropped".into()));
    let place = opens[0]["then"]["rule"]["place"].as_str().unwrap_or_default();
    assert!(place.contains("proposed.toml:"), "{:#}", opens[0]);

    // One line of `status`, metrics, the page for a person, and nothing lost.
    let page = agent.cli(&["status"]).expect("it runs");
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.contains("1 kind of conversation would break, 1 would open"), "{page}");
    let page = agent.cli(&["shadow"]).expect("it runs");
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.starts_with("BREAKS: 1 kind"), "{page}");
    assert_eq!(plant::status(&agent)["revision"], revision);

    // The agent is killed: the shadow is there again, and is counted anew.
    let before = shadow(&agent).0["counted_since"].clone();
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    let breaks = wait_for_kinds(&agent, "would_break");
    assert_eq!(breaks[0]["from"], "hmi");
    let (status, _) = shadow(&agent);
    assert_ne!(status["counted_since"], before);
    assert_eq!(status["set"]["reason"], "a try");
    let polls = hmi.wait_for_more(3, SOON).expect("it polls on");
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");

    // Another policy in force: what differs is counted anew against it.
    let other = policy(&lab, "\"modbus\"", "\"ssh\", \"snmp\"");
    agent.write_policy(&other).expect("written");
    assert!(agent.cli(&["apply"]).expect("it runs").status.success());
    let now = plant::status(&agent)["revision"].clone();
    wait_for("the other revision", SOON, || Ok((shadow(&agent).0["compared_with"] == now).then_some(())))
        .expect("it is compared with that one");
    assert_eq!(wait_for_kinds(&agent, "would_break")[0]["from"], "hmi");

    // It comes in force, and is a shadow no longer.
    agent.write_policy(&text).expect("written");
    let output = agent.cli(&["apply"]).expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("the shadow has come in force"), "{said}");
    let (status, code) = shadow(&agent);
    assert_eq!((&status["set"], code), (&Value::Null, Some(2)), "nothing is compared any more");
    let trail = trail(&agent);
    assert!(trail.contains("shadow-set") && trail.contains("shadow-clear"), "{trail}");
    let cleared = agent.cli(&["shadow", "clear"]).expect("it runs");
    assert_eq!(cleared.status.code(), Some(1), "there is none");
}
