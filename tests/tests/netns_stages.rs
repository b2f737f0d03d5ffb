//! A device that is polled goes from monitored to enforced, stage by stage, and its poll loses nothing; a gate that is not met stops it, a
//! canary of which traffic suffers goes back, and whatever is cut off leaves stage and mode consistent.

mod plant;

use std::{fs, net::IpAddr, time::Duration};

use bulkhead_agent::{
    history::{History, Limits, Watched},
    traffic::{Day, End, Hours, Kind, Row, Seen, Service},
};
use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology,
    modbus::Plc,
    topology::{MODBUS, PLC},
    wait::wait_for,
};
use plant::{SOON, device, require_lab};
use serde_json::Value;

const EVERY: Duration = Duration::from_millis(200);
/// Of the same class as the PLC.
const HISTORIAN: &str = "historian";
const SSH: u16 = 22;
/// More than a baseline takes.
const DAYS: i32 = 16;

/// All are monitored; the PLC is polled by the HMI over `of_hmi`, the historian asked by the workstation.
fn policy(lab: &Lab, of_hmi: &str) -> String {
    let rule = |device: &str, from: &str, service: &str| {
        format!("[[device.{device}.allow]]\nfrom = \"{from}\"\nservice = \"{service}\"\n\n")
    };
    let text = [
        "version = 1\n\n[class.controllers]\n\n".to_owned(),
        device(lab, PLC, "class = \"controllers\""),
        rule(PLC, "hmi", of_hmi),
        device(lab, HISTORIAN, "class = \"controllers\""),
        rule(HISTORIAN, "engineering", "modbus"),
        device(lab, "hmi", ""),
        device(lab, "engineering", ""),
    ];
    text.concat().replace("\"enforce\"", "\"monitor\"")
}

/// A history of many days, as an agent would have written it: the HMI polls, the workstation asks the historian, and on two days it
/// looked after the PLC over SSH.
fn remember(lab: &Lab) {
    let now = jiff::Timestamp::now().as_second();
    let today = Day::of(now);
    let end = |name: &str| End::at(IpAddr::V4(lab.host(name).ip));
    let row = |from: &str, to: &str, port: u16, day: Day| {
        let kind = Kind { from: end(from), to: end(to), service: Service { protocol: 6, number: port } };
        let (first, last) = (day.begin() + 1, day.begin() + 86_000);
        let counts = Seen { flows: 30, opened: 30, answered: 30, packets: [9000, 9000], ..Seen::at(first) };
        Row { kind, day, seen: Seen { last, hours: Hours::ALL, pause: 60, ..counts } }
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("history.db");
    let mut history = History::open(&file, Limits { bytes: 64 << 20, days: 400 }).expect("a history");
    for day in (today.0 - DAYS..today.0).map(Day) {
        let mut rows = vec![row("hmi", PLC, MODBUS, day), row("engineering", HISTORIAN, MODBUS, day)];
        if today.0 - day.0 > DAYS - 3 {
            rows.push(row("engineering", PLC, SSH, day));
        }
        let watched = Watched { from: day.begin(), to: day.begin() + 86_399 };
        history.add(&rows, &[], Some(watched)).expect("added");
    }
    let watched = Watched { from: today.begin(), to: now };
    history.add(&[], &[], Some(watched)).expect("added");
    drop(history);
    let state = lab.gateway.room.outside("state");
    fs::create_dir_all(&state).expect("a folder");
    for name in ["history.db", "history.db-wal"] {
        let made = folder.path().join(name);
        if made.exists() {
            fs::copy(made, state.join(name)).expect("copied");
        }
    }
}

/// What a command printed, and its exit code.
fn told(agent: &Agent<'_>, args: &[&str]) -> (Option<i32>, Value, String) {
    let output = agent.cli(&[&["rollout"], args, &["--json"]].concat()).expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

fn done(agent: &Agent<'_>, args: &[&str]) {
    let (code, value, said) = told(agent, args);
    assert_eq!(code, Some(0), "{args:?}: {value:#} {said}");
}

/// What is lacking for the next stage.
fn lacking(agent: &Agent<'_>, device: &str) -> Vec<String> {
    let (_, told, said) = told(agent, &["check", device]);
    let gate = told["gate"].as_array().unwrap_or_else(|| panic!("{told:#} {said}"));
    gate.iter().filter(|one| one["met"] == false).map(|one| one["asked"].to_string()).collect()
}

fn of<'v>(list: &'v Value, device: &str) -> &'v Value {
    let found = list.as_array().into_iter().flatten().find(|one| one["device"] == device);
    found.unwrap_or_else(|| panic!("{list:#}"))
}

