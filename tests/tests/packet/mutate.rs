//! Frames that nobody thought of, from a seed.
//!
//! They start as those of the packet table, because pure noise dies in the first header; then addresses, ports, types
//! and single bits change, tags, fragments and extension headers appear, the frame is cut or grows.

use std::net::Ipv6Addr;

use bulkhead_tests::frame::{Host, host, names};

use super::random::Random;

const PORTS: &[u16] = &[
    0, 22, 53, 67, 68, 80, 123, 161, 319, 500, 502, 546, 547, 1023, 1024, 1900, 2905, 5353, 8080, 44818,
    47808, 49152, 50000, 60500, 65535,
];
const ETHERTYPES: &[u16] = &[
    0x0800, 0x0806, 0x86dd, 0x8892, 0x88b8, 0x88ba, 0x88a4, 0x88cc, 0x888e, 0x88e3, 0x88f7, 0x88fb, 0x8809,
    0x0026,
];

/// A frame of the corpus, changed in a few places. At least 14 bytes: BPF_PROG_TEST_RUN takes no shorter one.
pub fn frame(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = random.pick(corpus).clone();
    for _ in 0..random.below(4) {
        let at = network(&frame);
        if random.once_in(3) {
            of_every_kind(random, &mut frame);
        } else if frame.get(at - 2..at) == Some(&[0x86, 0xdd]) {
            of_v6(random, &mut frame, at);
        } else {
            of_v4(random, &mut frame, at);
        }
    }
    frame.resize(frame.len().max(14), 0);
    frame
}

/// Other control bits, of a frame that may be a segment: what opens, goes on, closes and resets.
pub fn control(random: &mut Random, frame: &mut [u8]) {
    let at = network(frame);
    let (protocol, flags) =
        if frame.get(at - 2..at) == Some(&[0x86, 0xdd]) { (at + 6, at + 53) } else { (at + 9, at + 33) };
    if frame.get(protocol) == Some(&6) {
        put(frame, flags, &[*random.pick(&[0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14])]);
    }
}

/// Where what follows the EtherType begins, if the tags are as most frames have them.
fn network(frame: &[u8]) -> usize {
    let is_tag = |at: usize| matches!(frame.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0]));
    14 + if is_tag(12) { 4 } else { 0 } + if is_tag(12) && is_tag(16) { 4 } else { 0 }
}

fn someone(random: &mut Random) -> Host {
    let all: Vec<&str> = names().collect();
    host(random.pick::<&str>(&all)).expect("it is in the list")
}

fn of_every_kind(random: &mut Random, frame: &mut Vec<u8>) {
    match random.below(8) {
        0 => put(frame, 0, &someone(random).mac),
        1 => put(frame, 6, &someone(random).mac),
        2 if frame.len() >= 12 => {
            let tpid: [u8; 2] = *random.pick(&[[0x81, 0], [0x88, 0xa8], [0x91, 0]]);
            let id = *random.pick(&[0_u8, 1, 7, 9]);
            frame.splice(12..12, [tpid[0], tpid[1], 0, id]);
        }
        3 => frame.truncate(random.below(frame.len() + 1)),
        4 => frame.resize(frame.len() + random.below(64), 0x55),
        5 => {
            let at = network(frame);
            put(frame, at - 2, &random.pick(ETHERTYPES).to_be_bytes());
        }
        _ => {
            let at = random.below(frame.len().clamp(1, 128));
            let bit = 1 << random.below(8);
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= bit;
            }
        }
    }
}

fn of_v4(random: &mut Random, frame: &mut [u8], ip: usize) {
    let Host { mac, v4, v6: _ } = someone(random);
    let port = random.pick(PORTS).to_be_bytes();
    match random.below(12) {
        0 | 1 => put(frame, ip + 12, &v4.octets()),
        2 | 3 => put(frame, ip + 16, &v4.octets()),
        4 => put(frame, ip + 20, &port),
        5 => put(frame, ip + 22, &port),
        // ARP sender hardware address; in IPv4 the middle of the header.
        6 => put(frame, ip + 8, &mac),
        7 => answer(frame, ip + 12, 4, ip + 20),
        8 => put(frame, ip + 9, &[*random.pick(&[1, 2, 6, 17, 47, 58, 132])]),
        // TCP flags, or an ICMP type.
        9 => {
            let byte = random.next().to_le_bytes()[0];
            put(frame, if random.once_in(2) { ip + 33 } else { ip + 20 }, &[byte]);
        }
        // A fragment.
        10 => put(frame, ip + 6, &[*random.pick(&[0, 0x20, 0x40]), *random.pick(&[0, 1, 2, 3, 4])]),
        // DHCP: your address, and the client's MAC.
        _ if random.once_in(2) => put(frame, ip + 44, &v4.octets()),
        _ => put(frame, ip + 56, &mac),
    }
}

fn of_v6(random: &mut Random, frame: &mut Vec<u8>, ip: usize) {
    let Host { mac, v4: _, v6 } = someone(random);
    let address = match random.below(6) {
        0 | 1 => someone(random).link_local(),
        2 => of_hardware(random, mac),
        _ => v6,
    };
    let port = random.pick(PORTS).to_be_bytes();
    match random.below(14) {
        0 | 1 => put(frame, ip + 8, &address.octets()),
        2 | 3 => put(frame, ip + 24, &address.octets()),
        4 => put(frame, ip + 40, &port),
        5 => put(frame, ip + 42, &port),
        6 => answer(frame, ip + 8, 16, ip + 40),
        7 => put(frame, ip + 6, &[*random.pick(&[0, 1, 2, 6, 17, 43, 44, 47, 58, 60, 132, 135])]),
        8 => {
            let byte = *random.pick(&[1_u8, 2, 128, 129, 130, 133, 134, 135, 136, 137, 143]);
            put(frame, ip + 40, &[byte]);
        }
        // Neighbour discovery: the target, and the option's MAC.
        9 => put(frame, ip + 48, &address.octets()),
        10 => put(frame, ip + 66, &mac),
        11 => put(frame, ip + 7, &[*random.pick(&[0, 1, 64, 255])]),
        _ if frame.len() >= ip + 40 => {
            // A header between: of options, a route, or a fragment.
            let kind = *random.pick(&[0_u8, 43, 44, 44, 60]);
            let word = *random.pick(&[0_u8, 0, 1, 8, 16, 17]);
            let header = [frame[ip + 6], 0, 0, word, 0, 0, 0, 7];
            frame[ip + 6] = kind;
            let length = u16::from_be_bytes([frame[ip + 4], frame[ip + 5]]).wrapping_add(8);
            put(frame, ip + 4, &length.to_be_bytes());
            frame.splice(ip + 40..ip + 40, header);
        }
        _ => {}
    }
}

/// An address made of a hardware address (RFC 4291 appendix A): of the link, of the world, of a group.
fn of_hardware(random: &mut Random, [a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    let prefix = *random.pick(&[[0xfe, 0x80, 0, 0], [0x20, 0x01, 0x0d, 0xb8], [0xff, 0x3e, 0, 0]]);
    let [p, q, r, s] = prefix;
    Ipv6Addr::from([p, q, r, s, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Both ends change places, as in an answer.
fn answer(frame: &mut [u8], addresses: usize, len: usize, ports: usize) {
    if frame.len() < ports + 4 {
        return;
    }
    for i in 0..6 {
        frame.swap(i, 6 + i);
    }
    for i in 0..len {
        frame.swap(addresses + i, addresses + len + i);
    }
    for i in 0..2 {
        frame.swap(ports + i, ports + 2 + i);
    }
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
