//! IP packets of both families from their parts, checksums right: what the kernel forwards, and conntrack believes.
//!
//! In: addresses, a transport header, what stands between (extension headers, cuts). Out: packets that start with the
//! IP header. Made by hand: the judge must not believe the code under test.

use std::net::IpAddr;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SCTP: u8 = 132;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

/// Bytes of payload in every fragment but the last: no IPv6 link carries less than 1280 in one packet.
const PIECE: usize = 1400;

/// What stands between the IP header and the transport header, or cuts the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    /// As many fragments as needed, in order.
    Fragments,
    /// IPv6 only: hop-by-hop options.
    HopByHop,
    /// IPv6 only: destination options.
    Destination,
    /// IPv6 only: hop-by-hop, then destination options.
    Both,
    /// IPv6 only: a fragment header without another fragment (RFC 6946).
    Atomic,
}

/// Two ends of a packet, addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
}

impl Way {
    pub(crate) fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).expect("packets are short")
}

/// RFC 1071.
fn sum(bytes: &[u8], mut start: u32) -> u16 {
    for pair in bytes.chunks(2) {
        start += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while start > 0xffff {
        start = (start & 0xffff) + (start >> 16);
    }
    !u16::try_from(start).expect("folded")
}

/// With the pseudo header of either family, whose sum is the same (RFC 9293 3.1, RFC 8200 8.1).
fn transport_sum(way: Way, protocol: u8, bytes: &[u8]) -> [u8; 2] {
    let mut pseudo = octets(way.from);
    pseudo.extend(octets(way.to));
    pseudo.extend([0, protocol]);
    pseudo.extend(length(bytes).to_be_bytes());
    let start = u32::from(!sum(&pseudo, 0));
    sum(bytes, start).to_be_bytes()
}

/// `flags` as in the header.
pub(crate) fn tcp(way: Way, ports: [u16; 2], flags: u8, numbers: [u32; 2], payload: &[u8]) -> Vec<u8> {
    let mut bytes = ports.map(u16::to_be_bytes).concat();
    bytes.extend(numbers.map(u32::to_be_bytes).concat());
    bytes.extend([5 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    bytes.extend(payload);
    let sum = transport_sum(way, TCP, &bytes);
    bytes[16..18].copy_from_slice(&sum);
    bytes
}

pub(crate) fn udp(way: Way, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut bytes = ports.map(u16::to_be_bytes).concat();
    bytes.extend((length(payload) + 8).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    let sum = transport_sum(way, UDP, &bytes);
    // A sum of zero would mean none (RFC 768).
    bytes[6..8].copy_from_slice(if sum == [0, 0] { &[0xff, 0xff] } else { &sum });
    bytes
}

/// ICMP of the way's family; `rest` are the four octets behind the checksum.
pub(crate) fn icmp(way: Way, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest);
    bytes.extend(payload);
    let sum = match way.from {
        IpAddr::V4(_) => sum(&bytes, 0).to_be_bytes(),
        IpAddr::V6(_) => transport_sum(way, ICMPV6, &bytes),
    };
    bytes[2..4].copy_from_slice(&sum);
    bytes
}

/// One chunk of `kind` (RFC 9260 3).
pub(crate) fn sctp(ports: [u16; 2], tag: u32, kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = ports.map(u16::to_be_bytes).concat();
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([kind, if kind == 0 { 3 } else { 0 }]);
    bytes.extend((length(value) + 4).to_be_bytes());
    bytes.extend(value);
    let sum = crc32c(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// RFC 9260 appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// A whole packet, or its fragments. `id` is the identification of IPv4 and the flow label of IPv6: no router changes
/// either, so what arrives can be told.
pub(crate) fn packets(way: Way, id: u16, protocol: u8, body: &[u8], extra: Extra) -> Vec<Vec<u8>> {
    match extra {
        Extra::Nothing => vec![header(way, id, protocol, [0, 0], body)],
        Extra::Fragments => {
            let last = body.len().div_ceil(PIECE) - 1;
            let pieces = body.chunks(PIECE).enumerate();
            pieces.map(|(n, piece)| fragment(way, id, protocol, n * PIECE, n != last, piece)).collect()
        }
        Extra::HopByHop => vec![header(way, id, 0, [0, 0], &behind(&[protocol], body))],
        Extra::Destination => vec![header(way, id, 60, [0, 0], &behind(&[protocol], body))],
        Extra::Both => vec![header(way, id, 0, [0, 0], &behind(&[60, protocol], body))],
        Extra::Atomic => vec![fragment(way, id, protocol, 0, false, body)],
    }
}

/// Options headers of eight octets, filled with PadN, each naming what follows it.
fn behind(next: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = next.iter().flat_map(|next| [*next, 0, 1, 4, 0, 0, 0, 0]).collect();
    bytes.extend(body);
    bytes
}

fn fragment(way: Way, id: u16, protocol: u8, at: usize, more: bool, piece: &[u8]) -> Vec<u8> {
    let units = u16::try_from(at / 8).expect("packets are short");
    match way.from {
        IpAddr::V4(_) => {
            let place = units | if more { 0x2000 } else { 0 };
            header(way, id, protocol, place.to_be_bytes(), piece)
        }
        IpAddr::V6(_) => {
            let mut bytes = vec![protocol, 0];
            bytes.extend((units << 3 | u16::from(more)).to_be_bytes());
            bytes.extend(u32::from(id).to_be_bytes());
            bytes.extend(piece);
            header(way, id, 44, [0, 0], &bytes)
        }
    }
}

fn header(way: Way, id: u16, next: u8, place: [u8; 2], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match way.from {
        IpAddr::V4(_) => {
            bytes.extend([0x45, 0]);
            bytes.extend((length(body) + 20).to_be_bytes());
            bytes.extend(id.to_be_bytes());
            bytes.extend(place);
            bytes.extend([64, next, 0, 0]);
        }
        IpAddr::V6(_) => {
            bytes.extend([0x60, 0]);
            bytes.extend(id.to_be_bytes());
            bytes.extend(length(body).to_be_bytes());
            bytes.extend([next, 64]);
        }
    }
    bytes.extend(octets(way.from));
    bytes.extend(octets(way.to));
    if way.from.is_ipv4() {
        let sum = sum(&bytes, 0).to_be_bytes();
        bytes[10..12].copy_from_slice(&sum);
    }
    bytes.extend(body);
    bytes
}

/// An IPv4 packet with four octets of options that do nothing (RFC 791 3.1).
pub(crate) fn with_options(packet: &[u8]) -> Vec<u8> {
    let (header, body) = packet.split_at(20);
    let mut bytes = header.to_vec();
    bytes.extend([1; 4]);
    bytes[0] += 1;
    bytes[2..4].copy_from_slice(&(length(packet) + 4).to_be_bytes());
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum = sum(&bytes, 0).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
    bytes.extend(body);
    bytes
}

/// Which packet, and which fragment of it, the octets behind an Ethernet header are: identification, and the offset in
/// units of eight octets.
pub(crate) fn mark(ethertype: u16, packet: &[u8]) -> Option<(u16, u16)> {
    let be16 = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    match ethertype {
        0x0800 => Some((be16(4)?, be16(6)? & 0x1fff)),
        0x86dd => {
            let offset = if *packet.get(6)? == 44 { be16(42)? >> 3 } else { 0 };
            Some((be16(2)?, offset))
        }
        _ => None,
    }
}
