//! Changes that cannot hurt: one that nobody confirms is undone, whatever happens to the agent meanwhile; a rollback stays
//! one; what cannot be kept is not enforced; and the trail knows who did what.

mod plant;

use std::{
    fs,
    path::PathBuf,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use bulkhead_agent::store::{Clocks, Deadline, Pending, Pointer, Store};
use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology,
    modbus::{Plc, Write, write_once},
    topology::MODBUS,
    wait::wait_for,
};
use plant::{SILENCE, SOON, device, require_lab, status};
use serde_json::Value;

/// The shortest time that `--confirm-within` takes.
const WITHIN: Duration = Duration::from_secs(10);
/// The agent looks twice a second.
const LATE: Duration = Duration::from_secs(20);

/// The HMI may poll the PLC. `more` makes it another policy.
fn policy(lab: &Lab, more: &str) -> String {
    format!(
        "version = 1\n\n{}[[device.plc.allow]]\nfrom = [\"network-hmi\"]\nservice = [\"modbus\"]\n\n\
         [network.network-hmi]\ncidr = \"{}/32\"\n\n{more}",
        device(lab, "plc", ""),
        lab.host("hmi").ip,
    )
}

/// As well as another host of the plant.
fn wider(lab: &Lab, name: &str) -> String {
    let more = format!(
        "[network.more]\ncidr = \"{}/32\"\n\n[[device.plc.allow]]\nfrom = \"more\"\nservice = \"modbus\"\n",
        lab.host(name).ip
    );
    policy(lab, &more)
}

/// Runs a command that must end with this code; what it printed on both ways out.
fn run(agent: &Agent<'_>, args: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = agent.cli(args).expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "`bulkhead {}`:\n{said}", args.join(" "));
    said
}

/// Number and state of every revision, newest first.
fn revisions(agent: &Agent<'_>) -> Vec<(u64, String)> {
    let list = agent.cli_json(&["revisions", "--json"]).expect("a list");
    let all = list["revisions"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|one| (one["number"].as_u64().unwrap_or_default(), text(&one["state"]))).collect()
}

fn state(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(number, word)| (*number, (*word).to_owned())).collect()
}

/// Action, result, who and target of every entry of the trail.
fn trail(agent: &Agent<'_>) -> Vec<[String; 4]> {
    let entries = agent.cli_json(&["audit-log", "--json"]).expect("a trail");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = entries.as_array().expect("a list").iter().filter(|entry| entry["result"] != "begun");
    entries
        .map(|entry| {
            let by = &entry["by"];
            let by = if by["agent"].is_null() { &by["user"] } else { &by["agent"] };
            [text(&entry["action"]), text(&entry["result"]), text(by), text(&entry["target"])]
        })
        .collect()
}

fn has_trail(agent: &Agent<'_>, action: &str, by: &str, target: &str) {
    let found = trail(agent);
    let wanted = [action, "ok", by, target].map(str::to_owned);
    assert!(found.contains(&wanted), "{wanted:?} in {found:#?}");
    assert!(run(agent, &["audit-log", "--verify"], 0).starts_with("whole: entries 1 to "));
}

fn state_folder(lab: &Lab) -> PathBuf {
    lab.gateway.room.outside("state")
}

fn write(lab: &Lab, from: &str, within: Duration) -> Write {
    write_once(lab.host(from), lab.modbus(), 50, 7, within).expect("a try")
}

fn warned(status: &Value, wanted: &str) -> bool {
    let warnings = status["warnings"].as_array().expect("a list");
    warnings.iter().any(|warning| warning.as_str().is_some_and(|text| text.contains(wanted)))
}

fn wait_for_number(agent: &Agent<'_>, number: u64) {
    wait_for("the return", LATE, || Ok((status(agent)["number"] == number).then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
}

#[test]
fn unconfirmed_change_is_undone_in_time_and_a_live_session_goes_on() {
    let test = "unconfirmed_change_is_undone_in_time_and_a_live_session_goes_on";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab, "")).expect("an agent");
    agent.start().expect("it starts");
    let first = status(&agent)["revision"].clone();
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(2)).expect("a first poll");
    assert_eq!(write(&lab, "engineering", SILENCE), Write::Unanswered);

    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    let said = run(&agent, &["apply", "--confirm-within", "10s", "--reason", "CHG-7"], 0);
    assert!(said.contains("unconfirmed: revision 1 comes back in 10s"), "{said}");
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
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab, "")).expect("an agent");
    agent.start().expect("it starts");
    let first = status(&agent)["revision"].clone();

    // The next agent is there in time.
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    run(&agent, &["apply", "--confirm-within", "10s"], 0);
    agent.kill9().expect("killed");
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["pending"]["back_to"]), (&2.into(), &1.into()), "{now}");
    assert!(now["pending"]["seconds_left"].as_u64().is_some_and(|left| left < 10), "{now}");
    assert!(warned(&now, "UNCONFIRMED"), "{now}");
    assert_eq!(write(&lab, "engineering", SOON), Write::Written);
    wait_for_number(&agent, 1);
    assert_eq!(status(&agent)["revision"], first);

    // The next agent comes too late, and enforces the old policy before anything else.
    let began = Instant::now();
    run(&agent, &["apply", "--confirm-within", "10s"], 0);
    assert_eq!(status(&agent)["number"], 3);
    agent.kill9().expect("killed");
    assert_eq!(write(&lab, "engineering", SOON), Write::Written);
    thread::sleep((WITHIN + Duration::from_millis(100)).saturating_sub(began.elapsed()));
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"], &now["pending"]), (&1.into(), &first, &Value::Null));
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
}

