//! A plant with real protocol stacks runs through an enforcing gateway as if there were none: no operation fails, no
//! packet is dropped. Leave one protocol out of the policy, and exactly that one fails, with the reason in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Output,
    thread,
};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Topology, lab_for,
        stacks::{LINK_STACKS, Outcome, STACKS, Server, Stack},
        topology::Host,
    },
    skip::Tier,
};
use serde_json::Value;

type Outcomes = BTreeMap<&'static str, Outcome>;

fn require_lab(test: &str, topology: Topology) -> Option<Lab> {
    lab_for(Tier::Stacks, test, topology, 1500)
}

/// What a test lets run, and how it is allowed.
struct Plant {
    stacks: &'static [Stack],
    /// Everything but one service.
    policy: fn(&Lab, Option<&str>) -> String,
    /// What the log says of one that is left out.
    reasons: fn(&Stack) -> &'static [&'static str],
}

const ROUTABLE: Plant = Plant { stacks: &STACKS, policy: routable, reasons: |_| &["service-not-allowed"] };

const LINK_LOCAL: Plant = Plant {
    stacks: &LINK_STACKS,
    policy: link_local,
    reasons: |stack| match stack.name {
        // The server is a device: it is one that may serve by its rule only.
        "dhcp" => &["rogue-dhcp"],
        // No other rule names the group, so the policy does not know it.
        "mdns" => &["unknown-peer"],
        // To everybody, and to the device, which may speak to the HMI about something else.
        _ => &["no-rule", "wrong-direction"],
    },
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
        ("bacnet", "hmi", "broadcast"),
        ("bacnet", "hmi", "plc"),
        ("bacnet", "plc", "hmi"),
        ("mdns", "hmi", "multicast:mdns"),
        ("mdns", "plc", "multicast:mdns"),
        ("mdns", "plc", "hmi"),
        ("dhcp", "plc", "historian"),
    ];
    let mut text = devices(lab);
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
fn assert_as_before(now: &Outcomes, before: &Outcomes, but: &str, when: &str, agent: &Agent<'_>) {
    for (name, outcome) in now.iter().filter(|(name, _)| **name != but) {
        let log = || agent.violations().unwrap_or_default();
        assert!(outcome.failed.is_empty(), "`{name}`, {when}:\n{}\nlog: {:#?}", outcome.said, log());
        assert_eq!(outcome.passed, before[name].passed, "`{name}`, {when}");
    }
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

/// What the log says of one revision.
fn told<'a>(records: &'a [Value], revision: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["revision"] == revision).collect()
}

/// Each record speaks of that protocol, and says why.
fn assert_explained(records: &[&Value], stack: &Stack, reasons: &[&str]) {
    let name = stack.name;
    // What a DHCP server answers is denied, and goes to a port of its own: in a record of repeats it is the only one.
    let port = Value::from(if name == "dhcp" { 68 } else { stack.listens.port() });
    for record in records {
        assert!(record["explanation"].as_str().is_some_and(|text| !text.is_empty()), "`{name}`: {record}");
        assert_eq!(record["action"], "dropped", "`{name}`: {record}");
        assert!(
            [&record["source"]["port"], &record["destination"]["port"]].contains(&&port),
            "not `{name}`: {record}"
        );
    }
    let said: BTreeSet<&str> = records.iter().filter_map(|record| record["reason"].as_str()).collect();
    assert_eq!(said, reasons.iter().copied().collect(), "`{name}`: {records:?}");
}

fn protocols_live_and_die_by_the_policy(lab: &Lab, plant: &Plant) {
    let Plant { stacks, policy, reasons } = *plant;
    let _servers: Vec<Server> = stacks.iter().map(|stack| stack.serve(lab).expect("a server")).collect();
    // A stack that is broken by itself must not be taken for a drop.
    let before = all_at_once(lab, stacks);
    for (name, outcome) in &before {
        assert!(outcome.failed.is_empty(), "`{name}`, before the agent:\n{}", outcome.said);
    }

    let everything = policy(lab, None);
    let mut agent = Agent::new(lab, &everything).expect("an agent");
    agent.start().expect("it starts");
    let complete = revision(&agent);
    assert_as_before(&all_at_once(lab, stacks), &before, "", "with everything allowed", &agent);
    let mut without = BTreeMap::new();
    for left_out in stacks {
        let name = left_out.name;
        without.insert(apply(&agent, &policy(lab, Some(name))), left_out);
        let now = all_at_once(lab, stacks);
        assert!(now[name].passed.is_empty(), "`{name}` is not allowed:\n{}", now[name].said);
        assert_as_before(&now, &before, name, &format!("without `{name}`"), &agent);
    }
    assert_eq!(apply(&agent, &everything), complete);
    assert_as_before(&all_at_once(lab, stacks), &before, "", "with everything allowed again", &agent);

    // What waits for its summary is written at the end.
    agent.stop().expect("it stops");
    let records = agent.violations().expect("a log");
    let none: Vec<&Value> = Vec::new();
    assert_eq!(told(&records, &complete), none, "no false drop, not even one that nobody missed");
    for (revision, left_out) in &without {
        assert_explained(&told(&records, revision), left_out, reasons(left_out));
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
