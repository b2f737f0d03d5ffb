//! The state folder: what is damaged is named and not used, what cannot be kept or recorded is not done, and the audit
//! trail knows who did what.

mod history;
mod plant;

use std::fs;

use bulkhead_tests::lab::{
    Agent, Lab, Topology,
    modbus::{Plc, Write},
    topology::MODBUS,
    wait::wait_for,
};
use history::{
    LATE, entries, has_trail, policy, revisions, run, started, state, state_folder, trail, wait_for_number,
    warned, wider, write,
};
use plant::{SILENCE, SOON, require_lab, status};

/// A record that reads well, and only its seal knows that this is not what was written.
fn damage(lab: &Lab, number: u64) {
    let path = state_folder(lab).join(format!("revisions/{number}.json"));
    let text = fs::read_to_string(&path).expect("it is there").replace("lab.toml", "lob.toml");
    fs::write(path, text).expect("writable");
}

#[test]
fn damage_in_the_state_folder_is_named_and_the_newest_whole_revision_enforces() {
    let test = "damage_in_the_state_folder_is_named_and_the_newest_whole_revision_enforces";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (mut agent, first) = started(&lab);
    for (name, back) in [("engineering", true), ("historian", false)] {
        agent.write_policy(&wider(&lab, name)).expect("written");
        run(&agent, &["apply"], 0);
        if back {
            run(&agent, &["rollback"], 0);
        }
    }
    let third = status(&agent)["revision"].clone();
    agent.stop().expect("it stops");
    // The files are as good as before, and mend it.
    damage(&lab, 3);
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"]), (&4.into(), &third));
    assert!(agent.log().contains("revisions/3.json` is damaged"), "{}", agent.log());
    let said = run(&agent, &["revisions"], 1);
    assert!(said.contains("revisions/3.json` is damaged: it is not what was written"), "{said}");

    // The files are no good either: not the one that was rolled back, which is newer.
    agent.stop().expect("it stops");
    damage(&lab, 4);
    agent.write_policy("version = 2\n").expect("written");
    agent.start().expect("it starts");
    let now = status(&agent);
    assert_eq!((&now["number"], &now["revision"]), (&1.into(), &first));
    assert!(warned(&now, "revision 4, which was in force, could not be used"), "{now}");
    assert!(warned(&now, "the policy files cannot be used"), "{now}");
}

#[test]
fn what_cannot_be_kept_or_recorded_changes_nothing() {
    let test = "what_cannot_be_kept_or_recorded_changes_nothing";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let (mut agent, first) = started(&lab);
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    // What is in the way stands for a full disk: at the record, and at the pointer.
    for name in ["revisions/.2.json.new", ".current.json.new", ".current.copy.json.new"] {
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
    let entries = entries(&agent);
    let missed: u64 = entries.iter().filter_map(|entry| entry["missed"].as_u64()).sum();
    assert_eq!(missed, 6, "two for each of three acts: {entries:#?}");
    let said = run(&agent, &["audit-log"], 0);
    assert!(said.contains("entries before it were lost)"), "{said}");
    let verified = agent.cli(&["audit-log", "--verify"]).expect("it runs");
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(said.contains("6 entries could not be written"), "{said}");
    run(&agent, &["apply"], 0);
    assert_eq!(write(&lab, "engineering", SOON), Write::Written);
}

#[test]
fn every_change_is_in_the_trail_and_tampering_is_found() {
    let test = "every_change_is_in_the_trail_and_tampering_is_found";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (mut agent, _) = started(&lab);
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
    fs::write(&path, lines[5..].join("\n") + "\n").expect("writable");
    let said = run(&agent, &["audit-log", "--verify"], 1);
    assert!(said.contains("audit.log:1: entry 6 comes first"), "{said}");
    // A cut in the middle of the last line is no tampering.
    fs::write(&path, &text[..text.len() - 40]).expect("writable");
    let said = run(&agent, &["audit-log", "--verify"], 0);
    assert!(said.contains(" bytes are no whole entry") && said.contains("whole: entries 1 to 17"), "{said}");
    agent.start().expect("it starts");
    run(&agent, &["audit-log", "--verify"], 0);
    assert!(run(&agent, &["audit-log", "-n", "1"], 0).contains(" bytes before it was taken out)"));
}

#[test]
fn a_change_that_waits_is_refused_when_nothing_could_come_back() {
    let test = "a_change_that_waits_is_refused_when_nothing_could_come_back";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    fs::create_dir_all(state_folder(&lab)).expect("room");
    // Stands for a disk that is full at the start.
    let obstacle = state_folder(&lab).join("objects");
    fs::write(&obstacle, "in the way").expect("room");
    let (agent, first) = started(&lab);
    assert!(warned(&status(&agent), "the policy in force is not kept for the next start"));
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    let said = run(&agent, &["apply", "--confirm-within", "10s"], 2);
    assert!(
        said.contains("nothing was changed, because the policy in force, which would come back"),
        "{said}"
    );
    assert!(said.contains("/objects`"), "{said}");
    let now = status(&agent);
    assert_eq!((&now["revision"], &now["number"]), (&first, &0.into()));

    // There is room again: what comes back is kept before anything changes.
    fs::remove_file(&obstacle).expect("it is there");
    let said = run(&agent, &["apply", "--confirm-within", "10s"], 0);
    assert!(said.contains("unconfirmed: revision 1 comes back in "), "{said}");
    assert!(!said.contains("there is nothing to confirm"), "{said}");
    assert_eq!(status(&agent)["warnings"].as_array().map(Vec::len), Some(1), "{}", status(&agent));
    wait_for_number(&agent, 1);
    assert_eq!(status(&agent)["revision"], first);
}

#[test]
fn refused_requests_without_end_leave_the_trail_as_it_was() {
    let test = "refused_requests_without_end_leave_the_trail_as_it_was";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab, "")).expect("an agent");
    agent.write_config("[audit]\nfile_bytes = 65536\nfiles = 2\n").expect("written");
    agent.start().expect("it starts");
    run(&agent, &["mode", "plc", "monitor", "--reason", "EVIDENCE"], 0);
    for _ in 0..500 {
        let answer = agent.ask(&serde_json::json!({ "verb": "confirm" })).expect("an answer");
        assert!(answer["error"].is_object(), "{answer}");
    }
    run(&agent, &["release", "plc"], 0);
    agent.stop().expect("it stops");
    let refused = trail(&agent).into_iter().filter(|[_, result, _, _]| result == "refused").count();
    assert_eq!(refused, 21, "so many at once, and the last at the end");
    let said = run(&agent, &["audit-log"], 0);
    assert!(said.contains("EVIDENCE"), "{said}");
    assert!(said.contains("(479 more refused requests before it are not listed)"), "{said}");
    assert!(run(&agent, &["audit-log", "--verify"], 0).starts_with("whole: entries 1 to "));
}

