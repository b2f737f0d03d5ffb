//! What hosts say of themselves on a NIC, as a packet socket (packet(7)) hears it.
//!
//! In: an interface. Out: frames that arrived through it. A filter in the kernel lets through what the inventory reads, and little else; what
//! is beyond the socket's buffer the kernel drops and counts. XDP comes before: what the program drops, or sends on by itself, is not heard.
#![allow(unsafe_code, reason = "packet sockets, which neither nix nor tokio wraps")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of the C headers, all small")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{
    setsockopt,
    sockopt::{RcvBuf, RcvBufForce},
};

use super::packet_socket;

mod filter;

/// Bytes of a frame that are taken; what identifies a device fits into one frame of Ethernet.
pub const SNAP: usize = 2048;
/// Bytes of frames that may wait in the kernel, with its own words about each.
const WAITING: usize = 1 << 20;

/// A frame, whose bytes are in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Bytes of it.
    pub length: usize,
    /// The VLAN of its outer tag, which the kernel takes off before anybody hears of it.
    pub vlan: Option<u16>,
}

/// A socket on one interface.
pub struct Ear {
    socket: OwnedFd,
}

impl Ear {
    /// Hears what arrives at the interface with this index.
    ///
    /// # Errors
    /// When there is no such interface any more, or the kernel makes no such socket.
    pub fn open(index: u32) -> io::Result<Self> {
        let socket = packet_socket::open(&mut filter::program()?)?;
        // Beyond the limit of the system, where that is allowed.
        setsockopt(&socket, RcvBufForce, &WAITING).or_else(|_| setsockopt(&socket, RcvBuf, &WAITING))?;
        let on: libc::c_int = 1;
        set(&socket, libc::PACKET_AUXDATA, &on)?;
        // What leaves is copied for nobody then (Linux 4.20); before, the filter leaves it out.
        match set(&socket, libc::PACKET_IGNORE_OUTGOING, &on) {
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {}
            other => other?,
        }
        packet_socket::bind(&socket, index)?;
        Ok(Self { socket })
    }

    /// The next frame that waits, cut after the length of the buffer; none for now.
    ///
    /// # Errors
    /// When the interface is gone, or the socket fails.
    pub fn take(&self, buffer: &mut [u8]) -> io::Result<Option<Told>> {
        let mut told = [0_u64; 8];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zeros is a message without anything.
        // JUSTIFICATION: some libraries of C have fields in it that nobody names.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = told.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&told) as _;
        // SAFETY: all that `message` points to outlives the call, and is as long as it says.
        // JUSTIFICATION: nix does not hand out what the kernel says of a frame's VLAN.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // An interface that went down: it may come up again.
                Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN) => Ok(None),
                Some(_) | None => Err(error),
            };
        };
        Ok(Some(Told { length, vlan: vlan(&message) }))
    }

    /// Frames that found no room in the buffer since this was last asked.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn dropped(&self) -> io::Result<u64> {
        let mut counts = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: `counts` is as long as `length` says, and both outlive the call.
        // JUSTIFICATION: nix does not know this option.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counts).cast(),
                &raw mut length,
            )
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(counts.tp_drops.into()) }
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sets an option of a packet socket.
fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is as long as its type, and outlives the call.
    // JUSTIFICATION: nix does not know the options of packet sockets.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The VLAN that the kernel tells of a frame.
fn vlan(message: &libc::msghdr) -> Option<u16> {
    // SAFETY: the kernel has filled `message` and what it points to, which is aligned as words of 64 bits are.
    // JUSTIFICATION: its messages about a frame have no other reader.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: either null or a head inside of the buffer, as CMSG_FIRSTHDR and CMSG_NXTHDR say.
    // JUSTIFICATION: as above.
    while let Some(head) = unsafe { next.as_ref() } {
        let is_whole = head.cmsg_len >= size_of::<libc::cmsghdr>() + size_of::<libc::tpacket_auxdata>();
        if (head.cmsg_level, head.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) && is_whole {
            // SAFETY: the head says that so many bytes follow it; they are read whatever their alignment.
            // JUSTIFICATION: as above.
            let about = unsafe { libc::CMSG_DATA(next).cast::<libc::tpacket_auxdata>().read_unaligned() };
            let has_tag = about.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            // Twelve bits are the VLAN (IEEE 802.1Q 9.6).
            return Some(about.tp_vlan_tci & 0x0fff).filter(|vlan| has_tag && *vlan != 0);
        }
        // SAFETY: both are what the kernel has filled.
        // JUSTIFICATION: as above.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    None
}
