//! A change that breaks what a device does is undone for that device alone, by itself, and loudly; a change that breaks nothing is kept;
//! an agent that is killed goes on watching.

mod plant;

use std::time::Duration;

use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology,
    modbus::Plc,
    topology::{MODBUS, PLC},
    wait::wait_for,
};
use plant::{SOON, device, require_lab};
use serde_json::Value;

const EVERY: Duration = Duration::from_millis(200);
/// Longer than any of the tests.
const WATCH: &str = "\n[rollout]\nwatch = \"10m\"\n";
/// Who is asked by the HMI, and who is asked by it.
const HISTORIAN: &str = "historian";

/// The HMI and the workstation ask the PLC, the PLC and the workstation the historian.
fn policy(lab: &Lab, of_hmi: &str, of_workstation: &str, at_historian: &str) -> String {
    let rule = |device: &str, from: &str, services: &str| {
        format!("[[device.{device}.allow]]\nfrom = \"{from}\"\nservice = [{services}]\n\n")
    };
    [
        "version = 1\n\n".to_owned(),
        device(lab, PLC, "criticality = \"safety\""),
        rule(PLC, "hmi", of_hmi),
        rule(PLC, "engineering", of_workstation),
        device(lab, HISTORIAN, ""),
        rule(HISTORIAN, PLC, "\"modbus\""),
        rule(HISTORIAN, "engineering", at_historian),
        device(lab, "hmi", ""),
        device(lab, "engineering", ""),
    ]
    .concat()
}

fn alarms(agent: &Agent<'_>) -> Vec<Value> {
    let records = agent.records().expect("the log");
    records.into_iter().filter(|record| record["kind"] == "alarm").collect()
}

