//! The flat table of IPv4 networks, see [`bulkhead_common::flat`].
//!
//! In: the rows of the tables of networks and of addresses. Out: all pages. Whoever has more /16 than there are further pages asks the
//! tries for the rest.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use bulkhead_common::{
    address::Address,
    flat::{ASK, ENTRIES, FURTHER, ON_PAGE, PAGES, Page},
    lookup::identity,
};
use ipnet::Ipv6Net;

/// Bits of an address before those of IPv4.
const MAPPED: u8 = 96;
/// The networks of a page, and those of all.
const WIDE: usize = 1 << 16;

/// All pages, in order: `networks` are prefixes as [`super::wide`] has them, with their identities; `hosts` are addresses of whom
/// something else is known.
pub fn pages(
    networks: impl IntoIterator<Item = (Ipv6Net, u32)>,
    hosts: impl IntoIterator<Item = Address>,
) -> Vec<Page> {
    let mut networks: Vec<_> = networks.into_iter().collect();
    // The narrower ones paint over the wider ones.
    networks.sort_unstable_by_key(|(prefix, _)| (prefix.prefix_len(), prefix.network()));
    let mut wide = vec![identity::UNKNOWN; WIDE];
    let mut narrow: BTreeMap<usize, Page> = BTreeMap::new();
    for (prefix, identity) in networks {
        let Some((bits, address)) = of_v4(prefix) else { continue };
        let first = (address >> 16) as usize;
        if bits <= 16 {
            wide[first..first + (1 << (16 - bits))].fill(identity);
        } else {
            let page = narrow.entry(first).or_insert([wide[first]; ENTRIES]);
            let first = (address >> 8 & 0xff) as usize;
            if bits <= 24 {
                page[first..first + (1 << (24 - bits))].fill(identity);
            } else {
                page[first] = ASK;
            }
        }
    }
    for host in hosts.into_iter().filter_map(v4) {
        let first = (host >> 16) as usize;
        narrow.entry(first).or_insert([wide[first]; ENTRIES])[(host >> 8 & 0xff) as usize] = ASK;
    }
    for (first, entry) in wide.iter_mut().enumerate() {
        let host = Address::v4(u32::try_from(first << 16).expect("a /16"));
        if host.is_martian_source() || host.is_martian_destination() {
            *entry = ASK;
            narrow.remove(&first);
        }
    }
    let mut pages: Vec<Page> = Vec::with_capacity(PAGES as usize);
    let mut further = FURTHER..PAGES;
    let mut behind = Vec::new();
    for (first, page) in narrow {
        if page.iter().all(|entry| *entry == ASK) {
            wide[first] = ASK;
        } else if let Some(number) = further.next() {
            wide[first] = ON_PAGE | number;
            behind.push(page);
        } else {
            wide[first] = ASK;
        }
    }
    pages.extend(wide.chunks_exact(ENTRIES).map(|page| Page::try_from(page).expect("256 entries")));
    pages.extend(behind);
    pages.resize(PAGES as usize, [ASK; ENTRIES]);
    pages
}

/// The IPv4 part of a prefix: its bits, and its first address. One that is wider than all of IPv4 is as wide as that.
fn of_v4(prefix: Ipv6Net) -> Option<(u8, u32)> {
    match prefix.prefix_len().checked_sub(MAPPED) {
        Some(bits) => Some((bits, v4(prefix.network().into())?)),
        None => prefix.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()).then_some((0, 0)),
    }
}

