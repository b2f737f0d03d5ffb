//! Where a name may lead: not to what is protected here, whoever owns the name (DNS rebinding), and not to what no host has.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bulkhead_common::address::Address;

use crate::compile::Tables;

/// Why an address may not be known by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No host may have it.
    Unusable,
    /// It is reached by its own rules only.
    Protected,
}

/// What is known of addresses besides their names.
pub(super) struct Places<'p> {
    /// Whether a name may lead to private addresses.
    pub(super) private: bool,
    /// The gateway's own addresses.
    pub(super) gateway: &'p BTreeSet<IpAddr>,
    /// The broadcast addresses of its networks.
    pub(super) broadcasts: &'p BTreeSet<IpAddr>,
    /// With the devices' addresses.
    pub(super) tables: &'p Tables,
}

impl Places<'_> {
    /// Why an address is not learned, if it is not.
    pub(super) fn refusal(&self, address: IpAddr) -> Option<Refusal> {
        // An IPv4 address in IPv6 clothes is no address of a host (RFC 4291 2.5.5.2).
        if address != address.to_canonical() {
            return Some(Refusal::Unusable);
        }
        let behind = translated(address).map(IpAddr::V4);
        [Some(address), behind].into_iter().flatten().find_map(|address| self.refusal_of(address))
    }

    fn refusal_of(&self, address: IpAddr) -> Option<Refusal> {
        let number = Address::from(address);
        if number.is_martian_source() {
            return Some(Refusal::Unusable);
        }
        let ours = self.gateway.contains(&address)
            || self.broadcasts.contains(&address)
            || self.tables.addresses.contains_key(&number);
        (ours || (!self.private && is_private(address))).then_some(Refusal::Protected)
    }
}

/// The IPv4 host that a translator reaches for an address of its well-known prefix, `64:ff9b::/96` (RFC 6052 2.1).
fn translated(address: IpAddr) -> Option<Ipv4Addr> {
    const WELL_KNOWN: u128 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).to_bits();
    let IpAddr::V6(v6) = address else { return None };
    let v4 = u32::try_from(v6.to_bits().checked_sub(WELL_KNOWN)?).ok()?;
    Some(Ipv4Addr::from_bits(v4))
}

/// Addresses for use inside: private (RFC 1918), shared (RFC 6598), unique local (RFC 4193), of the link (RFC 3927, RFC 4291).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compile::{Limits, compile},
        policy::{SourceFile, resolve_texts},
    };

    #[test]
    fn private_addresses_are_those_for_use_inside() {
        for (address, private) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.1.1", true),
            ("169.254.7.7", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("172.32.0.1", false),
            ("203.0.113.9", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().expect("an address")), private, "{address}");
        }
    }

    #[test]
    fn a_name_leads_neither_to_what_is_protected_nor_to_nobody() {
        let text = "version = 1\n[device.plc]\nip = [\"10.20.1.11\", \"203.0.113.11\", \"fd00:20::11\"]\n";
        let files = [SourceFile { path: "a.toml".into(), text: text.into() }];
        let policy = resolve_texts(&files).policy.expect("a valid policy");
        let limits = Limits { devices: 4, rules: 4, rows: 4096 };
        let tables = compile(&policy, &limits).expect("it fits");
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        let gateway = BTreeSet::from([at("10.20.1.1"), at("fd00:20::1")]);
        let broadcasts = BTreeSet::from([at("10.20.1.255")]);
        let with = |private| Places { private, gateway: &gateway, broadcasts: &broadcasts, tables: &tables };
        let (any, outside) = (with(true), with(false));
        for (address, refusal, refusal_outside) in [
            ("203.0.113.9", None, None),
            ("2001:db8::9", None, None),
            ("10.9.0.7", None, Some(Refusal::Protected)),
            ("203.0.113.11", Some(Refusal::Protected), Some(Refusal::Protected)),
            ("10.20.1.1", Some(Refusal::Protected), Some(Refusal::Protected)),
            ("10.20.1.255", Some(Refusal::Protected), Some(Refusal::Protected)),
            ("fd00:20::11", Some(Refusal::Protected), Some(Refusal::Protected)),
            ("127.0.0.1", Some(Refusal::Unusable), Some(Refusal::Unusable)),
            ("::ffff:203.0.113.9", Some(Refusal::Unusable), Some(Refusal::Unusable)),
            // Through a translator.
            ("64:ff9b::203.0.113.9", None, None),
            ("64:ff9b::203.0.113.11", Some(Refusal::Protected), Some(Refusal::Protected)),
            ("64:ff9b::10.20.1.1", Some(Refusal::Protected), Some(Refusal::Protected)),
            ("64:ff9b::10.20.1.255", Some(Refusal::Protected), Some(Refusal::Protected)),
            ("64:ff9b::10.9.0.7", None, Some(Refusal::Protected)),
            ("64:ff9b::127.0.0.1", Some(Refusal::Unusable), Some(Refusal::Unusable)),
            ("64:ff9b:1::203.0.113.11", None, None),
        ] {
            assert_eq!(any.refusal(at(address)), refusal, "{address}");
            assert_eq!(outside.refusal(at(address)), refusal_outside, "{address} without private addresses");
        }
    }
}
