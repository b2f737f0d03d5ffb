//! Direct forwarding ends where the kernel would do something else with packets, or where they could not be sent; `status` and `doctor` say so.

mod gateway;
mod router;

use bulkhead_common::forward::fate;
use bulkhead_tests::lab::{
    Agent, Lab, Topology, link,
    modbus::Plc,
    topology::{DEVICE_SIDE, MODBUS, UPLINK},
    wait::wait_for,
};
use gateway::{SOON, bulkhead, configure, enforces, require_topology, status};
use router::{
    Line, counted, counted_without_agent, forward_directly, leaves_directly, require_changes, require_router,
    run, speak_v6, started, told, wait_counted,
};
use serde_json::{Value, json};

/// What `doctor` says of direct forwarding: how bad it is and what was seen.
fn doctor(lab: &Lab) -> Vec<String> {
    let (_, said) = bulkhead(lab, &["doctor", "--json"]);
    // What is said of the configuration itself comes behind it.
    let mut values = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let all = values.next().and_then(Result::ok).unwrap_or_else(|| panic!("{said}"));
    let of_it = all.as_array().expect("a list").iter().filter(|one| one["subject"] == "direct forwarding");
    let told = |one: &Value| format!("{} {}", one["state"], one["seen"]).replace('"', "");
    of_it.map(told).collect()
}