/// Makes the change that waits one of an earlier boot, in which it was made at this moment.
fn boot_anew(lab: &Lab, made: jiff::Timestamp) {
    let store = Store::open(&state_folder(lab)).expect("no agent runs");
    let pointer = store.pointer().expect("it is whole").expect("it is there");
    let pending = pointer.pending.clone().expect("a change waits");
    let boot = Clocks { boot: "another".into(), up: Duration::from_secs(5000), wall: made };
    let deadline = Deadline::after(Duration::from_secs(600), &boot);
    let pending = Some(Pending { deadline, ..pending });
    store.point(&Pointer { pending, ..pointer }).expect("there is room");
}

#[test]
fn after_a_boot_the_wall_clock_decides_and_one_that_went_back_undoes_the_change() {
    let test = "after_a_boot_the_wall_clock_decides_and_one_that_went_back_undoes_the_change";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab, "")).expect("an agent");
    agent.start().expect("it starts");
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
    let mut agent = Agent::new(&lab, &policy(&lab, "")).expect("an agent");
    agent.start().expect("it starts");
    let first = status(&agent)["revision"].clone();
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

#[test]
fn damage_in_the_state_folder_is_named_and_the_newest_whole_revision_enforces() {
    let test = "damage_in_the_state_folder_is_named_and_the_newest_whole_revision_enforces";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab, "")).expect("an agent");
    agent.start().expect("it starts");
    let first = status(&agent)["revision"].clone();
    for (name, back) in [("engineering", true), ("historian", false)] {
        agent.write_policy(&wider(&lab, name)).expect("written");
        run(&agent, &["apply"], 0);
        if back {
            run(&agent, &["rollback"], 0);
        }
    }
    let third = status(&agent)["revision"].clone();
    agent.stop().expect("it stops");
    let damage = |number: u64| {
        let path = state_folder(&lab).join(format!("revisions/{number}.json"));
        let text = fs::read_to_string(&path).expect("it is there").replace("lab.toml", "lob.toml");
        fs::write(&path, text).expect("writable");
    };
    // The files are as good as before, and mend it.
    damage(3);
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"]), (&4.into(), &third));
    assert!(agent.log().contains("revisions/3.json` is damaged"), "{}", agent.log());
    let said = run(&agent, &["revisions"], 1);
    assert!(said.contains("revisions/3.json` is damaged: it is not what was written"), "{said}");

    // The files are no good either: not the one that was rolled back, which is newer.
    agent.stop().expect("it stops");
    damage(4);
    agent.write_policy("version = 2\n").expect("written");
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"]), (&1.into(), &first));
    assert!(warned(&now, "revision 4, which was in force, cannot be used"), "{now}");
    assert!(warned(&now, "the policy files cannot be used"), "{now}");

    // Not even the pointer is left.
    agent.stop().expect("it stops");
    fs::write(state_folder(&lab).join("current.json"), "{}\n").expect("writable");
    agent.write_policy(&wider(&lab, "historian")).expect("written");
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!(now["revision"], third, "{now}");
    assert!(agent.log().contains("which revision was in force is not known any more"), "{}", agent.log());
}

