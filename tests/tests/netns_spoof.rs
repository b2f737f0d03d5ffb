//! Who claims to be what it is not gets nothing through, on a bridge and on a pair, in either family and at every layer;
//! each lie has its own reason in the log.

mod plant;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use bulkhead_tests::lab::{
    Agent, Lab, Mac, Topology,
    dual::link_local,
    frames::{self, Dhcp, EVERYBODY},
    link,
    topology::{ATTACKER, BRIDGE, PLC, SWITCH},
    wire,
};
use plant::{Said, apply, configure, deliver, device, require_lab, settled};
use serde_json::Value;

/// Nobody has heard of it, on whichever side it is.
const STRANGER: Mac = Mac([2, 0xba, 0xd0, 0, 0, 1]);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 222);

/// A lie, and the reason for which it is dropped.
struct Lie {
    reason: &'static str,
    said: Said,
}

fn lies(lab: &Lab) -> Vec<Lie> {
    let mut lies = about_addresses(lab);
    lies.extend(about_ipv6(lab));
    lies.extend(about_services(lab));
    lies
}

/// From the plant's side, towards the PLC.
fn down(reason: &'static str, name: &'static str, frame: Vec<u8>) -> Lie {
    Lie { reason, said: Said { name, from: ATTACKER, to: PLC, frame } }
}

/// From the device side, towards the HMI.
fn up(reason: &'static str, name: &'static str, frame: Vec<u8>) -> Lie {
    Lie { reason, said: Said { name, from: PLC, to: "hmi", frame } }
}

fn about_addresses(lab: &Lab) -> Vec<Lie> {
    let (plc, hmi, me) = (lab.plc(), lab.host("hmi"), lab.attacker().mac);
    let datagram =
        |mac, address, port| frames::datagram((mac, address), (plc.mac, plc.ip), (port, 502), b"write");
    let relayed = frames::arp_question(me, (hmi.mac, hmi.ip), plc.ip);
    vec![
        down("address-conflict", "ARP announcement of the PLC's address", {
            wire::arp_announcement(me, plc.ip)
        }),
        down("address-conflict", "ARP question in the HMI's name", {
            frames::arp_question(me, (me, hmi.ip), plc.ip)
        }),
        // The frame is the attacker's own, and what it says of the HMI is even true: only the HMI may say it.
        down("address-conflict", "ARP question that the HMI did not ask", relayed),
        down("arp-sender-mismatch", "ARP of the HMI with the PLC's address", {
            frames::arp_question(hmi.mac, (hmi.mac, plc.ip), NOBODY)
        }),
        down("arp-sender-mismatch", "ARP of the HMI for the attacker", {
            frames::arp_question(hmi.mac, (me, hmi.ip), plc.ip)
        }),
        down("source-mac-mismatch", "datagram with the HMI's address", datagram(me, hmi.ip, 4000)),
        down("source-address-mismatch", "datagram of the HMI with another's address", {
            datagram(hmi.mac, NOBODY, 4001)
        }),
        down("wrong-segment", "datagram of the PLC from the plant's side", {
            // To everybody: the HMI hears it from the switch, and its stack would answer.
            frames::datagram((plc.mac, plc.ip), (EVERYBODY, hmi.ip), (4002, 502), b"write")
        }),
        down("wrong-segment", "frame of the PLC from the plant's side", {
            frames::frame(plc.mac, EVERYBODY, 0x8892, &[0x80, 0, 1])
        }),
        up("wrong-segment", "datagram of the HMI from the device side", {
            frames::datagram((hmi.mac, hmi.ip), (plc.mac, plc.ip), (4003, 502), b"write")
        }),
    ]
}

fn about_ipv6(lab: &Lab) -> Vec<Lie> {
    let (plc, hmi, me) = (lab.plc(), lab.host("hmi"), lab.attacker().mac);
    let own = (me, link_local(me));
    let all = frames::group_v6(1);
    let at_plc = (plc.mac, plc.ip6());
    // Override, unasked for (RFC 4861 4.4).
    let unasked = [0x20, 0, 0, 0];
    let claims = |address, mac| frames::target(address, 2, mac);
    let advertisement = |source| frames::neighbour(source, all, 134, [64, 0, 0xff, 0xff], &[0; 8]);
    let mut turned = plc.ip6().octets().to_vec();
    turned.extend(Ipv6Addr::LOCALHOST.octets());
    vec![
        down("address-conflict", "advertisement of the PLC's address", {
            frames::neighbour(own, all, 136, unasked, &claims(plc.ip6(), me))
        }),
        down("address-conflict", "answer to the PLC's own duplicate check", {
            frames::neighbour((me, plc.ip6()), all, 136, unasked, &claims(plc.ip6(), me))
        }),
        down("address-conflict", "duplicate check of the attacker for the PLC's address", {
            let nobody = (me, Ipv6Addr::UNSPECIFIED);
            frames::neighbour(nobody, frames::solicited(plc.ip6()), 135, [0; 4], &plc.ip6().octets())
        }),
        down("address-conflict", "advertisement of the PLC's address for the link", {
            frames::neighbour(own, all, 136, unasked, &claims(plc.link_local(), me))
        }),
        down("nd-mismatch", "advertisement of the attacker for the PLC's MAC", {
            frames::neighbour(own, all, 136, unasked, &claims(link_local(me), plc.mac))
        }),
        down("nd-mismatch", "advertisement of the HMI for an address of nobody's", {
            let nobody = "fd00:20::222".parse().expect("an address");
            frames::neighbour((hmi.mac, hmi.link_local()), all, 136, unasked, &claims(nobody, hmi.mac))
        }),
        down("nd-mismatch", "solicitation of the HMI with the attacker's MAC", {
            let asked = frames::solicited(plc.ip6());
            let question = frames::target(plc.ip6(), 1, me);
            frames::neighbour((hmi.mac, hmi.ip6()), asked, 135, [0; 4], &question)
        }),
        down("nd-malformed", "advertisement from beyond a router", {
            frames::icmp_v6(own, at_plc, 254, 136, unasked, &claims(link_local(me), me))
        }),
        down("redirect", "redirect", frames::neighbour(own, (plc.mac, plc.ip6()), 137, [0; 4], &turned)),
        down("source-mac-mismatch", "datagram with the HMI's IPv6 address", {
            frames::datagram_v6((me, hmi.ip6()), (plc.mac, plc.ip6()), (4004, 502), b"write")
        }),
        up("rogue-router", "router advertisement of the PLC", advertisement((plc.mac, plc.link_local()))),
        up("rogue-router", "router advertisement of a stranger", {
            advertisement((STRANGER, link_local(STRANGER)))
        }),
        down("rogue-router", "router advertisement of the HMI", advertisement((hmi.mac, hmi.link_local()))),
    ]
}

