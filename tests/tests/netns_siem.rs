//! A receiver that the policy does not know, on the uplink: what it answers the agent is neither dropped nor one more violation to
//! be told of.

use std::{
    net::{SocketAddr, SocketAddrV4},
    time::Duration,
};

use bulkhead_tests::{
    lab::{
        Agent, Topology, lab_for,
        siem::Siem,
        topology::FORGED_TTL,
        wait::wait_for,
        wire::{self, Path, RawSender},
    },
    skip::Tier,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// Violations, of which each is told before the next one comes.
const VIOLATIONS: u16 = 10;

/// Whether the sink has the receiver's address, or a name that leads there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Address,
    Name,
}

fn what_a_receiver_answers_is_no_violation(test: &str, unmanaged: &str, given: Given) {
    let Some(lab) = lab_for(Tier::Netns, test, Topology::Routed, 1500) else { return };
    let historian = lab.host("historian");
    let mut siem = Siem::on(SocketAddr::from((historian.ip, 6514)));
    siem.start(&historian.namespace).expect("it listens");
    let mut agent = Agent::new(&lab, &lab.closed()).expect("an agent");
    // To the agent this is a name; the resolver needs nobody for it (inet_aton(3)).
    let name = format!("0x{:08x}", u32::from(historian.ip));
    let to = match given {
        Given::Address => siem.url(),
        Given::Name => siem.url().replace(&historian.ip.to_string(), &name),
    };
    agent.write_config(&format!("\n[sink.siem]\nto = \"{to}\"\n")).expect("written");
    let room = &lab.gateway.room;
    let config = room.read("bulkhead.toml").expect("written");
    let (role, word) = ("role = \"uplink\"", format!("unmanaged = \"{unmanaged}\""));
    room.write("bulkhead.toml", &config.replace(role, &format!("{role}\n{word}"))).expect("written");
    agent.start().expect("it starts");

    let attacker = lab.attacker();
    let sender = RawSender::new(&attacker.namespace, attacker.interface).expect("a sender");
    let counted = || {
        let status = agent.ask(&json!({ "verb": "status" })).expect("an answer");
        status["ok"]["status"]["violations"]["violations"].as_u64().expect("a count")
    };
    let mut before = 0;
    for number in 1..=VIOLATIONS {
        let path = Path {
            src_mac: attacker.mac,
            dst_mac: lab.next_hop(),
            src: SocketAddrV4::new(attacker.ip, 21_000),
            dst: SocketAddrV4::new(lab.plc().ip, number),
            ttl: FORGED_TTL,
        };
        sender.send(&wire::udp(path, b"denied")).expect("sent");
        let told = wait_for("the record", SOON, || {
            let to = |record: &Value| record["destination"]["port"] == number;
            Ok(siem.records()?.into_iter().find(to))
        });
        told.unwrap_or_else(|error| panic!("{error}: {}", agent.log()));
        if number == 1 {
            before = counted();
        }
    }
    assert_eq!(counted() - before, u64::from(VIOLATIONS) - 1, "{:#?}", siem.records());
    // Where a name leads is known a moment after the first attempt, whose answer is denied.
    assert!(given == Given::Name || before == 1, "{before}: {:#?}", siem.records());
    agent.stop().expect("it stops");
}

#[test]
fn what_a_receiver_answers_is_no_violation_where_unmanaged_traffic_is_watched() {
    let test = "what_a_receiver_answers_is_no_violation_where_unmanaged_traffic_is_watched";
    what_a_receiver_answers_is_no_violation(test, "monitor", Given::Address);
}

#[test]
fn what_a_receiver_answers_passes_where_unmanaged_traffic_is_dropped() {
    let test = "what_a_receiver_answers_passes_where_unmanaged_traffic_is_dropped";
    what_a_receiver_answers_is_no_violation(test, "drop", Given::Address);
}

#[test]
fn what_a_receiver_answers_that_a_sink_names_passes_too() {
    let test = "what_a_receiver_answers_that_a_sink_names_passes_too";
    what_a_receiver_answers_is_no_violation(test, "drop", Given::Name);
}
