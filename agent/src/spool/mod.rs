//! Records wait on the disk until their receiver has them: one spool for each sink that is somewhere else.
//!
//! In: records, from the agent's loop, which never waits for more than the page cache. Out: the same records in the same
//! order, to the thread that sends them, as often as it takes until it says that they were told. A spool is bounded: when it
//! is full the oldest records go, and whoever reads finds a [`Hole`] in their place, with the exact number of packets that
//! they accounted for. An end of the agent at any moment loses nothing that was added; a power cut nothing that was
//! [synced](Keeper::sync).
//!
//! A third end, the [`Keeper`], does that: a receiver that is slow or cannot be reached must not hold up the disk.
//!
//! A spool is a folder of segments named by the offset of their first byte, `position` (how far they were told) and
//! `counting` (which counters of the kernel they account for). [`Told`] is the same account of the sinks that need no spool.

mod frame;
mod keeper;
mod reader;
mod state;
mod told;
mod writer;

pub use frame::{Frame, MAX_RECORD, Stamp};
pub use keeper::Keeper;
pub use reader::{Hole, Item, Reader};
pub use state::{Counts, Mark};
pub use told::Told;
pub use writer::{Spool, SpoolError, Waiting};

#[cfg(test)]
mod tests;
