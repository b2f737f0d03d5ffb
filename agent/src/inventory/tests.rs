//! Frames that are built here, one for each protocol, for the tests of what they say and of what is kept.
#![allow(clippy::cast_possible_truncation, reason = "what is built here is short")]

mod kept;
mod says;

use etherparse::PacketBuilder;
use jiff::Timestamp;

use crate::model::Mac;

pub(in crate::inventory) const DEVICE: Mac = Mac([0x00, 0x1d, 0x9c, 0xc7, 0xb0, 0x70]);
pub(in crate::inventory) const OTHER: Mac = Mac([0x00, 0x80, 0xf4, 0x01, 0x02, 0x03]);
const PLC: [u8; 4] = [10, 20, 1, 11];
const HMI: [u8; 4] = [10, 20, 2, 20];

pub(in crate::inventory) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).expect("a time")
}

pub(in crate::inventory) fn ethernet(from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &from.0, &ethertype.to_be_bytes(), payload].concat()
}

fn written(build: etherparse::PacketBuilderStep<etherparse::UdpHeader>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    build.write(&mut frame, payload).expect("it fits");
    frame
}

pub(in crate::inventory) fn udp(from: Mac, source: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let build = PacketBuilder::ethernet2(from.0, [0xff; 6]).ipv4(source, HMI, 64).udp(ports[0], ports[1]);
    written(build, payload)
}

pub(in crate::inventory) fn tcp(from: Mac, source: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let build =
        PacketBuilder::ethernet2(from.0, [2; 6]).ipv4(source, HMI, 64).tcp(port, 40_000, 1, 1000).ack(7);
    build.write(&mut frame, payload).expect("it fits");
    frame
}

pub(in crate::inventory) fn accepted(from: Mac, source: [u8; 4], port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let build = PacketBuilder::ethernet2(from.0, [2; 6]).ipv4(source, HMI, 64).tcp(port, 40_000, 1, 1000);
    build.syn().ack(7).write(&mut frame, &[]).expect("it fits");
    frame
}

pub(in crate::inventory) fn arp(from: Mac, hardware: Mac, address: [u8; 4]) -> Vec<u8> {
    let message = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &hardware.0, &address, &[0; 6], &HMI].concat();
    ethernet(from, 0x0806, &message)
}

pub(in crate::inventory) fn modbus_identity(objects: &[(u8, &str)]) -> Vec<u8> {
    let mut message = vec![1, 0x2b, 0x0e, 1, 1, 0, 0, objects.len() as u8];
    for (id, text) in objects {
        message.extend([*id, text.len() as u8]);
        message.extend(text.bytes());
    }
    let length = (message.len() as u16).to_be_bytes();
    [&[0, 9, 0, 0, length[0], length[1]][..], &message].concat()
}

pub(in crate::inventory) fn dhcp_question(client: Mac, options: &[(u8, &[u8])]) -> Vec<u8> {
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

pub(in crate::inventory) fn lldp_message(lasts: u16) -> Vec<u8> {
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

pub(in crate::inventory) fn dcp_answer(frame: u16, service: u8, kind: u8) -> Vec<u8> {
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

pub(in crate::inventory) fn enip_identity() -> Vec<u8> {
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

pub(in crate::inventory) fn bacnet_message(control: &[u8], message: &[u8]) -> Vec<u8> {
    let length = (4 + 1 + control.len() + message.len()) as u16;
    [&[0x81, 0x0b][..], &length.to_be_bytes(), &[1], control, message].concat()
}

/// Device 1234 of vendor 260.
pub(in crate::inventory) const I_AM: [u8; 14] =
    [0x10, 0x00, 0xc4, 0x02, 0x00, 0x04, 0xd2, 0x22, 0x05, 0xc4, 0x91, 0x03, 0x21, 0x04];

pub(in crate::inventory) fn szl(id: u16, each: u16, records: &[u8]) -> Vec<u8> {
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

pub(in crate::inventory) fn modules() -> Vec<u8> {
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

pub(in crate::inventory) fn mdns_announcement(address: [u8; 4]) -> Vec<u8> {
    let instance = ["Office Printer", "_ipp", "_tcp", "local"];
    let records = [
        record(&["_ipp", "_tcp", "local"], 12, &domain(&instance)),
        record(&instance, 16, b"\x0ety=LaserJet 99\x08fw=2.1.0"),
        record(&["printer-9", "local"], 1, &address),
        record(&["somebody-else", "local"], 1, &[10, 9, 9, 9]),
    ];
    [&[0, 0, 0x84, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0][..], &records.concat()].concat()
}
