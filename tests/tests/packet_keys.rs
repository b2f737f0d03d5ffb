//! The law of keys: two frames with the same key are the same to a decision.
//!
//! In: frames of the packet table, changed at random, and each again with changes that no decision sees. Out: what the
//! parser says of any two with one key differs in nothing but length, hops and what TCP says besides its control bits. And
//! the law has teeth: a key that forgets something breaks it.

mod packet;

use std::collections::HashMap;

use bulkhead_common::{
    cache::{
        STAMPS,
        key::{self, Told},
    },
    parse::{Claim, Packet, parse},
    reason::Reason,
    wire::{protocol, tcp},
};
use packet::{
    LO,
    keys::{Key, key},
    mutate,
    random::{self, Random},
};

const FRAMES: usize = 60_000;

/// What a decision sees of a packet. What DHCP claims is in no key, and nothing of DHCP is remembered.
fn seen(packet: &Packet) -> Packet {
    let is_dhcp = packet.is_dhcp_request() || packet.is_dhcp_reply();
    let claim = if is_dhcp { Claim::default() } else { packet.claim };
    Packet { len: 0, hops: 0, tcp_flags: packet.tcp_flags & tcp::CONTROL, claim, ..*packet }
}

/// Changes that no decision sees, of what stands where in most frames: service, identification, hops, checksum, sequence, payload,
/// padding, TCP's other bits, the priority and the kind of a tag, the flow label.
fn unseen(random: &mut Random, frame: &mut Vec<u8>) {
    let tagged = matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0]));
    let ip = if tagged { 18 } else { 14 };
    let is_v6 = frame.get(ip - 2..ip) == Some(&[0x86, 0xdd]);
    let (fields, transport): (&[usize], _) =
        if is_v6 { (&[3, 2, 7], ip + 40) } else { (&[1, 4, 5, 8, 10, 11], ip + 20) };
    let protocol = frame.get(if is_v6 { ip + 6 } else { ip + 9 }).copied();
    let mut places: Vec<(usize, u8)> = fields.iter().map(|field| (ip + field, 0xff)).collect();
    if is_v6 {
        places.extend([(ip, 0x0f), (ip + 1, 0xff)]);
    }
    if tagged {
        places.push((14, 0xf0));
        let tpid: [u8; 2] = *random.pick(&[[0x81, 0], [0x88, 0xa8], [0x91, 0]]);
        frame[12..14].copy_from_slice(&tpid);
    }
    // Of a segment its sequence number, urgent pointer and other bits; of a datagram its checksum.
    match protocol {
        Some(protocol::TCP) => {
            places.extend([(transport + 6, 0xff), (transport + 13, !tcp::CONTROL), (transport + 17, 0xff)]);
        }
        Some(protocol::UDP) => places.push((transport + 7, 0xff)),
        Some(_) | None => {}
    }
    for (at, mask) in places {
        if let Some(byte) = frame.get_mut(at) {
            *byte ^= random.next().to_le_bytes()[0] & mask;
        }
    }
    let padding = random.below(9);
    frame.resize(frame.len() + padding, 0xaa);
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How many frames were compared with another of their key; or two that break the law. `forget` spoils a key.
fn law(seed: u64, frames: usize, forget: impl Fn(&mut [u64])) -> Result<usize, String> {
    let corpus = random::corpus();
    let mut random = Random::new(seed);
    let mut known: HashMap<Key, (Packet, Vec<u8>)> = HashMap::new();
    let mut compared = 0;
    for _ in 0..frames {
        let frame = mutate::frame(&mut random, &corpus);
        let mut other = frame.clone();
        unseen(&mut random, &mut other);
        for bytes in [frame, other] {
            let Some(mut found) = key(&bytes, u64::from(LO)) else { continue };
            match &mut found {
                Key::V4(words) => forget(words),
                Key::V6(words) => forget(words),
            }
            let packet = parse(bytes.as_slice());
            let fault = packet.fault;
            if !matches!(
                fault,
                None | Some(Reason::MartianSource | Reason::MartianDestination | Reason::TcpFlags)
            ) {
                return Err(format!("{fault:?} with a key\n{}", hex(&bytes)));
            }
            match known.get(&found) {
                None => drop(known.insert(found, (seen(&packet), bytes))),
                Some((first, _)) if *first == seen(&packet) => compared += 1,
                Some((first, before)) => {
                    let second = seen(&packet);
                    return Err(format!("{first:?}\n{}\n{second:?}\n{}", hex(before), hex(&bytes)));
                }
            }
        }
    }
    Ok(compared)
}

