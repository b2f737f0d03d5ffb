//! What the running agent remembers of who talks to whom: as many packets as went over the wire, by whom they were begun, whether
//! they were answered; denied and passed, allowed, and dropped; and that nobody looked while it did not run.

mod plant;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    ops::ControlFlow,
    time::Duration,
};

use bulkhead_agent::{
    history::Reader,
    model::Mac,
    traffic::{End, Kind, Seen, Service, Unseen, Why},
};
use bulkhead_tests::lab::{
    Agent, Lab, Poller, Sniffer, Topology,
    frames::Dhcp,
    modbus::Plc,
    topology::{ATTACKER, MODBUS, PLC},
    wait::{self, wait_for},
    wire::{self, Path, RawSender},
};
use plant::{SOON, configure, require_lab, status};
use serde_json::Value;
use tempfile::TempDir;

const TCP: u8 = 6;
const UDP: u8 = 17;
const NOBODY_LISTENS: u16 = 9;
/// Written at once, so that nothing is awaited.
const QUICK: &str = "\n[history]\nflush = \"1s\"\n";

fn policy(lab: &Lab, mode: &str, rules: &str) -> String {
    let plc = lab.plc();
    format!(
        "version = 1\n\n[device.plc]\nmac = \"{}\"\nip = \"{}\"\nmode = \"{mode}\"\n\n{rules}",
        plc.mac, plc.ip
    )
}

fn rules(lab: &Lab) -> String {
    format!(
        "[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"\n\n[network.hmi]\ncidr = \"{}/32\"\n",
        lab.host("hmi").ip
    )
}

/// A copy of the history: SQLite asks where a file really is, and the gateway's are in a world of their own.
fn copy(lab: &Lab) -> (TempDir, Reader) {
    let folder = TempDir::new().expect("a folder");
    for name in ["history.db", "history.db-wal"] {
        let there = lab.gateway.room.outside("state").join(name);
        if there.exists() {
            fs::copy(there, folder.path().join(name)).expect("copied");
        }
    }
    let reader = Reader::open(&folder.path().join("history.db")).expect("a history");
    (folder, reader)
}

/// Everything that is kept, of one day or two.
fn kept(lab: &Lab) -> BTreeMap<Kind, Seen> {
    let mut kinds: BTreeMap<Kind, Seen> = BTreeMap::new();
    let (_folder, reader) = copy(lab);
    let read = reader.rows(.., |row| {
        kinds.entry(row.kind).and_modify(|seen| seen.add(&row.seen)).or_insert(row.seen);
        ControlFlow::Continue(())
    });
    read.expect("rows");
    kinds
}

fn gaps(lab: &Lab) -> Vec<Unseen> {
    copy(lab).1.unseen().expect("gaps")
}

fn kind(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, number: u16) -> Kind {
    let at = |address| End::at(IpAddr::V4(address));
    Kind { from: at(from), to: at(to), service: Service { protocol, number } }
}

fn polls(lab: &Lab) -> Kind {
    kind(lab.host("hmi").ip, lab.plc().ip, TCP, MODBUS)
}

/// Lets the HMI poll the PLC over one connection, and counts the frames of both at the PLC's port.
fn poll(lab: &Lab) -> [u64; 2] {
    let (hmi, plc) = (lab.host("hmi").ip, lab.plc().ip);
    let sniffer = Sniffer::start(&lab.plc().namespace, lab.plc().interface, move |seen| {
        let transport = seen.transport()?;
        let ends = (*transport.src.ip(), *transport.dst.ip());
        [(hmi, plc), (plc, hmi)].into_iter().position(|pair| pair == ends)
    });
    let sniffer = sniffer.expect("a sniffer");
    let poller = Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(20)).expect("a poll");
    poller.wait_for_more(10, SOON).expect("polls");
    let polled = poller.stop();
    assert_eq!((polled.failed, polled.reconnects), (0, 0), "{polled:?}");
    // Both ends close: what follows is the silence of a connection that is over.
    sniffer.wait_until("the end", SOON, |counts| counts.len() == 2).expect("frames");
    wait_for("silence", SOON, || {
        let before = sniffer.counts()?;
        wait::pass(plant::SILENCE)?;
        Ok((sniffer.counts()? == before).then_some(()))
    })
    .expect("it ends");
    let counts = sniffer.stop().expect("none was missed");
    [counts[&0], counts[&1]]
}

