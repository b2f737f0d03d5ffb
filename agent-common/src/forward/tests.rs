//! What may leave directly, and what a router changes in it, against plain recomputations.

use std::{vec, vec::Vec};

use super::*;

const V6_SOURCE: [u8; 16] = [0xfd, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20];
const V6_DESTINATION: [u8; 16] = [0xfd, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// A datagram of 12 bytes from 10.20.2.20:49152 to 10.20.1.11:502, type of service 0xb8.
fn v4_frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 10, 20, 2, 1, 2, 0, 10, 20, 2, 20, 8, 0];
    frame.extend([0x45, 0xb8, 0, 40, 0x12, 0x34, 0x40, 0, 64, protocol::UDP, 0, 0]);
    frame.extend([10, 20, 2, 20, 10, 20, 1, 11]);
    frame.extend([0xc0, 0, 1, 0xf6, 0, 20, 0, 0]);
    frame.extend([0; 12]);
    with_its_checksum(frame)
}

fn with_its_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    frame[24..26].fill(0);
    let check = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&check.to_be_bytes());
    frame
}

/// The same, whatever a frame carries.
fn made_whole(frame: Vec<u8>) -> Vec<u8> {
    if frame[12] == 8 { with_its_checksum(frame) } else { frame }
}

/// The same over IPv6, traffic class 0xb8 and flow label 0x12345.
fn v6_frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 10, 20, 2, 1, 2, 0, 10, 20, 2, 20, 0x86, 0xdd];
    frame.extend([0x6b, 0x81, 0x23, 0x45, 0, 20, protocol::UDP, 64]);
    frame.extend(V6_SOURCE);
    frame.extend(V6_DESTINATION);
    frame.extend([0xc0, 0, 1, 0xf6, 0, 20, 0, 0]);
    frame.extend([0; 12]);
    frame
}

