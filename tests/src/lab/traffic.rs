//! Established flows as fast as one processor can send: the same 4,096 again and again, in no order.
//!
//! In: an interface, the address of the next hop, a processor. Out: UDP packets of four flows of each of 1,024 devices, all checksums
//! right, and exactly how many were sent. A small XDP program changes each copy of a frame and sends it (live frames, Linux
//! 5.18). A device never asks for the forbidden ports by itself; who wants to see them denied sends them too.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{
    link::{self, Counted, End, Mac},
    namespace::Namespace,
    napi,
    program::{Program, RANDOM, REDIRECT, at, op},
    sys::{self, Instruction, Verdicts},
    topology::FORGED_TTL,
    wait::pass,
    wire::{self, Path},
    xdp::{self, Attached},
};

/// Devices that send.
pub const DEVICES: u16 = 1024;
/// Flows of all of them.
pub const FLOWS: u16 = 4096;
/// The first of the four ports that the flows are for.
pub const ALLOWED: u16 = 2000;
/// The first of the four ports that are for nobody.
pub const FORBIDDEN: u16 = 3000;
/// Whom they talk to, each flow to another address: the network.
pub const SERVERS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 40, 0, 0), 16);
/// Where the devices are.
pub const CELL: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 20, 0, 0), 16);

const KEPT: [&str; 2] = ["kept0", "kept1"];
/// Somebody who takes frames at all takes a burst within this.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Frames of one call into the kernel: some hundredths of a second, beside which it does not matter that one call waits for another.
const BURST: u32 = 1 << 16;
/// The lowest of the low halves of all addresses.
const FIRST: u16 = 0x100;
/// The lowest source port.
const SRC_PORT: u16 = 0x8000;

/// The hardware address of a device and its IPv4 address.
pub fn device(device: u16) -> (Mac, Ipv4Addr) {
    let low = FIRST + device % DEVICES;
    let [high, last] = low.to_be_bytes();
    let [a, b, _, _] = CELL.0.octets();
    (Mac([0x02, 0x42, a, b, high, last]), Ipv4Addr::new(a, b, high, last))
}

/// Source and destination of a flow.
pub fn flow(flow: u16) -> (SocketAddrV4, SocketAddrV4) {
    let [high, last] = (FIRST + flow).to_be_bytes();
    let [a, b, _, _] = SERVERS.0.octets();
    let src = SocketAddrV4::new(device(flow).1, SRC_PORT + flow);
    (src, SocketAddrV4::new(Ipv4Addr::new(a, b, high, last), ALLOWED + flow / DEVICES))
}

/// What sends, wherever it is told to: one pair of programs for all namespaces.
pub struct Traffic {
    allowed: Program,
    forbidden: Program,
    frame: Vec<u8>,
    processor: usize,
    index: u32,
    _kept: Kept,
}

/// An interface at which nothing arrives and both programs stay attached. The kernel calls attached programs directly, by code
/// that it writes anew, and waits for all processors, whenever there is one more or less: each call that sends would take hundredths
/// of a second.
struct Kept {
    _attached: [Attached; 2],
    _namespace: Namespace,
}

/// How many frames were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// For the ports that a policy allows.
    pub allowed: u64,
    /// For the others.
    pub forbidden: u64,
}

/// It sends.
pub struct Running {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Sent>>,
}

impl Traffic {
    /// Loads what sends out of the interface of this index, to the next hop, on one processor.
    pub fn new(index: u32, next_hop: Mac, processor: usize) -> Result<Self> {
        let out = i32::try_from(index)?;
        let frame = template(next_hop);
        let load = |port| Program::load(&program(out, &frame, port)).context("failed to load what sends");
        let (allowed, forbidden) = (load(ALLOWED)?, load(FORBIDDEN)?);
        let namespace = Namespace::new("kept")?;
        let end = |interface, last| End {
            namespace: &namespace,
            interface,
            mac: Mac([2, 0, 0, 0, 0, last]),
            mtu: 1500,
        };
        link::veth(&end(KEPT[0], 1), &end(KEPT[1], 2))?;
        let attached =
            [xdp::attach(&allowed, &namespace, KEPT[0])?, xdp::attach(&forbidden, &namespace, KEPT[1])?];
        let kept = Kept { _attached: attached, _namespace: namespace };
        Ok(Self { allowed, forbidden, processor, frame, index, _kept: kept })
    }

