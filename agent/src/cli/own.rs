//! What the gateway is called on its segments: as the command line says, or as this machine is.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Context;
use ipnet::IpNet;

use crate::dataplane::probe;

/// An address of the gateway, with its prefix where that is said.
pub(super) fn address(text: &str) -> Result<IpNet, String> {
    let plain = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| plain()).map_err(|_| {
        "write an address, with its prefix where that is known, as in `10.1.0.254` or `10.1.0.254/24`"
            .to_owned()
    })
}

/// The addresses of the gateway, and those under which everybody on one of its segments is reached. `is_here` says whether it is this
/// machine.
pub(super) fn addresses(
    said: &[IpNet],
    is_here: bool,
) -> anyhow::Result<(BTreeSet<IpAddr>, BTreeSet<IpAddr>)> {
    let mut addresses: BTreeSet<IpAddr> = said.iter().map(IpNet::addr).collect();
    // A link between two has no address of all (RFC 3021).
    let shared = said.iter().filter(|net| net.addr().is_ipv4() && net.prefix_len() < 31);
    let mut broadcasts: BTreeSet<IpAddr> = shared.map(IpNet::broadcast).collect();
    if is_here {
        addresses.extend(probe::own_addresses().context("failed to ask for the gateway's own addresses")?);
        broadcasts.extend(probe::own_broadcasts().context("failed to ask for the gateway's own networks")?);
    }
    Ok((addresses, broadcasts))
}
