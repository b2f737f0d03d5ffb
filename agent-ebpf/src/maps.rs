//! Every map, and the policy's questions answered by looking them up.
//!
//! Sizes written here are placeholders: the agent sets them at load time from its limits, and creates
//! the inner tables of each slot in the size the policy needs.

use aya_ebpf::{
    btf_maps::{
        Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf, lpm_trie::Key,
    },
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use bulkhead_common::{
    decide::{Decision, Ends, Judgement},
    layout::{
        Active, AddressRow, Event, Flow, FlowKey, Head, InterfaceCounters, InterfaceRow, MAX_INTERFACES,
        MacRow, Repeats, RuleKey, SLOTS, ServiceKey, Settings, Traffic, ViolationKey, tally,
    },
    lookup::{Endpoint, Rules, class, identity, probe},
    parse::Packet,
    reason::CODES,
};

type Macs = HashMap<u64, MacRow, 1>;
type Addresses = HashMap<u32, AddressRow, 1>;
type AddressesV6 = HashMap<[u8; 16], AddressRow, 1>;
type Networks = LpmTrie<[u8; 4], u32, 1>;
type Services = LpmTrie<ServiceKey, u32, 1>;
type RuleRows = HashMap<RuleKey, u32, 1>;

#[btf_map]
static ACTIVE: Array<u64, 1> = Array::new();
#[btf_map]
static HEADS: Array<Head, { SLOTS as usize }> = Array::new();
#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static MACS: ArrayOfMaps<Macs, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
static ADDRESSES: ArrayOfMaps<Addresses, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
static ADDRESSES_V6: ArrayOfMaps<AddressesV6, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
static NETWORKS: ArrayOfMaps<Networks, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
static SERVICES: ArrayOfMaps<Services, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
static RULES: ArrayOfMaps<RuleRows, { SLOTS as usize }> = ArrayOfMaps::new();

#[btf_map]
static INTERFACES: HashMap<u32, InterfaceRow, { MAX_INTERFACES as usize }> = HashMap::new();
#[btf_map]
static MGMT_PEERS: LpmTrie<[u8; 4], u32, 64> = LpmTrie::new();
#[btf_map]
static MGMT_PORTS: LpmTrie<ServiceKey, u32, 256> = LpmTrie::new();

#[btf_map]
static FLOWS: LruHashMap<FlowKey, Flow, 1024> = LruHashMap::new();

#[btf_map]
pub static DEVICE_COUNTS: PerCpuArray<[u64; CODES as usize], 1024> = PerCpuArray::new();
#[btf_map]
pub static RULE_COUNTS: PerCpuArray<Traffic, 1024> = PerCpuArray::new();
#[btf_map]
pub static PORT_COUNTS: PerCpuArray<InterfaceCounters, { MAX_INTERFACES as usize }> = PerCpuArray::new();
#[btf_map]
static TALLY: PerCpuArray<u64, { tally::LEN as usize }> = PerCpuArray::new();

/// Which of the two tables of repeats is being filled; the agent drains the other one.
#[btf_map]
pub static EPOCH: Array<u32, 1> = Array::new();
#[btf_map]
pub static REPEATS_0: PerCpuHashMap<ViolationKey, Repeats, 1024> = PerCpuHashMap::new();
#[btf_map]
pub static REPEATS_1: PerCpuHashMap<ViolationKey, Repeats, 1024> = PerCpuHashMap::new();
#[btf_map]
pub static EVENTS: RingBuf<Event, 4096> = RingBuf::new();

/// Adds one to an entry of the tally.
#[inline(always)]
pub fn add_to_tally(index: u32) {
    if let Some(count) = TALLY.get_ptr_mut(index) {
        // SAFETY: this CPU's own element; XDP is not preempted by XDP on one CPU.
        unsafe { *count += 1 };
    }
}

/// Where a packet is kept while it is judged: the stack of a program is 512 bytes.
#[btf_map]
static SCRATCH: PerCpuArray<[u64; SCRATCH_WORDS], 1> = PerCpuArray::new();
const SCRATCH_WORDS: usize = 64;
const _: () = assert!(size_of::<Scratch>() <= SCRATCH_WORDS * 8 && align_of::<Scratch>() <= 8);

/// What one packet needs room for.
pub struct Scratch {
    pub packet: Packet,
    pub ends: Ends,
    pub judgement: Judgement,
    pub decision: Decision,
    pub key: ViolationKey,
}

/// This CPU's scratch, for the packet being judged.
#[inline(always)]
pub fn scratch<'a>() -> Option<&'a mut Scratch> {
    let words = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: size and alignment are asserted above; both fields are written before they are read, and
    // this CPU runs one program at a time.
    // JUSTIFICATION: a map value of raw words keeps Rust's enums out of the map's type information.
    Some(unsafe { &mut *words.cast::<Scratch>() })
}

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

/// The tables as one packet sees them: the slot was chosen once, and stays.
pub struct Tables<'a> {
    head: &'a Head,
    settings: &'a Settings,
    macs: &'a Macs,
    addresses: &'a Addresses,
    addresses_v6: &'a AddressesV6,
    networks: &'a Networks,
    services: &'a Services,
    slot: u32,
    interface: InterfaceRow,
}

