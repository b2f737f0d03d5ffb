//! Frames that are built here say something, and the table has it.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::PacketBuilder;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::model::Mac;

pub(super) const DEVICE: Mac = Mac([0x00, 0x1d, 0x9c, 0xc7, 0xb0, 0x70]);
pub(super) const OTHER: Mac = Mac([0x00, 0x80, 0xf4, 0x01, 0x02, 0x03]);
const PLC: [u8; 4] = [10, 20, 1, 11];
const HMI: [u8; 4] = [10, 20, 2, 20];

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).expect("a time")
}

pub(super) fn ethernet(from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &from.0, &ethertype.to_be_bytes(), payload].concat()
}

fn written(build: etherparse::PacketBuilderStep<etherparse::UdpHeader>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    build.write(&mut frame, payload).expect("it fits");
    frame
}

pub(super) fn udp(from: Mac, source: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let build = PacketBuilder::ethernet2(from.0, [0xff; 6]).ipv4(source, HMI, 64).udp(ports[0], ports[1]);
    written(build, payload)
}

pub(super) fn tcp(from: Mac, source: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let build =
        PacketBuilder::ethernet2(from.0, [2; 6]).ipv4(source, HMI, 64).tcp(port, 40_000, 1, 1000).ack(7);
    build.write(&mut frame, payload).expect("it fits");
    frame
}

pub(super) fn accepted(from: Mac, source: [u8; 4], port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let build = PacketBuilder::ethernet2(from.0, [2; 6]).ipv4(source, HMI, 64).tcp(port, 40_000, 1, 1000);
    build.syn().ack(7).write(&mut frame, &[]).expect("it fits");
    frame
}

pub(super) fn arp(from: Mac, hardware: Mac, address: [u8; 4]) -> Vec<u8> {
    let message = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &hardware.0, &address, &[0; 6], &HMI].concat();
    ethernet(from, 0x0806, &message)
}

pub(super) fn modbus_identity(objects: &[(u8, &str)]) -> Vec<u8> {
    let mut message = vec![1, 0x2b, 0x0e, 1, 1, 0, 0, objects.len() as u8];
    for (id, text) in objects {
        message.extend([*id, text.len() as u8]);
        message.extend(text.bytes());
    }
    let length = (message.len() as u16).to_be_bytes();
    [&[0, 9, 0, 0, length[0], length[1]][..], &message].concat()
}

pub(super) fn dhcp_question(client: Mac, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[28..34].copy_from_slice(&client.0);
    message.extend([99, 130, 83, 99, 53, 1, 3]);
    for (code, value) in options {
        message.extend([*code, value.len() as u8]);
        message.extend(*value);
    }
    message.push(255);
    message
}

fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
    [&(kind << 9 | value.len() as u16).to_be_bytes()[..], value].concat()
}

pub(super) fn lldp_message(lasts: u16) -> Vec<u8> {
    let med = [&[0x00, 0x12, 0xbb, 10][..], b"RX-9"].concat();
    [
        tlv(1, &[&[4][..], &DEVICE.0].concat()),
        tlv(2, &[7, b'1']),
        tlv(3, &lasts.to_be_bytes()),
        tlv(5, b"cell-switch-1"),
        tlv(6, b"Managed switch, firmware 4.2"),
        tlv(7, &[0, 0x14, 0, 0x04]),
        tlv(8, &[5, 1, 10, 20, 0, 2, 2, 0, 0, 0, 1, 0]),
        tlv(127, &med),
        tlv(0, &[]),
    ]
    .concat()
}

fn dcp_block(option: u8, suboption: u8, value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u16 + 2).to_be_bytes();
    let mut block = [&[option, suboption, length[0], length[1], 0, 0][..], value].concat();
    block.resize(block.len().next_multiple_of(2), 0);
    block
}