/// The one's complement sum of a header (RFC 1071 1): all ones when its checksum is right.
fn sum(header: &[u8]) -> u16 {
    let pairs = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn ask(frame: Vec<u8>) -> Result<Question, u32> {
    question(&frame.as_slice(), 7)
}

#[test]
fn checksum_one_hop_later_is_that_of_the_changed_header() {
    let word = |header: &[u8]| u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
    let mut header: [u8; 20] = v4_frame()[14..34].try_into().expect("a header");
    for ttl in 2..=255 {
        // Every identification makes another checksum: all there are.
        for id in 0..=u16::MAX {
            header[4..6].copy_from_slice(&id.to_be_bytes());
            header[8] = ttl;
            header[10..12].fill(0);
            let check = !sum(&header);
            header[10..12].copy_from_slice(&check.to_be_bytes());
            let mut later = header;
            later[8..12].copy_from_slice(&decreased(word(&header)).to_le_bytes());
            assert_eq!((later[8], later[9]), (ttl - 1, protocol::UDP));
            let mut plain = later;
            plain[10..12].fill(0);
            assert_eq!(later[10..12], (!sum(&plain)).to_be_bytes(), "{header:?}");
            // Not every identification for every time to live: a second, instead of minutes.
            if ttl % 51 != 0 && id >= 64 {
                break;
            }
        }
    }
}

#[test]
fn header_with_a_wrong_checksum_is_the_kernels() {
    let mut frame = v4_frame();
    for id in 0..=u16::MAX {
        frame[18..20].copy_from_slice(&id.to_be_bytes());
        let whole = with_its_checksum(frame.clone());
        let right = u16::from_be_bytes([whole[24], whole[25]]);
        assert!(ask(whole.clone()).is_ok(), "{id:#06x}");
        // Not every one for every identification: a second, instead of minutes.
        for wrong in if id % 0x1111 == 0 { 1..=u16::MAX } else { 1..=2 } {
            let mut other = whole.clone();
            other[24..26].copy_from_slice(&(right ^ wrong).to_be_bytes());
            // Both zeros of one's complement are the same number (RFC 1071 1).
            let is_zero = matches!([right, right ^ wrong], [0, 0xffff] | [0xffff, 0]);
            let wanted = if is_zero { Ok(()) } else { Err(fate::KIND) };
            assert_eq!(ask(other).map(drop), wanted, "{right:#06x}, {wrong:#06x}");
        }
    }
    // Whichever bit has changed on its way.
    for bit in 14 * 8..34 * 8 {
        let mut other = v4_frame();
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(ask(other).map(drop), Err(fate::KIND), "bit {bit}");
    }
}

#[test]
fn question_has_what_the_kernel_is_asked_and_nothing_else() {
    let v4 = ask(v4_frame()).expect("it may leave");
    assert_eq!((v4.is_v6(), v4.protocol(), v4.class(), v4.length), (false, protocol::UDP, 0xb8, 40));
    assert_eq!(v4.mac(), u64::from_le_bytes([2, 0, 10, 20, 2, 1, 0, 0]));
    assert_eq!(v4.near[1].to_le_bytes(), [10, 20, 2, 20, 10, 20, 1, 11]);
    assert_eq!(v4.near[2].to_le_bytes(), [0xc0, 0, 1, 0xf6, 7, 0, 0, 0]);
    let v6 = ask(v6_frame()).expect("it may leave");
    assert_eq!((v6.is_v6(), v6.protocol(), v6.mac(), v6.length), (true, protocol::UDP, v4.mac(), 60));
    assert_eq!(v6.class().to_le_bytes(), [0x6b, 0x81, 0x23, 0x45]);
    assert_eq!([v6.far[0], v6.far[1]].map(u64::to_le_bytes).concat(), V6_SOURCE);
    assert_eq!([v6.far[2], v6.near[1]].map(u64::to_le_bytes).concat(), V6_DESTINATION);
    assert_eq!(v6.near[2].to_le_bytes(), [0xc0, 0, 1, 0xf6, 7, 0, 0, 0x80]);
    // Octets of the frame that make no other question: source MAC, identification, time to live, checksum; and what is behind the ports.
    let same = |frame: fn() -> Vec<u8>, at: usize, bit: u8| {
        let mut other = frame();
        other[at] ^= bit;
        ask(made_whole(other)).is_ok_and(|other| Ok(other) == ask(frame()))
    };
    let free =
        |frame: fn() -> Vec<u8>| (0..frame().len()).filter(|at| same(frame, *at, 0x04)).collect::<Vec<_>>();
    let of_v4: Vec<usize> = (6..12).chain([18, 19, 22, 24, 25]).chain(38..54).collect();
    assert_eq!(free(v4_frame), of_v4);
    let of_v6: Vec<usize> = (6..12).chain([21]).chain(58..74).collect();
    assert_eq!(free(v6_frame), of_v6);
    // Of the type of service those bits that a router may set (RFC 3168 5).
    let bits = |frame, at| (0..8).filter(|bit| same(frame, at, 1 << bit)).collect::<Vec<_>>();
    assert_eq!(bits(v4_frame, 15), [0, 1]);
    assert_eq!(bits(v6_frame, 15), [4, 5]);
}

#[test]
fn what_is_not_plain_goes_to_the_kernel() {
    let changed = |frame: fn() -> Vec<u8>, changes: &[(usize, u8)]| {
        let mut frame = frame();
        changes.iter().for_each(|(at, value)| frame[*at] = *value);
        ask(made_whole(frame)).map(drop)
    };
    assert_eq!(changed(v4_frame, &[(22, 2)]), Ok(()));
    assert_eq!(changed(v6_frame, &[(21, 2)]), Ok(()));
    for ttl in [0, 1] {
        assert_eq!(changed(v4_frame, &[(22, ttl)]), Err(fate::TTL));
        assert_eq!(changed(v6_frame, &[(21, ttl)]), Err(fate::TTL));
    }
    for (what, changes) in [
        ("ARP", &[(12, 8), (13, 6)][..]),
        ("a tag", &[(12, 0x81), (13, 0)]),
        ("options", &[(14, 0x46)]),
        ("a first fragment", &[(20, 0x20)]),
        ("a later fragment", &[(21, 1)]),
        ("longer than the frame", &[(17, 41)]),
        ("shorter than its headers", &[(17, 27)]),
        ("ICMP", &[(23, protocol::ICMP)]),
        ("SCTP", &[(23, protocol::SCTP)]),
        ("from network 0", &[(26, 0)]),
        ("from the loopback", &[(26, 127)]),
        ("from the link", &[(26, 169), (27, 254)]),
        ("from a group", &[(26, 224)]),
        ("to the link", &[(30, 169), (31, 254)]),
        ("to a group", &[(30, 239)]),
        ("to a reserved address", &[(30, 240)]),
        ("to everybody", &[(30, 255), (31, 255), (32, 255), (33, 255)]),
    ] {
        assert_eq!(changed(v4_frame, changes), Err(fate::KIND), "{what}");
    }
    // Next to what is excepted.
    for changes in [&[(26, 126)][..], &[(26, 223)], &[(26, 169), (27, 253)], &[(20, 0x40)]] {
        assert_eq!(changed(v4_frame, changes), Ok(()), "{changes:?}");
    }
    for (what, changes) in [
        ("longer than the frame", &[(19, 21)][..]),
        ("shorter than a header", &[(19, 7)]),
        ("extension headers", &[(20, protocol::DESTINATION_OPTIONS)]),
        ("a fragment", &[(20, protocol::FRAGMENT)]),
        ("ICMPv6", &[(20, protocol::ICMPV6)]),
        ("from the link", &[(22, 0xfe), (23, 0x80)]),
        ("to the link", &[(38, 0xfe), (39, 0xbf)]),
        ("to a group", &[(38, 0xff)]),
        ("to an address of IPv4", &[(38, 0), (41, 0)]),
    ] {
        assert_eq!(changed(v6_frame, changes), Err(fate::KIND), "{what}");
    }
    assert_eq!(changed(v6_frame, &[(22, 0xfe), (23, 0xc0)]), Ok(()));
    for frame in [v4_frame(), v6_frame()] {
        for cut in 0..frame.len() {
            assert_eq!(ask(frame[..cut].to_vec()).map(drop), Err(fate::KIND), "{cut} bytes");
        }
    }
}

#[test]
fn what_is_behind_a_packet_goes_no_way_but_the_kernels() {
    let with = |mut frame: Vec<u8>, more: usize| {
        frame.extend(vec![7; more]);
        ask(frame).map(drop)
    };
    // 54 bytes and 74.
    assert_eq!(with(v4_frame(), 6), Ok(()), "filled up to the shortest frame");
    assert_eq!(with(v4_frame(), 7), Err(fate::KIND));
    assert_eq!(with(v4_frame(), 1400), Err(fate::KIND));
    assert_eq!(with(v6_frame(), 0), Ok(()));
    assert_eq!(with(v6_frame(), 1), Err(fate::KIND));
    let mut larger = v4_frame();
    larger[17] = 60;
    let larger = with_its_checksum(larger);
    assert_eq!(with(larger.clone(), 20), Ok(()));
    assert_eq!(with(larger, 21), Err(fate::KIND));
}

#[test]
fn way_holds_for_its_time_edition_and_size() {
    let next = Next { edition: 3, until: 1000, fits: 1500, to: 4, ..Next::default() };
    assert!(next.holds(3, 999, 1500) && next.holds(3, 1, 60));
    assert!(!next.holds(4, 999, 60), "a route has changed");
    assert!(!next.holds(3, 1000, 60), "its time is over");
    assert!(!next.holds(3, 999, 1501) && next.is_alive(3, 999), "one packet is too large");
    let none = Next { fate: fate::NOT_FORWARDED, fits: 0, ..next };
    assert!(none.holds(3, 999, 9000), "what stays here has any size");
}

#[test]
fn place_that_is_given_up_is_that_of_the_way_which_ends_first() {
    let next = |until, edition| Next { until, edition, ..Next::default() };
    let given_up = |set: [Next; WAYS], first: usize| {
        let places = (first..first + WAYS).map(|at| at % WAYS);
        places.fold(Place::new(first), |place, at| place.or(at, &set[at], 7, 1000)).at
    };
    let set = [next(1900, 7), next(1500, 7), next(1800, 7), next(1500, 7)];
    assert_eq!([0, 1, 2, 3].map(|first| given_up(set, first)), [1, 1, 3, 3], "the first of equal ones");
    for ended in [next(1000, 7), next(900, 7), next(1900, 6), Next::default()] {
        let set = [next(1001, 7), next(1900, 7), ended, next(1900, 7)];
        assert_eq!([0, 1, 2, 3].map(|first| given_up(set, first)), [2; 4], "{ended:?}");
    }
    // Ticks begin anew.
    let late = u32::MAX - 100;
    let set = [next(late, 7), next(50, 7)];
    let rests = set.map(|next| next.rest(7, late - 20));
    assert_eq!(rests, [20, 171]);
}

#[test]
fn way_of_one_question_is_not_that_of_another() {
    let (v4, v6) = (ask(v4_frame()).expect("plain"), ask(v6_frame()).expect("plain"));
    let hop = |question: &Question| Hop { near: question.near, far: question.far, ..Hop::default() };
    assert!(hop(&v4).is_of(&v4) && hop(&v6).is_of(&v6));
    assert!(!hop(&v4).is_of(&v6) && !hop(&v6).is_of(&v4));
    assert!(!Hop::default().is_of(&v4) && !Hop::default().is_of(&v6));
    for at in 0..3 {
        let (mut a, mut b) = (hop(&v4), hop(&v6));
        (a.near[at], b.near[at]) = (a.near[at] ^ 1, b.near[at] ^ 1);
        assert!(!a.is_of(&v4) && !b.is_of(&v6), "{at}");
    }
    for at in 0..4 {
        let mut hop = hop(&v6);
        hop.far[at] ^= 1;
        assert!(!hop.is_of(&v6), "{at}");
    }
}
