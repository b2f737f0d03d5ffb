//! The questions a decision asks, answered by looking up the maps.

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::lpm_trie::Key, helpers::bpf_ktime_get_ns};
use bulkhead_common::{
    address::Address,
    flat::{self, ENTRIES},
    flow,
    layout::{
        EndRow, Flow, FlowKey, FragmentKey, FragmentRow, Head, Lease, MAX_SCHEDULES, NamedKey, NamedRow,
        RuleKey, RuleRow, SegmentKey, SegmentRow, ServiceKey, Settings, TrustedKey, tally,
    },
    lookup::{ANY_VLAN, Endpoint, Rules, class, identity, probe, segment_flag},
};

use crate::{
    cache,
    maps::{
        ADDRESSES, BUDGETS, FLAT, FLOWS, FRAGMENTS, Flat, HEADS, LEASES, MACS, MGMT_PEERS, MGMT_PORTS, NAMED,
        NETWORKS, NEW_FLOW, QUERY, RULES, SCHEDULES, SEGMENTS, SERVICES, SETTINGS, TRUSTED, add_to_tally,
    },
};

/// [`Rules::permitted`] for a slot (the upper half of `place`), a service class (the lower one) and the names in
/// [`QUERY`]; the answer has the schedule above the rule. A global function: the verifier judges it once for all
/// arguments, instead of once on every path that leads to it, and old kernels let it have numbers only.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn permitted(place: u64) -> u64 {
    let (slot, class) = ((place >> 32) as u32, place as u32);
    let (Some(head), Some(rows), Some(query)) = (HEADS.get(slot), RULES.get(slot), QUERY.get_ptr_mut(0))
    else {
        return 0;
    };
    // SAFETY: this CPU's own element, which the caller has written and nobody changes meanwhile.
    let [initiator, responder]: &[[u32; 5]; 2] = unsafe { &*query.cast() };
    // One key for all lookups: each of its own would take room on the stack.
    let mut key = RuleKey { initiator: 0, responder: 0, class };
    let found = probe(
        head.shapes,
        initiator,
        responder,
        class,
        |initiator, responder| {
            (key.initiator, key.responder) = (initiator, responder);
            // SAFETY: copied at once; a slot's tables do not change while it is active.
            let row = unsafe { rows.get(&key) };
            row.map_or(RuleRow { rule: 0, schedule: 0 }, |[row]| *row)
        },
        |schedule| is_open(slot, schedule),
    );
    u64::from(found.rule) | u64::from(found.schedule) << 32
}

/// [`Rules::named`] for a slot and a service class, as in [`permitted`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn named(place: u64, device: u32, high: u64, low: u64) -> u64 {
    let (slot, class) = ((place >> 32) as u32, place as u32);
    let Some(rows) = NAMED.get(slot) else { return 0 };
    // SAFETY: copied at once. Rows of this table come and go while packets look at it, and what is forgotten is used again
    // at once: a packet that meets its row in that instant may read that of another device, rule or time.
    // JUSTIFICATION: it is a true row, for one packet that had a row of its own until then.
    let row = unsafe { rows.get(NamedKey { address: Address { high, low }, device, class }) };
    let Some([NamedRow { row: RuleRow { rule, schedule }, expires }]) = row else { return 0 };
    if *expires <= now() {
        return 0;
    }
    let rule = if is_open(slot, *schedule) { *rule } else { 0 };
    u64::from(rule) | u64::from(*schedule) << 32
}

#[inline(always)]
fn row_of(found: u64) -> RuleRow {
    RuleRow { rule: found as u32, schedule: (found >> 32) as u32 }
}

#[inline(always)]
fn is_open(slot: u32, schedule: u32) -> bool {
    if schedule == 0 {
        return true;
    }
    // A schedule beyond the table is one of the other slot, or of none.
    schedule < MAX_SCHEDULES
        && SCHEDULES.get(slot * MAX_SCHEDULES + schedule).is_some_and(|until| *until > now())
}

/// Monotonic time, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

/// The identity of the networks around an IPv4 address, where the flat table of a slot tells.
#[inline(always)]
pub fn network(pages: &Flat, address: u32) -> Option<u32> {
    flat::identity(address, |page, at| pages.get(page).map_or(flat::ASK, |page| page[at & (ENTRIES - 1)]))
}

