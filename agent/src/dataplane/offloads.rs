//! What a driver does to frames before XDP sees them (ethtool, SIOCETHTOOL).
#![allow(unsafe_code, reason = "an ioctl that no library at hand wraps without a netlink stack of its own")]

use std::{io, os::fd::AsRawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::DataplaneError;

/// `ETHTOOL_GFLAGS` (linux/ethtool.h): the five offloads that existed before the feature bitmap.
const GET_FLAGS: u32 = 0x25;
/// `ETHTOOL_SFLAGS`: the same, to set.
const SET_FLAGS: u32 = 0x26;
/// `ETH_FLAG_RXVLAN`.
const RX_VLAN: u32 = 1 << 8;
/// `ETH_FLAG_LRO`.
const LRO: u32 = 1 << 15;

/// Offloads that hide something from XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// VLAN tags are taken off and put beside the frame, where XDP does not see them.
    pub rx_vlan: bool,
    /// Segments are merged before XDP, into frames nobody sent.
    pub lro: bool,
}

#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// The offloads of an interface.
///
/// # Errors
/// When the driver does not answer, for example because the interface is gone.
pub fn offloads(interface: &str) -> Result<Offloads, DataplaneError> {
    let flags = ethtool(interface, GET_FLAGS, 0, "ask for offloads")?;
    Ok(Offloads { rx_vlan: flags & RX_VLAN != 0, lro: flags & LRO != 0 })
}

/// Switches both offloads off, and leaves the others alone.
///
/// # Errors
/// When the driver refuses, for example because it cannot do without.
pub fn switch_off(interface: &str) -> Result<(), DataplaneError> {
    let flags = ethtool(interface, GET_FLAGS, 0, "ask for offloads")?;
    ethtool(interface, SET_FLAGS, flags & !(RX_VLAN | LRO), "switch off offloads").map(drop)
}

/// One command with one number; returns the number as the kernel left it.
fn ethtool(interface: &str, command: u32, data: u32, act: &'static str) -> Result<u32, DataplaneError> {
    let fail = |source: io::Error| DataplaneError::System { act, source };
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|e| fail(e.into()))?;
    let mut value = Value { command, data };
    // SAFETY: an all-zero `ifreq` is valid: a byte array and a union of plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = interface.as_bytes();
    if name.len() >= request.ifr_name.len() {
        return Err(fail(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `request` and the `value` it points to live until the call returns; the command writes eight bytes.
    // JUSTIFICATION: see the module.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done != 0 {
        return Err(fail(io::Error::last_os_error()));
    }
    Ok(value.data)
}
