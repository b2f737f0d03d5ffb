//! Changes that cannot hurt: one that nobody confirms is undone, whatever happens to the agent meanwhile; a rollback stays
//! one; and a policy for one device leaves the others alone.

mod history;
mod plant;

use std::time::Duration;

use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology,
    modbus::{Plc, Write},
    topology::MODBUS,
    wait::wait_for,
};
use history::{
    boot_anew, has_trail, pass_deadline, policy, revisions, run, started, state, trail, wait_for_number,
    warned, wider, write,
};
use plant::{SILENCE, SOON, device, require_lab, status};
use serde_json::Value;

#[test]
fn unconfirmed_change_is_undone_in_time_and_a_live_session_goes_on() {
    let test = "unconfirmed_change_is_undone_in_time_and_a_live_session_goes_on";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let (mut agent, first) = started(&lab);
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(2)).expect("a first poll");
    assert_eq!(write(&lab, "engineering", SILENCE), Write::Unanswered);

    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    let said = run(&agent, &["apply", "--confirm-within", "30s", "--reason", "CHG-7"], 0);
    assert!(said.contains("unconfirmed: revision 1 comes back in "), "{said}");
    assert!(said.contains("hint: `bulkhead confirm` keeps this one"), "{said}");
    poller.wait_for_more(10, SOON).expect("polls go on");
    assert_eq!(write(&lab, "engineering", SOON), Write::Written);
    let page = run(&agent, &["status"], 1);
    assert!(page.contains("! UNCONFIRMED: revision 2 by root (uid 0 pid "), "{page}");
    assert!(page.contains("is undone in ") && page.contains("`bulkhead confirm` keeps it"), "{page}");
    assert_eq!(revisions(&agent), state(&[(2, "unconfirmed"), (1, "kept")]));
    // No other change on top of it, from nobody.
    let said = run(&agent, &["apply"], 1);
    assert!(said.contains("revision 2 is not confirmed yet") && said.contains("hint: "), "{said}");
    agent.hup().expect("heard");
    wait_for("the refusal", SOON, || Ok(agent.log().contains("is not confirmed yet").then_some(())))
        .expect("it is logged");

    wait_for_number(&agent, 1);
    let now = status(&agent);
    assert_eq!((&now["revision"], &now["pending"]), (&first, &Value::Null));
    assert!(now["files"]["differ"].as_str().is_some_and(|why| why.contains("rolled back")), "{now}");
    assert_eq!(now["warnings"], serde_json::json!([]));
    poller.wait_for_more(10, SOON).expect("polls go on");
    assert_eq!(write(&lab, "engineering", SILENCE), Write::Unanswered);
    assert_eq!(revisions(&agent), state(&[(2, "rolled-back"), (1, "current")]));
    // A start of the agent reads the files, and does not undo the return.
    agent.stop().expect("it stops");
    agent.start().expect("it starts");
    assert_eq!(status(&agent)["revision"], first);
    let polls = poller.stop();
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    assert_eq!(plc.asked_by(lab.host("hmi").ip).connections, 1, "one session through it all");
    has_trail(&agent, "auto-rollback", "timer", "1");
    let refused = trail(&agent).into_iter().filter(|[_, result, _, _]| result == "refused");
    let refused: Vec<_> = refused.map(|[action, _, by, _]| (action, by)).collect();
    assert_eq!(refused, [("apply", "root"), ("reload", "SIGHUP")].map(|(a, b)| (a.into(), b.into())));
    let said = run(&agent, &["audit-log"], 0);
    assert!(said.contains("CHG-7") && !said.contains("begun"), "{said}");
}

