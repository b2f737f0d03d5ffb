//! Running the loaded program on bytes instead of on a NIC (BPF_PROG_TEST_RUN, Linux 4.12).

use aya::{
    maps::MapError,
    programs::{TestRun, TestRunOptions},
};
use bulkhead_common::layout::Budget;

use super::{Dataplane, DataplaneError, Entry, read, write};

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
        let name = Entry::Linear.symbol();
        let options = TestRunOptions { data_in: Some(frame), repeat: 1, ..TestRunOptions::default() };
        let program = self.entry(Entry::Linear)?;
        let result = program.test_run(options).map_err(|source| DataplaneError::Program { name, source })?;
        Ok(match result.return_value {
            1 => XdpAction::Drop,
            2 => XdpAction::Pass,
            other => XdpAction::Other(other),
        })
    }

    /// Forgets every flow, fragment, lease, budget and verdict, as new maps would have it: loading the program takes the
    /// verifier half a second, and many experiments can share one.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn forget(&mut self) -> Result<(), DataplaneError> {
        for key in self.flows.keys().collect::<Result<Vec<_>, _>>().map_err(read("FLOWS"))? {
            gone(self.flows.remove(&key)).map_err(write("FLOWS"))?;
        }
        for key in self.fragments.keys().collect::<Result<Vec<_>, _>>().map_err(read("FRAGMENTS"))? {
            gone(self.fragments.remove(&key)).map_err(write("FRAGMENTS"))?;
        }
        for (address, _) in self.leases()? {
            self.remove_lease(address)?;
        }
        for device in 0..self.sizes.devices {
            self.budgets.set(device, Budget::default(), 0).map_err(write("BUDGETS"))?;
        }
        self.edited()
    }

    /// Packets of which some fragments are remembered at this moment.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn fragmented_count(&self) -> Result<usize, DataplaneError> {
        self.fragments.keys().try_fold(0, |n, key| key.map(|_| n + 1)).map_err(read("FRAGMENTS"))
    }
}

/// What was evicted between reading its key and removing it is gone all the same.
fn gone(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        other => other,
    }
}
