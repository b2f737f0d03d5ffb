//! The running agent listens: what hosts of a plant say of themselves is in the inventory, told when it changes, kept over restarts, and
//! bounded whatever is forged.

mod plant;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    time::Duration,
};

use bulkhead_tests::lab::{
    Agent, Lab, Topology,
    frames::{arp_question, datagram, frame},
    link::Mac,
    topology::{Host, MODBUS},
    wait::wait_for,
    wire::{RawSender, tagged},
};
use plant::{SOON, configure, require_lab, status};
use serde_json::Value;

/// Where mDNS is said to all.
const EVERYBODY: (Mac, Ipv4Addr) = (Mac([1, 0, 0x5e, 0, 0, 0xfb]), Ipv4Addr::new(224, 0, 0, 251));

fn send(host: &Host, frames: &[Vec<u8>]) {
    let sender = RawSender::new(&host.namespace, host.interface).expect("a packet socket");
    frames.iter().for_each(|frame| sender.send(frame).expect("sent"));
}

/// It asks for the hardware address of the gateway, and so says its own. Its stack may know the answer already, and would not ask.
fn asks_for(host: &Host, gateway: Ipv4Addr) {
    send(host, &[arp_question(host.mac, (host.mac, host.ip), gateway)]);
}

/// LLDP: chassis, port, time to live, a name, a description, and the end (IEEE 802.1AB 8).
fn lldp(from: Mac, name: &str, description: &str) -> Vec<u8> {
    let part = |kind: u8, value: &[u8]| {
        let head = u16::from(kind) << 9 | u16::try_from(value.len()).expect("short");
        [&head.to_be_bytes()[..], value].concat()
    };
    let parts = [
        part(1, &[&[4][..], &from.0].concat()),
        part(2, b"\x05p1"),
        part(3, &[0, 120]),
        part(5, name.as_bytes()),
        part(6, description.as_bytes()),
        part(0, &[]),
    ];
    frame(from, Mac([1, 0x80, 0xc2, 0, 0, 0x0e]), 0x88cc, &parts.concat())
}

/// A name of mDNS for an address: one answer, record A (RFC 6762 6).
fn mdns(from: (Mac, Ipv4Addr), name: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    for label in [name, "local"] {
        message.push(u8::try_from(label.len()).expect("short"));
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4]);
    message.extend(from.1.octets());
    datagram(from, EVERYBODY, (5353, 5353), &message)
}

/// A server of Modbus that answers one client, whatever he asks, with maker, model and firmware (function 43/14).
fn identifies_itself(server: &Host, client: &Host, firmware: &str) {
    let objects: Vec<u8> = [(0_u8, "Press Works"), (1, "PW-7"), (2, firmware)]
        .iter()
        .flat_map(|(id, text)| {
            [&[*id, u8::try_from(text.len()).expect("short")][..], text.as_bytes()].concat()
        })
        .collect();
    let message = [&[1, 0x2b, 0x0e, 1, 1, 0, 0, 3][..], &objects].concat();
    let length = u16::try_from(message.len()).expect("short").to_be_bytes();
    let answer = [&[0, 1, 0, 0][..], &length, &message].concat();
    let listener = server.namespace.run(|| TcpListener::bind((server.ip, MODBUS)).expect("a server"));
    let asker = client.namespace.spawn("asker", {
        let to = SocketAddrV4::new(server.ip, MODBUS);
        let expected = answer.clone();
        move || {
            let mut stream = TcpStream::connect_timeout(&to.into(), SOON).expect("it accepts");
            stream.write_all(&[0, 1, 0, 0, 0, 5, 1, 0x2b, 0x0e, 1, 0]).expect("sent");
            let mut heard = vec![0; expected.len()];
            stream.read_exact(&mut heard).expect("an answer");
            assert_eq!(heard, expected);
        }
    });
    let (mut stream, _) = listener.accept().expect("a client");
    let mut question = [0; 11];
    stream.read_exact(&mut question).expect("a question");
    stream.write_all(&answer).expect("sent");
    asker.expect("a thread").join().expect("it was answered");
}

