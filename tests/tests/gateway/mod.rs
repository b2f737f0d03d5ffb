//! What the tests of attaching share: a lab with one rule, the agent's commands on its gateway, and what runs where.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use bulkhead_agent::dataplane::{AttachMode, probe};
use bulkhead_tests::{
    lab::{
        Agent, Lab, Topology, agent_binary, lab_for,
        modbus::{Write, write_once},
        topology::Gateway,
    },
    skip::Tier,
};
use serde_json::{Value, json};

pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
/// The pins of the ABI under test, below the lab's pin directory.
pub(crate) const PINS: &str = "bulkhead/v5";

pub(crate) fn require_lab(test: &str) -> Option<Lab> {
    require_lab_with(test, 1500)
}

pub(crate) fn require_lab_with(test: &str, mtu: u32) -> Option<Lab> {
    require_topology(test, Topology::Routed, mtu)
}

pub(crate) fn require_topology(test: &str, topology: Topology, mtu: u32) -> Option<Lab> {
    lab_for(Tier::Netns, test, topology, mtu)
}

/// Only the HMI may talk with the PLC.
pub(crate) fn policy(lab: &Lab) -> String {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    format!(
        "version = 1\n\n[device.plc]\nmac = \"{}\"\nip = \"{}\"\nmode = \"enforce\"\n\n[[device.plc.allow]]\n\
         from = [\"hmi\"]\nservice = [\"modbus\"]\n\n[network.hmi]\ncidr = \"{}/32\"\n",
        plc.mac, plc.ip, hmi.ip
    )
}

/// Whether the gateway enforces the policy above, as packets see it.
pub(crate) fn enforces(lab: &Lab) -> bool {
    let write = |from: &str, within: Duration| {
        write_once(lab.host(from), lab.modbus(), 50, 7, within).expect("a try") == Write::Written
    };
    assert!(write("hmi", SOON), "what is allowed passes, enforced or not");
    !write("attacker", SILENCE)
}

/// Runs a command of the lab's binary on the gateway, with a configuration of its own.
pub(crate) fn run(lab: &Lab, config: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(agent_binary().expect("a binary"));
    command.arg("--config").arg(lab.gateway.room.inside(config)).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = lab.gateway.namespace.spawn_child(command);
    let Output { status, stdout, stderr } = child.and_then(Child::wait_with_output).expect("it runs");
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code().expect("not killed"), said)
}

pub(crate) fn bulkhead(lab: &Lab, args: &[&str]) -> (i32, String) {
    run(lab, "bulkhead.toml", args)
}

/// Changes the lab's configuration before the agent starts.
pub(crate) fn configure(gateway: &Gateway, name: &str, changes: &[(&str, &str)]) {
    let mut config = gateway.room.read("bulkhead.toml").expect("written by the lab");
    for (from, to) in changes {
        assert!(config.contains(from), "`{from}` is not in:\n{config}");
        config = config.replace(from, to);
    }
    gateway.room.write(name, &config).expect("writable");
}

pub(crate) fn status(agent: &Agent<'_>) -> Value {
    agent.ask(&json!({ "verb": "status" })).expect("an answer")["ok"]["status"].clone()
}

pub(crate) fn program_on(lab: &Lab, name: &str) -> Option<(AttachMode, u32)> {
    let interfaces = lab.gateway.namespace.run(probe::interfaces).expect("interfaces");
    let found = interfaces.into_iter().find(|interface| interface.name == name)?;
    found.xdp.map(|xdp| (xdp.mode, xdp.program))
}
