//! Running the loaded program on bytes instead of on a NIC (BPF_PROG_TEST_RUN, Linux 4.12).

use aya::programs::{TestRun, TestRunOptions};

use super::{Dataplane, DataplaneError};

/// What the program returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAction {
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`.
    Pass,
    /// Anything else, which the program never means.
    Other(u32),
}

impl Dataplane {
    /// Runs the program once on a frame of at least 14 bytes, as if it came from the loopback interface
    /// of this network namespace. Counters, flows and events move as they would on a NIC.
    ///
    /// # Errors
    /// When the kernel refuses the frame or the run.
    pub fn test_run(&mut self, frame: &[u8]) -> Result<XdpAction, DataplaneError> {
        let name = self.program;
        let options = TestRunOptions { data_in: Some(frame), repeat: 1, ..TestRunOptions::default() };
        let result =
            self.xdp().test_run(options).map_err(|source| DataplaneError::Program { name, source })?;
        Ok(match result.return_value {
            1 => XdpAction::Drop,
            2 => XdpAction::Pass,
            other => XdpAction::Other(other),
        })
    }
}
