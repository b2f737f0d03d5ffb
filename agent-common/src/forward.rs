//! Direct forwarding: which allowed packets of a router may leave without the kernel, and what becomes of their headers.
//!
//! In: a frame. Out: everything that the kernel chooses a way by ([`Question`]), whether a way that was found still holds ([`Next`]), and
//! the fields that a router changes ([`decreased`]). Nothing is routed here: the kernel is asked, and whatever is not plain goes to it.

#![allow(clippy::cast_possible_truncation, reason = "fields are cut out of words that were loaded whole")]

use crate::{
    cache::{
        holds_at,
        key::{Carries, Frame, Window, carries},
    },
    wire::protocol,
};

/// For how long a way is remembered, ns. An agent that hears of a change ends it at once; without one it takes so long. One packet to each
/// neighbour goes through the kernel in such a time.
pub const LIFE: u64 = 1_000_000_000;

/// Neighbours of which it is known when the kernel last sent them something.
pub const MAX_NEIGHBOURS: u32 = 1024;

/// A neighbour as the kernel keeps it: the interface and, above that, the family of its address; then the address in network order, behind
/// one of IPv4 zeros. Several may have one hardware address, and each grows stale by itself.
pub type Neighbour = [u64; 3];

/// Ways of a set of remembered ones.
pub const WAYS: usize = 4;

/// What became of a packet that was allowed on an interface that forwards directly: it was, or why the kernel got it. Indices of
/// the per-CPU array `FORWARDS`.
pub mod fate {
    /// It left at once.
    pub const DIRECT: u32 = 0;
    /// It is no whole TCP or UDP packet between two hosts: other protocols, fragments, options, tags, frames of several buffers, with
    /// something behind the packet, or a wrong checksum of the IPv4 header, which the kernel drops and counts (RFC 1812 5.2.2).
    pub const KIND: u32 = 1;
    /// Its time to live ends here: the kernel says so to its sender (RFC 1812 5.3.1, RFC 4443 3.3).
    pub const TTL: u32 = 2;
    /// It is for the gateway itself, or for nobody that there is a route to.
    pub const NOT_FORWARDED: u32 = 3;
    /// Its route is a black hole or the like, or one of a tunnel, or forwarding is off.
    pub const ROUTE: u32 = 4;
    /// The hardware address of the next hop, or of the one behind which it came from, is not known.
    pub const NEIGHBOUR: u32 = 5;
    /// It is larger than its way takes.
    pub const SIZE: u32 = 6;
    /// Its way leads out of an interface that does not forward directly.
    pub const INTERFACE: u32 = 7;
    /// The way back leads elsewhere, or the frame is not for the gateway's hardware address.
    pub const BACK: u32 = 8;
    /// So that the kernel goes on looking after the neighbour that it is for.
    pub const REFRESH: u32 = 9;
    /// How many there are.
    pub const COUNT: u32 = 10;
    /// Length of the array.
    pub const LEN: u32 = 16;

    /// Their words in `status` and in metrics.
    pub const NAMES: [&str; COUNT as usize] = [
        "direct",
        "kind",
        "ttl",
        "not-forwarded",
        "route",
        "neighbour",
        "size",
        "interface",
        "way-back",
        "refresh",
    ];
}

/// Marks a question of IPv6, above the interface.
const IPV6: u64 = 1 << 63;
/// The bits of a hardware address at the beginning of a frame.
const MAC: u64 = 0xffff_ffff_ffff;

/// The bits that each router may set, of the type of service, and of version, traffic class and flow label as they are loaded.
const ECN: u64 = 0x03;
const ECN_V6: u64 = 0x3000;

/// Bytes of the shortest Ethernet frame, without its check sequence (IEEE 802.3 3.2.8).
const SHORTEST: u64 = 60;

/// What the kernel chooses a way by, in words as the machine loads them, and who the frame is for.
///
/// | word | IPv4 | IPv6 |
/// |---|---|---|
/// | `near[0]` | destination MAC, type of service, protocol | destination MAC, 0, protocol |
/// | `near[1]` | source and destination | destination, the second half |
/// | `near[2]` | source and destination port, interface | the same, and a mark |
/// | `far` | nothing | source, destination's first half, traffic class and flow label |
///
/// Type of service and traffic class are without the two bits that each router may set (ECN, RFC 3168 5): they choose no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// All of it for IPv4.
    pub near: [u64; 3],
    /// The rest for IPv6.
    pub far: [u64; 4],
    /// Bytes behind the Ethernet header.
    pub length: u32,
}

