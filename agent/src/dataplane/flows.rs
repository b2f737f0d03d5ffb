//! The flows that the kernel remembers, for those who want to know what a change would do to them. Reading keeps none
//! alive.
//!
//! There may be a million, of which each takes two calls: so they are read through a handle of its own, beside the agent's
//! other work.

use aya::maps::{HashMap, MapData};
use bulkhead_common::layout::{Flow, FlowKey};

use super::{Dataplane, DataplaneError, read, reopen};

/// Reads the kernel's flows, of which there are so many at most.
pub struct FlowReader(HashMap<MapData, FlowKey, Flow>, usize);

impl Dataplane {
    /// A handle to the flows that does not need the data path.
    ///
    /// # Errors
    /// When the pinned map cannot be opened.
    pub fn flow_reader(&self) -> Result<FlowReader, DataplaneError> {
        let map = self.another_handle("FLOWS")?;
        Ok(FlowReader(HashMap::try_from(map).map_err(reopen("FLOWS"))?, self.sizes.flows as usize))
    }
}

impl FlowReader {
    /// Number of flows remembered at this moment, those that are over included until they make room.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn count(&self) -> Result<usize, DataplaneError> {
        // A walk begins anew where a flow goes while it is looked at: it is over with as many as there can be.
        self.0.keys().take(self.1).try_fold(0, |n, key| key.map(|_| n + 1)).map_err(read("FLOWS"))
    }

    /// Gives at most `most` flows to `take`, one by one, and says whether these were all. As with [`FlowReader::read`], one that
    /// comes or goes meanwhile may be missed.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn each(&self, most: usize, mut take: impl FnMut(&FlowKey, &Flow)) -> Result<bool, DataplaneError> {
        // After its end, the iterator would begin anew.
        let mut all = self.0.iter().fuse();
        for one in all.by_ref().take(most) {
            let (key, flow) = one.map_err(read("FLOWS"))?;
            take(&key, &flow);
        }
        Ok(all.next().is_none())
    }

    /// At most `most` flows, and whether that is all of them. A flow that comes or goes meanwhile may be missed.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read(&self, most: usize) -> Result<(Vec<(FlowKey, Flow)>, bool), DataplaneError> {
        let mut flows = Vec::new();
        let all = self.each(most, |key, flow| flows.push((*key, *flow)))?;
        Ok((flows, all))
    }
}