pub(super) fn dcp_answer(frame: u16, service: u8, kind: u8) -> Vec<u8> {
    let blocks = [
        dcp_block(2, 1, b"ET 200SP"),
        dcp_block(2, 2, b"press-io-7"),
        dcp_block(2, 3, &[0x00, 0x2a, 0x03, 0x13]),
        dcp_block(2, 4, &[1, 0]),
        dcp_block(1, 2, &[10, 20, 1, 77, 255, 255, 255, 0, 0, 0, 0, 0]),
    ]
    .concat();
    let length = (blocks.len() as u16).to_be_bytes();
    [&frame.to_be_bytes()[..], &[service, kind, 0, 0, 0, 1, 0, 0, length[0], length[1]], &blocks].concat()
}

pub(super) fn enip_identity() -> Vec<u8> {
    let name = b"1756-L71/B LOGIX5571";
    let mut item = vec![1, 0];
    item.extend([0; 16]);
    item.extend([1, 0, 0x0e, 0, 0x5c, 0, 20, 11, 0x60, 0x30, 0x78, 0x56, 0x34, 0x12, name.len() as u8]);
    item.extend(name);
    item.push(3);
    let mut message = vec![0x63, 0];
    message.extend((item.len() as u16 + 6).to_le_bytes());
    message.extend([0; 20]);
    message.extend([1, 0, 0x0c, 0]);
    message.extend((item.len() as u16).to_le_bytes());
    message.extend(item);
    message
}

pub(super) fn bacnet_message(control: &[u8], message: &[u8]) -> Vec<u8> {
    let length = (4 + 1 + control.len() + message.len()) as u16;
    [&[0x81, 0x0b][..], &length.to_be_bytes(), &[1], control, message].concat()
}

/// Device 1234 of vendor 260.
pub(super) const I_AM: [u8; 14] =
    [0x10, 0x00, 0xc4, 0x02, 0x00, 0x04, 0xd2, 0x22, 0x05, 0xc4, 0x91, 0x03, 0x21, 0x04];

pub(super) fn szl(id: u16, each: u16, records: &[u8]) -> Vec<u8> {
    let count = (records.len() / usize::from(each)) as u16;
    let list: Vec<u8> =
        [id.to_be_bytes(), [0, 0], each.to_be_bytes(), count.to_be_bytes()].concat().into_iter().collect();
    let inner = (list.len() + records.len()) as u16;
    let data = [&[0xff, 9][..], &inner.to_be_bytes(), &list, records].concat();
    let parameters = [0, 1, 0x12, 8, 0x12, 0x84, 1, 1, 0, 0, 0, 0];
    let mut message = vec![0x32, 7, 0, 0, 0, 1];
    message.extend((parameters.len() as u16).to_be_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(parameters);
    message.extend(data);
    let length = (message.len() as u16 + 7).to_be_bytes();
    [&[3, 0, length[0], length[1], 2, 0xf0, 0x80][..], &message].concat()
}

pub(super) fn modules() -> Vec<u8> {
    let record = |index: u16, order: &[u8], rest: [u8; 6]| {
        let mut text = order.to_vec();
        text.resize(20, b' ');
        [&index.to_be_bytes()[..], &text, &rest].concat()
    };
    [record(1, b"6ES7 315-2EH14-0AB0", [0; 6]), record(7, b"", [0, 0, b'V', 3, 2, 6])].concat()
}

/// A name, its type, its value, as a record with four bytes of length in front of nothing compressed.
fn record(name: &[&str], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = domain(name);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0x80, 1, 0, 0, 0, 120]);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn domain(labels: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        labels.iter().flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes())).collect();
    bytes.push(0);
    bytes
}

pub(super) fn mdns_announcement(address: [u8; 4]) -> Vec<u8> {
    let instance = ["Office Printer", "_ipp", "_tcp", "local"];
    let records = [
        record(&["_ipp", "_tcp", "local"], 12, &domain(&instance)),
        record(&instance, 16, b"\x0ety=LaserJet 99\x08fw=2.1.0"),
        record(&["printer-9", "local"], 1, &address),
        record(&["somebody-else", "local"], 1, &[10, 9, 9, 9]),
    ];
    [&[0, 0, 0x84, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0][..], &records.concat()].concat()
}

fn claims(frame: &[u8]) -> Vec<(Kind, String, Evidence)> {
    let heard = hear(frame).expect("somebody sent it");
    heard.claims.into_iter().map(|claim| (claim.kind, claim.value, claim.evidence)).collect()
}

