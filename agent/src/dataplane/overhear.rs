//! Answers of a resolver on the gateway itself: the data path sees what arrives, and these only leave.
//!
//! In: nothing. Out: frames that leave this machine from UDP port 53, as a packet socket (packet(7)) hears them. A filter in
//! the kernel lets no other through; whose answer it is, and to whom, is for the reader to find out.
#![allow(unsafe_code, reason = "packet sockets, which neither nix nor tokio wraps")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of the C headers, all small"
)]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use bulkhead_common::{layout::SAMPLE_BYTES, wire::dns};
use tokio::io::unix::AsyncFd;

use super::packet_socket;

/// Frames taken at once; the rest waits for the next turn of the loop.
const AT_ONCE: usize = 64;

/// A socket that hears what leaves, once it was told to.
pub struct Overheard {
    socket: OwnedFd,
    listens: bool,
}

/// Jumps to the end that lets nothing through, from an instruction at a place.
const fn out(place: u8) -> u8 {
    LAST - place - 1
}

/// The place of the instruction that lets nothing through.
const LAST: u8 = 16;

const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Outgoing, UDP from port 53, over IPv4 (no fragment but the first) or IPv6 without extension headers (Linux
/// Documentation/networking/filter.rst). Offsets are those of an Ethernet frame.
const FILTER: [libc::sock_filter; 18] = [
    // SKF_AD_OFF + SKF_AD_PKTTYPE: in which direction.
    step(LOAD_BYTE, 0, 0, 0xffff_f000 + 4),
    step(EQUAL, 0, out(1), libc::PACKET_OUTGOING as u32),
    step(LOAD_HALF, 0, 0, 12),
    step(EQUAL, 0, 7, 0x0800),
    step(LOAD_BYTE, 0, 0, 23),
    step(EQUAL, 0, out(5), libc::IPPROTO_UDP as u32),
    step(LOAD_HALF, 0, 0, 20),
    step(ANY_BIT, out(7), 0, 0x1fff),
    step(LOAD_HEADER_LENGTH, 0, 0, 14),
    step(LOAD_HALF_AT_X, 0, 0, 14),
    step(EQUAL, 6, out(10), dns::SERVER as u32),
    step(EQUAL, 0, out(11), 0x86dd),
    step(LOAD_BYTE, 0, 0, 20),
    step(EQUAL, 0, out(13), libc::IPPROTO_UDP as u32),
    step(LOAD_HALF, 0, 0, 54),
    step(EQUAL, 1, 0, dns::SERVER as u32),
    step(RETURN, 0, 0, 0),
    step(RETURN, 0, 0, SAMPLE_BYTES as u32),
];

impl Overheard {
    /// Hears nothing yet, and costs nothing.
    ///
    /// # Errors
    /// When the kernel makes no such socket.
    pub fn open() -> io::Result<Self> {
        let socket = packet_socket::open(&mut FILTER.clone())?;
        Ok(Self { socket, listens: false })
    }

    /// Hears from now on what leaves through any interface. The kernel then runs the filter on each packet that leaves.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen(&mut self) -> io::Result<()> {
        if self.listens {
            return Ok(());
        }
        packet_socket::bind(&self.socket, 0)?;
        self.listens = true;
        Ok(())
    }

    /// Takes what is there, frames that may be cut, and says whether that was all.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn take(&mut self) -> io::Result<(Vec<Vec<u8>>, bool)> {
        let mut frames = Vec::new();
        let mut buffer = [0_u8; SAMPLE_BYTES];
        while frames.len() < AT_ONCE {
            match nix::unistd::read(&self.socket, &mut buffer) {
                Ok(length) => frames.push(buffer[..length].to_vec()),
                Err(nix::errno::Errno::EAGAIN) => return Ok((frames, true)),
                // An interface that went down.
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::ENETDOWN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((frames, false))
    }

    /// The socket as something an event loop can wait on. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel cannot watch one more descriptor.
    pub fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is the socket's, which `self` owns, never replaces and closes only on drop.
        // JUSTIFICATION: tokio has no safe way in for a descriptor it does not own itself.
        unsafe { AsyncFd::register(self) }.map_err(|refused| refused.into_parts().1)
    }
}

impl AsRawFd for Overheard {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