fn stage(agent: &Agent<'_>, device: &str) -> String {
    let (_, told, _) = told(agent, &[]);
    of(&told["stages"], device)["stage"].as_str().unwrap_or_default().to_owned()
}

fn watched(agent: &Agent<'_>) -> Vec<String> {
    let (_, told, _) = told(agent, &[]);
    let devices = told["watched"].as_array().cloned().unwrap_or_default();
    devices.iter().filter_map(|one| one["device"].as_str().map(str::to_owned)).collect()
}

fn mode(agent: &Agent<'_>, device: &str) -> String {
    let devices = agent.cli_json(&["devices", "--json"]).expect("devices");
    let found = devices.as_array().into_iter().flatten().find(|one| one["name"] == device);
    found.and_then(|one| one["mode"].as_str()).unwrap_or_default().to_owned()
}

/// The trail's entries of an action that went well: target and message.
fn trail(agent: &Agent<'_>, action: &str) -> Vec<(String, String)> {
    let output = agent.cli(&["audit-log", "--json"]).expect("it runs");
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = all.as_array().or_else(|| all["entries"].as_array()).cloned().unwrap_or_default();
    let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    list.iter()
        .filter(|one| one["action"] == action && one["result"] == "ok")
        .map(|one| (word(one, "target"), word(one, "message")))
        .collect()
}

fn break_of(agent: &Agent<'_>, device: &str) -> String {
    let (_, told, said) = told(agent, &["check", device]);
    assert_eq!(told["breaks"].as_array().map(Vec::len), Some(1), "{told:#} {said}");
    told["breaks"][0]["id"].as_str().expect("a name").to_owned()
}

