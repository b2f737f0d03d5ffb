//! The networks of IPv4 addresses, flat: two loads instead of a walk through a trie.
//!
//! In: an address. Out: the identity that a longest-prefix look-up would find, or that it takes one. A page has an entry for each
//! of 256 values of an octet. The first 256 pages say what holds for a whole /16, by its two octets; where that is not the
//! same for all of it, for each /24 of it, on a further page. What is narrower, devices and the gateway is not told here: it must be
//! asked for. Nor is an address that no host may have (RFC 1122 3.2.1.3): what no rule can be about is not the same as a stranger.

/// Entries of a page.
pub const ENTRIES: usize = 256;

/// Pages for whole /16, and further ones: for so many of them their /24 are told apart.
pub const PAGES: u32 = 640;

/// The first page, which says nothing: nobody has an address in 0.0.0.0/8. It is what Linux 6.0 to 6.1.33 and 6.2 to 6.3.7 find
/// whichever page is looked for (elements of an inner array have no size there, d937bc3449fa): they ask.
pub const SILENT: u32 = 0;

/// The first page of /24.
pub const FURTHER: u32 = 256;

/// An entry that says nothing. Identities are below.
pub const ASK: u32 = u32::MAX >> 1;

/// In an entry for a /16: the other bits are the page of its /24.
pub const ON_PAGE: u32 = 1 << 31;

/// One page.
pub type Page = [u32; ENTRIES];

/// The identity of the networks around an address, where it is that of all around it; `entry` has those of a page.
#[inline(always)]
pub fn identity(address: u32, entry: impl Fn(u32, usize) -> u32) -> Option<u32> {
    let mut found = entry(address >> 24, (address >> 16 & 0xff) as usize);
    if found & ON_PAGE != 0 {
        found = entry(found & !ON_PAGE, (address >> 8 & 0xff) as usize);
    }
    if found < ASK { Some(found) } else { None }
}
