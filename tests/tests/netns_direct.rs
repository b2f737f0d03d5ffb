//! Direct forwarding: what a routed gateway sends on without its kernel arrives as if the kernel had sent it; what is not plain is the
//! kernel's; and a way that is no more is not taken, with an agent and without one.

mod gateway;
mod router;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bulkhead_common::forward::{LIFE, fate};
use bulkhead_tests::lab::{
    Agent, Lab, Mac, Poller, Sniffer, Topology, link,
    modbus::Plc,
    topology::{DEVICE_SIDE, MODBUS, UPLINK},
    wait::wait_for,
    wire::set_ipv4_checksum,
};
use gateway::{SOON, bulkhead, configure, enforces, require_topology, status};
use router::{
    Line, TTL, counted, counted_without_agent, forward_directly, require_changes, require_router, run,
    speak_v6, started, told, wait_counted, wait_news,
};
use serde_json::{Value, json};

/// ICMP to the HMI by type and code.
fn errors(lab: &Lab) -> Sniffer<(u8, u8)> {
    let hmi = lab.host("hmi");
    let sniffer = Sniffer::start(&hmi.namespace, hmi.interface, |seen| {
        let (0x0800, ip) = seen.payload()? else { return None };
        (ip.get(9) == Some(&1)).then(|| Some((*ip.get(20)?, *ip.get(21)?)))?
    });
    sniffer.expect("a sniffer")
}

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

/// Sends frames until one leaves directly, and then one hundred: each arrives as the kernel would send it, none by the kernel but those that keep
/// its neighbours fresh.
fn leaves_directly(agent: &Agent<'_>, line: &Line<'_>, frame: &[u8]) {
    line.becomes_direct(agent, frame);
    let counts = || ["direct", "refresh"].map(|word| counted(agent, word));
    let [direct, refresh] = counts();
    for _ in 0..100 {
        line.arrives(frame);
    }
    let [direct, refresh] = [counts()[0] - direct, counts()[1] - refresh];
    assert!(direct + refresh >= 100 && direct >= 50, "{direct} direct, {refresh} besides: {:#}", told(agent));
}

#[test]
fn conversation_leaves_directly_and_what_is_denied_does_not() {
    let test = "conversation_leaves_directly_and_what_is_denied_does_not";
    let Some(lab) = require_router(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let agent = started(&lab, &[]);
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(5)).expect("a first poll");
    poller.wait_for_more(200, SOON).expect("polls go on");
    // Both ways.
    assert!(counted(&agent, "direct") >= 300, "{:#}", told(&agent));
    assert!(enforces(&lab));
    let polls = poller.wait_for_more(10, SOON).expect("polls go on");
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
}

#[test]
fn frame_that_leaves_directly_is_the_one_that_the_kernel_would_send() {
    let test = "frame_that_leaves_directly_is_the_one_that_the_kernel_would_send";
    let Some(lab) = require_router(test) else { return };
    speak_v6(&lab);
    let agent = started(&lab, &[]);
    let line = Line::new(&lab);
    for frame in [line.frame(40_000), line.frame_v6(40_000)] {
        leaves_directly(&agent, &line, &frame);
    }
    for (interface, forward) in [(DEVICE_SIDE, "direct"), (UPLINK, "direct")] {
        let interfaces = status(&agent)["interfaces"].clone();
        let found = interfaces.as_array().and_then(|all| all.iter().find(|one| one["name"] == interface));
        assert_eq!(found.expect("it is there")["forward"], forward);
    }
}

