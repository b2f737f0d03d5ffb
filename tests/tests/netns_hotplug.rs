//! NICs that go, come back, change their names or their size while the agent runs.

mod gateway;

use std::{process::Output, time::Duration};

use bulkhead_tests::lab::{
    Agent, Lab, Poller,
    link::{self, End},
    modbus::Plc,
    topology::{DEVICE_SIDE, Gateway, MODBUS, UPLINK},
    wait::wait_for,
};
use gateway::{
    PINS, SOON, bulkhead, configure, enforces, policy, program_on, require_lab, require_lab_with, status,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

#[test]
fn nic_that_was_deleted_and_made_again_is_attached_again() {
    let test = "nic_that_was_deleted_and_made_again_is_attached_again";
    let Some(lab) = require_lab(test) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let (Gateway { namespace, cell_mac, cell_ip, .. }, plc) = (&lab.gateway, lab.plc());
    let interface = |status: &Value| {
        let list = status["interfaces"].as_array().expect("interfaces").clone();
        list.into_iter().find(|interface| interface["name"] == DEVICE_SIDE).expect("it is configured")
    };
    link::delete(namespace, DEVICE_SIDE).expect("deleted");
    let gone = wait_for("the loss to be seen", SOON, || {
        let now = status(&agent);
        Ok((interface(&now)["attached"] == "none").then_some(now))
    });
    let gone = gone.expect("status says it");
    assert!(
        gone["warnings"][0].as_str().is_some_and(|w| w.contains("no interface is called `cell0`")),
        "{gone}"
    );
    assert_eq!(interface(&gone)["state"], "missing");
    let Output { stdout, status: code, .. } = agent.cli(&["status"]).expect("it runs");
    let said = String::from_utf8_lossy(&stdout);
    assert!(said.contains("ENFORCING, but not on every interface: `cell0` is missing"), "{said}");
    assert!(said.contains("MISSING") && code.code() == Some(1), "{said}");
    assert_eq!(agent.log().matches("no interface is called `cell0`").count(), 1, "told once");

    let inside = End { namespace, interface: DEVICE_SIDE, mac: *cell_mac, mtu: 1500 };
    let outside = End { namespace: &plc.namespace, interface: plc.interface, mac: plc.mac, mtu: 1500 };
    link::veth(&inside, &outside).expect("a new NIC");
    link::address(namespace, DEVICE_SIDE, *cell_ip, 24).expect("an address");
    link::address(&plc.namespace, plc.interface, plc.ip, 24).expect("an address");
    link::default_route(&plc.namespace, *cell_ip).expect("a route");
    wait_for("the new NIC to be attached", SOON, || {
        let now = status(&agent);
        Ok((interface(&now)["attached"] == "native" && now["warnings"] == json!([])).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {}\n{}", status(&agent), agent.log()));
    let _plc = Plc::start(plc, MODBUS).expect("a PLC");
    assert!(enforces(&lab));
    assert_eq!(agent.log().matches("attached to `cell0`").count(), 2, "{}", agent.log());
    // The kernel's news led to it: the slow look would have come up to two seconds later.
    let now = status(&agent);
    let open = interface(&now)["open_us"].as_u64().expect("it is measured");
    assert!(open < 1_000_000, "open for {open} us");
    assert!(now["link_news"].as_u64() > Some(0), "{now}");
    assert_eq!(interface(&now)["state"], "enforced");
    let Output { stdout, .. } = agent.cli(&["status"]).expect("it runs");
    assert!(String::from_utf8_lossy(&stdout).contains("cell0 came while the agent ran, and was open for"));
}

/// Renames a NIC of the gateway: a name changes only while the NIC is down (before Linux 6.2).
fn rename(lab: &Lab, from: &str, to: &str) {
    let namespace = &lab.gateway.namespace;
    link::down(namespace, from).expect("down");
    link::rename(namespace, from, to).expect("renamed");
    link::up(namespace, to).expect("up");
}

#[test]
fn renamed_nic_stays_enforced_when_another_takes_its_name() {
    let test = "renamed_nic_stays_enforced_when_another_takes_its_name";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let pin = |name: &str| lab.gateway.room.pin_outside(&format!("{PINS}/links/{name}"));
    rename(&lab, DEVICE_SIDE, "lan0");
    let warned = |agent: &Agent<'_>, sentence: &str| {
        let now = status(agent);
        let all = now["warnings"].as_array().expect("a list");
        all.iter().any(|w| w.as_str().is_some_and(|w| w == sentence)).then_some(())
    };
    let sentence = "`cell0` is now called `lan0` and still enforced";
    wait_for("the new name", SOON, || Ok(warned(&agent, sentence)))
        .unwrap_or_else(|error| panic!("{error}: {}", status(&agent)));
    assert!(pin("lan0").exists() && !pin(DEVICE_SIDE).exists());
    let (_, before) = program_on(&lab, "lan0").expect("it is still enforced");

    let (namespace, mac) = (&lab.gateway.namespace, lab.gateway.cell_mac);
    let inside = End { namespace, interface: DEVICE_SIDE, mac, mtu: 1500 };
    let other = lab.host("attacker");
    let outside = End { namespace: &other.namespace, interface: "spare", mac: other.mac, mtu: 1500 };
    link::veth(&inside, &outside).expect("a new NIC");
    wait_for("the new NIC to be attached", SOON, || Ok(program_on(&lab, DEVICE_SIDE)))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", status(&agent), agent.log()));
    assert_eq!(program_on(&lab, "lan0").map(|(_, program)| program), Some(before));
    assert!(pin("lan0").exists() && pin(DEVICE_SIDE).exists());
    warned(&agent, sentence).expect("it is still told");
}

#[test]
fn nics_that_swap_names_stay_enforced_with_or_without_an_agent() {
    let test = "nics_that_swap_names_stay_enforced_with_or_without_an_agent";
    let Some(lab) = require_lab(test) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let swap = || {
        rename(&lab, DEVICE_SIDE, "aside0");
        rename(&lab, UPLINK, DEVICE_SIDE);
        rename(&lab, "aside0", UPLINK);
    };
    let (_, first) = program_on(&lab, DEVICE_SIDE).expect("a program");
    swap();
    wait_for("both to be taken over", SOON, || {
        let now = status(&agent);
        let attached =
            now["interfaces"].as_array().expect("a list").iter().all(|i| i["attached"] == "native");
        Ok((attached && agent.log().contains("took over the program on `plant0`")).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {}\n{}", status(&agent), agent.log()));
    assert_eq!(status(&agent)["warnings"], json!([]), "{}", agent.log());
    assert_eq!([DEVICE_SIDE, UPLINK].map(|name| program_on(&lab, name).map(|p| p.1)), [Some(first); 2]);

    // The next agent finds the pins as its predecessor left them, under each other's names.
    agent.stop().expect("it stops");
    swap();
    let (code, said) = bulkhead(&lab, &["detach", "--interface", UPLINK, "--yes"]);
    assert!(code == 2 && said.contains("`plant0` is now called `cell0`"), "{code} {said}");
    agent.start().expect("it starts");
    assert_eq!(status(&agent)["warnings"], json!([]), "{}", agent.log());
    let [cell, plant] = [DEVICE_SIDE, UPLINK].map(|name| program_on(&lab, name).expect("a program").1);
    assert!(cell == plant && cell != first, "both run the new agent's program");
    assert_eq!(agent.log().matches("attached to `").count(), 2, "{}", agent.log());
    // Each pin leads to the NIC of its name.
    agent.stop().expect("it stops");
    let (code, said) = bulkhead(&lab, &["detach", "--interface", UPLINK, "--yes"]);
    assert_eq!((code, program_on(&lab, UPLINK)), (0, None), "{said}");
    assert_eq!(program_on(&lab, DEVICE_SIDE).map(|p| p.1), Some(cell));
}

/// What `status` says of an interface.
fn nic(agent: &Agent<'_>, name: &str) -> Value {
    let now = status(agent);
    let list = now["interfaces"].as_array().expect("a list");
    list.iter().find(|interface| interface["name"] == name).expect("it is configured").clone()
}

#[test]
fn changed_mtu_replaces_the_program_between_two_packets() {
    let test = "changed_mtu_replaces_the_program_between_two_packets";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    assert_eq!([DEVICE_SIDE, UPLINK].map(|name| nic(&agent, name)["program"].clone()), ["linear", "linear"]);
    assert_eq!((&nic(&agent, UPLINK)["mtu"], &nic(&agent, UPLINK)["rx_queues"]), (&json!(1500), &json!(1)));
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(1)).expect("a first poll");
    let (_, linear) = program_on(&lab, DEVICE_SIDE).expect("a program");
    for (mtu, program) in [(9000, "fragments"), (1500, "linear")] {
        link::mtu(&lab.gateway.namespace, DEVICE_SIDE, mtu).expect("another MTU");
        wait_for("the program for that MTU", SOON, || {
            Ok((nic(&agent, DEVICE_SIDE)["program"] == program).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", status(&agent), agent.log()));
        assert_eq!(nic(&agent, UPLINK)["program"], "linear");
        let (_, now) = program_on(&lab, DEVICE_SIDE).expect("a program");
        assert_eq!(now == linear, program == "linear");
        assert!(enforces(&lab));
    }
    assert_eq!(status(&agent)["warnings"], json!([]));
    let polls = poller.wait_for_more(20, SOON).expect("polls go on");
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
}

#[test]
fn jumbo_nics_get_the_program_for_fragments_and_a_new_agent_too() {
    let test = "jumbo_nics_get_the_program_for_fragments_and_a_new_agent_too";
    let Some(lab) = require_lab_with(test, 9000) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    for _ in 0..2 {
        agent.start().expect("it starts");
        let now = status(&agent);
        assert_eq!(now["warnings"], json!([]));
        assert_eq!(nic(&agent, DEVICE_SIDE)["program"], "fragments", "{now}");
        assert_eq!(nic(&agent, UPLINK)["program"], "fragments", "{now}");
        assert!(enforces(&lab));
        agent.kill9().expect("killed");
    }
}

#[test]
fn hidden_vlan_tags_are_a_problem_and_with_consent_the_agent_ends_it() {
    let test = "hidden_vlan_tags_are_a_problem_and_with_consent_the_agent_ends_it";
    let Some(lab) = require_lab(test) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    let consent = [("role = \"uplink\"", "role = \"uplink\"\nfix_offloads = true")];
    configure(&lab.gateway, "bulkhead.toml", &consent);
    for name in [DEVICE_SIDE, UPLINK] {
        link::vlan_stripping_on(&lab.gateway.namespace, name).expect("switched on");
    }
    agent.start().expect("it starts");
    let hidden = "`cell0` takes VLAN tags off before the program sees them (rxvlan)\nhint: ethtool -K cell0 rxvlan off";
    assert_eq!(status(&agent)["warnings"], json!([hidden]), "{}", agent.log());
    assert_eq!(nic(&agent, DEVICE_SIDE)["problem"], hidden);
    assert!(agent.log().contains("switched rxvlan of `plant0` off"), "{}", agent.log());
    let (code, said) = bulkhead(&lab, &["doctor"]);
    assert!(code == 1 && said.contains("fix: ethtool -K cell0 rxvlan off"), "{said}");
    assert!(!said.contains("ethtool -K plant0"), "{said}");
    let (code, said) = bulkhead(&lab, &["status"]);
    assert!(code == 1 && said.contains("hint: ethtool -K cell0 rxvlan off"), "{said}");
    // Whoever switches it on again behind the agent's back is heard of.
    link::vlan_stripping_on(&lab.gateway.namespace, UPLINK).expect("switched on");
    wait_for("the agent to switch it off again", SOON, || {
        Ok((agent.log().matches("switched rxvlan of `plant0` off").count() == 2).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {}", agent.log()));
}

#[test]
fn lost_news_are_counted_and_answered_by_a_full_look() {
    let test = "lost_news_are_counted_and_answered_by_a_full_look";
    let Some(lab) = require_lab(test) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    assert_eq!(status(&agent)["link_news_lost"], 0);
    let (Gateway { namespace, cell_mac, .. }, plc) = (&lab.gateway, lab.plc());
    // While the agent cannot listen, more happens than its socket holds (net.core.rmem_default), and a NIC goes.
    agent.signal(Signal::SIGSTOP).expect("it stops for a while");
    for mtu in 1300..1700 {
        link::mtu(namespace, "lo", mtu).expect("another MTU");
    }
    link::delete(namespace, DEVICE_SIDE).expect("deleted");
    let inside = End { namespace, interface: DEVICE_SIDE, mac: *cell_mac, mtu: 1500 };
    let outside = End { namespace: &plc.namespace, interface: plc.interface, mac: plc.mac, mtu: 1500 };
    link::veth(&inside, &outside).expect("a new NIC");
    assert_eq!(program_on(&lab, DEVICE_SIDE), None, "nobody is there to attach it");
    agent.signal(Signal::SIGCONT).expect("it goes on");
    wait_for("the new NIC to be attached", SOON, || Ok(program_on(&lab, DEVICE_SIDE)))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", status(&agent), agent.log()));
    let now = status(&agent);
    assert!(now["link_news_lost"].as_u64() > Some(0), "{now}");
    assert!(agent.log().contains("news of the interfaces were lost"), "{}", agent.log());
    let Output { stdout, .. } = agent.cli(&["status"]).expect("it runs");
    assert!(String::from_utf8_lossy(&stdout).contains("all were looked at instead"));
}
