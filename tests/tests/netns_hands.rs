//! What the gateway around the agent does to it: a log that cannot be written, people who hold its socket.

mod plant;

use std::{fs::File, net::Ipv4Addr, os::unix::net::UnixStream, process::Stdio, time::Instant};

use bulkhead_tests::lab::{
    Agent, Lab, Topology, link,
    topology::{Gateway, UPLINK},
    wait::wait_for,
};
use plant::{SOON, require_lab, status};

fn policy(lab: &Lab) -> String {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    format!(
        "version = 1\n[device.plc]\nmac = \"{}\"\nip = \"{}\"\nmode = \"enforce\"\n[device.hmi]\nmac = \"{}\"\nip = \"{}\"\n\
         [[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"\n",
        plc.mac, plc.ip, hmi.mac, hmi.ip
    )
}

#[test]
fn agent_goes_on_when_its_log_cannot_be_written() {
    let test = "agent_goes_on_when_its_log_cannot_be_written";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    let full = || File::options().write(true).open("/dev/full").expect("every Linux has it").into();
    let left = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    for log in [full(), left()] {
        agent.start_logging_to(log).expect("it starts");
        let refused = || status(&agent)["log_refused"].as_u64().expect("a count");
        let before = refused();
        assert!(before > 0, "what it says at the start");
        agent.hup().expect("heard");
        wait_for("more to be refused", SOON, || Ok((refused() > before).then_some(()))).expect("counted");
        let page = agent.cli(&["status"]).expect("it runs").stdout;
        assert!(String::from_utf8_lossy(&page).contains("messages refused"));
        assert!(agent.stop().expect("it ends as it is told").success());
    }
}

#[test]
fn policy_that_makes_a_device_of_the_gateway_is_refused() {
    let test = "policy_that_makes_a_device_of_the_gateway_is_refused";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let ran = |words: &[&str]| {
        let ran = agent.cli(words).expect("it runs");
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let before = status(&agent)["revision"].clone();
    let claimed = format!(
        "{}[device.gwmac]\nmac = \"{}\"\nip = \"10.20.9.9\"\nmode = \"enforce\"\n",
        policy(&lab),
        lab.gateway.plant_mac
    );
    agent.write_policy(&claimed).expect("written");
    for words in [&["check"][..], &["plan"], &["apply"]] {
        let (code, said) = ran(words);
        assert!(code == Some(1) && said.contains("error[BH0336]"), "{words:?}: {code:?} {said}");
        assert!(said.contains("`gwmac`") && said.contains("`plant0`"), "{said}");
    }
    assert_eq!(status(&agent)["revision"], before);
    // An address of the gateway stops nothing but the device that has it.
    let named = format!("{}[device.gwip]\nip = \"{}\"\n", policy(&lab), lab.gateway.cell_ip);
    agent.write_policy(&named).expect("written");
    for words in [&["check"][..], &["plan"], &["apply"]] {
        let (code, said) = ran(words);
        assert!(code == Some(0) && said.contains("warning[BH0517]"), "{words:?}: {code:?} {said}");
    }
    let warned = |agent: &Agent<'_>, code: &str| {
        let all = status(agent)["warnings"].to_string();
        assert!(all.contains(code), "{all}");
    };
    warned(&agent, "BH0517");
    // What enforces already goes on: the NIC may be the newer one.
    agent.stop().expect("it stops");
    link::set_mac(&lab.gateway.namespace, UPLINK, lab.plc().mac).expect("a new address");
    agent.start().expect("it starts all the same");
    warned(&agent, "BH0336");
}

#[test]
fn whoever_works_on_the_gateway_hears_what_closes_the_segment_he_comes_by() {
    let test = "whoever_works_on_the_gateway_hears_what_closes_the_segment_he_comes_by";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let closed = policy(&lab).replace("[device.hmi]\n", "[device.hmi]\nmode = \"enforce\"\n");
    let agent = Agent::new(&lab, &closed).expect("an agent");
    let said = |from: Ipv4Addr, to: Ipv4Addr| {
        let ran = agent.cli_over_ssh(from, to, &["check"]).expect("it runs");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    let Gateway { cell_ip, plant_ip, .. } = lab.gateway;
    // The pin of the default configuration is for the uplink, whichever address somebody asks for.
    for to in [cell_ip, plant_ip] {
        let said = said(lab.plc().ip, to);
        assert!(said.contains("BH0515") && said.contains("`management = true`"), "{said}");
    }
    for to in [cell_ip, plant_ip] {
        let said = said(lab.host("hmi").ip, to);
        assert!(!said.contains("BH0515"), "{said}");
    }
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let test = "connections_that_say_nothing_keep_nobody_out";
    let Some(lab) = require_lab(test, Topology::Routed) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let socket = lab.gateway.room.outside("api.sock");
    let held: Vec<UnixStream> =
        (0..300).map(|_| UnixStream::connect(&socket).expect("the agent accepts")).collect();
    let begun = Instant::now();
    let page = agent.cli(&["status", "--json"]).expect("it runs");
    assert_eq!(page.status.code(), Some(0), "{}", String::from_utf8_lossy(&page.stderr));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    drop(held);
}
