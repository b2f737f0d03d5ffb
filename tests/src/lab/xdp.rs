//! XDP programs of a few instructions, for what stands beside the one under test: a sink, a wire without a filter.
//!
//! In: what it shall do. Out: a program, attached for as long as somebody keeps it. No object file, no compiler.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};

use super::{
    link,
    namespace::Namespace,
    program::{DROP, PASS, Program, REDIRECT, at, op},
    sys::{self, Instruction},
};

/// A program runs for every frame that an interface receives, until this is dropped.
pub struct Attached {
    _link: OwnedFd,
}

/// Runs a program at an interface, in native mode.
pub fn attach(program: &Program, namespace: &Namespace, interface: &str) -> Result<Attached> {
    let index = link::index(namespace, interface)?;
    let link = namespace.run(|| sys::attach_xdp(program.0.as_fd(), index));
    Ok(Attached { _link: link.with_context(|| format!("failed to attach to `{interface}`"))? })
}

/// Drops everything, having looked at the destination port. [`Program::empty`] drops and reads nothing.
pub fn drop_read() -> Result<Program> {
    Program::load(&[&reading(0)[..], &answer(DROP)].concat())
}

/// Sends everything out of another interface, by its index, and reads nothing.
pub fn redirect(index: u32) -> Result<Program> {
    Program::load(&redirecting(index)?)
}

/// The same, having looked at the destination port.
pub fn redirect_read(index: u32) -> Result<Program> {
    Program::load(&[&reading(0)[..], &redirecting(index)?].concat())
}

/// Drops what is for a UDP port below this one, and lets packet sockets see the rest.
pub fn drop_below(port: u16) -> Result<Program> {
    let above = Instruction(op::IF_LESS_CONSTANT, 3, 0, 2, i32::from(port));
    Program::load(&[&reading(PASS)[..], &[above], &answer(PASS), &answer(DROP)].concat())
}

fn answer(action: u32) -> [Instruction; 2] {
    [Instruction(op::MOVE_CONSTANT, 0, 0, 0, action.cast_signed()), Instruction(op::EXIT, 0, 0, 0, 0)]
}

fn redirecting(index: u32) -> Result<[Instruction; 4]> {
    Ok([
        Instruction(op::MOVE_CONSTANT, 1, 0, 0, i32::try_from(index)?),
        Instruction(op::MOVE_CONSTANT, 2, 0, 0, 0),
        Instruction(op::CALL, 0, 0, 0, REDIRECT),
        Instruction(op::EXIT, 0, 0, 0, 0),
    ])
}

/// Loads the destination port into register 3 and looks at it. A frame that has none, or 0, ends in `otherwise`.
fn reading(otherwise: u32) -> [Instruction; 10] {
    [
        Instruction(op::LOAD_32, 7, 1, 0, 0),
        Instruction(op::LOAD_32, 8, 1, 4, 0),
        Instruction(op::MOVE, 2, 7, 0, 0),
        Instruction(op::ADD_CONSTANT, 2, 0, 0, i32::from(at::DST_PORT) + 2),
        Instruction(op::MOVE_CONSTANT, 0, 0, 0, otherwise.cast_signed()),
        Instruction(op::IF_GREATER, 2, 8, 3, 0),
        Instruction(op::LOAD_16, 3, 7, at::DST_PORT, 0),
        Instruction(op::BIG_ENDIAN, 3, 0, 0, 16),
        Instruction(op::IF_NOT_CONSTANT, 3, 0, 1, 0),
        Instruction(op::EXIT, 0, 0, 0, 0),
    ]
}
