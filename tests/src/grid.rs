//! A policy of which a few instructions can compute who may talk to whom, so that packets of very many flows can be made
//! as fast as they are judged.
//!
//! In: a number of devices and of rules for each. Out: the text of a policy. Device `d` is of class `d / 100`; each class has the
//! same number of `allow` entries, each to a network of its own and one service, TCP and UDP port 20000 and the class.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Devices of a class.
pub const OF_CLASS: u32 = 100;
/// The port of class 0.
pub const FIRST_PORT: u32 = 20_000;
/// Every so many classes have the same networks.
pub const SETS: u32 = 8;
/// The first device's address, less one.
pub const DEVICES: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 0);
/// The same over IPv6.
pub const DEVICES_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xb, 0, 0, 0, 0, 0, 0);
/// The first network, of 24 bits.
pub const NETWORKS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
/// The same over IPv6, of 48 bits.
pub const NETWORKS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
/// The first bytes of each device's MAC; its number follows.
pub const MAC: [u8; 2] = [2, 0x42];

/// So many devices with so many rules each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// At most 40,000.
    pub devices: u32,
    /// `allow` entries of each class.
    pub entries: u32,
}

impl Grid {
    /// Rules in effect: each entry once for each device that has it.
    pub fn rules(self) -> u32 {
        self.devices * self.entries
    }

    fn classes(self) -> u32 {
        self.devices.div_ceil(OF_CLASS)
    }

    /// IPv4 addresses of all devices.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (0..self.devices).map(|device| Ipv4Addr::from(u32::from(DEVICES) + 1 + device))
    }

    /// The policy's one file.
    pub fn policy(self) -> String {
        let mut text = "version = 1\n".to_owned();
        let mut put = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a string takes any text");
        for network in 0..self.classes().min(SETS) * self.entries {
            let v4 = Ipv4Addr::from(u32::from(NETWORKS) + (network << 8));
            let v6 = Ipv6Addr::from(u128::from(NETWORKS_V6) + (u128::from(network) << 80));
            put(format_args!("\n[network.net-{network}]\ncidr = [\"{v4}/24\", \"{v6}/48\"]\n"));
        }
        for class in 0..self.classes() {
            let port = FIRST_PORT + class;
            put(format_args!("\n[service.of-{class}]\ntcp = [\"{port}\"]\nudp = [\"{port}\"]\n"));
            put(format_args!("\n[class.class-{class}]\n"));
            for entry in 0..self.entries {
                let network = class % SETS * self.entries + entry;
                put(format_args!(
                    "\n[[class.class-{class}.allow]]\nto = \"net-{network}\"\nservice = \"of-{class}\"\n"
                ));
            }
        }
        for (device, v4) in (0..).zip(self.addresses()) {
            let ([m, n], [a, b, c, d]) = (MAC, u32::to_be_bytes(device));
            let v6 = Ipv6Addr::from(u128::from(DEVICES_V6) + 1 + u128::from(device));
            let class = device / OF_CLASS;
            put(format_args!(
                "\n[device.device-{device}]\nmac = [\"{m:02x}:{n:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}\"]\n\
                 ip = [\"{v4}\", \"{v6}\"]\nclass = \"class-{class}\"\nmode = \"enforce\"\n"
            ));
        }
        text
    }
}
