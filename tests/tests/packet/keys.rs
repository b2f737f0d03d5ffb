//! Keys of frames, as the kernel reads them.

use bulkhead_common::cache::key::{self, Carries};

/// A key of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    V4([u64; 4]),
    V6([u64; 8]),
}

/// The key of a frame that arrived on an interface, if it has one.
pub fn key(bytes: &[u8], interface: u64) -> Option<Key> {
    match key::carries(&bytes) {
        Carries::V4 => key::v4(&bytes, interface).map(Key::V4),
        Carries::TaggedV4 => key::tagged_v4(&bytes, interface).map(Key::V4),
        Carries::V6 => key::v6(&bytes, interface).map(Key::V6),
        Carries::TaggedV6 => key::tagged_v6(&bytes, interface).map(Key::V6),
        Carries::Other => None,
    }
}
