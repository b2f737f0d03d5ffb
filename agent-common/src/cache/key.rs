//! What `decide` sees of a TCP or UDP packet, in a few words read straight from the frame: two frames with the same key are
//! the same to it. A frame that is malformed, in fragments, with options, with two tags or of another protocol has no key.
//!
//! The words, as a little-endian machine loads them:
//!
//! | word | IPv4 | IPv6 |
//! |---|---|---|
//! | 0 | destination MAC, the first half of the source MAC (two octets) | the same |
//! | 1 | the rest of the source MAC; above it the VLAN, TCP's control bits and the interface | the same |
//! | 2 | source and destination | source (2, 3) and destination (4, 5) |
//! | last | source and destination port; above it the edition | the same (6) |

#![allow(clippy::cast_possible_truncation, reason = "fields are cut out of words that were loaded whole")]

use crate::{
    address::Address,
    parse::Packet,
    wire::{protocol, tcp},
};

/// Some bytes from the beginning of a frame, all of which may be read; words are as the machine loads them.
pub trait Window: Copy {
    /// Eight bytes.
    fn word<const AT: usize>(self) -> u64;
    /// Four bytes.
    fn half<const AT: usize>(self) -> u32;
    /// Two bytes.
    fn short<const AT: usize>(self) -> u16;
}

/// A frame that can lend a window.
pub trait Frame {
    /// Its window.
    type Window: Window;
    /// The first `N` bytes, if they are there.
    fn window<const N: usize>(&self) -> Option<Self::Window>;
    /// Length of the whole frame in bytes.
    fn length(&self) -> u64;
}

/// A frame as the host has it.
impl<'a> Frame for &'a [u8] {
    type Window = Start<'a>;

    fn window<const N: usize>(&self) -> Option<Start<'a>> {
        self.get(..N).map(Start)
    }

    fn length(&self) -> u64 {
        self.len() as u64
    }
}

/// So many bytes as were asked for: reading beyond them panics. Words are those of a little-endian machine.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a>(&'a [u8]);

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

/// Octets 12 and 13 of a frame, as they are loaded: what it carries, or that it has a tag.
const IPV4: u32 = 0x0008;
const IPV6: u32 = 0xdd86;
const VLAN: u16 = 0x0081;
const QINQ: u16 = 0xa888;
const QINQ_LEGACY: u16 = 0x0091;

/// Where they are in the upper half of word 1, above the interface: TCP's control bits (none of UDP), the VLAN.
pub(super) const CONTROL_BITS: u32 = 16;
const VLAN_BITS: u32 = 20;

/// The first interface index that has no place in a key.
pub const INTERFACES: u32 = 1024;

/// What a frame carries, as far as a cache is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// IPv4, behind no tag.
    V4,
    /// IPv6, behind no tag.
    V6,
    /// IPv4 behind one tag.
    TaggedV4,
    /// IPv6 behind one tag.
    TaggedV6,
    /// Something without a key.
    Other,
}

/// Looks at the types of a frame and the versions behind them.
#[inline(always)]
pub fn carries<F: Frame>(frame: &F) -> Carries {
    let Some(w) = frame.window::<20>() else { return Carries::Other };
    // Type, version and header length; the next octet is how urgent it is.
    let kind = w.half::<12>();
    if kind & 0x00ff_ffff == IPV4 | 0x45 << 16 {
        return Carries::V4;
    }
    if kind & 0x00f0_ffff == IPV6 | 0x60 << 16 {
        return Carries::V6;
    }
    if !matches!(kind as u16, VLAN | QINQ | QINQ_LEGACY) {
        return Carries::Other;
    }
    let kind = w.half::<16>();
    if kind & 0x00ff_ffff == IPV4 | 0x45 << 16 {
        Carries::TaggedV4
    } else if kind & 0x00f0_ffff == IPV6 | 0x60 << 16 {
        Carries::TaggedV6
    } else {
        Carries::Other
    }
}

