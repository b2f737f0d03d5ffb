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
    Agent, Lab, Mac, Poller, Sniffer,
    link::{self, End},
    modbus::Plc,
    topology::{DEVICE_SIDE, MODBUS, UPLINK},
    wait::wait_for,
    wire::set_ipv4_checksum,
};
use gateway::{SOON, configure, enforces, status};
use router::{
    Line, PLC_V6, TTL, counted, counted_without_agent, edition, leaves_directly, policy, require_changes,
    require_router, run, speak_v6, started, told, wait_counted, wait_heard,
};
use serde_json::json;

/// ICMP to the HMI by type and code, and ICMPv6.
fn errors(lab: &Lab) -> Sniffer<(u8, u8)> {
    let hmi = lab.host("hmi");
    let sniffer = Sniffer::start(&hmi.namespace, hmi.interface, |seen| {
        let (protocol, ip) = seen.payload()?;
        let at = match protocol {
            0x0800 if ip.get(9) == Some(&1) => 20,
            0x86dd if ip.get(6) == Some(&58) => 40,
            _ => return None,
        };
        Some((*ip.get(at)?, *ip.get(at + 1)?))
    });
    sniffer.expect("a sniffer")
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
    let (gateway, plc) = (&lab.gateway.namespace, lab.plc());
    link::mtu(gateway, DEVICE_SIDE, 1400).expect("an MTU");
    wait_heard(&lab, &agent);
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
    // (RFC 3168 5) is no reason to do so.
    let payload = b"a bit of its identification has changed";
    let mut broken = line.frame_of(40_000, TTL, payload);
    broken[18] ^= 0x10;
    let (kind, direct) = (counted(&agent, "kind"), counted(&agent, "direct"));
    for _ in 0..20 {
        line.send(&broken);
    }
    wait_counted(&agent, "kind", kind + 20);
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
        link::permanent_neighbour(&lab.gateway.namespace, DEVICE_SIDE, lab.plc().ip, mac).expect("another");
        wait_heard(&lab, &agent);
        line.arrives_at(&frame, mac);
        // Twice: what is remembered now, too.
        line.arrives_at(&frame, mac);
    }
    assert!(counted(&agent, "direct") >= 20, "{:#}", told(&agent));
}

#[test]
fn neighbour_that_stays_what_it_was_makes_no_packet_ask_anew() {
    let test = "neighbour_that_stays_what_it_was_makes_no_packet_ask_anew";
    let Some(lab) = require_router(test) else { return };
    let agent = started(&lab, &[]);
    let (gateway, plc) = (&lab.gateway.namespace, lab.plc());
    let toggle = |mac| {
        link::stale_neighbour(gateway, DEVICE_SIDE, plc.ip, mac).expect("stale");
        link::permanent_neighbour(gateway, DEVICE_SIDE, plc.ip, mac).expect("permanent");
    };
    let news = || {
        wait_heard(&lab, &agent);
        counted(&agent, "route_news")
    };
    toggle(plc.mac);
    let before = news();
    for _ in 0..20 {
        toggle(plc.mac);
    }
    // Others may have been heard of.
    assert!(news() < before + 10, "{before}: {:#}", told(&agent));
    let before = news();
    for last in 1..=20 {
        toggle(Mac([2, 0xd, 0, 0, 0, last]));
    }
    assert!(news() >= before + 20, "{before}: {:#}", told(&agent));
}