#[test]
fn unconfirmed_change_is_undone_after_kills_of_the_agent() {
    let test = "unconfirmed_change_is_undone_after_kills_of_the_agent";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let (mut agent, first) = started(&lab);
    // A session that both policies allow goes on through changes, kills and returns.
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(2)).expect("a first poll");

    // The next agent is there in time.
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    run(&agent, &["apply", "--confirm-within", "30s"], 0);
    let until = status(&agent)["pending"]["until"].clone();
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["pending"]["back_to"]), (&2.into(), &1.into()), "{now}");
    assert_eq!(now["pending"]["until"], until, "no kill prolongs it");
    assert!(now["pending"]["seconds_left"].as_u64().is_some_and(|left| left < 30), "{now}");
    assert!(warned(&now, "UNCONFIRMED"), "{now}");
    assert_eq!(write(&lab, "engineering", SOON), Write::Written);
    wait_for_number(&agent, 1);
    assert_eq!(status(&agent)["revision"], first);
    poller.wait_for_more(10, SOON).expect("polls go on");

    // The next agent comes too late, and enforces the old policy before anything else.
    run(&agent, &["apply", "--confirm-within", "1h"], 0);
    assert_eq!(status(&agent)["number"], 3);
    agent.kill9().expect("killed");
    assert_eq!(write(&lab, "engineering", SOON), Write::Written);
    pass_deadline(&lab);
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"], &now["pending"]), (&1.into(), &first, &Value::Null));
    poller.wait_for_more(10, SOON).expect("polls go on");
    assert_eq!(write(&lab, "engineering", SILENCE), Write::Unanswered);
    assert_eq!(revisions(&agent), state(&[(3, "rolled-back"), (2, "rolled-back"), (1, "current")]));
    has_trail(&agent, "auto-rollback", "start", "1");

    // Confirmed in time, it stays.
    run(&agent, &["apply", "--confirm-within", "1h"], 0);
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    let said = run(&agent, &["confirm", "--reason", "all screens are alive"], 0);
    assert!(said.contains("revision 4 is confirmed"), "{said}");
    assert_eq!(status(&agent)["pending"], Value::Null);
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    assert_eq!((&status(&agent)["number"], &status(&agent)["pending"]), (&4.into(), &Value::Null));
    has_trail(&agent, "confirm", "root", "4");
    let polls = poller.stop();
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    assert_eq!(plc.asked_by(lab.host("hmi").ip).connections, 1, "one session through it all");
}

#[test]
fn after_a_boot_the_wall_clock_decides_and_one_that_went_back_undoes_the_change() {
    let test = "after_a_boot_the_wall_clock_decides_and_one_that_went_back_undoes_the_change";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (mut agent, _) = started(&lab);
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    let now = jiff::Timestamp::now;
    let minutes = |minutes: i64| jiff::SignedDuration::from_mins(minutes);
    // (when the change was made, whether it still waits after the boot)
    let cases = [(now() - minutes(4), true), (now() - minutes(11), false), (now() + minutes(30), false)];
    for (number, (made, waits)) in (2_u64..).zip(cases) {
        run(&agent, &["apply", "--confirm-within", "10m"], 0);
        assert_eq!(status(&agent)["number"], number);
        agent.kill9().expect("killed");
        boot_anew(&lab, made);
        agent.start().expect("it starts");
        let after = status(&agent);
        if waits {
            let left = after["pending"]["seconds_left"].as_u64().expect("it waits");
            assert!((300..=360).contains(&left), "{after}");
            run(&agent, &["rollback"], 0);
        } else {
            assert_eq!(after["pending"], Value::Null);
        }
        assert_eq!(status(&agent)["number"], 1, "{after}");
    }
}

#[test]
fn what_was_in_force_comes_before_the_files_and_a_rollback_stays_one() {
    let test = "what_was_in_force_comes_before_the_files_and_a_rollback_stays_one";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let (mut agent, first) = started(&lab);
    let said = run(&agent, &["rollback"], 1);
    assert!(said.contains("there is no revision before this one"), "{said}");
    let said = run(&agent, &["confirm"], 1);
    assert!(said.contains("no change waits for a confirmation"), "{said}");
    let said = run(&agent, &["apply", "--confirm-within", "5s"], 1);
    assert!(said.contains("cannot be awaited for 5s\nhint: name a time from 10s to 7d"), "{said}");

    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    let said = run(&agent, &["apply"], 0);
    assert!(said.contains("in force (number 2, generation "), "{said}");
    assert!(run(&agent, &["apply"], 0).contains("in force, unchanged (number 2, "));
    let said = run(&agent, &["rollback", "--reason", "wrong shift"], 0);
    assert!(said.contains("revision 1 is back"), "{said}");
    for restart in [false, true] {
        agent.stop().expect("it stops");
        if restart {
            // As after a boot: nothing is pinned.
            run(&agent, &["detach", "--yes"], 0);
        }
        agent.start().expect("it starts");
        assert_eq!(status(&agent)["revision"], first);
        assert_eq!(write(&lab, "engineering", SILENCE), Write::Unanswered);
    }
    let said = run(&agent, &["rollback", "1"], 1);
    assert!(said.contains("revision 1 is in force"), "{said}");
    for wrong in ["7", "ffffffff", "x"] {
        assert!(run(&agent, &["rollback", wrong], 1).contains("hint: `bulkhead revisions`"));
    }
    let list = agent.cli_json(&["revisions", "--json"]).expect("a list");
    let hash = list["revisions"][0]["revision"].as_str().expect("a hash").to_owned();
    assert!(list["revisions"][0]["changes"].as_str().is_some_and(|text| text.contains("lab.toml; 1 device")));
    run(&agent, &["rollback", &hash[..6]], 0);
    assert_eq!(revisions(&agent), state(&[(2, "current"), (1, "kept")]));
    run(&agent, &["rollback"], 0);

    // Files that change while no agent runs are taken over by the next one.
    agent.stop().expect("it stops");
    agent.write_policy(&wider(&lab, "historian")).expect("written");
    agent.start().expect("it starts");
    assert_eq!(revisions(&agent), state(&[(3, "current"), (2, "rolled-back"), (1, "kept")]));
    assert_eq!(status(&agent)["files"], "in-force");
    assert_eq!(write(&lab, "historian", SOON), Write::Written);
    let said = run(&agent, &["revisions"], 0);
    assert!(said.contains("rolled back") && said.contains("current"), "{said}");
    has_trail(&agent, "apply", "start", "/run/bulkhead/policy.d");

    // One from elsewhere holds over a start, until the files change.
    lab.gateway.room.write("pushed.toml", &policy(&lab, "# pushed\n")).expect("written");
    run(&agent, &["apply", "/run/bulkhead/pushed.toml"], 0);
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["policy"], &now["number"]), (&"pushed".into(), &4.into()));
    assert!(now["files"]["differ"].as_str().is_some_and(|why| why.contains("/run/bulkhead/pushed.toml")));
}