/// The key of an IPv4 packet whose header begins at `$ip`.
macro_rules! v4 {
    ($name:ident, $ip:literal, $tag:expr) => {
        /// The key of an IPv4 packet, where [`carries`] found one: four words, the last one without its edition.
        #[inline(always)]
        pub fn $name<F: Frame>(frame: &F, interface: u64) -> Option<[u64; 4]> {
            let w = frame.window::<{ $ip + 28 }>()?;
            // Total length, identification, fragment, time to live, protocol (RFC 791 3.1).
            let middle = w.word::<{ $ip + 2 }>();
            let total = u64::from((middle as u16).swap_bytes());
            let is_fragment = (middle >> 32) & 0xff3f != 0;
            if is_fragment || total < 28 || $ip + total > frame.length() {
                return None;
            }
            let control = match (middle >> 56) as u8 {
                protocol::UDP => datagram(w.short::<{ $ip + 24 }>(), total - 20)?,
                protocol::TCP => {
                    let t = frame.window::<{ $ip + 34 }>()?;
                    segment(t.short::<{ $ip + 32 }>(), total - 20)?
                }
                _ => return None,
            };
            let extra = (interface | control | $tag(w)) << 32;
            let ends = w.word::<{ $ip + 12 }>();
            Some([w.word::<0>(), u64::from(w.half::<8>()) | extra, ends, u64::from(w.half::<{ $ip + 20 }>())])
        }
    };
}

/// The key of an IPv6 packet whose header begins at `$ip`.
macro_rules! v6 {
    ($name:ident, $ip:literal, $tag:expr) => {
        /// The key of an IPv6 packet without extension headers, where [`carries`] found one: eight words, the last but one
        /// without its edition.
        #[inline(always)]
        pub fn $name<F: Frame>(frame: &F, interface: u64) -> Option<[u64; 8]> {
            let w = frame.window::<{ $ip + 48 }>()?;
            // Payload length, next header, hop limit (RFC 8200 3).
            let middle = w.half::<{ $ip + 4 }>();
            let payload = u64::from((middle as u16).swap_bytes());
            if payload < 8 || $ip + 40 + payload > frame.length() {
                return None;
            }
            let control = match (middle >> 16) as u8 {
                protocol::UDP => datagram(w.short::<{ $ip + 44 }>(), payload)?,
                protocol::TCP => {
                    let t = frame.window::<{ $ip + 54 }>()?;
                    segment(t.short::<{ $ip + 52 }>(), payload)?
                }
                _ => return None,
            };
            let extra = (interface | control | $tag(w)) << 32;
            Some([
                w.word::<0>(),
                u64::from(w.half::<8>()) | extra,
                w.word::<{ $ip + 8 }>(),
                w.word::<{ $ip + 16 }>(),
                w.word::<{ $ip + 24 }>(),
                w.word::<{ $ip + 32 }>(),
                u64::from(w.half::<{ $ip + 40 }>()),
                0,
            ])
        }
    };
}

v4!(v4, 14, no_tag);
v4!(tagged_v4, 18, tag);
v6!(v6, 14, no_tag);
v6!(tagged_v6, 18, tag);

/// Whether packets can change the state of their flow, by the second word of their key: those of TCP, which all have control bits.
#[inline(always)]
pub const fn has_state(word: u64) -> bool {
    word >> (32 + CONTROL_BITS) & 0xf != 0
}

/// The VLAN behind an outer tag, where it is in a key.
#[inline(always)]
fn tag<W: Window>(w: W) -> u64 {
    u64::from(w.short::<14>().swap_bytes() & 0x0fff) << VLAN_BITS
}

#[inline(always)]
fn no_tag<W: Window>(_: W) -> u64 {
    0
}

/// A datagram of `len` bytes whose length field was loaded: nothing to add to its key, if it is whole (RFC 768).
#[inline(always)]
fn datagram(field: u16, len: u64) -> Option<u64> {
    let total = u64::from(field.swap_bytes());
    if total < 8 || total > len { None } else { Some(0) }
}

/// TCP's control bits, where they are in a key: FIN, SYN, RST, ACK, of the octets for data offset and flags of a segment of
/// `len` bytes. One without any is malformed, and looks like a datagram.
#[inline(always)]
fn segment(field: u16, len: u64) -> Option<u64> {
    let header = u64::from(field as u8 >> 4) * 4;
    let flags = (field >> 8) as u8;
    let control = flags & (tcp::FIN | tcp::SYN | tcp::RST) | (flags & tcp::ACK) >> 1;
    if header < 20 || header > len || control == 0 { None } else { Some(u64::from(control) << CONTROL_BITS) }
}

