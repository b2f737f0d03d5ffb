//! A change that breaks what a device does is undone for that device alone, by itself, and loudly; a change that breaks nothing is kept;
//! an agent that is killed goes on watching.

mod plant;

use std::{fs, net::SocketAddrV4, path::PathBuf, time::Duration};

use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology,
    modbus::Plc,
    topology::{MODBUS, PLC},
    wait::wait_for,
};
use plant::{SOON, device, require_lab};
use serde_json::{Value, json};

const EVERY: Duration = Duration::from_millis(200);
/// A habit, and the end of one, take so long at most.
const LONG: Duration = Duration::from_secs(90);
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

/// An agent that watches what it changes.
fn begun<'l>(lab: &'l Lab, policy: &str) -> Agent<'l> {
    let mut agent = Agent::new(lab, policy).expect("an agent");
    agent.write_config(WATCH).expect("written");
    agent.start().expect("it starts");
    agent
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

/// The revision in force, and its state.
fn current(agent: &Agent<'_>) -> (u64, String) {
    let list = agent.cli_json(&["revisions", "--json"]).expect("revisions");
    let list = list["revisions"].as_array().cloned().unwrap_or_default();
    let state = |one: &Value| one["state"].as_str().unwrap_or_default().to_owned();
    let found = list.iter().find(|one| ["current", "unconfirmed"].contains(&state(one).as_str()));
    found.map(|one| (one["number"].as_u64().unwrap_or(0), state(one))).expect("one is in force")
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
    let mut agent = begun(&lab, &good);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let _store = Plc::start(lab.host(HISTORIAN), MODBUS).expect("a second one");
    let historian = SocketAddrV4::new(lab.host(HISTORIAN).ip, MODBUS);
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
    let agent = begun(&lab, &good);
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

/// Enforces the PLC as soon as its poll is known to be steady; until then it is let go again.
fn enforce_with_habit(agent: &Agent<'_>, hmi: &Poller) {
    wait_for("a habit", LONG, || {
        hmi.wait_for_more(1, SOON)?;
        agent.cli(&["mode", PLC, "enforce", "--reason", "a try"])?;
        let steady = rollout(agent)["watched"][0]["steady"].as_array().is_some_and(|list| !list.is_empty());
        if !steady {
            agent.cli(&["mode", PLC, "monitor", "--reason", "not yet"])?;
        }
        Ok(steady.then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{:#}", rollout(agent)));
}

#[test]
fn a_device_whose_poll_stops_under_enforcement_goes_back_to_monitor() {
    let test = "a_device_whose_poll_stops_under_enforcement_goes_back_to_monitor";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    // Nothing allows the poll; it passes, and is told of.
    let text = policy(&lab, "\"ssh\"", "\"modbus\"", "\"modbus\"").replace("\"enforce\"", "\"monitor\"");
    let agent = begun(&lab, &text);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    enforce_with_habit(&agent, &hmi);
    let alarm = wait_alarm(&agent, 0, LONG);
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
    let mut agent = begun(&lab, &good);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");

    // One suffers while the change waits for its confirmation: it goes back alone, and the change goes on waiting.
    let broken = policy(&lab, "\"ssh\"", "\"modbus\"", "\"snmp\"");
    applied(&agent, &broken, &["--confirm-within", "15s"]);
    let alarm = wait_alarm(&agent, 0, SOON);
    assert_eq!(alarm["alarm"], "went-back", "{alarm:#}");
    assert_eq!(current(&agent), (3, "unconfirmed".to_owned()));
    assert_eq!(verdict(&agent, "engineering", HISTORIAN, "snmp"), "allow");
    hmi.wait_for_more(3, SOON).expect("it polls again");
    wait_for(
        "the end of the waiting",
        Duration::from_secs(30),
        || Ok((current(&agent).0 == 1).then_some(())),
    )
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
    assert_eq!(current(&agent), (4, "current".to_owned()));
    hmi.wait_for_more(3, SOON).expect("it polls again");
    other.wait_for_more(3, SOON).expect("and so does the other");
    assert_eq!(watched(&agent), [""; 0]);

    // The same files by a timer, a reload or a start do no harm once more.
    let known = alarms(&agent).len();
    let said = applied(&agent, &asking("\"ssh\""), &[]);
    assert!(said.contains("all devices went back"), "{said}");
    agent.hup().expect("it hears");
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    assert_eq!(current(&agent), (4, "current".to_owned()));
    hmi.wait_for_more(3, SOON).expect("polls");
    assert_eq!(alarms(&agent).len(), known);
    for name in ["hmi", "engineering"] {
        agent.cli(&["rollout", "acknowledge", name, "--reason", "seen"]).expect("it runs");
    }

    // What a person made since is not undone with it: as an agent finds it that was killed before it could say that nobody is watched.
    applied(&agent, &asking("\"modbus\", \"snmp\""), &[]);
    let mut kept = watch(&lab);
    let (before, _) = current(&agent);
    applied(&agent, &asking("\"ssh\""), &["--watch", "0s"]);
    assert_eq!(watch(&lab)["value"]["devices"], json!({}));
    applied(&agent, &asking("\"ssh\", \"snmp\""), &["--watch", "0s"]);
    agent.kill9().expect("killed");
    for name in ["hmi", "engineering"] {
        let change = json!({ "number": before + 1, "before": before, "touched": 2 });
        kept["value"]["devices"][name]["change"]["policy"] = change;
    }
    fs::write(watch_file(&lab), kept.to_string()).expect("written");
    let known = alarms(&agent).len();
    agent.start().expect("it starts");
    wait_alarm(&agent, known + 1, SOON);
    let last: Vec<Value> =
        alarms(&agent).into_iter().skip(known).map(|alarm| alarm["alarm"].clone()).collect();
    assert_eq!(last, ["went-back", "went-back"]);
    assert_eq!(current(&agent).0, before + 4, "each of them alone");
}

fn watch_file(lab: &Lab) -> PathBuf {
    lab.gateway.room.outside("state").join("watch.json")
}

/// Who is watched, as it is on the disk.
fn watch(lab: &Lab) -> Value {
    let text = fs::read(watch_file(lab)).expect("it is there");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn what_an_agent_was_about_to_tell_is_told_by_the_next_one() {
    let test = "what_an_agent_was_about_to_tell_is_told_by_the_next_one";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let good = policy(&lab, "\"modbus\"", "\"modbus\"", "\"modbus\"");
    let mut agent = begun(&lab, &good);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    let broken = policy(&lab, "\"ssh\"", "\"modbus\"", "\"snmp\"");
    applied(&agent, &broken, &[]);
    wait_alarm(&agent, 0, SOON);
    assert_eq!((current(&agent).0, watched(&agent)), (3, vec![HISTORIAN.to_owned()]));

    // Killed after the old rules were in force again, and before anybody was told.
    agent.kill9().expect("killed");
    let mut kept = watch(&lab);
    let ends = ["hmi", PLC].map(|name| json!([lab.host(name).ip.to_string(), null]));
    let [from, to] = ends;
    let kind = json!({ "from": from, "to": to, "protocol": 6, "number": 502, "period": 0 });
    kept["value"]["back"][0]["begun"] = json!({ "current": 2, "denied": true, "kind": kind.clone() });
    kept["value"]["devices"][PLC] = kept["value"]["devices"][HISTORIAN].clone();
    fs::write(watch_file(&lab), kept.to_string()).expect("written");
    agent.start().expect("it starts");
    let alarm = wait_alarm(&agent, 1, SOON);
    assert_eq!((&alarm["alarm"], &alarm["device"]), (&"went-back".into(), &PLC.into()), "{alarm:#}");
    assert!(alarm["explanation"].as_str().unwrap_or_default().contains("before it could tell"), "{alarm:#}");
    assert_eq!(watched(&agent), [HISTORIAN]);
    assert!(applied(&agent, &broken, &[]).contains("plc went back"));
    assert_eq!(verdict(&agent, "hmi", PLC, "modbus"), "allow");

    // Killed before anything was done: the historian did not go back, and is watched on.
    agent.kill9().expect("killed");
    let mut kept = watch(&lab);
    let mut more = kept["value"]["back"][0].clone();
    more["device"] = HISTORIAN.into();
    more["begun"] = json!({ "current": 3, "denied": true, "kind": kind });
    kept["value"]["back"].as_array_mut().expect("a list").push(more);
    fs::write(watch_file(&lab), kept.to_string()).expect("written");
    agent.start().expect("it starts");
    let back = rollout(&agent)["went_back"].as_array().cloned().unwrap_or_default();
    assert_eq!(back.iter().map(|one| &one["device"]).collect::<Vec<_>>(), [PLC]);
    assert_eq!((watched(&agent), alarms(&agent).len()), (vec![HISTORIAN.to_owned()], 2));
    hmi.wait_for_more(3, SOON).expect("polls");

    // Who rolls back does not mean the revision that did the harm.
    let output = agent.cli(&["rollback"]).expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!((current(&agent).0, watched(&agent)), (1, Vec::<String>::new()));
}

#[test]
fn a_partner_that_is_off_and_a_policy_that_follows_a_mode() {
    let test = "a_partner_that_is_off_and_a_policy_that_follows_a_mode";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let text = policy(&lab, "\"modbus\"", "\"modbus\"", "\"modbus\"");
    let text = text.replace("\"enforce\"", "\"monitor\"");
    let agent = begun(&lab, &text);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let _store = Plc::start(lab.host(HISTORIAN), MODBUS).expect("a second one");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    let historian = SocketAddrV4::new(lab.host(HISTORIAN).ip, MODBUS);
    let other = Poller::start(lab.plc(), historian, EVERY).expect("polls");
    enforce_with_habit(&agent, &hmi);
    // The HMI is switched off, the PLC talks on.
    hmi.stop();
    wait_for("its silence", LONG, || Ok(agent.log().contains("its other end is silent").then_some(())))
        .unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", rollout(&agent), agent.log()));
    other.wait_for_more(3, SOON).expect("polls");
    assert_eq!((alarms(&agent), watched(&agent)), (Vec::new(), vec![PLC.to_owned()]));

    // A change of policy is watched beside the mode, and a mode beside the policy.
    applied(&agent, &text.replace("\"modbus\"", "\"ssh\""), &[]);
    let changes = |name: &str| {
        let list = rollout(&agent)["watched"].as_array().cloned().unwrap_or_default();
        list.iter().filter(|one| one["device"] == name).count()
    };
    assert_eq!(changes(PLC), 2);
    // The PLC is enforced, so what the historian lost may have been noticed already.
    assert!(changes(HISTORIAN) == 1 || !alarms(&agent).is_empty(), "{:#}", rollout(&agent));
    let output = agent.cli(&["mode", HISTORIAN, "enforce"]).expect("it runs");
    assert!(output.status.success(), "{output:?}");
    wait_for("the historian back", SOON, || Ok(alarms(&agent).into_iter().next()))
        .unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", rollout(&agent), agent.log()));
    other.wait_for_more(3, SOON).expect("what the policy took away is there again");
}

#[test]
fn a_device_that_is_off_is_not_blamed_on_the_change() {
    let test = "a_device_that_is_off_is_not_blamed_on_the_change";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let text = policy(&lab, "\"modbus\"", "\"modbus\"", "\"modbus\"").replace("\"enforce\"", "\"monitor\"");
    let agent = begun(&lab, &text);
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    let of_plc = || rollout(&agent)["watched"][0].clone();
    enforce_with_habit(&agent, &hmi);
    // What was denied before is dropped now, and is nothing that it does.
    let noise = SocketAddrV4::new(lab.plc().ip, 22);
    assert!(Poller::start(lab.host("engineering"), noise, EVERY).is_err(), "nothing allows it");
    let told = agent.settled(SOON).expect("all of them are told of");
    assert!(
        told.iter().any(|one| one["destination"]["port"] == 22 && one["action"] == "dropped"),
        "{told:#?}"
    );
    // Nobody asks any more, and the PLC has nothing to say.
    hmi.stop();
    wait_for("silence to be noticed", LONG, || Ok((of_plc()["silent"] == true).then_some(())))
        .unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", rollout(&agent), agent.log()));
    assert_eq!(alarms(&agent), [Value::Null; 0]);
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("it is back");
    wait_for("it to be heard", LONG, || Ok((of_plc()["silent"] == false).then_some(())))
        .expect("it is heard");
    hmi.wait_for_more(3, SOON).expect("polls");
    assert_eq!((alarms(&agent), watched(&agent)), (Vec::new(), vec![PLC.to_owned()]));
}

#[test]
fn a_release_into_the_enforce_of_the_policy_is_watched() {
    let test = "a_release_into_the_enforce_of_the_policy_is_watched";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let agent = begun(&lab, &policy(&lab, "\"modbus\"", "\"modbus\"", "\"modbus\""));
    for (words, expected) in [(&["mode", PLC, "monitor"][..], vec![]), (&["release", PLC][..], vec![PLC])] {
        let output = agent.cli(words).expect("it runs");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(watched(&agent), expected, "{words:?}");
    }
    assert_eq!(rollout(&agent)["watched"][0]["change"], "monitor -> enforce");
}
