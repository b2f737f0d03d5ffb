//! Direct forwarding, from user space: what became of packets that may leave directly, that routes or neighbours are others, and that nothing
//! leaves so any more.

use aya::maps::{Array, HashMap, Map, MapData};
use bulkhead_common::{
    cache::key::INTERFACES,
    forward::fate,
    layout::{SegmentKey, SegmentRow},
    lookup::is_direct,
};

use super::{Dataplane, DataplaneError, Pins, read, reopen, write};

/// Packets by what became of them: one of [`fate`].
pub type Forwarded = [u64; fate::COUNT as usize];

/// Hands everything to the kernel that would leave directly, for whoever takes programs off without an agent. The next agent writes
/// anew what may.
///
/// # Errors
/// When a map that is pinned cannot be opened, read or written.
pub(super) fn withdraw(pins: &Pins) -> Result<(), DataplaneError> {
    let (redirects, segments) = ("REDIRECTS", "SEGMENTS");
    let open = |name| {
        let data = MapData::from_pin(pins.map(name)).map_err(reopen(name))?;
        Map::from_map_data(data).map_err(reopen(name))
    };
    if pins.map(redirects).exists() {
        let mut map: Array<_, u32> = open(redirects)?.try_into().map_err(reopen(redirects))?;
        for index in 0..INTERFACES {
            if is_direct(map.get(&index, 0).map_err(read(redirects))?) {
                map.set(index, 0, 0).map_err(write(redirects))?;
            }
        }
    }
    if pins.map(segments).exists() {
        let mut map: HashMap<_, SegmentKey, SegmentRow> =
            open(segments)?.try_into().map_err(reopen(segments))?;
        for key in map.keys().collect::<Result<Vec<_>, _>>().map_err(read(segments))? {
            let row = map.get(&key, 0).map_err(read(segments))?;
            if is_direct(row.redirect) {
                map.insert(key, SegmentRow { redirect: 0, ..row }, 0).map_err(write(segments))?;
            }
        }
    }
    Ok(())
}

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
