//! Frames as they are on the wire: made by hand, sent raw, read back.
//!
//! In: addresses and payloads. Out: frames, and the fields of frames seen.
//! Built and read with etherparse: the lab must not believe the parser that is under test.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result, anyhow};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
};

use super::{
    link::{self, Mac},
    namespace::Namespace,
    sys::{self, Receive},
    wait::check_interrupt,
};

/// Where a frame comes from and goes to, up to layer 3.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Ethernet source.
    pub src_mac: Mac,
    /// Ethernet destination: the next hop.
    pub dst_mac: Mac,
    /// IPv4 source and port.
    pub src: SocketAddrV4,
    /// IPv4 destination and port.
    pub dst: SocketAddrV4,
    /// IPv4 time to live.
    pub ttl: u8,
}

/// A TCP SYN with a valid checksum.
pub fn tcp_syn(path: Path, sequence: u32) -> Vec<u8> {
    let builder = ipv4(path).tcp(path.src.port(), path.dst.port(), sequence, 64_240).syn();
    let mut frame = Vec::with_capacity(builder.size(0));
    builder.write(&mut frame, &[]).expect("writing to a vector");
    frame
}

/// A TCP segment with ACK and PSH in the middle of a conversation that may not exist.
pub fn tcp_data(path: Path, sequence: u32, acknowledge: u32, payload: &[u8]) -> Vec<u8> {
    let builder = ipv4(path).tcp(path.src.port(), path.dst.port(), sequence, 64_240).ack(acknowledge).psh();
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("the payload fits");
    frame
}

/// A UDP datagram.
pub fn udp(path: Path, payload: &[u8]) -> Vec<u8> {
    let builder = ipv4(path).udp(path.src.port(), path.dst.port());
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("the payload fits");
    frame
}

/// An ARP reply to everybody that says: `claimed` is at `mac` (RFC 826; a gratuitous announcement, RFC 5227 3).
pub fn arp_announcement(mac: Mac, claimed: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend([0xff; 6]);
    frame.extend(mac.0);
    // Ethertype ARP; hardware type Ethernet, protocol IPv4, lengths 6 and 4, operation 2 (reply).
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(mac.0);
    frame.extend(claimed.octets());
    frame.extend([0xff; 6]);
    frame.extend(claimed.octets());
    frame
}

/// Puts VLAN tags (TPID 0x8100, these ids, outermost first) between the addresses and the ethertype.
pub fn tagged(frame: &[u8], ids: &[u16]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let tags = ids.iter().flat_map(|id| {
        let [high, low] = id.to_be_bytes();
        [0x81, 0x00, high, low]
    });
    addresses.iter().copied().chain(tags).chain(rest.iter().copied()).collect()
}

/// Makes the checksum of an IPv4 header without options right, in a frame without VLAN tags.
pub fn set_ipv4_checksum(frame: &mut [u8]) {
    // One step of the one's complement sum (RFC 1071 1).
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    frame[24..26].fill(0);
    let pairs = frame[14..34].chunks_exact(2);
    let sum = pairs.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let checksum = !fold(fold(sum));
    frame[24..26].copy_from_slice(&checksum.to_be_bytes()[2..]);
}

fn ipv4(path: Path) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(path.src_mac.0, path.dst_mac.0).ipv4(
        path.src.ip().octets(),
        path.dst.ip().octets(),
        path.ttl,
    )
}

/// Sends whole frames out of one interface.
pub struct RawSender {
    socket: OwnedFd,
}

impl RawSender {
    /// Opens a packet socket inside the namespace.
    pub fn new(namespace: &Namespace, interface: &str) -> Result<Self> {
        let index = link::index(namespace, interface)?;
        let socket = namespace
            .run(|| sys::packet_socket(index, Receive::Nothing))
            .with_context(|| format!("failed to open a packet socket at `{interface}`"))?;
        Ok(Self { socket })
    }

    /// Sends one frame. When it returns, the frame is with the other end of the veth.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                // The queue is full for a moment; the frame was not taken.
                Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => {
                    check_interrupt()?;
                    std::thread::yield_now();
                }
                Err(errno) => {
                    return Err(anyhow!(errno))
                        .with_context(|| format!("failed to send a frame of {} bytes", frame.len()));
                }
            }
        }
    }
}

/// A frame that a sniffer saw, VLAN tags in place.
#[derive(Clone, Debug)]
pub struct Seen {
    /// From the Ethernet destination on.
    pub bytes: Vec<u8>,
    /// Sent by the host the sniffer sits at, rather than received.
    pub outgoing: bool,
    /// When the kernel saw it, ns since 1970.
    pub time: u64,
}

/// The layer 3 and 4 fields of a well-formed TCP or UDP frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Source.
    pub src: SocketAddrV4,
    /// Destination.
    pub dst: SocketAddrV4,
    /// Time to live.
    pub ttl: u8,
    /// SYN, ACK, RST for TCP; `None` for UDP.
    pub tcp: Option<TcpFlags>,
}

/// The flags by which the lab tells answers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "RFC 9293 3.1 names them")]
pub struct TcpFlags {
    pub syn: bool,
    pub ack: bool,
    pub rst: bool,
}

impl Seen {
    /// Ethernet source; `None` when the frame is shorter than two addresses.
    pub fn src_mac(&self) -> Option<Mac> {
        self.bytes.get(6..12)?.try_into().ok().map(Mac)
    }

    /// Ethertype and payload behind all VLAN tags, however many.
    pub fn payload(&self) -> Option<(u16, &[u8])> {
        let mut rest = self.bytes.get(12..)?;
        loop {
            let (ethertype, payload) = rest.split_first_chunk::<2>()?;
            match u16::from_be_bytes(*ethertype) {
                0x8100 | 0x88a8 => rest = payload.get(2..)?,
                other => return Some((other, payload)),
            }
        }
    }

    /// The time to live of anything that says it is IPv4, well-formed or not.
    pub fn ttl(&self) -> Option<u8> {
        self.payload().filter(|(ethertype, _)| *ethertype == 0x0800)?.1.get(8).copied()
    }

    /// The sender fields of an ARP message.
    pub fn arp_sender(&self) -> Option<(Mac, Ipv4Addr)> {
        let (_, arp) = self.payload().filter(|(ethertype, _)| *ethertype == 0x0806)?;
        let mac: [u8; 6] = arp.get(8..14)?.try_into().ok()?;
        let ip: [u8; 4] = arp.get(14..18)?.try_into().ok()?;
        Some((Mac(mac), Ipv4Addr::from(ip)))
    }

    /// Addresses, ports and flags of a well-formed IPv4 TCP or UDP frame.
    pub fn transport(&self) -> Option<Transport> {
        let sliced = SlicedPacket::from_ethernet(&self.bytes).ok()?;
        let NetSlice::Ipv4(ip) = sliced.net? else { return None };
        let ip = ip.header();
        let (src, dst, tcp) = match sliced.transport? {
            TransportSlice::Tcp(tcp) => {
                let flags = TcpFlags { syn: tcp.syn(), ack: tcp.ack(), rst: tcp.rst() };
                (tcp.source_port(), tcp.destination_port(), Some(flags))
            }
            TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port(), None),
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => return None,
        };
        Some(Transport {
            src: SocketAddrV4::new(ip.source_addr(), src),
            dst: SocketAddrV4::new(ip.destination_addr(), dst),
            ttl: ip.ttl(),
            tcp,
        })
    }
}