#[test]
fn ways_are_forgotten_once_more_after_a_change() {
    let test = "ways_are_forgotten_once_more_after_a_change";
    let Some(lab) = require_router(test) else { return };
    let agent = started(&lab, &[]);
    for on in [true, false].repeat(5) {
        wait_heard(&lab, &agent);
        let (before, heard) = (edition(&lab), counted(&agent, "route_news"));
        link::blackhole(&lab.gateway.namespace, lab.plc().ip, on).expect("a route");
        wait_for("two editions", SOON, || {
            let heard = counted(&agent, "route_news") - heard;
            // One for each of the news, which may come together, and one behind them.
            Ok((heard > 0 && edition(&lab) >= before + 2).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: {before}, then {}\n{}", edition(&lab), agent.log()));
    }
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
        link::blackhole(gateway, plc, true).expect("a route");
        wait_heard(&lab, &agent);
        line.send(&lost);
        assert_eq!(wait_counted(&agent, "route", turn), turn);
        link::blackhole(gateway, plc, false).expect("no route");
        wait_heard(&lab, &agent);
        line.arrives(&frame);
    }
    assert_eq!(line.arrived(&lost), 0);
    leaves_directly(&agent, &line, &frame);
}

#[test]
fn what_is_not_plain_over_ipv6_is_answered_by_the_kernel_and_another_route_holds() {
    let test = "what_is_not_plain_over_ipv6_is_answered_by_the_kernel_and_another_route_holds";
    let Some(lab) = require_changes(test) else { return };
    speak_v6(&lab);
    let agent = started(&lab, &[]);
    let (line, errors) = (Line::new(&lab), errors(&lab));
    let frame = line.frame_v6(40_000);
    line.becomes_direct(&agent, &frame);
    let said = |what, kind| {
        errors.wait_until(what, SOON, |counts| counts.contains_key(&kind)).expect("it is said");
    };
    // RFC 4443 3.3, 3.2 and 3.1.
    let mut last = frame.clone();
    last[21] = 1;
    line.send(&last);
    said("time exceeded", (3, 0));
    assert_eq!(counted(&agent, "ttl"), 1);

    link::mtu(&lab.gateway.namespace, DEVICE_SIDE, 1400).expect("an MTU");
    wait_heard(&lab, &agent);
    let payload = [7; 1500];
    leaves_directly(&agent, &line, &line.frame_v6_of(40_000, &payload[..1400 - 48]));
    line.send(&line.frame_v6_of(40_000, &payload[..1400 - 47]));
    said("too big", (2, 0));
    assert_eq!(counted(&agent, "size"), 1);
    leaves_directly(&agent, &line, &frame);

    let lost = line.frame_v6_of(40_000, b"this one is swallowed");
    let route = |word| {
        let to = format!("{PLC_V6}/128");
        run(&lab, &["ip", "-6", "route", word, "blackhole", &to]).expect("a route");
        wait_heard(&lab, &agent);
    };
    for turn in 1..=5 {
        route("add");
        line.send(&lost);
        assert_eq!(wait_counted(&agent, "route", turn), turn);
        route("delete");
        line.arrives(&frame);
    }
    assert_eq!(line.arrived(&lost), 0);
    leaves_directly(&agent, &line, &frame);
}

#[test]
fn way_out_of_an_interface_that_does_not_forward_directly_is_the_kernels() {
    let test = "way_out_of_an_interface_that_does_not_forward_directly_is_the_kernels";
    let Some(lab) = require_router(test) else { return };
    let gateway = &lab.gateway.namespace;
    let end =
        |interface, last| End { namespace: gateway, interface, mac: Mac([2, 0xe, 0, 0, 0, last]), mtu: 1500 };
    link::veth(&end("spare0", 1), &end("spare1", 2)).expect("one more");
    let mut agent = Agent::new(&lab, &policy(&lab, &[])).expect("an agent");
    let direct = "role = \"uplink\"\nforward = \"direct\"";
    let both = format!("{direct}\n\n[interface.spare0]\n{direct}");
    configure(&lab.gateway, "bulkhead.toml", &[("role = \"uplink\"", &both)]);
    agent.start().expect("it starts");
    assert_eq!(status(&agent)["warnings"], json!([]));
    let line = Line::new(&lab);
    let frame = line.frame(40_000);
    for _ in 0..20 {
        line.arrives(&frame);
    }
    assert_eq!(wait_counted(&agent, "interface", 20), 20, "{:#}", told(&agent));
    assert_eq!(counted(&agent, "direct"), 0);
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
    link::down(&lab.gateway.namespace, DEVICE_SIDE).expect("down");
    wait_heard(&lab, &agent);
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
    link::stale_neighbour(gateway, DEVICE_SIDE, plc.ip, plc.mac).expect("a neighbour");
    wait_heard(&lab, &agent);
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
fn source_that_belongs_elsewhere_and_frames_for_another_are_left_to_the_kernel() {
    let test = "source_that_belongs_elsewhere_and_frames_for_another_are_left_to_the_kernel";
    let Some(lab) = require_router(test) else { return };
    // An address of the PLC's network, sent from the plant; and the gateway knows where it is.
    let elsewhere = Ipv4Addr::new(10, 20, 1, 99);
    let agent = started(&lab, &["10.20.1.99/32"]);
    let (line, gateway) = (Line::new(&lab), &lab.gateway.namespace);
    link::permanent_neighbour(gateway, DEVICE_SIDE, elsewhere, Mac([2, 0, 10, 20, 1, 99])).expect("it is");
    wait_heard(&lab, &agent);
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
