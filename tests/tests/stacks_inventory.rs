//! What real protocol stacks announce is in the inventory: a recording at a device while it asks for an address, announces itself, answers
//! who it is, tells who it is and what it has; and a policy entry that is made of it.

mod command;

use std::{
    fs,
    sync::{Arc, Mutex},
};

use bulkhead_tests::{
    capture::{Recorded, pcap},
    lab::{
        Lab, Sniffer, Topology, lab_for,
        stacks::{LINK_STACKS, STACKS, Server},
        topology::{Host, PLC},
    },
    skip::Tier,
};
use command::{bulkhead, file, folder};
use serde_json::Value;

/// Everything that one host sends and receives while the plant talks.
fn recorded(lab: &Lab) -> Vec<Recorded> {
    let host = lab.host(PLC);
    let heard: Arc<Mutex<Vec<Recorded>>> = Arc::default();
    let sniffer = Sniffer::<()>::start(&host.namespace, host.interface, {
        let heard = Arc::clone(&heard);
        move |seen| {
            let (time, bytes) = (seen.time, seen.bytes.clone());
            heard.lock().expect("nobody panics").push(Recorded { time, interface: 0, bytes });
            None
        }
    })
    .expect("a sniffer");
    let stacks = || STACKS.iter().filter(|stack| stack.name == "modbus").chain(&LINK_STACKS);
    let servers: Vec<Server> = stacks().map(|stack| stack.serve(lab).expect("it serves")).collect();
    for stack in stacks() {
        let outcome = stack.drive(lab).expect("it ends in order");
        assert!(outcome.failed.is_empty(), "{}: {}", stack.name, outcome.said);
    }
    drop(servers);
    sniffer.stop().expect("nothing was lost");
    Arc::into_inner(heard).expect("the sniffer has ended").into_inner().expect("nobody panics")
}

/// Values of a kind that a device said by a protocol.
fn said<'v>(device: &'v Value, kind: &str, evidence: &str) -> Vec<&'v str> {
    let facts = device["facts"].as_array().into_iter().flatten();
    let facts = facts.filter(|fact| fact["kind"] == kind && fact["evidence"] == evidence);
    facts.filter_map(|fact| fact["value"].as_str()).collect()
}

#[test]
fn what_real_stacks_say_of_themselves_is_listed_with_its_evidence() {
    let test = "what_real_stacks_say_of_themselves_is_listed_with_its_evidence";
    let Some(lab) = lab_for(Tier::Stacks, test, Topology::Bridged, 1500) else { return };
    let folder = folder("stacks-inventory");
    let capture = file(&folder, "seen.pcap", pcap(&recorded(&lab), 65_535));
    let [capture, plc] = [capture.display().to_string(), lab.host(PLC).mac.to_string()];
    let Host { mac, ip, .. } = lab.host("hmi");
    let known = format!("version = 1\n[device.the-hmi]\nmac = \"{mac}\"\nip = \"{ip}\"\n");
    let both = folder.join("both");
    fs::create_dir(&both).expect("a writable folder");
    let policy = file(&both, "policy.toml", known).display().to_string();
    let ran = bulkhead(&["inventory", "--json", "--policy", &policy, "--pcap", &capture]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    let devices = report["devices"].as_array().expect("a list");
    let of = |mac: &str| devices.iter().find(|device| device["of"] == mac).expect("it is listed");
    let device = of(&plc);
    assert_eq!((&device["known"], &device["registered"]), (&Value::Null, &"locally administered".into()));
    let address = lab.host(PLC).ip.to_string();
    assert!(device["addresses"].as_array().expect("a list").contains(&address.into()), "{device}");
    let dhcp = said(device, "description", "dhcp");
    assert!(dhcp.len() == 1 && dhcp[0].starts_with("udhcp "), "{dhcp:?}");
    assert_eq!(said(device, "asks", "dhcp").len(), 1);
    assert_eq!(said(device, "service", "mdns"), ["_modbus._tcp"]);
    assert_eq!(said(device, "description", "mdns"), ["press-1"]);
    assert_eq!(said(device, "name", "mdns"), ["press-1"]);
    assert!(said(device, "identifier", "bacnet").contains(&"BACnet device 1001"), "{device}");
    assert_eq!(said(device, "serves", "tcp"), ["tcp/502"]);
    for (kind, value) in [("vendor", "Press Works"), ("model", "PW-7"), ("firmware", "4.2.1")] {
        assert_eq!(said(device, kind, "modbus"), [value]);
    }
    assert_eq!(of(&mac.to_string())["known"], "the-hmi");
    // The entry for it is valid beside the policy.
    let stub =
        bulkhead(&["inventory", "--policy", &policy, "--pcap", &capture, "--stub", &address_of(device)]);
    assert_eq!(stub.code, 0, "{}", stub.err);
    assert!(stub.out.contains("[device.press-1]") && stub.out.contains("dhcp"), "{}", stub.out);
    file(&both, "stub.toml", &stub.out);
    let checked = bulkhead(&["check", &both.display().to_string()]);
    assert_eq!(checked.code, 0, "{}", checked.err);
}

fn address_of(device: &Value) -> String {
    device["of"].as_str().expect("an address").to_owned()
}
