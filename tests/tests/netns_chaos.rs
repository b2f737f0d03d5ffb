//! A million denied packets while the receiver dies, is slow and comes back and the agent is killed: what was received and
//! what was owned up to is what the kernel has counted, to the packet.

use std::{collections::BTreeSet, time::Duration};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Topology,
        attack::kinds,
        lab_for, link,
        siem::{Books, Siem},
        topology::SWITCH_PORT,
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
/// So many kinds at least are told one by one: what the budget of a device and a reason allows in one interval.
const KINDS: usize = 256;
/// So many sources at least are told as scans, of the 64 that are told apart.
const SCANS: usize = 32;
/// Each kind is sent so often in each part of the test.
const ROUNDS: u32 = 10;
const PARTS: u64 = 5;

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

/// Frames that the switch could not hand to the gateway: its queue was full, and whoever sent them cannot know.
fn lost_before(lab: &Lab) -> u64 {
    link::counted(lab.switch(), SWITCH_PORT).expect("the switch counts").unsent
}

/// Waits until the receiver's books are the kernel's, which knows of all that were sent and arrived, and returns both.
fn settled(lab: &Lab, agent: &Agent<'_>, siem: &Siem, sent: u64) -> (Books, u64) {
    let mut last = None;
    let at_least = sent - lost_before(lab);
    let settled = wait_for("the receiver to know of every packet", SOON, || {
        let counted = violations(agent)?["violations"].as_u64().unwrap_or(0);
        let books = siem.books()?;
        let done = counted >= at_least && books.packets == counted;
        last = Some((books.clone(), counted));
        Ok(done.then_some((books, counted)))
    });
    settled.unwrap_or_else(|error| {
        let (status, links) = (agent.ask(&json!({ "verb": "status" })), lab.dropped_by_links());
        panic!("{error}: {last:?} of {sent}, of which the links lost {links:?}; {status:?}; {}", agent.log())
    })
}

/// What was owned up to is what the killed agent had not told; nothing went elsewhere.
fn only_the_kill_cost_something(books: &Books) {
    for cause in ["before", "ring", "spool", "disk"] {
        assert_eq!(books.gaps.get(cause).copied().unwrap_or_default(), 0, "{cause}: {books:?}");
    }
    // What waits for the end of a summary interval, and what was taken since the last write: all of the first part was told, and both
    // others before the kill may wait for one interval.
    let restart = books.gaps.get("restart").copied().unwrap_or_default();
    assert!(restart <= 2 * sent(), "{restart}");
}

/// Kinds that were told one by one, and sources whose further ones were told as a scan.
fn told_of(records: &[Value]) -> (usize, usize) {
    let (mut kinds, mut scans) = (BTreeSet::new(), BTreeSet::new());
    for one in records.iter().filter(|one| one["kind"] == "violation") {
        let source = one["source"]["mac"].to_string();
        match (&one["scan"], one["destination"]["port"].as_u64()) {
            (Value::Null, Some(port)) => drop(kinds.insert((source, port))),
            (Value::Null, None) => {}
            (_, _) => drop(scans.insert(source)),
        }
    }
    (kinds.len(), scans.len())
}

#[test]
fn a_million_violations_in_chaos_are_accounted_for_to_the_packet() {
    let test = "a_million_violations_in_chaos_are_accounted_for_to_the_packet";
    let Some(lab) = lab_for(Tier::Netns, test, Topology::Bridged, 1500) else { return };
    let mut siem = Siem::new(5514);
    siem.start(&lab.gateway.namespace).expect("it listens");
    let mut agent = Agent::new(&lab, &lab.closed()).expect("an agent");
    agent.write_probing_config("1h", &format!("\n[sink.siem]\nto = \"{}\"\n", siem.url())).expect("written");
    agent.start().expect("it starts");

    let kinds = kinds(&lab, SOURCES, PORTS);

    // All is well.
    part(&lab, &kinds);
    let (books, _) = settled(&lab, &agent, &siem, sent());
    assert_eq!(books.gaps.values().sum::<u64>(), 0, "{books:?}");
    let (told, scans) = told_of(&siem.records().expect("records"));
    assert!(told >= KINDS && scans >= SCANS, "{told} and {scans}: {books:?}");

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

    let (books, counted) = settled(&lab, &agent, &siem, PARTS * sent());
    only_the_kill_cost_something(&books);
    assert!(books.messages > books.records, "what was not surely read was told again: {books:?}");
    // An agent that ends takes leave, and forgets nothing.
    agent.stop().expect("it stops");
    agent.start().expect("it starts");
    settled(&lab, &agent, &siem, counted);
    // So is the log on the gateway itself, which nobody had to send anywhere. An agent that was killed between a batch and the note
    // of it owes that again: as part of what it owes at all.
    let log = wait_for("the log to be complete", SOON, || {
        let records = agent.records()?;
        let told: u64 = records.iter().filter_map(|record| record["count"].as_u64()).sum();
        Ok((told >= counted).then_some((records, told)))
    });
    let (records, told) = log.expect("the log accounts for every packet");
    let counted = violations(&agent).expect("it answers")["violations"].as_u64().expect("a number");
    let restart: u64 =
        records.iter().filter(|one| one["cause"] == "restart").filter_map(|one| one["count"].as_u64()).sum();
    assert!(told <= counted + restart, "{told}, {counted} and {restart}");
}