#[test]
fn what_is_not_plain_is_answered_or_forwarded_by_the_kernel() {
    let test = "what_is_not_plain_is_answered_or_forwarded_by_the_kernel";
    let Some(lab) = require_router(test) else { return };
    let agent = started(&lab, &[]);
    let (line, errors) = (Line::new(&lab), errors(&lab));
    let frame = line.frame(40_000);
    line.becomes_direct(&agent, &frame);

    line.send(&line.frame_of(40_000, 1, b"its time is over"));
    errors.wait_until("time exceeded", SOON, |counts| counts.contains_key(&(11, 0))).expect("it is said");
    assert_eq!(counted(&agent, "ttl"), 1);

    // As large as it may be, and one octet more than the way takes.
    let heard = counted(&agent, "route_news");
    let (gateway, plc) = (&lab.gateway.namespace, lab.plc());
    link::mtu(gateway, DEVICE_SIDE, 1400).expect("an MTU");
    wait_news(&agent, heard);
    let payload = [7; 1500];
    let fits = line.frame_of(40_000, TTL, &payload[..1400 - 28]);
    leaves_directly(&agent, &line, &fits);
    line.send(&line.frame_of(40_000, TTL, &payload[..1400 - 27]));
    errors
        .wait_until("fragmentation needed", SOON, |counts| counts.contains_key(&(3, 4)))
        .expect("it is said");
    assert_eq!(counted(&agent, "size"), 1);
    // The small ones of its flow are not held up.
    leaves_directly(&agent, &line, &frame);

    // Nobody is sent what is not as it was sent: the kernel drops it, and counts it (RFC 1812 5.2.2). Congestion that a router has marked
    // (RFC 3168 5) makes no other way of it.
    let payload = b"a bit of its identification has changed";
    let mut broken = line.frame_of(40_000, TTL, payload);
    broken[18] ^= 0x10;
    let (kind, direct) = (counted(&agent, "kind"), counted(&agent, "direct"));
    for _ in 0..20 {
        line.send(&broken);
    }
    assert_eq!(wait_counted(&agent, "kind", kind + 20), kind + 20);
    assert_eq!(counted(&agent, "direct"), direct);
    let mut marked = frame.clone();
    marked[15] |= 3;
    set_ipv4_checksum(&mut marked);
    leaves_directly(&agent, &line, &marked);
    assert_eq!(line.arrived_with(payload), 0);

    let local = counted(&agent, "not-forwarded");
    let closed = SocketAddr::from((lab.gateway.plant_ip, 22));
    let hmi = &lab.host("hmi").namespace;
    let refused = hmi.run(|| TcpStream::connect_timeout(&closed, SOON));
    assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionRefused));
    assert!(counted(&agent, "not-forwarded") > local, "{:#}", told(&agent));
    assert_eq!(plc.ip, *lab.modbus().ip());
}

#[test]
fn another_hardware_address_of_the_next_hop_holds_from_the_next_packet_on() {
    let test = "another_hardware_address_of_the_next_hop_holds_from_the_next_packet_on";
    let Some(lab) = require_router(test) else { return };
    let agent = started(&lab, &[]);
    let line = Line::new(&lab);
    let frame = line.frame(40_000);
    line.becomes_direct(&agent, &frame);
    for last in 1..=20 {
        let mac = Mac([2, 0xd, 0, 0, 0, last]);
        let heard = counted(&agent, "route_news");
        link::permanent_neighbour(&lab.gateway.namespace, DEVICE_SIDE, lab.plc().ip, mac).expect("another");
        wait_news(&agent, heard);
        line.arrives_at(&frame, mac);
        // Twice: what is remembered now, too.
        line.arrives_at(&frame, mac);
    }
    assert!(counted(&agent, "direct") >= 20, "{:#}", told(&agent));
}

