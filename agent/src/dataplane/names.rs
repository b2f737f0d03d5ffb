//! Who uses what they learned by name: devices that have a live flow with an address, so that it is not forgotten under it.

use std::{collections::BTreeSet, net::SocketAddr};

use aya::maps::MapError;
use bulkhead_common::{address::Address, flow, layout::Flow, lookup::identity, wire::protocol};

use super::{Dataplane, DataplaneError, StableIds, read};
use crate::compile::Tables;

/// Rows for each address that may be learned: one for every class of services that its rules name, and one to say that
/// there is some service.
const ROWS_OF_AN_ADDRESS: usize = 4;

/// Rows for so many addresses.
pub(super) fn spare(addresses: u32) -> usize {
    usize::try_from(addresses).unwrap_or(usize::MAX).saturating_mul(ROWS_OF_AN_ADDRESS)
}

impl Dataplane {
    /// From the next change on, tables have room for so many addresses learned by name.
    pub fn make_room_for_names(&mut self, addresses: u32) {
        self.spare_named = spare(addresses);
    }

    /// The devices, by their stable ids, that have a live flow with one of these addresses and began it. Walks over all
    /// flows there are.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn began_flows(
        &self,
        to: &BTreeSet<Address>,
        now: u64,
    ) -> Result<BTreeSet<(u32, Address)>, DataplaneError> {
        let settings = self.settings()?;
        let mut found = BTreeSet::new();
        // A walk begins anew where a flow makes room for another: it ends nevertheless.
        let most = 2 * self.sizes.flows as usize;
        for key in self.flows.keys().take(most) {
            let key = key.map_err(read("FLOWS"))?;
            if !to.contains(&key.low) && !to.contains(&key.high) {
                continue;
            }
            let Ok(flow) = self.flows.get(&key, 0) else { continue };
            if flow::is_expired(&flow, key.protocol, now, &settings) {
                continue;
            }
            let Flow { low, high, initiator, .. } = flow;
            let (who, address) = if initiator == 0 { (low, key.high) } else { (high, key.low) };
            if who & identity::DEVICE != 0 && to.contains(&address) {
                found.insert((who & !identity::DEVICE, address));
            }
        }
        Ok(found)
    }

    /// The device, by its stable id, that began the live flow to which a datagram belongs; `None` when none did.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn began_datagrams(
        &self,
        [from, to]: [SocketAddr; 2],
        now: u64,
    ) -> Result<Option<u32>, DataplaneError> {
        let address = |end: SocketAddr| Address::from(end.ip());
        let (key, side) = flow::key(address(from), address(to), from.port(), to.port(), protocol::UDP, 0);
        let flow = match self.flows.get(&key, 0) {
            Ok(flow) => flow,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(source) => return Err(read("FLOWS")(source)),
        };
        let Flow { low, high, initiator, .. } = flow;
        let who = if initiator == 0 { low } else { high };
        let answers = initiator != side && !flow::is_expired(&flow, key.protocol, now, &self.settings()?);
        Ok((answers && who & identity::DEVICE != 0).then_some(who & !identity::DEVICE))
    }

    /// The ids that devices and rules of tables would have, were they applied now.
    ///
    /// # Errors
    /// When there is no room for so many.
    pub fn ids_for(&self, tables: &Tables) -> Result<StableIds, DataplaneError> {
        Ok(self.ids.plan(tables, self.applied.as_ref())?.ids)
    }
}