/// The device of the inventory, once it has said what is asked for.
fn heard(agent: &Agent<'_>, of: &str, wanted: &[(&str, &str, &str)]) -> Value {
    let said = |device: &Value, (kind, value, evidence): &(&str, &str, &str)| {
        let facts = device["facts"].as_array().into_iter().flatten();
        facts.into_iter().any(|f| f["kind"] == *kind && f["value"] == *value && f["evidence"] == *evidence)
    };
    wait_for("what it says of itself", SOON, || {
        let report = agent.cli_json(&["inventory", "--json"])?;
        let device = report["devices"].as_array().into_iter().flatten().find(|device| device["of"] == of);
        Ok(device.filter(|device| wanted.iter().all(|one| said(device, one))).cloned())
    })
    .unwrap_or_else(|error| {
        panic!("{error}: {of} {wanted:?}\n{:#?}", agent.cli_json(&["inventory", "--json"]))
    })
}

/// Starts it, and waits until it listens on both interfaces: what is said before nobody hears.
fn start(agent: &mut Agent<'_>) {
    agent.start().expect("it starts");
    wait_for("the sockets", SOON, || {
        let listens = status(agent)["inventory"]["listens"].as_array().map_or(0, Vec::len);
        Ok((listens == 2).then_some(()))
    })
    .expect("it listens");
}

/// The PLC alone, watched.
fn policy(lab: &Lab) -> String {
    let plc = lab.plc();
    format!("version = 1\n\n[device.plc]\nmac = \"{}\"\nip = \"{}\"\nmode = \"monitor\"\n", plc.mac, plc.ip)
}

fn out(agent: &Agent<'_>, args: &[&str]) -> (i32, String, String) {
    let ran = agent.cli(args).expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.code().expect("an exit code"), text(&ran.stdout), text(&ran.stderr))
}

fn everything_is_heard(test: &str, topology: Topology) {
    let Some(lab) = require_lab(test, topology) else { return };
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    start(&mut agent);
    asks_for(hmi, lab.gateway.plant_ip);
    identifies_itself(plc, hmi, "v1");
    send(hmi, &[lldp(hmi.mac, "hmi-3", "Panel 12"), mdns((hmi.mac, hmi.ip), "panel")]);
    let (unknown, known) = (hmi.mac.to_string(), plc.mac.to_string());
    let ip = hmi.ip.to_string();
    let device = heard(
        &agent,
        &unknown,
        &[("address", &ip, "arp"), ("name", "hmi-3", "lldp"), ("name", "panel", "mdns")],
    );
    assert_eq!((&device["known"], &device["on"]), (&Value::Null, &"plant0".into()), "{device}");
    let device = heard(&agent, &known, &[("firmware", "v1", "modbus"), ("serves", "tcp/502", "tcp")]);
    assert_eq!((&device["known"], &device["on"]), (&"plc".into(), &"cell0".into()), "{device}");
    // Among the devices, too, and alone where only strangers are asked for.
    let (code, listed, err) = out(&agent, &["devices"]);
    assert_eq!(code, 0, "{err}");
    let line = listed.lines().find(|line| line.starts_with(&unknown)).unwrap_or_else(|| panic!("{listed}"));
    assert!(line.contains("hmi-3") || line.contains("panel"), "{line}");
    let strangers = agent.cli_json(&["inventory", "--unknown", "--json"]).expect("JSON");
    let strangers: Vec<&Value> = strangers["devices"].as_array().expect("a list").iter().collect();
    assert!(strangers.iter().any(|device| device["of"] == *unknown), "{strangers:?}");
    assert!(strangers.iter().all(|device| device["of"] != *known), "{strangers:?}");
    // The kernel takes the tag off before anybody hears the frame.
    let line = Mac([2, 0x77, 0, 0, 0, 1]);
    send(hmi, &[tagged(&arp_question(line, (line, Ipv4Addr::new(10, 77, 0, 1)), hmi.ip), &[10])]);
    let device = heard(&agent, &line.to_string(), &[("address", "10.77.0.1", "arp")]);
    assert_eq!(device["on"], "plant0 vlan 10", "{device}");
    let (code, stub, err) = out(&agent, &["inventory", "--stub", &ip]);
    assert_eq!(code, 0, "{err}");
    assert!(stub.contains("[device.") && stub.contains(&unknown), "{stub}");
}

