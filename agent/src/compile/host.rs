//! The compiled tables as the host's answer to [`Rules`]: the copy of the data path that `why`, replay
//! and every test run. Nothing here decides; it only looks up.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use bulkhead_common::{
    layout::{Flow, FlowKey, Head, InterfaceRow, MacRow, RuleKey, Settings},
    lookup::{Endpoint, Rules, address_flag, class, identity, probe},
};
use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

use super::{ServicePrefix, Tables};
use crate::model::Selector;

/// What a decision depends on besides the policy: where the packet arrives and how the agent runs.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// The interface on which packets arrive.
    pub interface: InterfaceRow,
    /// How the agent runs.
    pub settings: Settings,
    /// The gateway's own addresses.
    pub gateway: BTreeSet<Ipv4Addr>,
    /// From where the gateway may always be managed.
    pub management_peers: Vec<Ipv4Net>,
    /// Over what.
    pub management_services: Vec<Selector>,
}

/// Compiled tables with a flow table and a clock of their own.
pub struct Host<'a> {
    tables: &'a Tables,
    networks: PrefixMap<Ipv4Net, u32>,
    /// Prefix lengths that occur, longest first.
    service_bits: Vec<u32>,
    placed: Placed,
    head: Head,
    now: Cell<u64>,
    flows: RefCell<BTreeMap<FlowKey, Flow>>,
}

impl<'a> Host<'a> {
    /// A data path that enforces `tables`, with an empty flow table, at time 0.
    pub fn new(tables: &'a Tables, placed: Placed) -> Self {
        let bits: BTreeSet<u32> = tables.services.keys().map(|p| p.bits).collect();
        Self {
            tables,
            networks: tables.networks.iter().map(|(prefix, identity)| (*prefix, *identity)).collect(),
            service_bits: bits.into_iter().rev().collect(),
            placed,
            head: Head { generation: 1, shapes: tables.shapes, revision: tables.revision.short() },
            now: Cell::new(0),
            flows: RefCell::default(),
        }
    }

    /// Sets the clock, ns.
    pub fn set_now(&self, now: u64) {
        self.now.set(now);
    }

    /// Moves the packets to another interface.
    pub fn set_interface(&mut self, interface: InterfaceRow) {
        self.placed.interface = interface;
    }

    /// The flows remembered so far.
    pub fn flows(&self) -> BTreeMap<FlowKey, Flow> {
        self.flows.borrow().clone()
    }

    /// Goes on with the flows of another data path, as after a change of policy.
    pub fn adopt_flows(&mut self, flows: BTreeMap<FlowKey, Flow>, generation: u32) {
        self.flows = RefCell::new(flows);
        self.head.generation = generation;
    }
}

impl Rules for Host<'_> {
    fn interface(&self) -> InterfaceRow {
        self.placed.interface
    }

    fn settings(&self) -> &Settings {
        &self.placed.settings
    }

    fn head(&self) -> &Head {
        &self.head
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn mac(&self, mac: u64) -> MacRow {
        self.tables.macs.get(&mac).copied().unwrap_or_default()
    }

    fn endpoint(&self, address: u32) -> Endpoint {
        if self.placed.gateway.contains(&Ipv4Addr::from(address)) {
            let flags = address_flag::GATEWAY;
            return Endpoint { flags, ..Endpoint::network(identity::GATEWAY) };
        }
        if let Some(row) = self.tables.addresses.get(&address) {
            return Endpoint::from_row(row);
        }
        let network = self.networks.get_lpm(&Ipv4Net::from(Ipv4Addr::from(address)));
        Endpoint::network(network.map_or(identity::UNKNOWN, |(_, identity)| *identity))
    }

    fn endpoint_v6(&self, address: &[u8; 16]) -> Endpoint {
        let row = self.tables.addresses_v6.get(address);
        row.map_or(Endpoint::network(identity::UNKNOWN), Endpoint::from_row)
    }

    fn is_management(&self, source: u32, protocol: u8, port: u16) -> bool {
        let source = Ipv4Addr::from(source);
        let covers = |s: &Selector| s.protocol == protocol && (s.low..=s.high).contains(&port);
        self.placed.management_services.iter().any(covers)
            && self.placed.management_peers.iter().any(|peer| peer.contains(&source))
    }

    fn class(&self, protocol: u8, port: u16) -> u32 {
        let around = |bits: &u32| self.tables.services.get(&ServicePrefix::around(protocol, port, *bits));
        self.service_bits.iter().find_map(around).copied().unwrap_or(class::NONE)
    }

    fn permitted(&self, initiator: u32, responder: u32, class: u32) -> u32 {
        probe(self.head.shapes, initiator, responder, class, |initiator, responder, class| {
            self.tables.rows.get(&RuleKey { initiator, responder, class }).copied().unwrap_or(0)
        })
    }

    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        self.flows.borrow_mut().get_mut(key).map(f)
    }

    fn remember(&self, key: &FlowKey, flow: &Flow) {
        self.flows.borrow_mut().insert(*key, *flow);
    }
}
