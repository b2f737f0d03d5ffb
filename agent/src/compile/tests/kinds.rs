//! What is not an IPv4 device with an address: IPv6, leases, segments, groups and frames.

use super::*;

const CELL: &str = r#"version = 1
[device.plc]
mac = ["00:1d:9c:c7:b0:70", "00:1d:9c:c7:b0:71"]
ip = ["10.1.0.1", "fd00:1::1"]
segment = "cell0"
mode = "enforce"
[[device.plc.allow]]
to = ["drive", "multicast:profinet-dcp", "multicast:line"]
service = "profinet-rt"
[[device.plc.allow]]
to = ["office", "multicast:mdns", "broadcast"]
service = ["mdns", "ping"]
[device.drive]
mac = "00:1d:9c:c7:b0:72"
mode = "enforce"
[device.camera]
mac = "00:1d:9c:c7:b0:73"
ip = ["dhcp", "10.1.0.9"]
segment = "aux"
vlan = 7
mode = "enforce"
[[device.camera.allow]]
to = "office"
service = "rtsp"
[network.office]
cidr = ["10.9.0.0/24", "fd00:9::/64"]
[network.plant]
cidr = ["10.0.0.0/8", "fd00::/16"]
[multicast.line]
mac = ["01:0e:cf:00:00:00", "01:0e:cf:00:07:00/46"]
"#;

fn cell() -> Tables {
    compiled(&[("cell.toml", CELL)])
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn mac_of(text: &str) -> u64 {
    mac::from_octets(text.parse::<crate::model::Mac>().expect("a MAC address").0)
}

fn prefix(tables: &Tables, text: &str) -> u32 {
    tables.networks[&text.parse::<IpNet>().expect("a prefix")]
}

/// What becomes of a frame or a datagram on a segment where everything may be.
fn verdict(tables: &Tables, packet: Packet) -> Verdict {
    let host = Host::new(tables, Placed::default());
    decide(&packet, &host).verdict
}

fn frame(source: &str, destination: &str, ethertype: u16) -> Packet {
    let (source_mac, destination_mac) = (mac_of(source), mac_of(destination));
    Packet { len: 60, kind: Kind::Other, ethertype, source_mac, destination_mac, ..Packet::EMPTY }
}

fn is_allowed(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Allow(_))
}

#[test]
fn both_families_of_a_device_carry_the_names_around_them() {
    let tables = cell();
    let of = |address: &str| tables.addresses[&Address::from(ip(address))];
    let (v4, v6) = (of("10.1.0.1"), of("fd00:1::1"));
    assert_eq!(v4, v6, "the same device in the same network");
    assert_eq!(prefix(&tables, "10.9.0.0/24"), prefix(&tables, "fd00:9::/64"), "in `office` and in `plant`");
    assert_ne!(prefix(&tables, "10.0.0.0/8"), prefix(&tables, "10.9.0.0/24"));
    let office = Endpoint::network(prefix(&tables, "fd00:9::/64"));
    assert_ne!(pair(&tables, &Endpoint::from_row(&v6), &office), 0);
}

#[test]
fn an_ipv6_prefix_around_everything_holds_no_ipv4_address() {
    let text = "version = 1\n[device.plc]\nip = [\"10.1.0.1\", \"fd00::1\"]\n\
                [[device.plc.allow]]\nto = \"world\"\nservice = \"https\"\n[network.world]\ncidr = \"::/0\"\n";
    let tables = compiled(&[("p.toml", text)]);
    assert_eq!(prefix(&tables, "0.0.0.0/0"), identity::UNKNOWN);
    assert_ne!(prefix(&tables, "::/0"), identity::UNKNOWN);
    let of = |address: &str| tables.addresses[&Address::from(ip(address))].identity;
    assert_ne!(of("10.1.0.1"), of("fd00::1"), "only one of them is in `world`");
    let own = text.replace("\"::/0\"", "[\"::/0\", \"0.0.0.0/0\"]");
    let tables = compiled(&[("p.toml", &own)]);
    assert_eq!(prefix(&tables, "0.0.0.0/0"), prefix(&tables, "::/0"), "unless its author says so");
    let narrow = compiled(&[("p.toml", &text.replace("::/0", "2000::/3"))]);
    assert_eq!(narrow.networks.len(), 1);
}

#[test]
fn a_hardware_address_has_the_names_of_its_device_and_no_networks() {
    let tables = cell();
    let [one, two] = ["00:1d:9c:c7:b0:70", "00:1d:9c:c7:b0:71"].map(|mac| tables.macs[&mac_of(mac)]);
    assert_eq!(one, two, "both are the device's");
    assert_eq!(one.identity, identity::UNKNOWN);
    let plc = tables.addresses[&Address::from(ip("10.1.0.1"))];
    assert_ne!(one.identity, plc.identity, "the address is in `plant` as well");
    let link_local = tables.networks.keys().find(|net| net.contains(&ip("fe80::1")));
    assert_eq!(link_local, None);
    let office = Endpoint::network(prefix(&tables, "10.9.0.0/24"));
    for initiator in [Endpoint::from_row(&one), Endpoint::from_row(&plc)] {
        assert_ne!(pair(&tables, &initiator, &office), 0, "a rule means the device wherever it is");
    }
}

