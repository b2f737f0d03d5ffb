//! What a frame carries: one function for each kind that a line may name.

use std::net::Ipv6Addr;

use super::{
    Host,
    build::{Draft, Extension, Layer},
};

const PAYLOAD: &[u8] = b"bulkhead";
/// Where the options of a DHCP message begin: the fixed part and the magic cookie (RFC 2131 3).
const BOOTP: usize = 240;

impl Draft {
    /// IP with eight bytes that mean nothing.
    pub(super) fn ip(&mut self, protocol: u8) {
        self.protocol = protocol;
        self.body = PAYLOAD.to_vec();
    }

    pub(super) fn tcp(&mut self, source: u16, destination: u16, flags: u8) {
        self.ip(6);
        self.body = ports(source, destination);
        // Sequence 1, acknowledgement 1, data offset 5 words, window 64240, no checksum, no urgent data.
        self.body.extend([0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        self.body.extend(PAYLOAD);
    }

    pub(super) fn udp(&mut self, source: u16, destination: u16) {
        self.datagram(source, destination, PAYLOAD);
    }

    fn datagram(&mut self, source: u16, destination: u16, payload: &[u8]) {
        self.ip(17);
        self.body = ports(source, destination);
        self.body.extend(u16::try_from(8 + payload.len()).expect("a frame is small").to_be_bytes());
        self.body.extend([0, 0]);
        self.body.extend(payload);
    }

    /// The common header and an INIT chunk's first bytes (RFC 9260 3).
    pub(super) fn sctp(&mut self, source: u16, destination: u16) {
        self.ip(132);
        self.body = ports(source, destination);
        self.body.extend([0; 8]);
        self.body.extend([1, 0, 0, 20]);
    }

    pub(super) fn icmp(&mut self, kind: u8, code: u8, identifier: u16) {
        self.ip(if self.is_v6() { 58 } else { 1 });
        self.body = vec![kind, code, 0, 0];
        self.body.extend(identifier.to_be_bytes());
        self.body.extend([0, 1]);
        self.body.extend(PAYLOAD);
    }

    pub(super) fn icmp_error(&mut self, kind: u8, code: u8, about: &Self) {
        self.ip(if self.is_v6() { 58 } else { 1 });
        self.body = vec![kind, code, 0, 0, 0, 0, 0, 0];
        self.body.extend(about.quoted());
    }

    /// `ask`: where is `host`; `is`: the sender's address is at the sender's MAC, told to `host`.
    pub(super) fn arp(&mut self, operation: u8, host: Host) {
        self.layer = Layer::Arp;
        self.body = vec![0, 1, 8, 0, 6, 4, 0, operation];
        self.body.extend(self.source_mac);
        self.body.extend(self.from.v4.octets());
        self.body.extend(if operation == 1 { [0; 6] } else { host.mac });
        self.body.extend(host.v4.octets());
    }

    /// Neighbour discovery without options (RFC 4861 4).
    pub(super) fn neighbor(&mut self, kind: u8, target: Option<Ipv6Addr>) {
        self.over_v6();
        self.ip(58);
        self.hop = 255;
        self.body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        match kind {
            // Hop limit 64, no flags, lifetime 1800 s; times unspecified.
            134 => {
                self.body[4..8].copy_from_slice(&[64, 0, 7, 8]);
                self.body.extend([0; 8]);
            }
            // A redirect names the better first hop and the destination.
            137 => {
                self.body.extend(target.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
                self.body.extend([0xfd; 16]);
            }
            _ => self.body.extend(target.iter().flat_map(Ipv6Addr::octets)),
        }
    }

    /// Multicast Listener Discovery, behind a router alert (RFC 3810 5).
    pub(super) fn mld(&mut self, kind: u8) {
        self.over_v6();
        self.ip(58);
        self.hop = 1;
        self.source = self.from.link_local().into();
        self.extensions.push(Extension { kind: 0, bytes: vec![0, 0, 5, 2, 0, 0, 1, 0] });
        self.body = vec![kind, 0, 0, 0, 0, 0, 0, 1];
        self.body.extend([4, 0, 0, 0]);
        self.body.extend(self.to.v6.octets());
    }

    /// IGMP behind a router alert (RFC 3376 4).
    pub(super) fn igmp(&mut self, kind: u8) {
        self.ip(2);
        self.hop = 1;
        self.options = vec![0x94, 4, 0, 0];
        self.body = vec![kind, 0, 0, 0];
        self.body.extend(self.to.v4.octets());
    }

    /// A DHCP message with its fixed part: the client's or the server's (RFC 2131 2).
    pub(super) fn dhcp(&mut self, operation: u8) {
        let mut message = vec![0; BOOTP];
        message[..4].copy_from_slice(&[operation, 1, 6, 0]);
        let client = if operation == 1 { self.from } else { self.to };
        message[28..34].copy_from_slice(&client.mac);
        message[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        // Acknowledgement or request, and the end.
        message.extend([53, 1, if operation == 1 { 3 } else { 5 }, 255]);
        let (source, destination) = if operation == 1 { (68, 67) } else { (67, 68) };
        self.datagram(source, destination, &message);
    }

    pub(super) fn other(&mut self, ethertype: u16) {
        self.layer = Layer::Other(ethertype);
        self.body = vec![0; 46];
    }

    /// IEEE 802.2: both service access points, an unnumbered information frame.
    pub(super) fn llc(&mut self, point: u8) {
        self.layer = Layer::Llc;
        self.body = vec![point, point, 3];
        self.body.extend([0; 35]);
    }
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    let mut ports = source.to_be_bytes().to_vec();
    ports.extend(destination.to_be_bytes());
    ports
}
