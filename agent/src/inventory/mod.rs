//! Who is there: what devices say of themselves on the wire, kept with its evidence and its times.
//!
//! In: Ethernet frames with their time. Out: [`Claim`]s of their senders, added up in an [`Inventory`] of bounded size, what is new in it
//! ([`Change`]), a class that the claims suggest, and a policy entry for a device that has none. One file for each protocol; each parser is
//! total over any bytes. Nothing here opens a file or asks a clock.
//!
//! Claims are claims: any host can say anything of itself. They are shown to people, and nothing is allowed by them.

mod arp;
mod bacnet;
mod bytes;
mod change;
mod class;
mod device;
mod dhcp;
mod enip;
mod fact;
mod hear;
mod known;
mod lldp;
mod mdns;
mod modbus;
mod profinet;
mod report;
mod s7;
mod ssdp;
mod stub;
mod table;
mod vendor;

pub use change::{Change, News};
pub use class::{Confidence, Suggested};
pub use device::Device;
pub use fact::{Claim, Evidence, Fact, Kind, Of};
pub use hear::{Heard, hear};
pub use known::Known;
pub use report::{Listed, Named, Report, VERSION};
pub use stub::stub;
pub use table::{Counts, Inventory, Shift};
pub use vendor::{Vendor, Vendors};

/// Characters of the longest value.
pub const MOST_CHARS: usize = 64;
/// Claims of one frame.
pub const MOST_CLAIMS: usize = 32;
/// Devices that are kept.
pub const MOST_DEVICES: usize = 2048;
/// Facts about one device.
pub const MOST_FACTS: usize = 48;
/// Facts of one kind about one device.
pub const MOST_OF_A_KIND: usize = 12;
/// Changes that are kept, the last ones.
pub const MOST_CHANGES: usize = 512;
/// IPv4 addresses that a hardware address may send from that never claimed any on its link; who has more is a router.
pub const MOST_ADDRESSES: usize = 4;
/// Addresses that are counted of one before it is a router for certain.
const MOST_BORROWED: usize = 16;
/// The same of one that claimed some: addresses beside those.
pub const MOST_BESIDE: usize = 1;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