#[test]
fn what_cannot_be_kept_or_recorded_changes_nothing() {
    let test = "what_cannot_be_kept_or_recorded_changes_nothing";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab, "")).expect("an agent");
    agent.start().expect("it starts");
    let first = status(&agent)["revision"].clone();
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    // What is in the way stands for a full disk: at the record, and at the pointer.
    for name in ["revisions/.2.json.new", ".current.json.new"] {
        let obstacle = state_folder(&lab).join(name);
        fs::create_dir(&obstacle).expect("room");
        let said = run(&agent, &["apply"], 2);
        assert!(
            said.contains("nothing was changed, because it could not be kept for the next start"),
            "{said}"
        );
        assert!(said.contains(name), "{said}");
        assert_eq!(status(&agent)["revision"], first);
        assert_eq!(write(&lab, "engineering", SILENCE), Write::Unanswered);
        fs::remove_dir(&obstacle).expect("it is there");
        agent.kill9().expect("killed");
        agent.write_policy(&policy(&lab, "")).expect("written");
        agent.start().expect("it starts");
        assert_eq!(status(&agent)["revision"], first);
        assert_eq!(revisions(&agent), state(&[(1, "current")]));
        agent.write_policy(&wider(&lab, "engineering")).expect("written");
    }

    let lock = state_folder(&lab).join("audit.lock");
    fs::remove_file(&lock).expect("it is there");
    fs::create_dir(&lock).expect("room");
    for args in [&["apply"][..], &["mode", "plc", "monitor"]] {
        let said = run(&agent, args, 2);
        assert!(said.contains("nothing was changed, because the audit trail cannot be written"), "{said}");
    }
    assert_eq!(status(&agent)["revision"], first);
    assert!(warned(&status(&agent), "the audit trail cannot be written"));
    // Whoever cuts a device off is not stopped.
    let said = run(&agent, &["quarantine", "plc"], 0);
    assert!(said.contains("this is not in the audit trail"), "{said}");
    assert_eq!(write(&lab, "hmi", SILENCE), Write::Unanswered);
    fs::remove_dir(&lock).expect("it is there");
    run(&agent, &["release", "plc"], 0);
    assert!(!warned(&status(&agent), "the audit trail"));
    let entries = agent.cli_json(&["audit-log", "--json"]).expect("a trail");
    let missed: u64 =
        entries.as_array().expect("a list").iter().filter_map(|entry| entry["missed"].as_u64()).sum();
    assert_eq!(missed, 6, "two for each of three acts: {entries:#}");
    run(&agent, &["apply"], 0);
    assert_eq!(write(&lab, "engineering", SOON), Write::Written);
}

#[test]
fn every_change_is_in_the_trail_and_tampering_is_found() {
    let test = "every_change_is_in_the_trail_and_tampering_is_found";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab, "")).expect("an agent");
    agent.start().expect("it starts");
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    agent.hup().expect("heard");
    wait_for_number(&agent, 2);
    for args in [
        &["rollback", "--reason", "r1"][..],
        &["apply", "--confirm-within", "1h", "--reason", "r2"],
        &["confirm", "--reason", "r3"],
        &["mode", "plc", "monitor", "--why", "r4"],
        &["quarantine", "plc", "--reason", "r5"],
        &["release", "plc", "--reason", "r6"],
    ] {
        run(&agent, args, 0);
    }
    assert!(run(&agent, &["quarantine", "plk", "--reason", "r7"], 1).contains("did you mean `plc`?"));
    agent.stop().expect("it stops");
    run(&agent, &["detach", "--yes", "--reason", "r8"], 0);
    let expected = [
        ["start", "ok", "start", "1"],
        ["reload", "ok", "SIGHUP", "/run/bulkhead/policy.d"],
        ["rollback", "ok", "root", "1"],
        ["apply", "ok", "root", "/run/bulkhead/policy.d"],
        ["confirm", "ok", "root", "3"],
        ["mode", "ok", "root", "plc monitor"],
        ["quarantine", "ok", "root", "plc quarantine"],
        ["release", "ok", "root", "plc"],
        ["quarantine", "refused", "root", "plk quarantine"],
        ["detach", "ok", "root", "cell0, plant0"],
    ];
    assert_eq!(trail(&agent), expected.map(|entry| entry.map(str::to_owned)));
    let said = run(&agent, &["audit-log"], 0);
    let reasons: Vec<&str> = said
        .lines()
        .filter_map(|line| line.rsplit(' ').next())
        .filter(|word| word.starts_with('r'))
        .collect();
    assert_eq!(reasons, ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"], "{said}");
    let whole = run(&agent, &["audit-log", "--verify"], 0);
    assert!(whole.starts_with("whole: entries 1 to 18, the last with hash "), "{whole}");
    assert_eq!(run(&agent, &["audit-log", "-n", "1"], 0).lines().count(), 2);

    let path = state_folder(&lab).join("audit.log");
    let text = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, text.replacen("r4", "r9", 1)).expect("writable");
    let line = text.lines().position(|line| line.contains("r4")).expect("it is there") + 1;
    let said = run(&agent, &["audit-log", "--verify"], 1);
    assert_eq!(
        said.trim_end(),
        format!(
            "broken at /run/bulkhead/state/audit.log:{line}: the line does not fit its own hash: it was changed"
        )
    );
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&path, [&lines[..5], &lines[7..]].concat().join("\n") + "\n").expect("writable");
    let said = run(&agent, &["audit-log", "--verify"], 1);
    assert!(said.contains("audit.log:6: 2 entries are missing before entry 8"), "{said}");
    // A cut in the middle of the last line is no tampering.
    fs::write(&path, &text[..text.len() - 40]).expect("writable");
    let said = run(&agent, &["audit-log", "--verify"], 0);
    assert!(said.contains("a power cut left ") && said.contains("whole: entries 1 to 17"), "{said}");
    agent.start().expect("it starts");
    run(&agent, &["audit-log", "--verify"], 0);
    assert!(run(&agent, &["audit-log", "-n", "1"], 0).contains("(a power cut tore the entry before it)"));
}
