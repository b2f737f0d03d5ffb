//! The live maps as an answer to [`Rules`], so that `why` can ask the kernel's tables the same question
//! as the compiled ones. Reading leaves no trace: no counter moves and no flow is made.

use aya::maps::lpm_trie::Key;
use bulkhead_common::{
    address::Address,
    flow,
    layout::{
        EndRow, Flow, FlowKey, FragmentKey, FragmentRow, Head, Lease, MAX_SCHEDULES, NamedKey, NamedRow,
        RuleKey, RuleRow, SegmentKey, SegmentRow, ServiceKey, Settings, TrustedKey,
    },
    lookup::{ANY_VLAN, Endpoint, Rules, class, identity, probe, segment_flag},
};

use super::{Dataplane, DataplaneError, Slot, kernel, read};

/// One moment of the kernel's tables, for a packet that arrives on one interface.
pub struct Live<'a> {
    dataplane: &'a Dataplane,
    slot: &'a Slot,
    active: u32,
    ifindex: u32,
    interface: SegmentRow,
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
        let Some(slot) = self.in_force.and_then(|slot| self.slots[slot].as_ref()) else { return Ok(None) };
        let active = self.active()?;
        Ok(Some(Live {
            dataplane: self,
            slot,
            active: active.slot,
            ifindex,
            interface: self
                .segments
                .get(&SegmentKey { ifindex, vlan: ANY_VLAN, pad: 0 }, 0)
                .unwrap_or_default(),
            settings: self.settings()?,
            head: self.heads.get(&active.slot, 0).map_err(read("HEADS"))?,
        }))
    }
}

impl Rules for Live<'_> {
    fn segment(&self, vlan: u16) -> SegmentRow {
        if vlan == 0 || self.interface.flags & segment_flag::HAS_VLANS == 0 {
            return self.interface;
        }
        let key = SegmentKey { ifindex: self.ifindex, vlan, pad: 0 };
        self.dataplane.segments.get(&key, 0).unwrap_or(self.interface)
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

    fn mac(&self, mac: u64) -> EndRow {
        self.slot.macs.map.get(&mac, 0).unwrap_or_default()
    }

    fn endpoint(&self, address: &Address) -> Endpoint {
        if let Ok(row) = self.slot.addresses.map.get(address, 0) {
            return Endpoint::from_row(&row);
        }
        let identity = self.slot.networks.map.get(&Key::new(128, address.octets()), 0);
        Endpoint::network(identity.unwrap_or(identity::UNKNOWN))
    }

    fn lease(&self, address: &Address) -> Lease {
        self.dataplane.leases.get(address, 0).unwrap_or_default()
    }

    fn bind(&self, _: &Address, _: &Lease) {}

    fn is_management(&self, source: &Address, protocol: u8, port: u16) -> bool {
        let key = ServiceKey { protocol, port: port.to_be_bytes(), pad: 0 };
        let listed = self.dataplane.management_ports.get(&Key::new(24, key), 0).is_ok();
        listed
            && self
                .dataplane
                .management_peers
                .get(&Key::new(128, source.octets()), 0)
                .is_ok_and(|pinned| pinned == 1)
    }

    fn is_trusted(&self, address: &Address, segment: u16, role: u32) -> bool {
        let key = TrustedKey { address: *address, segment: u32::from(segment), role };
        self.dataplane.trusted.get(&key, 0).is_ok()
    }

    fn class(&self, protocol: u8, port: u16) -> u32 {
        let key = ServiceKey { protocol, port: port.to_be_bytes(), pad: 0 };
        self.slot.services.map.get(&Key::new(24, key), 0).unwrap_or(class::NONE)
    }

    fn permitted(&self, initiator: &Endpoint, responder: &Endpoint, class: u32) -> RuleRow {
        let row = |initiator, responder| {
            self.slot.rules.map.get(&RuleKey { initiator, responder, class }, 0).unwrap_or_default()
        };
        let is_open = |schedule| self.is_open(schedule);
        probe(self.head.shapes, &initiator.names(), &responder.names(), class, row, is_open)
    }

    fn named(&self, device: u32, address: &Address, class: u32) -> RuleRow {
        match self.slot.named.map.get(&NamedKey { address: *address, device, class }, 0) {
            Ok(NamedRow { row, expires }) if expires > self.now() => {
                if self.is_open(row.schedule) {
                    row
                } else {
                    RuleRow { rule: 0, ..row }
                }
            }
            Ok(_) | Err(_) => RuleRow::default(),
        }
    }

    fn leased(&self, device: u32, networks: u32) -> u32 {
        let key = RuleKey { initiator: device, responder: networks, class: class::LEASED };
        self.slot.rules.map.get(&key, 0).map_or(0, |row| row.rule)
    }

    fn is_open(&self, schedule: u32) -> bool {
        let index = self.active * MAX_SCHEDULES + schedule;
        schedule == 0 || self.dataplane.schedules.get(&index, 0).is_ok_and(|until| until > self.now())
    }

    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        // A copy: asking must not keep a flow alive.
        self.dataplane.flows.get(key, 0).ok().map(|mut flow| f(&mut flow))
    }

    fn remember(&self, _: &FlowKey, _: impl FnOnce(&mut Flow)) {}

    fn may_open(&self, device: u32) -> bool {
        let budget = self.dataplane.budgets.get(&device, 0);
        budget.is_ok_and(|mut budget| flow::take(&mut budget, self.now(), &self.settings))
    }

    fn with_fragments<T>(&self, key: &FragmentKey, f: impl FnOnce(&mut FragmentRow) -> T) -> Option<T> {
        self.dataplane.fragments.get(key, 0).ok().map(|mut row| f(&mut row))
    }

    fn remember_fragments(&self, _: &FragmentKey, _: &FragmentRow) {}
}
