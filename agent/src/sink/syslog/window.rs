//! What a receiver has surely read of a stream.
//!
//! In: what TCP knows of the peer, again and again. Out: a number of bytes. That the peer's kernel has acknowledged bytes does
//! not mean that a program has read them: they may lie in the peer's buffer, and go when the program or its machine dies.
//! How many these are shows in the window that the peer offers. It shrinks by what is not read, from a full size that is at
//! most twice the largest window that was seen: the kernel opens the window of a buffer that it has enlarged two bytes for
//! each one that arrives, so a reader that stops meanwhile has at most that. A program may besides hold what it has read and
//! not looked at yet: [`IN_PROGRAM`] bytes.

use std::os::fd::BorrowedFd;

/// What a program may have read of a stream and not processed, bytes: twice the largest buffer of the usual receivers.
const IN_PROGRAM: u64 = 256 << 10;

/// A peer whose window is not told: the largest receive buffer that Linux makes by itself (`tcp_rmem`, tcp(7)), and more.
const UNTOLD: u64 = 8 << 20;

/// What may wait in the gateway's own kernel where nobody tells what was acknowledged: the largest send buffer (`tcp_wmem`).
const UNSENT: u64 = 4 << 20;

/// What TCP knows of the peer of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Bytes that it has acknowledged since the stream began.
    pub acknowledged: u64,
    /// Bytes that it offers to take; `None` where the kernel does not tell (before Linux 5.4).
    pub window: Option<u32>,
}

/// Asks the kernel for it (`TCP_INFO`); `None` when it does not answer.
pub type Meter = fn(BorrowedFd<'_>) -> Option<Peer>;

/// One stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    largest: u64,
}

impl Window {
    /// How many of the bytes that were written have surely been read. May be asked at any time; often is better.
    pub(super) fn read(&mut self, written: u64, peer: Option<Peer>) -> u64 {
        let Some(Peer { acknowledged, window }) = peer else {
            return written.saturating_sub(UNSENT + UNTOLD + IN_PROGRAM);
        };
        // The kernel counts the beginning and the end of a stream as a byte each.
        let acknowledged = acknowledged.saturating_sub(2).min(written);
        let unread = match window {
            Some(window) => {
                self.largest = self.largest.max(u64::from(window));
                2 * self.largest - u64::from(window)
            }
            None => UNTOLD,
        };
        acknowledged.saturating_sub(unread + IN_PROGRAM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(acknowledged: u64, window: u32) -> Option<Peer> {
        Some(Peer { acknowledged: acknowledged + 2, window: Some(window) })
    }

    #[test]
    fn what_lies_in_the_peers_buffer_is_not_read() {
        let mut window = Window::default();
        assert_eq!(window.read(1 << 20, peer(1 << 20, 65_536)), (1 << 20) - 65_536 - IN_PROGRAM);
        // It stops reading: its window closes, and nothing more is read.
        assert_eq!(window.read(1 << 21, peer((1 << 20) + 65_536, 0)), (1 << 20) - 65_536 - IN_PROGRAM);
        // It goes on.
        assert_eq!(window.read(1 << 21, peer(1 << 21, 65_536)), (1 << 21) - 65_536 - IN_PROGRAM);
    }

    #[test]
    fn what_is_not_acknowledged_is_not_read() {
        let mut window = Window::default();
        assert_eq!(window.read(1 << 30, peer(0, 65_536)), 0);
        assert_eq!(window.read(0, peer(1 << 30, 65_536)), 0);
    }

    #[test]
    fn reader_that_stops_while_its_window_opens_has_read_nothing() {
        let mut window = Window::default();
        for arrived in 0..100_u64 {
            let bytes = arrived * 65_536;
            let offered = u32::try_from(65_536 + 2 * bytes).expect("it is small");
            assert_eq!(window.read(bytes, peer(bytes, offered)), 0, "{bytes}");
        }
    }

    #[test]
    fn kernel_that_tells_nothing_makes_everything_late() {
        let mut window = Window::default();
        let silent = Some(Peer { acknowledged: 1 << 30, window: None });
        assert_eq!(window.read(1 << 30, silent), (1 << 30) - 2 - UNTOLD - IN_PROGRAM);
        assert_eq!(window.read(1 << 30, None), (1 << 30) - UNSENT - UNTOLD - IN_PROGRAM);
    }
}