fn rollout(agent: &Agent<'_>) -> Value {
    let output = agent.cli(&["rollout", "--json"]).expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn watched(agent: &Agent<'_>) -> Vec<String> {
    let devices = rollout(agent)["watched"].as_array().cloned().unwrap_or_default();
    devices.iter().filter_map(|one| one["device"].as_str().map(str::to_owned)).collect()
}

fn verdict(agent: &Agent<'_>, from: &str, to: &str, service: &str) -> String {
    let output = agent.cli(&["why", from, to, service, "--json"]).expect("it runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    answer["verdict"].as_str().unwrap_or_default().to_owned()
}

/// Applies a policy file as an operator does; what is printed beside the data.
fn applied(agent: &Agent<'_>, text: &str, more: &[&str]) -> String {
    agent.write_policy(text).expect("written");
    let output = agent.cli(&[&["apply"], more].concat()).expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn wait_alarm(agent: &Agent<'_>, number: usize, within: Duration) -> Value {
    let found = wait_for("the alarm", within, || Ok(alarms(agent).into_iter().nth(number)));
    found.unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", rollout(agent), agent.log()))
}

#[test]
fn a_change_that_breaks_one_device_is_undone_for_it_alone() {
    let test = "a_change_that_breaks_one_device_is_undone_for_it_alone";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let good = policy(&lab, "\"modbus\"", "\"modbus\"", "\"modbus\"");
    let mut agent = Agent::new(&lab, &good).expect("an agent");
    agent.write_config(WATCH).expect("written");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let _store = Plc::start(lab.host(HISTORIAN), MODBUS).expect("a second one");
    let historian = std::net::SocketAddrV4::new(lab.host(HISTORIAN).ip, MODBUS);
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    let other = Poller::start(lab.plc(), historian, EVERY).expect("polls");
    hmi.wait_for_more(3, SOON).expect("polls");

    // The HMI's poll is forgotten, the historian gets one more service.
    let broken = policy(&lab, "\"ssh\"", "\"modbus\"", "\"snmp\"");
    let said = applied(&agent, &broken, &[]);
    assert!(said.contains("2 devices watched for 10m"), "{said}");
    let alarm = wait_alarm(&agent, 0, SOON);
    for (key, wanted) in [
        ("alarm", "went-back"),
        ("device", PLC),
        ("criticality", "safety"),
        ("severity", "critical"),
        ("trigger", "denied"),
        ("protocol", "tcp"),
    ] {
        assert_eq!(alarm[key], wanted, "{key}: {alarm:#}");
    }
    assert_eq!((&alarm["source"]["name"], &alarm["destination"]["port"]), (&"hmi".into(), &502.into()));
    let why = alarm["explanation"].as_str().unwrap_or_default();
    assert!(why.contains("revision 2 ") && why.contains("revision 1 "), "{why}");
    let polls = hmi.wait_for_more(5, SOON).expect("it polls again");
    assert!(polls.longest_gap < Duration::from_secs(5), "{polls:?}");
    let others = other.wait_for_more(3, SOON).expect("it polls on");
    assert_eq!((others.failed, others.reconnects), (0, 0), "{others:?}");

    // The new policy holds for the other device, the old one for this one.
    assert_eq!(verdict(&agent, "engineering", HISTORIAN, "snmp"), "allow");
    assert_eq!(verdict(&agent, "hmi", PLC, "modbus"), "allow");
    assert_eq!(verdict(&agent, "hmi", PLC, "ssh"), "deny");
    assert_eq!(watched(&agent), [HISTORIAN], "who went back is not watched by what undid it");
    let revisions = agent.cli_json(&["revisions", "--json"]).expect("revisions");
    let newest = &revisions["revisions"][0];
    assert_eq!((&newest["by"], &newest["only"][0]), (&"watch".into(), &PLC.into()), "{newest:#}");
    assert!(newest["reason"].as_str().unwrap_or_default().contains("hmi"), "{newest:#}");
    let trail = agent.cli(&["audit-log", "--json"]).expect("it runs");
    let trail = String::from_utf8_lossy(&trail.stdout).into_owned();
    assert!(trail.contains("traffic-rollback"), "{trail}");
    let output = agent.cli(&["status"]).expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("WENT BACK"), "{output:?}");
    // Who applies the same files again, as a timer does, does no harm once more.
    let said = applied(&agent, &broken, &[]);
    assert!(said.contains("plc went back"), "{said}");
    assert_eq!(verdict(&agent, "hmi", PLC, "modbus"), "allow");
    let noted = agent.cli(&["rollout", "acknowledge", PLC, "--reason", "forgot the HMI"]).expect("it runs");
    assert!(noted.status.success(), "{noted:?}");
    assert!(agent.cli(&["status"]).expect("it runs").status.success());

    // A clean change is kept: nothing else happens until nobody is watched any more.
    let clean = policy(&lab, "\"modbus\", \"ssh\"", "\"modbus\"", "\"snmp\"");
    applied(&agent, &clean, &["--watch", "3s"]);
    assert!(watched(&agent).contains(&PLC.to_owned()));
    wait_for("the end of the watch", SOON, || Ok((!watched(&agent).contains(&PLC.to_owned())).then_some(())))
        .expect("it ends");
    hmi.wait_for_more(3, SOON).expect("polls");
    assert_eq!((verdict(&agent, "hmi", PLC, "ssh").as_str(), alarms(&agent).len()), ("allow", 1));

    // The agent is killed in the middle, and what breaks shows only then.
    let late = policy(&lab, "\"modbus\", \"ssh\"", "\"ssh\"", "\"snmp\"");
    applied(&agent, &late, &[]);
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    assert!(watched(&agent).contains(&PLC.to_owned()));
    // Its first attempt is dropped, and it tries again.
    let workstation = Poller::start(lab.host("engineering"), lab.modbus(), EVERY);
    let alarm = wait_alarm(&agent, 1, SOON);
    assert_eq!((&alarm["device"], &alarm["source"]["name"]), (&PLC.into(), &"engineering".into()));
    let workstation = match workstation {
        Ok(poller) => poller,
        Err(_) => Poller::start(lab.host("engineering"), lab.modbus(), EVERY).expect("it may now"),
    };
    workstation.wait_for_more(3, SOON).expect("polls");
    let others = other.stop();
    assert_eq!((others.failed, others.reconnects), (0, 0), "{others:?}");
}

/// Waits until so many more packets were denied, and the agent has looked at them.
fn denied(agent: &Agent<'_>, more: u64) {
    let count = || plant::status(agent)["violations"]["violations"].as_u64().unwrap_or_default();
    let before = count();
    wait_for("denied packets", SOON, || Ok((count() >= before + more).then_some(()))).expect("they come");
    agent.settled(SOON).expect("all of them are told of");
}

#[test]
fn what_is_taken_away_on_purpose_stays_away() {
    let test = "what_is_taken_away_on_purpose_stays_away";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let good = policy(&lab, "\"modbus\"", "\"modbus\"", "\"modbus\"");
    let mut agent = Agent::new(&lab, &good).expect("an agent");
    agent.write_config(WATCH).expect("written");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    hmi.wait_for_more(3, SOON).expect("polls");

    // A harmless change is watched, and then the HMI is meant to stop.
    let more = policy(&lab, "\"modbus\", \"ssh\"", "\"modbus\"", "\"modbus\"");
    assert!(applied(&agent, &more, &[]).contains("1 device watched"));
    assert_eq!(watched(&agent), [PLC]);
    applied(&agent, &policy(&lab, "\"ssh\"", "\"modbus\"", "\"modbus\""), &["--watch", "0s"]);
    assert_eq!(watched(&agent), [""; 0]);
    denied(&agent, 3);
    assert_eq!((alarms(&agent), verdict(&agent, "hmi", PLC, "modbus")), (vec![], "deny".to_owned()));

    // Who is cut off while others are watched drives nobody back.
    applied(&agent, &good, &[]);
    assert_eq!(watched(&agent), [PLC]);
    hmi.wait_for_more(3, SOON).expect("it polls again");
    let revision = plant::status(&agent)["revision"].clone();
    let cut = agent.cli(&["quarantine", "hmi", "--reason", "taken over"]).expect("it runs");
    assert!(cut.status.success(), "{cut:?}");
    let quarantined = plant::status(&agent)["revision"].clone();
    denied(&agent, 3);
    assert_eq!(alarms(&agent), [Value::Null; 0]);
    assert_eq!(plant::status(&agent)["revision"], quarantined, "before it was {revision}");
    assert_eq!(watched(&agent), [PLC]);
}

#[test]
fn a_device_whose_poll_stops_under_enforcement_goes_back_to_monitor() {
    let test = "a_device_whose_poll_stops_under_enforcement_goes_back_to_monitor";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    // Nothing allows the poll; it passes, and is told of.
    let text = policy(&lab, "\"ssh\"", "\"modbus\"", "\"modbus\"").replace("\"enforce\"", "\"monitor\"");
    let mut agent = Agent::new(&lab, &text).expect("an agent");
    agent.write_config(WATCH).expect("written");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    let set = |device: &str, mode: &str| {
        let output = agent.cli(&["mode", device, mode, "--reason", "a try"]).expect("it runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // Until the poll is known to be steady.
    let long = Duration::from_secs(60);
    wait_for("a habit", long, || {
        hmi.wait_for_more(1, SOON)?;
        set(PLC, "enforce");
        let steady = rollout(&agent)["watched"][0]["steady"].as_array().is_some_and(|list| !list.is_empty());
        if !steady {
            set(PLC, "monitor");
        }
        Ok(steady.then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{:#}", rollout(&agent)));
    let alarm = wait_alarm(&agent, 0, long);
    assert_eq!((&alarm["trigger"], &alarm["device"]), (&"stopped".into(), &PLC.into()), "{alarm:#}");
    let why = alarm["explanation"].as_str().unwrap_or_default();
    assert!(why.contains("hmi") && why.contains("tcp/502") && why.contains("back in monitor"), "{why}");
    hmi.wait_for_more(3, SOON).expect("it polls again");
    let devices = agent.cli_json(&["devices", "--json"]).expect("devices");
    let plc = devices.as_array().into_iter().flatten().find(|one| one["name"] == PLC);
    assert_eq!(plc.map(|one| &one["mode"]), Some(&"monitor".into()), "{devices:#}");
    assert_eq!(watched(&agent), [""; 0]);
}

#[test]
fn a_change_that_harms_most_of_what_it_touches_is_undone_for_all() {
    let test = "a_change_that_harms_most_of_what_it_touches_is_undone_for_all";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let good = policy(&lab, "\"modbus\"", "\"modbus\"", "\"modbus\"");
    let mut agent = Agent::new(&lab, &good).expect("an agent");
    agent.write_config(WATCH).expect("written");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    let current = || {
        let list = agent.cli_json(&["revisions", "--json"]).expect("revisions");
        let list = list["revisions"].as_array().cloned().unwrap_or_default();
        let state = |one: &Value| one["state"].as_str().unwrap_or_default().to_owned();
        let found = list.iter().find(|one| ["current", "unconfirmed"].contains(&state(one).as_str()));
        found.map(|one| (one["number"].as_u64().unwrap_or(0), state(one))).expect("one is in force")
    };

    // One suffers while the change waits for its confirmation: it goes back alone, and the change goes on waiting.
    let broken = policy(&lab, "\"ssh\"", "\"modbus\"", "\"snmp\"");
    applied(&agent, &broken, &["--confirm-within", "15s"]);
    let alarm = wait_alarm(&agent, 0, SOON);
    assert_eq!(alarm["alarm"], "went-back", "{alarm:#}");
    assert_eq!(current(), (3, "unconfirmed".to_owned()));
    assert_eq!(verdict(&agent, "engineering", HISTORIAN, "snmp"), "allow");
    hmi.wait_for_more(3, SOON).expect("it polls again");
    wait_for("the end of the waiting", Duration::from_secs(30), || Ok((current().0 == 1).then_some(())))
        .unwrap_or_else(|error| panic!("{error}: {}", agent.log()));
    assert_eq!(watched(&agent), [""; 0], "the change is undone, and nobody is watched for it");

    // Two that have nothing to do with each other, and both suffer: the second one takes all with it.
    let asking = |services: &str| {
        let rule = |name: &str| format!("[[device.{name}.allow]]\nto = \"cell\"\nservice = [{services}]\n\n");
        let cell = format!("[network.cell]\ncidr = [\"{}/32\"]\n", lab.plc().ip);
        let two = ["hmi", "engineering"].map(|name| device(&lab, name, "") + &rule(name));
        format!("version = 1\n\n{}{cell}", two.concat())
    };
    applied(&agent, &asking("\"modbus\""), &["--watch", "0s"]);
    let other = Poller::start(lab.host("engineering"), lab.modbus(), EVERY).expect("polls");
    applied(&agent, &asking("\"ssh\""), &[]);
    let last = wait_for("the alarm of all", SOON, || {
        Ok(alarms(&agent).into_iter().find(|alarm| alarm["alarm"] == "all-went-back"))
    });
    let last = last.unwrap_or_else(|error| panic!("{error}\n{:#?}\n{}", alarms(&agent), agent.log()));
    let why = last["explanation"].as_str().unwrap_or_default();
    assert!(why.contains("2 of 2 devices that it touched suffer: revision 4 is back"), "{why}");
    assert_eq!(current(), (4, "current".to_owned()));
    hmi.wait_for_more(3, SOON).expect("it polls again");
    other.wait_for_more(3, SOON).expect("and so does the other");
    assert_eq!(watched(&agent), [""; 0]);
}

#[test]
fn a_device_that_is_off_is_not_blamed_on_the_change() {
    let test = "a_device_that_is_off_is_not_blamed_on_the_change";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let text = policy(&lab, "\"modbus\"", "\"modbus\"", "\"modbus\"").replace("\"enforce\"", "\"monitor\"");
    let mut agent = Agent::new(&lab, &text).expect("an agent");
    agent.write_config(WATCH).expect("written");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    let of_plc = || rollout(&agent)["watched"][0].clone();
    let long = Duration::from_secs(90);
    wait_for("a habit", long, || {
        agent.cli(&["mode", PLC, "enforce"])?;
        let steady = of_plc()["steady"].as_array().is_some_and(|list| !list.is_empty());
        if !steady {
            agent.cli(&["mode", PLC, "monitor"])?;
            hmi.wait_for_more(3, SOON)?;
        }
        Ok(steady.then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{:#}", rollout(&agent)));
    // Nobody asks any more, and the PLC has nothing to say.
    hmi.stop();
    wait_for("silence to be noticed", long, || Ok((of_plc()["silent"] == true).then_some(())))
        .unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", rollout(&agent), agent.log()));
    assert_eq!(alarms(&agent), [Value::Null; 0]);
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("it is back");
    wait_for("it to be heard", long, || Ok((of_plc()["silent"] == false).then_some(())))
        .expect("it is heard");
    hmi.wait_for_more(3, SOON).expect("polls");
    assert_eq!((alarms(&agent), watched(&agent)), (Vec::new(), vec![PLC.to_owned()]));
}
