//! What each frame says of its sender.

use etherparse::PacketBuilder;

use super::{super::*, *};

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
        (Kind::Description, "Office Printer"),
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
