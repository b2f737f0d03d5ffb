//! What the packet tier shares: policies as text, a fresh data path in a namespace of its own.
#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]

pub mod duel;
pub mod expect;
pub mod host;
pub mod kernel;
pub mod random;
pub mod rows;

use std::{collections::BTreeSet, net::Ipv4Addr, path::Path};

use bulkhead_agent::{
    compile::{Limits, Placed, Tables, compile},
    dataplane::{Dataplane, EventReader, Runtime, Sizes},
    diagnostic::render_text,
    model::Selector,
    policy::{SourceFile, resolve_texts},
};
use bulkhead_common::{
    layout::{InterfaceRow, Settings},
    lookup::{Unmanaged, setting},
};
use bulkhead_tests::{
    lab::{Namespace, Room, requirements},
    skip::{Tier, skip},
};

/// The loopback interface, on which the kernel runs test frames: the first of every namespace.
pub const LO: u32 = 1;
/// Index of its counters.
pub const COUNTER: u32 = 1;
/// Longer than any test; no clock can make host and kernel disagree.
pub const FOREVER: u64 = u64::MAX;

/// Room for everything the rows do.
pub const SIZES: Sizes = Sizes { devices: 12, rules: 24, flows: 4096, violations: 64, ring_bytes: 4096 };

/// A namespace with private pins, or `None` after the skip was recorded.
pub fn lab(test: &str) -> Option<(Namespace, Room)> {
    if let Err(reason) = requirements() {
        skip(Tier::Packet, test, &reason);
        return None;
    }
    Some(Namespace::with_room(test).expect("the requirements were tried"))
}

/// A data path of its own below `pins`.
pub fn open(room: &Room, pins: &str, sizes: Sizes) -> (Dataplane, EventReader) {
    let root = room.pin_outside(pins);
    Dataplane::open(&root, sizes).unwrap_or_else(|error| panic!("{error}"))
}

/// Tables of policy texts.
pub fn tables(texts: &[(&str, &str)]) -> Tables {
    let files: Vec<SourceFile> =
        texts.iter().map(|(path, text)| SourceFile { path: (*path).into(), text: (*text).into() }).collect();
    let outcome = resolve_texts(&files);
    let shown = render_text(&outcome.diagnostics, &outcome.sources, false);
    let policy = outcome.policy.unwrap_or_else(|| panic!("{shown}"));
    let limits = Limits { devices: 4096, rules: 65_536, rows: 1 << 20 };
    compile(&policy, &limits).expect("the policies of the tests are small")
}

/// The text of a file of `tests/packet`.
pub fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packet").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The gateway of the packet table.
pub fn gateway() -> BTreeSet<Ipv4Addr> {
    BTreeSet::from([Ipv4Addr::new(10, 20, 1, 1), Ipv4Addr::new(10, 20, 2, 1)])
}

/// Everything but the policy on which a row depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub unmanaged: Unmanaged,
    pub management: bool,
    pub adopt: bool,
    pub strict: bool,
    pub arp: bool,
    pub dhcp: bool,
    pub nd: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            unmanaged: Unmanaged::Monitor,
            management: true,
            adopt: false,
            strict: false,
            arp: true,
            dhcp: true,
            nd: true,
        }
    }
}

impl Setup {
    pub fn interface(&self) -> InterfaceRow {
        InterfaceRow {
            counter: COUNTER,
            unmanaged: self.unmanaged.code(),
            management: u8::from(self.management),
            pad: [0; 2],
        }
    }

    pub fn runtime(&self, idle: u64) -> Runtime {
        let Self { unmanaged: _, management: _, adopt, strict, arp, dhcp, nd } = *self;
        let bits = [
            (strict, setting::STRICT),
            (arp, setting::ARP),
            (dhcp, setting::DHCP),
            (nd, setting::NEIGHBOR_DISCOVERY),
        ];
        Runtime {
            settings: Settings {
                adopt_until: if adopt { FOREVER } else { 0 },
                tcp_idle: idle,
                udp_idle: idle,
                icmp_idle: idle,
                closing_idle: idle,
                flags: bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum(),
                pad: 0,
            },
            management_peers: vec!["10.99.0.0/16".parse().expect("a prefix")],
            management_services: vec![
                Selector { protocol: 6, low: 22, high: 22 },
                Selector { protocol: 17, low: 60_000, high: 61_000 },
            ],
        }
    }

    /// The same for the host.
    pub fn placed(&self, idle: u64) -> Placed {
        let Runtime { settings, management_peers, management_services } = self.runtime(idle);
        Placed {
            interface: self.interface(),
            settings,
            gateway: gateway(),
            management_peers,
            management_services,
        }
    }
}
