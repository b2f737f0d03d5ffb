//! Damage in the state folder never brings back what was taken back or what nobody had confirmed, keeps no agent from
//! enforcing, and what became of it is told.

mod history;
mod plant;

use std::{fs, path::Path, process::Command};

use bulkhead_agent::store::Store;
use bulkhead_tests::lab::{
    Agent, Topology,
    modbus::{Plc, Write},
    topology::MODBUS,
};
use history::{
    entries, has_trail, pass_deadline, revisions, run, started, state, state_folder, trail, warned, wider,
    write,
};
use plant::{SILENCE, require_lab, status};
use serde_json::Value;

/// A sealed file that does not fit its seal any more.
fn damage(path: &Path) {
    let text = fs::read_to_string(path).expect("it is there").replacen('1', "7", 1);
    fs::write(path, text).expect("writable");
}

#[test]
fn a_lost_pointer_does_not_bring_back_what_was_taken_back() {
    let test = "a_lost_pointer_does_not_bring_back_what_was_taken_back";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (mut agent, first) = started(&lab);
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    run(&agent, &["apply"], 0);
    run(&agent, &["rollback"], 0);

    // One of the two: nothing is lost, and the files stay what was rolled back.
    let [pointer, copy] = ["current.json", "current.copy.json"].map(|name| state_folder(&lab).join(name));
    for path in [&pointer, &copy] {
        agent.stop().expect("it stops");
        damage(path);
        agent.start().expect("it starts");
        let now = status(&agent);
        assert_eq!((&now["number"], &now["revision"]), (&1.into(), &first), "{now}");
        assert!(warned(&now, "the state folder was damaged: `"), "{now}");
        assert_eq!(revisions(&agent), state(&[(2, "rolled-back"), (1, "current")]));
    }
    agent.stop().expect("it stops");
    agent.start().expect("it starts");
    assert_eq!(status(&agent)["warnings"], serde_json::json!([]), "it was written anew");

    // Both, damaged or gone: the audit trail knows.
    for gone in [false, true] {
        agent.stop().expect("it stops");
        for path in [&pointer, &copy] {
            if gone { fs::remove_file(path).expect("it is there") } else { damage(path) }
        }
        agent.start().expect("it starts");
        let now = status(&agent);
        assert_eq!((&now["number"], &now["revision"]), (&1.into(), &first), "{now}");
        assert!(warned(&now, "which revision was in force is not known any more"), "{now}");
        assert!(now["files"]["differ"].is_string(), "{now}");
        assert_eq!(revisions(&agent), state(&[(2, "rolled-back"), (1, "current")]));
        has_trail(&agent, "fallback", "start", "1");
        // What is said stays said.
        run(&agent, &["mode", "plc", "monitor"], 0);
        run(&agent, &["release", "plc"], 0);
        assert!(warned(&status(&agent), "is not known any more"), "{}", status(&agent));
    }
    // Files that are no good are no reason not to start.
    agent.stop().expect("it stops");
    run(&agent, &["detach", "--yes"], 0);
    fs::remove_file(&pointer).expect("it is there");
    fs::remove_file(&copy).expect("it is there");
    agent.write_policy("version = 2\n").expect("written");
    agent.start().expect("it starts");
    assert_eq!(status(&agent)["revision"], first);
}

#[test]
fn an_unconfirmed_change_that_is_damaged_is_undone_and_its_files_stay_outside() {
    let test = "an_unconfirmed_change_that_is_damaged_is_undone_and_its_files_stay_outside";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let (mut agent, first) = started(&lab);
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    run(&agent, &["apply", "--confirm-within", "1h"], 0);
    agent.kill9().expect("killed");
    damage(&state_folder(&lab).join("revisions/2.json"));
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"], &now["pending"]), (&1.into(), &first, &Value::Null));
    assert!(warned(&now, "revision 2, which was in force, could not be used"), "{now}");
    assert!(now["files"]["differ"].is_string(), "{now}");
    assert_eq!(write(&lab, "engineering", SILENCE), Write::Unanswered);
    has_trail(&agent, "fallback", "start", "1");
    // The same with a pointer that is lost with its copy.
    run(&agent, &["apply", "--confirm-within", "1h"], 0);
    assert_eq!(status(&agent)["number"], 3);
    agent.kill9().expect("killed");
    for name in ["current.json", "current.copy.json"] {
        damage(&state_folder(&lab).join(name));
    }
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"], &now["pending"]), (&1.into(), &first, &Value::Null));
}