/// Where a key belongs: a number for its set, and one for its flow, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of all its bits any may choose a set.
    pub set: u32,
    /// Below [`super::STAMPS`].
    pub flow: u32,
}

/// What the hash of keys begins with: random, so that who does not know them finds no flows that meet but by chance.
pub type Seeds = [u64; 2];

/// Places a key: the ends as they are in its words (of IPv6 their [`digest`]), ports, and what stands above its second word. Products
/// of secret and message, the same in both directions.
#[inline(always)]
pub fn place(seeds: &Seeds, ends: u64, ports: u64, extra: u64) -> Place {
    let product = |a: u64, b: u64, seed: u64| a.wrapping_add(seed).wrapping_mul(b.wrapping_add(seed));
    let flow = product(ends & 0xffff_ffff, ends >> 32, seeds[0]).wrapping_add(product(
        ports & 0xffff,
        ports >> 16,
        seeds[1],
    ));
    let flow = spread(flow);
    let set = (flow ^ extra).wrapping_mul(SPREAD);
    Place { set: (set >> 32) as u32, flow: (flow >> 54) as u32 }
}

/// The number of a flow among [`super::STAMPS`], as [`place`] has it for the keys of its packets.
#[inline(always)]
pub fn flow(seeds: &Seeds, packet: &Packet) -> u32 {
    let end = |address: &Address| {
        if address.is_v4() {
            u64::from((address.low as u32).swap_bytes())
        } else {
            digest(seeds, address.high.swap_bytes(), address.low.swap_bytes())
        }
    };
    let ends = end(&packet.source) | end(&packet.destination) << 32;
    let ports =
        u64::from(packet.source_port.swap_bytes()) | u64::from(packet.destination_port.swap_bytes()) << 16;
    place(seeds, ends, ports, 0).flow
}

/// The address of an end of an IPv6 packet in 32 bits, for [`place`].
#[inline(always)]
pub fn digest(seeds: &Seeds, high: u64, low: u64) -> u64 {
    let product = high.wrapping_add(seeds[0]).wrapping_mul(low.wrapping_add(seeds[1]));
    spread(product) >> 32
}

/// Every bit of a word in the upper ones.
#[inline(always)]
const fn spread(word: u64) -> u64 {
    (word ^ (word >> 32)).wrapping_mul(SPREAD)
}

/// An odd number without a pattern, the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a key says, for whoever must tell of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Destination hardware address, see [`crate::wire::mac`].
    pub destination_mac: u64,
    /// Source hardware address.
    pub source_mac: u64,
    /// VLAN of the only tag; 0 without one.
    pub vlan: u16,
    /// TCP's control bits; 0 of UDP.
    pub control: u8,
    /// Interface index.
    pub interface: u32,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl Told {
    /// What the words of an IPv4 key say.
    #[inline(always)]
    pub fn of_v4(words: &[u64; 4]) -> Self {
        let address = |half: u64| Address::v4((half as u32).swap_bytes());
        Self::of(words[0], words[1], address(words[2]), address(words[2] >> 32), words[3])
    }

    /// What the words of an IPv6 key say.
    #[inline(always)]
    pub fn of_v6(words: &[u64; 8]) -> Self {
        let address = |high: u64, low: u64| Address { high: high.swap_bytes(), low: low.swap_bytes() };
        Self::of(words[0], words[1], address(words[2], words[3]), address(words[4], words[5]), words[6])
    }

    #[inline(always)]
    fn of(first: u64, second: u64, source: Address, destination: Address, ports: u64) -> Self {
        let extra = (second >> 32) as u32;
        let control = (extra >> CONTROL_BITS & 0xf) as u8;
        Self {
            destination_mac: first.swap_bytes() >> 16,
            source_mac: u64::from(((first >> 48) as u16).swap_bytes()) << 32
                | u64::from((second as u32).swap_bytes()),
            vlan: (extra >> VLAN_BITS) as u16,
            control: control & (tcp::FIN | tcp::SYN | tcp::RST) | (control & 8) << 1,
            interface: extra & 0xffff & !super::broad::ENDS,
            source,
            destination,
            source_port: (ports as u16).swap_bytes(),
            destination_port: ((ports >> 16) as u16).swap_bytes(),
        }
    }

    /// IP protocol number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        if self.control == 0 { protocol::UDP } else { protocol::TCP }
    }
}