fn about_services(lab: &Lab) -> Vec<Lie> {
    let hmi = lab.host("hmi");
    let offer = |message| Dhcp {
        from: (STRANGER, NOBODY),
        to: (EVERYBODY, Ipv4Addr::BROADCAST),
        client: hmi.mac,
        address: Ipv4Addr::new(10, 20, 1, 99),
        message,
        options: &[51, 4, 0, 0, 14, 16],
    };
    // Each question in another name takes one address of the server's.
    let invented = Dhcp {
        from: (lab.plc().mac, Ipv4Addr::UNSPECIFIED),
        client: STRANGER,
        address: Ipv4Addr::UNSPECIFIED,
        options: &[],
        ..offer(Dhcp::DISCOVER)
    };
    let to_hmi = Dhcp { to: (hmi.mac, hmi.ip), ..offer(Dhcp::ACK) };
    vec![
        up("dhcp-mismatch", "DHCP question of the PLC in an invented name", invented.question()),
        up("rogue-dhcp", "DHCP offer of a stranger", offer(Dhcp::OFFER).answer()),
        up("rogue-dhcp", "DHCP acknowledgement to the HMI", to_hmi.answer()),
        up("rogue-dhcp", "DHCPv6 reply to the HMI", {
            let server = (STRANGER, link_local(STRANGER));
            frames::datagram_v6(server, (hmi.mac, hmi.link_local()), (547, 546), &[7, 0, 0, 1])
        }),
    ]
}

/// What is true, from both sides: it arrives, behind all the lies.
fn truths(lab: &Lab) -> [Said; 2] {
    let (plc, attacker) = (lab.plc(), lab.attacker());
    let asks = |who: &bulkhead_tests::lab::Host, whom| frames::arp_question(who.mac, (who.mac, who.ip), whom);
    [
        Said { name: "the attacker's own", from: ATTACKER, to: PLC, frame: asks(attacker, plc.ip) },
        Said { name: "the PLC's own", from: PLC, to: "hmi", frame: asks(plc, lab.host("hmi").ip) },
    ]
}

/// Both may say anything to each other, so that only the lie is wrong about a frame.
fn policy(lab: &Lab) -> String {
    format!(
        "version = 1\n\n{}{}[[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"line\"\n\n\
         [[device.hmi.allow]]\nfrom = \"plc\"\nservice = \"line\"\n\n[service.line]\nudp = \"502\"\n",
        device(lab, PLC, "segment = \"cell0\""),
        device(lab, "hmi", "segment = \"plant0\"")
    )
}

fn no_lie_gets_through(lab: &Lab) {
    link::hub(lab.switch(), SWITCH).expect("a hub");
    if lab.topology == Topology::Bridged {
        link::hub(&lab.gateway.namespace, BRIDGE).expect("a hub");
    }
    let lies = lies(lab);
    let truths = truths(lab);
    let mut all: Vec<Said> = lies.iter().map(|lie| lie.said.clone()).collect();
    all.extend(truths.iter().cloned());
    let names: BTreeSet<&str> = all.iter().map(|said| said.name).collect();
    let mut agent = Agent::new(lab, &policy(lab)).expect("an agent");
    configure(lab, &agent, "", "", "");
    agent.start().expect("it starts");

    // In monitor mode they pass, or the lab could not tell.
    apply(&agent, &policy(lab).replace("\"enforce\"", "\"monitor\""));
    assert_eq!(deliver(lab, &all, &names), names);
    let before = settled(&agent).len();
    apply(&agent, &policy(lab));
    let honest: BTreeSet<&str> = truths.iter().map(|said| said.name).collect();
    assert_eq!(deliver(lab, &all, &honest), honest);

    let records = settled(&agent);
    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    for record in &records[before..] {
        assert_eq!(record["action"], "dropped", "{record}");
        *told.entry(record["reason"].as_str().expect("a word")).or_default() +=
            record["count"].as_u64().expect("a number");
    }
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for Lie { reason, .. } in &lies {
        *expected.entry(reason).or_default() += 1;
    }
    let shown: Vec<&Value> = records[before..].iter().collect();
    assert_eq!(told, expected, "{shown:#?}");
}

#[test]
fn no_lie_about_who_one_is_passes_a_bridge() {
    let test = "no_lie_about_who_one_is_passes_a_bridge";
    let Some(lab) = require_lab(test, Topology::Bridged) else { return };
    no_lie_gets_through(&lab);
}

#[test]
fn no_lie_about_who_one_is_passes_a_pair() {
    let test = "no_lie_about_who_one_is_passes_a_pair";
    let Some(lab) = require_lab(test, Topology::Inline) else { return };
    no_lie_gets_through(&lab);
}