#[test]
fn revisions_that_cannot_be_listed_keep_no_agent_from_enforcing() {
    let test = "revisions_that_cannot_be_listed_keep_no_agent_from_enforcing";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (mut agent, first) = started(&lab);
    agent.stop().expect("it stops");
    run(&agent, &["detach", "--yes"], 0);
    let folder = state_folder(&lab).join("revisions");
    fs::remove_dir_all(&folder).expect("it is there");
    fs::write(&folder, "in the way").expect("room");
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"]), (&0.into(), &first), "{now}");
    assert!(warned(&now, "the kept revisions cannot be listed"), "{now}");
    assert!(warned(&now, "revision 1, which was in force, could not be used"), "{now}");
    assert!(warned(&now, "the agent began with the configured files"), "{now}");
}

#[test]
fn a_full_disk_keeps_no_agent_from_enforcing() {
    let test = "a_full_disk_keeps_no_agent_from_enforcing";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let folder = state_folder(&lab);
    fs::create_dir(&folder).expect("room");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "mode=0700,size=16k", "none"]).arg(lab.gateway.room.inside("state"));
    let mounted = lab.gateway.namespace.spawn_child(mount).and_then(|mut child| child.wait());
    assert!(mounted.expect("it runs").success());
    fs::write(folder.join("fill"), vec![0; 1 << 20]).expect_err("there is less room");
    let (mut agent, _) = started(&lab);
    assert_eq!(write(&lab, "engineering", SILENCE), Write::Unanswered);
    let now = status(&agent);
    assert!(warned(&now, "the policy in force is not kept for the next start"), "{now}");
    // The lock holds although nothing could be written into it.
    let error = Store::open(&folder).err().expect("the agent has it").to_string();
    assert!(error.ends_with("is in use by process unknown"), "{error}");
    agent.stop().expect("it stops");
}

#[test]
fn an_undo_at_a_start_that_fails_later_is_in_the_trail() {
    let test = "an_undo_at_a_start_that_fails_later_is_in_the_trail";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (mut agent, first) = started(&lab);
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    run(&agent, &["apply", "--confirm-within", "1h"], 0);
    let second = status(&agent)["revision"].clone();
    agent.kill9().expect("killed");
    run(&agent, &["detach", "--yes"], 0);
    pass_deadline(&lab);
    let config = lab.gateway.room.outside("bulkhead.toml");
    let text = fs::read_to_string(&config).expect("it is there");
    fs::write(&config, text.replace("cell0", "nocell0").replace("plant0", "noplant0")).expect("writable");
    agent.spawn().expect("it runs");
    assert!(!agent.wait_until_ended().expect("not one interface is there").success());
    fs::write(&config, text).expect("writable");
    let undone = ["auto-rollback", "ok", "start", "1"].map(str::to_owned);
    let times = |agent: &Agent<'_>| trail(agent).into_iter().filter(|entry| *entry == undone).count();
    assert_eq!(times(&agent), 1, "{:#?}", trail(&agent));
    agent.start().expect("it starts");
    assert_eq!((&status(&agent)["revision"], times(&agent)), (&first, 1));
    let entry = entries(&agent).into_iter().find(|entry| entry["action"] == "auto-rollback");
    let entry = entry.expect("it is there");
    assert_eq!((&entry["before"], &entry["after"]), (&second, &first), "{entry}");
}
