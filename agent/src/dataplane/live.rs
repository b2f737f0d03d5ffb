//! The live maps as an answer to [`Rules`], so that `why` can ask the kernel's tables the same question
//! as the compiled ones. Reading leaves no trace: no counter moves and no flow is made.

use aya::maps::lpm_trie::Key;
use bulkhead_common::{
    layout::{Flow, FlowKey, Head, InterfaceRow, MacRow, RuleKey, ServiceKey, Settings},
    lookup::{Endpoint, Rules, class, identity, probe},
};

use super::{Dataplane, DataplaneError, Slot, kernel, read};

/// One moment of the kernel's tables, for a packet that arrives on one interface.
pub struct Live<'a> {
    dataplane: &'a Dataplane,
    slot: &'a Slot,
    interface: InterfaceRow,
    settings: Settings,
    head: Head,
}

impl Dataplane {
    /// The tables this process applied last, as a packet on `ifindex` would meet them. `None` before the
    /// first [`Dataplane::apply`] of this process.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn live(&self, ifindex: u32) -> Result<Option<Live<'_>>, DataplaneError> {
        let Some(slot) = &self.slot else { return Ok(None) };
        let active = self.active()?;
        Ok(Some(Live {
            dataplane: self,
            slot,
            interface: self.interfaces.get(&ifindex, 0).unwrap_or_default(),
            settings: self.settings()?,
            head: self.heads.get(&active.slot, 0).map_err(read("HEADS"))?,
        }))
    }
}

impl Rules for Live<'_> {
    fn interface(&self) -> InterfaceRow {
        self.interface
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn head(&self) -> &Head {
        &self.head
    }

    fn now(&self) -> u64 {
        kernel::monotonic_ns()
    }

    fn mac(&self, mac: u64) -> MacRow {
        self.slot.macs.get(&mac, 0).unwrap_or_default()
    }

    fn endpoint(&self, address: u32) -> Endpoint {
        if let Ok(row) = self.slot.addresses.get(&address, 0) {
            return Endpoint::from_row(&row);
        }
        let identity = self.slot.networks.get(&Key::new(32, address.to_be_bytes()), 0);
        Endpoint::network(identity.unwrap_or(identity::UNKNOWN))
    }

    fn endpoint_v6(&self, address: &[u8; 16]) -> Endpoint {
        let row = self.slot.addresses_v6.get(address, 0);
        row.map_or(Endpoint::network(identity::UNKNOWN), |row| Endpoint::from_row(&row))
    }

    fn is_management(&self, source: u32, protocol: u8, port: u16) -> bool {
        let key = ServiceKey { protocol, port: port.to_be_bytes(), pad: 0 };
        let listed = self.dataplane.management_ports.get(&Key::new(24, key), 0).is_ok();
        listed && self.dataplane.management_peers.get(&Key::new(32, source.to_be_bytes()), 0).is_ok()
    }

    fn class(&self, protocol: u8, port: u16) -> u32 {
        let key = ServiceKey { protocol, port: port.to_be_bytes(), pad: 0 };
        self.slot.services.get(&Key::new(24, key), 0).unwrap_or(class::NONE)
    }

    fn permitted(&self, initiator: u32, responder: u32, class: u32) -> u32 {
        probe(self.head.shapes, initiator, responder, class, |initiator, responder, class| {
            self.slot.rules.get(&RuleKey { initiator, responder, class }, 0).unwrap_or(0)
        })
    }

    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        // A copy: asking must not keep a flow alive.
        self.dataplane.flows.get(key, 0).ok().map(|mut flow| f(&mut flow))
    }

    fn remember(&self, _: &FlowKey, _: &Flow) {}
}
