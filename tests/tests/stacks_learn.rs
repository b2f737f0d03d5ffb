//! From a plant that nobody understands to one that is enforced, with real protocol stacks and real scanners: the gateway watches, learns,
//! proposes, proves it against what it saw, and enforces that. Every exchange goes on, every attack fails, and nothing of them was learned.

mod plant;
mod scans;

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Sniffer, Topology,
        attack::{Origin, sniff_plc},
        lab_for,
        stacks::{LINK_STACKS, Outcome, STACKS, Server, Stack},
        topology::{ATTACKER, Host, PLC},
        wait::wait_for,
    },
    skip::Tier,
};
use plant::{SOON, configure};
use scans::{ATTACKS, Success};
use serde_json::Value;

/// Written at once, so that nothing is awaited for long.
const QUICK: &str = "\n[history]\nflush = \"1s\"\n";
/// The history is written and read within.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);
/// A lab lives for some minutes, at most on two days.
const BRIEFLY: [&str; 4] = ["--min-days", "1", "--min-flows", "1"];
/// A connection scan and one with a thousand SYNs: those that open what they find, and those that do not.
const SCANS: [&str; 2] = ["connect scan", "SYN scan of the lower ports"];

/// The plant's own, and no rule. An attacker that is known is a device like any other.
fn policy(lab: &Lab, devices: &[&str]) -> String {
    let device = |host: &Host| {
        let Host { name, mac, ip, .. } = host;
        format!("# {name}: ask before you touch it\n[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\n\n")
    };
    let all: String = devices.iter().map(|name| device(lab.host(name))).collect();
    format!("version = 1\n\n{all}")
}

/// Every protocol at once, as in a plant.
fn all_at_once(lab: &Lab, stacks: &[Stack]) -> BTreeMap<&'static str, Outcome> {
    thread::scope(|scope| {
        let running: Vec<_> =
            stacks.iter().map(|stack| (stack.name, scope.spawn(move || stack.drive(lab)))).collect();
        let outcomes = running.into_iter().map(|(name, driver)| {
            (name, driver.join().expect("a driver does not panic").expect("it ends in order"))
        });
        outcomes.collect()
    })
}

/// What a command tells as JSON, whatever it found.
fn told(agent: &Agent<'_>, args: &[&str]) -> Value {
    let output = agent.cli(args).expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

fn brief<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().copied().chain(BRIEFLY).collect()
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

/// Attacks that got somewhere: the tool said so, or its frames were at the PLC.
fn attack(lab: &Lab, sniffer: &Sniffer<Origin>) -> BTreeSet<&'static str> {
    let arrived = || {
        let counts = sniffer.counts().expect("no frame was missed");
        let of = |origin| counts.get(&origin).copied().unwrap_or(0);
        of(Origin::Forged) + of(Origin::AttackerStack)
    };
    let successful = |attack: &&scans::Attack| {
        let before = arrived();
        let said = attack.run(lab);
        let heard = match attack.success {
            Success::Said(words) => said.contains(words),
            Success::Arrived => false,
        };
        heard || arrived() > before
    };
    ATTACKS.iter().filter(successful).map(|attack| attack.name).collect()
}

/// The baseline, once the history has all of it: what the plant does, and what the scans asked for.
fn baseline(agent: &Agent<'_>, stacks: &[Stack]) -> Value {
    let mut last = Value::Null;
    let whole = wait_for("the history", WRITTEN_WITHIN, || {
        let told = told(agent, &brief(&["learn", "--json"]));
        let scans = list(&told, "left").filter(|left| left["why"] == "scan");
        let probes: u64 = scans.filter_map(|left| left["rows"].as_u64()).sum();
        let talks = || list(&told, "devices").flat_map(|device| list(device, "talks"));
        // What both ends ask from the same port, as BACnet, waits for a person.
        let is_known = |stack: &&Stack| {
            let its = |talk: &&Value| {
                speaks(&talk["service"], stack.listens.port()) && !names(talk, "from") && !names(talk, "to")
            };
            talks().filter(its).any(|talk| talk["fate"] == "learned" || talk["fate"] == "decide")
        };
        let is_whole = probes >= 1000 && stacks.iter().filter(is_known).count() == stacks.len();
        last = told.clone();
        Ok(is_whole.then_some(told))
    });
    whole.unwrap_or_else(|error| {
        panic!("{error}: {last:#}\n{:#}", told(agent, &["history", "flows", "--json"]))
    })
}

