//! Questions to the kernel over netlink(7), of families and messages that no library here knows.
//!
//! In: a message's kind and payload. Out: the payloads of the answers, and attributes in them.

use std::io;

use netlink_sys::{Socket, SocketAddr};

use super::DataplaneError;

/// Bytes of `struct nlmsghdr` (linux/netlink.h).
pub(super) const HEADER: usize = 16;
pub(super) const NLM_F_REQUEST: u16 = 1;
const NLM_F_MULTI: u16 = 2;
pub(super) const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Bits of an attribute's type that are not its number.
const NLA_FLAGS: u16 = 0xc000;

/// Sends a question, and hands each answer over.
pub(super) fn ask(
    protocol: isize,
    kind: u16,
    flags: u16,
    payload: &[u8],
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    let length = u32::try_from(HEADER + payload.len()).expect("a question is short");
    let mut question = length.to_ne_bytes().to_vec();
    question.extend([kind, flags].map(u16::to_ne_bytes).concat());
    // Sequence number and sender, which the kernel fills in.
    question.extend([0; 8]);
    question.extend(payload);
    socket.send_to(&question, &SocketAddr::new(0, 0), 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let flags = u16::from_ne_bytes([header[6], header[7]]);
            let payload = rest.get(HEADER..length).unwrap_or_default();
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = payload.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(payload),
            }
            if flags & NLM_F_MULTI == 0 {
                return Ok(());
            }
            rest = rest.get(length.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Attributes by their number (netlink(7), `struct nlattr`).
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !NLA_FLAGS;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the attribute with this number.
pub(super) fn value(payload: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(payload).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// What was asked, if the kernel knows of such things: one that answers with any of these errors is built without, and has none.
pub(super) fn if_known(asked: io::Result<()>, unknown: &[i32]) -> Result<(), DataplaneError> {
    match asked {
        Err(error) if !error.raw_os_error().is_some_and(|code| unknown.contains(&code)) => {
            Err(failed(&error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What went wrong, as everybody here says it.
pub(super) fn failed(error: &io::Error) -> DataplaneError {
    DataplaneError::Netlink(error.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    /// An attribute as the kernel writes it, filled up to four bytes.
    pub(in crate::dataplane) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}
