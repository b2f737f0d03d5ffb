//! The kernel's news about interfaces and addresses (rtnetlink(7)), so that a NIC that comes back is enforced
//! at once and not at the next slow look; and about routes and neighbours, so that no packet goes on by one that is no more.
//!
//! In: nothing. Out: that something changed, and how often news were lost. What changed is asked of the kernel
//! anew ([`super::probe`]): after lost news there is no other way, and one way is easier to trust than two.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM},
};
use tokio::io::unix::AsyncFd;

use super::{DataplaneError, neighbours::Neighbours, netlink::failed};

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR` (linux/rtnetlink.h).
const LINKS: u32 = 0x1 | 0x10 | 0x100;
/// All that the way of a packet depends on (linux/rtnetlink.h): interfaces and addresses; `RTMGRP_NEIGH`; routes and rules of both families;
/// their settings, such as forwarding (`RTNLGRP_IPV4_NETCONF`, `RTNLGRP_IPV6_NETCONF`); and `RTNLGRP_NEXTHOP`. Group n is bit n - 1.
const ROUTES: u32 =
    LINKS | 0x4 | 0x40 | 0x80 | 0x400 | 1 << (19 - 1) | 1 << (24 - 1) | 1 << (25 - 1) | 1 << (32 - 1);
/// `XFRMNLGRP_POLICY` (linux/xfrm.h).
const IPSEC_POLICIES: u32 = 1 << (4 - 1);
/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h).
const FIREWALL: u32 = 1 << (7 - 1);
/// Rules that come and go (linux/rtnetlink.h).
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
/// Messages taken at once; the rest waits for the next turn of the loop.
const AT_ONCE: u32 = 1024;

/// A socket that hears of every change. Readable when there is news.
pub struct LinkWatch {
    socket: Socket,
    /// Those that were heard of, where they are: in other families the same kinds are something else.
    neighbours: Option<Neighbours>,
}

/// What was heard since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkNews {
    /// Messages, but for those of neighbours that are to packets what they were.
    pub messages: u64,
    /// Those of them that are about rules by which routes are chosen.
    pub rules: u64,
    /// How often the kernel had to throw messages away because the socket was full (ENOBUFS, netlink(7)).
    pub lost: u64,
}

impl LinkWatch {
    /// Hears from now on what happens to interfaces and addresses in this network namespace.
    ///
    /// # Errors
    /// [`DataplaneError::Netlink`] when the socket cannot be made.
    pub fn open() -> Result<Self, DataplaneError> {
        Self::hear(NETLINK_ROUTE, LINKS).map_err(|error| failed(&error))
    }

    /// Hears of routes and neighbours as well: of everything that the way of a packet depends on.
    ///
    /// # Errors
    /// As [`LinkWatch::open`].
    pub fn of_routes() -> Result<Self, DataplaneError> {
        let watch = Self::hear(NETLINK_ROUTE, ROUTES).map_err(|error| failed(&error))?;
        Ok(Self { neighbours: Some(Neighbours::default()), ..watch })
    }

    /// Hears of IPsec policies that come and go; `None` from a kernel without IPsec.
    ///
    /// # Errors
    /// As [`LinkWatch::open`].
    pub fn of_ipsec() -> Result<Option<Self>, DataplaneError> {
        Self::hear_if_known(NETLINK_XFRM, IPSEC_POLICIES)
    }

    /// Hears of what changes in nftables; `None` from a kernel without netfilter.
    ///
    /// # Errors
    /// As [`LinkWatch::open`].
    pub fn of_firewall() -> Result<Option<Self>, DataplaneError> {
        Self::hear_if_known(NETLINK_NETFILTER, FIREWALL)
    }

    fn hear_if_known(protocol: isize, groups: u32) -> Result<Option<Self>, DataplaneError> {
        match Self::hear(protocol, groups) {
            Ok(watch) => Ok(Some(watch)),
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    fn hear(protocol: isize, groups: u32) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, neighbours: None })
    }

    /// Takes what is there, and says whether that was all.
    ///
    /// # Errors
    /// When the socket fails for another reason than lost messages.
    pub fn take(&mut self) -> io::Result<(LinkNews, bool)> {
        let mut news = LinkNews::default();
        // Both addresses of a neighbour are at the beginning; the rest of a longer message may be cut off.
        let mut start = [0_u8; 128];
        for _ in 0..AT_ONCE {
            match self.socket.recv(&mut &mut start[..], 0) {
                Ok(length) => {
                    let message = &start[..length.min(start.len())];
                    let Some(neighbours) = &mut self.neighbours else {
                        news.messages += 1;
                        continue;
                    };
                    news.messages += u64::from(neighbours.changes(message));
                    // The kind is behind the length (netlink(7), `struct nlmsghdr`).
                    let kind = u16::from_ne_bytes([start[4], start[5]]);
                    news.rules += u64::from(matches!(kind, RTM_NEWRULE | RTM_DELRULE));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((news, true)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    if let Some(neighbours) = &mut self.neighbours {
                        neighbours.forget();
                    }
                    news.lost += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok((news, false))
    }

    /// The watch as something an event loop can wait on. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel cannot watch one more descriptor.
    #[allow(unsafe_code, reason = "tokio has no safe way in for a descriptor it does not own itself")]
    pub fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is the socket's, which `self` owns, never replaces and closes only on drop.
        // JUSTIFICATION: see the reason above.
        unsafe { AsyncFd::register(self) }.map_err(|refused| refused.into_parts().1)
    }
}

impl LinkNews {
    /// Both together.
    #[must_use]
    pub fn and(self, Self { messages, rules, lost }: Self) -> Self {
        Self { messages: self.messages + messages, rules: self.rules + rules, lost: self.lost + lost }
    }
}

impl AsRawFd for LinkWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
