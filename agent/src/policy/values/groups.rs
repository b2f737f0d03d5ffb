//! Where a multicast group receives. In: one leaf of a group. Out: prefixes and hardware addresses, or what such
//! a thing looks like.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Leaf, Reader, is_mapped};
use crate::{diagnostic::quote, model::Mac};

/// The shortest prefix of hardware addresses: each address of it is a row of a table.
const SHORTEST: u8 = 38;

impl Reader<'_, '_> {
    /// `224.0.0.251`, `ff02::fb` or `239.192.0.0/16`.
    pub(in crate::policy) fn group_cidr(&mut self, leaf: &Leaf<String>) -> Option<Leaf<IpNet>> {
        let written = leaf.value.parse::<IpAddr>().map(IpNet::from).or_else(|_| leaf.value.parse::<IpNet>());
        let Ok(found) = written else {
            let message = format!("{} is not a multicast address", quote(&leaf.value));
            return self.refuse(
                "BH0221",
                leaf,
                message,
                "write an address or a prefix, as in `239.1.2.3` or `ff02::fb`",
            );
        };
        if is_mapped(&found) {
            return self.mapped(leaf);
        }
        if found != found.trunc() {
            let message = format!("{} has bits set beyond its prefix length", quote(&leaf.value));
            let help = format!("write `{}`, or `{}` for the one address", found.trunc(), found.addr());
            return self.refuse("BH0206", leaf, message, &help);
        }
        // RFC 5771 and RFC 4291 2.7; a shorter prefix would hold unicast addresses too.
        let shortest = match found {
            IpNet::V4(_) => 4,
            IpNet::V6(_) => 8,
        };
        if !found.addr().is_multicast() || found.prefix_len() < shortest {
            let message = format!("{} is not a multicast address", quote(&leaf.value));
            let help = "write an address from `224.0.0.0/4` or `ff00::/8`, as in `224.0.0.251`";
            return self.refuse("BH0221", leaf, message, help);
        }
        Some(Leaf { value: found, at: leaf.at })
    }

    /// `01:0e:cf:00:00:00`, or `01:0c:cd:01:00:00/39` for the 512 addresses that share 39 bits.
    pub(in crate::policy) fn group_macs(&mut self, leaf: &Leaf<String>) -> Vec<Mac> {
        self.group_mac(leaf).map(|(first, bits)| range(first, bits)).unwrap_or_default()
    }

    fn group_mac(&mut self, leaf: &Leaf<String>) -> Option<(Mac, u8)> {
        let (text, bits) = leaf.value.split_once('/').unwrap_or((&leaf.value, "48"));
        let Ok(first) = text.parse::<Mac>() else {
            let message = format!("{} is not a MAC address", quote(&leaf.value));
            let help = "write six pairs of hexadecimal digits, as in `01:0e:cf:00:00:00`";
            return self.refuse("BH0201", leaf, message, help);
        };
        if first == Mac([0xff; 6]) {
            let message = format!("{} is everybody's address, not a group's", quote(&leaf.value));
            return self.refuse("BH0221", leaf, message, "name the peer `broadcast` in the rule");
        }
        if !first.is_group() {
            let message = format!("{} is one device's own address, not a group's", quote(&leaf.value));
            let help =
                "the lowest bit of the first byte is set in a group's address: name the device instead";
            return self.refuse("BH0221", leaf, message, help);
        }
        let Some(bits) = bits.parse::<u8>().ok().filter(|bits| (SHORTEST..=48).contains(bits)) else {
            let message = format!("{} is too wide a range of MAC addresses", quote(&leaf.value));
            let help = format!("write `/{SHORTEST}` to `/48`: up to 1024 addresses at once");
            return self.refuse("BH0222", leaf, message, &help);
        };
        let [aligned, ..] = range(first, bits)[..] else { return None };
        if aligned != first {
            let message = format!("{} has bits set beyond its prefix length", quote(&leaf.value));
            return self.refuse("BH0206", leaf, message, &format!("write `{aligned}/{bits}`"));
        }
        Some((first, bits))
    }
}

/// Every address that shares its first `bits` bits with `first`.
fn range(first: Mac, bits: u8) -> Vec<Mac> {
    let [a, b, c, d, e, f] = first.0;
    let count = 1_u64 << 48_u8.saturating_sub(bits).min(48 - SHORTEST);
    let start = u64::from_be_bytes([0, 0, a, b, c, d, e, f]) & !(count - 1);
    (start..start + count)
        .map(|number| {
            let [_, _, mac @ ..] = number.to_be_bytes();
            Mac(mac)
        })
        .collect()
}
