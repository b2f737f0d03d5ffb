//! Direct forwarding, from user space: what became of packets that may leave directly, and that routes or neighbours are others.

use bulkhead_common::forward::fate;

use super::{Dataplane, DataplaneError, read, write};

/// Packets by what became of them: one of [`fate`].
pub type Forwarded = [u64; fate::COUNT as usize];

impl Dataplane {
    /// What became of allowed packets on interfaces that forward directly.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn forwarded(&self) -> Result<Forwarded, DataplaneError> {
        let mut sums = [0; fate::COUNT as usize];
        for (index, sum) in (0..).zip(&mut sums) {
            *sum = self.forwards.get(&index, 0).map_err(read("FORWARDS"))?.iter().sum();
        }
        Ok(sums)
    }

    /// Makes packets forget every way that is remembered: from the next one on the kernel is asked anew.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn reroute(&mut self) -> Result<(), DataplaneError> {
        let edition = self.routes.get(&0, 0).map_err(read("ROUTES"))?;
        self.routes.set(0, edition.wrapping_add(1), 0).map_err(write("ROUTES"))
    }
}
