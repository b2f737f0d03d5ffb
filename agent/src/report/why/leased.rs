//! A device whose address comes by DHCP has none that a policy could tell. In: tables of any kind. Out: the same
//! tables, in which the made-up addresses of such ends are leased to them.

use bulkhead_common::{
    address::Address,
    layout::{Flow, FlowKey, FragmentKey, FragmentRow, Head, Lease, MacRow, SegmentRow, Settings},
    lookup::{Endpoint, Rules},
};

/// Tables with leases of their own beside those they know.
pub(super) struct WithLeases<'r, R> {
    pub(super) rules: &'r R,
    /// Made-up addresses, and the hardware addresses that are said to have leased them.
    pub(super) leases: [Option<(Address, u64)>; 2],
}

impl<R: Rules> Rules for WithLeases<'_, R> {
    fn lease(&self, address: &Address) -> Lease {
        let leased = self.leases.iter().flatten().find(|(leased, _)| leased == address);
        match leased {
            Some((_, mac)) => Lease { mac: *mac, expires: u64::MAX },
            None => self.rules.lease(address),
        }
    }

    fn segment(&self, vlan: u16) -> SegmentRow {
        self.rules.segment(vlan)
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

    fn mac(&self, mac: u64) -> MacRow {
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

    fn permitted(&self, initiator: u32, responder: u32, class: u32) -> u32 {
        self.rules.permitted(initiator, responder, class)
    }

    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        self.rules.with_flow(key, f)
    }

    fn remember(&self, key: &FlowKey, flow: &Flow) {
        self.rules.remember(key, flow);
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
