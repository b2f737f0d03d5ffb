//! XDP programs of a few instructions, for what stands beside the one under test: a sink, a wire without a filter, a source.
//!
//! In: what it shall do. Out: a program that is loaded, and attached for as long as somebody keeps it. No object file, no compiler.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};

use super::{
    link,
    namespace::Namespace,
    sys::{self, Instruction},
};

/// Operations (RFC 9669): moves, 64-bit arithmetic, loads and stores by their width, jumps.
pub(super) mod op {
    pub(in super::super) const MOVE: u8 = 0xbf;
    pub(in super::super) const MOVE_CONSTANT: u8 = 0xb7;
    pub(in super::super) const ADD: u8 = 0x0f;
    pub(in super::super) const ADD_CONSTANT: u8 = 0x07;
    pub(in super::super) const AND_CONSTANT: u8 = 0x57;
    pub(in super::super) const XOR_CONSTANT: u8 = 0xa7;
    pub(in super::super) const SHIFT_RIGHT: u8 = 0x77;
    /// To the order of bytes on the wire; the constant is how many bits.
    pub(in super::super) const TO_WIRE: u8 = 0xdc;
    pub(in super::super) const LOAD_16: u8 = 0x69;
    pub(in super::super) const LOAD_32: u8 = 0x61;
    pub(in super::super) const STORE_16: u8 = 0x6b;
    pub(in super::super) const STORE_CONSTANT_8: u8 = 0x72;
    pub(in super::super) const STORE_CONSTANT_16: u8 = 0x6a;
    pub(in super::super) const STORE_CONSTANT_32: u8 = 0x62;
    pub(in super::super) const IF_GREATER: u8 = 0x2d;
    pub(in super::super) const IF_LESS_CONSTANT: u8 = 0xa5;
    pub(in super::super) const CALL: u8 = 0x85;
    pub(in super::super) const EXIT: u8 = 0x95;
}

/// Helpers (`enum bpf_func_id`).
pub(super) mod helper {
    pub(in super::super) const RANDOM: i32 = 7;
    pub(in super::super) const REDIRECT: i32 = 23;
}

/// `XDP_DROP`.
const DROP: i32 = 1;
/// `XDP_PASS`.
const PASS: i32 = 2;
/// Where the destination port of UDP is in a frame of IPv4 without VLAN tags and options.
const DST_PORT: i16 = 36;

/// A program that is loaded.
pub struct Program(OwnedFd);

/// It runs for every frame that the interface receives, until this is dropped.
pub struct Attached {
    _link: OwnedFd,
}

impl Program {
    /// Drops everything and reads nothing.
    pub fn drop_all() -> Result<Self> {
        Self::load(&[Instruction(op::MOVE_CONSTANT, 0, 0, 0, DROP), Instruction(op::EXIT, 0, 0, 0, 0)])
    }

    /// Sends everything out of another interface, by its index, and reads nothing.
    pub fn redirect(index: u32) -> Result<Self> {
        Self::load(&[
            Instruction(op::MOVE_CONSTANT, 1, 0, 0, i32::try_from(index)?),
            Instruction(op::MOVE_CONSTANT, 2, 0, 0, 0),
            Instruction(op::CALL, 0, 0, 0, helper::REDIRECT),
            Instruction(op::EXIT, 0, 0, 0, 0),
        ])
    }

    /// Drops what is for a UDP port below this one, and lets packet sockets see the rest.
    pub fn drop_below(port: u16) -> Result<Self> {
        Self::load(&[
            Instruction(op::LOAD_32, 7, 1, 0, 0),
            Instruction(op::LOAD_32, 8, 1, 4, 0),
            Instruction(op::MOVE, 2, 7, 0, 0),
            Instruction(op::ADD_CONSTANT, 2, 0, 0, i32::from(DST_PORT) + 2),
            Instruction(op::MOVE_CONSTANT, 0, 0, 0, PASS),
            Instruction(op::IF_GREATER, 2, 8, 5, 0),
            Instruction(op::LOAD_16, 3, 7, DST_PORT, 0),
            Instruction(op::TO_WIRE, 3, 0, 0, 16),
            Instruction(op::IF_LESS_CONSTANT, 3, 0, 1, i32::from(port)),
            Instruction(op::EXIT, 0, 0, 0, 0),
            Instruction(op::MOVE_CONSTANT, 0, 0, 0, DROP),
            Instruction(op::EXIT, 0, 0, 0, 0),
        ])
    }

    pub(super) fn load(instructions: &[Instruction]) -> Result<Self> {
        sys::load_xdp(instructions).map(Self).context("failed to load an XDP program")
    }

    /// Sends copies of a frame through the program, to where it says.
    pub(super) fn send(&self, frame: &[u8], times: u32) -> Result<()> {
        sys::run_live(self.0.as_fd(), frame, times).context("failed to send")
    }

    /// Runs it at an interface, in native mode.
    pub fn attach(&self, namespace: &Namespace, interface: &str) -> Result<Attached> {
        let index = link::index(namespace, interface)?;
        let link = namespace.run(|| sys::attach_xdp(self.0.as_fd(), index));
        Ok(Attached { _link: link.with_context(|| format!("failed to attach to `{interface}`"))? })
    }
}