#[test]
fn frames_with_one_key_are_the_same_to_a_decision() {
    let mut compared = 0;
    for seed in 0..4 {
        compared += law(seed, FRAMES, |_| {})
            .unwrap_or_else(|two| panic!("seed {seed}: one key, two packets\n{two}"));
    }
    assert!(compared > FRAMES, "only {compared} frames were compared with another");
}

#[test]
fn key_that_forgets_something_breaks_the_law() {
    let forgetful: [(&str, usize, u64); 10] = [
        ("the destination MAC", 0, 0x0000_ffff_ffff_ffff),
        ("the first half of the source MAC", 0, 0xffff_0000_0000_0000),
        ("the rest of the source MAC", 1, 0xffff_ffff),
        ("the VLAN", 1, 0xfff0_0000_0000_0000),
        ("FIN", 1, 0x0001_0000_0000_0000),
        ("SYN", 1, 0x0002_0000_0000_0000),
        ("RST", 1, 0x0004_0000_0000_0000),
        ("ACK", 1, 0x0008_0000_0000_0000),
        ("the source", 2, 0xffff_ffff),
        ("a port", 3, 0xffff_0000),
    ];
    for (what, word, bits) in forgetful {
        let found = law(0, FRAMES, |words| words[word] &= !bits);
        assert!(found.is_err(), "a key without {what} breaks nothing: {found:?}");
    }
    // Of IPv6 each part of the addresses and the ports.
    for word in 2..7 {
        let found = law(0, FRAMES, |words| {
            if words.len() == 8 {
                words[word] = 0;
            }
        });
        assert!(found.is_err(), "a key without word {word} breaks nothing: {found:?}");
    }
}

/// Frames that have a key, from a seed, with what the parser says of them.
fn keyed(seed: u64, frames: usize) -> Vec<(Key, Packet)> {
    let corpus = random::corpus();
    let mut random = Random::new(seed);
    let frames = std::iter::repeat_with(|| mutate::frame(&mut random, &corpus)).take(frames);
    let found: Vec<_> =
        frames.filter_map(|frame| Some((key(&frame, 1023)?, parse(frame.as_slice())))).collect();
    assert!(found.len() > 1000, "{} frames have a key", found.len());
    assert!(found.iter().any(|(key, _)| matches!(key, Key::V6(_))));
    found
}

#[test]
fn what_is_told_of_a_key_is_what_its_frame_says() {
    for (key, packet) in keyed(5, FRAMES) {
        let told = match &key {
            Key::V4(words) => Told::of_v4(words),
            Key::V6(words) => Told::of_v6(words),
        };
        assert_eq!(told.protocol(), packet.protocol, "{packet:?}");
        let Told {
            destination_mac,
            source_mac,
            vlan,
            control,
            interface,
            source,
            destination,
            source_port,
            destination_port,
        } = told;
        assert_eq!(interface, 1023);
        assert_eq!((source_mac, destination_mac), (packet.source_mac, packet.destination_mac));
        assert_eq!((vlan, packet.inner_vlan), (packet.vlan, 0));
        let bits = if packet.protocol == protocol::TCP { packet.tcp_flags & tcp::CONTROL } else { 0 };
        assert_eq!(control, bits);
        assert_eq!((source, destination), (packet.source, packet.destination));
        assert_eq!((source_port, destination_port), (packet.source_port, packet.destination_port));
    }
}

