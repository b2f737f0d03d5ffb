//! What the random tests share: numbers from a seed, how the agent runs, the frames of the packet table.

use std::net::SocketAddr;

use bulkhead_common::{
    address::Address,
    lookup::{Unmanaged, infrastructure, trust},
    wire::mac,
};
use bulkhead_tests::frame::host;

use super::{
    Setup,
    rows::{self, Step},
    setup::Place,
};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("64 bits");
        usize::try_from(self.next() % end).expect("below a usize")
    }

    /// One time in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// From where the gateway is managed; none: from where the packet table does it.
const PINS: [&[&str]; 6] =
    [&[], &[], &["::/0"], &["0.0.0.0/0"], &["0.0.0.0/0", "::/0"], &["10.99.0.3/32", "::/0"]];

/// Hosts that speak in the packet table, at ports from which they do.
const RECEIVERS: [&str; 4] = ["192.0.2.9:6514", "172.16.0.67:443", "10.20.1.66:502", "[2001:db8::9]:6514"];

fn parsed(receiver: &str) -> SocketAddr {
    receiver.parse().expect("an address and a port")
}

/// How the agent runs.
pub fn setup(random: &mut Random) -> Setup {
    let floor = place(random);
    let vlans = [7, 9].into_iter().filter(|_| random.once_in(3)).collect::<Vec<u16>>();
    Setup {
        adopt: random.once_in(4),
        strict: random.once_in(3),
        cap: *random.pick(&[0, 0, 0, 20]),
        receivers: RECEIVERS.into_iter().filter(|_| random.once_in(3)).map(parsed).collect(),
        pins: random.pick(&PINS).iter().map(|pin| (*pin).to_owned()).collect(),
        floor,
        vlans: vlans.into_iter().map(|vlan| (vlan, place(random))).collect(),
    }
}

fn place(random: &mut Random) -> Place {
    let mut infrastructure = infrastructure::ALL;
    for bit in 0..9 {
        if random.once_in(8) {
            infrastructure &= !(1 << bit);
        }
    }
    let addresses = ["dhcpd", "router"].map(|name| host(name).expect("it is in the list"));
    let roles = [trust::DHCP_SERVER, trust::DHCP_SERVER_MAC, trust::ROUTER, trust::ROUTER_MAC];
    let hosts = roles.into_iter().filter(|_| random.once_in(3)).map(|role| {
        let [server, router] = addresses;
        let address = match role {
            trust::DHCP_SERVER => server.v4.into(),
            trust::ROUTER => router.link_local().into(),
            trust::DHCP_SERVER_MAC => Address { high: 0, low: mac::from_octets(server.mac) },
            _ => Address { high: 0, low: mac::from_octets(router.mac) },
        };
        (address, role)
    });
    Place {
        hosts: hosts.collect(),
        unmanaged: *random.pick(&[Unmanaged::Monitor, Unmanaged::Pass, Unmanaged::Drop]),
        management: random.once_in(2),
        trusted: random.once_in(2),
        drop_fragments: random.once_in(6),
        infrastructure,
    }
}

/// Every frame of the packet table.
pub fn corpus() -> Vec<Vec<u8>> {
    let steps = rows::all().into_iter().flat_map(|row| row.steps);
    steps
        .filter_map(|step| match step {
            Step::Frame { text: _, bytes, expected: _ } => Some(bytes),
            Step::Set(_) | Step::Policy(_) | Step::Wait(_) | Step::Clock(_) | Step::Learn(_) => None,
        })
        .collect()
}
