//! An IP address of either family as one value: behind the parser IPv4 is its IPv4-mapped IPv6 address
//! (RFC 4291 2.5.5.2), so that every table and every question has one kind of key.

/// An IP address as two numbers, the first eight octets and the last eight.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The first eight octets.
    pub high: u64,
    /// The last eight octets.
    pub low: u64,
}

/// What stands before an IPv4 address in `low`: `::ffff:0:0/96`.
const MAPPED: u64 = 0xffff << 32;

impl Address {
    /// `::`, which is no host's.
    pub const UNSPECIFIED: Self = Self { high: 0, low: 0 };
    /// `0.0.0.0`, which is no host's.
    pub const UNSPECIFIED_V4: Self = Self::v4(0);
    /// `255.255.255.255`, every host of the link (RFC 919 7).
    pub const BROADCAST: Self = Self::v4(u32::MAX);
    /// `ff02::1:2`, DHCPv6 servers and relays of the link (RFC 8415 7.1).
    pub const DHCP_SERVERS: Self = Self { high: 0xff02 << 48, low: 0x0001_0002 };

    /// The address behind an IPv4 address as a number.
    #[inline(always)]
    pub const fn v4(address: u32) -> Self {
        Self { high: 0, low: MAPPED | address as u64 }
    }

    /// The address behind sixteen octets in the order of the wire.
    #[inline(always)]
    pub const fn from_octets(o: [u8; 16]) -> Self {
        Self {
            high: u64::from_be_bytes([o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7]]),
            low: u64::from_be_bytes([o[8], o[9], o[10], o[11], o[12], o[13], o[14], o[15]]),
        }
    }

    /// Sixteen octets in the order of the wire: the data of a longest-prefix table.
    #[inline(always)]
    pub const fn octets(&self) -> [u8; 16] {
        let (h, l) = (self.high.to_be_bytes(), self.low.to_be_bytes());
        [h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7]]
    }

    /// Whether it stands for an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.high == 0 && self.low >> 32 == 0xffff
    }

    /// Whether it is the address of nobody, of either family.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        self.high == 0 && (self.low == 0 || self.low == MAPPED)
    }

    /// Whether it is a link-local unicast IPv6 address, `fe80::/10` (RFC 4291 2.5.6): every IPv6 host makes one itself.
    #[inline(always)]
    pub const fn is_link_local(&self) -> bool {
        self.high >> 54 == 0xfe80 >> 6
    }

    /// The hardware address that a host made the last eight octets of, by RFC 4291 appendix A: `ff:fe` in its middle and
    /// one bit turned. 0 when they are made otherwise.
    #[inline(always)]
    pub const fn eui64_maker(&self) -> u64 {
        if self.low >> 24 & 0xffff != 0xfffe || self.is_multicast() || self.is_v4() {
            return 0;
        }
        (self.low >> 40 << 24 | self.low & 0x00ff_ffff) ^ 0x0200_0000_0000
    }

    /// Whether it is a multicast group, `224.0.0.0/4` (RFC 1112 4) or `ff00::/8` (RFC 4291 2.7).
    #[inline(always)]
    pub const fn is_multicast(&self) -> bool {
        self.high >> 56 == 0xff || (self.is_v4() && (self.low & 0xffff_ffff) >> 28 == 0xe)
    }

    /// Whether no host may send from it (RFC 1122 3.2.1.3, RFC 4291 2.5): loopback, multicast, reserved, broadcast,
    /// and on an IPv6 packet what stands for IPv4. The unspecified address is left to the caller.
    #[inline(always)]
    pub const fn is_martian_source(&self) -> bool {
        if self.is_v4() {
            let first = (self.low & 0xffff_ffff) >> 24;
            return first == 0 || first == 127 || first >= 224;
        }
        self.high >> 56 == 0xff || (self.high == 0 && self.low >> 32 == 0)
    }

    /// Whether no host may be sent to it: unspecified, loopback.
    #[inline(always)]
    pub const fn is_martian_destination(&self) -> bool {
        if self.is_v4() {
            let first = (self.low & 0xffff_ffff) >> 24;
            return first == 0 || first == 127;
        }
        self.high == 0 && self.low >> 32 == 0
    }
}

impl From<core::net::Ipv4Addr> for Address {
    fn from(address: core::net::Ipv4Addr) -> Self {
        Self::v4(u32::from(address))
    }
}

impl From<core::net::Ipv6Addr> for Address {
    fn from(address: core::net::Ipv6Addr) -> Self {
        Self::from_octets(address.octets())
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => v4.into(),
            core::net::IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        let octets = address.octets();
        if address.is_v4() {
            let [.., a, b, c, d] = octets;
            return Self::from([a, b, c, d]);
        }
        Self::from(octets)
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn both_families_survive_the_way_through_one_value() {
        for text in ["10.20.1.11", "255.255.255.255", "0.0.0.0", "fd00:20::1", "::", "fe80::1", "ff02::1:2"] {
            let there: IpAddr = text.parse().expect("an address");
            assert_eq!(IpAddr::from(Address::from(there)), there);
        }
        assert_eq!(address("ff02::1:2"), Address::DHCP_SERVERS);
        assert_eq!(address("255.255.255.255"), Address::BROADCAST);
    }

    #[test]
    fn the_maker_of_an_address_is_found_in_it() {
        assert_eq!(address("fe80::21d:9cff:fec7:b070").eui64_maker(), 0x001d_9cc7_b070);
        assert_eq!(address("2001:db8::21d:9cff:fec7:b070").eui64_maker(), 0x001d_9cc7_b070);
        assert_eq!(address("ff3e::21d:9cff:fec7:b070").eui64_maker(), 0, "a group has no maker");
        assert_eq!(address("fe80::1").eui64_maker(), 0);
        assert_eq!(address("fe80::8c3a:1122:3344:5566").eui64_maker(), 0);
    }

    #[test]
    fn what_an_address_is_follows_from_its_bits() {
        type Question = fn(&Address) -> bool;
        let table: &[(Question, &[&str], &[&str])] = &[
            (Address::is_v4, &["0.0.0.0", "10.0.0.1"], &["::", "::1", "fe80::1", "64:ff9b::a00:1"]),
            (Address::is_unspecified, &["::", "0.0.0.0"], &["::1", "0.0.0.1"]),
            (
                Address::is_link_local,
                &["fe80::1", "febf::1"],
                &["fec0::1", "fe00::1", "169.254.0.1", "fd00::1"],
            ),
            (
                Address::is_multicast,
                &["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
                &["223.255.255.255", "240.0.0.0", "255.255.255.255", "fe80::1"],
            ),
            (
                Address::is_martian_source,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "127.0.0.1",
                    "224.0.0.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "ff02::1",
                    "::1",
                    "::",
                ],
                &["10.0.0.1", "169.254.1.1", "fe80::1", "fd00::1", "2001:db8::1"],
            ),
            (
                Address::is_martian_destination,
                &["0.0.0.0", "127.0.0.1", "::1", "::"],
                &["224.0.0.1", "255.255.255.255", "ff02::1", "10.0.0.1", "fe80::1"],
            ),
        ];
        for (question, yes, no) in table {
            for text in *yes {
                assert!(question(&address(text)), "{text}");
            }
            for text in *no {
                assert!(!question(&address(text)), "{text}");
            }
        }
    }
}
