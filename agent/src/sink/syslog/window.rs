//! What a receiver has surely read of a stream.
//!
//! In: what TCP knows of the peer. Out: a number of bytes. That the peer's kernel has acknowledged bytes does not mean that a
//! program has read them: they may lie in the peer's buffer, and go when the program or its machine dies. How many these are
//! is not told, but bounded: when a connection begins, the peer chooses the scale of its window such that the window can
//! cover the largest buffer it will ever have (RFC 7323 2.3; Linux takes `tcp_rmem` and `rmem_max`), and what it offers to
//! take now is free. The largest window that was seen is no bound: the kernel enlarges a buffer long before it opens the
//! window as far. A program may besides hold what it has read and not looked at yet: [`IN_PROGRAM`] bytes.

use std::os::fd::BorrowedFd;

/// What a program may have read of a stream and not processed, bytes: twice the largest buffer of the usual receivers.
const IN_PROGRAM: u64 = 256 << 10;

/// The largest window before it is scaled (RFC 9293 3.1).
const UNSCALED: u64 = 65_535;

/// The most that is taken for a receive buffer, bytes. Linux makes 6 MiB unless told otherwise, and 32 MiB since 6.16 (`tcp_rmem`, tcp(7)), of which
/// the scale of the window says that it is below 64; a host that was told of hundreds would keep a spool from ever letting go.
const MAX_BUFFER: u64 = 64 << 20;

/// What may wait in the gateway's own kernel where nobody tells what was acknowledged: the largest send buffer (`tcp_wmem`).
const UNSENT: u64 = 4 << 20;

/// What TCP knows of the peer of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Bytes that it has acknowledged since the stream began, with one each for its beginning and its end.
    pub acknowledged: u64,
    /// Bytes that it offers to take; `None` where the kernel does not tell (before Linux 5.4).
    pub window: Option<u32>,
    /// How many bits its window is shifted by; 0 when it is not scaled.
    pub scale: u8,
}

/// Asks the kernel for it (`TCP_INFO`); `None` when it does not answer.
pub type Meter = fn(BorrowedFd<'_>) -> Option<Peer>;

/// How many of the bytes that were written have surely been read.
pub(super) fn read(written: u64, peer: Option<Peer>) -> u64 {
    let Some(Peer { acknowledged, window, scale }) = peer else {
        return written.saturating_sub(UNSENT + MAX_BUFFER + IN_PROGRAM);
    };
    let acknowledged = acknowledged.saturating_sub(2).min(written);
    let buffer = UNSCALED.checked_shl(u32::from(scale)).map_or(MAX_BUFFER, |largest| largest.min(MAX_BUFFER));
    let unread = buffer.saturating_sub(window.map_or(0, u64::from));
    acknowledged.saturating_sub(unread + IN_PROGRAM)
}

/// How many of them have surely been read by a peer that has ended the stream by itself, in order: with something unread in its
/// kernel it would have reset it. What its program held may be gone, since a program that is killed ends streams so too.
pub(super) fn read_by_end(written: u64, peer: Option<Peer>) -> u64 {
    match peer {
        Some(peer) if peer.has_all(written) => written.saturating_sub(IN_PROGRAM),
        Some(_) | None => 0,
    }
}

impl Peer {
    /// Whether it has acknowledged so many bytes. The beginning of a stream counts as one.
    pub(super) fn has_all(self, written: u64) -> bool {
        self.acknowledged > written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(acknowledged: u64, window: u32) -> Option<Peer> {
        Some(Peer { acknowledged: acknowledged + 2, window: Some(window), scale: 7 })
    }

    const BUFFER: u64 = 65_535 << 7;

    #[test]
    fn what_may_lie_in_the_peers_buffer_is_not_read() {
        const SENT: u64 = 1 << 30;
        assert_eq!(read(SENT, peer(SENT, 0)), SENT - BUFFER - IN_PROGRAM);
        assert_eq!(read(SENT, peer(SENT, 3 << 20)), SENT - BUFFER + (3 << 20) - IN_PROGRAM);
        assert_eq!(read(SENT, peer(SENT, u32::MAX)), SENT - IN_PROGRAM);
        let small = Some(Peer { acknowledged: SENT + 2, window: Some(0), scale: 0 });
        assert_eq!(read(SENT, small), SENT - UNSCALED - IN_PROGRAM);
        let huge = Some(Peer { acknowledged: SENT + 2, window: Some(0), scale: 14 });
        assert_eq!(read(SENT, huge), SENT - MAX_BUFFER - IN_PROGRAM);
    }

    #[test]
    fn what_is_not_acknowledged_is_not_read() {
        assert_eq!(read(1 << 30, peer(0, 65_536)), 0);
        assert_eq!(read(0, peer(1 << 30, 65_536)), 0);
    }

    #[test]
    fn what_a_program_held_that_has_ended_is_not_read() {
        const SENT: u64 = 1 << 20;
        assert_eq!(read_by_end(SENT, peer(SENT, 0)), SENT - IN_PROGRAM);
        assert_eq!(read_by_end(1000, peer(1000, 0)), 0);
        let not_all = Some(Peer { acknowledged: SENT, window: Some(0), scale: 7 });
        assert_eq!(read_by_end(SENT, not_all), 0);
        assert_eq!(read_by_end(SENT, None), 0);
    }

    #[test]
    fn kernel_that_tells_nothing_makes_everything_late() {
        const SENT: u64 = 1 << 30;
        let silent = Some(Peer { acknowledged: SENT + 2, window: None, scale: 7 });
        assert_eq!(read(SENT, silent), SENT - BUFFER - IN_PROGRAM);
        assert_eq!(read(SENT, None), SENT - UNSENT - MAX_BUFFER - IN_PROGRAM);
    }
}
