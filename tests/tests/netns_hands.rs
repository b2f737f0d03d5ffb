//! What the gateway around the agent does to it: a log that cannot be written, people who hold its socket.

mod plant;

use std::{fs::File, process::Stdio};

use bulkhead_tests::lab::{Agent, Lab, Topology, wait::wait_for};
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
