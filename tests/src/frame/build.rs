//! A frame in parts, so that each can lie by itself; put together at the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Host;

/// What follows the tags.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Arp,
    V4,
    V6,
    /// An EtherType.
    Other(u16),
    /// A length in its place.
    Llc,
}

/// A header between that of IPv6 and what it carries. Its first byte, what follows, is filled in at the end.
pub(super) struct Extension {
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
}

/// A frame that is not put together yet.
pub(super) struct Draft {
    pub(super) from: Host,
    pub(super) to: Host,
    pub(super) destination_mac: [u8; 6],
    pub(super) source_mac: [u8; 6],
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) tags: Vec<u16>,
    pub(super) tpid: u16,
    /// IP version, when it shall not be the right one.
    pub(super) version: Option<u8>,
    /// IPv4 header length in 32-bit words, when it shall not be the right one.
    pub(super) words: Option<u8>,
    pub(super) options: Vec<u8>,
    /// How far the total or payload length is off, bytes.
    pub(super) total: i32,
    /// IPv4 flags and offset of a fragment, and the identification.
    pub(super) fragment: u16,
    pub(super) id: u16,
    /// Time to live, or hop limit.
    pub(super) hop: u8,
    pub(super) checksum_lies: bool,
    pub(super) extensions: Vec<Extension>,
    pub(super) cut: Option<usize>,
    pub(super) pad: usize,
    /// What follows the IP headers; for others what follows the EtherType.
    pub(super) body: Vec<u8>,
    pub(super) protocol: u8,
    pub(super) layer: Layer,
}

impl Draft {
    pub(super) fn between(from: Host, to: Host) -> Self {
        Self {
            from,
            to,
            destination_mac: to.mac,
            source_mac: from.mac,
            source: from.v4.into(),
            destination: to.v4.into(),
            tags: Vec::new(),
            tpid: 0x8100,
            version: None,
            words: None,
            options: Vec::new(),
            total: 0,
            fragment: 0,
            id: 7,
            hop: 64,
            checksum_lies: false,
            extensions: Vec::new(),
            cut: None,
            pad: 0,
            body: Vec::new(),
            protocol: 0,
            layer: Layer::V4,
        }
    }

    /// The same ends over IPv6.
    pub(super) fn over_v6(&mut self) {
        self.layer = Layer::V6;
        self.source = self.from.v6.into();
        self.destination = self.to.v6.into();
        self.destination_mac = self.to.mac_of(&self.destination);
    }

    pub(super) fn is_v6(&self) -> bool {
        self.layer == Layer::V6
    }

    fn ends_v4(&self) -> [Ipv4Addr; 2] {
        [self.source, self.destination].map(|end| match end {
            IpAddr::V4(v4) => v4,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        })
    }

    fn ends_v6(&self) -> [Ipv6Addr; 2] {
        [self.source, self.destination].map(|end| match end {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        })
    }

    fn packet_v4(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let words = self.words.unwrap_or(u8::try_from(header / 4).expect("options are short"));
        let mut packet = vec![self.version.unwrap_or(4) << 4 | words, 0];
        packet.extend(length(header + self.body.len(), self.total));
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.hop, self.protocol, 0, 0]);
        packet.extend(self.ends_v4().iter().flat_map(Ipv4Addr::octets));
        packet.extend(&self.options);
        let sum = checksum(&packet) ^ if self.checksum_lies { 0x5555 } else { 0 };
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(&self.body);
        packet
    }

    fn packet_v6(&self) -> Vec<u8> {
        let kinds: Vec<u8> =
            self.extensions.iter().map(|extension| extension.kind).chain([self.protocol]).collect();
        let mut payload = Vec::new();
        for (extension, next) in self.extensions.iter().zip(&kinds[1..]) {
            payload.push(*next);
            payload.extend(&extension.bytes[1..]);
        }
        payload.extend(&self.body);
        let mut packet = vec![self.version.unwrap_or(6) << 4, 0, 0, 0];
        packet.extend(length(payload.len(), self.total));
        packet.extend([kinds[0], self.hop]);
        packet.extend(self.ends_v6().iter().flat_map(Ipv6Addr::octets));
        packet.extend(payload);
        packet
    }

    /// What an ICMP error quotes: all headers of IP and eight octets (RFC 792), of IPv6 rather more (RFC 4443 3.1).
    pub(super) fn quoted(&self) -> Vec<u8> {
        if self.is_v6() {
            return self.packet_v6();
        }
        let mut packet = self.packet_v4();
        packet.truncate(20 + self.options.len() + 8);
        packet
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.destination_mac);
        frame.extend(self.source_mac);
        for tag in &self.tags {
            frame.extend(self.tpid.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        let (ethertype, rest) = match self.layer {
            Layer::Arp => (0x0806, self.body.clone()),
            Layer::V4 => (0x0800, self.packet_v4()),
            Layer::V6 => (0x86dd, self.packet_v6()),
            Layer::Other(ethertype) => (ethertype, self.body.clone()),
            Layer::Llc => (u16::try_from(self.body.len()).expect("a frame is small"), self.body.clone()),
        };
        frame.extend(ethertype.to_be_bytes());
        frame.extend(rest);
        frame.resize(frame.len().max(self.pad), 0);
        if let Some(cut) = self.cut {
            frame.truncate(cut);
        }
        frame
    }
}

fn length(right: usize, lie: i32) -> [u8; 2] {
    let length = i32::try_from(right).expect("a frame is small") + lie;
    u16::try_from(length.clamp(0, 65535)).expect("clamped").to_be_bytes()
}

/// The one's complement of the one's complement sum (RFC 1071), so that a row is wrong in one thing only.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice")
}