#[test]
fn what_hosts_say_is_heard_by_a_router() {
    everything_is_heard("what_hosts_say_is_heard_by_a_router", Topology::Routed);
}

#[test]
fn what_hosts_say_is_heard_by_a_bridge() {
    everything_is_heard("what_hosts_say_is_heard_by_a_bridge", Topology::Bridged);
}

/// Records of the inventory about somebody.
fn told(agent: &Agent<'_>, mac: &str, change: &str) -> Vec<Value> {
    let records = agent.records().expect("a log");
    let of = |record: &Value| record["kind"] == "inventory" && record["source"]["mac"] == *mac;
    records.into_iter().filter(|record| of(record) && record["change"] == change).collect()
}

fn awaited(agent: &Agent<'_>, mac: &str, change: &str) -> Value {
    wait_for("the record", SOON, || Ok(told(agent, mac, change).pop()))
        .unwrap_or_else(|error| panic!("{error}: {change} of {mac}\n{:#?}", agent.records()))
}

#[test]
fn what_is_new_is_told_and_all_of_it_outlives_the_agent() {
    let test = "what_is_new_is_told_and_all_of_it_outlives_the_agent";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    start(&mut agent);
    let stranger = Mac([2, 0x66, 0, 0, 0, 1]);
    let says = |address: [u8; 4]| send(hmi, &[arp_question(stranger, (stranger, address.into()), hmi.ip)]);
    says([10, 66, 0, 1]);
    let record = awaited(&agent, &stranger.to_string(), "new-device");
    assert_eq!((&record["severity"], &record["device"]), (&"medium".into(), &Value::Null), "{record}");
    assert_eq!(record["interface"], "plant0", "{record}");
    says([10, 66, 0, 2]);
    let record = awaited(&agent, &stranger.to_string(), "new-address");
    assert_eq!(
        (&record["source"]["ip"], &record["evidence"]),
        (&"10.66.0.2".into(), &"arp".into()),
        "{record}"
    );
    identifies_itself(plc, hmi, "v1");
    heard(&agent, &plc.mac.to_string(), &[("firmware", "v1", "modbus")]);
    identifies_itself(plc, hmi, "v2");
    let record = awaited(&agent, &plc.mac.to_string(), "changed");
    let words = ["device", "fact", "before", "now"].map(|key| record[key].as_str().unwrap_or("-"));
    assert_eq!(words, ["plc", "firmware", "v1", "v2"], "{record}");
    // That a device of the policy is there is no news.
    assert!(told(&agent, &plc.mac.to_string(), "new-device").is_empty());
    let facts = |agent: &Agent<'_>, of: &str| {
        let report = agent.cli_json(&["inventory", of, "--json"]).expect("JSON");
        let device = &report["devices"][0];
        let facts = device["facts"].as_array().expect("a list").iter();
        let known: Vec<[Value; 4]> =
            facts.map(|fact| ["kind", "value", "evidence", "first"].map(|key| fact[key].clone())).collect();
        (known, device["first"].clone())
    };
    let names = [plc.mac.to_string(), stranger.to_string()];
    let before: Vec<_> = names.iter().map(|of| facts(&agent, of)).collect();
    agent.stop().expect("it stops");
    start(&mut agent);
    for (of, (known, first)) in names.iter().zip(before) {
        let after = facts(&agent, of);
        assert_eq!(after.1, first, "{of}");
        // What it said meanwhile comes behind it.
        assert_eq!(after.0[..known.len()], known[..], "{of}");
    }
    let changes = out(&agent, &["inventory", "--changes"]).1;
    assert!(changes.contains("changed its firmware from `v1` to `v2`"), "{changes}");
    // Nobody is new a second time.
    says([10, 66, 0, 2]);
    let frames = || status(&agent)["inventory"]["frames"].as_u64();
    wait_for("frames", SOON, || Ok((frames() >= Some(1)).then_some(()))).expect("it listens");
    assert_eq!(told(&agent, &stranger.to_string(), "new-device").len(), 1);
    // What was heard last is told before the agent ends.
    let late = Mac([2, 0x66, 0, 0, 0, 2]);
    send(hmi, &[lldp(late, "late", "Panel 13")]);
    heard(&agent, &late.to_string(), &[("name", "late", "lldp")]);
    agent.stop().expect("it stops");
    assert_eq!(told(&agent, &late.to_string(), "new-device").len(), 1);
}