/// The number of a flow as the kernel finds it before it reads the packet: addresses, ports, and the same the other way.
fn placed(seeds: &key::Seeds, key: &Key) -> [u32; 2] {
    let (ends, ports, extra) = match key {
        Key::V4(words) => (words[2], words[3], words[1] >> 32),
        Key::V6(words) => {
            let [source, destination] = [2, 4].map(|at| key::digest(seeds, words[at], words[at + 1]));
            (source | destination << 32, words[6], words[1] >> 32)
        }
    };
    let turned = (ports & 0xffff) << 16 | ports >> 16;
    [key::place(seeds, ends, ports, extra).flow, key::place(seeds, ends.rotate_left(32), turned, 0).flow]
}

#[test]
fn key_says_of_which_flows_packets_change_the_state() {
    let mut found = [0; 2];
    for (key, packet) in keyed(9, FRAMES).into_iter().filter(|(_, packet)| packet.fault.is_none()) {
        let (Key::V4([_, word, ..]) | Key::V6([_, word, ..])) = key;
        let is_tcp = packet.protocol == protocol::TCP;
        assert_eq!(key::has_state(word), is_tcp, "{packet:?}");
        found[usize::from(is_tcp)] += 1;
    }
    assert!(found.into_iter().all(|count| count > 1000), "{found:?}");
}

#[test]
fn flow_has_one_number_whichever_way_it_is_looked_at() {
    let mut random = Random::new(6);
    let mut met = std::collections::BTreeSet::new();
    for (key, packet) in keyed(7, FRAMES).into_iter().filter(|(_, packet)| packet.fault.is_none()) {
        let seeds = [random.next(), random.next()];
        let answer = Packet {
            source: packet.destination,
            destination: packet.source,
            source_port: packet.destination_port,
            destination_port: packet.source_port,
            ..packet
        };
        let number = key::flow(&seeds, &packet);
        assert_eq!(placed(&seeds, &key), [number; 2], "{packet:?}");
        assert_eq!(key::flow(&seeds, &answer), number, "{packet:?}");
        assert!(number < STAMPS);
        met.insert(number);
    }
    assert_eq!(met.len(), STAMPS as usize, "each number is that of some flow");
}

/// A plant has few addresses and ports that follow each other: none of that may show in where its flows are kept.
#[test]
fn flows_of_a_plant_are_spread_over_the_sets() {
    const SETS: u16 = 1024;
    let mut random = Random::new(8);
    let address = |host: u16| 0x0a14_0100_u32 + u32::from(host);
    // Clients of one server; servers of one client; one pair and its ports; pairs with one sum.
    type Shape = fn(u16) -> [u16; 4];
    let shapes: [(&str, Shape); 4] = [
        ("clients of a server", |n| [n % 250, 251, 40_000 + n / 250, 502]),
        ("servers of a client", |n| [251, n % 250, 40_000 + n / 250, 502]),
        ("ports of a pair", |n| [1, 2, 32_768 + n, 4840]),
        ("pairs with one sum", |n| [n % 250, 250 - n % 250, 30_000 + n, 30_000 - n]),
    ];
    for (what, flow) in shapes {
        for _ in 0..8 {
            let seeds = [random.next(), random.next()];
            let mut load = vec![0_usize; usize::from(SETS)];
            for n in 0..SETS {
                let [from, to, source, destination] = flow(n);
                let ends = u64::from(address(from).swap_bytes()) | u64::from(address(to).swap_bytes()) << 32;
                let ports = u64::from(source.swap_bytes()) | u64::from(destination.swap_bytes()) << 16;
                load[(key::place(&seeds, ends, ports, 1).set % u32::from(SETS)) as usize] += 1;
            }
            // Thrown at random, 1 in 270 sets has more than four of as many flows as there are sets: some fifteen flows.
            let homeless: usize = load.iter().map(|flows| flows.saturating_sub(4)).sum();
            assert!(homeless < 40, "{what}: {homeless} flows of {SETS} find no room");
        }
    }
}
