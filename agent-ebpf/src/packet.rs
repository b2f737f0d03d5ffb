//! The bytes of a packet in the kernel: between `data` and `data_end`, each access bounded for the verifier.

use aya_ebpf::programs::XdpContext;
use bulkhead_common::{
    bytes::Bytes,
    cache::key::{self, Frame},
};

/// Nothing we read starts behind this offset: Ethernet 14, two tags 8, IPv6 40, four extension headers 256, ICMPv6 24,
/// four options 256; and the bytes of a sample.
const FARTHEST: usize = 1023;

/// One packet. `len` is that of the whole frame; only its start need be linear in memory.
pub struct Packet {
    data: usize,
    end: usize,
    len: u32,
}

impl Packet {
    /// The packet of a context whose frame is `len` bytes long.
    #[inline(always)]
    pub fn new(ctx: &XdpContext, len: u32) -> Self {
        Self { data: ctx.data(), end: ctx.data_end(), len }
    }
}

/// The bytes of a frame that are linear in memory: where they begin and end.
pub struct Linear {
    data: usize,
    end: usize,
}

/// The linear part of a context's frame.
#[inline(always)]
pub fn linear(ctx: &XdpContext) -> Linear {
    Linear { data: ctx.data(), end: ctx.data_end() }
}

impl Linear {
    /// How many they are, at most `bound`.
    #[inline(always)]
    pub fn len(&self, bound: u32) -> u32 {
        let len = (self.end - self.data) as u32;
        if len > bound { bound } else { len }
    }

    /// Where they begin.
    #[inline(always)]
    pub fn start(&self) -> *const core::ffi::c_void {
        self.data as *const _
    }
}

/// The start of a frame, as far as it was found to be there.
#[derive(Clone, Copy)]
pub struct Window(usize);

impl Frame for Packet {
    type Window = Window;

    #[inline(always)]
    fn window<const N: usize>(&self) -> Option<Window> {
        if self.data + N > self.end { None } else { Some(Window(self.data)) }
    }

    #[inline(always)]
    fn length(&self) -> u64 {
        u64::from(self.len)
    }
}

/// One load of its width. The compiler would make eight of one whose address may be odd.
macro_rules! load {
    ($window:expr, $width:literal) => {{
        let value: u64;
        // SAFETY: the verifier has seen that the bytes lie between the packet's `data` and `data_end`, and takes unaligned
        // loads from a packet where the machine does.
        // JUSTIFICATION: no Rust type says "an address that need not be aligned, in one load".
        unsafe {
            core::arch::asm!(
                concat!("{value} = *(", $width, " *)({start} + {at})"),
                value = lateout(reg) value,
                start = in(reg) $window.0,
                at = const AT,
                options(readonly, nostack, preserves_flags),
            );
        }
        value
    }};
}

impl key::Window for Window {
    #[inline(always)]
    fn word<const AT: usize>(self) -> u64 {
        load!(self, "u64")
    }

    #[inline(always)]
    fn half<const AT: usize>(self) -> u32 {
        load!(self, "u32") as u32
    }

    #[inline(always)]
    fn short<const AT: usize>(self) -> u16 {
        load!(self, "u16") as u16
    }
}

/// One store of its width, as the load above.
macro_rules! store {
    ($window:expr, $width:literal, $value:expr) => {{
        // SAFETY: as for the load; the verifier takes stores to a packet of XDP.
        // JUSTIFICATION: as for the load.
        unsafe {
            core::arch::asm!(
                concat!("*(", $width, " *)({start} + {at}) = {value}"),
                value = in(reg) u64::from($value),
                start = in(reg) $window.0,
                at = const AT,
                options(nostack, preserves_flags),
            );
        }
    }};
}

impl Window {
    /// Writes eight bytes, as the machine has them; `AT + 8` is within the window.
    #[inline(always)]
    pub fn put_word<const AT: usize>(self, value: u64) {
        store!(self, "u64", value);
    }

    /// Writes four bytes.
    #[inline(always)]
    pub fn put_half<const AT: usize>(self, value: u32) {
        store!(self, "u32", value);
    }

    /// Writes two bytes.
    #[inline(always)]
    pub fn put_short<const AT: usize>(self, value: u16) {
        store!(self, "u16", value);
    }
}

impl Bytes for Packet {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.len
    }

    #[inline(always)]
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > FARTHEST {
            return None;
        }
        let start = self.data + offset;
        if start + N > self.end {
            return None;
        }
        // SAFETY: `start..start + N` lies between the packet's `data` and `data_end`.
        // JUSTIFICATION: packet memory has no safe view in BPF; the verifier checks the same bound.
        Some(unsafe { (start as *const [u8; N]).read_unaligned() })
    }
}