#[test]
fn flood_of_forged_addresses_is_bounded_and_every_frame_counted() {
    const FRAMES: u16 = 6000;
    let test = "flood_of_forged_addresses_is_bounded_and_every_frame_counted";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    configure(&lab, &agent, "", "", "\n[inventory]\nframes_per_second = 1000\n");
    start(&mut agent);
    // Both are there before: if the PLC, which is in the policy, came later, the oldest stranger would make room for it.
    asks_for(plc, lab.gateway.cell_ip);
    asks_for(hmi, lab.gateway.plant_ip);
    let there = [plc, hmi].map(|host| host.mac.to_string());
    there.iter().for_each(|mac| drop(heard(&agent, mac, &[])));
    let forged = (0..FRAMES).map(|n| {
        let [high, low] = n.to_be_bytes();
        let mac = Mac([2, 0x66, 1, 0, high, low]);
        arp_question(mac, (mac, Ipv4Addr::new(10, 66, high, low)), hmi.ip)
    });
    send(hmi, &forged.collect::<Vec<_>>());
    let counted = wait_for("every frame", Duration::from_secs(30), || {
        let inventory = status(&agent)["inventory"].clone();
        let count = |key: &str| inventory[key].as_u64().unwrap_or_default();
        let all = count("frames") + count("over_budget") + count("dropped");
        Ok((all >= u64::from(FRAMES)).then_some(inventory))
    });
    let counted = counted.unwrap_or_else(|error| panic!("{error}: {}", status(&agent)["inventory"]));
    assert!(counted["over_budget"].as_u64() > Some(0) && counted["refused"].as_u64() > Some(0), "{counted}");
    assert!(
        counted["known"].as_u64().unwrap_or(0) + counted["unknown"].as_u64().unwrap_or(0) <= 2048,
        "{counted}"
    );
    // Those that were there stay.
    there.iter().for_each(|mac| drop(heard(&agent, mac, &[])));
    let records = || {
        let records = agent.records().expect("a log").into_iter();
        records.filter(|record| record["kind"] == "inventory").collect::<Vec<_>>()
    };
    let more = wait_for("how many more", Duration::from_secs(90), || {
        Ok(records().into_iter().find(|record| record["change"] == "more"))
    });
    let more = more.unwrap_or_else(|error| panic!("{error}: {}", status(&agent)["inventory"]));
    assert!(more["more"].as_u64() > Some(1000), "{more}");
    // Sixty at once, one every ten seconds, one a minute that counts the others.
    assert!((2..90).contains(&records().len()), "{} records", records().len());
}

#[test]
fn switched_off_nobody_listens() {
    let Some(lab) = require_lab("switched_off_nobody_listens", Topology::Routed) else { return };
    let sockets = || {
        let text = lab.gateway.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/packet"));
        text.expect("it can be read").lines().count()
    };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    configure(&lab, &agent, "", "", "\n[inventory]\nenabled = false\n");
    agent.start().expect("it starts");
    let off = sockets();
    let (code, _, err) = out(&agent, &["inventory"]);
    assert!(code == 1 && err.contains("enabled = false") && err.contains("--pcap"), "{code}: {err}");
    assert_eq!(out(&agent, &["devices"]).0, 0);
    assert_eq!(status(&agent)["inventory"], Value::Null);
    agent.stop().expect("it stops");
    assert!(!lab.gateway.room.outside("state").join("inventory.jsonl").exists());
    configure(&lab, &agent, "", "", "");
    agent.start().expect("it starts");
    wait_for("a socket for each interface", SOON, || Ok((sockets() == off + 2).then_some(())))
        .expect("it listens");
    agent.stop().expect("it stops");
    assert!(lab.gateway.room.outside("state").join("inventory.jsonl").exists());
}
