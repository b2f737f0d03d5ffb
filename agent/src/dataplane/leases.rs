//! Which device has which address by DHCP, as the kernel knows it: user space says for how long, forgets what is over,
//! and puts back what it remembered over a restart.

use aya::maps::{HashMap, MapData};
use bulkhead_common::{address::Address, cache::LIFE, layout::Lease};

use super::{Dataplane, DataplaneError, monotonic_ns, read, reopen, write};

/// Reads the leases.
pub struct LeaseReader(HashMap<MapData, Address, Lease>);

impl LeaseReader {
    /// As [`Dataplane::leases`], in no order.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read(&self) -> Result<Vec<(Address, Lease)>, DataplaneError> {
        self.0.iter().collect::<Result<_, _>>().map_err(read("LEASES"))
    }
}

impl Dataplane {
    /// Every lease in the kernel's table, in the order of the addresses.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn leases(&self) -> Result<Vec<(Address, Lease)>, DataplaneError> {
        let mut leases: Vec<(Address, Lease)> =
            self.leases.iter().collect::<Result<_, _>>().map_err(read("LEASES"))?;
        leases.sort_by_key(|(address, _)| *address);
        Ok(leases)
    }

    /// A handle to the leases that does not need the data path.
    ///
    /// # Errors
    /// When the pinned map cannot be opened.
    pub fn lease_reader(&self) -> Result<LeaseReader, DataplaneError> {
        let map = self.another_handle("LEASES")?;
        Ok(LeaseReader(HashMap::try_from(map).map_err(reopen("LEASES"))?))
    }

    /// Sets whose an address is and until when, replacing what was known of it.
    ///
    /// # Errors
    /// When the map is full (`limits.devices`) or cannot be written.
    pub fn set_lease(&mut self, address: Address, lease: Lease) -> Result<(), DataplaneError> {
        let known = self.leases.get(&address, 0).unwrap_or_default();
        self.leases.insert(address, lease, 0).map_err(write("LEASES"))?;
        // A lease that goes on changes no verdict, as long as it was one and outlives what is remembered of it.
        let goes_on = known.mac == lease.mac && known.expires.min(lease.expires) > monotonic_ns() + LIFE;
        if goes_on { Ok(()) } else { self.edited() }
    }

    /// Forgets a lease, if there is one.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn remove_lease(&mut self, address: Address) -> Result<(), DataplaneError> {
        match self.leases.remove(&address) {
            Ok(()) => self.edited(),
            Err(aya::maps::MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(write("LEASES")(error)),
        }
    }
}
