//! The compiled tables as the host's answer to [`Rules`]: the copy of the data path that `why`, replay
//! and every test run. Nothing here decides; it only looks up.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use bulkhead_common::{
    address::Address,
    flow,
    layout::{
        Budget, EndRow, Flow, FlowKey, FragmentKey, FragmentRow, Head, Lease, NamedKey, NamedRow, RuleKey,
        RuleRow, SegmentRow, Settings, TrustedKey,
    },
    lookup::{Endpoint, Rules, class, device_flag, identity, probe},
};
use ipnet::{IpNet, Ipv6Net};
use prefix_trie::PrefixMap;

use super::{ServicePrefix, Tables};
use crate::model::Selector;

/// What a decision depends on besides the policy: where the packet arrives and how the agent runs.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// The interface on which packets arrive.
    pub segment: SegmentRow,
    /// Its VLANs that are segments of their own.
    pub vlans: BTreeMap<u16, SegmentRow>,
    /// The number of each segment of the configuration, by its name.
    pub segments: BTreeMap<String, u16>,
    /// Who may be a DHCP server or a router where not everybody may.
    pub trusted: BTreeSet<TrustedKey>,
    /// How the agent runs.
    pub settings: Settings,
    /// Until when each schedule of the tables is open, monotonic ns; what is missing is closed.
    pub deadlines: Vec<u64>,
    /// What devices may do at addresses that they learned by name. Devices and rules have their dense ids.
    pub named: BTreeMap<NamedKey, NamedRow>,
    /// The gateway's own addresses.
    pub gateway: BTreeSet<IpAddr>,
    /// At which addresses everybody on one of its segments is reached, as far as that is known: no packet is judged by it.
    pub broadcasts: BTreeSet<IpAddr>,
    /// From where the gateway may always be managed.
    pub management_peers: Vec<IpNet>,
    /// Over what.
    pub management_services: Vec<Selector>,
}

/// What a data path remembers between two packets, and keeps when its policy changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Allowed flows.
    pub flows: BTreeMap<FlowKey, Flow>,
    /// Packets of which some fragments were seen.
    pub fragments: BTreeMap<FragmentKey, FragmentRow>,
    /// Who has leased which address.
    pub leases: BTreeMap<Address, Lease>,
    /// New flows of each device in the present window.
    pub budgets: BTreeMap<u32, Budget>,
}

/// Compiled tables with a memory and a clock of their own.
pub struct Host<'a> {
    tables: &'a Tables,
    networks: PrefixMap<Ipv6Net, u32>,
    /// Prefix lengths that occur, longest first.
    service_bits: Vec<u32>,
    placed: Placed,
    head: Head,
    now: Cell<u64>,
    memory: RefCell<Memory>,
}

impl<'a> Host<'a> {
    /// A data path that enforces `tables`, remembering nothing, at time 0.
    pub fn new(tables: &'a Tables, placed: Placed) -> Self {
        let bits: BTreeSet<u32> = tables.services.keys().map(|p| p.bits).collect();
        Self {
            tables,
            networks: tables.networks.iter().map(|(prefix, identity)| (wide(prefix), *identity)).collect(),
            service_bits: bits.into_iter().rev().collect(),
            placed,
            head: Head { generation: 1, shapes: tables.shapes, revision: tables.revision.short() },
            now: Cell::new(0),
            memory: RefCell::default(),
        }
    }

    /// Sets the clock, ns.
    pub fn set_now(&self, now: u64) {
        self.now.set(now);
    }

    /// Says until when each schedule is open, see [`Placed::deadlines`].
    pub fn reschedule(&mut self, deadlines: Vec<u64>) {
        self.placed.deadlines = deadlines;
    }

    /// From now on packets arrive on another interface: its segment, and its VLANs that are segments of their own.
    pub fn move_to(&mut self, segment: SegmentRow, vlans: BTreeMap<u16, SegmentRow>) {
        self.placed.segment = segment;
        self.placed.vlans = vlans;
    }

    /// From now on the agent runs with these times and switches.
    pub fn configure(&mut self, settings: Settings) {
        self.placed.settings = settings;
    }

    /// Forgets what was silent longest, where more than `most` flows or fragmented packets are remembered: half of them stay.
    pub fn make_room(&mut self, most: usize) {
        let memory = self.memory.get_mut();
        let middle = |mut times: Vec<u64>| {
            let half = times.len() / 2;
            *times.select_nth_unstable(half).1
        };
        if memory.flows.len() > most {
            let from = middle(memory.flows.values().map(|flow| flow.seen).collect());
            memory.flows.retain(|_, flow| flow.seen >= from);
        }
        if memory.fragments.len() > most {
            let from = middle(memory.fragments.values().map(|row| row.seen).collect());
            memory.fragments.retain(|_, row| row.seen >= from);
        }
    }

    /// What it remembers by now.
    pub fn memory(&self) -> Memory {
        self.memory.borrow().clone()
    }

    /// Goes on with what another data path remembers, as after a change of policy.
    pub fn adopt(&mut self, memory: Memory, generation: u32) {
        self.memory = RefCell::new(memory);
        self.head.generation = generation;
    }