/// The interface's row, or the one for interfaces nobody configured.
#[inline(always)]
pub fn interface(ifindex: u32) -> InterfaceRow {
    // SAFETY: the value is copied at once, before anything could remove it.
    unsafe { INTERFACES.get(ifindex) }.copied().unwrap_or_default()
}

impl Tables<'_> {
    /// The active slot; `None` before the first policy was applied.
    #[inline(always)]
    pub fn active(interface: InterfaceRow) -> Option<Self> {
        // One 64-bit read: slot and generation belong together, and no packet sees half a change.
        // SAFETY: the pointer is to the array's element 0.
        let word = unsafe { ACTIVE.get_ptr(0)?.read_volatile() };
        let Active { slot, generation } = Active { slot: word as u32, generation: (word >> 32) as u32 };
        if generation == 0 {
            return None;
        }
        Some(Self {
            head: HEADS.get(slot)?,
            settings: SETTINGS.get(0)?,
            macs: MACS.get(slot)?,
            addresses: ADDRESSES.get(slot)?,
            addresses_v6: ADDRESSES_V6.get(slot)?,
            networks: NETWORKS.get(slot)?,
            services: SERVICES.get(slot)?,
            slot,
            interface,
        })
    }
}

impl Rules for Tables<'_> {
    #[inline(always)]
    fn interface(&self) -> InterfaceRow {
        self.interface
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
        // SAFETY: the helper reads a clock.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn mac(&self, mac: u64) -> MacRow {
        // SAFETY: copied at once; a slot's tables do not change while it is active.
        unsafe { self.macs.get(mac) }.copied().unwrap_or_default()
    }

    #[inline(always)]
    fn endpoint(&self, address: u32) -> Endpoint {
        // SAFETY: as in `mac`.
        if let Some(row) = unsafe { self.addresses.get(address) } {
            return Endpoint::from_row(row);
        }
        let identity = self.networks.get(&Key::new(32, address.to_be_bytes())).copied();
        Endpoint::network(identity.unwrap_or(identity::UNKNOWN))
    }

    #[inline(always)]
    fn endpoint_v6(&self, address: &[u8; 16]) -> Endpoint {
        // SAFETY: as in `mac`.
        let row = unsafe { self.addresses_v6.get(address) };
        row.map_or(Endpoint::network(identity::UNKNOWN), Endpoint::from_row)
    }

    #[inline(always)]
    fn is_management(&self, source: u32, protocol: u8, port: u16) -> bool {
        let key = ServiceKey { protocol, port: port.to_be_bytes(), pad: 0 };
        MGMT_PORTS.get(&Key::new(24, key)).is_some()
            && MGMT_PEERS.get(&Key::new(32, source.to_be_bytes())).is_some()
    }

    #[inline(always)]
    fn class(&self, protocol: u8, port: u16) -> u32 {
        let key = ServiceKey { protocol, port: port.to_be_bytes(), pad: 0 };
        self.services.get(&Key::new(24, key)).copied().unwrap_or(class::NONE)
    }

    #[inline(always)]
    fn permitted(&self, initiator: u32, responder: u32, class: u32) -> u32 {
        permitted(self.slot, initiator, responder, class)
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
        if FLOWS.insert(key, flow, 0).is_err() {
            add_to_tally(tally::FLOWS_REFUSED);
        }
    }
}
