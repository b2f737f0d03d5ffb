//! Keys of frames, as the kernel reads them.

use bulkhead_common::cache::key::{self, Carries, Frame, Window};

/// A frame as the host has it.
#[derive(Clone, Copy)]
struct Whole<'a>(&'a [u8]);

impl<'a> Frame for Whole<'a> {
    type Window = Start<'a>;

    fn window<const N: usize>(&self) -> Option<Start<'a>> {
        self.0.get(..N).map(Start)
    }

    fn length(&self) -> u64 {
        self.0.len() as u64
    }
}

/// So many bytes as were asked for: reading beyond them panics.
#[derive(Clone, Copy)]
struct Start<'a>(&'a [u8]);

impl Start<'_> {
    fn bytes<const AT: usize, const N: usize>(self) -> [u8; N] {
        self.0[AT..AT + N].try_into().expect("so many bytes")
    }
}

impl Window for Start<'_> {
    fn word<const AT: usize>(self) -> u64 {
        u64::from_le_bytes(self.bytes::<AT, 8>())
    }

    fn half<const AT: usize>(self) -> u32 {
        u32::from_le_bytes(self.bytes::<AT, 4>())
    }

    fn short<const AT: usize>(self) -> u16 {
        u16::from_le_bytes(self.bytes::<AT, 2>())
    }
}

/// A key of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    V4([u64; 4]),
    V6([u64; 8]),
}

/// The key of a frame that arrived on an interface, if it has one.
pub fn key(bytes: &[u8], interface: u64) -> Option<Key> {
    let frame = Whole(bytes);
    match key::carries(&frame) {
        Carries::V4 => key::v4(&frame, interface).map(Key::V4),
        Carries::TaggedV4 => key::tagged_v4(&frame, interface).map(Key::V4),
        Carries::V6 => key::v6(&frame, interface).map(Key::V6),
        Carries::TaggedV6 => key::tagged_v6(&frame, interface).map(Key::V6),
        Carries::Other => None,
    }
}
