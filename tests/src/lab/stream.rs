//! Packets of very many flows, as fast as the machine can make them: a small XDP program rewrites one frame to another flow each time
//! it runs, then jumps to the program that is looked at.
//!
//! In: a [`Grid`] and which of its flows. Out: a program, and the frame that it begins with. The last four bytes of the frame count the
//! packets; all of a flow follows from that number. Checksums stay as they are: no data path looks at them.

use std::net::Ipv6Addr;

use anyhow::Result;
use etherparse::PacketBuilder;

use super::{
    program::{Jump, Program, op},
    sys::Instruction,
};
use crate::grid::{DEVICES, DEVICES_V6, FIRST_PORT, Grid, MAC, NETWORKS, NETWORKS_V6, OF_CLASS, SETS};

/// Internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What the packets are, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP from devices.
    Udp,
    /// The first packet of a connection from a device.
    Syn,
    /// Its answer.
    SynAck,
    /// What comes later from a device.
    Ack,
}

/// Whom devices talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// One they may talk to.
    Allowed,
    /// The same over a service that nobody may use.
    OtherService,
    /// Addresses and ports at random, of which nobody knows anything.
    Anybody,
    /// The same, but these talk to devices.
    Strangers,
}

/// In which order flows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after the other.
    InTurn,
    /// As if at random; some come twice before others come once.
    Mixed,
    /// Far from each other, and none twice before all others have come.
    Apart,
}

/// Packets of 2^`bits` flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Whose devices.
    pub grid: Grid,
    /// At most 32.
    pub bits: u32,
    /// Over which protocol.
    pub family: Family,
    /// What they are.
    pub kind: Kind,
    /// To whom.
    pub peers: Peers,
}

/// Where fields are in a frame without VLAN tags.
struct Fields {
    device_mac: i16,
    device: i16,
    peer: i16,
    device_port: i16,
    peer_port: i16,
}

/// Bytes behind the last header: enough for the shortest frame of Ethernet (IEEE 802.3: 64 with its checksum).
const PAYLOAD: usize = 18;
/// The MAC behind which all peers are.
const ROUTER: [u8; 6] = [2, 0xb, 10, 20, 4, 1];
/// The first port of devices.
const DEVICE_PORT: i32 = 1024;
/// How many ports of devices there are, less one.
const DEVICE_PORTS: i32 = 0x7fff;
/// A port that is no service.
const NO_SERVICE: i32 = 9;
/// Where strangers are: 200.0.0.0/6, and the same low bits of addresses in an IPv6 network that no policy names.
const STRANGERS: i32 = 200;
const STRANGERS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 0);
/// 2^32 over the golden ratio: multiples of it are spread evenly (Knuth, TAOCP 6.4).
const GOLDEN: i32 = 0x9e37_79b1_u32.cast_signed();
/// Makes peers independent of the order of flows.
const SALT: i32 = 0x5bd1_e995;

impl Stream {
    /// How many flows there are.
    pub fn flows(&self) -> u64 {
        1 << self.bits
    }

