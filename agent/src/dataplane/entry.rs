//! The two entries of the object, which share one body: one for frames in a single buffer, one for frames that
//! may continue in fragments.
//!
//! In: an MTU. Out: which entry suits a NIC, loaded when it is first needed.

use aya::{
    Ebpf,
    programs::{ProgramError, ProgramType, Xdp},
    sys::{BpfHelper, is_helper_supported},
};

use super::{AttachMode, Dataplane, DataplaneError};

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
    pub(super) const ALL: [Self; 2] = [Self::Linear, Self::Fragments];

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

    /// The name of the program in the object, which the kernel shows.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Linear => "bulkhead",
            Self::Fragments => "bulkhead_frags",
        }
    }

    /// Whether this kernel has what the entry is made of.
    fn is_known(self) -> Result<bool, DataplaneError> {
        match self {
            Self::Linear => Ok(true),
            Self::Fragments => takes_fragments(),
        }
    }
}

impl Dataplane {
    /// The entry, loaded now if it was not yet.
    pub(super) fn entry(&mut self, entry: Entry) -> Result<&mut Xdp, DataplaneError> {
        load(&mut self.ebpf, entry.symbol())
    }

    /// Tries the entries that suit a NIC and that this kernel knows, best first, and gives what the first to succeed
    /// gave; or the entry that suits best with its refusal.
    ///
    /// # Errors
    /// When an entry that the kernel knows cannot be loaded: another one in its place would hide that. When `put`
    /// fails for another reason than a refusal.
    pub(super) fn try_entries<T>(
        &mut self,
        mtu: u32,
        mode: AttachMode,
        mut put: impl FnMut(&mut Xdp) -> Result<Result<T, ProgramError>, DataplaneError>,
    ) -> Result<Result<T, (Entry, ProgramError)>, DataplaneError> {
        let mut refused = None;
        for entry in Entry::suiting(mtu, mode) {
            if !entry.is_known()? {
                continue;
            }
            match put(self.entry(entry)?)? {
                Ok(done) => return Ok(Ok(done)),
                Err(source) => refused = refused.or(Some((entry, source))),
            }
        }
        Ok(Err(refused.expect("every kernel knows the linear entry")))
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

/// A program of an object, loaded now if it was not yet.
pub(super) fn load<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, DataplaneError> {
    let program = ebpf.program_mut(name).expect("the object is built with this program");
    let program: &mut Xdp = program.try_into().expect("all programs of the object are XDP programs");
    if program.fd().is_err() {
        program.load().map_err(|source| {
            if let ProgramError::LoadError { io_error: _, verifier_log } = &source {
                tracing::debug!("the verifier on `{name}`:\n{verifier_log}");
            }
            DataplaneError::Program { name, source }
        })?;
    }
    Ok(program)
}

/// Whether this kernel knows frames that continue behind their linear start.
///
/// The flag of such programs and the helper that measures such frames came in one series (Linux 5.18), and were
/// carried together into the older kernels of distributions; so the helper is what is asked for, by a program of
/// two instructions, and never the version.
fn takes_fragments() -> Result<bool, DataplaneError> {
    let name = Entry::Fragments.symbol();
    is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_get_buff_len)
        .map_err(|source| DataplaneError::Program { name, source })
}