fn said(list: &[(Kind, &str)], by: Evidence) -> Vec<(Kind, String, Evidence)> {
    list.iter().map(|(kind, value)| (*kind, (*value).to_owned(), by)).collect()
}

#[test]
fn arp_says_the_address_of_its_sender_alone() {
    let address = said(&[(Kind::Address, "10.20.1.11")], Evidence::Arp);
    assert_eq!(claims(&arp(DEVICE, DEVICE, PLC)), address);
    assert_eq!(claims(&arp(OTHER, DEVICE, PLC)), [], "it says whose address it is, and is somebody else");
    assert_eq!(claims(&arp(DEVICE, DEVICE, [0; 4])), [], "a probe");
    assert_eq!(hear(&arp(Mac([1, 0, 0x5e, 0, 0, 1]), DEVICE, PLC)), None, "a group sends nothing");
}

#[test]
fn dhcp_says_name_system_and_what_is_asked_for() {
    let question = dhcp_question(
        DEVICE,
        &[(12, b"hmi-3"), (60, b"MSFT 5.0"), (55, &[1, 3, 6]), (81, b"\0\0\0hmi-3.plant")],
    );
    let expected = [
        (Kind::Name, "hmi-3"),
        (Kind::Description, "MSFT 5.0"),
        (Kind::Asks, "1,3,6"),
        (Kind::Name, "hmi-3.plant"),
    ];
    assert_eq!(claims(&udp(DEVICE, [0; 4], [68, 67], &question)), said(&expected, Evidence::Dhcp));
    assert_eq!(claims(&udp(OTHER, [0; 4], [68, 67], &question)), [], "a relay asks for others");
}

#[test]
fn lldp_says_who_and_what_a_switch_is() {
    let expected = [
        (Kind::Name, "cell-switch-1"),
        (Kind::Description, "Managed switch, firmware 4.2"),
        (Kind::Role, "bridge"),
        (Kind::Address, "10.20.0.2"),
        (Kind::Model, "RX-9"),
    ];
    assert_eq!(claims(&ethernet(DEVICE, 0x88cc, &lldp_message(120))), said(&expected, Evidence::Lldp));
    assert_eq!(claims(&ethernet(DEVICE, 0x88cc, &lldp_message(0))), [], "it says good-bye");
}

#[test]
fn profinet_says_station_and_role_in_answers_alone() {
    let expected = [
        (Kind::Model, "ET 200SP"),
        (Kind::Name, "press-io-7"),
        (Kind::Identifier, "PROFINET vendor 0x002a, device 0x0313"),
        (Kind::Role, "io device"),
        (Kind::Address, "10.20.1.77"),
    ];
    for (frame, service, kind) in [(0xfeff, 5, 1), (0xfefd, 3, 1), (0xfefc, 6, 0)] {
        let frame = ethernet(DEVICE, 0x8892, &dcp_answer(frame, service, kind));
        assert_eq!(claims(&frame), said(&expected, Evidence::Profinet));
        // The same behind a tag.
        let tagged = [&frame[..12], &[0x81, 0, 0, 0], &frame[12..]].concat();
        assert_eq!(claims(&tagged), said(&expected, Evidence::Profinet));
    }
    assert_eq!(
        claims(&ethernet(DEVICE, 0x8892, &dcp_answer(0xfefd, 4, 0))),
        [],
        "who sets a name says nothing of itself"
    );
}

#[test]
fn mdns_says_name_and_services_of_its_sender() {
    let frame = udp(DEVICE, PLC, [5353, 5353], &mdns_announcement(PLC));
    let expected = [
        (Kind::Service, "_ipp._tcp"),
        (Kind::Model, "LaserJet 99"),
        (Kind::Firmware, "2.1.0"),
        (Kind::Name, "printer-9"),
    ];
    assert_eq!(claims(&frame), said(&expected, Evidence::Mdns));
}