/// Datagrams of the attacker to a port at which nobody listens.
fn knock(lab: &Lab, times: u64) {
    let (attacker, plc) = (lab.host(ATTACKER), lab.plc());
    let path = Path {
        src_mac: attacker.mac,
        dst_mac: plc.mac,
        src: SocketAddrV4::new(attacker.ip, 40_000),
        dst: SocketAddrV4::new(plc.ip, NOBODY_LISTENS),
        ttl: 64,
    };
    let sender = RawSender::new(&attacker.namespace, attacker.interface).expect("a packet socket");
    (0..times).for_each(|_| sender.send(&wire::udp(path, b"anybody there?")).expect("sent"));
}

fn run(agent: &mut Agent<'_>, policy: &str, traffic: impl FnOnce()) {
    agent.write_policy(policy).expect("written");
    agent.start().expect("it starts");
    traffic();
    agent.stop().expect("it stops");
}

#[test]
fn history_counts_what_went_over_the_wire() {
    let test = "history_counts_what_went_over_the_wire";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, "version = 1\n").expect("an agent");
    configure(&lab, &agent, "", "", QUICK);
    let knocks = kind(lab.host(ATTACKER).ip, lab.plc().ip, UDP, NOBODY_LISTENS);

    // Nobody is known, and all of it passes.
    let mut seen = [0; 2];
    run(&mut agent, "version = 1\n", || {
        seen = poll(&lab);
        knock(&lab, 7);
    });
    let first = kept(&lab);
    let polled = first.get(&polls(&lab)).unwrap_or_else(|| panic!("{first:#?}\n{}", agent.log()));
    assert_eq!((polled.flows, polled.opened, polled.answered), (1, 1, 1), "{polled:?}");
    assert_eq!((polled.packets, polled.denied, polled.dropped), (seen, seen[0] + seen[1], 0), "{polled:?}");
    assert!(polled.bytes[0] > 60 * seen[0] && polled.first <= polled.last, "{polled:?}");
    let knocked = &first[&knocks];
    assert_eq!((knocked.flows, knocked.answered, knocked.packets), (1, 0, [7, 0]), "{knocked:?}");
    assert_eq!(gaps(&lab), [], "nothing is missing");

    // The PLC is known, and allowed nothing: that is the same.
    run(&mut agent, &policy(&lab, "monitor", ""), || {
        let again = poll(&lab);
        seen = [seen[0] + again[0], seen[1] + again[1]];
    });
    let first = kept(&lab);
    let polled = &first[&polls(&lab)];
    assert_eq!((polled.flows, polled.opened, polled.answered), (2, 2, 2), "{polled:?}");
    assert_eq!((polled.packets, polled.denied, polled.dropped), (seen, seen[0] + seen[1], 0), "{polled:?}");

    // A rule allows the polls: what the kernel remembers of them adds to it.
    let mut more = [0; 2];
    run(&mut agent, &policy(&lab, "enforce", &rules(&lab)), || {
        more = poll(&lab);
        knock(&lab, 5);
    });
    let second = kept(&lab);
    let polled = &second[&polls(&lab)];
    assert_eq!((polled.flows, polled.opened, polled.answered), (3, 3, 3), "{polled:?}");
    assert_eq!(polled.packets, [seen[0] + more[0], seen[1] + more[1]], "{polled:?}");
    assert_eq!((polled.denied, polled.dropped), (seen[0] + seen[1], 0), "{polled:?}");
    let knocked = &second[&knocks];
    assert_eq!((knocked.packets, knocked.denied, knocked.dropped), ([12, 0], 12, 5), "{knocked:?}");
    let gaps = gaps(&lab);
    assert!(
        !gaps.is_empty() && gaps.iter().all(|gap| gap.why == Why::Stopped && gap.from < gap.to),
        "{gaps:?}"
    );

    // Everything else that was seen is what the lab says, in both directions of it.
    let others: Vec<&Kind> = second.keys().filter(|kind| ![polls(&lab), knocks].contains(kind)).collect();
    assert_eq!(others, [] as [&Kind; 0]);

    // The command says the same.
    let told = agent.cli_json(&["history", "flows", "--device", PLC, "--json"]).expect("a list");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words = |one: &Value| [&one["selector"], &one["verdict"], &one["to"]["name"]].map(word);
    let spoken: Vec<[String; 3]> = told.as_array().expect("a list").iter().map(words).collect();
    assert!(spoken.contains(&["tcp/502", "partly denied", PLC].map(str::to_owned)), "{spoken:?}");
    assert!(spoken.contains(&["udp/9", "partly dropped", PLC].map(str::to_owned)), "{spoken:?}");
}

