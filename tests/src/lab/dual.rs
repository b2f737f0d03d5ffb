//! IPv6 beside IPv4: each host's own stack, with everything that it says by itself.
//!
//! In: a host of a lab. Out: its two addresses, which it has checked for duplicates on the way. The lab's hosts do not
//! speak IPv6 before: what stacks say at moments of their own would blur the counts of other tests.

use std::{
    net::{Ipv6Addr, UdpSocket},
    time::Duration,
};

use anyhow::Result;

use super::{
    link::{self, Mac},
    topology::Host,
    wait::wait_for,
};

/// One question, asked after at most a second, and a second without an answer (RFC 4862 5.4).
const CHECKED_WITHIN: Duration = Duration::from_secs(10);
const PREFIX: u8 = 64;

impl Host {
    /// Its address on the plant's network: the last byte is that of the IPv4 address.
    pub fn ip6(&self) -> Ipv6Addr {
        let [.., last] = self.ip.octets();
        Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, u16::from(last))
    }

    /// Its address on the link.
    pub fn link_local(&self) -> Ipv6Addr {
        link_local(self.mac)
    }

    /// Lets it speak IPv6. It has both addresses, and has asked whether anybody else has, when this returns.
    pub fn speak_ipv6(&self) -> Result<()> {
        link::ipv6_on(&self.namespace, self.interface)?;
        link::address(&self.namespace, self.interface, self.ip6(), PREFIX)?;
        for address in [self.ip6(), self.link_local()] {
            let scope = if address == self.ip6() { 0 } else { link::index(&self.namespace, self.interface)? };
            let place = std::net::SocketAddrV6::new(address, 0, 0, scope);
            wait_for(&format!("`{}` to have {address}", self.name), CHECKED_WITHIN, || {
                // An address that is still being checked cannot be bound.
                Ok(self.namespace.run(|| UdpSocket::bind(place)).is_ok().then_some(()))
            })?;
        }
        Ok(())
    }
}

/// The address for the link that is made of a hardware address (RFC 4291 appendix A).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}