#[test]
fn ssdp_says_server_and_kind() {
    let notify = b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nServer: Linux/5.4 UPnP/1.0 Cam/7\r\nNT: urn:schemas-upnp-org:device:Basic:1\r\nNTS: ssdp:alive\r\n\r\n";
    let expected = [
        (Kind::Description, "Linux/5.4 UPnP/1.0 Cam/7"),
        (Kind::Service, "urn:schemas-upnp-org:device:Basic:1"),
    ];
    assert_eq!(claims(&udp(DEVICE, PLC, [40_000, 1900], notify)), said(&expected, Evidence::Ssdp));
    let question = b"M-SEARCH * HTTP/1.1\r\nSERVER: x\r\n\r\n";
    assert_eq!(claims(&udp(DEVICE, PLC, [40_000, 1900], question)), []);
}

#[test]
fn modbus_says_maker_and_model_in_each_of_several_answers() {
    let first = modbus_identity(&[(0, "Schneider Electric"), (1, "BMX P34 2020"), (2, "v2.60")]);
    let second = modbus_identity(&[(4, "Modicon M340")]);
    let expected = [
        (Kind::Vendor, "Schneider Electric"),
        (Kind::Model, "BMX P34 2020"),
        (Kind::Firmware, "v2.60"),
        (Kind::Description, "Modicon M340"),
    ];
    let frame = tcp(DEVICE, PLC, 502, &[first.clone(), second].concat());
    assert_eq!(claims(&frame), said(&expected, Evidence::Modbus));
    assert_eq!(claims(&tcp(DEVICE, PLC, 40_000, &first)), [], "only a server identifies itself");
}

#[test]
fn ethernet_ip_says_its_identity_over_both() {
    let expected = [
        (Kind::Identifier, "ODVA vendor 1, type 14, product 92"),
        (Kind::Firmware, "20.011"),
        (Kind::Serial, "12345678"),
        (Kind::Model, "1756-L71/B LOGIX5571"),
        (Kind::Role, "plc"),
    ];
    let expected = said(&expected, Evidence::EtherNetIp);
    assert_eq!(claims(&udp(DEVICE, PLC, [44_818, 50_000], &enip_identity())), expected);
    assert_eq!(claims(&tcp(DEVICE, PLC, 44_818, &enip_identity())), expected);
}

#[test]
fn bacnet_says_who_it_is_and_what_it_answers() {
    let frame = |message: &[u8]| udp(DEVICE, PLC, [47_808, 47_808], message);
    let expected = [(Kind::Identifier, "BACnet device 1234"), (Kind::Identifier, "BACnet vendor 4")];
    let expected = said(&expected, Evidence::Bacnet);
    assert_eq!(claims(&frame(&bacnet_message(&[0], &I_AM))), expected);
    // To every network: its number, no address, a hop count.
    assert_eq!(claims(&frame(&bacnet_message(&[0x20, 0xff, 0xff, 0, 255], &I_AM))), expected);
    let from_another_network = [0x08, 0, 5, 1, 9];
    assert_eq!(claims(&frame(&bacnet_message(&from_another_network, &I_AM))), []);
    let model =
        [&[0x30, 1, 0x0c, 0x0c, 2, 0, 4, 0xd2, 0x19, 70, 0x3e, 0x75, 6, 0][..], b"AHU-2", &[0x3f]].concat();
    let expected = said(&[(Kind::Model, "AHU-2")], Evidence::Bacnet);
    assert_eq!(claims(&frame(&bacnet_message(&[0], &model))), expected);
}

#[test]
fn s7_says_order_number_firmware_and_names() {
    let expected = [(Kind::Model, "6ES7 315-2EH14-0AB0"), (Kind::Firmware, "V3.2.6")];
    assert_eq!(claims(&tcp(DEVICE, PLC, 102, &szl(0x11, 28, &modules()))), said(&expected, Evidence::S7));
    let mut name = vec![0, 1];
    name.extend(b"PRESS-STATION");
    name.resize(34, 0);
    let expected = said(&[(Kind::Name, "PRESS-STATION")], Evidence::S7);
    assert_eq!(claims(&tcp(DEVICE, PLC, 102, &szl(0x1c, 34, &name))), expected);
}

