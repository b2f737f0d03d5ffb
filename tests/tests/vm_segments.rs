//! Segments made of the kernel's own VLANs and bonds, with the real agent.
//!
//! Runs in the machines of `cargo xtask test --vm`, which load the modules; elsewhere it is skipped. Lines with `@@ fact`
//! go to the table of that command.

mod gateway;
mod trunk;

use std::env;

use bulkhead_tests::{
    lab::{
        Agent, Lab, Namespace, Topology,
        link::{self, End},
        modbus::Plc,
        topology::{BRIDGE, DEVICE_SIDE, MODBUS},
        wait::wait_for,
        wire::{RawSender, arp_announcement},
    },
    skip::{Tier, skip},
};
use gateway::{SOON, configure, enforces, policy, require_topology, status};
use serde_json::Value;
use trunk::{DROPPED, IN_LINE, REASONS, forwards, trunk, wait_reasons};

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
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
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
    let forged = arp_announcement(link::Mac([2, 0, 0, 0, 9, 9]), lab.plc().ip);
    RawSender::new(&spare, "peer1").expect("a socket").send(&forged).expect("the link is up");
    let violation = agent
        .wait_violation("the forged announcement", SOON, |violation| {
            violation["reason"] == "address-conflict"
        })
        .unwrap_or_else(|error| panic!("{error}\n{:?}\n{}", agent.violations(), agent.log()));
    assert_eq!((&violation["interface"], &violation["device"]), (&"team0".into(), &"plc".into()));
    assert!(seen(&agent, "team0") > before);
}
