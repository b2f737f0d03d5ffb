//! Who sends and receives in the packet table: one small plant, by names.

/// A MAC and an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name in a line.
    pub name: &'static str,
    /// Six octets.
    pub mac: [u8; 6],
    /// Four octets.
    pub ip: [u8; 4],
}

const ROUTER: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];

/// Everybody the rows talk about. Which of them are devices, the policies in `tests/packet` say.
const HOSTS: &[Host] = &[
    Host { name: "plc", mac: [0x00, 0x1d, 0x9c, 0xc7, 0xb0, 0x70], ip: [10, 20, 1, 11] },
    Host { name: "oven", mac: [0x00, 0x1d, 0x9c, 0xc7, 0xb0, 0x71], ip: [10, 20, 1, 12] },
    Host { name: "hmi", mac: [0x00, 0x0e, 0x8c, 0x11, 0x20, 0x01], ip: [10, 20, 1, 20] },
    Host { name: "stolen", mac: [0x00, 0x0e, 0x8c, 0x11, 0x20, 0x02], ip: [10, 20, 1, 30] },
    Host { name: "tagged", mac: [0x00, 0x0e, 0x8c, 0x11, 0x20, 0x07], ip: [10, 20, 1, 40] },
    Host { name: "camera", mac: [0x00, 0x40, 0x8c, 0x00, 0x00, 0x01], ip: [10, 20, 1, 50] },
    // Behind a router: their frames carry its MAC.
    Host { name: "historian", mac: ROUTER, ip: [10, 20, 2, 5] },
    Host { name: "helpdesk", mac: ROUTER, ip: [10, 20, 3, 4] },
    Host { name: "remote", mac: ROUTER, ip: [10, 20, 9, 9] },
    Host { name: "ntp", mac: ROUTER, ip: [10, 9, 0, 5] },
    Host { name: "patch", mac: ROUTER, ip: [10, 9, 1, 7] },
    Host { name: "admin", mac: ROUTER, ip: [10, 99, 0, 3] },
    Host { name: "internet", mac: ROUTER, ip: [192, 0, 2, 9] },
    Host { name: "router", mac: ROUTER, ip: [10, 20, 1, 254] },
    Host { name: "attacker", mac: [0x02, 0xba, 0xd0, 0, 0, 0x66], ip: [10, 20, 1, 66] },
    Host { name: "guest", mac: [0x02, 0xba, 0xd0, 0, 0, 0x67], ip: [172, 16, 0, 67] },
    Host { name: "gw", mac: [0x02, 0, 0, 0, 0, 0x01], ip: [10, 20, 1, 1] },
    Host { name: "gw2", mac: [0x02, 0, 0, 0, 0, 0x01], ip: [10, 20, 2, 1] },
    Host { name: "all", mac: [0xff; 6], ip: [255; 4] },
    Host { name: "mdns", mac: [0x01, 0x00, 0x5e, 0, 0, 0xfb], ip: [224, 0, 0, 251] },
    Host { name: "nobody", mac: [0; 6], ip: [0; 4] },
];

/// The host of a name.
pub fn host(name: &str) -> Option<Host> {
    HOSTS.iter().find(|host| host.name == name).copied()
}
