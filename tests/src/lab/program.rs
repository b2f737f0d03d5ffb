//! XDP programs run on bytes, without a library between: what is measured is what the kernel does.
//!
//! In: instructions, a kernel's id or a pin. Out: a program that can be run on a frame many times, also behind another one
//! that jumps to it.

use std::{
    ffi::CString,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use anyhow::{Context, Result};

use super::sys::{self, Instruction, Verdicts};

/// Operations (RFC 9669): arithmetic on 64 bits, on 32 bits (`_32`), loads and stores by their width, jumps.
pub(super) mod op {
    pub(in crate::lab) const ADD: u8 = 0x0f;
    pub(in crate::lab) const ADD_CONSTANT: u8 = 0x07;
    pub(in crate::lab) const AND_CONSTANT: u8 = 0x57;
    pub(in crate::lab) const AND_CONSTANT_32: u8 = 0x54;
    pub(in crate::lab) const BIG_ENDIAN: u8 = 0xdc;
    pub(in crate::lab) const CALL: u8 = 0x85;
    pub(in crate::lab) const EXIT: u8 = 0x95;
    pub(in crate::lab) const IF_GREATER: u8 = 0x2d;
    pub(in crate::lab) const IF_LESS_CONSTANT: u8 = 0xa5;
    pub(in crate::lab) const IF_NOT_CONSTANT: u8 = 0x55;
    pub(in crate::lab) const LOAD_16: u8 = 0x69;
    pub(in crate::lab) const LOAD_32: u8 = 0x61;
    pub(in crate::lab) const LOAD_MAP: u8 = 0x18;
    pub(in crate::lab) const MOVE: u8 = 0xbf;
    pub(in crate::lab) const MOVE_CONSTANT: u8 = 0xb7;
    pub(in crate::lab) const MULTIPLY_CONSTANT: u8 = 0x27;
    pub(in crate::lab) const MULTIPLY_CONSTANT_32: u8 = 0x24;
    pub(in crate::lab) const OR_CONSTANT: u8 = 0x47;
    pub(in crate::lab) const SHIFT_LEFT: u8 = 0x67;
    pub(in crate::lab) const SHIFT_RIGHT: u8 = 0x77;
    pub(in crate::lab) const SHIFT_RIGHT_32: u8 = 0x74;
    pub(in crate::lab) const STORE_16: u8 = 0x6b;
    pub(in crate::lab) const STORE_32: u8 = 0x63;
    pub(in crate::lab) const STORE_CONSTANT_8: u8 = 0x72;
    pub(in crate::lab) const STORE_CONSTANT_16: u8 = 0x6a;
    pub(in crate::lab) const STORE_CONSTANT_32: u8 = 0x62;
    pub(in crate::lab) const XOR_32: u8 = 0xac;
    pub(in crate::lab) const XOR_CONSTANT: u8 = 0xa7;
    pub(in crate::lab) const XOR_CONSTANT_32: u8 = 0xa4;
}

/// Where fields are in a frame without VLAN tags (RFC 791 3.1, RFC 768).
pub(super) mod at {
    /// The low half of the address that ends there.
    pub(in crate::lab) const SRC_MAC: i16 = 10;
    pub(in crate::lab) const IP_ID: i16 = 18;
    pub(in crate::lab) const TTL: i16 = 22;
    pub(in crate::lab) const IP_CHECKSUM: i16 = 24;
    /// The low half of the source address.
    pub(in crate::lab) const SRC_IP: i16 = 28;
    /// The low half of the destination address.
    pub(in crate::lab) const DST_IP: i16 = 32;
    pub(in crate::lab) const SRC_PORT: i16 = 34;
    pub(in crate::lab) const DST_PORT: i16 = 36;
    pub(in crate::lab) const UDP_CHECKSUM: usize = 40;
    pub(in crate::lab) const PAYLOAD: i32 = 42;
}

/// `bpf_get_prandom_u32`.
pub(super) const RANDOM: i32 = 7;
/// `bpf_redirect`.
pub(super) const REDIRECT: i32 = 23;

/// `XDP_DROP`.
pub const DROP: u32 = 1;
/// `XDP_PASS`.
pub const PASS: u32 = 2;

/// A loaded XDP program.
pub struct Program(pub(super) OwnedFd);

/// A place that a program jumps to (`bpf_tail_call`).
pub struct Jump(OwnedFd);

impl Program {
    pub(super) fn load(instructions: &[Instruction]) -> Result<Self> {
        sys::load_xdp(instructions).map(Self).context("the kernel refuses a program of the lab")
    }

    /// The program that does nothing but drop.
    pub fn empty() -> Result<Self> {
        let drop = DROP.cast_signed();
        Self::load(&[Instruction(op::MOVE_CONSTANT, 0, 0, 0, drop), Instruction(op::EXIT, 0, 0, 0, 0)])
    }

    /// A program that somebody else has loaded, by the kernel's id of it.
    pub fn by_id(id: u32) -> Result<Self> {
        sys::program_by_id(id).map(Self).with_context(|| format!("failed to open the program {id}"))
    }

    /// A program that is pinned.
    pub fn pinned(path: &Path) -> Result<Self> {
        pinned(path).map(Self)
    }

    /// Runs it on a frame; the next run sees the frame as the last one left it. Returns what the last run returned.
    pub fn run(&self, frame: &[u8], times: u32) -> Result<u32> {
        let returned = sys::run_xdp(self.0.as_fd(), frame, times, Verdicts::Ignored);
        returned.context("failed to run a program on a frame")
    }
}

impl Jump {
    /// A place that leads to a program. Both the program that jumps and this one must be of one kind: neither of them, or both,
    /// may take frames in fragments.
    pub fn to(program: &Program) -> Result<Self> {
        let map = sys::jump().context("failed to make a map of programs")?;
        let fd = program.0.as_raw_fd();
        sys::set_entry(map.as_fd(), &[0; 4], &fd.to_ne_bytes())
            .context("the kernel lets no program jump there")?;
        Ok(Self(map))
    }

    /// Its last instructions: whoever runs into them comes back only when the jump failed. Register 6 has the context.
    pub(super) fn instructions(&self) -> [Instruction; 7] {
        /// The constant is a descriptor (`BPF_PSEUDO_MAP_FD`).
        const DESCRIPTOR: u8 = 1;
        const TAIL_CALL: i32 = 12;
        [
            Instruction(op::MOVE, 1, 6, 0, 0),
            Instruction(op::LOAD_MAP, 2, DESCRIPTOR, 0, self.0.as_raw_fd()),
            Instruction(0, 0, 0, 0, 0),
            Instruction(op::MOVE_CONSTANT, 3, 0, 0, 0),
            Instruction(op::CALL, 0, 0, 0, TAIL_CALL),
            Instruction(op::MOVE_CONSTANT, 0, 0, 0, 0),
            Instruction(op::EXIT, 0, 0, 0, 0),
        ]
    }
}

/// Writes entries into a pinned per-CPU map whose values have eight bytes: each CPU gets the same.
pub fn fill(path: &Path, keys: impl IntoIterator<Item = Vec<u8>>, value: u64) -> Result<()> {
    /// More than Linux can be built for.
    const CPUS: usize = 8192;
    let map = pinned(path)?;
    let values = value.to_ne_bytes().repeat(CPUS);
    for key in keys {
        let set = sys::set_entry(map.as_fd(), &key, &values);
        set.with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    Ok(())
}

fn pinned(path: &Path) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes()).context("a path with a zero")?;
    sys::pinned(&name).with_context(|| format!("failed to open the pin `{}`", path.display()))
}
