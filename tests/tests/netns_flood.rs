//! A flood that overflows the event ring and the table of repeats: nothing passes, every packet is accounted for, and none is
//! lost: those that cannot be told apart are counted for their device and reason.

use std::{collections::BTreeSet, net::SocketAddrV4, time::Duration};

use bulkhead_tests::{
    lab::{
        Agent, Poller, Topology,
        attack::{Origin, sniff_plc},
        lab_for,
        modbus::Plc,
        topology::{FORGED_TTL, MODBUS},
        wait::wait_for,
        wire::{self, Path, RawSender},
    },
    skip::Tier,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
/// More distinct violations than ring and table together have room for.
const PORTS: u16 = 3000;
const ROUNDS: u64 = 3;

/// What is allowed.
const POLLS: &str = r#"
[[device.plc.allow]]
from = ["hmi"]
service = ["modbus"]

[network.hmi]
cidr = ["10.20.2.20/32", "10.20.1.20/32"]
"#;

fn violations(agent: &Agent<'_>) -> anyhow::Result<Value> {
    let answer = agent.ask(&json!({ "verb": "status" }))?;
    Ok(answer["ok"]["status"]["violations"].clone())
}

fn a_flood_is_accounted_for(test: &str, topology: Topology) {
    let Some(lab) = lab_for(Tier::Netns, test, topology, 1500) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &(lab.closed() + POLLS)).expect("an agent");
    agent.write_config("\n[limits]\nring_bytes = 4096\nviolations = 64\n").expect("written");
    agent.start().expect("it starts");
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(5)).expect("a first poll");
    let sniffer = sniff_plc(&lab).expect("a sniffer");

    // The agent reads nothing while the flood lasts.
    agent.signal(Signal::SIGSTOP).expect("it runs");
    let attacker = lab.attacker();
    let sender = RawSender::new(&attacker.namespace, attacker.interface).expect("a sender");
    for _ in 0..ROUNDS {
        for port in 1..=PORTS {
            let path = Path {
                src_mac: attacker.mac,
                dst_mac: lab.next_hop(),
                src: SocketAddrV4::new(attacker.ip, 21_000),
                dst: SocketAddrV4::new(lab.plc().ip, port),
                ttl: FORGED_TTL,
            };
            sender.send(&wire::udp(path, b"flood")).expect("sent");
        }
    }
    poller.wait_for_more(20, SOON).expect("polls go on without the agent");
    agent.signal(Signal::SIGCONT).expect("it stopped");

    let sent = ROUNDS * u64::from(PORTS);
    let settled = wait_for("every packet to be taken over and told of", SOON, || {
        let counts = violations(&agent)?;
        let of = |key: &str| counts[key].as_u64().unwrap_or(0);
        let taken = of("taken") == of("delivered") + of("aggregated");
        Ok((of("violations") >= sent && taken && of("pending") == 0).then_some(counts))
    });
    let settled = settled.unwrap_or_else(|error| panic!("{error}: {:?}", violations(&agent)));
    println!("{sent} frames: {settled}");
    let of = |key: &str| settled[key].as_u64().expect("a count");
    assert_eq!(of("violations"), sent);
    assert_eq!(of("violations"), of("delivered") + of("aggregated") + of("lost"));
    assert!(of("lost") == 0 && of("delivered") > 0 && of("aggregated") > 0, "{settled}");
    assert_eq!((of("taken"), of("told"), of("refused")), (sent - of("lost"), of("taken"), 0));
    let records = agent.violations().expect("a readable log");
    let told: u64 = records.iter().map(|record| record["count"].as_u64().expect("a count")).sum();
    assert_eq!(told, of("taken"), "the log tells of what was taken, once");
    assert_eq!(u64::try_from(records.len()).expect("few"), of("written"));
    let others = records.iter().filter(|record| record["others"] == true && record["device"] == "plc");
    let others: u64 = others.filter_map(|record| record["count"].as_u64()).sum();
    assert!(others > 0, "the flood must overflow both: {settled}");
    let seqs: BTreeSet<u64> = records.iter().filter_map(|record| record["seq"].as_u64()).collect();
    assert_eq!(seqs.len(), records.len(), "each record has a number of its own");

    // What was lost on the way to the log is still in the device's counters.
    let devices = agent.cli_json(&["devices", "plc", "--json"]).expect("devices");
    assert_eq!(devices[0]["denied"], sent, "{devices}");

    // And no verdict depended on any of it.
    let polls = poller.stop();
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    let counts = sniffer.stop().expect("counts");
    assert_eq!(counts.get(&Origin::Forged), None, "{counts:?}");
}

#[test]
fn flood_that_overflows_the_ring_is_accounted_for_exactly_when_routed() {
    let test = "flood_that_overflows_the_ring_is_accounted_for_exactly_when_routed";
    a_flood_is_accounted_for(test, Topology::Routed);
}

#[test]
fn flood_that_overflows_the_ring_is_accounted_for_exactly_when_bridged() {
    let test = "flood_that_overflows_the_ring_is_accounted_for_exactly_when_bridged";
    a_flood_is_accounted_for(test, Topology::Bridged);
}