fn v4(address: Address) -> Option<u32> {
    match IpAddr::from(address) {
        IpAddr::V4(v4) => Some(v4.into()),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_common::flat;
    use prefix_trie::PrefixMap;
    use proptest::prelude::*;

    use super::*;

    fn told(pages: &[Page], address: u32) -> Option<u32> {
        flat::identity(address, |page, at| pages[page as usize][at])
    }

    fn row(prefix: &str, identity: u32) -> (Ipv6Net, u32) {
        (crate::compile::wide(&prefix.parse().expect("a prefix")), identity)
    }

    /// So many bits of an address, as an IPv4 one stands in the table.
    fn cut(bits: u32, address: u32) -> Ipv6Net {
        let address = Ipv4Addr::from(address).to_ipv6_mapped();
        Ipv6Net::new(address, u8::try_from(bits).expect("128 at most")).expect("128 at most").trunc()
    }

    fn host(text: &str) -> u32 {
        u32::from(text.parse::<std::net::Ipv4Addr>().expect("an address"))
    }

    #[test]
    fn what_is_the_same_all_around_is_told_and_the_rest_is_asked_for() {
        let networks = [
            row("::/0", 40),
            row("10.0.0.0/8", 41),
            row("10.20.0.0/16", 42),
            row("10.20.7.0/24", 43),
            row("10.20.9.128/25", 44),
            row("100.64.0.0/10", identity::ZONE - 1),
            row("2001:db8::/32", 45),
        ];
        let pages = pages(networks, [Address::v4(host("10.20.30.40")), Address { high: 7, low: 7 }]);
        assert_eq!(pages.len(), PAGES as usize);
        assert_eq!(pages[flat::SILENT as usize], [ASK; ENTRIES]);
        for (address, identity) in [
            ("8.8.8.8", Some(40)),
            ("10.1.2.3", Some(41)),
            ("10.20.0.1", Some(42)),
            ("10.20.7.9", Some(43)),
            ("10.20.8.255", Some(42)),
            ("100.65.0.1", Some(identity::ZONE - 1)),
            // Two in one /24, a host, and what no host may have.
            ("10.20.9.1", None),
            ("10.20.30.1", None),
            ("10.20.31.1", Some(42)),
            ("100.128.0.1", Some(40)),
            ("0.0.0.1", None),
            ("127.0.0.1", None),
            ("224.0.0.1", None),
            ("255.255.255.255", None),
        ] {
            assert_eq!(told(&pages, host(address)), identity, "{address}");
        }
    }

    #[test]
    fn no_more_is_told_than_there_are_pages_for() {
        let more = PAGES - FURTHER + 3;
        let pages = pages((0..more).map(|n| (cut(96 + 24, (10 << 24) + (n << 16)), 50)), []);
        assert_eq!(pages.len(), PAGES as usize);
        let known = |n: u32| told(&pages, (10 << 24) + (n << 16));
        let first = (0..more).position(|n| known(n).is_none());
        assert_eq!(first, Some((PAGES - FURTHER) as usize), "the last three are asked for");
        assert_eq!((known(0), told(&pages, (10 << 24) + (1 << 8))), (Some(50), Some(identity::UNKNOWN)));
    }

    /// Few octets, so that prefixes meet.
    fn octets() -> impl Strategy<Value = u32> {
        proptest::array::uniform4(proptest::sample::select(vec![0_u8, 1, 10, 11, 127, 128, 192, 223, 255]))
            .prop_map(u32::from_be_bytes)
    }

    proptest! {
        #[test]
        fn flat_table_says_what_the_longest_prefix_does(
            networks in proptest::collection::btree_map((80..=128_u32, octets()), 0..300_u32, 0..40),
            hosts in proptest::collection::btree_set(octets(), 0..12),
            asked in proptest::collection::vec(octets(), 40),
        ) {
            let mut trie: PrefixMap<Ipv6Net, u32> = PrefixMap::new();
            for ((bits, address), identity) in &networks {
                trie.insert(cut(*bits, *address), *identity);
            }
            let rows = trie.iter().map(|(net, identity)| (net, *identity));
            let pages = pages(rows, hosts.iter().map(|host| Address::v4(*host)));
            for address in asked.into_iter().chain(hosts.iter().copied()) {
                let wanted = trie.get_lpm(&cut(128, address)).map_or(identity::UNKNOWN, |(_, identity)| *identity);
                let found = told(&pages, address);
                prop_assert!(found.is_none() || found == Some(wanted), "{address:#x}: {found:?}, not {wanted}");
                if hosts.contains(&address) {
                    prop_assert_eq!(found, None);
                }
            }
        }
    }
}
