//! A million denied packets while the receiver dies, is slow and comes back and the agent is killed: what was received and
//! what was owned up to is what the kernel has counted, to the packet.

use std::time::Duration;

use bulkhead_tests::{
    lab::{
        Agent, Lab, Topology,
        attack::kinds,
        lab_for,
        siem::{Books, Siem},
        wait::wait_for,
        wire::RawSender,
    },
    skip::Tier,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);

/// Kinds of violations: sources times ports.
const SOURCES: u8 = 200;
const PORTS: u16 = 100;
/// Each kind is sent so often in each part of the test.
const ROUNDS: u32 = 10;
const PARTS: u64 = 5;

const POLICY: &str = r#"
version = 1

[device.plc]
mac = "02:00:0a:14:01:0b"
ip = "10.20.1.11"
mode = "enforce"
"#;

fn sent() -> u64 {
    u64::from(SOURCES) * u64::from(PORTS) * u64::from(ROUNDS)
}

/// Every kind, a few times.
fn part(lab: &Lab, kinds: &[Vec<u8>]) {
    let attacker = lab.attacker();
    let sender = RawSender::new(&attacker.namespace, attacker.interface).expect("a sender");
    for _ in 0..ROUNDS {
        kinds.iter().for_each(|frame| sender.send(frame).expect("sent"));
    }
}

fn violations(agent: &Agent<'_>) -> anyhow::Result<Value> {
    let answer = agent.ask(&json!({ "verb": "status" }))?;
    Ok(answer["ok"]["status"]["violations"].clone())
}

/// Waits until the receiver's books are the kernel's, and returns both.
fn settled(agent: &Agent<'_>, siem: &Siem, at_least: u64) -> (Books, u64) {
    let mut last = None;
    let settled = wait_for("the receiver to know of every packet", SOON, || {
        let counted = violations(agent)?["violations"].as_u64().unwrap_or(0);
        let books = siem.books()?;
        let done = counted >= at_least && books.packets == counted;
        last = Some((books.clone(), counted));
        Ok(done.then_some((books, counted)))
    });
    settled.unwrap_or_else(|error| panic!("{error}: {last:?}, {:?}", violations(agent)))
}

#[test]
fn a_million_violations_in_chaos_are_accounted_for_to_the_packet() {
    let test = "a_million_violations_in_chaos_are_accounted_for_to_the_packet";
    let Some(lab) = lab_for(Tier::Netns, test, Topology::Bridged, 1500) else { return };
    let mut siem = Siem::new(5514);
    siem.start(&lab.gateway.namespace).expect("it listens");
    let mut agent = Agent::new(&lab, POLICY).expect("an agent");
    agent.write_probing_config("1h", &format!("\n[sink.siem]\nto = \"{}\"\n", siem.url())).expect("written");
    agent.start().expect("it starts");

    let kinds = kinds(&lab, SOURCES, PORTS);

    // All is well.
    part(&lab, &kinds);
    let (books, _) = settled(&agent, &siem, sent());
    assert_eq!(books.gaps.get("restart"), None, "{books:?}");

    // The receiver dies, and is back while packets come.
    siem.stop().expect("it stops");
    part(&lab, &kinds);
    siem.start(&lab.gateway.namespace).expect("it listens again");
    part(&lab, &kinds);

    // The agent is killed with its hands full, and packets go on coming.
    agent.kill9().expect("it runs");
    part(&lab, &kinds);
    siem.slow_down(Duration::from_millis(2));
    agent.start().expect("it starts again");
    part(&lab, &kinds);
    siem.stop().expect("it stops");
    siem.slow_down(Duration::ZERO);
    siem.start(&lab.gateway.namespace).expect("it listens again");

    let (books, counted) = settled(&agent, &siem, PARTS * sent());
    assert!(counted >= PARTS * sent(), "{counted}");
    assert!(books.messages > books.records, "what was not surely read was told again: {books:?}");
    // An agent that ends takes leave, and forgets nothing.
    agent.stop().expect("it stops");
    agent.start().expect("it starts");
    settled(&agent, &siem, counted);
    // So is the log on the gateway itself, which nobody had to send anywhere.
    agent.settled(SOON).expect("the log accounts for every packet");
}
