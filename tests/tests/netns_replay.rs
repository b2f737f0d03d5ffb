//! What `simulate` says of a recording is what the gateway did: a plant talks through an enforcing gateway, every frame is recorded in
//! front of it and behind it, and the recording from in front meets the same policy. Of each frame both say the same: it passed, or it was
//! dropped.

mod command;
mod plant;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    sync::{Arc, Mutex},
};

use bulkhead_tests::{
    capture::{Recorded, pcapng},
    lab::{
        Agent, Lab, Sniffer, Topology,
        topology::{DEVICE_SIDE, UPLINK},
    },
};
use command::{bulkhead, file, folder};
use plant::{
    SILENCE, SOON, Said, configure, deliver, require_lab,
    said::{infrastructure, listed, policy, unlisted},
    simulated::simulated,
    talk::{TALKS, Talk},
};
use serde_json::Value;

/// Hosts on the other side than the PLC.
const OUTSIDE: [&str; 2] = ["hmi", "historian"];

/// A frame at a host.
struct Noted {
    host: &'static str,
    outgoing: bool,
    time: u64,
    bytes: Vec<u8>,
}

/// Listens at every host, from now on.
fn listen(lab: &Lab) -> (Vec<Sniffer<()>>, Arc<Mutex<Vec<Noted>>>) {
    let heard: Arc<Mutex<Vec<Noted>>> = Arc::default();
    let sniffers = ["plc"].into_iter().chain(OUTSIDE).map(|name| {
        let (host, heard) = (lab.host(name), Arc::clone(&heard));
        let sniffer = Sniffer::start(&host.namespace, host.interface, move |seen| {
            let (outgoing, time, bytes) = (seen.outgoing, seen.time, seen.bytes.clone());
            heard.lock().expect("nobody panics").push(Noted { host: name, outgoing, time, bytes });
            Some(())
        });
        sniffer.expect("a sniffer")
    });
    (sniffers.collect(), heard)
}

/// Where a frame comes out, if it goes from one side of the gateway to the other.
fn goal(lab: &Lab, noted: &Noted) -> Option<&'static str> {
    let is_for = |name: &str| noted.bytes.get(..6) == Some(&lab.host(name).mac.0[..]);
    let to_group = noted.bytes.first().is_some_and(|byte| byte & 1 != 0);
    if noted.host == "plc" {
        return OUTSIDE.into_iter().find(|name| is_for(name)).or(to_group.then_some("hmi"));
    }
    (is_for("plc") || to_group).then_some("plc")
}

