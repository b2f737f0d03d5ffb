//! What the tests of trunks share: a policy and a configuration for VLAN 10, and frames that must pass or not.
#![allow(unreachable_pub, reason = "a module of several test binaries")]

use bulkhead_tests::{
    frame::frame,
    lab::{Agent, Lab, Sniffer, wire::RawSender},
};

use super::gateway::SOON;

/// A line in VLAN 10 with a PLC and another device; what is not of it stays on the interface's own segment.
pub const POLICY: &str = "version = 1\n\n\
    [device.plc]\nmac = \"00:1d:9c:c7:b0:70\"\nip = \"10.20.1.11\"\nmode = \"enforce\"\nsegment = \"line-3\"\n\n\
    [[device.plc.allow]]\nto = \"hmi\"\nservice = \"modbus\"\n\n\
    [network.hmi]\ncidr = \"10.20.1.20/32\"\n";

/// VLAN 10 is stricter than the rest of the trunk.
pub const LINE: &str = "\n[segment.line-3]\ninterface = \"cell0\"\nvlan = 10\nunmanaged = \"drop\"\n\n\
    [segment.line-3.infrastructure]\narp = false\n";

/// A bridged lab whose device side is a trunk, and its agent, running.
pub fn trunk<'a>(lab: &'a Lab) -> Agent<'a> {
    let mut agent = Agent::new(lab, POLICY).expect("an agent");
    agent.write_config(LINE).expect("writable");
    agent.start().expect("it starts");
    agent
}

/// All frames that arrive at the HMI's interface.
pub fn at_hmi(lab: &Lab) -> Sniffer<Vec<u8>> {
    let hmi = lab.host("hmi");
    Sniffer::start(&hmi.namespace, hmi.interface, |seen| (!seen.outgoing).then(|| seen.bytes.clone()))
        .expect("it listens")
}

pub fn bytes(line: &str) -> Vec<u8> {
    frame(line).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends frames from the device side. Those of `passed` must arrive as the second line of each, the `dropped` must not.
pub fn forwards(lab: &Lab, passed: &[(&str, &str)], dropped: &[&str]) {
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

pub fn wait_reasons(agent: &Agent<'_>, wanted: &[(&str, u16)]) {
    for (reason, vlan) in wanted {
        agent
            .wait_violation(&format!("{reason} in VLAN {vlan}"), SOON, |violation| {
                violation["reason"] == *reason && violation["vlan"].as_u64().unwrap_or(0) == u64::from(*vlan)
            })
            .unwrap_or_else(|error| panic!("{error}\n{:?}\n{}", agent.violations(), agent.log()));
    }
}

pub const IN_LINE: &str = "plc>hmi tcp 49152>502 S vlan=10";
pub const ARP_IN_LINE: &str = "plc>all arp ask hmi vlan=10";

/// What neither a trunk nor an interface of one of its VLANs may let through.
pub const DROPPED: [&str; 5] = [
    // The device on another VLAN, and on none.
    "plc>hmi tcp 49153>502 S vlan=20",
    "plc>hmi tcp 49154>502 S",
    // No rule; a stranger where strangers are dropped; and address resolution, which the line goes without.
    "plc>hmi tcp 49155>503 S vlan=10",
    "attacker>hmi tcp 49156>502 S vlan=10",
    ARP_IN_LINE,
];

/// Of those, with the VLAN; 0 is none.
pub const REASONS: [(&str, u16); 5] = [
    ("wrong-segment", 20),
    ("wrong-segment", 0),
    ("service-not-allowed", 10),
    ("unmanaged", 10),
    ("infrastructure-off", 10),
];
