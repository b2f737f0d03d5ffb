//! Everything that a plant says passes an enforcing gateway, in both families and below IP, and not one packet of it is
//! dropped. Leave out one rule or one switch, and exactly what it is for fails, with the reason in the log.

mod plant;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, UdpSocket},
};

use bulkhead_tests::lab::{Agent, Lab, Sniffer, Topology, link};
use plant::{
    SILENCE, SOON, Said, apply, configure, deliver, require_lab,
    said::{RULES, infrastructure, listed, policy, unlisted},
    settled,
    talk::{TALKS, Talk},
};
use serde_json::Value;

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