impl Question {
    /// Whether it is one of IPv6.
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.near[2] & IPV6 != 0
    }

    /// Destination hardware address, as the machine loads the first octets of a frame.
    #[inline(always)]
    pub const fn mac(&self) -> u64 {
        self.near[0] & MAC
    }

    /// IP protocol number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        (self.near[0] >> 56) as u8
    }

    /// Type of service of an IPv4 packet; of IPv6 version, traffic class and flow label in network order.
    #[inline(always)]
    pub const fn class(&self) -> u32 {
        if self.is_v6() { self.far[3] as u32 } else { (self.near[0] >> 48) as u32 & 0xff }
    }
}

/// The question for a frame that arrived at an interface (whose index is below [`crate::cache::key::INTERFACES`]), or why the kernel
/// gets it unasked: one of [`fate`].
///
/// # Errors
/// [`fate::KIND`] or [`fate::TTL`].
#[inline(always)]
pub fn question<F: Frame>(frame: &F, interface: u32) -> Result<Question, u32> {
    match carries(frame) {
        Carries::V4 => v4(frame, interface),
        Carries::V6 => v6(frame, interface),
        Carries::TaggedV4 | Carries::TaggedV6 | Carries::Other => Err(fate::KIND),
    }
}

/// IPv4 without options (RFC 791 3.1).
#[inline(always)]
fn v4<F: Frame>(frame: &F, interface: u32) -> Result<Question, u32> {
    let Some(w) = frame.window::<42>() else { return Err(fate::KIND) };
    // Total length, identification, fragment, time to live, protocol.
    let middle = w.word::<16>();
    let total = u64::from((middle as u16).swap_bytes());
    let is_fragment = (middle >> 32) & 0xff3f != 0;
    let number = (middle >> 56) as u8;
    let ends = w.word::<26>();
    if is_fragment
        || total < 28
        || 14 + total > frame.length()
        // Behind the packet is nothing but what fills a frame up to the shortest one (IEEE 802.3 3.2.8).
        || frame.length() > SHORTEST && frame.length() > 14 + total
        || !is_forwarded(number)
        || !is_host_v4(ends as u32)
        || !is_host_v4((ends >> 32) as u32)
        || !is_whole(u64::from(w.short::<14>()) + u64::from(w.short::<24>()), [middle, ends])
    {
        return Err(fate::KIND);
    }
    if (middle >> 48) as u8 <= 1 {
        return Err(fate::TTL);
    }
    let service = u64::from(w.short::<14>() >> 8) & !ECN;
    let near = [
        w.word::<0>() & MAC | service << 48 | u64::from(number) << 56,
        ends,
        u64::from(w.half::<34>()) | u64::from(interface) << 32,
    ];
    Ok(Question { near, far: [0; 4], length: (frame.length() - 14) as u32 })
}

/// IPv6 without extension headers (RFC 8200 3).
#[inline(always)]
fn v6<F: Frame>(frame: &F, interface: u32) -> Result<Question, u32> {
    let Some(w) = frame.window::<62>() else { return Err(fate::KIND) };
    // Payload length, next header, hop limit.
    let middle = w.half::<18>();
    let payload = u64::from((middle as u16).swap_bytes());
    let number = (middle >> 16) as u8;
    let source = [w.word::<22>(), w.word::<30>()];
    let destination = [w.word::<38>(), w.word::<46>()];
    if payload < 8
        // All of them are longer than the shortest frame.
        || 54 + payload != frame.length()
        || !is_forwarded(number)
        || !is_host_v6(source[0])
        || !is_host_v6(destination[0])
    {
        return Err(fate::KIND);
    }
    if (middle >> 24) as u8 <= 1 {
        return Err(fate::TTL);
    }
    let near = [
        w.word::<0>() & MAC | u64::from(number) << 56,
        destination[1],
        u64::from(w.half::<54>()) | u64::from(interface) << 32 | IPV6,
    ];
    let far = [source[0], source[1], destination[0], u64::from(w.half::<14>()) & !ECN_V6];
    Ok(Question { near, far, length: (frame.length() - 14) as u32 })
}

/// Whether the checksum of an IPv4 header is right (RFC 1071 1): the sum of what is given, in parts of 16 bits, has all ones. The order of
/// octets does not matter to it (RFC 1071 2 B).
#[inline(always)]
const fn is_whole(shorts: u64, words: [u64; 2]) -> bool {
    const HALF: u64 = 0xffff_ffff;
    let sum = shorts + (words[0] & HALF) + (words[0] >> 32) + (words[1] & HALF) + (words[1] >> 32);
    // Below 2^35, then below 2^18, then below 2^17, then right or wrong.
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// Those whose ports are where they are looked for. What else there is may mean something to the kernel, as errors of ICMP do.
#[inline(always)]
const fn is_forwarded(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP)
}

