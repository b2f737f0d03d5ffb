//! Segments as gateways have them: VLANs of a trunk, raw and with interfaces of their own behind a bridge; and bonds.
//!
//! Raw tagged frames need nothing of the kernel and are tried everywhere. What needs the kernel's VLANs and bonds runs in
//! the machines of `cargo xtask test --vm`, with the real agent.

mod gateway;

use std::env;

use bulkhead_tests::{
    frame::frame,
    lab::{
        Agent, Lab, Namespace, Sniffer, Topology,
        link::{self, End},
        topology::{BRIDGE, DEVICE_SIDE},
        wait::wait_for,
        wire::RawSender,
    },
    skip::{Tier, skip},
};
use gateway::{SOON, configure, enforces, policy, require_topology, status};
use serde_json::Value;

/// A line in VLAN 10 with a PLC and another device; what is not of it stays on the interface's own segment.
const POLICY: &str = "version = 1\n\n\
    [device.plc]\nmac = \"00:1d:9c:c7:b0:70\"\nip = \"10.20.1.11\"\nmode = \"enforce\"\nsegment = \"line-3\"\n\n\
    [[device.plc.allow]]\nto = \"hmi\"\nservice = \"modbus\"\n\n\
    [network.hmi]\ncidr = \"10.20.1.20/32\"\n";

/// VLAN 10 is stricter than the rest of the trunk.
const LINE: &str = "\n[segment.line-3]\ninterface = \"cell0\"\nvlan = 10\nunmanaged = \"drop\"\n\n\
    [segment.line-3.infrastructure]\narp = false\n";

/// A bridged lab whose device side is a trunk, and its agent, running.
fn trunk<'a>(lab: &'a Lab) -> Agent<'a> {
    let mut agent = Agent::new(lab, POLICY).expect("an agent");
    agent.write_config(LINE).expect("writable");
    agent.start().expect("it starts");
    agent
}

/// All frames that arrive at the HMI's interface.
fn at_hmi(lab: &Lab) -> Sniffer<Vec<u8>> {
    let hmi = lab.host("hmi");
    Sniffer::start(&hmi.namespace, hmi.interface, |seen| (!seen.outgoing).then(|| seen.bytes.clone()))
        .expect("it listens")
}