#[test]
fn neighbours_are_believed_from_their_link_alone() {
    let advertisement = |hops: u8| {
        let target = "fd00:20::11".parse::<std::net::Ipv6Addr>().expect("an address");
        let build = PacketBuilder::ethernet2(DEVICE.0, [2; 6])
            .ipv6(target.octets(), [0xfd; 16], hops)
            .icmpv6_raw(136, 0, [0x60, 0, 0, 0]);
        let mut frame = Vec::new();
        build.write(&mut frame, &target.octets()).expect("it fits");
        frame
    };
    assert_eq!(claims(&advertisement(255)), said(&[(Kind::Address, "fd00:20::11")], Evidence::Nd));
    assert_eq!(claims(&advertisement(64)), []);
}

#[test]
fn text_is_one_short_line_that_steers_nothing() {
    let hostile = "\u{1b}[31mred\n\u{202e}abc".as_bytes();
    assert_eq!(bytes::printable(hostile).as_deref(), Some("?[31mred??abc"));
    assert_eq!(
        bytes::printable("ü".repeat(100).as_bytes()).map(|text| text.chars().count()),
        Some(MOST_CHARS)
    );
    assert_eq!(bytes::printable(b"ends\0here").as_deref(), Some("ends"));
    for nothing in [&b""[..], b"  ", b"\0x", b"\xff\xfe"] {
        assert_eq!(bytes::printable(nothing), None);
    }
}

fn take(inventory: &mut Inventory, frame: &[u8], seconds: i64) -> Vec<String> {
    let heard = hear(frame).expect("somebody sent it");
    inventory.take(&heard, at(seconds)).iter().map(ToString::to_string).collect()
}

fn device(inventory: &Inventory, of: Of) -> &Device {
    inventory.devices().find(|device| device.of == of).expect("it is known")
}

#[test]
fn what_is_new_is_told_once_and_both_values_stay() {
    let mut inventory = Inventory::default();
    let identity = |version| tcp(DEVICE, PLC, 502, &modbus_identity(&[(2, version)]));
    assert_eq!(take(&mut inventory, &arp(DEVICE, DEVICE, PLC), 0), ["new device 00:1d:9c:c7:b0:70"]);
    assert!(take(&mut inventory, &identity("v1"), 1).is_empty());
    assert!(take(&mut inventory, &identity("v1"), 2).is_empty());
    let changed = "00:1d:9c:c7:b0:70 changed its firmware from `v1` to `v2` (modbus)";
    assert_eq!(take(&mut inventory, &identity("v2"), 60), [changed]);
    // Both are said in turns, as several units behind one address do.
    assert!(take(&mut inventory, &identity("v1"), 61).is_empty());
    assert!(take(&mut inventory, &identity("v2"), 4000).is_empty());
    // A version that was not heard for an hour while another was is a change again.
    assert!(take(&mut inventory, &identity("v2"), 9000).is_empty());
    assert_eq!(take(&mut inventory, &identity("v1"), 9001).len(), 1);
    let moved = "00:1d:9c:c7:b0:70 has a new address 10.20.1.99 (arp)";
    assert_eq!(take(&mut inventory, &arp(DEVICE, DEVICE, [10, 20, 1, 99]), 9002), [moved]);
    let device = device(&inventory, Of::Mac(DEVICE));
    let versions: Vec<_> =
        device.of_kind(Kind::Firmware).iter().map(|f| (f.value.as_str(), f.first, f.last, f.count)).collect();
    assert_eq!(versions, [("v1", at(1), at(9001), 4), ("v2", at(60), at(9000), 3)]);
    assert_eq!(device.addresses().len(), 2);
    assert_eq!(inventory.changes().count(), 4);
    let kept = serde_json::to_string(&inventory.keep()).expect("it is written");
    let again = Inventory::restore(serde_json::from_str(&kept).expect("it is read"));
    assert_eq!(again.keep(), inventory.keep());
}

