//! Everything that a plant says passes an enforcing gateway, in both families and below IP, and not one packet of it is
//! dropped. Leave out one rule or one switch, and exactly what it is for fails, with the reason in the log.

mod plant;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket},
    time::Duration,
};

use bulkhead_tests::lab::{
    Agent, Lab, Sniffer, Topology, frames, link,
    modbus::{Plc, Write, write_once},
    topology::{Host, MODBUS},
    wire::RawSender,
};
use etherparse::PacketBuilder;
use plant::{
    SILENCE, SOON, Said, apply, configure, deliver, require_lab,
    said::{RULES, infrastructure, listed, policy, unlisted},
    settled,
};
use serde_json::Value;

/// A conversation between the hosts' own stacks, and the rule that lets it.
struct Talk {
    name: &'static str,
    rule: &'static str,
    run: fn(&Lab, Duration) -> bool,
}

const TALKS: [Talk; 9] = [
    Talk { name: "Modbus", rule: "modbus", run: |lab, within| modbus(lab, lab.plc().ip.into(), within) },
    Talk { name: "Modbus over IPv6", rule: "modbus", run: |lab, w| modbus(lab, lab.plc().ip6().into(), w) },
    Talk {
        name: "Modbus on the link",
        rule: "modbus",
        run: |lab, w| modbus(lab, lab.plc().link_local().into(), w),
    },
    Talk { name: "ping", rule: "ping", run: ping },
    Talk { name: "ping over IPv6", rule: "ping", run: ping_v6 },
    Talk { name: "DNS", rule: "dns", run: |lab, w| asks(lab, lab.host("historian").ip.into(), 53, w) },
    Talk {
        name: "DNS over IPv6",
        rule: "dns",
        run: |lab, w| asks(lab, lab.host("historian").ip6().into(), 53, w),
    },
    Talk { name: "NTP", rule: "ntp", run: |lab, w| asks(lab, lab.host("historian").ip.into(), 123, w) },
    Talk {
        name: "NTP over IPv6",
        rule: "ntp",
        run: |lab, w| asks(lab, lab.host("historian").ip6().into(), 123, w),
    },
];

fn place(host: &Host, address: IpAddr, port: u16, at: &Host) -> SocketAddr {
    if address == host.link_local() {
        let scope = link::index(&at.namespace, at.interface).expect("it is there");
        return SocketAddrV6::new(host.link_local(), port, 0, scope).into();
    }
    SocketAddr::new(address, port)
}

/// The HMI writes a register.
fn modbus(lab: &Lab, address: IpAddr, within: Duration) -> bool {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let _server = Plc::start_at(plc, place(plc, address, MODBUS, plc)).expect("a server");
    let written = write_once(hmi, place(plc, address, MODBUS, hmi), 7, 1, within);
    written.expect("a try") == Write::Written
}

/// The PLC asks the historian a question in one datagram.
fn asks(lab: &Lab, server: IpAddr, port: u16, within: Duration) -> bool {
    let (plc, historian) = (lab.plc(), lab.host("historian"));
    let here: IpAddr = if server.is_ipv4() { plc.ip.into() } else { plc.ip6().into() };
    let bind = |host: &Host, address: SocketAddr| host.namespace.run(|| UdpSocket::bind(address));
    let server = bind(historian, (server, port).into()).expect("a server");
    let client = bind(plc, (here, 0).into()).expect("a client");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(within)).expect("a time");
    }
    let mut heard = [0; 8];
    let mut exchange = || -> io::Result<()> {
        client.send_to(b"question", server.local_addr()?)?;
        let (len, from) = server.recv_from(&mut heard)?;
        server.send_to(&heard[..len], from)?;
        client.recv(&mut heard).map(drop)
    };
    exchange().is_ok()
}

/// The PLC's stack answers the HMI's echo request.
fn ping(lab: &Lab, within: Duration) -> bool {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let builder = PacketBuilder::ethernet2(hmi.mac.0, plc.mac.0)
        .ipv4(hmi.ip.octets(), plc.ip.octets(), 64)
        .icmpv4_echo_request(7, 1);
    let mut request = Vec::new();
    builder.write(&mut request, b"who is there").expect("a vector grows");
    // Protocol 1 at 9, type 0 at 20.
    is_answered(hmi, &request, within, |ethertype, packet| {
        ethertype == 0x0800 && packet.get(9) == Some(&1) && packet.get(20) == Some(&0)
    })
}

fn ping_v6(lab: &Lab, within: Duration) -> bool {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let ends = ((hmi.mac, hmi.ip6()), (plc.mac, plc.ip6()));
    let request = frames::icmp_v6(ends.0, ends.1, 64, 128, [0, 7, 0, 1], b"who is there");
    is_answered(hmi, &request, within, |ethertype, packet| {
        ethertype == 0x86dd && packet.get(6) == Some(&58) && packet.get(40) == Some(&129)
    })
}

fn is_answered(host: &Host, request: &[u8], within: Duration, is_answer: fn(u16, &[u8]) -> bool) -> bool {
    let sniffer = Sniffer::start(&host.namespace, host.interface, move |seen| {
        let (ethertype, packet) = seen.payload()?;
        (!seen.outgoing && is_answer(ethertype, packet)).then_some(())
    });
    let sniffer = sniffer.expect("a sniffer");
    let sender = RawSender::new(&host.namespace, host.interface).expect("a packet socket");
    sender.send(request).expect("sent");
    sniffer.wait_until("an answer", within, |seen| !seen.is_empty()).is_ok()
}

