//! What a driver does to frames before XDP sees them, and over how many queues it hands them out (ethtool,
//! SIOCETHTOOL).
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

/// `ETHTOOL_GCHANNELS`: how many queues there are, and could be.
const GET_CHANNELS: u32 = 0x3c;

/// Queues of an interface, above all those that receive: how many CPUs share its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// In use.
    pub rx: u32,
    /// Queues in use to send.
    pub tx: u32,
    /// As many as the driver can have.
    pub most: u32,
    /// Whether each also sends, which is how `ethtool -L` names them: `combined` and not `rx`.
    pub combined: bool,
}

/// `struct ethtool_channels` (linux/ethtool.h).
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    most_rx: u32,
    most_tx: u32,
    most_other: u32,
    most_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `ETHTOOL_GDRVINFO`.
const GET_DRIVER: u32 = 0x3;

/// `struct ethtool_drvinfo` (linux/ethtool.h): what is behind the name is not looked at.
#[repr(C)]
struct Driver {
    command: u32,
    name: [u8; 32],
    rest: [u8; 160],
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
    let flags = number(interface, GET_FLAGS, 0, "ask for offloads")?;
    Ok(Offloads { rx_vlan: flags & RX_VLAN != 0, lro: flags & LRO != 0 })
}

/// Switches both offloads off, and leaves the others alone.
///
/// # Errors
/// When the driver refuses, for example because it cannot do without.
pub fn switch_off(interface: &str) -> Result<(), DataplaneError> {
    let flags = number(interface, GET_FLAGS, 0, "ask for offloads")?;
    number(interface, SET_FLAGS, flags & !(RX_VLAN | LRO), "switch off offloads").map(drop)
}

/// The receive queues of an interface.
///
/// # Errors
/// When the driver does not say: not all do.
pub fn queues(interface: &str) -> Result<Queues, DataplaneError> {
    let mut found = Channels { command: GET_CHANNELS, ..Channels::default() };
    ethtool(interface, (&raw mut found).cast(), "ask for queues")?;
    let Channels { most_rx, most_combined, rx, tx, combined, .. } = found;
    Ok(Queues {
        rx: rx + combined,
        tx: tx + combined,
        most: most_rx.max(most_combined),
        combined: most_combined > 0,
    })
}

/// The name of an interface's driver.
///
/// # Errors
/// When there is no such interface, or it has no driver that says.
pub(super) fn driver(interface: &str) -> Result<String, DataplaneError> {
    let mut found = Driver { command: GET_DRIVER, name: [0; 32], rest: [0; 160] };
    ethtool(interface, (&raw mut found).cast(), "ask for the driver")?;
    let name = found.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// One command with one number; returns the number as the kernel left it.
fn number(interface: &str, command: u32, data: u32, act: &'static str) -> Result<u32, DataplaneError> {
    let mut value = Value { command, data };
    ethtool(interface, (&raw mut value).cast(), act)?;
    Ok(value.data)
}

/// One command. `value` points to the struct of that command, which begins with its number.
fn ethtool(interface: &str, value: *mut libc::c_char, act: &'static str) -> Result<(), DataplaneError> {
    let fail = |source: io::Error| DataplaneError::System { act, source };
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|e| fail(e.into()))?;
    // SAFETY: an all-zero `ifreq` is valid: a byte array and a union of plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = interface.as_bytes();
    if name.len() >= request.ifr_name.len() {
        return Err(fail(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = value;
    // SAFETY: `request` and the struct it points to live until the call returns, and the kernel writes no more than the
    // struct of the command: the callers in this file pass one that lives in their frame.
    // JUSTIFICATION: see the module.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done != 0 {
        return Err(fail(io::Error::last_os_error()));
    }
    Ok(())
}
