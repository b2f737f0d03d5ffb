//! A plant with real protocol stacks runs through an enforcing gateway as if there were none: no operation fails, no
//! packet is dropped. Leave one protocol out of the policy, and exactly that one fails, with the reason in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Output,
    thread,
};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Topology,
        stacks::{Outcome, STACKS, Server, Stack, requirements},
        topology::Host,
    },
    skip::{Tier, skip},
};
use serde_json::Value;

type Outcomes = BTreeMap<&'static str, Outcome>;

fn require_lab(test: &str, topology: Topology) -> Option<Lab> {
    match requirements() {
        Ok(()) => Some(Lab::build(topology, 1500).expect("a lab")),
        Err(reason) => {
            skip(Tier::Stacks, test, &reason);
            None
        }
    }
}

/// Everything the plant does, but for one protocol.
fn policy(lab: &Lab, left_out: Option<&str>) -> String {
    let mut text = "version = 1\n\n".to_owned();
    for name in ["plc", "hmi", "historian"] {
        let Host { name, mac, ip, .. } = lab.host(name);
        text += &format!("[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\nmode = \"enforce\"\n\n");
    }
    let rule = |key: &str, peer: &str, of: fn(&Stack) -> &'static str| {
        let services: Vec<&str> = STACKS
            .iter()
            .filter(|stack| of(stack) == peer && Some(stack.name) != left_out)
            .map(|stack| stack.service)
            .collect();
        format!("[[device.plc.allow]]\n{key} = \"{peer}\"\nservice = {services:?}\n\n")
    };
    text + &rule("from", "hmi", |stack| stack.client) + &rule("to", "historian", |stack| stack.server)
}

/// Every protocol at once, as in a plant.
fn all_at_once(lab: &Lab) -> Outcomes {
    thread::scope(|scope| {
        let running = STACKS.map(|stack| (stack.name, scope.spawn(move || stack.drive(lab))));
        running
            .into_iter()
            .map(|(name, driver)| {
                let outcome = driver.join().expect("a driver does not panic");
                (name, outcome.expect("it ends in order"))
            })
            .collect()
    })
}

/// As without the agent: the same operations, and none failed.
fn assert_as_before(name: &str, now: &Outcome, before: &Outcome, when: &str) {
    assert!(now.failed.is_empty(), "`{name}`, {when}:\n{}", now.said);
    assert_eq!(now.passed, before.passed, "`{name}`, {when}");
}

/// Brings the policy in force and returns its revision.
fn apply(agent: &Agent<'_>, text: &str) -> String {
    agent.write_policy(text).expect("written");
    let Output { status, stdout: _, stderr } = agent.cli(&["apply"]).expect("it runs");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    revision(agent)
}

fn revision(agent: &Agent<'_>) -> String {
    let status = agent.cli_json(&["status", "--json"]).expect("status");
    status["revision"].as_str().expect("a policy is in force").to_owned()
}

/// What the log says of one revision: reason, action, protocol and port of the side that would answer.
fn told(records: &[Value], revision: &str) -> BTreeSet<(String, String, String, u64)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    records
        .iter()
        .filter(|record| record["revision"] == revision)
        .map(|record| {
            assert!(record["explanation"].as_str().is_some_and(|text| !text.is_empty()), "{record}");
            (
                word(&record["reason"]),
                word(&record["action"]),
                word(&record["protocol"]),
                record["destination"]["port"].as_u64().unwrap_or_default(),
            )
        })
        .collect()
}

fn protocols_live_and_die_by_the_policy(lab: &Lab) {
    let _servers: Vec<Server> = STACKS.iter().map(|stack| stack.serve(lab).expect("a server")).collect();
    // A stack that is broken by itself must not be taken for a drop.
    let before = all_at_once(lab);
    for (name, outcome) in &before {
        assert_as_before(name, outcome, outcome, "before the agent");
    }

    let everything = policy(lab, None);
    let mut agent = Agent::new(lab, &everything).expect("an agent");
    agent.start().expect("it starts");
    let complete = revision(&agent);
    for (name, outcome) in &all_at_once(lab) {
        assert_as_before(name, outcome, &before[name], "with everything allowed");
    }
    let mut without = BTreeMap::new();
    for left_out in &STACKS {
        let revision = apply(&agent, &policy(lab, Some(left_out.name)));
        without.insert(revision, left_out);
        for (name, outcome) in &all_at_once(lab) {
            if *name == left_out.name {
                assert!(outcome.passed.is_empty(), "`{name}` is not allowed:\n{}", outcome.said);
            } else {
                assert_as_before(name, outcome, &before[name], &format!("without `{}`", left_out.name));
            }
        }
    }
    assert_eq!(apply(&agent, &everything), complete);
    for (name, outcome) in &all_at_once(lab) {
        assert_as_before(name, outcome, &before[name], "with everything allowed again");
    }

    // What waits for its summary is written at the end.
    agent.stop().expect("it stops");
    let records = agent.violations().expect("a log");
    assert_eq!(told(&records, &complete), BTreeSet::new(), "no false drop, not even one that nobody missed");
    for (revision, left_out) in &without {
        let told = told(&records, revision);
        let reasons: BTreeSet<&str> = told.iter().map(|(reason, ..)| reason.as_str()).collect();
        let ports: BTreeSet<u64> = told.iter().map(|(.., port)| *port).collect();
        assert_eq!(reasons, ["service-not-allowed"].into(), "without `{}`: {told:?}", left_out.name);
        assert_eq!(
            ports,
            [u64::from(left_out.listens.port())].into(),
            "without `{}`: {told:?}",
            left_out.name
        );
        assert!(told.iter().all(|(_, action, ..)| action == "dropped"), "{told:?}");
    }
    let known =
        |record: &&Value| record["revision"].as_str().is_some_and(|revision| without.contains_key(revision));
    assert_eq!(records.iter().filter(known).count(), records.len(), "nothing else was denied: {records:?}");
    assert_eq!(lab.dropped_by_links().expect("counters"), BTreeMap::new());
}

#[test]
fn real_stacks_live_and_die_by_the_policy_when_routed() {
    let test = "real_stacks_live_and_die_by_the_policy_when_routed";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    protocols_live_and_die_by_the_policy(&lab);
}

#[test]
fn real_stacks_live_and_die_by_the_policy_when_bridged() {
    let test = "real_stacks_live_and_die_by_the_policy_when_bridged";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    protocols_live_and_die_by_the_policy(&lab);
}
