//! The two entries of the object, which share one body: one for frames in a single buffer, one for frames that
//! may continue in fragments.
//!
//! In: an MTU. Out: which entry suits a NIC, loaded when it is first needed.

use aya::programs::{ProgramError, Xdp};

use super::{
    AttachMode, Dataplane, DataplaneError,
    load::{LINEAR, WITH_FRAGMENTS},
};

/// The largest MTU whose frames are taken to fit one buffer.
///
/// A driver gives XDP a page of 4096 bytes, less 256 of headroom (`XDP_PACKET_HEADROOM`) and 320 for
/// `skb_shared_info`: 3520 bytes of frame, of which 14 are the Ethernet header and 8 may be two VLAN tags. Measured:
/// veth takes the linear entry up to 3504, mlx5 documents 3498; drivers with smaller buffers refuse it, and get the
/// other one.
pub const LINEAR_MTU: u32 = 4096 - 256 - 320 - 14 - 8;

/// An entry of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// The whole frame is in one buffer: every kernel and every driver.
    Linear,
    /// The frame may continue in fragments: Linux 5.18, and a driver that can do it.
    Fragments,
}

impl Entry {
    const ALL: [Self; 2] = [Self::Linear, Self::Fragments];

    /// The word in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Fragments => "fragments",
        }
    }

    /// The entry for a NIC, then the one to try when the kernel refuses it: the kernel checks again whether what it
    /// would run sees whole frames, and both decide alike.
    pub fn suiting(mtu: u32, mode: AttachMode) -> [Self; 2] {
        // Generic mode makes a frame linear before the program runs.
        if mode == AttachMode::Generic || mtu <= LINEAR_MTU {
            return [Self::Linear, Self::Fragments];
        }
        [Self::Fragments, Self::Linear]
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Linear => LINEAR,
            Self::Fragments => WITH_FRAGMENTS,
        }
    }
}

impl Dataplane {
    /// The entry, loaded now if it was not yet.
    pub(super) fn entry(&mut self, entry: Entry) -> Result<&mut Xdp, ProgramError> {
        let program = self.ebpf.program_mut(entry.symbol()).expect("the object is built with both entries");
        let program: &mut Xdp = program.try_into().expect("both entries of the object are XDP programs");
        if program.fd().is_err() {
            program.load()?;
        }
        Ok(program)
    }

    /// The kernel's ids of the entries loaded so far.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn programs(&mut self) -> Result<Vec<(u32, Entry)>, DataplaneError> {
        let mut found = Vec::new();
        for entry in Entry::ALL {
            let program = self.ebpf.program_mut(entry.symbol()).and_then(|p| <&mut Xdp>::try_from(p).ok());
            let Some(program) = program.filter(|program| program.fd().is_ok()) else { continue };
            let name = entry.symbol();
            let info = program.info().map_err(|source| DataplaneError::Program { name, source })?;
            found.push((info.id(), entry));
        }
        Ok(found)
    }
}
