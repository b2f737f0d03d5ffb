//! Packet sockets (packet(7)) with a filter before them, for those that listen on interfaces.
//!
//! In: a program of classic BPF (Linux Documentation/networking/filter.rst) and an interface. Out: a socket that does not block.
#![allow(unsafe_code, reason = "packet sockets, which neither nix nor tokio wraps")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of the C headers, all small"
)]

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// A socket that hears nothing until it is bound, and costs nothing.
///
/// # Errors
/// When the kernel makes no such socket, or does not take the filter.
pub(super) fn open(filter: &mut [libc::sock_filter]) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes three numbers.
    // JUSTIFICATION: a packet socket without a protocol hears nothing until it is bound to one.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    // JUSTIFICATION: it must be closed on every way out.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    attach(&socket, filter)?;
    Ok(socket)
}

/// Puts a filter before a socket of any kind.
///
/// # Errors
/// When the kernel does not take it.
pub(super) fn attach(socket: &OwnedFd, filter: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` and the instructions it points to outlive the call, which copies as many as it says.
    // JUSTIFICATION: without the filter the agent would be woken for each packet.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Hears from now on every protocol on the interface with this index; 0 is all interfaces.
///
/// # Errors
/// When there is no such interface any more, or the kernel refuses.
pub(super) fn bind(socket: &OwnedFd, index: u32) -> io::Result<()> {
    let place = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `place` is as long as it says, and outlives the call.
    // JUSTIFICATION: nix makes no such address from numbers.
    let done = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const place).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