/// What one packet is judged by: chosen once, and the same for every step.
#[derive(Clone, Copy)]
pub struct Context {
    /// Monotonic time, ns.
    pub now: u64,
    /// The slot of tables that was active when the packet arrived.
    pub slot: u32,
    /// Interface index.
    pub ifindex: u32,
    /// The interface's own row.
    pub interface: SegmentRow,
}

impl Context {
    /// The slot that was active when the packet came.
    #[inline(always)]
    pub fn of(slot: u32, ifindex: u32) -> Self {
        Self { now: now(), slot, ifindex, interface: interface(ifindex) }
    }
}

/// The tables as one packet sees them.
pub struct Tables<'a> {
    context: &'a Context,
    head: &'a Head,
    settings: &'a Settings,
}

/// The interface's row, or the one for interfaces nobody configured.
#[inline(always)]
pub fn interface(ifindex: u32) -> SegmentRow {
    segment(ifindex, ANY_VLAN).unwrap_or_default()
}

#[inline(always)]
fn segment(ifindex: u32, vlan: u16) -> Option<SegmentRow> {
    // SAFETY: the value is copied at once, before anything could remove it.
    unsafe { SEGMENTS.get(SegmentKey { ifindex, vlan, pad: 0 }) }.copied()
}

impl<'a> Tables<'a> {
    /// The tables of the packet's slot.
    #[inline(always)]
    pub fn of(context: &'a Context) -> Option<Self> {
        Some(Self { context, head: HEADS.get(context.slot)?, settings: SETTINGS.get(0)? })
    }
}