    /// Whether an interface is the one out of which it sends, in its namespace.
    pub fn sends_from(&self, namespace: &Namespace, interface: &str) -> Result<bool> {
        Ok(link::index(namespace, interface)? == self.index)
    }
}

/// What is sent in a turn: bursts of allowed frames, then bursts of forbidden ones.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Bursts of allowed frames.
    pub allowed: u32,
    /// Bursts of forbidden frames.
    pub forbidden: u32,
    /// Frames of a burst.
    pub burst: u32,
    /// Whether a burst waits until the one before the last has left the link: nothing is dropped if the link's queue has room for two.
    pub paced: bool,
}

impl Turn {
    /// Nothing that is forbidden.
    pub const ALLOWED: Self = Self { allowed: 1, forbidden: 0, burst: BURST, paced: false };
}

impl Running {
    /// Starts to send out of an interface, turn by turn, until it is told to end.
    pub fn start(namespace: &Namespace, interface: &str, traffic: &Arc<Traffic>, turn: Turn) -> Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let (ended, traffic, interface) = (Arc::clone(&end), Arc::clone(traffic), interface.to_owned());
        let thread = namespace
            .spawn("traffic", move || traffic.send(&interface, turn, || !ended.load(Ordering::Relaxed)))?;
        Ok(Self { end, thread })
    }

    /// Ends it: what was sent. A link that is full has dropped some of it.
    pub fn end(self) -> Result<Sent> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the source panicked"))?
    }
}

impl Traffic {
    /// Sends so many turns out of an interface.
    pub fn turns(&self, namespace: &Namespace, interface: &str, turn: Turn, turns: u32) -> Result<Sent> {
        let mut left = 0..turns;
        namespace.run(|| self.send(interface, turn, || left.next().is_some()))
    }

    fn send(&self, interface: &str, turn: Turn, mut more: impl FnMut() -> bool) -> Result<Sent> {
        napi::pin(0, self.processor)?;
        let before = link::counted_here(interface)?;
        let mut sent = Sent::default();
        while more() {
            for burst in 0..turn.allowed + turn.forbidden {
                let (program, sum) = if burst < turn.allowed {
                    (&self.allowed, &mut sent.allowed)
                } else {
                    (&self.forbidden, &mut sent.forbidden)
                };
                sys::run_xdp(program.0.as_fd(), &self.frame, turn.burst, Verdicts::Done)
                    .context("failed to send")?;
                *sum += u64::from(turn.burst);
                if turn.paced {
                    wait_until_taken(
                        interface,
                        before,
                        (sent.allowed + sent.forbidden).saturating_sub(turn.burst.into()),
                    )?;
                }
            }
        }
        Ok(sent)
    }
}

/// Looks without a pause: the other end needs some hundredths of a millisecond.
fn wait_until_taken(interface: &str, before: Counted, sent: u64) -> Result<()> {
    let deadline = Instant::now() + TAKEN_WITHIN;
    loop {
        if link::counted_here(interface)?.done_since(before) >= sent {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "nobody takes what `{interface}` sends");
        thread::yield_now();
    }
}

/// A frame of 60 bytes. Its checksum stays right when the identification is the complement of the sum of the low halves of both
/// addresses. UDP has none (RFC 768: zero).
fn template(next_hop: Mac) -> Vec<u8> {
    let ((src_mac, src), (_, dst)) = (device(0), flow(0));
    let network = |ip: Ipv4Addr| {
        let [a, b, _, _] = ip.octets();
        Ipv4Addr::new(a, b, 0, 0)
    };
    let src = SocketAddrV4::new(network(src), SRC_PORT);
    let dst = SocketAddrV4::new(network(*dst.ip()), dst.port());
    let path = Path { src_mac, dst_mac: next_hop, src, dst, ttl: FORGED_TTL };
    let mut frame = wire::udp(path, b"established flow!!");
    frame[usize::from(at::IP_ID.cast_unsigned())..][..2].fill(0xff);
    frame[at::UDP_CHECKSUM..][..2].fill(0);
    wire::set_ipv4_checksum(&mut frame);
    frame
}