#[test]
fn another_route_holds_from_the_next_packet_on() {
    let test = "another_route_holds_from_the_next_packet_on";
    let Some(lab) = require_router(test) else { return };
    let agent = started(&lab, &[]);
    let line = Line::new(&lab);
    let (gateway, plc) = (&lab.gateway.namespace, lab.plc().ip);
    let (frame, lost) = (line.frame(40_000), line.frame_of(40_000, TTL, b"this one is swallowed"));
    line.becomes_direct(&agent, &frame);
    for turn in 1..=10 {
        let heard = counted(&agent, "route_news");
        link::blackhole(gateway, plc, true).expect("a route");
        wait_news(&agent, heard);
        line.send(&lost);
        assert_eq!(wait_counted(&agent, "route", turn), turn);
        let heard = counted(&agent, "route_news");
        link::blackhole(gateway, plc, false).expect("no route");
        wait_news(&agent, heard);
        line.arrives(&frame);
    }
    assert_eq!(line.arrived(&lost), 0);
    leaves_directly(&agent, &line, &frame);
}

#[test]
fn without_an_agent_a_route_that_is_no_more_is_taken_for_a_second_at_most() {
    let test = "without_an_agent_a_route_that_is_no_more_is_taken_for_a_second_at_most";
    let Some(lab) = require_router(test) else { return };
    let mut agent = started(&lab, &[]);
    let line = Line::new(&lab);
    let frame = line.frame(40_000);
    line.becomes_direct(&agent, &frame);
    agent.kill9().expect("killed");
    let direct = counted_without_agent(&lab, fate::DIRECT);
    line.arrives(&frame);
    line.arrives(&frame);
    assert!(counted_without_agent(&lab, fate::DIRECT) > direct, "it goes on without an agent");

    link::blackhole(&lab.gateway.namespace, lab.plc().ip, true).expect("a route");
    // Its time, and a tick more: after that not one packet takes it, however long this machine is busy with other things.
    let over = Instant::now() + Duration::from_nanos(LIFE) + Duration::from_millis(100);
    wait_for("the time of the way to be over", SOON, || {
        line.send(&frame);
        Ok((Instant::now() > over).then_some(()))
    })
    .expect("it passes");
    // What was sent before has been counted when another one is.
    wait_for("the kernel to be asked again", SOON, || {
        line.send(&frame);
        Ok((counted_without_agent(&lab, fate::ROUTE) > 0).then_some(()))
    })
    .expect("it is asked");
    let direct = counted_without_agent(&lab, fate::DIRECT);
    let asked = counted_without_agent(&lab, fate::ROUTE);
    wait_for("packets to be counted", SOON, || {
        line.send(&frame);
        Ok((counted_without_agent(&lab, fate::ROUTE) >= asked + 20).then_some(()))
    })
    .expect("they are");
    assert_eq!(counted_without_agent(&lab, fate::DIRECT), direct);
    link::blackhole(&lab.gateway.namespace, lab.plc().ip, false).expect("no route");
    let direct = counted_without_agent(&lab, fate::DIRECT);
    wait_for("the way to be taken again", SOON, || {
        line.send(&frame);
        Ok((counted_without_agent(&lab, fate::DIRECT) > direct).then_some(()))
    })
    .expect("it is taken");
    agent.start().expect("it starts");
    leaves_directly(&agent, &line, &frame);
}

#[test]
fn link_that_is_down_swallows_nothing_that_the_kernel_would_answer() {
    let test = "link_that_is_down_swallows_nothing_that_the_kernel_would_answer";
    let Some(lab) = require_router(test) else { return };
    let agent = started(&lab, &[]);
    let (line, errors) = (Line::new(&lab), errors(&lab));
    let frame = line.frame(40_000);
    line.becomes_direct(&agent, &frame);
    let heard = counted(&agent, "route_news");
    link::down(&lab.gateway.namespace, DEVICE_SIDE).expect("down");
    wait_news(&agent, heard);
    line.send(&frame);
    // The kernel has no route to the network any more, and says so.
    errors.wait_until("unreachable", SOON, |counts| counts.contains_key(&(3, 0))).expect("it is said");
    assert!(counted(&agent, "not-forwarded") > 0, "{:#}", told(&agent));
    link::up(&lab.gateway.namespace, DEVICE_SIDE).expect("up");
    // Others: the kernel keeps some of them until it knows the neighbour again.
    let first = line.frame(40_001);
    wait_for("the way to be there again", SOON, || {
        line.send(&first);
        Ok((line.arrived(&first) > 0).then_some(()))
    })
    .expect("it comes back");
    leaves_directly(&agent, &line, &frame);
}

