//! What the tests of policies over time share: two policies, the commands, what they say, and a deadline that need not be
//! awaited.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{fs, path::PathBuf, process::Output, time::Duration};

use bulkhead_agent::store::{Clocks, Deadline, Pending, Pointer, Store};
use bulkhead_tests::lab::{
    Agent, Lab,
    modbus::{Write, write_once},
    wait::wait_for,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::plant::{device, status};

/// The longest that a test awaits a return, and a busy machine on top.
pub(crate) const LATE: Duration = Duration::from_secs(60);

/// The HMI may poll the PLC. `more` makes it another policy.
pub(crate) fn policy(lab: &Lab, more: &str) -> String {
    format!(
        "version = 1\n\n{}[[device.plc.allow]]\nfrom = [\"network-hmi\"]\nservice = [\"modbus\"]\n\n\
         [network.network-hmi]\ncidr = \"{}/32\"\n\n{more}",
        device(lab, "plc", ""),
        lab.host("hmi").ip,
    )
}

/// As well as another host of the plant.
pub(crate) fn wider(lab: &Lab, name: &str) -> String {
    let more = format!(
        "[network.more]\ncidr = \"{}/32\"\n\n[[device.plc.allow]]\nfrom = \"more\"\nservice = \"modbus\"\n",
        lab.host(name).ip
    );
    policy(lab, &more)
}

/// An agent that began with [`policy`], and the revision of it.
pub(crate) fn started(lab: &Lab) -> (Agent<'_>, Value) {
    let mut agent = Agent::new(lab, &policy(lab, "")).expect("an agent");
    agent.start().expect("it starts");
    let first = status(&agent)["revision"].clone();
    (agent, first)
}

/// Runs a command that must end with this code; what it printed on both ways out.
pub(crate) fn run(agent: &Agent<'_>, args: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = agent.cli(args).expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "`bulkhead {}`:\n{said}", args.join(" "));
    said
}

/// Number and state of every revision, newest first.
pub(crate) fn revisions(agent: &Agent<'_>) -> Vec<(u64, String)> {
    let list = agent.cli_json(&["revisions", "--json"]).expect("a list");
    let all = list["revisions"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|one| (one["number"].as_u64().unwrap_or_default(), text(&one["state"]))).collect()
}

pub(crate) fn state(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(number, word)| (*number, (*word).to_owned())).collect()
}

/// Every entry of the trail.
pub(crate) fn entries(agent: &Agent<'_>) -> Vec<Value> {
    let entries = agent.cli_json(&["audit-log", "--json"]).expect("a trail");
    entries.as_array().expect("a list").clone()
}

/// Action, result, who and target of every entry that tells how something ended.
pub(crate) fn trail(agent: &Agent<'_>) -> Vec<[String; 4]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = entries(agent).into_iter().filter(|entry| entry["result"] != "begun");
    entries
        .map(|entry| {
            let by = &entry["by"];
            let by = if by["agent"].is_null() { &by["user"] } else { &by["agent"] };
            [text(&entry["action"]), text(&entry["result"]), text(by), text(&entry["target"])]
        })
        .collect()
}

pub(crate) fn has_trail(agent: &Agent<'_>, action: &str, by: &str, target: &str) {
    let found = trail(agent);
    let wanted = [action, "ok", by, target].map(str::to_owned);
    assert!(found.contains(&wanted), "{wanted:?} in {found:#?}");
    assert!(run(agent, &["audit-log", "--verify"], 0).starts_with("whole: entries 1 to "));
}

pub(crate) fn state_folder(lab: &Lab) -> PathBuf {
    lab.gateway.room.outside("state")
}

/// Lets the time of the change that waits be over, while no agent runs: by the clock of this boot alone, for the wall clock
/// has no say before the next one.
pub(crate) fn pass_deadline(lab: &Lab) {
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("`/proc` is there").trim().to_owned();
    let began = Clocks { boot, up: Duration::ZERO, wall: Timestamp::now() };
    replace_deadline(lab, |kept| {
        let mut deadline = Deadline::after(Duration::ZERO, &began);
        deadline.until = kept.until;
        deadline
    });
}

/// Makes the change that waits one of an earlier boot, in which it was made at this moment for ten minutes.
pub(crate) fn boot_anew(lab: &Lab, made: Timestamp) {
    let boot = Clocks { boot: "another".into(), up: Duration::from_secs(5000), wall: made };
    replace_deadline(lab, |_| Deadline::after(Duration::from_secs(600), &boot));
}

fn replace_deadline(lab: &Lab, by: impl FnOnce(&Deadline) -> Deadline) {
    let store = Store::open(&state_folder(lab)).expect("no agent runs");
    let pointer = store.pointer().expect("it is whole").expect("it is there");
    let pending = pointer.pending.clone().expect("a change waits");
    let pending = Some(Pending { deadline: by(&pending.deadline), ..pending });
    store.point(&Pointer { pending, ..pointer }).expect("there is room");
}

pub(crate) fn write(lab: &Lab, from: &str, within: Duration) -> Write {
    write_once(lab.host(from), lab.modbus(), 50, 7, within).expect("a try")
}

pub(crate) fn warned(status: &Value, wanted: &str) -> bool {
    let warnings = status["warnings"].as_array().expect("a list");
    warnings.iter().any(|warning| warning.as_str().is_some_and(|text| text.contains(wanted)))
}

pub(crate) fn wait_for_number(agent: &Agent<'_>, number: u64) {
    wait_for("the return", LATE, || Ok((status(agent)["number"] == number).then_some(())))
        .unwrap_or_else(|error| panic!("{error:#}: {}", agent.log()));
}
