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
        stacks::{LINK_STACKS, Outcome, STACKS, Server, Stack, requirements},
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

/// What a test lets run, and how it is allowed.
struct Plant {
    stacks: &'static [Stack],
    /// Everything but one service.
    policy: fn(&Lab, Option<&str>) -> String,
    /// Those that a policy can leave out.
    by_policy: fn(&Stack) -> bool,
    /// What the log says of one that is left out.
    reasons: &'static [&'static str],
}

const ROUTABLE: Plant =
    Plant { stacks: &STACKS, policy: routable, by_policy: |_| true, reasons: &["service-not-allowed"] };

/// DHCP is infrastructure: the configuration switches it off, not a policy.
const LINK_LOCAL: Plant = Plant {
    stacks: &LINK_STACKS,
    policy: link_local,
    by_policy: |stack| stack.name != "dhcp",
    reasons: &["no-rule", "service-not-allowed"],
};

fn devices(lab: &Lab) -> String {
    let mut text = "version = 1\n\n".to_owned();
    for name in ["plc", "hmi", "historian"] {
        let Host { name, mac, ip, .. } = lab.host(name);
        text += &format!("[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\nmode = \"enforce\"\n\n");
    }
    text
}

fn routable(lab: &Lab, left_out: Option<&str>) -> String {
    let rule = |key: &str, peer: &str, of: fn(&Stack) -> &'static str| {
        let services: Vec<&str> = STACKS
            .iter()
            .filter(|stack| of(stack) == peer && Some(stack.name) != left_out)
            .map(|stack| stack.service)
            .collect();
        format!("[[device.plc.allow]]\n{key} = \"{peer}\"\nservice = {services:?}\n\n")
    };
    devices(lab) + &rule("from", "hmi", |stack| stack.client) + &rule("to", "historian", |stack| stack.server)
}

/// Who asks everybody is answered by each alone, which no rule about the question covers.
fn link_local(lab: &Lab, left_out: Option<&str>) -> String {
    let rules = [
        ("bacnet", "hmi", "everybody"),
        ("bacnet", "hmi", "plc"),
        ("bacnet", "plc", "hmi"),
        ("mdns", "hmi", "mdns-group"),
        ("mdns", "plc", "mdns-group"),
        ("mdns", "plc", "hmi"),
    ];
    let mut text = devices(lab);
    text += "[network.everybody]\ncidr = \"10.20.1.255/32\"\n\n[network.mdns-group]\ncidr = \"224.0.0.251/32\"\n\n";
    for (service, from, to) in rules.into_iter().filter(|(service, ..)| Some(*service) != left_out) {
        text += &format!("[[device.{from}.allow]]\nto = \"{to}\"\nservice = \"{service}\"\n\n");
    }
    text
}

/// Every protocol at once, as in a plant.
fn all_at_once(lab: &Lab, stacks: &'static [Stack]) -> Outcomes {
    thread::scope(|scope| {
        let running: Vec<_> =
            stacks.iter().map(|stack| (stack.name, scope.spawn(move || stack.drive(lab)))).collect();
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

fn protocols_live_and_die_by_the_policy(lab: &Lab, plant: &Plant) {
    let Plant { stacks, policy, by_policy, reasons } = *plant;
    let _servers: Vec<Server> = stacks.iter().map(|stack| stack.serve(lab).expect("a server")).collect();
    // A stack that is broken by itself must not be taken for a drop.
    let before = all_at_once(lab, stacks);
    for (name, outcome) in &before {
        assert_as_before(name, outcome, outcome, "before the agent");
    }

    let everything = policy(lab, None);
    let mut agent = Agent::new(lab, &everything).expect("an agent");
    agent.start().expect("it starts");
    let complete = revision(&agent);
    for (name, outcome) in &all_at_once(lab, stacks) {
        assert_as_before(name, outcome, &before[name], "with everything allowed");
    }
    let mut without = BTreeMap::new();
    for left_out in stacks.iter().filter(|stack| by_policy(stack)) {
        let revision = apply(&agent, &policy(lab, Some(left_out.name)));
        without.insert(revision, left_out);
        for (name, outcome) in &all_at_once(lab, stacks) {
            if *name == left_out.name {
                assert!(outcome.passed.is_empty(), "`{name}` is not allowed:\n{}", outcome.said);
            } else {
                assert_as_before(name, outcome, &before[name], &format!("without `{}`", left_out.name));
            }
        }
    }
    assert_eq!(apply(&agent, &everything), complete);
    for (name, outcome) in &all_at_once(lab, stacks) {
        assert_as_before(name, outcome, &before[name], "with everything allowed again");
    }

    // What waits for its summary is written at the end.
    agent.stop().expect("it stops");
    let records = agent.violations().expect("a log");
    assert_eq!(told(&records, &complete), BTreeSet::new(), "no false drop, not even one that nobody missed");
    for (revision, left_out) in &without {
        let told = told(&records, revision);
        let ports: BTreeSet<u64> = told.iter().map(|(.., port)| *port).collect();
        for (reason, action, ..) in &told {
            assert!(reasons.contains(&reason.as_str()), "without `{}`: {told:?}", left_out.name);
            assert_eq!(action, "dropped", "without `{}`: {told:?}", left_out.name);
        }
        assert_eq!(
            ports,
            [u64::from(left_out.listens.port())].into(),
            "without `{}`: {told:?}",
            left_out.name
        );
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
    protocols_live_and_die_by_the_policy(&lab, &ROUTABLE);
}

#[test]
fn real_stacks_live_and_die_by_the_policy_when_bridged() {
    let test = "real_stacks_live_and_die_by_the_policy_when_bridged";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    protocols_live_and_die_by_the_policy(&lab, &ROUTABLE);
}

#[test]
fn discovery_by_broadcast_and_multicast_lives_and_dies_by_the_policy() {
    let test = "discovery_by_broadcast_and_multicast_lives_and_dies_by_the_policy";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    protocols_live_and_die_by_the_policy(&lab, &LINK_LOCAL);
}