#[test]
fn neighbour_that_is_sent_to_directly_is_looked_after_by_the_kernel() {
    let test = "neighbour_that_is_sent_to_directly_is_looked_after_by_the_kernel";
    let Some(lab) = require_router(test) else { return };
    let agent = started(&lab, &[]);
    let line = Line::new(&lab);
    let frame = line.frame(40_000);
    leaves_directly(&agent, &line, &frame);
    let (gateway, plc) = (&lab.gateway.namespace, lab.plc());
    let heard = counted(&agent, "route_news");
    link::stale_neighbour(gateway, DEVICE_SIDE, plc.ip, plc.mac).expect("a neighbour");
    wait_news(&agent, heard);
    assert!(link::is_stale(gateway, plc.ip).expect("it is told"));
    let direct = counted(&agent, "direct");
    wait_for("the kernel to ask for the neighbour", SOON, || {
        line.arrives(&frame);
        Ok((!link::is_stale(gateway, plc.ip)?).then_some(()))
    })
    .expect("it asks");
    assert!(counted(&agent, "refresh") > 1, "{:#}", told(&agent));
    line.becomes_direct(&agent, &frame);
    assert!(counted(&agent, "direct") > direct, "{:#}", told(&agent));
}

#[test]
fn each_neighbour_of_one_hardware_address_is_looked_after() {
    let test = "each_neighbour_of_one_hardware_address_is_looked_after";
    let Some(lab) = require_router(test) else { return };
    speak_v6(&lab);
    let agent = started(&lab, &[]);
    let line = Line::new(&lab);
    line.becomes_direct(&agent, &line.frame(40_000));
    let refreshed = counted(&agent, "refresh");
    // To the kernel it is another neighbour, however lately the first one was sent something.
    line.becomes_direct(&agent, &line.frame_v6(40_000));
    assert!(counted(&agent, "refresh") > refreshed, "{:#}", told(&agent));
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
fn source_that_belongs_elsewhere_and_frames_for_another_are_left_to_the_kernel() {
    let test = "source_that_belongs_elsewhere_and_frames_for_another_are_left_to_the_kernel";
    let Some(lab) = require_router(test) else { return };
    // An address of the PLC's network, sent from the plant; and the gateway knows where it is.
    let elsewhere = Ipv4Addr::new(10, 20, 1, 99);
    let agent = started(&lab, &["10.20.1.99/32"]);
    let (line, gateway) = (Line::new(&lab), &lab.gateway.namespace);
    let heard = counted(&agent, "route_news");
    link::permanent_neighbour(gateway, DEVICE_SIDE, elsewhere, Mac([2, 0, 10, 20, 1, 99])).expect("it is");
    wait_news(&agent, heard);
    let mut frame = line.frame(40_000);
    frame[26..30].copy_from_slice(&elsewhere.octets());
    // No checksum (RFC 768).
    frame[40..42].fill(0);
    set_ipv4_checksum(&mut frame);
    for turn in 1..=2 {
        line.arrives(&frame);
        assert_eq!(counted(&agent, "way-back"), turn, "{:#}", told(&agent));
    }
    // Now the kernel has something against it.
    for place in ["all", UPLINK] {
        link::set(gateway, &format!("net/ipv4/conf/{place}/rp_filter"), "1").expect("set");
    }
    line.send(&frame);
    // Another's hardware address, for which the switch asks all its ports.
    let mut stray = line.frame(40_001);
    stray[5] ^= 0x40;
    line.send(&stray);
    assert_eq!(wait_counted(&agent, "way-back", 4), 4);
    line.arrives(&line.frame(40_002));
    assert_eq!((line.arrived(&frame), line.arrived(&stray)), (2, 0));
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
