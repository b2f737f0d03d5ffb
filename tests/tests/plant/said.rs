//! Everything that a plant says below its conversations, frame by frame, with the switch or the rule that lets it.

use std::net::Ipv4Addr;

use bulkhead_tests::lab::{
    Lab, Mac,
    frames::{self, Dhcp, EVERYBODY},
    topology::PLC,
    wire,
};

use super::Said;

const CONTROLLER: &str = "hmi";
/// Nearest bridge (IEEE 802.1Q-2018 table 8-1).
const NEAREST_BRIDGE: Mac = Mac([1, 0x80, 0xc2, 0, 0, 0x0e]);

/// Frames of a switch of the configuration's `[infrastructure]`, by its word.
pub(crate) fn infrastructure(lab: &Lab) -> Vec<(&'static str, Said)> {
    let (plc, hmi) = (lab.plc(), lab.host(CONTROLLER));
    let down = |name, frame| Said { name, from: CONTROLLER, to: PLC, frame };
    let up = |name, frame| Said { name, from: PLC, to: CONTROLLER, frame };
    let group = |last| (Mac([1, 0, 0x5e, 0, 1, last]), Ipv4Addr::new(224, 0, 1, last));
    let own = (plc.mac, plc.link_local());
    let asked = frames::solicited(hmi.ip6());
    let answer = frames::target(plc.ip6(), 2, plc.mac);
    let discover = Dhcp {
        from: (plc.mac, Ipv4Addr::UNSPECIFIED),
        to: (EVERYBODY, Ipv4Addr::BROADCAST),
        client: plc.mac,
        address: Ipv4Addr::UNSPECIFIED,
        message: Dhcp::DISCOVER,
        options: &[],
    };
    let v6_servers = ((Mac([0x33, 0x33, 0, 1, 0, 2])), "ff02::1:2".parse().expect("an address"));
    let lldp = |mac| frames::frame(mac, NEAREST_BRIDGE, 0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 1]);
    let bpdu = frames::llc(hmi.mac, Mac([1, 0x80, 0xc2, 0, 0, 0]), &[0x42, 0x42, 3, 0, 0, 2, 2, 0x3c]);
    let mrp = frames::frame(hmi.mac, Mac([1, 0x15, 0x4e, 0, 0, 1]), 0x88e3, &[0, 1, 2, 0x12]);
    let supervision = frames::frame(hmi.mac, Mac([1, 0x15, 0x4e, 0, 1, 0]), 0x88fb, &[0, 0, 0, 1]);
    let eapol = frames::frame(plc.mac, Mac([1, 0x80, 0xc2, 0, 0, 3]), 0x888e, &[1, 1, 0, 0]);
    let sync = frames::frame(hmi.mac, Mac([1, 0x1b, 0x19, 0, 0, 0]), 0x88f7, &[0, 2, 0, 44]);
    let delay = frames::frame(plc.mac, NEAREST_BRIDGE, 0x88f7, &[2, 2, 0, 54]);
    vec![
        ("lldp", up("LLDP of the PLC", lldp(plc.mac))),
        ("lldp", down("LLDP of the HMI", lldp(hmi.mac))),
        ("stp", down("BPDU", bpdu)),
        ("redundancy", down("MRP test", mrp)),
        ("redundancy", down("PRP supervision", supervision)),
        ("eapol", up("EAPOL start", eapol)),
        ("ptp", down("PTP sync", sync)),
        ("ptp", up("PTP peer delay", delay)),
        ("ptp", down("PTP over UDP", frames::datagram((hmi.mac, hmi.ip), group(129), (319, 319), &[0; 44]))),
        ("arp", up("ARP question", frames::arp_question(plc.mac, (plc.mac, plc.ip), hmi.ip))),
        ("arp", up("ARP probe", frames::arp_question(plc.mac, (plc.mac, Ipv4Addr::UNSPECIFIED), plc.ip))),
        ("arp", down("ARP announcement", wire::arp_announcement(hmi.mac, hmi.ip))),
        ("dhcp_client", up("DHCP discover", discover.question())),
        (
            "dhcp_client",
            up("DHCPv6 solicit", frames::datagram_v6(own, v6_servers, (546, 547), &[1, 0, 0, 1])),
        ),
        ("ipv6_nd", up("router solicitation", frames::neighbour(own, frames::group_v6(2), 133, [0; 4], &[]))),
        (
            "ipv6_nd",
            up(
                "neighbour solicitation",
                frames::neighbour(own, asked, 135, [0; 4], &frames::target(hmi.ip6(), 1, plc.mac)),
            ),
        ),
        (
            "ipv6_nd",
            up(
                "neighbour advertisement",
                frames::neighbour((plc.mac, plc.ip6()), (hmi.mac, hmi.ip6()), 136, [0x60, 0, 0, 0], &answer),
            ),
        ),
    ]
}