#[test]
fn history_goes_on_after_a_kill_and_says_since_when_nobody_looked() {
    let test = "history_goes_on_after_a_kill_and_says_since_when_nobody_looked";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab, "enforce", &rules(&lab))).expect("an agent");
    configure(&lab, &agent, "", "", QUICK);
    agent.start().expect("it starts");
    let poller = Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(20)).expect("a poll");
    let written = |agent: &Agent<'_>| status(agent)["history"]["written_rows"].as_u64().unwrap_or(0);
    wait_for("the first rows", Duration::from_secs(30), || Ok((written(&agent) > 0).then_some(())))
        .expect("they are written");
    agent.kill9().expect("killed");
    let before = kept(&lab)[&polls(&lab)];
    assert_eq!((before.flows, before.opened, before.answered), (1, 1, 1), "{before:?}");

    // The conversation goes on without an agent, and one that begins now is not missed.
    poller.wait_for_more(10, SOON).expect("polls");
    wait_for("the next second", SOON, || {
        Ok((jiff::Timestamp::now().as_second() > before.last + 2).then_some(()))
    })
    .expect("time goes on");
    let another = Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(20)).expect("a poll");
    another.wait_for_more(10, SOON).expect("polls");
    let polled = another.stop().ok;
    agent.start().expect("it starts again");
    poller.wait_for_more(10, SOON).expect("polls");
    agent.stop().expect("it stops");
    drop(poller);
    let after = kept(&lab)[&polls(&lab)];
    assert_eq!((after.flows, after.opened), (2, 2), "the old one goes on: {after:?}");
    assert!(after.packets[0] >= before.packets[0] + polled + 10, "{before:?} {polled} {after:?}");
    let gaps = gaps(&lab);
    let Some([gap]) = gaps.first_chunk() else { panic!("{gaps:?}") };
    assert_eq!((gap.why, gap.count, gaps.len()), (Why::Stopped, 0, 1));
    assert!(gap.from <= before.last + 6 && gap.to > gap.from, "{gap:?} {before:?}");
    assert!(!agent.log().contains("ERROR"), "{}", agent.log());
}

#[test]
fn leased_address_is_remembered_with_whose_it_was() {
    let test = "leased_address_is_remembered_with_whose_it_was";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    let (plc, hmi, server) = (lab.plc(), lab.host("hmi"), lab.host("historian"));
    let known = policy(&lab, "monitor", "").replace(&format!("\"{}\"", plc.ip), "\"dhcp\"");
    let mut agent = Agent::new(&lab, &known).expect("an agent");
    let trusted = format!("trusted = false\ndhcp_servers = [\"{}\"]", server.ip);
    configure(&lab, &agent, "", &trusted, QUICK);
    agent.start().expect("it starts");
    let _plc = Plc::start(plc, MODBUS).expect("a PLC");
    let answer = Dhcp {
        from: (server.mac, server.ip),
        to: (plc.mac, plc.ip),
        client: plc.mac,
        address: plc.ip,
        message: Dhcp::ACK,
        options: &[51, 4, 0, 0, 14, 16],
    };
    let sender = RawSender::new(&server.namespace, server.interface).expect("a packet socket");
    sender.send(&answer.answer()).expect("sent");
    wait_for("the lease", SOON, || Ok((status(&agent)["leases"] == 1).then_some(()))).expect("it is read");
    // Leases are looked at once a second.
    let written = || status(&agent)["history"]["written"].as_str().map(str::to_owned);
    let before = written();
    wait_for("the next second", SOON, || Ok((written() > before).then_some(()))).expect("it is written");
    let seen = poll(&lab);
    agent.stop().expect("it stops");
    let to = End::leased(IpAddr::V4(plc.ip), Mac(plc.mac.0));
    let wanted =
        Kind { from: End::at(IpAddr::V4(hmi.ip)), to, service: Service { protocol: TCP, number: MODBUS } };
    let kept = kept(&lab);
    assert_eq!(kept.get(&wanted).map(|seen| (seen.flows, seen.packets)), Some((1, seen)), "{kept:#?}");
    let told = agent.cli_json(&["history", "flows", "--device", PLC, "--json"]).expect("a list");
    assert!(told.as_array().is_some_and(|all| all.iter().any(|one| one["to"]["name"] == PLC)), "{told}");
}
