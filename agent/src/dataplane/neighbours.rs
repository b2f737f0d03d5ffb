//! Which of the kernel's news about neighbours change the way of a packet: entries go from reachable to stale and back all the time, and a
//! host that talks keeps its hardware address.
//!
//! In: messages as rtnetlink(7) sends them. Out: whether the neighbour is another one to packets now. What is not understood is a change.

use std::collections::HashMap;

use super::netlink::{HEADER, value};

/// Neighbours that are known. Where there are more they are forgotten, and each is news once more: what is refused is nothing but that.
const MOST: usize = 16_384;

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
/// `NUD_VALID` (linux/neighbour.h, net/neighbour.h): permanent, without ARP, reachable, probed, stale and delayed entries have an address that
/// is used.
const VALID: u16 = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;
/// Bytes of `struct ndmsg`.
const MESSAGE: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

/// An interface, and an address of one of the families that are routed.
type Key = (u32, Box<[u8]>);

/// The hardware addresses that neighbours had when they were last heard of, if any.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: HashMap<Key, Option<[u8; 6]>>,
}

impl Neighbours {
    /// Notes a message, and says whether it may change the way of a packet.
    pub(super) fn changes(&mut self, message: &[u8]) -> bool {
        let kind = message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
        if !matches!(kind, Some(RTM_NEWNEIGH | RTM_DELNEIGH)) {
            return true;
        }
        // Where a bridge has a host is no way of a packet that leaves directly.
        if message.get(HEADER).is_some_and(|family| i32::from(*family) == libc::AF_BRIDGE) {
            return false;
        }
        let Some((key, valid)) = read(message) else { return true };
        // One that is gone is to packets as one that does not answer.
        let mac = valid.filter(|_| kind == Some(RTM_NEWNEIGH));
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            self.known.clear();
        }
        self.known.insert(key, mac) != Some(mac)
    }

    /// Forgets all: news were lost.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

/// Who is meant, and the hardware address if it is used.
fn read(message: &[u8]) -> Option<(Key, Option<[u8; 6]>)> {
    let (header, rest) = message.get(HEADER..)?.split_first_chunk::<MESSAGE>()?;
    let family = i32::from(header[0]);
    if family != libc::AF_INET && family != libc::AF_INET6 {
        return None;
    }
    let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    let state = u16::from_ne_bytes([header[8], header[9]]);
    let address = value(rest, NDA_DST)?;
    // Other hardware has longer ones, or none: they are told each time.
    let mac = match value(rest, NDA_LLADDR) {
        Some(value) => Some(<[u8; 6]>::try_from(value).ok()?),
        None => None,
    };
    Some(((index, address.into()), mac.filter(|_| state & VALID != 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::netlink::tests::attribute;

    const REACHABLE: u16 = 2;
    const STALE: u16 = 4;
    const FAILED: u16 = 0x20;
    const MAC: [u8; 6] = [2, 0, 10, 20, 1, 11];

    /// A message of the kernel about a neighbour of an interface.
    fn message(kind: u16, index: u32, address: &[u8], state: u16, mac: Option<[u8; 6]>) -> Vec<u8> {
        let family = if address.len() == 4 { libc::AF_INET } else { libc::AF_INET6 };
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend([u8::try_from(family).expect("a family"), 0, 0, 0]);
        bytes.extend(index.to_ne_bytes());
        bytes.extend(state.to_ne_bytes());
        bytes.extend([0, 1]);
        for (kind, value) in [(NDA_DST, Some(address)), (NDA_LLADDR, mac.as_ref().map(|mac| &mac[..]))] {
            bytes.extend(value.map(|value| attribute(kind, value)).unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn only_what_packets_would_see_is_a_change() {
        for address in [&[10, 20, 1, 11][..], &[0xfd; 16]] {
            let mut all = Neighbours::default();
            let mut new = |index, state, mac| all.changes(&message(RTM_NEWNEIGH, index, address, state, mac));
            assert!(new(4, REACHABLE, Some(MAC)), "the first that is heard");
            for state in [STALE, 0x08, 0x10, REACHABLE, 0x80, 0x40] {
                assert!(!new(4, state, Some(MAC)), "{state:#x}");
            }
            let other = [2, 0xd, 0, 0, 0, 1];
            assert!(new(4, STALE, Some(other)), "another hardware address");
            assert!(!new(4, REACHABLE, Some(other)));
            assert!(new(5, REACHABLE, Some(other)), "another interface");
            // It is gone or does not answer, and each time it comes back; one that never answers is news once.
            for state in [FAILED, 0x01, 0] {
                assert!(new(4, state, Some(other)) && !new(4, FAILED, Some(other)), "{state:#x}");
                assert!(new(4, REACHABLE, Some(other)) && !new(4, STALE, Some(other)), "{state:#x}");
            }
            assert!(new(4, REACHABLE, None) && new(4, REACHABLE, Some(other)), "it has none meanwhile");
            assert!(all.changes(&message(RTM_DELNEIGH, 4, address, REACHABLE, Some(other))));
            assert!(!all.changes(&message(RTM_NEWNEIGH, 4, address, FAILED, None)));
            assert!(!all.changes(&message(RTM_DELNEIGH, 4, address, FAILED, None)));
            assert!(all.changes(&message(RTM_NEWNEIGH, 4, address, REACHABLE, Some(other))));
            all.forget();
            assert!(all.changes(&message(RTM_NEWNEIGH, 4, address, REACHABLE, Some(other))));
        }
    }

    #[test]
    fn what_is_not_understood_is_a_change() {
        let mut all = Neighbours::default();
        let known = message(RTM_NEWNEIGH, 4, &[10, 20, 1, 11], REACHABLE, Some(MAC));
        assert!(all.changes(&known) && !all.changes(&known));
        for cut in 0..known.len() - 2 {
            assert!(all.changes(&known[..cut]), "{cut} bytes");
            // And what was known is not held for true any more, or is as it was.
            all.changes(&known);
        }
        // RTM_NEWROUTE, and the table of a bridge.
        let mut route = known.clone();
        route[4..6].copy_from_slice(&24_u16.to_ne_bytes());
        assert!(all.changes(&route) && all.changes(&route));
        let mut bridge = known.clone();
        bridge[HEADER] = u8::try_from(libc::AF_BRIDGE).expect("a family");
        assert!(!all.changes(&bridge));
        assert!(!all.changes(&known));
    }

    #[test]
    fn neighbours_that_are_known_have_a_bound() {
        let mut all = Neighbours::default();
        let address = |at: usize| u32::try_from(at).expect("few").to_be_bytes();
        for at in 0..MOST + 10 {
            assert!(all.changes(&message(RTM_NEWNEIGH, 4, &address(at), REACHABLE, Some(MAC))), "{at}");
            assert!(all.known.len() <= MOST);
        }
        assert!(!all.changes(&message(RTM_NEWNEIGH, 4, &address(MOST + 9), STALE, Some(MAC))));
    }
}
