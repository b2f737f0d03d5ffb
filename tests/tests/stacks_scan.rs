//! What nmap and hping3 find out about a PLC behind an enforcing gateway: nothing, and each attempt is explained in the
//! log, while the plant's own session loses not one poll.
//!
//! Each attack is run without the agent first: one that gets nowhere by itself proves nothing.

mod scans;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Poller, Sniffer, Topology,
        attack::{Origin, sniff_plc},
        lab_for,
        stacks::STACKS,
        topology::Host,
        wait::wait_for,
    },
    skip::Tier,
};
use scans::{ATTACKS, Attack, Success};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(20);

fn require_lab(test: &str, topology: Topology) -> Option<Lab> {
    lab_for(Tier::Stacks, test, topology, 1500)
}

/// The HMI may poll the PLC; nobody has heard of the attacker.
fn policy(lab: &Lab) -> String {
    let device = |host: &Host| {
        let Host { name, mac, ip, .. } = host;
        format!("[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\nmode = \"enforce\"\n\n")
    };
    format!(
        "version = 1\n\n{}{}[[device.plc.allow]]\nfrom = [\"hmi\"]\nservice = [\"modbus\"]\n",
        device(lab.plc()),
        device(lab.host("hmi"))
    )
}

/// Who is unknown does not even reach who is unknown.
fn strict(lab: &Lab) {
    let room = &lab.gateway.room;
    let config = room.read("bulkhead.toml").expect("written by the lab");
    let uplink = "role = \"uplink\"\n";
    assert_eq!(config.matches(uplink).count(), 1);
    let strict = config.replace(uplink, &format!("{uplink}unmanaged = \"drop\"\n"));
    room.write("bulkhead.toml", &strict).expect("writable");
}

/// The attacker's frames that reached the PLC. Its honest ARP is not among them: every plant needs that.
fn arrived(sniffer: &Sniffer<Origin>) -> u64 {
    let counts = sniffer.counts().expect("no frame was missed");
    let of = |origin| counts.get(&origin).copied().unwrap_or(0);
    of(Origin::Forged) + of(Origin::ForgedArp) + of(Origin::AttackerStack)
}

/// All records, once nobody scans any more: else what comes next would be told as a part of the scan.
fn unfolded(agent: &Agent<'_>) -> Vec<Value> {
    wait_for("the scan to be over", SOON, || {
        let status = agent.cli_json(&["status", "--json"])?;
        Ok((status["violations"]["scanning"] == 0).then_some(()))
    })
    .expect("it ends");
    agent.settled(SOON).expect("a complete log")
}

fn assert_explained(lab: &Lab, attack: &Attack, records: &[Value]) {
    let name = attack.name;
    let mut reasons = BTreeSet::new();
    for record in records {
        assert_eq!(record["action"], "dropped", "{name}: {record}");
        assert_eq!(record["interface"], "plant0", "{name}: {record}");
        assert!(record["explanation"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {record}");
        // A scan names its destination where there is one host; too many to tell apart leave the ends out.
        let several = record["scan"]["hosts"].as_u64().is_some_and(|hosts| hosts > 1);
        if record["others"] == false {
            assert_eq!(record["source"]["mac"], lab.attacker().mac.to_string(), "{name}: {record}");
            let to_plc = record["destination"]["ip"] == lab.plc().ip.to_string();
            assert!(to_plc || several || record["reason"] == "unmanaged", "{name}: {record}");
        }
        reasons.insert(record["reason"].as_str().unwrap_or_default());
    }
    let scans: Vec<&Value> = records.iter().filter(|record| !record["scan"].is_null()).collect();
    assert_eq!(!scans.is_empty(), attack.is_scan, "{name}: {records:?}");
    // Those told one by one before it was a scan, with their repeats, and a record for each second: not one for each port,
    // and yet these were counted to the last.
    if attack.is_scan {
        assert!(records.len() < 128, "{name}: {} records", records.len());
        assert!(
            scans.iter().all(|record| record["destination"]["ip"] == lab.plc().ip.to_string()),
            "{scans:?}"
        );
        let ports: u64 = scans.iter().filter_map(|record| record["scan"]["ports"].as_u64()).sum();
        assert!(ports >= 1024, "{name}: {scans:?}");
    }
    let more = attack.when_routed.filter(|_| lab.topology == Topology::Routed);
    assert_eq!(reasons, attack.reasons.iter().copied().chain(more).collect(), "{name}: {records:?}");
}

fn scans_find_nothing(lab: &Lab) {
    let modbus = STACKS.iter().find(|stack| stack.name == "modbus").expect("the lab speaks Modbus");
    let _server = modbus.serve(lab).expect("a server");
    let hmi = lab.host("hmi");
    let sniffer = sniff_plc(lab).expect("a sniffer");
    for attack in &ATTACKS {
        let before = arrived(&sniffer);
        let said = attack.run(lab);
        // A scan may be over before the sniffer has looked.
        wait_for("its frames", SOON, || Ok((arrived(&sniffer) > before).then_some(())))
            .unwrap_or_else(|_| panic!("{}: nothing arrived without the agent: {said}", attack.name));
        if let Success::Said(words) = attack.success {
            assert!(said.contains(words), "{}: no success without the agent: {said}", attack.name);
        }
    }

    let mut agent = Agent::new(lab, &policy(lab)).expect("an agent");
    strict(lab);
    agent.start().expect("it starts");
    let poller = Poller::start(hmi, lab.modbus(), POLL_EVERY).expect("the HMI is allowed");
    let before = (arrived(&sniffer), hmi.retransmitted().expect("counters"));
    let mut told = unfolded(&agent).len();
    for attack in &ATTACKS {
        let said = attack.run(lab);
        if let Success::Said(words) = attack.success {
            assert!(!said.contains(words), "{} got through: {said}", attack.name);
        }
        let records = unfolded(&agent);
        assert_explained(lab, attack, &records[told..]);
        told = records.len();
        assert_eq!(arrived(&sniffer), before.0, "{}: its frames reached the PLC", attack.name);
        poller.wait_for_more(1, SOON).expect("the plant goes on");
    }
    let polls = poller.stop();
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    assert_eq!(hmi.retransmitted().expect("counters"), before.1, "a poll was sent twice: {polls:?}");
    assert_eq!(agent.settled(SOON).expect("a complete log").len(), told, "nothing of the plant was denied");
    assert_eq!(lab.dropped_by_links().expect("counters"), BTreeMap::new());
}

#[test]
fn scanners_find_nothing_and_are_explained_when_routed() {
    let test = "scanners_find_nothing_and_are_explained_when_routed";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    scans_find_nothing(&lab);
}

#[test]
fn scanners_find_nothing_and_are_explained_when_bridged() {
    let test = "scanners_find_nothing_and_are_explained_when_bridged";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    scans_find_nothing(&lab);
}
