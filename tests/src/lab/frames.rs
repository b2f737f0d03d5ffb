//! Frames of a plant that no socket of a test sends: below IP, neighbour discovery, and a DHCP server's answers.
//!
//! In: addresses. Out: whole frames, checksums right, of at least 60 bytes as a NIC would send them. [`super::wire`] has
//! those of IPv4 conversations.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;

use super::link::Mac;

/// Broadcast.
pub const EVERYBODY: Mac = Mac([0xff; 6]);
/// Without its checksum a frame has at least so many bytes (IEEE 802.3-2018 4A.4.2).
const SHORTEST: usize = 60;

/// A frame with an EtherType and a payload.
pub fn frame(source: Mac, destination: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [destination.0, source.0].concat();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    padded(frame)
}

/// A frame of IEEE 802.2: a length, then both service access points and the control field in the payload.
pub fn llc(source: Mac, destination: Mac, payload: &[u8]) -> Vec<u8> {
    frame(source, destination, u16::try_from(payload.len()).expect("it is short"), payload)
}

/// An ARP question of `sender` (RFC 826), in a frame from `source`.
pub fn arp_question(source: Mac, sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend(sender.0.0);
    arp.extend(sender.1.octets());
    arp.extend([0; 6]);
    arp.extend(target.octets());
    frame(source, EVERYBODY, 0x0806, &arp)
}

/// Neighbour discovery (RFC 4861 4): a type, four bytes of its own, and what follows them.
pub fn neighbour(
    source: (Mac, Ipv6Addr),
    destination: (Mac, Ipv6Addr),
    kind: u8,
    own: [u8; 4],
    rest: &[u8],
) -> Vec<u8> {
    // The hop limit proves that it is from the link.
    icmp_v6(source, destination, 255, kind, own, rest)
}

/// Any ICMPv6 message (RFC 4443 2.1).
pub fn icmp_v6(
    source: (Mac, Ipv6Addr),
    destination: (Mac, Ipv6Addr),
    hops: u8,
    kind: u8,
    own: [u8; 4],
    rest: &[u8],
) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(source.0.0, destination.0.0)
        .ipv6(source.1.octets(), destination.1.octets(), hops)
        .icmpv6_raw(kind, 0, own);
    let mut frame = Vec::with_capacity(builder.size(rest.len()));
    builder.write(&mut frame, rest).expect("a vector grows");
    padded(frame)
}

/// A target with a link-layer address option: what solicitations (option 1) and advertisements (option 2) carry.
pub fn target(address: Ipv6Addr, option: u8, mac: Mac) -> Vec<u8> {
    let mut target = address.octets().to_vec();
    target.extend([option, 1]);
    target.extend(mac.0);
    target
}

/// The group on which a host hears questions for an address, and its hardware address (RFC 4291 2.7.1, RFC 2464 7).
pub fn solicited(address: Ipv6Addr) -> (Mac, Ipv6Addr) {
    let [.., a, b, c] = address.octets();
    let pair = |high, low| u16::from_be_bytes([high, low]);
    (Mac([0x33, 0x33, 0xff, a, b, c]), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, pair(0xff, a), pair(b, c)))
}

/// A group of IPv6 on the link, and its hardware address.
pub fn group_v6(last: u16) -> (Mac, Ipv6Addr) {
    let [high, low] = last.to_be_bytes();
    (Mac([0x33, 0x33, 0, 0, high, low]), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, last))
}

/// A DHCP message in a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Dhcp<'a> {
    /// Who sends the frame, from where.
    pub from: (Mac, Ipv4Addr),
    /// To whom the frame goes, and to which address.
    pub to: (Mac, Ipv4Addr),
    /// The client that is meant.
    pub client: Mac,
    /// The address it asks for or gets; unspecified in a question.
    pub address: Ipv4Addr,
    /// Option 53 (RFC 2132 9.6).
    pub message: u8,
    /// More options.
    pub options: &'a [u8],
}

impl Dhcp<'_> {
    /// DISCOVER.
    pub const DISCOVER: u8 = 1;
    /// OFFER.
    pub const OFFER: u8 = 2;
    /// ACK.
    pub const ACK: u8 = 5;

    /// A client's question (RFC 2131 2).
    pub fn question(&self) -> Vec<u8> {
        self.message(1, 68, 67)
    }

    /// A server's answer.
    pub fn answer(&self) -> Vec<u8> {
        self.message(2, 67, 68)
    }

    fn message(&self, op: u8, source: u16, destination: u16) -> Vec<u8> {
        let mut payload = vec![0; 240];
        payload[..4].copy_from_slice(&[op, 1, 6, 0]);
        payload[4..8].copy_from_slice(b"lab!");
        if op == 2 {
            payload[16..20].copy_from_slice(&self.address.octets());
        }
        payload[28..34].copy_from_slice(&self.client.0);
        payload[236..].copy_from_slice(&[99, 130, 83, 99]);
        payload.extend([53, 1, self.message]);
        payload.extend(self.options);
        payload.push(255);
        datagram(self.from, self.to, (source, destination), &payload)
    }
}

/// A UDP datagram of IPv4 to anybody, a group or broadcast included.
pub fn datagram(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(from.0.0, to.0.0)
        .ipv4(from.1.octets(), to.1.octets(), 64)
        .udp(ports.0, ports.1);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a vector grows");
    padded(frame)
}

/// The same of IPv6.
pub fn datagram_v6(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(from.0.0, to.0.0)
        .ipv6(from.1.octets(), to.1.octets(), 64)
        .udp(ports.0, ports.1);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a vector grows");
    padded(frame)
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}