#[test]
fn a_polled_device_is_enforced_stage_by_stage_and_its_poll_loses_nothing() {
    let test = "a_polled_device_is_enforced_stage_by_stage_and_its_poll_loses_nothing";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    remember(&lab);
    let mut agent = Agent::new(&lab, &policy(&lab, "modbus")).expect("an agent");
    agent.write_config("\n[rollout]\ncanary = \"12s\"\n").expect("written");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    hmi.wait_for_more(3, SOON).expect("polls");

    // What the workstation did would be denied: somebody must say that it may stop.
    assert_eq!(lacking(&agent, PLC), ["\"breaks\""]);
    let (code, refused, _) = told(&agent, &["advance", PLC]);
    assert_eq!((code, &refused[0]["advanced"]), (Some(1), &false.into()), "{refused:#}");
    assert_eq!(refused[0]["lacking"][0]["asked"], "breaks");
    let name = break_of(&agent, PLC);
    hmi.wait_for_more(3, SOON).expect("polls");
    assert_eq!(break_of(&agent, PLC), name);
    let (code, _, said) = told(&agent, &["accept", PLC, "00000000", "--reason", "a slip"]);
    assert!(code == Some(1) && said.contains("has no break"), "{said}");
    done(&agent, &["accept", PLC, &name, "--reason", "SSH goes over the jump host now"]);
    assert_eq!(lacking(&agent, PLC), [""; 0]);
    // Withdrawn, it counts again.
    done(&agent, &["accept", PLC, &name, "--withdraw", "--reason", "a mistake"]);
    assert_eq!(lacking(&agent, PLC), ["\"breaks\""]);
    done(&agent, &["accept", PLC, &name, "--reason", "SSH goes over the jump host now"]);

    // A try changes nothing.
    done(&agent, &["advance", PLC, "--dry-run"]);
    assert_eq!(stage(&agent, PLC), "observe");
    done(&agent, &["advance", "--class", "controllers"]);
    assert_eq!([stage(&agent, PLC), stage(&agent, HISTORIAN)], ["ready", "ready"]);
    assert_eq!(mode(&agent, PLC), "monitor");
    // Of a class one is taken, and of the others it is said what they lack by then; before it is done as well.
    let (code, both, said) = told(&agent, &["advance", "--class", "controllers", "--dry-run"]);
    let would: Vec<bool> = [HISTORIAN, PLC].map(|name| of(&both, name)["advanced"] == true).to_vec();
    assert_eq!((code, would), (Some(1), vec![true, false]), "{said}");
    let (code, both, said) = told(&agent, &["advance", "--class", "controllers"]);
    let [taken, held] = [HISTORIAN, PLC].map(|name| of(&both, name));
    assert_eq!(
        (code, &taken["advanced"], &held["advanced"]),
        (Some(1), &true.into(), &false.into()),
        "{said}"
    );
    assert_eq!(held["lacking"][0]["asked"], "canaries", "{both:#}");
    done(&agent, &["back", HISTORIAN, "--reason", "another one first"]);
    done(&agent, &["advance", HISTORIAN]);
    done(&agent, &["advance", PLC, "--reason", "the first of its class"]);
    assert_eq!((stage(&agent, PLC), mode(&agent, PLC)), ("canary".into(), "enforce".into()));
    assert_eq!(watched(&agent), [PLC]);

    // One of a class at a time, and no sooner than its time is over.
    let (code, refused, _) = told(&agent, &["advance", HISTORIAN]);
    assert_eq!((code, &refused[0]["lacking"][0]["asked"]), (Some(1), &"canaries".into()), "{refused:#}");
    assert_eq!((stage(&agent, HISTORIAN), mode(&agent, HISTORIAN)), ("ready".into(), "monitor".into()));
    assert!(lacking(&agent, PLC).contains(&"\"time\"".to_owned()));

    // An agent that is killed goes on watching, and knows where everybody is.
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    assert_eq!((stage(&agent, PLC), mode(&agent, PLC)), ("canary".into(), "enforce".into()));
    let kept = wait_for("the end of its time", Duration::from_secs(60), || {
        Ok(lacking(&agent, PLC).is_empty().then_some(()))
    });
    kept.unwrap_or_else(|error| panic!("{error}: {:#}", told(&agent, &["check", PLC]).1));
    done(&agent, &["advance", PLC]);
    assert_eq!((stage(&agent, PLC), mode(&agent, PLC)), ("enforce".into(), "enforce".into()));
    let polls = hmi.wait_for_more(5, SOON).expect("it polls on");
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");

    // Each step is in the trail with its figures.
    let steps = trail(&agent, "stage-advance");
    let targets: Vec<&str> = steps.iter().map(|(target, _)| target.as_str()).collect();
    let of_historian = ["historian ready", "historian canary", "historian ready"];
    let expected = [&of_historian[..], &["plc ready", "plc canary", "plc enforce"]].concat();
    let sorted = |list: &[&str]| {
        let mut list: Vec<String> = list.iter().map(|one| (*one).to_owned()).collect();
        list.sort();
        list
    };
    assert_eq!(sorted(&targets), sorted(&expected), "{steps:#?}");
    let (_, kept) = steps.iter().find(|(target, _)| target == "plc enforce").expect("the last step");
    assert!(kept.find("time met") < kept.find("; by whoever asked: "), "{kept}");
    for asked in ["time met", "kept met", "heard met", "breaks met", "judged met", "canary -> enforce"] {
        assert!(kept.contains(asked), "{asked}: {kept}");
    }

    // Now the place is free; a mode set by hand ends a stage.
    done(&agent, &["advance", HISTORIAN]);
    assert_eq!(stage(&agent, HISTORIAN), "canary");
    let by_hand = agent.cli(&["mode", HISTORIAN, "monitor", "--reason", "not today"]).expect("it runs");
    assert!(by_hand.status.success(), "{by_hand:?}");
    assert_eq!((stage(&agent, HISTORIAN), watched(&agent)), ("observe".into(), vec![]));
    done(&agent, &["back", PLC, "--reason", "the line is rebuilt"]);
    assert_eq!((stage(&agent, PLC), mode(&agent, PLC)), ("observe".into(), "monitor".into()));

    // Who is enforced without stages is told where they begin.
    let by_hand = agent.cli(&["mode", PLC, "enforce", "--reason", "in a hurry"]).expect("it runs");
    assert!(by_hand.status.success(), "{by_hand:?}");
    let output = agent.cli(&["rollout", "advance", PLC]).expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("hint: `bulkhead mode plc monitor"), "{said}");
    let output = agent.cli(&["rollout", "check", PLC]).expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("hint: `bulkhead mode plc monitor"), "{said}");
}