#[test]
fn frames_pass_in_both_directions_between_devices_and_one_way_to_a_group() {
    let tables = cell();
    let (plc, drive, other) = ("00:1d:9c:c7:b0:70", "00:1d:9c:c7:b0:72", "02:00:00:00:00:99");
    for (source, destination, ethertype, allowed) in [
        (plc, drive, 0x8892, true),
        (drive, plc, 0x8892, true),
        (plc, drive, 0x88a4, false),
        (plc, "01:0e:cf:00:00:00", 0x8892, true),
        (plc, "01:0e:cf:00:07:03", 0x8892, true),
        (plc, "01:0e:cf:00:07:04", 0x8892, false),
        (drive, "01:0e:cf:00:00:00", 0x8892, false),
        (plc, "ff:ff:ff:ff:ff:ff", 0x8892, false),
        (other, plc, 0x8892, false),
        ("00:1d:9c:c7:b0:73", plc, 0x8892, false),
    ] {
        let found = verdict(&tables, frame(source, destination, ethertype));
        let wrong_place = found == Verdict::Deny(bulkhead_common::reason::Reason::WrongSegment);
        // The segment of the tests has no name, so the devices that have one are seen elsewhere.
        let tables = compiled(&[("cell.toml", &anywhere())]);
        let anywhere = verdict(&tables, frame(source, destination, ethertype));
        assert_eq!(is_allowed(anywhere), allowed, "{source} -> {destination} {ethertype:#x}: {anywhere:?}");
        assert_eq!(wrong_place, source == plc || source == "00:1d:9c:c7:b0:73", "{source}");
    }
}

/// The cell, its devices on any segment.
fn anywhere() -> String {
    CELL.lines().filter(|line| !line.starts_with("segment") && !line.starts_with("vlan")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

#[test]
fn a_group_is_a_destination_and_no_device() {
    let tables = cell();
    for group in ["01:0e:cf:00:00:00", "01:0e:cf:00:07:00", "01:0e:cf:00:07:03"] {
        let row = tables.macs[&mac_of(group)];
        assert_eq!((row.device, row.flags, row.mode), (0, 0, 0), "{group}");
        assert!(row.identity >= identity::FIRST);
    }
    // In `profinet-dcp` and in `line`; in `line` alone.
    assert_ne!(
        tables.macs[&mac_of("01:0e:cf:00:00:00")].identity,
        tables.macs[&mac_of("01:0e:cf:00:07:00")].identity
    );
    let plc = Endpoint::from_row(&tables.addresses[&Address::from(ip("10.1.0.1"))]);
    for responder in [prefix(&tables, "224.0.0.251/32"), prefix(&tables, "ff02::fb/128"), identity::BROADCAST]
    {
        let responder = Endpoint::network(responder);
        assert_ne!(pair(&tables, &plc, &responder), 0);
        assert_eq!(pair(&tables, &responder, &plc), 0);
    }
    assert!(
        !tables.networks.contains_key(&"224.0.0.252/32".parse().expect("a prefix")),
        "llmnr is in no rule"
    );
}

#[test]
fn a_group_that_no_rule_names_changes_no_revision() {
    let one = cell();
    let more = format!("{CELL}[multicast.idle]\nip = \"239.1.2.3\"\nmac = \"01:00:00:00:00:01\"\n");
    assert_eq!(one.revision, compiled(&[("cell.toml", &more)]).revision);
}

#[test]
fn a_leased_address_carries_its_device_and_its_networks() {
    let tables = cell();
    let camera = tables.macs[&mac_of("00:1d:9c:c7:b0:73")];
    assert_eq!(camera.flags, device_flag::HAS_MAC | device_flag::LEASED | device_flag::NAMED);
    assert_ne!(tables.shapes & shape::LEASED, 0);
    let places: Vec<u32> = tables
        .leased
        .keys()
        .map(|(device, network)| {
            assert_eq!(*device, camera.identity, "nobody else has leases");
            *network
        })
        .collect();
    let (office, plant) = (prefix(&tables, "10.9.0.0/24"), prefix(&tables, "10.0.0.0/8"));
    assert_eq!(BTreeSet::from_iter(places), BTreeSet::from([office, plant]), "and nobody leases a group");
    let leased = |network| tables.leased[&(camera.identity, network)];
    let fixed = tables.addresses[&Address::from(ip("10.1.0.9"))];
    assert_eq!(leased(plant), fixed.identity, "as if it were written");
    let there = Endpoint { identity: leased(office), ..Endpoint::from_row(&camera) };
    assert_ne!(pair(&tables, &there, &Endpoint::network(office)), 0);
    let still = CELL.replace("\"dhcp\", ", "");
    let still = compiled(&[("cell.toml", &still)]);
    assert_eq!((still.leased.len(), still.shapes & shape::LEASED), (0, 0));
    assert_ne!(still.revision, tables.revision);
}

#[test]
fn a_row_says_on_which_segment_its_device_must_be() {
    let tables = cell();
    assert_eq!(tables.segments, ["aux", "cell0"]);
    let row = |address: &str| tables.addresses[&Address::from(ip(address))];
    assert_eq!((row("10.1.0.9").segment, row("10.1.0.9").vlan), (1, 7));
    assert_eq!((row("10.1.0.1").segment, tables.macs[&mac_of("00:1d:9c:c7:b0:70")].segment), (2, 2));
    assert_eq!(tables.macs[&mac_of("00:1d:9c:c7:b0:72")].segment, 0);
    let renamed = compiled(&[("cell.toml", &CELL.replace("\"aux\"", "\"bay0\""))]);
    assert_eq!(renamed.macs, tables.macs, "places in the list");
    assert_ne!(renamed.revision, tables.revision, "of other names");
}
