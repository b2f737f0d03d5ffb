//! The questions a decision asks, answered by looking up the maps.

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::lpm_trie::Key, helpers::bpf_ktime_get_ns};
use bulkhead_common::{
    address::Address,
    flow,
    layout::{
        Active, Flow, FlowKey, FragmentKey, FragmentRow, Head, Lease, MacRow, RuleKey, SegmentKey,
        SegmentRow, ServiceKey, Settings, TrustedKey, tally,
    },
    lookup::{ANY_VLAN, Endpoint, Rules, class, identity, probe, segment_flag},
};

use crate::maps::{
    ACTIVE, ADDRESSES, BUDGETS, FLOWS, FRAGMENTS, HEADS, LEASES, MACS, MGMT_PEERS, MGMT_PORTS, NETWORKS,
    RULES, SEGMENTS, SERVICES, SETTINGS, TRUSTED, add_to_tally,
};

/// [`Rules::permitted`] for a slot. A global function: the verifier judges it once for all arguments,
/// instead of once on every path that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn permitted(slot: u32, initiator: u32, responder: u32, class: u32) -> u32 {
    let (Some(head), Some(rows)) = (HEADS.get(slot), RULES.get(slot)) else { return 0 };
    probe(head.shapes, initiator, responder, class, |initiator, responder, class| {
        // SAFETY: copied at once; a slot's tables do not change while it is active.
        unsafe { rows.get(RuleKey { initiator, responder, class }) }.copied().unwrap_or(0)
    })
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
    /// The active slot; `None` before the first policy was applied.
    #[inline(always)]
    pub fn active(ifindex: u32, interface: SegmentRow) -> Option<Self> {
        // One 64-bit read: slot and generation belong together, and no packet sees half a change.
        // SAFETY: the pointer is to the array's element 0.
        let word = unsafe { ACTIVE.get_ptr(0)?.read_volatile() };
        let Active { slot, generation } = Active { slot: word as u32, generation: (word >> 32) as u32 };
        // SAFETY: the helper reads a clock.
        (generation != 0).then(|| Self { now: unsafe { bpf_ktime_get_ns() }, slot, ifindex, interface })
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
    fn mac(&self, mac: u64) -> MacRow {
        // SAFETY: copied at once; a slot's tables do not change while it is active.
        let row = MACS.get(self.context.slot).and_then(|macs| unsafe { macs.get(mac) });
        row.map_or_else(MacRow::default, |[row]| *row)
    }

    #[inline(always)]
    fn endpoint(&self, address: &Address) -> Endpoint {
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
        if LEASES.insert(address, lease, 0).is_err() {
            add_to_tally(tally::LEASES_REFUSED);
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
    fn permitted(&self, initiator: u32, responder: u32, class: u32) -> u32 {
        permitted(self.context.slot, initiator, responder, class)
    }

    #[inline(always)]
    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        let flow = FLOWS.get_ptr_mut(key)?;
        // SAFETY: the element stays mapped for the length of the program; another CPU may write the same
        // fields, each a plain word, and either value is a true one.
        Some(f(unsafe { &mut *flow }))
    }

    #[inline(always)]
    fn remember(&self, key: &FlowKey, flow: &Flow) {
        if FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)).is_ok() {
            add_to_tally(tally::FLOWS_MADE);
        } else if FLOWS.insert(key, flow, 0).is_err() {
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