/// Both plants' devices in one mode, and who may poll the PLC.
fn canary(lab: &Lab, mode: &str, client: &str) -> String {
    let host =
        |name: &str| device(lab, name, "").replace("mode = \"enforce\"", &format!("mode = \"{mode}\""));
    format!(
        "version = 1\n\n{}{}[[device.plc.allow]]\nfrom = \"client\"\nservice = \"modbus\"\n\n\
         [network.client]\ncidr = \"{}/32\"\n",
        host("plc"),
        host("hmi"),
        lab.host(client).ip,
    )
}

#[test]
fn a_policy_for_one_device_leaves_the_others_as_they_are_and_survives_the_agent() {
    let test = "a_policy_for_one_device_leaves_the_others_as_they_are_and_survives_the_agent";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &canary(&lab, "monitor", "hmi")).expect("an agent");
    agent.start().expect("it starts");
    agent.write_policy(&canary(&lab, "enforce", "engineering")).expect("written");
    let said = run(&agent, &["apply", "--only", "plk"], 1);
    assert!(said.contains("unknown device `plk`") && said.contains("did you mean `plc`?"), "{said}");

    run(&agent, &["apply", "--only", "plc", "--reason", "canary"], 0);
    let modes = |agent: &Agent<'_>| {
        let devices = agent.cli_json(&["devices", "--json"]).expect("devices");
        ["hmi", "plc"].map(|name| {
            let all = devices.as_array().expect("a list").iter();
            let mode =
                all.clone().find(|device| device["name"] == name).expect("it is there")["mode"].clone();
            mode.as_str().expect("a word").to_owned()
        })
    };
    let revision = status(&agent)["revision"].clone();
    for restarted in [false, true] {
        if restarted {
            agent.kill9().expect("killed");
            agent.start().expect("it starts");
        }
        assert_eq!(modes(&agent), ["monitor", "enforce"]);
        assert_eq!(write(&lab, "engineering", SOON), Write::Written);
        assert_eq!(write(&lab, "historian", SILENCE), Write::Unanswered);
        let now = status(&agent);
        assert_eq!((&now["revision"], &now["number"]), (&revision, &2.into()));
        assert!(now["files"]["differ"].as_str().is_some_and(|why| why.contains("for plc only")), "{now}");
    }
    let list = agent.cli_json(&["revisions", "--json"]).expect("a list");
    assert_eq!(list["revisions"][0]["only"], serde_json::json!(["plc"]));
    assert!(run(&agent, &["revisions"], 0).contains("only plc: lab.toml; 2 devices"));
    has_trail(&agent, "apply", "root", "/run/bulkhead/policy.d (only plc)");

    // The other one follows, and then it is the policy of all.
    run(&agent, &["apply", "--only", "hmi"], 0);
    assert_eq!(modes(&agent), ["enforce", "enforce"]);
    assert_eq!(status(&agent)["files"], "in-force");
    run(&agent, &["rollback"], 0);
    assert_eq!(
        (modes(&agent), &status(&agent)["revision"]),
        (["monitor", "enforce"].map(str::to_owned), &revision)
    );
    run(&agent, &["rollback"], 0);
    assert_eq!(modes(&agent), ["monitor", "monitor"]);
}