#[test]
fn kernel_that_does_not_forward_ipv6_gets_it() {
    let test = "kernel_that_does_not_forward_ipv6_gets_it";
    let Some(lab) = require_router(test) else { return };
    speak_v6(&lab);
    let agent = started(&lab, &[]);
    let (line, gateway) = (Line::new(&lab), &lab.gateway.namespace);
    let (frame, frame_v6) = (line.frame(40_000), line.frame_v6(40_000));
    line.becomes_direct(&agent, &frame_v6);
    link::set(gateway, "net/ipv6/conf/all/forwarding", "0").expect("set");
    // It forwards nothing by these.
    for interface in [DEVICE_SIDE, UPLINK] {
        link::set(gateway, &format!("net/ipv6/conf/{interface}/forwarding"), "1").expect("set");
    }
    wait_for("IPv6 to be the kernel's", SOON, || {
        line.send(&frame_v6);
        Ok((counted(&agent, "route") > 0).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}\n{}", told(&agent), agent.log()));
    // What was sent before has arrived by now.
    line.becomes_direct(&agent, &frame);
    let [direct, kernel] = ["direct", "route"].map(|word| counted(&agent, word));
    let arrived = line.arrived(&frame_v6);
    for _ in 0..20 {
        line.send(&frame_v6);
    }
    assert!(wait_counted(&agent, "route", kernel + 20) >= kernel + 20);
    assert_eq!(counted(&agent, "direct"), direct);
    line.becomes_direct(&agent, &frame);
    assert_eq!(line.arrived(&frame_v6), arrived);
    link::set(gateway, "net/ipv6/conf/all/forwarding", "1").expect("set");
    line.becomes_direct(&agent, &frame_v6);
}

#[test]
fn ports_of_a_bridge_hand_everything_to_the_kernel_and_say_so() {
    let test = "ports_of_a_bridge_hand_everything_to_the_kernel_and_say_so";
    let Some(lab) = require_topology(test, Topology::Bridged, 1500) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &gateway::policy(&lab)).expect("an agent");
    forward_directly(&lab);
    agent.start().expect("it starts");
    let said = status(&agent);
    let why = "hands everything to the kernel, and not directly on: it is a port of another interface";
    assert_eq!(said["warnings"], json!([format!("`{DEVICE_SIDE}` {why}"), format!("`{UPLINK}` {why}")]));
    assert!(enforces(&lab));
    let counts = told(&agent);
    assert_eq!((counts["direct"].clone(), counts["kernel"].clone()), (json!(0), json!({})), "{counts:#}");
}

#[test]
fn ipsec_policies_end_direct_forwarding() {
    let test = "ipsec_policies_end_direct_forwarding";
    let Some(lab) = require_changes(test) else { return };
    let agent = started(&lab, &[]);
    let line = Line::new(&lab);
    let frame = line.frame(40_000);
    leaves_directly(&agent, &line, &frame);
    let doctor = || doctor(&lab);
    assert_eq!(doctor(), ["ok between cell0, plant0, of IPv4 only"]);

    // What is written and what runs are two things until the agent is restarted.
    let [direct, kernel] = ["direct", "kernel"].map(|word| format!("forward = \"{word}\""));
    configure(&lab.gateway, "bulkhead.toml", &[(&direct, &kernel)]);
    let other = "warning configured for none; the running agent has it on cell0, plant0";
    assert_eq!(doctor(), [other]);
    configure(&lab.gateway, "bulkhead.toml", &[(&kernel, &direct)]);

    // What the gateway itself is told and says is not forwarded.
    let own = "table inet own { chain in { type filter hook input priority 0; }; chain out { type filter hook output priority 0; }; }";
    run(&lab, &["nft", own]).expect("a chain");
    assert_eq!(doctor(), ["ok between cell0, plant0, of IPv4 only"]);

    let policy = ["src", "192.0.2.1", "dst", "192.0.2.2", "dir", "out"];
    run(&lab, &[&["ip", "xfrm", "policy", "add"][..], &policy].concat()).expect("a policy");
    let warnings = |status: &Value| status["warnings"].as_array().map_or(0, Vec::len);
    let warned = wait_for("warnings", SOON, || Ok(Some(status(&agent)).filter(|now| warnings(now) == 2)));
    let warned = warned.unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    let wanted = "`cell0` hands everything to the kernel, and not directly on: the kernel has IPsec policies (`ip xfrm policy`)";
    assert_eq!(warned["warnings"][0], wanted);
    assert_eq!(warned["interfaces"][0]["forward"], "kernel");
    let ipsec = "problem nothing leaves directly: the kernel has IPsec policies (`ip xfrm policy`)";
    assert!(doctor().contains(&ipsec.to_owned()), "{:?}", doctor());
    let direct = counted(&agent, "direct");
    for _ in 0..20 {
        line.arrives(&frame);
    }
    assert_eq!(counted(&agent, "direct"), direct);
    run(&lab, &[&["ip", "xfrm", "policy", "delete"][..], &policy].concat()).expect("no policy");
    line.becomes_direct(&agent, &frame);
    assert_eq!(status(&agent)["warnings"], json!([]));
}

#[test]
fn doctor_knows_what_leaves_directly_and_what_does_not_see_it() {
    let test = "doctor_knows_what_leaves_directly_and_what_does_not_see_it";
    let Some(lab) = require_changes(test) else { return };
    let mut agent = Agent::new(&lab, &gateway::policy(&lab)).expect("an agent");
    forward_directly(&lab);
    let (gateway, v4) = (&lab.gateway.namespace, "ok between cell0, plant0, of IPv4 only");
    let set = |key: &str, value| link::set(gateway, key, value).expect("set");
    assert_eq!(doctor(&lab), [v4]);
    // What the kernel does not forward at all has a finding of its own.
    set("net/ipv4/ip_forward", "0");
    assert_eq!(doctor(&lab), [""; 0]);
    set("net/ipv6/conf/all/forwarding", "1");
    assert_eq!(doctor(&lab), ["ok between cell0, plant0, of IPv6 only"]);
    set("net/ipv4/ip_forward", "1");
    assert_eq!(doctor(&lab), ["ok between cell0, plant0"]);
    let off = "forwarding is off on `cell0`, so";
    set("net/ipv6/conf/cell0/forwarding", "0");
    set("net/ipv4/conf/cell0/forwarding", "0");
    let v6 = format!("warning IPv6 {off} what comes there goes through the kernel");
    assert_eq!(doctor(&lab), [format!("warning IPv4 {off} nothing that comes there is sent on"), v6]);
    set("net/ipv4/conf/cell0/forwarding", "1");
    set("net/ipv6/conf/all/forwarding", "0");
    assert_eq!(doctor(&lab), [v4]);

    let tc = |words: &[&str]| run(&lab, &[&["tc", "qdisc"][..], words].concat()).expect("traffic control");
    tc(&["add", "dev", "plant0", "root", "pfifo"]);
    tc(&["add", "dev", "plant0", "clsact"]);
    let seen = "traffic control on `plant0` does not see what leaves directly: pfifo, clsact";
    assert_eq!(doctor(&lab), [format!("warning {seen}")]);
    tc(&["delete", "dev", "plant0", "clsact"]);
    tc(&["delete", "dev", "plant0", "root"]);
    let ip = |words: &[&str]| run(&lab, &[&["ip", "link"][..], words].concat()).expect("a bridge");
    ip(&["add", "bridge9", "type", "bridge"]);
    ip(&["set", "plant0", "master", "bridge9"]);
    let seen = "`plant0` is a port of another interface, so what comes there goes through the kernel";
    assert_eq!(doctor(&lab), [format!("problem {seen}")]);
    ip(&["set", "plant0", "nomaster"]);
    ip(&["delete", "bridge9"]);
    assert_eq!(doctor(&lab), [v4]);
    // What comes in there meets a chain, whose family is not that of a device.
    let chain = "table inet own { chain way { type filter hook ingress device cell0 priority 0; }; }";
    run(&lab, &["nft", chain]).expect("a chain");
    let met = "problem nothing leaves directly: a firewall has chains that forwarded packets meet";
    assert_eq!(doctor(&lab), [format!("{met}: inet own way")]);
    run(&lab, &["nft", "delete table inet own"]).expect("no chain");

    // An interface that is not there, and one that is alone.
    configure(&lab.gateway, "bulkhead.toml", &[("[interface.plant0]", "[interface.none]")]);
    assert_eq!(doctor(&lab), [""; 0]);
    let direct = "role = \"uplink\"\nforward = \"direct\"";
    configure(&lab.gateway, "bulkhead.toml", &[("[interface.none]", "[interface.plant0]"), (direct, "")]);
    let why = "forwards directly, and a way leads from one such interface to another";
    assert_eq!(doctor(&lab), [format!("warning only `cell0` {why}")]);
    agent.start().expect("it starts");
    let alone = "no other interface forwards directly";
    let said = format!("`cell0` hands everything to the kernel, and not directly on: {alone}");
    assert_eq!(status(&agent)["warnings"], json!([said]));
}

#[test]
fn whatever_the_kernel_sends_elsewhere_ends_direct_forwarding() {
    let test = "whatever_the_kernel_sends_elsewhere_ends_direct_forwarding";
    let Some(lab) = require_changes(test) else { return };
    let agent = started(&lab, &[]);
    let line = Line::new(&lab);
    let frame = line.frame(40_000);
    let nat = "table ip own { chain out { type nat hook postrouting priority 100; }; }";
    let forward = "table inet own { chain way { type filter hook forward priority 0; }; }";
    for (on, off, passes, why) in [
        (
            &["nft", nat][..],
            &["nft", "delete table ip own"][..],
            true,
            "a firewall has chains that forwarded packets meet: ip own out",
        ),
        (
            &["nft", forward],
            &["nft", "delete table inet own"],
            true,
            "a firewall has chains that forwarded packets meet: inet own way",
        ),
        (
            &["ip", "rule", "add", "fwmark", "1", "lookup", "main"],
            &["ip", "rule", "delete", "fwmark", "1", "lookup", "main"],
            true,
            "rules choose routes by the mark of a packet (`ip rule`)",
        ),
        (
            &["ip", "xfrm", "policy", "setdefault", "fwd", "block"],
            &["ip", "xfrm", "policy", "setdefault", "fwd", "accept"],
            false,
            "IPsec blocks what has no policy (`ip xfrm policy getdefault`)",
        ),
    ] {
        line.becomes_direct(&agent, &frame);
        run(&lab, on).expect("it is there");
        let says = |name| format!("`{name}` hands everything to the kernel, and not directly on: {why}");
        let wanted = json!([says(DEVICE_SIDE), says(UPLINK)]);
        wait_for(why, SOON, || Ok((status(&agent)["warnings"] == wanted).then_some(())))
            .unwrap_or_else(|error| panic!("{error}: {:#}", status(&agent)["warnings"]));
        let (direct, arrived) = (counted(&agent, "direct"), line.arrived(&frame));
        for _ in 0..20 {
            if passes { line.arrives(&frame) } else { line.send(&frame) }
        }
        assert_eq!(counted(&agent, "direct"), direct, "{why}");
        run(&lab, off).expect("it is gone");
        wait_for("no warnings", SOON, || Ok((status(&agent)["warnings"] == json!([])).then_some(())))
            .unwrap_or_else(|error| panic!("{error}: {:#}", status(&agent)["warnings"]));
        // What was sent before has arrived when another one has.
        line.becomes_direct(&agent, &line.frame(40_001));
        assert_eq!(line.arrived(&frame), arrived + if passes { 20 } else { 0 }, "{why}");
    }
}

#[test]
fn interface_without_a_program_is_sent_nothing_directly() {
    let test = "interface_without_a_program_is_sent_nothing_directly";
    let Some(lab) = require_router(test) else { return };
    let mut agent = started(&lab, &[]);
    let line = Line::new(&lab);
    let frame = line.frame(40_000);
    line.becomes_direct(&agent, &frame);
    agent.stop().expect("it stops");
    let (code, said) = bulkhead(&lab, &["detach", "--interface", DEVICE_SIDE, "--yes"]);
    assert_eq!(code, 0, "{said}");
    let [direct, kernel] = [fate::DIRECT, fate::INTERFACE].map(|fate| counted_without_agent(&lab, fate));
    for _ in 0..20 {
        line.arrives(&frame);
    }
    assert_eq!(counted_without_agent(&lab, fate::DIRECT), direct);
    // Its way in says that it goes to the kernel, before anything is asked.
    assert_eq!(counted_without_agent(&lab, fate::INTERFACE), kernel);
    agent.start().expect("it starts");
    leaves_directly(&agent, &line, &frame);
}
