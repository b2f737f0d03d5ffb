//! From a network that nobody understands to one that is enforced: the gateway watches a plant that is polled and attacked, proposes
//! what it has learned, and enforces that. Polling goes on, no step of the attack works any more, and none was learned.

mod plant;

use std::{collections::BTreeMap, time::Duration};

use bulkhead_tests::lab::{
    Agent, Lab, Poller, Topology,
    attack::{Answer, Attacker, Origin, Scan, sniff_plc},
    modbus::{Plc, Write},
    topology::{ATTACKER, Host, MODBUS, PLC},
    wait::wait_for,
};
use plant::{SOON, configure, require_lab};
use serde_json::Value;

/// Written at once, so that nothing is awaited for long.
const QUICK: &str = "\n[history]\nflush = \"1s\"\n";
/// The attacker's probes, the PLC's open port among them.
const PORTS: std::ops::RangeInclusive<u16> = 480..=520;
/// A lab lives for a minute, on one day.
const BRIEFLY: [&str; 4] = ["--min-days", "1", "--min-flows", "1"];

/// Who is there, and that nothing is allowed.
fn policy(lab: &Lab) -> String {
    let device = |host: &Host| {
        let Host { name, mac, ip, .. } = host;
        format!("# {name}: ask before you touch it\n[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\n\n")
    };
    let all: String = [PLC, "hmi", ATTACKER].map(|name| device(lab.host(name))).concat();
    format!("version = 1\n\n{all}")
}

/// Every step, and what came of it.
struct Attack {
    scan: Scan,
    connects: Scan,
    write: Write,
}

fn attack(lab: &Lab) -> Attack {
    let attacker = Attacker::new(lab).expect("an attacker");
    let ports: Vec<u16> = PORTS.collect();
    let scan = attacker.scan(&ports, Duration::from_secs(2)).expect("sent");
    let connects = attacker.connect_scan(&[MODBUS, MODBUS + 1], Duration::from_secs(1)).expect("tried");
    let write = attacker.write(50, 7, Duration::from_secs(1)).expect("tried");
    attacker.udp_flood(50, 5).expect("sent");
    Attack { scan, connects, write }
}

fn told(agent: &Agent<'_>, args: &[&str]) -> Value {
    let output = agent.cli(&[args, &BRIEFLY].concat()).expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

fn learned_policy_lets_the_plant_work_and_the_attack_fail(lab: &Lab) {
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(lab, &policy(lab)).expect("an agent");
    configure(lab, &agent, "", "", QUICK);
    agent.start().expect("it starts");
    let poller = Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(20)).expect("polls");
    poller.wait_for_more(50, SOON).expect("polls");
    let seen = attack(lab);
    assert_eq!(seen.scan.answers.get(&MODBUS), Some(&Answer::Open), "nothing is enforced yet");
    assert_eq!(seen.connects.answers.get(&MODBUS), Some(&Answer::Open));
    assert_eq!(seen.write, Write::Written);
    poller.wait_for_more(50, SOON).expect("polls");

    // What is learned, once all of it is written.
    let probes = u64::try_from(PORTS.count()).expect("a few");
    let baseline = wait_for("the history", Duration::from_secs(60), || {
        let told = told(&agent, &["learn", "--json"]);
        let scan = told["scans"].as_array().into_iter().flatten().find(|scan| scan["source"] == ATTACKER);
        let is_whole = scan.is_some_and(|scan| scan["probes"].as_u64() >= Some(probes - 1));
        let devices = told["devices"].as_array().into_iter().flatten();
        let mut talks = devices.flat_map(|device| device["talks"].as_array().into_iter().flatten());
        Ok((is_whole && talks.any(|talk| talk["fate"] == "learned")).then_some(told))
    });
    let baseline =
        baseline.unwrap_or_else(|error| panic!("{error}: {:#}", told(&agent, &["learn", "--json"])));
    let mut fates: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for talk in
        baseline["devices"].as_array().into_iter().flatten().flat_map(|d| d["talks"].as_array()).flatten()
    {
        let word = |key: &str| talk[key].as_str().unwrap_or_default().to_owned();
        let line = format!("{} -> {} {}", word("from"), word("to"), word("service"));
        fates.entry(word("fate")).or_default().push(line);
    }
    fates.values_mut().for_each(|lines| lines.dedup());
    let polls = format!("hmi -> {PLC} tcp/{MODBUS}");
    let learned: Vec<&String> = fates["learned"].iter().filter(|line| **line != polls).collect();
    assert!(learned.is_empty(), "{baseline:#}");

    // It is proposed, reviewed by nobody, and enforced.
    let before = lab.gateway.room.read("policy.d/lab.toml").expect("the policy");
    let written = agent.cli(&[&["propose", "--write"][..], &BRIEFLY].concat()).expect("it runs");
    assert!(written.status.success(), "{written:?}");
    let after = lab.gateway.room.read("policy.d/lab.toml").expect("the policy");
    assert_eq!(after.matches("\n[[device.").count(), 1, "{after}");
    assert!(before.lines().all(|line| after.contains(line)), "{after}");
    agent.write_policy(&after.replace("\nip = ", "\nmode = \"enforce\"\nip = ")).expect("written");
    let applied = agent.cli(&["apply"]).expect("it runs");
    assert!(applied.status.success(), "{applied:?}");

    let sniffer = sniff_plc(lab).expect("a sniffer");
    poller.wait_for_more(50, SOON).expect("polls");
    let Attack { scan, connects, write } = attack(lab);
    assert!(scan.answers.is_empty() && connects.answers.is_empty(), "{scan:?} {connects:?}");
    assert_eq!(write, Write::Unanswered);
    let polls = poller.wait_for_more(50, SOON).expect("polls");
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    let arrived = sniffer.stop().expect("none was missed");
    assert_eq!(arrived.get(&Origin::Forged), None, "{arrived:?}");
    assert_eq!(arrived.get(&Origin::AttackerStack), None, "{arrived:?}");
    assert!(arrived.contains_key(&Origin::Others), "the polls arrive");
    // What is enforced has all that is learned: there is nothing more to propose.
    let more = told(&agent, &["propose", "--json"]);
    assert_eq!(more["rules"], Value::Array(Vec::new()), "{more:#}");
}

#[test]
fn routed_plant_is_learned_and_enforced() {
    let Some(lab) = require_lab("routed_plant_is_learned_and_enforced", Topology::Routed) else { return };
    learned_policy_lets_the_plant_work_and_the_attack_fail(&lab);
}

#[test]
fn bridged_plant_is_learned_and_enforced() {
    let Some(lab) = require_lab("bridged_plant_is_learned_and_enforced", Topology::Bridged) else { return };
    learned_policy_lets_the_plant_work_and_the_attack_fail(&lab);
}