#[test]
fn a_break_that_was_accepted_and_goes_on_takes_no_canary_back() {
    let test = "a_break_that_was_accepted_and_goes_on_takes_no_canary_back";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    remember(&lab);
    let mut agent = Agent::new(&lab, &policy(&lab, "modbus")).expect("an agent");
    agent.write_config("\n[rollout]\ncanary = \"10m\"\n").expect("written");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");
    let other = Poller::start(lab.host("engineering"), lab.modbus(), EVERY).expect("polls");
    other.wait_for_more(3, SOON).expect("polls, for nothing is enforced yet");

    // What is denied to the workstation is accepted: SSH of the other days, and its poll of today.
    let long = Duration::from_secs(120);
    let breaks = wait_for("both breaks", long, || {
        let (_, now, _) = told(&agent, &["check", PLC]);
        let list = now["breaks"].as_array().cloned().unwrap_or_default();
        let name = |one: &Value| Some((one["id"].as_str()?.to_owned(), one["selector"].as_str()?.to_owned()));
        let names: Vec<_> = list.iter().filter_map(name).collect();
        Ok((names.len() == 2).then_some(names))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}", told(&agent, &["check", PLC]).1));
    for (id, _) in &breaks {
        done(&agent, &["accept", PLC, id, "--reason", "the workstation is taken out of service"]);
    }
    done(&agent, &["advance", PLC]);
    // Until its poll is known to be steady, and watched like the rest.
    wait_for("a habit", long, || {
        other.wait_for_more(1, SOON)?;
        done(&agent, &["advance", PLC]);
        let (_, now, _) = told(&agent, &[]);
        let steady = now["watched"][0]["steady"].as_array().cloned().unwrap_or_default();
        let is_there = |who: &str, word: &str| {
            let said = steady.iter().filter_map(Value::as_str);
            said.into_iter().any(|one| one.starts_with(who) && one.contains(word))
        };
        let is_known = is_there("engineering (", "accepted") && is_there("hmi (", "every");
        if !is_known {
            done(&agent, &["back", PLC, "--reason", "too early"]);
            done(&agent, &["advance", PLC]);
        }
        Ok(is_known.then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{:#}", told(&agent, &[]).1));
    // More than a silent conversation is given: it tries on, in vain, and the HMI loses nothing.
    let before = hmi.polls();
    let polls = hmi.wait_for_more(150, long).expect("polls");
    assert_eq!((polls.failed, polls.reconnects), (before.failed, before.reconnects), "{polls:?}");
    assert!(other.polls().failed > 0, "{:?}", other.polls());
    assert_eq!(
        (stage(&agent, PLC), mode(&agent, PLC)),
        ("canary".into(), "enforce".into()),
        "{}",
        agent.log()
    );
    // It is that word alone that keeps it: without it the device goes back for the same silence.
    let (id, _) = breaks.iter().find(|(_, selector)| selector.contains("502")).expect("the poll");
    done(&agent, &["accept", PLC, id, "--withdraw", "--reason", "it is still needed"]);
    wait_for("its way back", long, || Ok((stage(&agent, PLC) == "observe").then_some(())))
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    assert_eq!(mode(&agent, PLC), "monitor");
}

#[test]
fn a_canary_whose_poll_was_forgotten_goes_back_and_nothing_is_enforced_unwatched() {
    let test = "a_canary_whose_poll_was_forgotten_goes_back_and_nothing_is_enforced_unwatched";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    remember(&lab);
    let mut agent = Agent::new(&lab, &policy(&lab, "ssh")).expect("an agent");
    agent.write_config("\n[rollout]\ncanary = \"10m\"\n").expect("written");
    agent.start().expect("it starts");
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let hmi = Poller::start(lab.host("hmi"), lab.modbus(), EVERY).expect("polls");

    // Force needs a reason, and is told as such.
    let (code, _, said) = told(&agent, &["advance", PLC, "--force"]);
    assert!(code == Some(2) && said.contains("--reason"), "{code:?} {said}");
    let force = || {
        for to in ["ready", "canary"] {
            done(&agent, &["advance", PLC, "--force", "--reason", "the poll was overlooked"]);
            assert_eq!(stage(&agent, PLC), to);
        }
    };
    // Until the poll is known to be steady.
    let long = Duration::from_secs(120);
    wait_for("a habit", long, || {
        hmi.wait_for_more(1, SOON)?;
        force();
        let (_, now, _) = told(&agent, &[]);
        let steady = now["watched"][0]["steady"].as_array().is_some_and(|list| !list.is_empty());
        if !steady {
            done(&agent, &["back", PLC, "--reason", "too early"]);
            assert_eq!(mode(&agent, PLC), "monitor");
        }
        Ok(steady.then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{:#}", told(&agent, &[]).1));
    let gone = wait_for("its way back", long, || {
        let (_, now, _) = told(&agent, &[]);
        let of_plc = of(&now["stages"], PLC).clone();
        Ok((of_plc["stage"] == "observe").then_some(of_plc))
    });
    let gone = gone.unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    assert!(gone["by"].as_str().is_some_and(|by| by.starts_with("watch: ")), "{gone:#}");
    assert_eq!((mode(&agent, PLC), watched(&agent)), ("monitor".into(), vec![]));
    hmi.wait_for_more(3, SOON).expect("it polls again");
    let (_, steps) = trail(&agent, "stage-advance").into_iter().next_back().expect("the last step");
    assert!(steps.starts_with("forced: ready -> canary") && steps.contains("breaks NOT MET"), "{steps}");

    // As long as nobody has taken note it is no canary again, but by force.
    done(&agent, &["advance", PLC, "--force", "--reason", "once more"]);
    assert!(lacking(&agent, PLC).contains(&"\"noted\"".to_owned()));
    hmi.stop();
    done(&agent, &["advance", PLC, "--force", "--reason", "once more"]);
    assert_eq!((stage(&agent, PLC), watched(&agent)), ("canary".into(), vec![PLC.to_owned()]));

    // Who watches was lost, the mode not: it is watched again.
    let state = lab.gateway.room.outside("state");
    agent.kill9().expect("killed");
    fs::remove_file(state.join("watch.json")).expect("it was there");
    agent.start().expect("it starts");
    wait_for("somebody who watches", SOON, || Ok((watched(&agent) == [PLC]).then_some(()))).expect("watched");
    // Cut off before the mode was written: it is monitored, and that is what is told.
    agent.kill9().expect("killed");
    fs::remove_file(state.join("overrides.json")).expect("it was there");
    agent.start().expect("it starts");
    assert_eq!((stage(&agent, PLC), mode(&agent, PLC)), ("observe".into(), "monitor".into()));
    wait_for("the end of the watch", SOON, || Ok(watched(&agent).is_empty().then_some(()))).expect("it ends");
    // The stages are damaged: modes are as they were, and it is told.
    agent.kill9().expect("killed");
    fs::write(state.join("stages.json"), "{\"v\":1,").expect("writable");
    agent.start().expect("it starts");
    assert_eq!((stage(&agent, PLC), mode(&agent, PLC)), ("observe".into(), "monitor".into()));
    let warnings = plant::status(&agent)["warnings"].to_string();
    assert!(warnings.contains("stages.json"), "{warnings}");
}