fn bytes(line: &str) -> Vec<u8> {
    frame(line).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends frames from the device side. Those of `passed` must arrive as the second line of each, the `dropped` must not.
fn forwards(lab: &Lab, passed: &[(&str, &str)], dropped: &[&str]) {
    let heard = at_hmi(lab);
    let sender = RawSender::new(&lab.plc().namespace, lab.plc().interface).expect("a socket");
    // The dropped ones first: when what was sent after them has arrived, they would have.
    for line in dropped {
        sender.send(&bytes(line)).expect("the link is up");
    }
    for (sent, arrives) in passed {
        sender.send(&bytes(sent)).expect("the link is up");
        heard.wait_for_more(&bytes(arrives), 0, SOON).expect("readable");
        heard
            .wait_until(arrives, SOON, |counts| counts.contains_key(&bytes(arrives)))
            .unwrap_or_else(|error| panic!("`{sent}`: {error}"));
    }
    let counts = heard.stop().expect("none was lost");
    for line in dropped {
        let plain = line.split(" vlan=").next().expect("a first part");
        let found = [*line, plain].map(|line| counts.get(&bytes(line)));
        assert_eq!(found, [None, None], "`{line}`");
    }
}

fn wait_reasons(agent: &Agent<'_>, wanted: &[(&str, u16)]) {
    for (reason, vlan) in wanted {
        agent
            .wait_violation(&format!("{reason} in VLAN {vlan}"), SOON, |violation| {
                violation["reason"] == *reason && violation["vlan"].as_u64().unwrap_or(0) == u64::from(*vlan)
            })
            .unwrap_or_else(|error| panic!("{error}\n{:?}\n{}", agent.violations(), agent.log()));
    }
}

const IN_LINE: &str = "plc>hmi tcp 49152>502 S vlan=10";
const ARP_IN_LINE: &str = "plc>all arp ask hmi vlan=10";

/// What neither a trunk nor an interface of one of its VLANs may let through.
const DROPPED: [&str; 5] = [
    // The device on another VLAN, and on none.
    "plc>hmi tcp 49153>502 S vlan=20",
    "plc>hmi tcp 49154>502 S",
    // No rule; a stranger where strangers are dropped; and address resolution, which the line goes without.
    "plc>hmi tcp 49155>503 S vlan=10",
    "attacker>hmi tcp 49156>502 S vlan=10",
    ARP_IN_LINE,
];

/// Of those, with the VLAN; 0 is none.
const REASONS: [(&str, u16); 5] = [
    ("wrong-segment", 20),
    ("wrong-segment", 0),
    ("unknown-service", 10),
    ("unmanaged", 10),
    ("infrastructure", 10),
];

#[test]
fn vlans_of_a_trunk_are_segments_of_their_own() {
    let test = "vlans_of_a_trunk_are_segments_of_their_own";
    let Some(lab) = require_topology(test, Topology::Bridged, 1500) else { return };
    let agent = trunk(&lab);
    let passed = [
        IN_LINE,
        // Strangers may be elsewhere on the trunk, in any VLAN or none, and resolve addresses there.
        "attacker>hmi tcp 49157>502 S vlan=20",
        "attacker>hmi tcp 49158>502 S",
        "attacker>all arp ask hmi vlan=20",
        "attacker>all arp ask hmi",
    ];
    forwards(&lab, &passed.map(|line| (line, line)), &DROPPED);
    wait_reasons(&agent, &REASONS);
}

/// A lab for what needs the kernel's VLANs and bonds, or `None` after the skip was recorded.
fn machine(test: &str) -> Option<Lab> {
    if env::var_os("BULKHEAD_VM").is_none() {
        skip(Tier::Vm, test, "it runs in the machines of `cargo xtask test --vm`");
        return None;
    }
    require_topology(test, Topology::Bridged, 1500)
}

#[test]
fn interfaces_of_vlans_behind_a_bridge_get_what_the_trunk_lets_through() {
    let test = "interfaces_of_vlans_behind_a_bridge_get_what_the_trunk_lets_through";
    let Some(lab) = machine(test) else { return };
    let gateway = &lab.gateway.namespace;
    link::release(gateway, DEVICE_SIDE).expect("the trunk itself is no port of the bridge");
    for (name, id) in [("line10", 10), ("line20", 20)] {
        link::vlan(gateway, DEVICE_SIDE, name, id).expect("a VLAN");
        link::enslave(gateway, name, BRIDGE).expect("a port");
    }
    let agent = trunk(&lab);
    // The interface of a VLAN takes the tag off.
    let passed = [
        (IN_LINE, "plc>hmi tcp 49152>502 S"),
        ("attacker>hmi tcp 49157>502 S vlan=20", "attacker>hmi tcp 49157>502 S"),
        ("attacker>all arp ask hmi vlan=20", "attacker>all arp ask hmi"),
    ];
    forwards(&lab, &passed, &DROPPED);
    wait_reasons(&agent, &REASONS);
}

fn interface(agent: &Agent<'_>, name: &str) -> Value {
    let status = status(agent);
    let list = status["interfaces"].as_array().expect("a list");
    list.iter().find(|interface| interface["name"] == name).expect("it is configured").clone()
}

fn seen(agent: &Agent<'_>, name: &str) -> u64 {
    interface(agent, name)["seen"].as_u64().expect("a number")
}

/// Makes a bond of the device side and puts it where that was.
fn bond(lab: &Lab) {
    let gateway = &lab.gateway.namespace;
    link::bond(gateway, "team0", &[DEVICE_SIDE]).expect("a bond");
    link::enslave(gateway, "team0", BRIDGE).expect("a port");
}

#[test]
fn bond_is_one_segment_whatever_its_ports_are() {
    let test = "bond_is_one_segment_whatever_its_ports_are";
    let Some(lab) = machine(test) else { return };
    bond(&lab);
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    configure(&lab.gateway, "bulkhead.toml", &[("[interface.cell0]", "[interface.team0]")]);
    agent.start().expect("it starts");
    let team = interface(&agent, "team0");
    if team["state"] == "open" {
        // This kernel's bonds take no program, and the agent says what to do; doing so is enough.
        let problem = team["problem"].as_str().expect("there is one");
        println!("@@ fact bond ports\n{problem}");
        assert!(problem.contains("list its ports") && problem.contains("`cell0`"), "{problem}");
        agent.stop().expect("it stops");
        configure(&lab.gateway, "bulkhead.toml", &[("[interface.team0]", "[interface.cell0]")]);
        agent.start().expect("it starts");
        assert!(enforces(&lab));
        return;
    }
    println!("@@ fact bond yes");
    assert_eq!((&team["state"], &team["attached"]), (&"enforced".into(), &"native".into()));
    assert!(enforces(&lab));
    assert!(seen(&agent, "team0") > 0, "frames of the port are the bond's");
    // A second port comes while the agent runs.
    let spare = Namespace::new("spare").expect("a namespace");
    let end = |namespace, interface, last| End {
        namespace,
        interface,
        mac: link::Mac([2, 0, 0, 0, 9, last]),
        mtu: 1500,
    };
    link::veth(&end(&lab.gateway.namespace, "port1", 1), &end(&spare, "peer1", 2)).expect("a veth pair");
    link::down(&lab.gateway.namespace, "port1").expect("down");
    link::enslave(&lab.gateway.namespace, "port1", "team0").expect("a port");
    wait_for("the agent to see the port", SOON, || {
        Ok(agent.log().contains("the ports of `team0` are `cell0`, `port1`").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    // Through it, somebody claims to be the PLC.
    let before = seen(&agent, "team0");
    let forged = bulkhead_tests::lab::wire::arp_announcement(link::Mac([2, 0, 0, 0, 9, 9]), lab.plc().ip);
    RawSender::new(&spare, "peer1").expect("a socket").send(&forged).expect("the link is up");
    let violation = agent
        .wait_violation("the forged announcement", SOON, |violation| {
            violation["reason"] == "address-conflict"
        })
        .unwrap_or_else(|error| panic!("{error}\n{:?}\n{}", agent.violations(), agent.log()));
    assert_eq!((&violation["interface"], &violation["device"]), (&"team0".into(), &"plc".into()));
    assert!(seen(&agent, "team0") > before);
}