/// The file after a review: what has to be decided is adopted, but for what is the attacker's. That stands in comments, as lines that are
/// further in than their reasons.
fn reviewed(text: &str) -> String {
    let blocks = text.split("\n\n").map(|block| {
        if !block.contains("# DECIDE") || block.contains(ATTACKER) {
            return block.to_owned();
        }
        block.lines().map(|line| line.strip_prefix("#   ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}

/// Whether a service, as it is spelled, has this port.
fn speaks(service: &Value, port: u16) -> bool {
    service.as_str().and_then(|text| text.rsplit('/').next()).is_some_and(|number| number == port.to_string())
}

fn names(value: &Value, key: &str) -> bool {
    value[key].as_str().is_some_and(|text| text.contains(ATTACKER))
}

fn plant_is_learned_and_enforced(lab: &Lab, stacks: &[Stack], devices: &[&str]) {
    let _servers: Vec<Server> = stacks.iter().map(|stack| stack.serve(lab).expect("a server")).collect();
    let mut agent = Agent::new(lab, &policy(lab, devices)).expect("an agent");
    configure(lab, &agent, "", "", QUICK);
    agent.start().expect("it starts");
    let before = all_at_once(lab, stacks);
    for (name, outcome) in &before {
        assert!(outcome.failed.is_empty(), "`{name}`, before anything is enforced:\n{}", outcome.said);
    }
    let sniffer = sniff_plc(lab).expect("a sniffer");
    let all: BTreeSet<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
    assert!(SCANS.iter().all(|name| all.contains(name)));
    assert_eq!(attack(lab, &sniffer), all, "nothing is enforced yet");

    // Nothing that the attacker did is a habit.
    let learned = baseline(&agent, stacks);
    for talk in list(&learned, "devices").flat_map(|device| list(device, "talks")) {
        let is_his = names(talk, "from") || names(talk, "to");
        assert!(!is_his || talk["fate"] == "left" || talk["fate"] == "decide", "{talk:#}");
    }

    // It is proposed, reviewed, and enforced; but first asked what it would break.
    let proposal = told(&agent, &brief(&["propose", "--json"]));
    assert!(list(&proposal, "rules").next().is_some(), "{proposal:#}");
    let written = agent.cli(&brief(&["propose", "--write"])).expect("it runs");
    assert!(written.status.success(), "{written:?}");
    let after = reviewed(&lab.gateway.room.read("policy.d/lab.toml").expect("the policy"));
    agent.write_policy(&after.replace("\nip = ", "\nmode = \"enforce\"\nip = ")).expect("written");
    let files = lab.gateway.room.inside("policy.d").display().to_string();
    let simulated = told(&agent, &["simulate", "--policy", &files, "--history", "--json"]);
    // What the attacker was answered is not, any more.
    let his = lab.attacker().ip.to_string();
    let broken: Vec<&Value> = list(&simulated["dropped"], "list").collect();
    assert!(!broken.is_empty() && simulated["dropped"]["more"] == 0, "{simulated:#}");
    for broken in broken {
        assert_eq!(broken["from_address"], his, "{broken:#}\n{after}");
    }
    assert_eq!(simulated["reported"]["list"], Value::Array(Vec::new()), "{after}");
    let applied = agent.cli(&["apply"]).expect("it runs");
    assert!(applied.status.success(), "{applied:?}");

    let works = |when: &str| {
        for (name, outcome) in all_at_once(lab, stacks) {
            let log = || agent.violations().unwrap_or_default();
            let said = &outcome.said;
            assert!(outcome.failed.is_empty(), "`{name}`, {when}:\n{said}\n{after}\nlog: {:#?}", log());
            assert_eq!(outcome.passed, before[name].passed, "`{name}`, {when}");
        }
    };
    works("as it is enforced");
    assert_eq!(attack(lab, &sniffer), BTreeSet::new(), "{after}");
    works("after the attack");
    sniffer.stop().expect("no frame was missed");
    // The log has the attacker's packets, and no other.
    let attacker = lab.attacker().mac.to_string();
    let enforced = agent.settled(SOON).expect("a complete log");
    for record in enforced.iter().filter(|record| record["action"] == "dropped" && record["others"] == false)
    {
        assert_eq!(record["source"]["mac"], attacker, "{record:#}");
    }
    // What is enforced has all that is learned: there is nothing more to propose.
    let more = told(&agent, &brief(&["propose", "--json"]));
    assert_eq!(more["rules"], Value::Array(Vec::new()), "{more:#}");
    assert_eq!(lab.dropped_by_links().expect("counters"), BTreeMap::new());
}

#[test]
fn routed_plant_of_real_stacks_is_learned_and_enforced() {
    let test = "routed_plant_of_real_stacks_is_learned_and_enforced";
    let Some(lab) = lab_for(Tier::Stacks, test, Topology::Routed, 1500) else { return };
    plant_is_learned_and_enforced(&lab, &STACKS, &[PLC, "hmi", "historian"]);
}

#[test]
fn bridged_plant_of_real_stacks_is_learned_and_enforced() {
    let test = "bridged_plant_of_real_stacks_is_learned_and_enforced";
    let Some(lab) = lab_for(Tier::Stacks, test, Topology::Bridged, 1500) else { return };
    let bacnet = LINK_STACKS.into_iter().filter(|stack| stack.name == "bacnet");
    let stacks: Vec<Stack> = STACKS.into_iter().chain(bacnet).collect();
    // The attacker has a name here: one that was taken over.
    plant_is_learned_and_enforced(&lab, &stacks, &[PLC, "hmi", "historian", ATTACKER]);
}
