//! Who sends and receives in the packet table: one small plant, by names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A MAC and an address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Six octets; of a group of both families those for IPv4.
    pub mac: [u8; 6],
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address that is more than the link's.
    pub v6: Ipv6Addr,
}

impl Host {
    /// The address that the host made itself for the link, `fe80::` and its IPv4 address.
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d] = self.v4.octets().map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, a << 8 | b, c << 8 | d)
    }

    /// The group in which the host hears questions about its IPv6 address (RFC 4291 2.7.1).
    pub fn solicited(&self) -> Self {
        let [.., b, c, d] = self.v6.octets();
        let low = [0xff00 | u16::from(b), u16::from(c) << 8 | u16::from(d)];
        Self { v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, low[0], low[1]), ..*self }
    }

    /// The MAC to which a packet of a family is sent (RFC 2464 7 for groups).
    pub fn mac_of(&self, family: &IpAddr) -> [u8; 6] {
        match family {
            IpAddr::V6(_) if self.v6.is_multicast() => {
                let [.., a, b, c, d] = self.v6.octets();
                [0x33, 0x33, a, b, c, d]
            }
            IpAddr::V4(_) | IpAddr::V6(_) => self.mac,
        }
    }
}

const ROUTER: &str = "02:00:00:00:00:fe";

/// Everybody the rows talk about: name, MAC, IPv4, IPv6 (`-` is `fd00:20::` and the IPv4 address). Which of them are
/// devices, the policies in `tests/packet` say.
const HOSTS: &[(&str, &str, &str, &str)] = &[
    ("plc", "00:1d:9c:c7:b0:70", "10.20.1.11", "-"),
    ("oven", "00:1d:9c:c7:b0:71", "10.20.1.12", "-"),
    ("hmi", "00:0e:8c:11:20:01", "10.20.1.20", "-"),
    ("stolen", "00:0e:8c:11:20:02", "10.20.1.30", "-"),
    ("tagged", "00:0e:8c:11:20:07", "10.20.1.40", "-"),
    ("camera", "00:40:8c:00:00:01", "10.20.1.50", "-"),
    // Frames that are not IP, and leases.
    ("drive", "00:1b:1b:00:00:01", "10.20.1.51", "-"),
    ("ied", "00:30:a7:00:00:01", "10.20.1.52", "-"),
    ("roamer", "00:1e:c0:00:00:01", "10.20.1.150", "-"),
    ("second", "00:1e:c0:00:00:02", "10.20.1.151", "-"),
    ("welder", "00:1e:c0:00:00:07", "10.20.1.70", "-"),
    // Two MACs of one bond.
    ("bond", "00:0e:8c:11:20:0a", "10.20.1.60", "-"),
    ("slave", "00:0e:8c:11:20:0b", "10.20.1.60", "-"),
    ("dhcpd", "02:00:00:00:00:43", "10.20.1.2", "-"),
    ("leaser", "00:0e:8c:11:20:09", "10.20.1.3", "-"),
    // Behind a router: their frames carry its MAC.
    ("historian", ROUTER, "10.20.2.5", "-"),
    ("helpdesk", ROUTER, "10.20.3.4", "-"),
    ("remote", ROUTER, "10.20.9.9", "-"),
    ("ntp", ROUTER, "10.9.0.5", "fd00:9::5"),
    ("patch", ROUTER, "10.9.1.7", "fd00:9:1::7"),
    ("admin", ROUTER, "10.99.0.3", "fd00:99::3"),
    ("internet", ROUTER, "192.0.2.9", "2001:db8::9"),
    ("router", ROUTER, "10.20.1.254", "-"),
    ("attacker", "02:ba:d0:00:00:66", "10.20.1.66", "-"),
    ("guest", "02:ba:d0:00:00:67", "172.16.0.67", "2001:db8:16::67"),
    ("gw", "02:00:00:00:00:01", "10.20.1.1", "-"),
    ("gw2", "02:00:00:00:00:01", "10.20.2.1", "-"),
    ("nobody", "00:00:00:00:00:00", "0.0.0.0", "::"),
    // Everybody, and groups of both families.
    ("all", "ff:ff:ff:ff:ff:ff", "255.255.255.255", "ff02::1"),
    ("subnet", "ff:ff:ff:ff:ff:ff", "10.20.1.255", "ff02::1"),
    ("nodes", "01:00:5e:00:00:01", "224.0.0.1", "ff02::1"),
    ("routers", "01:00:5e:00:00:02", "224.0.0.2", "ff02::2"),
    ("reports", "01:00:5e:00:00:16", "224.0.0.22", "ff02::16"),
    ("servers", "01:00:5e:00:00:0c", "224.0.0.12", "ff02::1:2"),
    ("mdns", "01:00:5e:00:00:fb", "224.0.0.251", "ff02::fb"),
    ("ssdp", "01:00:5e:7f:ff:fa", "239.255.255.250", "ff02::c"),
    ("time", "01:00:5e:00:01:81", "224.0.1.129", "ff02::181"),
    ("cip", "01:00:5e:40:01:02", "239.192.1.2", "ff02::1"),
    // Groups of frames that are not IP.
    ("lldp", "01:80:c2:00:00:0e", "0.0.0.0", "::"),
    ("bridges", "01:80:c2:00:00:00", "0.0.0.0", "::"),
    ("provider", "01:80:c2:00:00:08", "0.0.0.0", "::"),
    ("pvst", "01:00:0c:cc:cc:cd", "0.0.0.0", "::"),
    ("eapol", "01:80:c2:00:00:03", "0.0.0.0", "::"),
    ("slow", "01:80:c2:00:00:02", "0.0.0.0", "::"),
    ("mrp", "01:15:4e:00:00:01", "0.0.0.0", "::"),
    ("prp", "01:15:4e:00:01:2a", "0.0.0.0", "::"),
    ("ptp", "01:1b:19:00:00:00", "0.0.0.0", "::"),
    ("dcp", "01:0e:cf:00:00:00", "0.0.0.0", "::"),
    ("goose", "01:0c:cd:01:00:05", "0.0.0.0", "::"),
    ("values", "01:0c:cd:04:00:01", "0.0.0.0", "::"),
];

/// Every name.
pub fn names() -> impl Iterator<Item = &'static str> {
    HOSTS.iter().map(|(name, ..)| *name)
}

/// The host of a name; `sn:NAME` is the group in which it hears questions about its IPv6 address.
pub fn host(name: &str) -> Option<Host> {
    if let Some(name) = name.strip_prefix("sn:") {
        return host(name).map(|host| host.solicited());
    }
    let (_, digits, v4, v6) = HOSTS.iter().find(|(known, ..)| *known == name)?;
    let v4: Ipv4Addr = v4.parse().expect("the list has addresses");
    let [a, b, c, d] = v4.octets().map(u16::from);
    let v6 = match *v6 {
        "-" => Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, a << 8 | b, c << 8 | d),
        written => written.parse().expect("the list has addresses"),
    };
    let mut mac = [0; 6];
    for (octet, digits) in mac.iter_mut().zip(digits.split(':')) {
        *octet = u8::from_str_radix(digits, 16).expect("the list has MACs");
    }
    Some(Host { mac, v4, v6 })
}
