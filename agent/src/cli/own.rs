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

/// The addresses of the gateway, and those under which everybody on one of its segments is reached: those that are said, or where none is
/// and `is_here` says that it is this machine, its own.
pub(super) fn addresses(
    said: &[IpNet],
    is_here: bool,
) -> anyhow::Result<(BTreeSet<IpAddr>, BTreeSet<IpAddr>)> {
    let mut addresses: BTreeSet<IpAddr> = said.iter().map(IpNet::addr).collect();
    // A link between two has no address of all (RFC 3021).
    let shared = said.iter().filter(|net| net.addr().is_ipv4() && net.prefix_len() < 31);
    // Older kernels take the first for the same (RFC 1122 3.2.1.3).
    let mut broadcasts: BTreeSet<IpAddr> = shared.flat_map(|net| [net.network(), net.broadcast()]).collect();
    if is_here && said.is_empty() {
        addresses.extend(probe::own_addresses().context("failed to ask for the gateway's own addresses")?);
        broadcasts.extend(probe::own_broadcasts().context("failed to ask for the gateway's own networks")?);
    }
    Ok((addresses, broadcasts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_the_gateway_counts_alone() {
        let said = address("10.1.0.254/24").expect("an address");
        let (addresses, broadcasts) = super::addresses(&[said], true).expect("nobody else is asked");
        assert_eq!(addresses, [IpAddr::from([10, 1, 0, 254])].into());
        assert_eq!(broadcasts, [[10, 1, 0, 0], [10, 1, 0, 255]].map(IpAddr::from).into());
        let (own, _) = super::addresses(&[], true).expect("this machine has addresses");
        assert!(!own.is_empty());
    }
}