/// Whether an address, as it is loaded, may be that of one host beyond the link: no network 0, loopback, link (RFC 6890 2.2.2), group
/// or reserved one.
#[inline(always)]
const fn is_host_v4(address: u32) -> bool {
    let first = address as u8;
    let is_of_the_link = address as u16 == u16::from_le_bytes([169, 254]);
    first != 0 && first != 127 && first < 224 && !is_of_the_link
}

/// The same of IPv6, by the first half of the address (RFC 4291 2.4): not of the link, no group, and none that begins with
/// eight zeros, as the unspecified address, the loopback's and those of IPv4 in IPv6 do.
#[inline(always)]
const fn is_host_v6(high: u64) -> bool {
    let (first, second) = (high as u8, (high >> 8) as u8);
    high != 0 && first != 0xff && !(first == 0xfe && second & 0xc0 == 0x80)
}

/// What `bpf_fib_lookup` says, as one of [`fate`] (linux/bpf.h, `BPF_FIB_LKUP_RET_*`; errors are negative).
#[inline(always)]
pub const fn fate_of(answer: i64) -> u32 {
    match answer {
        0 => fate::DIRECT,
        4 => fate::NOT_FORWARDED,
        7 => fate::NEIGHBOUR,
        8 => fate::SIZE,
        _ => fate::ROUTE,
    }
}

/// A way that was found, or why there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// The first eight octets of the frame when it leaves: destination MAC, and the beginning of the source MAC.
    pub first: u64,
    /// The edition of `ROUTES` before the kernel was asked.
    pub edition: u64,
    /// The rest of the source MAC.
    pub second: u32,
    /// The tick from which on it holds no longer.
    pub until: u32,
    /// Where it leaves: an interface index.
    pub to: u32,
    /// Bytes behind the Ethernet header that are known to fit.
    pub fits: u32,
    /// One of [`fate`].
    pub fate: u32,
    /// Always zero.
    pub pad: u32,
}

impl Next {
    /// Whether it still holds for a packet of this length.
    #[inline(always)]
    pub const fn holds(&self, edition: u64, tick: u32, length: u32) -> bool {
        self.is_alive(edition, tick) && (self.fate != fate::DIRECT || length <= self.fits)
    }

    /// Whether it still holds for packets that fit.
    #[inline(always)]
    pub const fn is_alive(&self, edition: u64, tick: u32) -> bool {
        self.edition == edition && holds_at(self.until, tick)
    }

    /// Ticks for which it still holds for packets that fit: none of one that does not.
    #[inline(always)]
    const fn rest(&self, edition: u64, tick: u32) -> u32 {
        if self.is_alive(edition, tick) { self.until.wrapping_sub(tick) } else { 0 }
    }
}

/// Which place of a set is given up for a way that has none: that of the way which ends first.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its number.
    pub at: usize,
    rest: u32,
}

impl Place {
    /// This one, if there is no better.
    #[inline(always)]
    pub const fn new(at: usize) -> Self {
        Self { at, rest: u32::MAX }
    }

    /// Whichever is the better one; of equal ones the first.
    #[inline(always)]
    #[must_use]
    pub const fn or(self, at: usize, next: &Next, edition: u64, tick: u32) -> Self {
        let rest = next.rest(edition, tick);
        if rest < self.rest { Self { at, rest } } else { self }
    }
}

/// A remembered way: of IPv4 the first of its two cache lines is all that is looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// [`Question::near`].
    pub near: [u64; 3],
    /// Where it goes.
    pub next: Next,
    /// [`Question::far`].
    pub far: [u64; 4],
    /// Always zero.
    pub pad: [u64; 4],
}

const _: () = assert!(size_of::<Next>() == 40 && size_of::<Hop>() == 128);

impl Hop {
    /// Whether it is the way of this question. One that is empty is nobody's: every question has a protocol.
    #[inline(always)]
    pub const fn is_of(&self, question: &Question) -> bool {
        let (n, q) = (&self.near, &question.near);
        if n[0] != q[0] || n[1] != q[1] || n[2] != q[2] {
            return false;
        }
        let (n, q) = (&self.far, &question.far);
        !question.is_v6() || n[0] == q[0] && n[1] == q[1] && n[2] == q[2] && n[3] == q[3]
    }
}

/// Time to live, protocol and checksum of an IPv4 header, as a little-endian machine loads these four octets, one hop later: the
/// checksum follows the one field that changed (RFC 1624 3, equation 3).
#[inline(always)]
pub const fn decreased(word: u32) -> u32 {
    let check = ((word >> 16) as u16).swap_bytes();
    // ~m + m', where m' = m - 0x0100: the time to live is the upper octet of its field.
    let sum = !check as u32 + 0xfeff;
    let sum = (sum & 0xffff) + (sum >> 16);
    let check = !(sum as u16);
    (word & 0xffff).wrapping_sub(1) | (check.swap_bytes() as u32) << 16
}

#[cfg(test)]
mod tests;
