//! Packets as fast as the machine can make them, each of another kind: what a packet socket sends is a tenth of it.
//!
//! In: an interface of the gateway. Out: a cable of its own to it, and UDP packets from random sources to random ports of one
//! address. A small XDP program changes each copy of a frame and sends it to the other end of the cable (live frames,
//! Linux 5.18).

use std::{
    net::SocketAddrV4,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use super::{
    link::{self, Counted, End, Mac},
    namespace::Namespace,
    program::{RANDOM, REDIRECT, at, op},
    sys::{self, Instruction, Verdicts},
    topology::{FORGED_TTL, Gateway},
    wire::{self, Path},
};

/// Its address.
const MAC: Mac = Mac([2, 0xb, 10, 20, 3, 66]);
/// The interface at its own end.
const OUT: &str = "source0";
/// Frames of one call into the kernel: some hundredths of a second.
const BURST: u32 = 1 << 15;

/// A machine that sends nothing until it is told to, and its cable.
pub struct Source {
    namespace: Namespace,
    program: OwnedFd,
    next_hop: Mac,
}

/// It sends.
pub struct Flood {
    end: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<Duration>>,
}

impl Source {
    /// Joins a new machine to a new interface of the gateway with this name.
    pub fn new(gateway: &Gateway, interface: &str) -> Result<Self> {
        let namespace = Namespace::new("source")?;
        let next_hop = Mac([2, 0xb, 10, 20, 3, 1]);
        let inside = End { namespace: &gateway.namespace, interface, mac: next_hop, mtu: 1500 };
        link::veth(&inside, &End { namespace: &namespace, interface: OUT, mac: MAC, mtu: 1500 })?;
        let out = i32::try_from(link::index(&namespace, OUT)?)?;
        let program = sys::load_xdp(&program(out)).context("failed to load the program that sends")?;
        Ok(Self { namespace, program, next_hop })
    }

    /// The counters of its end of the cable.
    pub fn counted(&self) -> Result<Counted> {
        link::counted(&self.namespace, OUT)
    }

    /// Sends until it is told to end, and at least so many frames. Of the source the first half of the address and the port
    /// stay, of the destination the address; its ports are odd.
    pub fn flood(&self, src: SocketAddrV4, dst: SocketAddrV4, least: u64) -> Result<Flood> {
        let path = Path { src_mac: MAC, dst_mac: self.next_hop, src, dst, ttl: FORGED_TTL };
        let frame = template(path);
        let program = self.program.try_clone().context("failed to share the program")?;
        let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (Arc::clone(&end), Arc::clone(&sent));
        let thread = self.namespace.spawn("source", move || {
            let began = Instant::now();
            while counted.load(Ordering::Relaxed) < least || !ended.load(Ordering::Relaxed) {
                sys::run_xdp(program.as_fd(), &frame, BURST, Verdicts::Done).context("failed to send")?;
                counted.fetch_add(BURST.into(), Ordering::Relaxed);
            }
            Ok(began.elapsed())
        })?;
        Ok(Flood { end, sent, thread })
    }
}

impl Flood {
    /// Frames so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it: how many frames were sent, and how long that took. A link that is full has dropped some of them.
    pub fn end(self) -> Result<(u64, Duration)> {
        self.end.store(true, Ordering::Relaxed);
        let took = self.thread.join().map_err(|_| anyhow!("the source panicked"))??;
        Ok((self.sent.load(Ordering::Relaxed), took))
    }
}

/// A frame whose checksum stays right when its identification is the complement of the low half of its source address. UDP
/// has none (RFC 768: zero).
fn template(mut path: Path) -> Vec<u8> {
    let [a, b, _, _] = path.src.ip().octets();
    path.src.set_ip([a, b, 0, 0].into());
    let mut frame = wire::udp(path, b"flood");
    frame[usize::from(at::IP_ID.cast_unsigned())..][..2].fill(0xff);
    frame[at::UDP_CHECKSUM..][..2].fill(0);
    wire::set_ipv4_checksum(&mut frame);
    frame
}

/// Other sources and ports, out of one interface.
fn program(out: i32) -> [Instruction; 19] {
    use op::{
        ADD_CONSTANT as ADD, CALL, EXIT, IF_GREATER, LOAD_32, MOVE, MOVE_CONSTANT, OR_CONSTANT, SHIFT_RIGHT,
        STORE_16, XOR_CONSTANT as XOR,
    };
    [
        // Registers 7 and 8: where the frame begins and ends.
        Instruction(LOAD_32, 7, 1, 0, 0),
        Instruction(LOAD_32, 8, 1, 4, 0),
        Instruction(MOVE, 2, 7, 0, 0),
        Instruction(ADD, 2, 0, 0, at::PAYLOAD),
        Instruction(IF_GREATER, 2, 8, 12, 0),
        Instruction(CALL, 0, 0, 0, RANDOM),
        Instruction(MOVE, 1, 0, 0, 0),
        Instruction(STORE_16, 7, 1, at::SRC_IP, 0),
        Instruction(XOR, 1, 0, 0, 0xffff),
        Instruction(STORE_16, 7, 1, at::IP_ID, 0),
        Instruction(SHIFT_RIGHT, 0, 0, 0, 16),
        // Nobody has port 0 (RFC 768).
        Instruction(OR_CONSTANT, 0, 0, 0, i32::from(1_u16.to_be())),
        Instruction(STORE_16, 7, 0, at::DST_PORT, 0),
        Instruction(MOVE_CONSTANT, 1, 0, 0, out),
        Instruction(MOVE_CONSTANT, 2, 0, 0, 0),
        Instruction(CALL, 0, 0, 0, REDIRECT),
        Instruction(EXIT, 0, 0, 0, 0),
        // A frame that is too short: XDP_ABORTED.
        Instruction(MOVE_CONSTANT, 0, 0, 0, 0),
        Instruction(EXIT, 0, 0, 0, 0),
    ]
}