#[test]
fn what_comes_through_a_router_is_of_the_address_it_is_from() {
    let mut inventory = Inventory::default();
    take(&mut inventory, &arp(OTHER, OTHER, [10, 20, 1, 1]), 0);
    let identity = modbus_identity(&[(1, "M340")]);
    let router = Of::Mac(OTHER);
    for host in 0..=MOST_ADDRESSES as u8 {
        take(&mut inventory, &tcp(OTHER, [10, 30, 0, 10 + host], 502, &identity), i64::from(host));
        take(&mut inventory, &accepted(OTHER, [10, 30, 0, 10 + host], 502), i64::from(host));
    }
    take(&mut inventory, &tcp(OTHER, [10, 20, 1, 1], 502, &identity), 10);
    let listed: Vec<String> = inventory.devices().map(|device| device.of.to_string()).collect();
    let expected =
        ["00:80:f4:01:02:03", "10.30.0.10", "10.30.0.11", "10.30.0.12", "10.30.0.13", "10.30.0.14"];
    assert_eq!(listed, expected);
    let of_router = device(&inventory, router);
    assert!(of_router.router && of_router.addresses() == [IpAddr::V4(Ipv4Addr::new(10, 20, 1, 1))]);
    assert_eq!(of_router.of_kind(Kind::Role)[0].value, "router");
    let models = of_router.of_kind(Kind::Model);
    assert_eq!(
        (models.len(), models[0].from),
        (1, Some(IpAddr::from([10, 20, 1, 1]))),
        "its own answer is its own"
    );
    let behind = device(&inventory, Of::Address(IpAddr::from([10, 30, 0, 12])));
    assert_eq!((behind.behind, behind.of_kind(Kind::Model).len()), (Some(router), 1));
    // Whoever only answers somewhere behind it is no device.
    take(&mut inventory, &accepted(OTHER, [203, 0, 113, 7], 443), 20);
    assert_eq!(inventory.devices().count(), expected.len());
}

#[test]
fn strangers_never_push_out_who_is_in_the_policy() {
    let mut inventory = Inventory::default();
    let text = format!("version = 1\n[device.plc]\nmac = \"{DEVICE}\"\n[device.late]\nmac = \"{OTHER}\"\n");
    let policy =
        crate::policy::resolve_texts(&[("a.toml".to_owned(), text)].map(source)).policy.expect("valid");
    inventory.know(Known::of(&policy));
    take(&mut inventory, &arp(DEVICE, DEVICE, PLC), 0);
    let stranger = |n: usize| Mac([0, 0x50, 0, 0, (n >> 8) as u8, n as u8]);
    let arrive = |inventory: &mut Inventory, n: usize, seconds| {
        take(inventory, &arp(stranger(n), stranger(n), [10, 9, (n >> 8) as u8, n as u8]), seconds)
    };
    for n in 0..2 * MOST_DEVICES {
        arrive(&mut inventory, n, 1);
    }
    let beyond = MOST_DEVICES as u64 + 1;
    assert_eq!((inventory.devices().count(), inventory.counts().refused_devices), (MOST_DEVICES, beyond));
    assert!(inventory.changes().count() == MOST_CHANGES);
    // One of the policy finds room at once, a stranger when another was not heard for an hour.
    assert_eq!(take(&mut inventory, &arp(OTHER, OTHER, HMI), 2).len(), 1);
    assert!(arrive(&mut inventory, 9000, 3000).is_empty());
    assert_eq!(arrive(&mut inventory, 9000, 3601).len(), 1);
    assert_eq!((inventory.devices().count(), inventory.counts().forgotten), (MOST_DEVICES, 2));
    device(&inventory, Of::Mac(DEVICE));
    device(&inventory, Of::Mac(OTHER));
}

fn source((path, text): (String, String)) -> crate::policy::SourceFile {
    crate::policy::SourceFile { path, text }
}

#[test]
fn facts_have_a_bound_for_each_kind_and_the_old_makes_room_after_a_day() {
    let mut inventory = Inventory::default();
    for n in 0..3 * MOST_OF_A_KIND as u8 {
        take(&mut inventory, &arp(DEVICE, DEVICE, [10, 20, 9, 1 + n]), n.into());
    }
    let count = |inventory: &Inventory| device(inventory, Of::Mac(DEVICE)).of_kind(Kind::Address).len();
    let refused = 2 * MOST_OF_A_KIND as u64;
    assert_eq!((count(&inventory), inventory.counts().refused_facts), (MOST_OF_A_KIND, refused));
    let later = SignedDuration::from_hours(25).as_secs();
    assert_eq!(take(&mut inventory, &arp(DEVICE, DEVICE, [10, 20, 10, 1]), later).len(), 1);
    assert_eq!((count(&inventory), inventory.counts().refused_facts), (MOST_OF_A_KIND, refused));
}

