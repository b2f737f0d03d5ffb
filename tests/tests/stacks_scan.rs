//! What nmap and hping3 find out about a PLC behind an enforcing gateway: nothing, and each attempt is explained in the
//! log, while the plant's own session loses not one poll.
//!
//! Each attack is run without the agent first: one that gets nowhere by itself proves nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Poller, Sniffer, Topology,
        attack::{Origin, sniff_plc},
        lab_for,
        stacks::{STACKS, run},
        topology::{FORGED_TTL, Host},
        wait::wait_for,
    },
    skip::Tier,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
/// nmap waits for a thousand answers that do not come.
const ATTACKED_WITHIN: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// How an attack is known to have got through.
#[derive(Clone, Copy)]
enum Success {
    /// The tool says so, with these words.
    Said(&'static str),
    /// The answers go to somebody else, or there are none: its frames reach the PLC.
    Arrived,
}

struct Attack {
    name: &'static str,
    /// The program and its words; `PLC`, `HMI,ME`, `SWEEP` and `TTL` stand for what differs between labs.
    words: &'static str,
    success: Success,
    /// Every reason its frames may be denied for; each must appear in the log.
    reasons: &'static [&'static str],
    /// One more where the gateway routes: frames to addresses that nobody has get as far as that.
    when_routed: Option<&'static str>,
    /// Whether it tries so much that it is told as one scan.
    is_scan: bool,
}

/// Raw frames carry the TTL by which the sniffer knows them; what goes through the attacker's own stack has another.
const ATTACKS: [Attack; 10] = [
    Attack {
        name: "connect scan",
        words: "nmap -n -Pn --max-retries 1 -sT -p 102,502,2404,4840,20000,44818 PLC",
        success: Success::Said("502/tcp open"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "SYN scan of the lower ports",
        words: "nmap -n -Pn --max-retries 1 --min-rate 500 -sS --ttl TTL -p 1-1024 PLC",
        success: Success::Said("502/tcp open"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: true,
    },
    Attack {
        name: "SYN scan in fragments of 8 bytes",
        words: "nmap -n -Pn --max-retries 1 -sS -f --ttl TTL -p 502 PLC",
        success: Success::Said("502/tcp open"),
        reasons: &["fragment-orphan", "fragment-tiny"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "xmas scan",
        words: "nmap -n -Pn --max-retries 1 -sX --ttl TTL -p 502,503 PLC",
        success: Success::Said("503/tcp closed"),
        reasons: &["tcp-flags"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        // Each probe is also sent with the HMI's address, as a decoy.
        name: "SYN scan with the HMI's address",
        words: "nmap -n -Pn --max-retries 1 -sS -D HMI,ME --ttl TTL -p 502 PLC",
        success: Success::Said("502/tcp open"),
        reasons: &["source-mac-mismatch", "unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "NSE script that asks the PLC who it is",
        words: "nmap -n -Pn --max-retries 1 -sT -p 502 --script modbus-discover PLC",
        success: Success::Said("modbus-discover:"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        // By IP: on one's own segment nmap would ask by ARP, which every plant needs.
        name: "ping sweep",
        words: "nmap -n -sn --max-retries 1 --send-ip --disable-arp-ping -PE -PP -PS443 -PA80 --ttl TTL SWEEP",
        success: Success::Said("1 host up"),
        reasons: &["unknown-peer"],
        when_routed: Some("unmanaged"),
        is_scan: false,
    },
    Attack {
        name: "SYN flood",
        words: "hping3 -q -c 500 -i u500 -S -p 502 -t TTL PLC",
        success: Success::Said("500 packets received"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "UDP to a port of BACnet",
        words: "hping3 -q -c 20 -i u2000 -2 -p 47808 -d 64 -t TTL PLC",
        success: Success::Arrived,
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "big pings",
        words: "hping3 -q -c 5 -i u5000 -1 -d 1400 -t TTL PLC",
        success: Success::Said("5 packets received"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
];

impl Attack {
    /// Runs it to its end; what the tool said, blanks folded.
    fn run(&self, lab: &Lab) -> String {
        let (plc, hmi) = (lab.plc().ip, lab.host("hmi").ip);
        let words: Vec<String> = self
            .words
            .split(' ')
            .map(|word| match word {
                "PLC" => plc.to_string(),
                "HMI,ME" => format!("{hmi},ME"),
                "SWEEP" => format!("{plc}/30"),
                "TTL" => FORGED_TTL.to_string(),
                word => word.to_owned(),
            })
            .collect();
        let (program, words) = words.split_first().expect("an attack has a program");
        let mut command = Command::new(program);
        command.args(words);
        let (_, said) = run(lab.attacker(), command, ATTACKED_WITHIN).expect("it ends");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

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
