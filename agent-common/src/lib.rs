//! The decision itself: bytes are parsed into a packet, the packet meets the policy, a verdict comes out.
//!
//! This crate is compiled twice, into the XDP program and into the agent, so that enforcement,
//! `why` and every test run the same code. It does no I/O and allocates nothing.
//!
//! Start with [`decide::decide`].
#![no_std]

#[cfg(test)]
extern crate std;

pub mod address;
pub mod bytes;
pub mod cache;
pub mod decide;
pub mod flat;
pub mod flow;
pub mod forward;
pub mod layout;
pub mod lookup;
pub mod mode;
pub mod parse;
pub mod reason;
pub mod wire;
