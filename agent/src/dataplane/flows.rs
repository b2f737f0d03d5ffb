//! The flows that the kernel remembers, for those who want to know what a change would do to them. Reading keeps none
//! alive.

use bulkhead_common::layout::{Flow, FlowKey};

use super::{Dataplane, DataplaneError, read};

impl Dataplane {
    /// At most `most` flows, and whether that is all of them. A flow that comes or goes meanwhile may be missed.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn flows(&self, most: usize) -> Result<(Vec<(FlowKey, Flow)>, bool), DataplaneError> {
        // After its end, the iterator would begin anew.
        let mut all = self.flows.iter().fuse();
        let flows: Vec<_> = all.by_ref().take(most).collect::<Result<_, _>>().map_err(read("FLOWS"))?;
        Ok((flows, all.next().is_none()))
    }
}