/// Which families' reports of membership arrive when the PLC's stack joins a group.
fn joins(lab: &Lab, number: u8, awaited: bool) -> BTreeSet<&'static str> {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let mac = plc.mac;
    let sniffer = Sniffer::start(&hmi.namespace, hmi.interface, move |seen| {
        let (ethertype, packet) = seen.payload().filter(|_| seen.src_mac() == Some(mac))?;
        // IGMP by its protocol; an MLD report behind eight bytes of hop-by-hop options.
        match ethertype {
            0x0800 if packet.get(9) == Some(&2) => Some("IGMP report"),
            0x86dd if packet.get(6) == Some(&0) && packet.get(48) == Some(&143) => Some("MLD report"),
            _ => None,
        }
    });
    let sniffer = sniffer.expect("a sniffer");
    let index = link::index(&plc.namespace, plc.interface).expect("it is there");
    let (_v4, _v6) = plc.namespace.run(|| {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        v4.join_multicast_v4(&Ipv4Addr::new(239, 1, 1, number), &plc.ip).expect("joined");
        let v6 = UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)).expect("a socket");
        let group = std::net::Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 1, u16::from(number));
        v6.join_multicast_v6(&group, index).expect("joined");
        (v4, v6)
    });
    // Whether the stack has said it is seen on its own side.
    let within = if awaited { SOON } else { SILENCE };
    drop(sniffer.wait_until("reports", within, |seen| seen.len() == 2));
    sniffer.stop().expect("no frame was missed").into_keys().collect()
}

/// What was heard, and what should have been.
fn hears(lab: &Lab, number: u8, is_allowed: impl Fn(&str) -> bool, with_talks: bool) {
    let mut all: Vec<(&'static str, Said)> = infrastructure(lab);
    all.extend(listed(lab));
    let expected: BTreeSet<&str> =
        all.iter().filter(|(by, _)| is_allowed(by)).map(|(_, said)| said.name).collect();
    let mut frames: Vec<Said> = all.into_iter().map(|(_, said)| said).collect();
    frames.push(unlisted(lab));
    assert_eq!(deliver(lab, &frames, &expected), expected);
    let is_on = is_allowed("multicast_membership");
    let reports = if is_on { BTreeSet::from(["IGMP report", "MLD report"]) } else { BTreeSet::new() };
    assert_eq!(joins(lab, number, is_on), reports);
    for Talk { name, rule, run } in TALKS.iter().filter(|_| with_talks) {
        let expected = is_allowed(rule);
        assert_eq!(run(lab, if expected { SOON } else { SILENCE }), expected, "{name}");
    }
}

/// The reasons of some records, EtherCAT's own left out: it is told every time.
fn reasons<'a>(records: impl IntoIterator<Item = &'a Value>) -> BTreeSet<&'a str> {
    let mut reasons = BTreeSet::new();
    for record in records {
        assert_eq!(record["action"], "dropped", "{record}");
        let reason = record["reason"].as_str().expect("a word");
        if record["protocol"] == "0x88a4" {
            assert_eq!(reason, "ethertype", "{record}");
        } else {
            reasons.insert(reason);
        }
    }
    reasons
}

fn plant_lives_and_dies_by_rules_and_switches(lab: &Lab) {
    let mut agent = Agent::new(lab, &policy(lab, "")).expect("an agent");
    configure(lab, &agent, "", "", "");
    agent.start().expect("it starts");
    // Both stacks ask through the gateway whether their addresses are free.
    for name in ["plc", "hmi", "historian"] {
        lab.host(name).speak_ipv6().expect("it has addresses");
    }
    hears(lab, 1, |_| true, true);
    let records = settled(&agent);
    assert_eq!(reasons(&records), BTreeSet::new(), "no false drop: {records:#?}");
    assert_eq!(records.len(), 1, "EtherCAT is told of: {records:#?}");

    for (number, left_out) in (2..).zip(&RULES) {
        let revision = apply(&agent, &policy(lab, left_out.name));
        hears(lab, number, |by| by != left_out.name, true);
        let records = settled(&agent);
        let told = records.iter().filter(|record| record["revision"] == revision.as_str());
        assert_eq!(
            reasons(told),
            left_out.reasons.iter().copied().collect(),
            "without `{}`: {records:#?}",
            left_out.name
        );
    }
    apply(&agent, &policy(lab, ""));

    // Neighbour discovery last: the stacks go on asking.
    let switches = [
        "lldp",
        "stp",
        "redundancy",
        "eapol",
        "ptp",
        "multicast_membership",
        "dhcp_client",
        "arp",
        "ipv6_nd",
    ];
    for (number, switch) in (20..).zip(switches) {
        agent.stop().expect("it stops");
        configure(lab, &agent, "", "", &format!("\n[infrastructure]\n{switch} = false\n"));
        let told = agent.violations().expect("a log").len();
        agent.start().expect("it starts");
        hears(lab, number, |by| by != switch, false);
        let records = settled(&agent);
        let told: Vec<&Value> = records[told..].iter().collect();
        assert_eq!(reasons(told), BTreeSet::from(["infrastructure-off"]), "without `{switch}`: {records:#?}");
    }
}

#[test]
fn plant_on_a_bridge_lives_and_dies_by_rules_and_switches() {
    let test = "plant_on_a_bridge_lives_and_dies_by_rules_and_switches";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    plant_lives_and_dies_by_rules_and_switches(&lab);
}

#[test]
fn plant_on_a_pair_lives_and_dies_by_rules_and_switches() {
    let test = "plant_on_a_pair_lives_and_dies_by_rules_and_switches";
    let Some(lab) = require_lab(test, Topology::Inline) else { return };
    plant_lives_and_dies_by_rules_and_switches(&lab);
}
