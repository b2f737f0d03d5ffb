//! What the packet tier shares: policies as text, a fresh data path in a namespace of its own.
#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]

pub mod duel;
pub mod expect;
pub mod gate;
pub mod host;
pub mod invariants;
pub mod invent;
pub mod kernel;
pub mod keys;
pub mod mutate;
pub mod named;
pub mod random;
pub mod rows;
pub mod setup;

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use bulkhead_agent::{
    compile::{Limits, Tables, compile},
    dataplane::{CacheSizes, Dataplane, EventReader, Moment, Sizes, monotonic_ns},
    diagnostic::render_text,
    policy::{SourceFile, resolve_texts},
};
use bulkhead_tests::{
    frame::host,
    lab::{Namespace, Room, requirements},
    skip::{Tier, skip},
};

use jiff::Timestamp;

pub use setup::Setup;

/// The loopback interface, on which the kernel runs test frames: the first of every namespace.
pub const LO: u32 = 1;
/// Index of its counters.
pub const COUNTER: u32 = 1;
/// Longer than any test; no clock can make host and kernel disagree.
pub const FOREVER: u64 = u64::MAX;

/// A verdict cache of a few sets, so that verdicts make room for others.
pub const CACHE: CacheSizes = CacheSizes { v4: 64, v6: 32, hops: 16 };

/// Room for everything the rows do.
pub const SIZES: Sizes =
    Sizes { devices: 64, rules: 128, flows: 4096, violations: 64, ring_bytes: 4096, cache: CACHE };

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
    let (dataplane, events, _) = Dataplane::open(&root, sizes).unwrap_or_else(|error| panic!("{error}"));
    (dataplane, events)
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

/// The gateway of the packet table: two interfaces, both families, and what it made itself for the link.
pub fn gateway() -> BTreeSet<IpAddr> {
    let gateways = ["gw", "gw2"].map(|name| host(name).expect("it is in the list"));
    gateways.iter().flat_map(|gw| [gw.v4.into(), gw.v6.into(), gw.link_local().into()]).collect()
}

/// What the calendar shows in the tests, unless they turn it: a Monday.
pub fn calendar() -> Timestamp {
    "2026-12-28T09:00:00Z".parse().expect("a time")
}

/// What the clocks say of tables.
pub fn moment(tables: &Tables, calendar: Timestamp) -> Moment {
    Moment { deadlines: tables.deadlines(calendar, monotonic_ns()), ..Moment::default() }
}