fn simulation_says_what_the_gateway_did(lab: &Lab, test: &str, left_out: &[&str]) {
    let text = policy(lab, left_out.first().copied().unwrap_or_default());
    let mut agent = Agent::new(lab, &text).expect("an agent");
    // Nothing is taken over: the recording begins when the agent does.
    configure(lab, &agent, "", "", "\n[flows]\nadopt_for = \"0s\"\n");
    agent.start().expect("it starts");
    for name in ["plc", "hmi", "historian"] {
        lab.host(name).speak_ipv6().expect("it has addresses");
    }
    let (sniffers, heard) = listen(lab);
    let is_allowed = |by: &str| !left_out.contains(&by);
    let all: Vec<(&'static str, Said)> = infrastructure(lab).into_iter().chain(listed(lab)).collect();
    let expected: BTreeSet<&str> =
        all.iter().filter(|(by, _)| is_allowed(by)).map(|(_, said)| said.name).collect();
    let mut frames: Vec<Said> = all.into_iter().map(|(_, said)| said).collect();
    frames.push(unlisted(lab));
    assert_eq!(deliver(lab, &frames, &expected), expected);
    for Talk { name, rule, run } in &TALKS {
        let allowed = is_allowed(rule);
        assert_eq!(run(lab, if allowed { SOON } else { SILENCE }), allowed, "{name}");
    }
    // Frames go one after the other: when these have come out, to which nobody answers, so has all that went in before.
    let last = infrastructure(lab).into_iter().map(|(_, said)| said);
    let last: Vec<Said> = last.filter(|said| said.name.starts_with("LLDP")).collect();
    let names: BTreeSet<&str> = last.iter().map(|said| said.name).collect();
    let noted = |heard: &[Noted]| heard.iter().map(|noted| noted.time).max();
    let cutoff = noted(&heard.lock().expect("nobody panics")).expect("much was said");
    assert_eq!(deliver(lab, &last, &names), names);
    for sniffer in sniffers {
        sniffer.stop().expect("no frame was missed");
    }
    agent.stop().expect("it stops");

    let mut heard = std::mem::take(&mut *heard.lock().expect("nobody panics"));
    heard.sort_by_key(|noted| noted.time);
    let mut came_out: BTreeMap<(&str, &[u8]), usize> = BTreeMap::new();
    for noted in heard.iter().filter(|noted| !noted.outgoing) {
        *came_out.entry((noted.host, &noted.bytes)).or_default() += 1;
    }
    let went_in: Vec<(&Noted, &str)> = heard
        .iter()
        .filter(|noted| noted.outgoing)
        .filter(|noted| noted.time <= cutoff || last.iter().any(|said| said.frame == noted.bytes))
        .filter_map(|noted| Some((noted, goal(lab, noted)?)))
        .collect();
    let recorded: Vec<Recorded> = went_in
        .iter()
        .map(|(noted, _)| Recorded {
            time: noted.time,
            interface: usize::from(noted.host != "plc"),
            bytes: noted.bytes.clone(),
        })
        .collect();
    let capture = pcapng(&recorded, &[DEVICE_SIDE, UPLINK]);
    let config = lab.gateway.room.read("bulkhead.toml").expect("written by the lab");
    let said = simulated(&capture, &text, &config);
    assert_eq!(said.len(), went_in.len());
    // The same bytes may go in several times: as many as pass come out.
    let mut passed: BTreeMap<(&str, &[u8]), usize> = BTreeMap::new();
    let mut dropped = 0;
    for ((noted, goal), (bytes, passes)) in went_in.iter().zip(&said) {
        assert_eq!(&noted.bytes, bytes);
        *passed.entry((goal, &noted.bytes)).or_default() += usize::from(*passes);
        dropped += usize::from(!passes);
    }
    let differences: Vec<String> = passed
        .iter()
        .filter(|(key, count)| came_out.get(key).copied().unwrap_or(0) != **count)
        .map(|((goal, bytes), count)| {
            let out = came_out.get(&(*goal, *bytes)).copied().unwrap_or(0);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("to {goal}: {count} pass by simulation, {out} came out: {hex}")
        })
        .collect();
    assert_eq!(differences, Vec::<String>::new(), "of {} frames", went_in.len());
    assert!(dropped > 0, "EtherCAT is dropped at least");
    if !left_out.is_empty() {
        assert!(dropped > 1, "what is left out is dropped as well: {dropped}");
    }

    // The same by the command, and by the program in the kernel.
    let folder = folder(test);
    let capture = file(&folder, "front.pcapng", &capture);
    let policy = file(&folder, "policy.toml", &text);
    let config = file(&folder, "bulkhead.toml", &config);
    let [capture, policy, config] = [&capture, &policy, &config].map(|path| path.as_os_str());
    let words: [&OsStr; 11] = [
        "simulate".as_ref(),
        "--policy".as_ref(),
        policy,
        "--config".as_ref(),
        config,
        "--pcap".as_ref(),
        capture,
        "--json".as_ref(),
        "--bpf".as_ref(),
        "--fail-on".as_ref(),
        "none".as_ref(),
    ];
    let ran = bulkhead(&words);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err, format!("the kernel says the same of {} frames\n", went_in.len()));
    let report: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(report["totals"]["frames"], went_in.len());
    assert_eq!(report["totals"]["cut"], 0);
}

#[test]
fn simulation_of_a_pair_says_what_the_gateway_did() {
    let test = "simulation_of_a_pair_says_what_the_gateway_did";
    let Some(lab) = require_lab(test, Topology::Inline) else { return };
    simulation_says_what_the_gateway_did(&lab, test, &[]);
}

#[test]
fn simulation_of_a_pair_says_what_the_gateway_dropped() {
    let test = "simulation_of_a_pair_says_what_the_gateway_dropped";
    for left_out in ["modbus", "dns"] {
        let Some(lab) = require_lab(test, Topology::Inline) else { return };
        simulation_says_what_the_gateway_did(&lab, &format!("{test}_{left_out}"), &[left_out]);
    }
}

#[test]
fn simulation_of_a_bridge_says_what_the_gateway_did() {
    let test = "simulation_of_a_bridge_says_what_the_gateway_did";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    simulation_says_what_the_gateway_did(&lab, test, &["modbus"]);
}