#[test]
fn the_longest_assignment_names_the_vendor() {
    let mut vendors = Vendors::default();
    let head = "Registry,Assignment,Organization Name,Organization Address\n";
    assert_eq!(
        vendors.add(&format!(
            "{head}MA-L,70B3D5,IEEE Registration Authority,x\nMA-L,001D9C,\"Rockwell, Inc.\",x\n"
        )),
        2
    );
    assert_eq!(vendors.add(&format!("{head}MA-S,70B3D5F2F,TELEPLATFORMS,x\nbroken\n")), 1);
    assert_eq!(vendors.add(&format!("{head}MA-M,741AE09,Private,\n")), 1);
    let of = |text: &str| vendors.of(text.parse().expect("a MAC")).to_string();
    assert_eq!(of("70:b3:d5:f2:f1:23"), "TELEPLATFORMS");
    assert_eq!(of("70:b3:d5:00:01:23"), "IEEE Registration Authority");
    assert_eq!(of("74:1a:e0:9f:00:00"), "Private");
    assert_eq!(of("00:1d:9c:00:00:01"), "Rockwell, Inc.");
    assert_eq!(of("00:00:00:00:00:01"), "unknown");
    assert_eq!(of("02:1d:9c:00:00:01"), "locally administered");
    assert_eq!(Vendors::default().of(DEVICE), Vendor::Unknown);
}

fn report(inventory: &Inventory) -> Report {
    Report::new(inventory, inventory.known(), &Vendors::default())
}

#[test]
fn a_class_is_suggested_with_its_reasons() {
    let suggested = |frames: &[Vec<u8>]| {
        let mut inventory = Inventory::default();
        frames.iter().for_each(|frame| drop(take(&mut inventory, frame, 0)));
        let listed = report(&inventory).devices.remove(0);
        listed.suggested.map(|s| (s.class, s.confidence.name(), s.because.len()))
    };
    assert_eq!(suggested(&[arp(DEVICE, DEVICE, PLC)]), None);
    assert_eq!(suggested(&[accepted(DEVICE, PLC, 502)]), Some(("plc", "guess", 1)));
    let identity = tcp(DEVICE, PLC, 502, &modbus_identity(&[(2, "v1")]));
    assert_eq!(suggested(&[accepted(DEVICE, PLC, 502), identity]), Some(("plc", "likely", 2)));
    assert_eq!(suggested(&[udp(DEVICE, PLC, [44_818, 1], &enip_identity())]).map(|s| s.1), Some("certain"));
    let printer = udp(DEVICE, PLC, [5353, 5353], &mdns_announcement(PLC));
    assert_eq!(suggested(&[printer, accepted(DEVICE, PLC, 9100)]), Some(("printer", "likely", 2)));
}

#[test]
fn an_entry_for_an_unknown_device_is_valid_whatever_it_says() {
    let mut inventory = Inventory::default();
    let name = b"x\"]\n[device.evil]\nmode = 'enforce' #";
    let question = dhcp_question(DEVICE, &[(12, name), (60, "\u{2028}\rversion = 2".as_bytes())]);
    take(&mut inventory, &udp(DEVICE, [0; 4], [68, 67], &question), 0);
    take(&mut inventory, &arp(OTHER, OTHER, PLC), 1);
    take(&mut inventory, &accepted(OTHER, PLC, 502), 1);
    let report = report(&inventory);
    for (listed, expected) in report.devices.iter().zip(["x-device-evil-mode-enforce", "device-010203-2"]) {
        let text = stub(listed, &["device-010203"].into());
        let outcome = crate::policy::resolve_texts(&[source(("a.toml".to_owned(), text.clone()))]);
        let policy = outcome.policy.unwrap_or_else(|| panic!("{text}\n{:?}", outcome.diagnostics));
        let names: Vec<&str> = policy.devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, [expected], "{text}");
        assert_eq!(policy.devices[0].dynamic, expected.starts_with('x'));
        assert!(text.contains("# hardware address: unknown"), "{text}");
    }
}