/// Another flow for each frame, out of one interface.
fn program(out: i32, frame: &[u8], port: u16) -> Vec<Instruction> {
    let pair = |at: usize| i32::from(u16::from_ne_bytes([frame[at], frame[at + 1]]));
    let four = |at: usize| i32::from_ne_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let checksum = pair(usize::from(at::IP_CHECKSUM.cast_unsigned()));
    let big_endian = |register| Instruction(op::BIG_ENDIAN, register, 0, 0, 16);
    let add = |register, constant: u16| Instruction(op::ADD_CONSTANT, register, 0, 0, i32::from(constant));
    let store = |at, register| Instruction(op::STORE_16, 7, register, at, 0);
    vec![
        // Registers 7 and 8: where the frame begins and ends. Register 6: the flow.
        Instruction(op::LOAD_32, 7, 1, 0, 0),
        Instruction(op::LOAD_32, 8, 1, 4, 0),
        Instruction(op::MOVE, 2, 7, 0, 0),
        Instruction(op::ADD_CONSTANT, 2, 0, 0, at::PAYLOAD),
        Instruction(op::IF_GREATER, 2, 8, 38, 0),
        Instruction(op::CALL, 0, 0, 0, RANDOM),
        Instruction(op::MOVE, 6, 0, 0, 0),
        Instruction(op::AND_CONSTANT, 6, 0, 0, i32::from(FLOWS - 1)),
        // A router has changed these in the copy that comes back.
        Instruction(op::STORE_CONSTANT_32, 7, 0, 0, four(0)),
        Instruction(op::STORE_CONSTANT_32, 7, 0, 4, four(4)),
        Instruction(op::STORE_CONSTANT_16, 7, 0, 8, pair(8)),
        Instruction(op::STORE_CONSTANT_8, 7, 0, at::TTL, i32::from(FORGED_TTL)),
        Instruction(op::STORE_CONSTANT_16, 7, 0, at::IP_CHECKSUM, checksum),
        // The device.
        Instruction(op::MOVE, 3, 6, 0, 0),
        Instruction(op::AND_CONSTANT, 3, 0, 0, i32::from(DEVICES - 1)),
        add(3, FIRST),
        big_endian(3),
        store(at::SRC_MAC, 3),
        store(at::SRC_IP, 3),
        // Its server.
        Instruction(op::MOVE, 4, 6, 0, 0),
        add(4, FIRST),
        big_endian(4),
        store(at::DST_IP, 4),
        // The sum of both as RFC 1071 has it, whatever the order of bytes.
        Instruction(op::ADD, 3, 4, 0, 0),
        Instruction(op::MOVE, 4, 3, 0, 0),
        Instruction(op::SHIFT_RIGHT, 4, 0, 0, 16),
        Instruction(op::AND_CONSTANT, 3, 0, 0, 0xffff),
        Instruction(op::ADD, 3, 4, 0, 0),
        Instruction(op::XOR_CONSTANT, 3, 0, 0, 0xffff),
        store(at::IP_ID, 3),
        // The ports.
        Instruction(op::MOVE, 3, 6, 0, 0),
        add(3, SRC_PORT),
        big_endian(3),
        store(at::SRC_PORT, 3),
        Instruction(op::MOVE, 3, 6, 0, 0),
        Instruction(op::SHIFT_RIGHT, 3, 0, 0, i32::try_from(DEVICES.trailing_zeros()).unwrap_or_default()),
        add(3, port),
        big_endian(3),
        store(at::DST_PORT, 3),
        Instruction(op::MOVE_CONSTANT, 1, 0, 0, out),
        Instruction(op::MOVE_CONSTANT, 2, 0, 0, 0),
        Instruction(op::CALL, 0, 0, 0, REDIRECT),
        Instruction(op::EXIT, 0, 0, 0, 0),
        // A frame that is too short: XDP_ABORTED.
        Instruction(op::MOVE_CONSTANT, 0, 0, 0, 0),
        Instruction(op::EXIT, 0, 0, 0, 0),
    ]
}

/// How long it is sent before what is sent is measured: tables are warm then.
pub const WARM_UP: Duration = Duration::from_millis(150);

/// Sends for so long.
pub fn run_for(
    namespace: &Namespace,
    interface: &str,
    traffic: &Arc<Traffic>,
    turn: Turn,
    how_long: Duration,
) -> Result<Sent> {
    let running = Running::start(namespace, interface, traffic, turn)?;
    let passed = pass(how_long);
    let sent = running.end()?;
    passed.map(|()| sent)
}