impl Rules for Tables<'_> {
    #[inline(always)]
    fn segment(&self, vlan: u16) -> SegmentRow {
        let Context { ifindex, interface, .. } = *self.context;
        if vlan == 0 || interface.flags & segment_flag::HAS_VLANS == 0 {
            return interface;
        }
        segment(ifindex, vlan).unwrap_or(interface)
    }

    #[inline(always)]
    fn settings(&self) -> &Settings {
        self.settings
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        self.head
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        self.context.now
    }

    #[inline(always)]
    fn mac(&self, mac: u64) -> EndRow {
        // SAFETY: copied at once; a slot's tables do not change while it is active.
        let row = MACS.get(self.context.slot).and_then(|macs| unsafe { macs.get(mac) });
        row.map_or_else(EndRow::default, |[row]| *row)
    }

    #[inline(always)]
    fn endpoint(&self, address: &Address) -> Endpoint {
        if address.is_v4()
            && let Some(pages) = FLAT.get(self.context.slot)
            && let Some(identity) = network(pages, address.low as u32)
        {
            return Endpoint::network(identity);
        }
        // SAFETY: as in `mac`.
        let row = ADDRESSES.get(self.context.slot).and_then(|rows| unsafe { rows.get(address) });
        if let Some([row]) = row {
            return Endpoint::from_row(row);
        }
        let key = Key::new(128, address.octets());
        let identity = NETWORKS.get(self.context.slot).and_then(|networks| networks.get(&key)).copied();
        Endpoint::network(identity.unwrap_or(identity::UNKNOWN))
    }

    #[inline(always)]
    fn lease(&self, address: &Address) -> Lease {
        // SAFETY: copied at once; a torn value is another client's lease at worst, and both are true ones.
        unsafe { LEASES.get(address) }.copied().unwrap_or_default()
    }

    #[inline(always)]
    fn bind(&self, address: &Address, lease: &Lease) {
        // SAFETY: two words of it, of whichever lease.
        let before = unsafe { LEASES.get(address) }.map_or((0, 0), |known| (known.mac, known.expires));
        if LEASES.insert(address, lease, 0).is_err() {
            add_to_tally(tally::LEASES_REFUSED);
        }
        // Behind it: whoever decides by what was there before has the old stamp.
        if before.0 != lease.mac || before.1 <= self.context.now {
            cache::stamp_leases();
        }
    }

    #[inline(always)]
    fn is_management(&self, source: &Address, protocol: u8, port: u16) -> bool {
        let key = ServiceKey { protocol, port: port.to_be_bytes(), pad: 0 };
        MGMT_PORTS.get(&Key::new(24, key)).is_some()
            && MGMT_PEERS.get(&Key::new(128, source.octets())) == Some(&1)
    }

    #[inline(always)]
    fn is_trusted(&self, address: &Address, segment: u16, role: u32) -> bool {
        let key = TrustedKey { address: *address, segment: u32::from(segment), role };
        // SAFETY: only asked whether it is there.
        unsafe { TRUSTED.get(key) }.is_some()
    }

    #[inline(always)]
    fn class(&self, protocol: u8, port: u16) -> u32 {
        let key = ServiceKey { protocol, port: port.to_be_bytes(), pad: 0 };
        let services = SERVICES.get(self.context.slot);
        services.and_then(|s| s.get(&Key::new(24, key))).copied().unwrap_or(class::NONE)
    }

    #[inline(always)]
    fn permitted(&self, initiator: &Endpoint, responder: &Endpoint, class: u32) -> RuleRow {
        let Some(query) = QUERY.get_ptr_mut(0) else { return RuleRow { rule: 0, schedule: 0 } };
        // SAFETY: this CPU's own element; XDP is not preempted by XDP on one CPU.
        unsafe { query.cast::<[[u32; 5]; 2]>().write([initiator.names(), responder.names()]) };
        let found = permitted(u64::from(self.context.slot) << 32 | u64::from(class));
        row_of(found)
    }

    #[inline(always)]
    fn named(&self, device: u32, address: &Address, class: u32) -> RuleRow {
        let place = u64::from(self.context.slot) << 32 | u64::from(class);
        row_of(named(place, device, address.high, address.low))
    }

    #[inline(always)]
    fn leased(&self, device: u32, networks: u32) -> u32 {
        let key = RuleKey { initiator: device, responder: networks, class: class::LEASED };
        // SAFETY: as in `mac`.
        let row = RULES.get(self.context.slot).and_then(|rows| unsafe { rows.get(key) });
        row.map_or(0, |[row]| row.rule)
    }

    #[inline(always)]
    fn is_open(&self, schedule: u32) -> bool {
        is_open(self.context.slot, schedule)
    }

    #[inline(always)]
    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        let flow = FLOWS.get_ptr_mut(key)?;
        // SAFETY: the element stays mapped for the length of the program; another CPU may write the same
        // fields, each a plain word, and either value is a true one.
        Some(f(unsafe { &mut *flow }))
    }

    #[inline(always)]
    fn remember(&self, key: &FlowKey, begin: impl FnOnce(&mut Flow)) {
        let Some(flow) = NEW_FLOW.get_ptr_mut(0) else { return };
        // SAFETY: this CPU's own element, which nobody else borrows; all of it is written.
        let flow = unsafe {
            flow.write(Flow::default());
            &mut *flow
        };
        begin(flow);
        if FLOWS.insert(key, &*flow, u64::from(BPF_NOEXIST)).is_ok() {
            add_to_tally(tally::FLOWS_MADE);
        } else if FLOWS.insert(key, &*flow, 0).is_err() {
            add_to_tally(tally::FLOWS_REFUSED);
        }
    }

    #[inline(always)]
    fn may_open(&self, device: u32) -> bool {
        let Some(budget) = BUDGETS.get_ptr_mut(device) else { return true };
        // SAFETY: as in `with_flow`; packets on several CPUs may count as one, so a cap is nearly exact.
        flow::take(unsafe { &mut *budget }, self.context.now, self.settings)
    }

    #[inline(always)]
    fn with_fragments<T>(&self, key: &FragmentKey, f: impl FnOnce(&mut FragmentRow) -> T) -> Option<T> {
        let row = FRAGMENTS.get_ptr_mut(key)?;
        // SAFETY: as in `with_flow`.
        Some(f(unsafe { &mut *row }))
    }

    #[inline(always)]
    fn remember_fragments(&self, key: &FragmentKey, row: &FragmentRow) {
        if FRAGMENTS.insert(key, row, 0).is_err() {
            add_to_tally(tally::FRAGMENTS_REFUSED);
        }
    }
}
