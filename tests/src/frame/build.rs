//! A frame in parts, so that each can lie by itself; put together at the end.

use super::Host;

/// What follows the tags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    Arp,
    Ip,
    Ip6,
    Other(u16),
}

/// A frame that is not put together yet.
pub(super) struct Draft {
    pub(super) destination_mac: [u8; 6],
    pub(super) source_mac: [u8; 6],
    pub(super) source: [u8; 4],
    pub(super) destination: [u8; 4],
    pub(super) tags: Vec<u16>,
    pub(super) tpid: u16,
    pub(super) version: u8,
    /// IPv4 header length in 32-bit words, when it shall not be the right one.
    pub(super) words: Option<u8>,
    pub(super) options: Vec<u8>,
    /// How far the total length is off, bytes.
    pub(super) total: i32,
    /// Flags and offset of a fragment.
    pub(super) fragment: u16,
    /// IPv6 hop limit.
    pub(super) hop: u8,
    pub(super) cut: Option<usize>,
    pub(super) pad: usize,
    /// What follows the IP header; for others what follows the EtherType.
    pub(super) body: Vec<u8>,
    protocol: u8,
    layer: Layer,
}

const PAYLOAD: &[u8] = b"bulkhead";

impl Draft {
    pub(super) fn between(from: Host, to: Host) -> Self {
        Self {
            destination_mac: to.mac,
            source_mac: from.mac,
            source: from.ip,
            destination: to.ip,
            tags: Vec::new(),
            tpid: 0x8100,
            version: 4,
            words: None,
            options: Vec::new(),
            total: 0,
            fragment: 0,
            hop: 255,
            cut: None,
            pad: 0,
            body: Vec::new(),
            protocol: 0,
            layer: Layer::Ip,
        }
    }

    pub(super) fn tcp(&mut self, source: u16, destination: u16, flags: u8) {
        self.ip(6);
        self.body = ports(source, destination);
        // Sequence 1, acknowledgement 1, data offset 5 words, window 64240, no checksum, no urgent data.
        self.body.extend([0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        self.body.extend(PAYLOAD);
    }

    pub(super) fn udp(&mut self, source: u16, destination: u16) {
        self.ip(17);
        self.body = ports(source, destination);
        self.body.extend([0, 16, 0, 0]);
        self.body.extend(PAYLOAD);
    }

    pub(super) fn icmp(&mut self, kind: u8, code: u8, identifier: u16) {
        self.ip(1);
        self.body = vec![kind, code, 0, 0];
        self.body.extend(identifier.to_be_bytes());
        self.body.extend([0, 1]);
        self.body.extend(PAYLOAD);
    }

    /// An error quotes the IP header and eight octets (RFC 792).
    pub(super) fn icmp_error(&mut self, kind: u8, code: u8, about: &Self) {
        self.ip(1);
        self.body = vec![kind, code, 0, 0, 0, 0, 0, 0];
        let mut quoted = about.ip_packet();
        quoted.truncate(usize::from(quoted[0] & 0x0f) * 4 + 8);
        self.body.extend(quoted);
    }

    /// `ask`: where is `host`; `is`: the sender's address is at the sender's MAC, told to `host`.
    pub(super) fn arp(&mut self, operation: u8, host: Host) {
        self.layer = Layer::Arp;
        self.body = vec![0, 1, 8, 0, 6, 4, 0, operation];
        self.body.extend(self.source_mac);
        self.body.extend(self.source);
        self.body.extend(if operation == 1 { [0; 6] } else { host.mac });
        self.body.extend(host.ip);
    }

    pub(super) fn ip(&mut self, protocol: u8) {
        self.layer = Layer::Ip;
        self.protocol = protocol;
        self.body = PAYLOAD.to_vec();
    }

    pub(super) fn neighbour(&mut self, kind: u8) {
        self.ip6(58);
        self.body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        self.body.extend([0xfe; 16]);
    }

    pub(super) fn ip6(&mut self, next: u8) {
        self.layer = Layer::Ip6;
        self.protocol = next;
        self.version = 6;
        self.body = PAYLOAD.to_vec();
    }

    pub(super) fn other(&mut self, ethertype: u16) {
        self.layer = Layer::Other(ethertype);
        self.body = vec![0; 46];
    }

    fn ip_packet(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let words = self.words.unwrap_or(u8::try_from(header / 4).expect("options are short"));
        let lie = i32::try_from(header + self.body.len()).expect("a frame is small") + self.total;
        let total = u16::try_from(lie.clamp(0, 65535)).expect("clamped");
        let mut packet = vec![self.version << 4 | words, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 7]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([64, self.protocol, 0, 0]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(&self.options);
        let sum = checksum(&packet).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        packet.extend(&self.body);
        packet
    }

    fn ip6_packet(&self) -> Vec<u8> {
        let lie = i32::try_from(self.body.len()).expect("a frame is small") + self.total;
        let payload = u16::try_from(lie.clamp(0, 65535)).expect("clamped");
        let mut packet = vec![self.version << 4, 0, 0, 0];
        packet.extend(payload.to_be_bytes());
        packet.extend([self.protocol, self.hop]);
        for address in [self.source, self.destination] {
            packet.extend([0xfd, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0]);
            packet.extend(address);
        }
        packet.extend(&self.body);
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
            Layer::Ip => (0x0800, self.ip_packet()),
            Layer::Ip6 => (0x86dd, self.ip6_packet()),
            Layer::Other(ethertype) => (ethertype, self.body.clone()),
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

fn ports(source: u16, destination: u16) -> Vec<u8> {
    let mut ports = source.to_be_bytes().to_vec();
    ports.extend(destination.to_be_bytes());
    ports
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
