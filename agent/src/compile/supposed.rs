//! What a question supposes beside the tables. In: tables of any kind. Out: the same tables, in which made-up
//! addresses are leased to the devices whose address comes by DHCP, and the packet arrives on its sender's segment.

use bulkhead_common::{
    address::Address,
    layout::{EndRow, Flow, FlowKey, FragmentKey, FragmentRow, Head, Lease, RuleRow, SegmentRow, Settings},
    lookup::{Endpoint, Rules},
};

/// Tables as a question supposes them.
#[derive(Debug)]
pub struct Supposed<'r, R> {
    /// The tables.
    pub rules: &'r R,
    /// The segment on which the sender must be seen; 0 when it may be anywhere.
    pub segment: u16,
    /// Made-up addresses, and the hardware addresses that are said to have leased them.
    pub leases: [Option<(Address, u64)>; 2],
}

impl<R: Rules> Rules for Supposed<'_, R> {
    fn lease(&self, address: &Address) -> Lease {
        let leased = self.leases.iter().flatten().find(|(leased, _)| leased == address);
        match leased {
            Some((_, mac)) => Lease { mac: *mac, expires: u64::MAX, length: u64::MAX },
            None => self.rules.lease(address),
        }
    }

    fn segment(&self, vlan: u16) -> SegmentRow {
        let row = self.rules.segment(vlan);
        if self.segment == 0 { row } else { SegmentRow { segment: self.segment, ..row } }
    }

    fn settings(&self) -> &Settings {
        self.rules.settings()
    }

    fn head(&self) -> &Head {
        self.rules.head()
    }

    fn now(&self) -> u64 {
        self.rules.now()
    }

    fn mac(&self, mac: u64) -> EndRow {
        self.rules.mac(mac)
    }

    fn endpoint(&self, address: &Address) -> Endpoint {
        self.rules.endpoint(address)
    }

    fn bind(&self, address: &Address, lease: &Lease) {
        self.rules.bind(address, lease);
    }

    fn is_management(&self, source: &Address, protocol: u8, port: u16) -> bool {
        self.rules.is_management(source, protocol, port)
    }

    fn is_trusted(&self, address: &Address, segment: u16, role: u32) -> bool {
        self.rules.is_trusted(address, segment, role)
    }

    fn class(&self, protocol: u8, port: u16) -> u32 {
        self.rules.class(protocol, port)
    }

    fn permitted(&self, initiator: &Endpoint, responder: &Endpoint, class: u32) -> RuleRow {
        self.rules.permitted(initiator, responder, class)
    }

    fn named(&self, device: u32, address: &Address, class: u32) -> RuleRow {
        self.rules.named(device, address, class)
    }

    fn leased(&self, device: u32, networks: u32) -> u32 {
        self.rules.leased(device, networks)
    }

    fn is_open(&self, schedule: u32) -> bool {
        self.rules.is_open(schedule)
    }

    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        self.rules.with_flow(key, f)
    }

    fn remember(&self, key: &FlowKey, begin: impl FnOnce(&mut Flow)) {
        self.rules.remember(key, begin);
    }

    fn may_open(&self, device: u32) -> bool {
        self.rules.may_open(device)
    }

    fn with_fragments<T>(&self, key: &FragmentKey, f: impl FnOnce(&mut FragmentRow) -> T) -> Option<T> {
        self.rules.with_fragments(key, f)
    }

    fn remember_fragments(&self, key: &FragmentKey, row: &FragmentRow) {
        self.rules.remember_fragments(key, row);
    }
}