#[test]
fn a_return_that_fails_is_in_the_trail_once_until_it_succeeds() {
    let test = "a_return_that_fails_is_in_the_trail_once_until_it_succeeds";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (mut agent, _) = started(&lab);
    agent.write_policy(&wider(&lab, "engineering")).expect("written");
    let record = state_folder(&lab).join("revisions/1.json");
    let whole = fs::read_to_string(&record).expect("it is there");
    // The agent that made the change remembers what was before, and mends it.
    run(&agent, &["apply", "--confirm-within", "10s"], 0);
    damage(&lab, 1);
    wait_for_number(&agent, 1);
    assert_eq!(fs::read_to_string(&record).expect("it is there"), whole);
    has_trail(&agent, "auto-rollback", "timer", "1");

    // The next one does not.
    run(&agent, &["apply", "--confirm-within", "30s"], 0);
    agent.kill9().expect("killed");
    damage(&lab, 1);
    agent.start().expect("it starts");
    wait_for("three tries", 2 * LATE, || Ok(warned(&status(&agent), "(3 times tried)").then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
    let returns = |agent: &Agent<'_>| {
        let all = trail(agent).into_iter().filter(|[action, ..]| action == "auto-rollback");
        all.map(|[_, result, by, target]| [result, by, target].join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(returns(&agent), ["ok timer 1", "failed timer 1"]);
    let said = run(&agent, &["apply"], 1);
    assert!(
        said.contains("cannot be brought back") && said.contains("`bulkhead confirm` keeps it"),
        "{said}"
    );
    fs::write(&record, whole).expect("writable");
    wait_for_number(&agent, 1);
    assert_eq!(returns(&agent), ["ok timer 1", "failed timer 1", "ok timer 1"]);
    assert!(run(&agent, &["audit-log"], 0).contains(" times before"), "{}", run(&agent, &["audit-log"], 0));
    assert!(!warned(&status(&agent), "cannot be brought back"));
}

#[test]
fn texts_of_a_request_cannot_write_lines_of_their_own() {
    let test = "texts_of_a_request_cannot_write_lines_of_their_own";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (agent, _) = started(&lab);
    let files = serde_json::json!([{ "path": "a.toml", "text": policy(&lab, "# x\n") }]);
    let evil = "/srv/\u{1b}[2Jx\nroot (uid 0 pid 1)  confirm";
    let long = "x".repeat(5000);
    for (request, why) in [
        (
            serde_json::json!({ "verb": "apply", "from": evil, "files": files }),
            "the path the policy comes from has a control character (character 6)",
        ),
        (
            serde_json::json!({ "verb": "apply", "from": long, "files": files }),
            "the path the policy comes from is 5000 bytes long, and 4096 are the most",
        ),
        (
            serde_json::json!({ "verb": "apply", "only": ["plc\u{7}"], "files": files }),
            "the name of a device has a control character (character 4)",
        ),
        (
            serde_json::json!({ "verb": "apply", "files": [{ "path": "\u{9b}1m.toml", "text": "" }] }),
            "the path of a file has a control character (character 1)",
        ),
    ] {
        let answer = agent.ask(&request).expect("an answer");
        let said = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(said.contains(why), "{answer}");
    }
    for request in [
        serde_json::json!({ "verb": "rollback", "to": evil }),
        serde_json::json!({ "verb": "confirm", "reason": evil }),
        serde_json::json!({ "verb": "mode", "device": evil, "mode": "monitor" }),
    ] {
        assert!(agent.ask(&request).expect("an answer")["error"].is_object());
    }
    assert_eq!(revisions(&agent), state(&[(1, "current")]));
    let said = run(&agent, &["audit-log"], 0);
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    assert!(!said.lines().any(|line| line.starts_with("root (uid 0 pid 1)")), "{said}");
    assert_eq!(trail(&agent).len(), 8, "each is written down: {said}");
}
