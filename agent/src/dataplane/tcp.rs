//! What the kernel knows of the peer of a TCP connection: how much it has acknowledged, and how much it offers to take.
#![allow(
    unsafe_code,
    reason = "a socket option that nix does not wrap, in a struct that libc does not know in full"
)]

use std::os::fd::{AsRawFd, BorrowedFd};

/// Where `struct tcp_info` (linux/tcp.h) has what is asked for; it only ever grew at its end.
const OPTIONS: usize = 5;
const SCALES: usize = 6;
const BYTES_ACKED: usize = 120;
/// Since Linux 5.4.
const SND_WND: usize = 228;
const KNOWN: usize = 232;
/// The bit of the options that says that windows are scaled.
const SCALED: u8 = 4;

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPeer {
    /// Bytes that it has acknowledged, with one each for the beginning and the end of the stream.
    pub acknowledged: u64,
    /// Bytes that it offers to take; `None` before Linux 5.4.
    pub window: Option<u32>,
    /// How many bits its window is shifted by; 0 when it is not scaled.
    pub scale: u8,
}

/// Asks for it. `None` when this is no TCP socket.
pub fn tcp_peer(socket: BorrowedFd<'_>) -> Option<TcpPeer> {
    let mut info = [0_u8; KNOWN];
    let mut length = libc::socklen_t::try_from(KNOWN).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, which `info` has, and any bytes are a value of it.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let told = &info[..usize::try_from(length).ok()?.min(KNOWN)];
    let acknowledged = told.get(BYTES_ACKED..)?.first_chunk().copied().map(u64::from_ne_bytes)?;
    let window = told.get(SND_WND..).and_then(|rest| rest.first_chunk().copied()).map(u32::from_ne_bytes);
    let scales = *told.get(SCALES)?;
    // A bit field of two: the peer's comes first in memory, which is where the byte order has it.
    let scale = if cfg!(target_endian = "little") { scales & 0xf } else { scales >> 4 };
    let scale = if *told.get(OPTIONS)? & SCALED == 0 { 0 } else { scale };
    (done == 0).then_some(TcpPeer { acknowledged, window, scale })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream, UdpSocket},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn acknowledged_bytes_and_the_offered_window_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let mut near = TcpStream::connect(listener.local_addr().expect("it has one")).expect("it listens");
        let (mut far, _) = listener.accept().expect("somebody connects");
        let before = tcp_peer(near.as_fd()).expect("it is TCP");
        near.write_all(&[7; 5000]).expect("the kernel takes it");
        far.read_exact(&mut [0; 5000]).expect("it has come");
        // Over loopback what has come was acknowledged as it came.
        let after = tcp_peer(near.as_fd()).expect("it is TCP");
        assert_eq!(after.acknowledged - before.acknowledged, 5000);
        let offered = after.window.expect("a kernel since 5.4");
        assert!(offered > 0 && u64::from(offered) <= 65_535 << after.scale);
        assert!((1..=14).contains(&after.scale), "{after:?}");
        let other = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        assert_eq!(tcp_peer(other.as_fd()), None);
    }
}