    /// The number by which the configuration knows a segment of the tables. A name it does not know is a segment on
    /// which nothing is ever seen: the data path refuses such a policy.
    fn segment_id(&self, dense: u16) -> u16 {
        if dense == 0 {
            return 0;
        }
        let name = self.tables.segments.get(usize::from(dense) - 1);
        name.and_then(|name| self.placed.segments.get(name)).copied().unwrap_or(u16::MAX)
    }
}

/// A prefix as the data path's one table has it: IPv4 below `::ffff:0:0/96`.
pub fn wide(prefix: &IpNet) -> Ipv6Net {
    match prefix {
        IpNet::V4(v4) => {
            let address = v4.network().to_ipv6_mapped();
            Ipv6Net::new(address, 96 + v4.prefix_len()).expect("at most 96 + 32 bits")
        }
        IpNet::V6(v6) => *v6,
    }
}

impl Rules for Host<'_> {
    fn segment(&self, vlan: u16) -> SegmentRow {
        self.placed.vlans.get(&vlan).copied().unwrap_or(self.placed.segment)
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

    fn mac(&self, mac: u64) -> EndRow {
        let row = self.tables.macs.get(&mac).copied().unwrap_or_default();
        EndRow { segment: self.segment_id(row.segment), ..row }
    }

    fn endpoint(&self, address: &Address) -> Endpoint {
        if self.placed.gateway.contains(&IpAddr::from(*address)) {
            let flags = device_flag::GATEWAY;
            return Endpoint { flags, ..Endpoint::network(identity::GATEWAY) };
        }
        if let Some(row) = self.tables.addresses.get(address) {
            let end = Endpoint::from_row(row);
            return Endpoint { segment: self.segment_id(end.segment), ..end };
        }
        let host = Ipv6Net::from(Ipv6Addr::from(address.octets()));
        let network = self.networks.get_lpm(&host);
        Endpoint::network(network.map_or(identity::UNKNOWN, |(_, identity)| *identity))
    }

    fn lease(&self, address: &Address) -> Lease {
        self.memory.borrow().leases.get(address).copied().unwrap_or_default()
    }

    fn bind(&self, address: &Address, lease: &Lease) {
        self.memory.borrow_mut().leases.insert(*address, *lease);
    }

    fn is_management(&self, source: &Address, protocol: u8, port: u16) -> bool {
        let source = IpAddr::from(*source);
        let covers = |s: &Selector| s.protocol == protocol && (s.low..=s.high).contains(&port);
        self.placed.management_services.iter().any(covers)
            && self.placed.management_peers.iter().any(|peer| peer.contains(&source))
    }

    fn is_trusted(&self, address: &Address, segment: u16, role: u32) -> bool {
        let key = TrustedKey { address: *address, segment: u32::from(segment), role };
        self.placed.trusted.contains(&key)
    }

    fn class(&self, protocol: u8, port: u16) -> u32 {
        let around = |bits: &u32| self.tables.services.get(&ServicePrefix::around(protocol, port, *bits));
        self.service_bits.iter().find_map(around).copied().unwrap_or(class::NONE)
    }

    fn permitted(&self, initiator: &Endpoint, responder: &Endpoint, class: u32) -> RuleRow {
        let row = |initiator, responder| {
            self.tables.rows.get(&RuleKey { initiator, responder, class }).copied().unwrap_or_default()
        };
        let is_open = |schedule| self.is_open(schedule);
        probe(self.head.shapes, &initiator.names(), &responder.names(), class, row, is_open)
    }

    fn named(&self, device: u32, address: &Address, class: u32) -> RuleRow {
        let key = NamedKey { address: *address, device, class };
        match self.placed.named.get(&key) {
            Some(NamedRow { row, expires }) if *expires > self.now() => {
                if self.is_open(row.schedule) {
                    *row
                } else {
                    RuleRow { rule: 0, ..*row }
                }
            }
            Some(_) | None => RuleRow::default(),
        }
    }

    fn leased(&self, device: u32, networks: u32) -> u32 {
        self.tables.leased.get(&(device, networks)).copied().unwrap_or(0)
    }

    fn is_open(&self, schedule: u32) -> bool {
        let until = (schedule as usize).checked_sub(1).map(|index| self.placed.deadlines.get(index));
        until.is_none_or(|until| until.is_some_and(|until| *until > self.now()))
    }

    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        self.memory.borrow_mut().flows.get_mut(key).map(f)
    }

    fn remember(&self, key: &FlowKey, begin: impl FnOnce(&mut Flow)) {
        let mut flow = Flow::default();
        begin(&mut flow);
        self.memory.borrow_mut().flows.insert(*key, flow);
    }

    fn may_open(&self, device: u32) -> bool {
        let mut memory = self.memory.borrow_mut();
        flow::take(memory.budgets.entry(device).or_default(), self.now.get(), &self.placed.settings)
    }

    fn with_fragments<T>(&self, key: &FragmentKey, f: impl FnOnce(&mut FragmentRow) -> T) -> Option<T> {
        self.memory.borrow_mut().fragments.get_mut(key).map(f)
    }

    fn remember_fragments(&self, key: &FragmentKey, row: &FragmentRow) {
        self.memory.borrow_mut().fragments.insert(*key, *row);
    }
}