/// Frames that a rule lets, by the rule's name in [`rules`].
pub(crate) fn listed(lab: &Lab) -> Vec<(&'static str, Said)> {
    let (plc, hmi) = (lab.plc(), lab.host(CONTROLLER));
    let down = |name, frame| Said { name, from: CONTROLLER, to: PLC, frame };
    let up = |name, frame| Said { name, from: PLC, to: CONTROLLER, frame };
    // Cyclic data has a frame id of 0x8000 and more, DCP 0xfefe and 0xfeff (IEC 61158-6-10).
    let cyclic = |from, to, number| frames::frame(from, to, 0x8892, &[0x80, 0, number, 0, 0x35]);
    let identify = frames::frame(hmi.mac, Mac([1, 0x0e, 0xcf, 0, 0, 0]), 0x8892, &[0xfe, 0xfe, 5, 0]);
    let goose = frames::frame(plc.mac, Mac([1, 0x0c, 0xcd, 1, 0, 7]), 0x88b8, &[0, 7, 0, 8]);
    vec![
        ("profinet", down("PROFINET output", cyclic(hmi.mac, plc.mac, 1))),
        ("profinet", up("PROFINET input", cyclic(plc.mac, hmi.mac, 2))),
        ("dcp", down("DCP identify", identify)),
        ("goose", up("GOOSE", goose)),
    ]
}

/// What no rule names.
pub(crate) fn unlisted(lab: &Lab) -> Said {
    let ethercat = frames::frame(lab.host(CONTROLLER).mac, EVERYBODY, 0x88a4, &[0x0d, 0x10, 8, 1]);
    Said { name: "EtherCAT", from: CONTROLLER, to: PLC, frame: ethercat }
}

/// A rule of the plant: its name here, and in whose allow list it stands.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    device: &'static str,
    peer: &'static str,
    service: &'static str,
    /// What the log says when it is left out.
    pub(crate) reasons: &'static [&'static str],
}

pub(crate) const RULES: [Rule; 7] = [
    rule("profinet", PLC, "from = \"hmi\"", "profinet-rt", &["ethertype"]),
    rule("dcp", CONTROLLER, "to = \"multicast:profinet-dcp\"", "profinet-dcp", &["ethertype"]),
    rule("goose", PLC, "to = \"multicast:goose\"", "goose", &["ethertype"]),
    rule("modbus", PLC, "from = \"hmi\"", "modbus", &["service-not-allowed"]),
    rule("ping", PLC, "from = \"hmi\"", "ping", &["service-not-allowed"]),
    rule("dns", PLC, "to = \"historian\"", "dns", &["service-not-allowed"]),
    rule("ntp", PLC, "to = \"historian\"", "ntp", &["service-not-allowed"]),
];

const fn rule(
    name: &'static str,
    device: &'static str,
    peer: &'static str,
    service: &'static str,
    reasons: &'static [&'static str],
) -> Rule {
    Rule { name, device, peer, service, reasons }
}

/// The whole plant but one rule.
pub(crate) fn policy(lab: &Lab, left_out: &str) -> String {
    let devices: Vec<String> =
        [PLC, CONTROLLER, "historian"].iter().map(|name| super::device(lab, name, "")).collect();
    let rules = RULES.iter().filter(|rule| rule.name != left_out);
    let rules: Vec<String> = rules
        .map(|Rule { device, peer, service, .. }| {
            format!("[[device.{device}.allow]]\n{peer}\nservice = \"{service}\"\n\n")
        })
        .collect();
    format!("version = 1\n\n{}{}", devices.concat(), rules.concat())
}