    /// The frame whose first packet is the one with this number.
    pub fn frame(&self, first: u32) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(self.mac(6), self.mac(0));
        let v6_peer = if self.is_random() { STRANGERS_V6 } else { NETWORKS_V6 };
        let (device, peer) = (DEVICES_V6.octets(), (u128::from(v6_peer) + 7).to_be_bytes());
        let (source, destination) = if self.is_to_device() { (peer, device) } else { (device, peer) };
        let builder = match self.family {
            Family::V4 => builder.ipv4([0; 4], [0; 4], 64),
            Family::V6 => builder.ipv6(source, destination, 64),
        };
        let mut payload = [0; PAYLOAD];
        payload[PAYLOAD - 4..].copy_from_slice(&first.to_ne_bytes());
        let mut frame = Vec::new();
        let written = match self.kind {
            Kind::Udp => builder.udp(0, 0).write(&mut frame, &payload),
            Kind::Syn => builder.tcp(0, 0, 0, 64_240).syn().write(&mut frame, &payload),
            Kind::SynAck => builder.tcp(0, 0, 0, 64_240).syn().ack(1).write(&mut frame, &payload),
            Kind::Ack => builder.tcp(0, 0, 1, 64_240).ack(1).write(&mut frame, &payload),
        };
        written.expect("the payload fits");
        frame
    }

    /// A program that makes the next packet and jumps.
    pub fn program(&self, order: Order, jump: &Jump) -> Result<Program> {
        let frame = i32::try_from(self.frame(0).len())?;
        let mut body = self.flow(order, i16::try_from(frame)? - 4);
        let Fields { device_mac, device, peer, device_port, peer_port } = self.fields();
        body.extend(self.ports(device_port, peer_port));
        body.extend(self.addresses(device, peer));
        body.extend([
            Instruction(op::BIG_ENDIAN, 1, 0, 0, 32),
            Instruction(op::STORE_32, 7, 1, device_mac, 0),
        ]);
        body.extend(jump.instructions());
        let over = i16::try_from(body.len())?;
        // Register 6: the context. Register 7: where the frame begins.
        let mut program = vec![
            Instruction(op::MOVE, 6, 1, 0, 0),
            Instruction(op::LOAD_32, 7, 1, 0, 0),
            Instruction(op::LOAD_32, 8, 1, 4, 0),
            Instruction(op::MOVE, 2, 7, 0, 0),
            Instruction(op::ADD_CONSTANT, 2, 0, 0, frame),
            Instruction(op::IF_GREATER, 2, 8, over, 0),
        ];
        program.extend(body);
        // A frame that is too short: XDP_ABORTED.
        program.extend([Instruction(op::MOVE_CONSTANT, 0, 0, 0, 0), Instruction(op::EXIT, 0, 0, 0, 0)]);
        Program::load(&program)
    }

    /// Register 8: the flow; 1: its device; 2: the class; 4: the network; 9: chance.
    fn flow(&self, order: Order, counter: i16) -> Vec<Instruction> {
        let Grid { devices, entries } = self.grid;
        let [bits, devices, entries] = [self.bits, devices, entries].map(u32::cast_signed);
        let mask = u32::MAX.checked_shr(32 - self.bits).unwrap_or(0);
        let mut body = vec![
            Instruction(op::LOAD_32, 8, 7, counter, 0),
            Instruction(op::MOVE, 0, 8, 0, 0),
            Instruction(op::ADD_CONSTANT, 0, 0, 0, 1),
            Instruction(op::STORE_32, 7, 0, counter, 0),
        ];
        match order {
            Order::InTurn => {}
            Order::Mixed => body.extend(mix(8)),
            Order::Apart => body.push(Instruction(op::MULTIPLY_CONSTANT_32, 8, 0, 0, GOLDEN)),
        }
        body.push(Instruction(op::AND_CONSTANT_32, 8, 0, 0, mask.cast_signed()));
        // Flows are spread over all devices, those of one device follow each other.
        body.extend([
            Instruction(op::MOVE, 1, 8, 0, 0),
            Instruction(op::MULTIPLY_CONSTANT, 1, 0, 0, devices),
            Instruction(op::SHIFT_RIGHT, 1, 0, 0, bits),
        ]);
        body.extend([Instruction(op::MOVE, 9, 8, 0, 0), Instruction(op::XOR_CONSTANT_32, 9, 0, 0, SALT)]);
        body.extend(mix(9));
        // A hundredth, exact below 43,699: a division would take longer than all the rest.
        const { assert!(OF_CLASS == 100 && SETS == 8) };
        body.extend([
            Instruction(op::MOVE, 2, 1, 0, 0),
            Instruction(op::MULTIPLY_CONSTANT, 2, 0, 0, 5243),
            Instruction(op::SHIFT_RIGHT, 2, 0, 0, 19),
            Instruction(op::MOVE, 3, 9, 0, 0),
            Instruction(op::AND_CONSTANT_32, 3, 0, 0, 0xffff),
            Instruction(op::MULTIPLY_CONSTANT, 3, 0, 0, entries),
            Instruction(op::SHIFT_RIGHT, 3, 0, 0, 16),
            Instruction(op::MOVE, 4, 2, 0, 0),
            Instruction(op::AND_CONSTANT_32, 4, 0, 0, 7),
            Instruction(op::MULTIPLY_CONSTANT, 4, 0, 0, entries),
            Instruction(op::ADD, 4, 3, 0, 0),
        ]);
        body
    }

    fn ports(&self, device: i16, peer: i16) -> Vec<Instruction> {
        let mut body = vec![
            Instruction(op::MOVE, 5, 8, 0, 0),
            Instruction(op::AND_CONSTANT_32, 5, 0, 0, DEVICE_PORTS),
            Instruction(op::ADD_CONSTANT, 5, 0, 0, DEVICE_PORT),
            Instruction(op::BIG_ENDIAN, 5, 0, 0, 16),
            Instruction(op::STORE_16, 7, 5, device, 0),
        ];
        body.extend(match self.peers {
            Peers::Allowed => vec![
                Instruction(op::MOVE, 5, 2, 0, 0),
                Instruction(op::ADD_CONSTANT, 5, 0, 0, FIRST_PORT.cast_signed()),
            ],
            Peers::OtherService => vec![Instruction(op::MOVE_CONSTANT, 5, 0, 0, NO_SERVICE)],
            Peers::Anybody | Peers::Strangers => vec![
                Instruction(op::MOVE, 5, 9, 0, 0),
                Instruction(op::SHIFT_RIGHT_32, 5, 0, 0, 17),
                Instruction(op::ADD_CONSTANT, 5, 0, 0, DEVICE_PORT),
            ],
        });
        body.extend([Instruction(op::BIG_ENDIAN, 5, 0, 0, 16), Instruction(op::STORE_16, 7, 5, peer, 0)]);
        body
    }

    fn addresses(&self, device: i16, peer: i16) -> Vec<Instruction> {
        let v4 = |base: u32| match self.family {
            Family::V4 => base.cast_signed(),
            Family::V6 => 0,
        };
        let mut body = vec![
            Instruction(op::MOVE, 5, 1, 0, 0),
            Instruction(op::ADD_CONSTANT, 5, 0, 0, v4(u32::from(DEVICES)) + 1),
            Instruction(op::BIG_ENDIAN, 5, 0, 0, 32),
            Instruction(op::STORE_32, 7, 5, device, 0),
        ];
        if self.is_random() {
            body.extend([
                Instruction(op::MOVE, 5, 9, 0, 0),
                Instruction(op::AND_CONSTANT_32, 5, 0, 0, 0x03ff_ffff),
                Instruction(op::XOR_CONSTANT_32, 5, 0, 0, (STRANGERS.cast_unsigned() << 24).cast_signed()),
                Instruction(op::BIG_ENDIAN, 5, 0, 0, 32),
                Instruction(op::STORE_32, 7, 5, peer, 0),
            ]);
            return body;
        }
        body.extend(match self.family {
            Family::V4 => [
                Instruction(op::SHIFT_LEFT, 4, 0, 0, 8),
                Instruction(op::OR_CONSTANT, 4, 0, 0, v4(u32::from(NETWORKS)) | 7),
                Instruction(op::BIG_ENDIAN, 4, 0, 0, 32),
                Instruction(op::STORE_32, 7, 4, peer, 0),
            ],
            // The network is the third word of 16 bits; the peer's last bytes are in the frame.
            Family::V6 => [
                Instruction(op::MOVE, 5, 4, 0, 0),
                Instruction(op::BIG_ENDIAN, 5, 0, 0, 16),
                Instruction(op::STORE_16, 7, 5, peer - 8, 0),
                Instruction(op::MOVE, 5, 4, 0, 0),
            ],
        });
        body
    }

    /// Who makes the addresses of peers at random.
    fn is_random(&self) -> bool {
        match self.peers {
            Peers::Anybody | Peers::Strangers => true,
            Peers::Allowed | Peers::OtherService => false,
        }
    }

    fn is_to_device(&self) -> bool {
        self.kind == Kind::SynAck || self.peers == Peers::Strangers
    }

    /// The MAC that is written at a place of the frame: the destination is at 0.
    fn mac(&self, at: usize) -> [u8; 6] {
        if self.is_to_device() == (at == 0) { [MAC[0], MAC[1], 0, 0, 0, 0] } else { ROUTER }
    }

    fn fields(&self) -> Fields {
        // Of an address the last four bytes: RFC 791 3.1, RFC 8200 3.
        let (source, destination, ports) = match self.family {
            Family::V4 => (26, 30, 34),
            Family::V6 => (34, 50, 54),
        };
        if self.is_to_device() {
            Fields {
                device_mac: 2,
                device: destination,
                peer: source,
                device_port: ports + 2,
                peer_port: ports,
            }
        } else {
            Fields {
                device_mac: 8,
                device: source,
                peer: destination,
                device_port: ports,
                peer_port: ports + 2,
            }
        }
    }
}

/// Spreads a number over 32 bits (Appleby: MurmurHash3, its last step). Register 0 is used.
fn mix(register: u8) -> impl Iterator<Item = Instruction> {
    let fold = move |bits: i32| {
        [
            Instruction(op::MOVE, 0, register, 0, 0),
            Instruction(op::SHIFT_RIGHT_32, 0, 0, 0, bits),
            Instruction(op::XOR_32, register, 0, 0, 0),
        ]
    };
    let multiply = move |by: u32| [Instruction(op::MULTIPLY_CONSTANT_32, register, 0, 0, by.cast_signed())];
    let steps = [fold(16).to_vec(), multiply(0x85eb_ca6b).to_vec(), fold(13).to_vec()];
    steps.into_iter().chain([multiply(0xc2b2_ae35).to_vec(), fold(16).to_vec()]).flatten()
}
